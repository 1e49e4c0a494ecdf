//! Bytes of a caller on their way in.

use bytes::Bytes;
use keyreeve_secret::SecretBytes;
use std::fmt;

/// Data to protect or to process. Either kind is wiped where this process holds the only copy.
pub enum Payload {
    /// Decoded from a text form.
    Secret(SecretBytes),
    /// As it came from the network; large bodies are not copied.
    Body(Bytes),
}

impl Payload {
    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Secret(bytes) => bytes.expose(),
            Self::Body(bytes) => bytes,
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Self::Body(bytes) = self
            && let Ok(owned) = std::mem::take(bytes).try_into_mut()
        {
            // Taken over by a type that wipes on drop.
            drop(SecretBytes::from_vec(owned.into()));
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Secret(SecretBytes::from_vec(bytes))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
