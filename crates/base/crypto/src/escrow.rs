//! The escrow key: keys are deposited under its public half, and nobody has the private one (requirement T7).
//!
//! The private half is made once, sealed under a secret of 256 random bits, and forgotten. What is split among escrow
//! agents with [`crate::shamir`] is that secret: their shares stay short enough to be typed, and the sealed half may
//! lie where the deposits lie, for it opens with enough shares only.
//!
//! ```text
//! sealed half = XAES-256-GCM(key = HKDF-SHA-256(secret, info = "keyreeve/escrow/private/1"), aad = context,
//!                            TransportPrivate::serialize)
//! ```
//!
//! A rehearsal shows that shares give the private half without anybody seeing it: a random value is wrapped for the
//! public half ([`challenge`]) and whoever can unwrap it answers with a key that is derived from it ([`answer`]); what
//! is kept to compare with is a hash of the answer.

use keyreeve_secret::{SecretArray, SecretBytes};

use crate::algorithm::{KeyAlgorithm, Purpose, WrappingMethod};
use crate::digest::sha256;
use crate::error::CryptoError;
use crate::kdf::hkdf_sha256;
use crate::key::LoadedKey;
use crate::material::Material;
use crate::random::Random;
use crate::transport::{TransportPrivate, TransportPublic};

/// How deposits are wrapped: a hybrid, because what lies in escrow lies there for long.
pub const METHOD: WrappingMethod = WrappingMethod::P384MlKem1024;
/// The size of the secret that agents hold shares of (bytes).
pub const SECRET: usize = 32;

const PRIVATE: &[u8] = b"keyreeve/escrow/private/1";
const REHEARSAL: &[u8] = b"keyreeve/escrow/rehearsal/1";

/// A new escrow key. It exists here only.
#[derive(Debug)]
pub struct NewEscrowKey {
    /// What deposits are wrapped with.
    pub public: TransportPublic,
    /// The private half.
    private: TransportPrivate,
    /// What is split among agents.
    pub secret: SecretBytes,
}

impl NewEscrowKey {
    /// Makes one.
    ///
    /// # Errors
    /// [`CryptoError::Random`], [`CryptoError::Module`].
    pub fn generate(random: &Random) -> Result<Self, CryptoError> {
        let private = TransportPrivate::generate(METHOD, None, random)?;
        let secret = random.secret_array::<SECRET>()?;
        Ok(Self { public: private.public()?, private, secret: SecretBytes::copy_from(secret.expose()) })
    }

    /// The private half, sealed under the secret. `context` must be given again to open it.
    ///
    /// # Errors
    /// [`CryptoError::Random`], [`CryptoError::Module`].
    pub fn sealed(&self, random: &Random, context: &[u8]) -> Result<Vec<u8>, CryptoError> {
        sealer(&self.secret)?.seal(random, context, self.private.serialize().expose())
    }
}

fn sealer(secret: &SecretBytes) -> Result<LoadedKey, CryptoError> {
    let key: SecretArray<32> = hkdf_sha256(secret.expose(), &[], PRIVATE)?;
    let key = SecretBytes::copy_from(key.expose());
    LoadedKey::load(&Material::import(KeyAlgorithm::Xaes256Gcm, &key)?, Purpose::Encrypt)
}

/// Opens the private half with the secret that shares gave. `algorithm` is that of the public half.
///
/// # Errors
/// [`CryptoError::Open`] when the secret is another one, or the sealed form or its context was altered.
pub fn open(
    secret: &SecretBytes,
    context: &[u8],
    algorithm: KeyAlgorithm,
    sealed: &[u8],
) -> Result<TransportPrivate, CryptoError> {
    let private = sealer(secret)?.open(context, sealed)?;
    TransportPrivate::parse(METHOD, algorithm, &private)
}

/// What only the private half can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// For whoever has the shares; no secret.
    pub sealed: Vec<u8>,
    /// SHA-256 of the answer.
    pub expected: [u8; 32],
}

/// Makes a challenge to the private half.
///
/// # Errors
/// [`CryptoError::Random`], [`CryptoError::Module`].
pub fn challenge(random: &Random, public: &TransportPublic, context: &[u8]) -> Result<Rehearsal, CryptoError> {
    let value = SecretBytes::copy_from(random.secret_array::<32>()?.expose());
    let expected = sha256(&derived(&value, context)?);
    Ok(Rehearsal { sealed: public.wrap(random, &labelled(context), &value)?, expected })
}

/// Answers a challenge.
///
/// # Errors
/// [`CryptoError::Open`] when the challenge was made for another key or another context.
pub fn answer(private: &TransportPrivate, context: &[u8], sealed: &[u8]) -> Result<[u8; 32], CryptoError> {
    derived(&private.unwrap(&labelled(context), sealed)?, context)
}

/// Whether this is the answer that was expected.
#[must_use]
pub fn is_answer(expected: &[u8; 32], answer: &[u8; 32]) -> bool {
    keyreeve_secret::ct_eq(&sha256(answer), expected)
}

fn labelled(context: &[u8]) -> Vec<u8> {
    [REHEARSAL, &[0], context].concat()
}

/// The answer says nothing of the value, which was wrapped like a key.
fn derived(value: &SecretBytes, context: &[u8]) -> Result<[u8; 32], CryptoError> {
    let key: SecretArray<32> = hkdf_sha256(value.expose(), &[], &labelled(context))?;
    let mut out = [0; 32];
    out.copy_from_slice(key.expose());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shamir;

    fn random() -> Random {
        Random::from_module().unwrap()
    }

    #[test]
    fn shares_open_the_private_half_and_nothing_else_does() {
        let (random, new) = (random(), NewEscrowKey::generate(&random()).unwrap());
        let sealed = new.sealed(&random, b"version 1").unwrap();
        let shares = shamir::split(&random, &new.secret, (2, 3), 1).unwrap();
        assert!(shares[0].to_text().expose().len() < 220, "a share can be typed");
        let secret = shamir::combine(shares.into_iter().skip(1)).unwrap();
        let algorithm = new.public.algorithm();
        let private = open(&secret, b"version 1", algorithm, &sealed).unwrap();
        let deposit = new.public.wrap(&random, b"a key", &SecretBytes::copy_from(&[7; 32])).unwrap();
        assert_eq!(private.unwrap(b"a key", &deposit).unwrap().expose(), [7; 32]);
        assert!(private.unwrap(b"another key", &deposit).is_err());
        let other = NewEscrowKey::generate(&random).unwrap();
        let mut altered = sealed.clone();
        altered[40] ^= 1;
        for (secret, context, sealed) in [
            (&other.secret, &b"version 1"[..], &sealed),
            (&secret, b"version 2", &sealed),
            (&secret, b"version 1", &altered),
        ] {
            assert_eq!(open(secret, context, algorithm, sealed).unwrap_err(), CryptoError::Open);
        }
    }

    #[test]
    fn a_rehearsal_is_answered_by_the_private_half_alone() {
        let (random, new) = (random(), NewEscrowKey::generate(&random()).unwrap());
        let asked = challenge(&random, &new.public, b"campaign 3").unwrap();
        let answered = answer(&new.private, b"campaign 3", &asked.sealed).unwrap();
        assert!(is_answer(&asked.expected, &answered));
        assert!(!is_answer(&asked.expected, &asked.expected), "what is kept does not answer");
        assert!(answer(&new.private, b"campaign 4", &asked.sealed).is_err());
        let other = NewEscrowKey::generate(&random).unwrap();
        assert!(answer(&other.private, b"campaign 3", &asked.sealed).is_err());
        assert!(!is_answer(&asked.expected, &[0; 32]));
    }
}
