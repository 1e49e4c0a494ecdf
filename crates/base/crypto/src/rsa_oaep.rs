//! RSA-OAEP (RFC 8017, 7.1; SP 800-56B), one hash function for the label and for MGF1.

use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use keyreeve_secret::SecretBytes;

use crate::algorithm::HashAlgorithm;
use crate::error::{CryptoError, KeyError, module};
use crate::public::PublicKey;

/// The public half.
pub(crate) struct OaepPublic {
    key: OaepPublicEncryptingKey,
}

/// The private half.
pub(crate) struct OaepPrivate {
    key: OaepPrivateDecryptingKey,
}

pub(crate) fn public(key: &PublicKey) -> Result<OaepPublic, CryptoError> {
    let algorithm = key.algorithm();
    if algorithm.rsa_bits().is_none() {
        return Err(CryptoError::WrongAlgorithm { algorithm, operation: "oaep" });
    }
    let key = PublicEncryptingKey::from_der(key.spki()).map_err(|_| KeyError::Malformed)?;
    Ok(OaepPublic { key: OaepPublicEncryptingKey::new(key).map_err(module)? })
}

impl OaepPublic {
    pub(crate) fn encrypt(&self, hash: HashAlgorithm, label: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let max = self.key.max_plaintext_size(oaep(hash));
        if plaintext.len() > max {
            return Err(CryptoError::InputTooLong { max: max as u64, actual: plaintext.len() as u64 });
        }
        let mut out = vec![0; self.key.ciphertext_size()];
        let len = self.key.encrypt(oaep(hash), plaintext, &mut out, Some(label)).map_err(module)?.len();
        out.truncate(len);
        Ok(out)
    }
}

impl OaepPrivate {
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| KeyError::Malformed)?;
        Ok(Self { key: OaepPrivateDecryptingKey::new(key).map_err(module)? })
    }

    pub(crate) fn decrypt(
        &self,
        hash: HashAlgorithm,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        if ciphertext.len() != self.key.key_size_bytes() {
            return Err(CryptoError::Open);
        }
        let mut len = 0;
        let mut out = SecretBytes::try_init_with(self.key.min_output_size(), |out| {
            let opened = self.key.decrypt(oaep(hash), ciphertext, out, Some(label));
            len = opened.map_err(|_| CryptoError::Open)?.len();
            Ok::<_, CryptoError>(())
        })?;
        out.truncate(len);
        Ok(out)
    }
}

fn oaep(hash: HashAlgorithm) -> &'static OaepAlgorithm {
    match hash {
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlgorithm::Sha512 => &OAEP_SHA512_MGF1SHA512,
    }
}
