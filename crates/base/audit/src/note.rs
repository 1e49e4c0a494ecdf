//! C2SP signed notes (c2sp.org/signed-note): a text, signature lines, and the keys that check them.

use keyreeve_crypto::{KeyAlgorithm, Message, PublicKey, SignatureScheme};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

use crate::checkpoint::Checkpoint;
use crate::merkle::Hash;

/// Signature lines a note may have; the specification asks verifiers for at least 16.
pub const MAX_SIGNATURES: usize = 64;
/// Bytes a note may have.
pub const MAX_NOTE_BYTES: usize = 1 << 20;

/// The kinds of signature this crate makes and checks; the number is the type byte of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// 0x01: Ed25519 over the text.
    Ed25519 = 1,
    /// 0x04: Ed25519 cosignature with a time (c2sp.org/tlog-cosignature).
    Ed25519Cosignature = 4,
    /// 0x06: ML-DSA-44 cosignature with a time (c2sp.org/tlog-cosignature).
    MlDsa44Cosignature = 6,
}

impl KeyType {
    const fn public_key_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::Ed25519Cosignature => 32,
            Self::MlDsa44Cosignature => 1312,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::Ed25519Cosignature, Self::MlDsa44Cosignature].into_iter().find(|t| *t as u8 == byte)
    }
}

/// Something that is not a note, not a key, or not signed as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// The bytes are not a signed note.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// The text is not a verifier key.
    #[error("not a verifier key (`name+hash+base64`): {0}")]
    Key(&'static str),
    /// No line is by a known key.
    #[error("the note is not signed by any of the keys given")]
    Unverified,
    /// A line names a known key but its signature is wrong: the whole note is refused.
    #[error("the signature of `{0}` on the note is wrong")]
    BadSignature(String),
}

/// A public key with its name: checks signatures on notes. Text form: `name+hash+base64(type ‖ key)`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyType,
    public: Vec<u8>,
    id: [u8; 4],
}

impl VerifierKey {
    /// A key from its parts.
    ///
    /// # Errors
    /// [`NoteError::Key`] when the name is empty or has a space or a plus sign, or the key has the wrong length.
    pub fn new(name: &str, kind: KeyType, public: &[u8]) -> Result<Self, NoteError> {
        if !valid_name(name) {
            return Err(NoteError::Key("a name has no spaces and no plus signs, and is not empty"));
        }
        if public.len() != kind.public_key_len() {
            return Err(NoteError::Key("the public key does not have the length of its type"));
        }
        let typed = [&[kind as u8], public].concat();
        let hash = Hash::sha256(&[name.as_bytes(), b"\n", &typed].concat());
        let mut id = [0; 4];
        id.copy_from_slice(&hash.as_bytes()[..4]);
        Ok(Self { name: name.to_owned(), kind, public: public.to_vec(), id })
    }

    /// The name, for a log the same as its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of signature it checks.
    #[must_use]
    pub const fn kind(&self) -> KeyType {
        self.kind
    }

    /// SHA-256(name ‖ 0x0A ‖ type ‖ key), its first 4 bytes.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The raw public key.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// True when the signature line is by this key's name and id (which says nothing yet about its being right).
    #[must_use]
    pub fn matches(&self, signature: &NoteSignature) -> bool {
        self.id == signature.key_id && self.name == signature.name
    }

    /// True when `signature` (the bytes after the key id) is right for `text`.
    #[must_use]
    pub fn verify(&self, text: &str, signature: &[u8]) -> bool {
        match self.kind {
            KeyType::Ed25519 => self.check_ed25519(text.as_bytes(), signature),
            KeyType::Ed25519Cosignature => split_time(signature).is_some_and(|(time, signature)| {
                self.check_ed25519(ed25519_cosigned(time, text).as_bytes(), signature)
            }),
            KeyType::MlDsa44Cosignature => split_time(signature).is_some_and(|(time, signature)| {
                ml_dsa_cosigned(&self.name, time, text).is_some_and(|message| {
                    self.verifies(KeyAlgorithm::MlDsa44, SignatureScheme::MlDsa44, &message, signature)
                })
            }),
        }
    }

    fn check_ed25519(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifies(KeyAlgorithm::Ed25519, SignatureScheme::Ed25519, message, signature)
    }

    fn verifies(&self, algorithm: KeyAlgorithm, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> bool {
        let public = PublicKey::from_raw(algorithm, &self.public);
        public.is_ok_and(|public| public.verify(scheme, Message::Raw(message), signature).is_ok())
    }
}

/// Splits a `timestamped_signature` of c2sp.org/tlog-cosignature.
fn split_time(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time), signature)).filter(|(time, _)| i64::try_from(*time).is_ok())
}

