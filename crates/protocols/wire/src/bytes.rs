//! Binary values and secrets as they stand in JSON.

use base64_simd::{Out, STANDARD, URL_SAFE_NO_PAD};
use keyreeve_secret::{SecretBuffer, SecretBytes, SecretString};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use utoipa::ToSchema;

/// What a ciphertext of Keyreeve begins with as text.
pub const CIPHERTEXT_PREFIX: &str = "kr1.";

/// A text that is not the encoding it should be. Says nothing about the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidText {
    /// Not standard base64.
    #[error("not standard base64 with padding (RFC 4648 §4)")]
    Base64,
    /// Not a ciphertext.
    #[error("not a ciphertext: `kr1.` followed by unpadded base64url is expected")]
    Ciphertext,
}

/// Bytes that are no secret, as standard base64 with padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = Byte, example = "aGVsbG8=")]
pub struct Base64(pub Vec<u8>);

impl FromStr for Base64 {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        STANDARD.decode_to_vec(text).map(Self).map_err(|_| InvalidText::Base64)
    }
}

impl fmt::Display for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode_to_string(&self.0))
    }
}

impl Base64 {
    /// Appends the text form of any bytes to a text under construction.
    pub fn append(bytes: &[u8], out: &mut Vec<u8>) {
        STANDARD.encode_append(bytes, out);
    }
}

// Wiped on drop, never shown by `Debug`.
/// Secret bytes as standard base64 with padding: plaintexts, keys, shared secrets.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Byte, example = "aGVsbG8=")]
pub struct SecretBase64(#[schema(inline)] pub SecretBytes);

impl FromStr for SecretBase64 {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let refuse = |_| InvalidText::Base64;
        let len = STANDARD.decoded_length(text.as_bytes()).map_err(refuse)?;
        let decode = |place: &mut [u8]| STANDARD.decode(text.as_bytes(), Out::from_slice(place)).map(|_| ());
        SecretBytes::try_init_with(len, decode).map(Self).map_err(refuse)
    }
}

impl SecretBase64 {
    /// Takes over bytes that are to be treated as a secret.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(SecretBytes::from_vec(bytes))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Appends the text form to a secret under construction. The intermediate blocks are wiped.
    pub fn append(bytes: &[u8], out: &mut SecretBuffer) {
        // A multiple of 3, so that only the last piece is padded; small enough for the stack.
        const PIECE: usize = 3 * 256;
        let mut block = [0u8; PIECE / 3 * 4];
        out.reserve(STANDARD.encoded_length(bytes.len()));
        for piece in bytes.chunks(PIECE) {
            out.extend_from_slice(STANDARD.encode(piece, Out::from_slice(&mut block)));
        }
        block.fill(0);
        zeroize::optimization_barrier(&block);
    }
}

// Wiped on drop, never shown by `Debug`.
/// A secret text: a token, a share.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Password)]
pub struct SecretText(#[schema(inline)] pub SecretString);

impl SecretText {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// A ciphertext or wrapped data key of Keyreeve: `kr1.` followed by unpadded base64url of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = "^kr1\\.[A-Za-z0-9_-]+$", example = "kr1.S1IxAQEBmacB")]
pub struct Ciphertext(pub Vec<u8>);

impl FromStr for Ciphertext {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let body = text.strip_prefix(CIPHERTEXT_PREFIX).ok_or(InvalidText::Ciphertext)?;
        URL_SAFE_NO_PAD.decode_to_vec(body).map(Self).map_err(|_| InvalidText::Ciphertext)
    }
}

impl fmt::Display for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CIPHERTEXT_PREFIX)?;
        f.write_str(&URL_SAFE_NO_PAD.encode_to_string(&self.0))
    }
}

impl Ciphertext {
    /// Appends the text form of a ciphertext to a text under construction.
    pub fn append(bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(CIPHERTEXT_PREFIX.as_bytes());
        URL_SAFE_NO_PAD.encode_append(bytes, out);
    }
}

/// Reads a text and parses it; decodes straight from the JSON where the text stands there unescaped.
struct Parse<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Parse<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! as_text {
    ($name:ident, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parse::<$name>($expecting, std::marker::PhantomData))
            }
        }
    };
}

as_text!(Base64, "standard base64 as a text");
as_text!(SecretBase64, "standard base64 as a text");
as_text!(Ciphertext, "a ciphertext as a text");

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode_to_string(&self.0))
    }
}

impl Serialize for Ciphertext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is wiped after it was handed over. What the serializer keeps is the caller's: use a sink that wipes.
impl Serialize for SecretBase64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = SecretBuffer::with_capacity(STANDARD.encoded_length(self.0.len()));
        Self::append(self.expose(), &mut text);
        let text = SecretString::from_utf8(text.finish()).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(text.expose())
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

struct SecretVisitor;

impl Visitor<'_> for SecretVisitor {
    type Value = SecretText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretText, E> {
        Ok(SecretText(SecretString::copy_from(text)))
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SecretVisitor).map_err(|_| D::Error::custom("a text is expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_forms_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let json = serde_json::to_string(&Base64(bytes.clone())).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Base64>(&json).unwrap().0, &bytes);
            let secret = serde_json::to_string(&SecretBase64::from_vec(bytes.clone())).unwrap();
            prop_assert_eq!(&secret, &json);
            let back = serde_json::from_str::<SecretBase64>(&secret).unwrap();
            prop_assert_eq!(back.expose(), &bytes[..]);
            let text = Ciphertext(bytes.clone()).to_string();
            prop_assert_eq!(text.parse::<Ciphertext>().unwrap().0, bytes.clone());
            let mut appended = Vec::new();
            Ciphertext::append(&bytes, &mut appended);
            prop_assert_eq!(appended, text.into_bytes());
        }

        #[test]
        fn no_text_makes_it_panic_and_one_value_has_one_spelling(text in "[A-Za-z0-9+/=_. -]{0,40}") {
            if let Ok(value) = text.parse::<Base64>() {
                prop_assert_eq!(value.to_string(), text.clone());
            }
            prop_assert_eq!(text.parse::<SecretBase64>().is_ok(), text.parse::<Base64>().is_ok());
            if let Ok(value) = text.parse::<Ciphertext>() {
                prop_assert_eq!(value.to_string(), text);
            }
        }
    }

    #[test]
    fn only_standard_base64_with_padding_is_taken() {
        assert_eq!("aGVsbG8=".parse::<Base64>().unwrap().0, b"hello");
        for bad in ["aGVsbG8", "aGVsbG9=", "_-8=", "aGVs bG8=", "aGVsbG8=\n", "aGVsbG8==", "="] {
            assert!(bad.parse::<Base64>().is_err(), "{bad:?}");
            assert!(bad.parse::<SecretBase64>().is_err(), "{bad:?}");
        }
        assert!("S1Ix".parse::<Ciphertext>().is_err());
        assert!("kr1.S1Ix=".parse::<Ciphertext>().is_err());
    }

    #[test]
    fn escaped_slashes_are_taken() {
        assert_eq!(serde_json::from_str::<Base64>(r#""\/\/8=""#).unwrap().0, [255, 255]);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", SecretBase64::from_vec(vec![1])), "SecretBase64([secret])");
        let text: SecretText = serde_json::from_str("\"kr_token\"").unwrap();
        assert_eq!(format!("{text:?}"), "SecretText([secret])");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"kr_token\"");
        let error = serde_json::from_str::<SecretText>("12345678").unwrap_err().to_string();
        assert!(!error.contains("12345678"), "{error}");
    }
}
