//! AES-256 key wrapping, without padding (KW, RFC 3394) and with (KWP, RFC 5649); both in SP 800-38F.
//!
//! The module copies the key for each call and does not wipe that copy's heap block when it frees it; the key itself is
//! kept in wiped memory here. Wrapping is deterministic: equal keys give equal wrapped keys.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap, KeyWrapPadded};
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::error::{CryptoError, module};

/// Longest key that is wrapped, in bytes; a bound of ours, far above every key there is.
pub const MAX_WRAPPED: usize = 64 * 1024;

/// Which form of key wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrapMode {
    /// RFC 3394: the key has a multiple of 8 bytes, at least 16; the output is 8 bytes longer.
    Kw,
    /// RFC 5649: a key of any length; padded to a multiple of 8 bytes, and 8 bytes longer.
    Kwp,
}

/// A key-wrapping key.
pub(crate) struct WrapKey {
    key: SecretArray<32>,
}

impl WrapKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { key: SecretArray::init_with(|place| place.copy_from_slice(key)) }
    }

    pub(crate) fn wrap(&self, mode: WrapMode, key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if key.len() > MAX_WRAPPED {
            return Err(CryptoError::InputTooLong { max: MAX_WRAPPED as u64, actual: key.len() as u64 });
        }
        let mut out = vec![0; key.len() + 16];
        let len = match mode {
            WrapMode::Kw if key.len() < 16 || !key.len().is_multiple_of(8) => return Err(CryptoError::WrapLength),
            WrapMode::Kw => self.kek()?.wrap(key, &mut out).map_err(module)?.len(),
            WrapMode::Kwp if key.is_empty() => return Err(CryptoError::WrapLength),
            WrapMode::Kwp => self.kek()?.wrap_with_padding(key, &mut out).map_err(module)?.len(),
        };
        out.truncate(len);
        Ok(out)
    }

    pub(crate) fn unwrap(&self, mode: WrapMode, wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
        let shortest = match mode {
            WrapMode::Kw => 24,
            WrapMode::Kwp => 16,
        };
        if wrapped.len() < shortest || wrapped.len() > MAX_WRAPPED + 16 || !wrapped.len().is_multiple_of(8) {
            return Err(CryptoError::Open);
        }
        let kek = self.kek()?;
        let mut len = 0;
        let mut out = SecretBytes::try_init_with(wrapped.len(), |out| {
            let unwrapped = match mode {
                WrapMode::Kw => kek.unwrap(wrapped, out),
                WrapMode::Kwp => kek.unwrap_with_padding(wrapped, out),
            };
            len = unwrapped.map_err(|_| CryptoError::Open)?.len();
            Ok::<_, CryptoError>(())
        })?;
        out.truncate(len);
        Ok(out)
    }

    fn kek(&self) -> Result<AesKek, CryptoError> {
        AesKek::new(&AES_256, self.key.expose()).map_err(module)
    }
}
