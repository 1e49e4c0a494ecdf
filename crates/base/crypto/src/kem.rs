//! Key encapsulation: ML-KEM (FIPS 203).

use aws_lc_rs::kem::{self as lc, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768, ML_KEM_1024};
use keyreeve_secret::SecretBytes;

use crate::algorithm::KeyAlgorithm;
use crate::error::{CryptoError, KeyError, module};
use crate::spki;

/// A private key that decapsulates.
pub(crate) struct Decapsulator {
    key: DecapsulationKey,
}

impl Decapsulator {
    /// From the expanded decapsulation key of FIPS 203, after its check (7.3): the encapsulation key inside of it must
    /// have the hash that stands behind it.
    pub(crate) fn new(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        let lc = algorithm_of(algorithm)?;
        let public = embedded_public(algorithm, bytes)?;
        let hash_at = bytes.len() - 64;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA3_256, public);
        if hash.as_ref() != &bytes[hash_at..hash_at + 32] {
            return Err(KeyError::Inconsistent.into());
        }
        Ok(Self { key: DecapsulationKey::new(lc, bytes).map_err(|_| KeyError::Malformed)? })
    }

    /// A fresh key in expanded form.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<SecretBytes, CryptoError> {
        let key = DecapsulationKey::generate(algorithm_of(algorithm)?).map_err(module)?;
        let bytes = key.key_bytes().map_err(module)?;
        Ok(SecretBytes::copy_from(bytes.as_ref()))
    }

    /// The shared secret. A ciphertext of the right length that was not made for this key gives a secret that nobody
    /// else has (implicit rejection, FIPS 203, 6.3), not an error.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        let secret = self.key.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| CryptoError::Open)?;
        Ok(SecretBytes::copy_from(secret.as_ref()))
    }
}

/// The raw encapsulation key that is part of the expanded decapsulation key: `dk_pke || ek || H(ek) || z` (FIPS 203,
/// 7.1).
pub(crate) fn embedded_public(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<&[u8], CryptoError> {
    let expected = private_len(algorithm).ok_or(wrong(algorithm))?;
    let (_, public_len) = spki::layout(algorithm).ok_or(wrong(algorithm))?;
    if bytes.len() != expected {
        return Err(KeyError::Length { expected, actual: bytes.len() }.into());
    }
    let end = expected - 64;
    Ok(&bytes[end - public_len..end])
}

/// Bytes of the expanded decapsulation key (FIPS 203, table 3).
pub(crate) const fn private_len(algorithm: KeyAlgorithm) -> Option<usize> {
    match algorithm {
        KeyAlgorithm::MlKem768 => Some(2400),
        KeyAlgorithm::MlKem1024 => Some(3168),
        _ => None,
    }
}

/// Bytes of a ciphertext (FIPS 203, table 3).
pub(crate) const fn ciphertext_len(algorithm: KeyAlgorithm) -> Option<usize> {
    match algorithm {
        KeyAlgorithm::MlKem768 => Some(1088),
        KeyAlgorithm::MlKem1024 => Some(1568),
        _ => None,
    }
}

pub(crate) fn encapsulate(algorithm: KeyAlgorithm, public: &[u8]) -> Result<(Vec<u8>, SecretBytes), CryptoError> {
    let key = EncapsulationKey::new(algorithm_of(algorithm)?, public).map_err(|_| KeyError::Malformed)?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| KeyError::Malformed)?;
    Ok((ciphertext.as_ref().to_vec(), SecretBytes::copy_from(secret.as_ref())))
}

pub(crate) fn algorithm(algorithm: KeyAlgorithm) -> Option<&'static lc::Algorithm> {
    match algorithm {
        KeyAlgorithm::MlKem768 => Some(&ML_KEM_768),
        KeyAlgorithm::MlKem1024 => Some(&ML_KEM_1024),
        _ => None,
    }
}

fn algorithm_of(wanted: KeyAlgorithm) -> Result<&'static lc::Algorithm, CryptoError> {
    algorithm(wanted).ok_or(wrong(wanted))
}

fn wrong(algorithm: KeyAlgorithm) -> CryptoError {
    CryptoError::WrongAlgorithm { algorithm, operation: "encapsulate" }
}
