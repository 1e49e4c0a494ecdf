//! Public keys: what anybody may do with them, without a key server.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::kem::EncapsulationKey;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use keyreeve_secret::SecretBytes;

use crate::algorithm::{HashAlgorithm, KeyAlgorithm, SignatureScheme};
use crate::digest::sha256;
use crate::error::{CryptoError, KeyError};
use crate::random::Random;
use crate::signature::{Message, Verifier, verification};
use crate::{kem, rsa_oaep, spki};

/// A public key, checked, in SubjectPublicKeyInfo DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Takes a SubjectPublicKeyInfo (RFC 5280) in DER. One key has one accepted encoding: elliptic curve points
    /// uncompressed, RSA with the NULL parameter, the NIST post-quantum algorithms as in RFC 9881 and RFC 9935.
    ///
    /// # Errors
    /// [`KeyError`]: malformed, of another algorithm or size, or not a valid key (a point off its curve).
    pub fn from_spki(algorithm: KeyAlgorithm, der: &[u8]) -> Result<Self, CryptoError> {
        if let Some(bits) = algorithm.rsa_bits() {
            check_rsa(bits, der)?;
        } else {
            let (prefix, len) = spki::layout(algorithm).ok_or(KeyError::OtherAlgorithm)?;
            let raw = der.strip_prefix(prefix).ok_or(KeyError::OtherAlgorithm)?;
            if raw.len() != len {
                return Err(KeyError::Length { expected: len, actual: raw.len() }.into());
            }
            check_fixed(algorithm, der, raw)?;
        }
        Ok(Self { algorithm, spki: der.to_vec() })
    }

    /// Takes a raw public key: an uncompressed point for the NIST curves, the encoding of RFC 8032, RFC 7748, FIPS 203
    /// or FIPS 204 for the others. RSA keys have no raw form.
    ///
    /// # Errors
    /// As [`from_spki`](Self::from_spki).
    pub fn from_raw(algorithm: KeyAlgorithm, raw: &[u8]) -> Result<Self, CryptoError> {
        let (prefix, len) = spki::layout(algorithm).ok_or(KeyError::OtherAlgorithm)?;
        if raw.len() != len {
            return Err(KeyError::Length { expected: len, actual: raw.len() }.into());
        }
        Self::from_spki(algorithm, &[prefix, raw].concat())
    }

    /// Takes the modulus and the public exponent of an RSA key, both big-endian without leading zeros (RFC 8017, 3.1;
    /// the form of RFC 8230 and RFC 7518). The modulus has 2048, 3072 or 4096 bits.
    ///
    /// # Errors
    /// [`KeyError`]: another size, leading zeros, or numbers that are no RSA key.
    pub fn from_rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, CryptoError> {
        let algorithm = match modulus.len() {
            256 => KeyAlgorithm::Rsa2048,
            384 => KeyAlgorithm::Rsa3072,
            512 => KeyAlgorithm::Rsa4096,
            _ => return Err(KeyError::OtherAlgorithm.into()),
        };
        let der = RsaPublicKeyComponents { n: modulus, e: exponent }.as_der().map_err(|_| KeyError::Malformed)?;
        Self::from_spki(algorithm, der.as_ref())
    }

    /// The algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The raw form, see [`from_raw`](Self::from_raw); `None` for RSA.
    pub fn raw(&self) -> Option<&[u8]> {
        spki::layout(self.algorithm).and_then(|(prefix, _)| self.spki.get(prefix.len()..))
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha256(&self.spki))
    }

    /// Verifies a signature.
    ///
    /// # Errors
    /// [`CryptoError::NotVerified`]; [`CryptoError::SchemeMismatch`], [`CryptoError::DigestNotOffered`] and
    /// [`CryptoError::InputLength`] for requests that make no sense.
    pub fn verify(&self, scheme: SignatureScheme, message: Message<'_>, signature: &[u8]) -> Result<(), CryptoError> {
        Verifier::new(self).verify(scheme, message, signature)
    }

    /// Encrypts with RSA-OAEP (RFC 8017, 7.1), the same hash function for the label and for MGF1.
    ///
    /// # Errors
    /// [`CryptoError::WrongAlgorithm`] for other keys than RSA; [`CryptoError::InputTooLong`] above the modulus length
    /// minus two digests minus 2 bytes.
    pub fn oaep_encrypt(
        &self,
        random: &Random,
        hash: HashAlgorithm,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        random.status()?;
        rsa_oaep::public(self)?.encrypt(hash, label, plaintext)
    }

    /// Makes a fresh shared secret and encapsulates it for the owner of this key (FIPS 203): `(ciphertext, secret)`,
    /// the secret with 32 bytes.
    ///
    /// # Errors
    /// [`CryptoError::WrongAlgorithm`] for other keys than ML-KEM.
    pub fn encapsulate(&self, random: &Random) -> Result<(Vec<u8>, SecretBytes), CryptoError> {
        random.status()?;
        kem::encapsulate(self.algorithm, self.raw().unwrap_or_default())
    }

    /// For code in this crate that made the encoding itself or had the module make it.
    pub(crate) fn trusted(algorithm: KeyAlgorithm, spki: Vec<u8>) -> Self {
        Self { algorithm, spki }
    }

    pub(crate) fn trusted_raw(algorithm: KeyAlgorithm, raw: &[u8]) -> Self {
        let prefix = spki::layout(algorithm).map_or(&[][..], |(prefix, _)| prefix);
        Self { algorithm, spki: [prefix, raw].concat() }
    }
}

/// Verifies a signature with a public key in SubjectPublicKeyInfo DER.
///
/// # Errors
/// As [`PublicKey::from_spki`] and [`PublicKey::verify`].
pub fn verify_with_public_key(
    algorithm: KeyAlgorithm,
    spki: &[u8],
    scheme: SignatureScheme,
    message: Message<'_>,
    signature: &[u8],
) -> Result<(), CryptoError> {
    PublicKey::from_spki(algorithm, spki)?.verify(scheme, message, signature)
}

fn check_rsa(bits: usize, der: &[u8]) -> Result<(), CryptoError> {
    let key = PublicEncryptingKey::from_der(der).map_err(|_| KeyError::Malformed)?;
    if key.key_size_bits() != bits {
        return Err(KeyError::OtherAlgorithm.into());
    }
    // The module also reads other encodings than the canonical one.
    match key.as_der() {
        Ok(canonical) if canonical.as_ref() == der => Ok(()),
        _ => Err(KeyError::Malformed.into()),
    }
}

fn check_fixed(algorithm: KeyAlgorithm, der: &[u8], raw: &[u8]) -> Result<(), CryptoError> {
    if let Some(kem) = kem::algorithm(algorithm) {
        EncapsulationKey::new(kem, raw).map_err(|_| KeyError::Malformed)?;
    } else if let Some(scheme) = SignatureScheme::default_for(algorithm) {
        // The NIST curves pass through here for agreement as well: the check that the point is on the curve is the
        // same.
        ParsedPublicKey::new(verification(scheme), der).map_err(|_| KeyError::Malformed)?;
    }
    Ok(())
}

/// Identifies key material without revealing it: 32 bytes, printed in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
