//! What leaves the server: the header of format `KR1`, so that decryption needs no search and rewrapping no plaintext.
//!
//! ```text
//! offset  size  field
//!      0     3  magic "KR1"
//!      3     1  kind: 1 data, 2 data key (key-committing)
//!      4     1  algorithm code (keyreeve_crypto::KeyAlgorithm::code)
//!      5    16  key id
//!     21     4  key version, big-endian, from 1
//!     25     …  body: what the algorithm returns (nonce, ciphertext, tag)
//! ```
//! The 25 header bytes and the canonical encryption context are the associated data of the body, so neither can be
//! swapped. As text the whole is unpadded base64url (RFC 4648 §5) behind `kr1.`.

use keyreeve_crypto::KeyAlgorithm;
use thiserror::Error;

use crate::context::EncryptionContext;
use crate::ids::KeyId;

/// Bytes before the body.
pub const HEADER_LEN: usize = 25;
const MAGIC: &[u8; 3] = b"KR1";

/// What the body is; part of the associated data, so one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Data encrypted under the key.
    Data,
    /// A data key wrapped under the key, with a key commitment.
    DataKey,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::DataKey => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Data, Self::DataKey].into_iter().find(|k| k.code() == code)
    }
}

/// Why bytes are not a `KR1` message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidCiphertext {
    /// Shorter than a header.
    #[error("truncated: a Keyreeve ciphertext has at least {HEADER_LEN} bytes")]
    Truncated,
    /// Another format.
    #[error("not a Keyreeve ciphertext: it does not start with `KR1`")]
    Magic,
    /// An unknown kind.
    #[error("unknown kind of ciphertext {0}")]
    Kind(u8),
    /// Another kind than the operation takes.
    #[error("this is a {found:?} message, the operation takes {wanted:?}")]
    WrongKind {
        /// What the operation takes.
        wanted: Kind,
        /// What came.
        found: Kind,
    },
    /// An unknown algorithm.
    #[error("unknown algorithm code {0}")]
    Algorithm(u8),
    /// Version 0.
    #[error("key versions start at 1")]
    Version,
}

/// The header of a `KR1` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: Kind,
    /// What the key is.
    pub algorithm: KeyAlgorithm,
    /// Which key.
    pub key: KeyId,
    /// Which version of it, from 1.
    pub version: u32,
}

impl Header {
    /// The 25 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..3].copy_from_slice(MAGIC);
        out[3] = self.kind.code();
        out[4] = self.algorithm.code();
        out[5..21].copy_from_slice(self.key.as_bytes());
        out[21..].copy_from_slice(&self.version.to_be_bytes());
        out
    }

    /// Splits a message into header and body.
    ///
    /// # Errors
    /// [`InvalidCiphertext`] says what is wrong with the bytes.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), InvalidCiphertext> {
        let (header, body) = message.split_first_chunk::<HEADER_LEN>().ok_or(InvalidCiphertext::Truncated)?;
        if &header[..3] != MAGIC {
            return Err(InvalidCiphertext::Magic);
        }
        let kind = Kind::from_code(header[3]).ok_or(InvalidCiphertext::Kind(header[3]))?;
        let algorithm = KeyAlgorithm::from_code(header[4]).map_err(|_| InvalidCiphertext::Algorithm(header[4]))?;
        let mut key = [0; 16];
        key.copy_from_slice(&header[5..21]);
        let version = u32::from_be_bytes([header[21], header[22], header[23], header[24]]);
        if version == 0 {
            return Err(InvalidCiphertext::Version);
        }
        Ok((Self { kind, algorithm, key: KeyId::from_bytes(key), version }, body))
    }

    /// As [`Header::decode`], for an operation that takes one kind only.
    ///
    /// # Errors
    /// [`InvalidCiphertext::WrongKind`] besides those of [`Header::decode`].
    pub fn decode_kind(message: &[u8], wanted: Kind) -> Result<(Self, &[u8]), InvalidCiphertext> {
        let (header, body) = Self::decode(message)?;
        if header.kind == wanted {
            Ok((header, body))
        } else {
            Err(InvalidCiphertext::WrongKind { wanted, found: header.kind })
        }
    }

    /// The associated data of the body: header, then canonical context.
    #[must_use]
    pub fn associated_data(&self, context: &EncryptionContext) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + 64);
        out.extend_from_slice(&self.encode());
        context.write_canonical(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMillis;
    use proptest::prelude::*;

    fn header() -> Header {
        let key = KeyId::new(UnixMillis(1), [9; 10]);
        Header { kind: Kind::Data, algorithm: KeyAlgorithm::Xaes256Gcm, key, version: 7 }
    }

    #[test]
    fn header_round_trips() {
        let mut message = header().encode().to_vec();
        message.extend_from_slice(b"body");
        assert_eq!(Header::decode(&message), Ok((header(), &b"body"[..])));
        assert_eq!(
            Header::decode_kind(&message, Kind::DataKey),
            Err(InvalidCiphertext::WrongKind { wanted: Kind::DataKey, found: Kind::Data })
        );
    }

    #[test]
    fn each_field_is_checked() {
        let good = header().encode();
        assert_eq!(Header::decode(&good[..24]), Err(InvalidCiphertext::Truncated));
        for (at, value, want) in [
            (0, b'X', InvalidCiphertext::Magic),
            (3, 0, InvalidCiphertext::Kind(0)),
            (4, 255, InvalidCiphertext::Algorithm(255)),
            (24, 0, InvalidCiphertext::Version),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Header::decode(&bad), Err(want));
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((header, body)) = Header::decode(&message) {
                let mut again = header.encode().to_vec();
                again.extend_from_slice(body);
                prop_assert_eq!(again, message);
            }
        }
    }
}
