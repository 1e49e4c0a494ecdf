//! HMAC (FIPS 198-1).

use aws_lc_rs::hmac as lc;

use crate::algorithm::HashAlgorithm;
use crate::error::CryptoError;

/// A keyed HMAC context.
pub struct MacKey {
    key: lc::Key,
    len: usize,
}

impl MacKey {
    /// Prepares a key of any length; lengths are the concern of [`Material`](crate::material::Material).
    pub fn new(hash: HashAlgorithm, key: &[u8]) -> Self {
        Self { key: lc::Key::new(algorithm(hash), key), len: hash.output_len() }
    }

    /// The tag of `data`, as long as the digest.
    pub fn mac(&self, data: &[u8]) -> Vec<u8> {
        lc::sign(&self.key, data).as_ref().to_vec()
    }

    /// Checks `tag` in constant time. A shortened tag does not verify.
    ///
    /// # Errors
    /// [`CryptoError::NotVerified`].
    pub fn verify(&self, data: &[u8], tag: &[u8]) -> Result<(), CryptoError> {
        if tag.len() != self.len {
            return Err(CryptoError::NotVerified);
        }
        lc::verify(&self.key, data, tag).map_err(|_| CryptoError::NotVerified)
    }
}

/// HMAC-SHA-256 of `data`.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = lc::sign(&lc::Key::new(lc::HMAC_SHA256, key), data);
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

fn algorithm(hash: HashAlgorithm) -> lc::Algorithm {
    match hash {
        HashAlgorithm::Sha256 => lc::HMAC_SHA256,
        HashAlgorithm::Sha384 => lc::HMAC_SHA384,
        HashAlgorithm::Sha512 => lc::HMAC_SHA512,
    }
}
