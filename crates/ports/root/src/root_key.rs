//! A root key in memory: what every root does with it whose key is opened here, and not used inside of a device.
//!
//! The key is 256 random bits, used for nothing but deriving two keys (HKDF-SHA-256): one that wraps, with
//! XAES-256-GCM, and one whose HMAC over public parameters is kept as check value, so that a wrong root key never
//! opens.

use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::{CryptoError, KeyAlgorithm, Purpose, kdf, mac};
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::{RootError, WRAP_MAX};

/// Names the root key: random, not secret.
pub type SetId = [u8; 16];

const WRAP: &[u8] = b"keyreeve software root wrap v1";
const CHECK: &[u8] = b"keyreeve software root check v1";

/// The form of what [`RootKey::wrap`] returns: this byte, then the XAES-256-GCM message.
const FORM: u8 = 1;

/// A root key in use. Of the key itself only the derived wrapping key is left.
pub struct RootKey {
    wrapping: LoadedKey,
    checking: mac::MacKey,
}

impl RootKey {
    /// Prepares a root key. `set` goes into the derivation, so that keys of two sets never meet.
    ///
    /// # Errors
    /// [`RootError::Unavailable`] when the module fails.
    pub fn new(key: &SecretArray<32>, set: &SetId) -> Result<Self, RootError> {
        let derived = kdf::hkdf_sha256::<32>(key.expose(), set, WRAP).map_err(unavailable)?;
        let material = Material::parse(KeyAlgorithm::Xaes256Gcm, derived.into()).map_err(unavailable)?;
        let wrapping = LoadedKey::load(&material, Purpose::Encrypt).map_err(unavailable)?;
        Ok(Self { wrapping, checking: check_key(key, set)? })
    }

    /// Whether the key behind this one is what `check` was computed from, see [`fits`]; in constant time.
    pub fn fits(&self, public: &[u8], check: &[u8; 32]) -> bool {
        self.checking.verify(public, check).is_ok()
    }

    /// Wraps a secret for `context`, see [`Root::wrap`](crate::Root::wrap).
    ///
    /// # Errors
    /// [`RootError::TooLong`]; [`RootError::Unavailable`] when the generator or the module fails.
    pub fn wrap(&self, random: &Random, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        if secret.len() > WRAP_MAX {
            return Err(RootError::TooLong);
        }
        let mut out = vec![FORM];
        self.wrapping.seal_into(random, &bound(context), secret.expose(), &mut out).map_err(unavailable)?;
        Ok(out)
    }

    /// Unwraps what [`wrap`](Self::wrap) gave for the same context.
    ///
    /// # Errors
    /// [`RootError::Unwrap`].
    pub fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        match wrapped.split_first() {
            Some((&FORM, sealed)) => self.wrapping.open(&bound(context), sealed).map_err(|_| RootError::Unwrap),
            _ => Err(RootError::Unwrap),
        }
    }

    /// Wraps and unwraps once, to see that generator and module work.
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap) and [`unwrap`](Self::unwrap).
    pub fn check(&self, random: &Random) -> Result<(), RootError> {
        let probe = SecretBytes::copy_from(CHECK);
        let unwrapped = self.unwrap(CHECK, &self.wrap(random, CHECK, &probe)?)?;
        if unwrapped.ct_eq(probe.expose()) { Ok(()) } else { Err(RootError::Unwrap) }
    }
}

/// The additional data: the label has a fixed length, so no two contexts give the same.
fn bound(context: &[u8]) -> Vec<u8> {
    [WRAP, context].concat()
}

/// The check value of a root key: says whether a key is the right one and nothing else about it. `public` are the
/// parameters that it fixes.
///
/// # Errors
/// [`RootError::Unavailable`] when the module fails.
pub fn check_value(key: &SecretArray<32>, set: &SetId, public: &[u8]) -> Result<[u8; 32], RootError> {
    let derived = kdf::hkdf_sha256::<32>(key.expose(), set, CHECK).map_err(unavailable)?;
    Ok(mac::hmac_sha256(derived.expose(), public))
}

/// Whether `key` is the one that `check` was computed from; in constant time.
///
/// # Errors
/// [`RootError::Unavailable`] when the module fails.
pub fn fits(key: &SecretArray<32>, set: &SetId, public: &[u8], check: &[u8; 32]) -> Result<bool, RootError> {
    Ok(check_key(key, set)?.verify(public, check).is_ok())
}

fn check_key(key: &SecretArray<32>, set: &SetId) -> Result<mac::MacKey, RootError> {
    let derived = kdf::hkdf_sha256::<32>(key.expose(), set, CHECK).map_err(unavailable)?;
    Ok(mac::MacKey::new(keyreeve_crypto::HashAlgorithm::Sha256, derived.expose()))
}

/// A generator or module that failed, as the root's callers see it.
pub fn unavailable(error: impl Into<CryptoError>) -> RootError {
    RootError::Unavailable(error.into().to_string())
}

/// Takes what [`Root::configure`](crate::Root::configure) is given as the parameters of one kind of root.
///
/// # Errors
/// [`RootError::Unavailable`] when they are of another kind, or damaged.
pub fn parameters<T: serde::de::DeserializeOwned>(public: &serde_json::Value) -> Result<T, RootError> {
    serde::Deserialize::deserialize(public).map_err(|error: serde_json::Error| {
        RootError::Unavailable(format!("the deployment record describes another kind of root, or is damaged: {error}"))
    })
}
