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

/// HMAC-SHA-1 of `data` (RFC 2104), for one-time codes by time (RFC 6238) and nothing else: that is what the telephone
/// applications of people compute, whatever they are told. The attacks on SHA-1 are collisions, which HMAC does not
/// rest on.
pub fn hmac_sha1_for_totp(key: &[u8], data: &[u8]) -> [u8; 20] {
    let tag = lc::sign(&lc::Key::new(lc::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), data);
    let mut out = [0; 20];
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202, section 3, cases 1 and 2.
    #[test]
    fn hmac_sha1_gives_the_published_answers() {
        assert_eq!(
            hex::encode(hmac_sha1_for_totp(&[0x0b; 20], b"Hi There")),
            "b617318655057264e28bc0b6fb378c8ef146be00"
        );
        let tag = hmac_sha1_for_totp(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(tag), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }
}