/// The message of an Ed25519 cosignature.
pub(crate) fn ed25519_cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The message of an ML-DSA-44 cosignature on a checkpoint; `None` when the text is not a checkpoint.
pub(crate) fn ml_dsa_cosigned(name: &str, time: u64, text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(u8::try_from(name.len()).ok()?);
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(&time.to_be_bytes());
    message.push(u8::try_from(checkpoint.origin.len()).ok()?);
    message.extend_from_slice(checkpoint.origin.as_bytes());
    message.extend_from_slice(&0u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(checkpoint.root.as_bytes());
    Some(message)
}

fn valid_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind as u8], &self.public[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), base64_simd::STANDARD.encode_to_string(&typed))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // The base64 part may itself have plus signs.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("three parts are wanted"));
        };
        let typed = base64_simd::STANDARD.decode_to_vec(key).map_err(|_| NoteError::Key("the key is not base64"))?;
        let (kind, public) = typed.split_first().ok_or(NoteError::Key("the key is empty"))?;
        let kind = KeyType::from_byte(*kind).ok_or(NoteError::Key("a type of signature that is not supported"))?;
        let key = Self::new(name, kind, public)?;
        if hex::encode(key.id) == id { Ok(key) } else { Err(NoteError::Key("the hash does not belong to the key")) }
    }
}

/// One signature line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The signer's name.
    pub name: String,
    /// The id of its key.
    pub key_id: [u8; 4],
    /// What follows the key id; for cosignatures the time comes first.
    pub bytes: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id[..], &self.bytes].concat();
        writeln!(f, "\u{2014} {} {}", self.name, base64_simd::STANDARD.encode_to_string(&bytes))
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = base64_simd::STANDARD.decode_to_vec(base64).ok()?;
        let (key_id, bytes) = bytes.split_first_chunk::<4>()?;
        (valid_name(name) && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }
}

/// A text with signature lines. Parsing does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    /// The text that is signed; ends in a newline.
    pub text: String,
    /// The signature lines, at least one.
    pub signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Reads a signed note.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Form("larger than 1 MiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Form("not UTF-8"))?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(NoteError::Form("control characters"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Form("no blank line before the signatures"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form("no newline at the end"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::Form("more than 64 signatures"));
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::Form("a signature line is malformed"))?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Checks the note against the keys given and returns those that signed it. Lines by unknown keys are ignored.
    ///
    /// # Errors [`NoteError::BadSignature`] when a line names one of the keys and is wrong, [`NoteError::Unverified`]
    /// when no line is by any of them.
    pub fn verify<'a>(&self, keys: &'a [VerifierKey]) -> Result<Vec<&'a VerifierKey>, NoteError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| key.matches(signature)) else { continue };
            if !key.verify(&self.text, &signature.bytes) {
                return Err(NoteError::BadSignature(key.name.clone()));
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() { Err(NoteError::Unverified) } else { Ok(signers) }
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| line.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The test vector of c2sp.org/signed-note v1.0.0.
    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_vector_of_the_specification_verifies() {
        let key: VerifierKey = VKEY.parse().unwrap();
        assert_eq!((key.name(), key.kind(), key.id()), ("example.com/foo", KeyType::Ed25519, [0x53, 0x0d, 0x90, 0x3a]));
        assert_eq!(key.to_string(), VKEY);
        let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
        assert_eq!(note.text, "This is an example message.\n");
        assert_eq!(note.to_string(), NOTE);
        assert_eq!(note.verify(std::slice::from_ref(&key)).unwrap(), [&key]);
    }

    #[test]
    fn a_wrong_signature_by_a_known_key_spoils_the_note() {
        let key: VerifierKey = VKEY.parse().unwrap();
        let altered = SignedNote::parse(NOTE.replace("example message", "altered message").as_bytes()).unwrap();
        assert_eq!(altered.verify(&[key]), Err(NoteError::BadSignature("example.com/foo".into())));
        let other = VerifierKey::new("example.com/bar", KeyType::Ed25519, &[1; 32]).unwrap();
        assert_eq!(altered.verify(&[other]), Err(NoteError::Unverified));
    }

    #[test]
    fn malformed_keys_and_notes_are_refused() {
        for wrong in [
            "",
            "a+b",
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
            "exam ple+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+?",
        ] {
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        }
        let line = NOTE.rsplit_once("\n\n").unwrap().1;
        for wrong in [
            "text\n".to_owned(),
            format!("text\n{line}"),
            format!("te\rxt\n\n{line}"),
            NOTE[..NOTE.len() - 1].to_owned(),
            NOTE.replace("\u{2014} ", "- "),
            NOTE.replace("foo Uw2", "foo  Uw2"),
            format!("text\n\n{}", line.repeat(65)),
            "text\n\n\u{2014} name AAAAAA==\n".to_owned(),
        ] {
            assert!(SignedNote::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(SignedNote::parse(b"\xff\n\n").is_err());
        assert!(SignedNote::parse(&vec![b'a'; MAX_NOTE_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn notes_round_trip(text in "([a-z ]{0,10}\n){1,5}", bytes in any::<[u8; 70]>(), id: [u8; 4]) {
            let line = NoteSignature { name: "n/ä".into(), key_id: id, bytes: bytes.to_vec() };
            let note = SignedNote { text, signatures: vec![line; 3] };
            prop_assert_eq!(SignedNote::parse(note.to_string().as_bytes()).unwrap(), note);
        }

        #[test]
        fn parsing_never_panics(text in "(\u{2014} |\n|[a-zA-Z0-9+=. ]){0,60}") {
            if let Ok(note) = SignedNote::parse(text.as_bytes()) {
                prop_assert_eq!(note.to_string(), text.clone());
            }
            let _ = text.parse::<VerifierKey>();
        }
    }
}
