//! Texts for one person: encryption to a public key that the person already has, so that whatever carries the text
//! (this server, its operators, mail) cannot read it.
//!
//! Two kinds of key are taken: recipients of [age](https://age-encryption.org/v1) (`age1…`, X25519) and OpenPGP
//! certificates of version 4 (RFC 4880, RFC 9580) with an encryption subkey of RSA or Curve25519, as GnuPG makes them.
//! Here is only the half that encrypts: holders decrypt with `age` or `gpg`, and no key of theirs is ever here. The
//! libraries for these formats bring a second cryptographic library (decision 19), the formats themselves are small.
//!
//! Both formats fix some of their inner keys at 128 bits: the file key of age, and the AES-128 that a certificate may
//! ask for around the session key. X25519 gives 128 bits of strength as well. That is what the holder's key is worth;
//! no key of ours is below 256 bits.

mod age;
mod armor;
mod openpgp;
mod packets;
#[cfg(test)]
mod tests;

use std::fmt;

use keyreeve_secret::SecretBytes;
use serde::{Deserialize, Serialize};

use crate::error::CryptoError;
use crate::random::Random;

pub use age::AgeRecipient;
pub use openpgp::Certificate;

/// The longest text or file of one recipient, in bytes: certificates with many signatures are long.
pub const MAX_RECIPIENT: usize = 256 * 1024;

/// The longest plaintext, in bytes; a bound of ours.
pub const MAX_PLAINTEXT: usize = 1024 * 1024;

/// Somebody whom a text can be encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// By an age recipient.
    Age(AgeRecipient),
    /// By an OpenPGP certificate.
    OpenPgp(Box<Certificate>),
}

/// Which kind of key a recipient has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientKind {
    /// age, X25519.
    Age,
    /// OpenPGP.
    OpenPgp,
}

impl RecipientKind {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::OpenPgp => "openpgp",
        }
    }
}

impl fmt::Display for RecipientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why nothing can be encrypted to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Neither of the two kinds.
    #[error("this is neither an age recipient (age1...) nor an OpenPGP certificate (armored or binary)")]
    Unknown,
    /// A secret key was given where a public one belongs.
    #[error("this is a secret key: give the public one, and consider the secret one as seen")]
    Secret,
    /// More than [`MAX_RECIPIENT`] bytes.
    #[error("a recipient has at most 256 KiB")]
    TooLong,
    /// The age recipient does not read.
    #[error("the age recipient is mistyped or of a kind that is not known here (only age1..., X25519, is)")]
    Age,
    /// The certificate does not read.
    #[error("the OpenPGP certificate is damaged or not understood: {0}")]
    Malformed(&'static str),
    /// The certificate reads, and nothing should be encrypted to it.
    #[error("the OpenPGP certificate cannot be used: {0}")]
    Unusable(&'static str),
}

impl Recipient {
    /// Reads a recipient: `age1…`, or an OpenPGP certificate, armored or binary. `now` (seconds since 1970) decides
    /// what has expired.
    ///
    /// # Errors
    /// [`RecipientError`].
    pub fn parse(bytes: &[u8], now: u64) -> Result<Self, RecipientError> {
        if bytes.len() > MAX_RECIPIENT {
            return Err(RecipientError::TooLong);
        }
        let text = bytes.trim_ascii();
        let begins =
            |prefix: &str| text.get(..prefix.len()).is_some_and(|at| at.eq_ignore_ascii_case(prefix.as_bytes()));
        if begins("AGE-SECRET-KEY-") || begins("-----BEGIN PGP PRIVATE KEY") {
            return Err(RecipientError::Secret);
        }
        if begins("age1") {
            return AgeRecipient::parse(text).map(Self::Age);
        }
        // Bit 7 begins every packet, and no text.
        let binary = bytes.first().is_some_and(|first| first & 0x80 != 0);
        if !binary && !begins(armor::BEGIN_CERTIFICATE) {
            return Err(RecipientError::Unknown);
        }
        let decoded = if binary { bytes.to_vec() } else { armor::decode(text, armor::CERTIFICATE)? };
        Certificate::parse(&decoded, now).map(|certificate| Self::OpenPgp(Box::new(certificate)))
    }

    /// The kind of key.
    #[must_use]
    pub const fn kind(&self) -> RecipientKind {
        match self {
            Self::Age(_) => RecipientKind::Age,
            Self::OpenPgp(_) => RecipientKind::OpenPgp,
        }
    }

    /// What a person compares: the age recipient itself, or the certificate's fingerprint (40 hexadecimal digits, upper
    /// case).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Age(recipient) => recipient.to_string(),
            Self::OpenPgp(certificate) => certificate.fingerprint(),
        }
    }

    /// The name that the certificate gives its owner; age recipients have none. Whoever made the certificate chose it.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Age(_) => None,
            Self::OpenPgp(certificate) => certificate.user(),
        }
    }

    /// Whether `fingerprint`, as a person wrote it down, is this recipient's: spaces and case do not matter, and an
    /// OpenPGP fingerprint is given in full.
    #[must_use]
    pub fn has_fingerprint(&self, fingerprint: &str) -> bool {
        let given: String = fingerprint.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        self.fingerprint().eq_ignore_ascii_case(given.strip_prefix("0x").unwrap_or(&given))
    }

    /// The text that this recipient's holder decrypts, with armor, ending in a line break.
    ///
    /// # Errors
    /// [`CryptoError::InputTooLong`] above [`MAX_PLAINTEXT`]; no random values.
    pub fn encrypt(&self, random: &Random, plaintext: &SecretBytes) -> Result<String, CryptoError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(CryptoError::InputTooLong { max: MAX_PLAINTEXT as u64, actual: plaintext.len() as u64 });
        }
        match self {
            Self::Age(recipient) => Ok(armor::encode(&recipient.encrypt(random, plaintext)?, armor::AGE, true)),
            Self::OpenPgp(certificate) => {
                Ok(armor::encode(&certificate.encrypt(random, plaintext)?, armor::MESSAGE, false))
            }
        }
    }
}
