//! Encryption to an X25519 recipient of age (age-encryption.org/v1).

use std::fmt;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use data_encoding::BASE64_NOPAD;
use keyreeve_secret::{SecretArray, SecretBytes};

use super::RecipientError;
use crate::aead::NumberedAead;
use crate::agreement::Agreer;
use crate::algorithm::KeyAlgorithm;
use crate::error::CryptoError;
use crate::public::PublicKey;
use crate::random::Random;
use crate::{kdf, mac};

const HRP: &str = "age";
const VERSION: &str = "age-encryption.org/v1\n";
const WRAP_INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// Bytes of the key that payload and header are protected with; the format fixes them.
const FILE_KEY: usize = 16;
/// Bytes of plaintext in a chunk of the payload.
const CHUNK: usize = 64 * 1024;

/// The public key of an age identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeRecipient([u8; 32]);

impl AgeRecipient {
    /// Reads `age1…` (Bech32, BIP 173).
    pub(super) fn parse(text: &[u8]) -> Result<Self, RecipientError> {
        let text = std::str::from_utf8(text).map_err(|_| RecipientError::Age)?;
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| RecipientError::Age)?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let key: [u8; 32] = bytes.try_into().map_err(|_| RecipientError::Age)?;
        let hrp = checked.hrp();
        let recipient = Self(key);
        // One spelling: lower case, and no bits left over at the end.
        if hrp.as_str() != HRP || recipient.to_string() != text {
            return Err(RecipientError::Age);
        }
        // Points of small order give everybody the same secret.
        let probe =
            Agreer::generate_x25519().and_then(|(agreer, _)| agreer.agree(KeyAlgorithm::X25519, &recipient.key()?));
        probe.map(|_| recipient).map_err(|_| RecipientError::Age)
    }

    fn key(&self) -> Result<PublicKey, CryptoError> {
        PublicKey::from_raw(KeyAlgorithm::X25519, &self.0)
    }

    /// The encrypted file, binary.
    pub(super) fn encrypt(&self, random: &Random, plaintext: &SecretBytes) -> Result<Vec<u8>, CryptoError> {
        let file_key = random.secret_array::<FILE_KEY>()?;
        let mut file = self.header(&file_key)?.into_bytes();
        let nonce: [u8; 16] = random.nonce_array()?;
        let payload = NumberedAead::with_algorithm(
            KeyAlgorithm::ChaCha20Poly1305,
            &kdf::hkdf_sha256(file_key.expose(), &nonce, b"payload")?,
        )?;
        file.extend_from_slice(&nonce);
        // An empty plaintext is one empty chunk, and so is nothing else.
        let last = plaintext.len().saturating_sub(1) / CHUNK;
        for number in 0..=last {
            let end = plaintext.len().min((number + 1) * CHUNK);
            let mut nonce = [0; 12];
            nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
            nonce[11] = u8::from(number == last);
            payload.seal_into(nonce, b"", &plaintext.expose()[number * CHUNK..end], &mut file)?;
        }
        Ok(file)
    }

    fn header(&self, file_key: &SecretArray<FILE_KEY>) -> Result<String, CryptoError> {
        let (agreer, _) = Agreer::generate_x25519()?;
        let share = agreer.public_raw()?;
        let secret = agreer.agree(KeyAlgorithm::X25519, &self.key()?)?;
        let salt = [share.as_slice(), &self.0].concat();
        let wrapping = kdf::hkdf_sha256(secret.expose(), &salt, WRAP_INFO)?;
        let mut body = Vec::new();
        // The wrapping key is used for this one message.
        NumberedAead::with_algorithm(KeyAlgorithm::ChaCha20Poly1305, &wrapping)?.seal_into(
            [0; 12],
            b"",
            file_key.expose(),
            &mut body,
        )?;
        let base64 = |bytes: &[u8]| BASE64_NOPAD.encode(bytes);
        let header = format!("{VERSION}-> X25519 {}\n{}\n---", base64(&share), base64(&body));
        let key = kdf::hkdf_sha256::<32>(file_key.expose(), b"", b"header")?;
        let tag = mac::hmac_sha256(key.expose(), header.as_bytes());
        Ok(format!("{header} {}\n", base64(&tag)))
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hrp = Hrp::parse_unchecked(HRP);
        let text = bech32::encode::<Bech32>(hrp, &self.0).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}
