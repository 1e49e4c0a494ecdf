//! What both roots do with their root key.

use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::{CryptoError, KeyAlgorithm, Purpose, kdf, mac};
use keyreeve_root::{RootError, WRAP_MAX};
use keyreeve_secret::{SecretArray, SecretBytes};

/// Names the root key: random, not secret.
pub(crate) type SetId = [u8; 16];

const WRAP: &[u8] = b"keyreeve software root wrap v1";
const CHECK: &[u8] = b"keyreeve software root check v1";

/// The form of what [`RootKey::wrap`] returns: this byte, then the XAES-256-GCM message.
const FORM: u8 = 1;

/// A root key in use. Of the key itself only the derived wrapping key is left.
pub(crate) struct RootKey {
    wrapping: LoadedKey,
}

impl RootKey {
    /// Prepares a root key. `set` goes into the derivation, so that keys of two sets never meet.
    pub(crate) fn new(key: &SecretArray<32>, set: &SetId) -> Result<Self, RootError> {
        let derived = kdf::hkdf_sha256::<32>(key.expose(), set, WRAP).map_err(unavailable)?;
        let material = Material::parse(KeyAlgorithm::Xaes256Gcm, derived.into()).map_err(unavailable)?;
        Ok(Self { wrapping: LoadedKey::load(&material, Purpose::Encrypt).map_err(unavailable)? })
    }

    pub(crate) fn wrap(&self, random: &Random, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        if secret.len() > WRAP_MAX {
            return Err(RootError::TooLong);
        }
        let mut out = vec![FORM];
        self.wrapping.seal_into(random, &bound(context), secret.expose(), &mut out).map_err(unavailable)?;
        Ok(out)
    }

    pub(crate) fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        match wrapped.split_first() {
            Some((&FORM, sealed)) => self.wrapping.open(&bound(context), sealed).map_err(|_| RootError::Unwrap),
            _ => Err(RootError::Unwrap),
        }
    }

    /// Wraps and unwraps once, to see that generator and module work.
    pub(crate) fn check(&self, random: &Random) -> Result<(), RootError> {
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
pub(crate) fn check_value(key: &SecretArray<32>, set: &SetId, public: &[u8]) -> Result<[u8; 32], RootError> {
    let derived = kdf::hkdf_sha256::<32>(key.expose(), set, CHECK).map_err(unavailable)?;
    Ok(mac::hmac_sha256(derived.expose(), public))
}

/// Whether `key` is the one that `check` was computed from; in constant time.
pub(crate) fn fits(key: &SecretArray<32>, set: &SetId, public: &[u8], check: &[u8; 32]) -> Result<bool, RootError> {
    let derived = kdf::hkdf_sha256::<32>(key.expose(), set, CHECK).map_err(unavailable)?;
    let key = mac::MacKey::new(keyreeve_crypto::HashAlgorithm::Sha256, derived.expose());
    Ok(key.verify(public, check).is_ok())
}

pub(crate) fn unavailable(error: impl Into<CryptoError>) -> RootError {
    RootError::Unavailable(error.into().to_string())
}

/// Takes what [`Root::configure`](keyreeve_root::Root::configure) is given as the parameters of `kind`.
pub(crate) fn parameters<T: serde::de::DeserializeOwned>(public: &serde_json::Value) -> Result<T, RootError> {
    serde::Deserialize::deserialize(public).map_err(|error: serde_json::Error| {
        RootError::Unavailable(format!("the deployment record describes another kind of root, or is damaged: {error}"))
    })
}
