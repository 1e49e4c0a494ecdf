//! Agreement on a shared secret: ECDH on the NIST curves (SP 800-56A) and X25519 (RFC 7748).

use aws_lc_rs::agreement::{self as lc, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use keyreeve_secret::SecretBytes;

use crate::algorithm::KeyAlgorithm;
use crate::error::{CryptoError, KeyError, module};
use crate::public::PublicKey;

/// A private key that agrees.
pub(crate) struct Agreer {
    key: PrivateKey,
}

impl Agreer {
    /// From the serialised form of the algorithm: PKCS #8 for the NIST curves, 32 raw bytes for X25519.
    pub(crate) fn new(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        let lc = parameters(algorithm).ok_or(CryptoError::WrongAlgorithm { algorithm, operation: "agree" })?;
        let key = match algorithm {
            KeyAlgorithm::X25519 => PrivateKey::from_private_key(lc, bytes),
            _ => PrivateKey::from_private_key_der(lc, bytes),
        };
        Ok(Self { key: key.map_err(|_| KeyError::Malformed)? })
    }

    pub(crate) fn generate_x25519() -> Result<(Self, SecretBytes), CryptoError> {
        let key = PrivateKey::generate(&lc::X25519).map_err(module)?;
        let seed: Curve25519SeedBin<'_> = key.as_be_bytes().map_err(module)?;
        let bytes = SecretBytes::copy_from(seed.as_ref());
        Ok((Self { key }, bytes))
    }

    /// The raw public key.
    pub(crate) fn public_raw(&self) -> Result<Vec<u8>, CryptoError> {
        self.key.compute_public_key().map(|key| key.as_ref().to_vec()).map_err(module)
    }

    /// The shared secret: the x-coordinate of the common point, or the output of X25519, which is refused when it is
    /// zero. It is not uniform, so it must go through a key-derivation function.
    pub(crate) fn agree(&self, algorithm: KeyAlgorithm, peer: &PublicKey) -> Result<SecretBytes, CryptoError> {
        if peer.algorithm() != algorithm {
            return Err(KeyError::OtherAlgorithm.into());
        }
        let peer = UnparsedPublicKey::new(self.key.algorithm(), peer.raw().unwrap_or_default());
        lc::agree(&self.key, peer, KeyError::Malformed.into(), |secret| Ok(SecretBytes::copy_from(secret)))
    }
}

fn parameters(algorithm: KeyAlgorithm) -> Option<&'static lc::Algorithm> {
    match algorithm {
        KeyAlgorithm::EcP256 => Some(&lc::ECDH_P256),
        KeyAlgorithm::EcP384 => Some(&lc::ECDH_P384),
        KeyAlgorithm::EcP521 => Some(&lc::ECDH_P521),
        KeyAlgorithm::X25519 => Some(&lc::X25519),
        _ => None,
    }
}
