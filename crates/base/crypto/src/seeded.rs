//! Signing keys made from a seed, for keys that are derived and never stored: those of the audit log.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, ML_DSA_44_SIGNING, PqdsaKeyPair};

use crate::error::{CryptoError, KeyError};

/// An Ed25519 key from its 32-byte seed (RFC 8032 §5.1.5).
pub struct SeededEd25519(Ed25519KeyPair);

impl SeededEd25519 {
    /// The key of a seed.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when the module refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, CryptoError> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| KeyError::Malformed.into())
    }

    /// The raw public key, 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The signature of a message, 64 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Module`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = self.0.try_sign(message).map_err(|_| CryptoError::Module)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// An ML-DSA-44 key from its 32-byte seed (FIPS 204 §6.1, ξ).
pub struct SeededMlDsa44(PqdsaKeyPair);

impl SeededMlDsa44 {
    /// The key of a seed.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when the module refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, CryptoError> {
        PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed).map(Self).map_err(|_| KeyError::Malformed.into())
    }

    /// The raw public key, 1,312 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The signature of a message, 2,420 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Module`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
        let written = self.0.sign(message, &mut signature).map_err(crate::error::module)?;
        signature.truncate(written);
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyAlgorithm, Message, PublicKey, SignatureScheme};

    #[test]
    fn signatures_verify_under_the_public_key_of_the_seed() {
        let ed25519 = SeededEd25519::from_seed(&[1; 32]).unwrap();
        let public = PublicKey::from_raw(KeyAlgorithm::Ed25519, ed25519.public_key()).unwrap();
        let signature = ed25519.sign(b"m").unwrap();
        assert!(public.verify(SignatureScheme::Ed25519, Message::Raw(b"m"), &signature).is_ok());
        let ml_dsa = SeededMlDsa44::from_seed(&[1; 32]).unwrap();
        let public = PublicKey::from_raw(KeyAlgorithm::MlDsa44, ml_dsa.public_key()).unwrap();
        let signature = ml_dsa.sign(b"m").unwrap();
        assert!(public.verify(SignatureScheme::MlDsa44, Message::Raw(b"m"), &signature).is_ok());
        assert!(public.verify(SignatureScheme::MlDsa44, Message::Raw(b"n"), &signature).is_err());
    }
}
