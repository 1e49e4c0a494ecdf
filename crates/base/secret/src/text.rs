//! Secret texts: passphrases, tokens, shares as people type them.

use std::fmt;

use crate::{NotUtf8, SecretBytes, redacted};

/// A secret that is valid UTF-8.
pub struct SecretString {
    bytes: SecretBytes,
}

impl SecretString {
    /// Takes `bytes` as text.
    ///
    /// # Errors
    /// [`NotUtf8`]; the bytes are wiped then.
    pub fn from_utf8(bytes: SecretBytes) -> Result<Self, NotUtf8> {
        match std::str::from_utf8(bytes.expose()) {
            Ok(_) => Ok(Self { bytes }),
            Err(_) => Err(NotUtf8),
        }
    }

    /// Copies `text`. The caller remains responsible for the original.
    pub fn copy_from(text: &str) -> Self {
        Self { bytes: SecretBytes::copy_from(text.as_bytes()) }
    }

    /// The text itself. Every call is a place where it may leak.
    pub fn expose(&self) -> &str {
        // Checked when it was made and never changed since; an empty text is the answer that cannot happen.
        std::str::from_utf8(self.bytes.expose()).unwrap_or_default()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Compares with `other` in time that depends on the lengths only.
    pub fn ct_eq(&self, other: &str) -> bool {
        self.bytes.ct_eq(other.as_bytes())
    }

    /// A second copy, on purpose.
    pub fn duplicate(&self) -> Self {
        Self { bytes: self.bytes.duplicate() }
    }

    /// The bytes of the text, still secret.
    pub fn into_bytes(self) -> SecretBytes {
        self.bytes
    }

    /// Gives the text up as an ordinary value. `reason` is for the reader of the code: why this value is public, or who
    /// is entitled to it.
    pub fn declassify(self, reason: &'static str) -> String {
        // Lossless, since the content was checked to be UTF-8.
        String::from_utf8(self.bytes.declassify(reason)).unwrap_or_default()
    }
}

impl From<String> for SecretString {
    /// Takes the string over, without copying.
    fn from(text: String) -> Self {
        Self { bytes: SecretBytes::from_vec(text.into_bytes()) }
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf8_is_text() {
        assert_eq!(SecretString::from_utf8(SecretBytes::copy_from(&[0xff, 0xfe])).unwrap_err(), NotUtf8);
        let text = SecretString::from_utf8(SecretBytes::copy_from("Schlüssel".as_bytes())).unwrap();
        assert_eq!(text.expose(), "Schlüssel");
        assert_eq!(text.len(), 10);
        assert!(!text.is_empty());
        assert!(text.ct_eq("Schlüssel"));
        assert!(!text.ct_eq("Schluessel"));
        assert_eq!(text.duplicate().into_bytes().expose(), "Schlüssel".as_bytes());
        assert_eq!(format!("{text:?}"), "[secret]");
        assert_eq!(text.declassify("test"), "Schlüssel");
    }

    #[test]
    fn a_string_is_taken_over_in_place() {
        let owned = String::from("token");
        let block = owned.as_ptr();
        assert_eq!(SecretString::from(owned).expose().as_ptr(), block);
    }
}
