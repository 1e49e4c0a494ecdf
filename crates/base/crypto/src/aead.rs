//! Authenticated encryption with additional data.
//!
//! The output is `nonce || ciphertext || tag`, with the nonce drawn at random and a tag of 16 bytes. In the
//! deterministic mode (AES-256-GCM-SIV with an all-zero nonce) there is no nonce in the output: equal additional data
//! and equal plaintext give equal ciphertext, and nothing else is given away (RFC 8452, section 9).

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::algorithm::KeyAlgorithm;
use crate::error::{CryptoError, module};
use crate::random::Random;
use crate::xaes::{self, XaesKey};

/// Bytes of a tag, for all algorithms.
pub const TAG_LEN: usize = 16;

/// Bytes of the nonce that GCM, GCM-SIV and ChaCha20-Poly1305 take.
pub const NONCE_LEN: usize = 12;

/// Longest plaintext in bytes: 2^36 - 32 for GCM (SP 800-38D, 5.2.1.1), which is below the limits of the others.
pub const MAX_PLAINTEXT: u64 = (1 << 36) - 32;

/// A key for authenticated encryption, its contexts prepared.
pub(crate) enum AeadKey {
    Xaes(Box<XaesKey>),
    Random96(LessSafeKey),
    Deterministic(LessSafeKey),
}

impl AeadKey {
    /// `None` if the algorithm is none for authenticated encryption.
    pub(crate) fn new(algorithm: KeyAlgorithm, key: &[u8; 32]) -> Result<Option<Self>, CryptoError> {
        Ok(Some(match algorithm {
            KeyAlgorithm::Xaes256Gcm => Self::Xaes(Box::new(XaesKey::new(key)?)),
            KeyAlgorithm::Aes256Gcm => Self::Random96(bind(&AES_256_GCM, key)?),
            KeyAlgorithm::ChaCha20Poly1305 => Self::Random96(bind(&CHACHA20_POLY1305, key)?),
            KeyAlgorithm::Aes256GcmSiv => Self::Deterministic(bind(&AES_256_GCM_SIV, key)?),
            _ => return Ok(None),
        }))
    }

    /// Bytes of the nonce at the front of the output.
    pub(crate) fn nonce_len(&self) -> usize {
        match self {
            Self::Xaes(_) => xaes::NONCE_LEN,
            Self::Random96(_) => NONCE_LEN,
            Self::Deterministic(_) => 0,
        }
    }

    /// Appends `nonce || ciphertext || tag` to `out`; on error `out` is as it was.
    pub(crate) fn seal_into(
        &self,
        random: &Random,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        let mut nonce = [0; xaes::NONCE_LEN];
        let nonce = &mut nonce[..self.nonce_len()];
        random.nonce(nonce)?;
        self.seal_with(nonce, aad, plaintext, out)
    }

    /// As [`seal_into`](Self::seal_into), with the nonce given. `nonce` has [`nonce_len`](Self::nonce_len) bytes.
    pub(crate) fn seal_with(
        &self,
        nonce: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        check_plaintext(plaintext.len())?;
        let start = out.len();
        out.resize(start + nonce.len() + plaintext.len() + TAG_LEN, 0);
        let (front, body) = out[start..].split_at_mut(nonce.len());
        front.copy_from_slice(nonce);
        let sealed = self.with_key(nonce, |key, nonce| scatter(key, nonce, aad, plaintext, body));
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Opens `nonce || ciphertext || tag`.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        let (nonce, body) = sealed.split_at_checked(self.nonce_len()).ok_or(CryptoError::Open)?;
        self.with_key(nonce, |key, nonce| gather(key, nonce, aad, body))
    }

    fn with_key<T>(
        &self,
        nonce: &[u8],
        operate: impl FnOnce(&LessSafeKey, [u8; NONCE_LEN]) -> Result<T, CryptoError>,
    ) -> Result<T, CryptoError> {
        match self {
            Self::Xaes(key) => {
                let (key, nonce) = key.message_key(nonce.try_into().map_err(|_| CryptoError::Module)?)?;
                operate(&key, nonce)
            }
            Self::Random96(key) => operate(key, nonce.try_into().map_err(|_| CryptoError::Module)?),
            Self::Deterministic(key) => operate(key, [0; NONCE_LEN]),
        }
    }
}

/// Authenticated encryption with nonces that the caller chooses, for constructions that number their messages (chunks
/// of a stream, records of a channel).
///
/// Using one nonce for two messages under one key gives both plaintexts and the authentication key away, except with
/// AES-256-GCM-SIV: only for code that can show that its nonces never repeat. Everything else takes
/// [`LoadedKey::seal`](crate::key::LoadedKey::seal).
pub struct NumberedAead {
    key: LessSafeKey,
}

impl NumberedAead {
    /// Prepares `key` for AES-256-GCM. It must be used for nothing else.
    ///
    /// # Errors
    /// [`CryptoError::Module`].
    pub fn new(key: &SecretArray<32>) -> Result<Self, CryptoError> {
        Self::with_algorithm(KeyAlgorithm::Aes256Gcm, key)
    }

    /// Prepares `key` for an algorithm that takes nonces of 12 bytes: AES-256-GCM, AES-256-GCM-SIV or
    /// ChaCha20-Poly1305.
    ///
    /// # Errors
    /// [`CryptoError::WrongAlgorithm`] for every other algorithm.
    pub fn with_algorithm(algorithm: KeyAlgorithm, key: &SecretArray<32>) -> Result<Self, CryptoError> {
        let lc = match algorithm {
            KeyAlgorithm::Aes256Gcm => &AES_256_GCM,
            KeyAlgorithm::Aes256GcmSiv => &AES_256_GCM_SIV,
            KeyAlgorithm::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            _ => return Err(CryptoError::WrongAlgorithm { algorithm, operation: "seal with a numbered nonce" }),
        };
        Ok(Self { key: bind(lc, key.expose())? })
    }

    /// Appends `ciphertext || tag` to `out`; on error `out` is as it was.
    ///
    /// # Errors
    /// [`CryptoError::InputTooLong`] above [`MAX_PLAINTEXT`].
    pub fn seal_into(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        check_plaintext(plaintext.len())?;
        let start = out.len();
        out.resize(start + plaintext.len() + TAG_LEN, 0);
        let sealed = scatter(&self.key, nonce, aad, plaintext, &mut out[start..]);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Opens `ciphertext || tag`.
    ///
    /// # Errors
    /// [`CryptoError::Open`].
    pub fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        gather(&self.key, nonce, aad, sealed)
    }

    /// Opens `ciphertext || tag` into `out`, which has exactly the length of the plaintext: for streams that use one
    /// buffer for all of their chunks. What `out` holds after a failure is no plaintext.
    ///
    /// # Errors
    /// [`CryptoError::Open`].
    pub fn open_into(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (ciphertext, tag) = sealed.split_at_checked(out.len()).ok_or(CryptoError::Open)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out).map_err(|_| {
            out.fill(0);
            CryptoError::Open
        })
    }
}

fn bind(algorithm: &'static Algorithm, key: &[u8; 32]) -> Result<LessSafeKey, CryptoError> {
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(module)
}

pub(crate) fn check_plaintext(len: usize) -> Result<(), CryptoError> {
    match u64::try_from(len) {
        Ok(len) if len <= MAX_PLAINTEXT => Ok(()),
        _ => Err(CryptoError::InputTooLong { max: MAX_PLAINTEXT, actual: len as u64 }),
    }
}

/// Encrypts from `plaintext` straight into `body`, whose last 16 bytes take the tag.
fn scatter(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
    body: &mut [u8],
) -> Result<(), CryptoError> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let (ciphertext, tag) = body.split_at_mut(plaintext.len());
    key.seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], tag).map_err(module)
}

/// Decrypts straight into memory that is wiped on drop.
fn gather(key: &LessSafeKey, nonce: [u8; NONCE_LEN], aad: &[u8], body: &[u8]) -> Result<SecretBytes, CryptoError> {
    let len = body.len().checked_sub(TAG_LEN).ok_or(CryptoError::Open)?;
    let (ciphertext, tag) = body.split_at(len);
    SecretBytes::try_init_with(len, |out| {
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out).map_err(|_| CryptoError::Open)
    })
}
