//! Public keys as authenticators write them (RFC 9052 and 9053, section 7; RFC 8230 for RSA), of four algorithms.

use ciborium::Value;
use keyreeve_crypto::{KeyAlgorithm, Message, PublicKey, SignatureScheme};

use super::WebAuthnError;

/// How deep CBOR may be nested: attestation statements have two levels.
const DEPTH: usize = 8;
/// The longest key in bytes: RSA with 4096 bits and its names.
const KEY_MAX: usize = 1024;

/// What credentials may sign with; these are asked for, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebAuthnAlgorithm {
    /// Ed25519 (RFC 8032).
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256: what authenticators in older TPMs have.
    Rs256,
}

impl WebAuthnAlgorithm {
    /// All of them, the preferred first.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Es384, Self::Rs256];

    /// The number in the COSE registry.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::EdDsa => -8,
            Self::Es256 => -7,
            Self::Es384 => -35,
            Self::Rs256 => -257,
        }
    }

    /// The name in the COSE registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
        }
    }

    const fn scheme(self) -> SignatureScheme {
        match self {
            Self::EdDsa => SignatureScheme::Ed25519,
            Self::Es256 => SignatureScheme::EcdsaSha256,
            Self::Es384 => SignatureScheme::EcdsaSha384,
            Self::Rs256 => SignatureScheme::RsaPkcs1Sha256,
        }
    }
}

/// A public key that was read and checked.
#[derive(Debug)]
pub struct CoseKey {
    algorithm: WebAuthnAlgorithm,
    key: PublicKey,
}

impl CoseKey {
    /// Reads a key: one CBOR map, nothing after it.
    ///
    /// # Errors
    /// [`WebAuthnError::Key`], [`WebAuthnError::Algorithm`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WebAuthnError> {
        let members = Members::read(bytes).ok_or(WebAuthnError::Key)?;
        let number = members.number(3).ok_or(WebAuthnError::Key)?;
        let algorithm = WebAuthnAlgorithm::ALL.into_iter().find(|algorithm| algorithm.number() == number);
        let algorithm = algorithm.ok_or(WebAuthnError::Algorithm)?;
        let key = match algorithm {
            WebAuthnAlgorithm::EdDsa => members.edwards(),
            WebAuthnAlgorithm::Es256 => members.point(1, 32, KeyAlgorithm::EcP256),
            WebAuthnAlgorithm::Es384 => members.point(2, 48, KeyAlgorithm::EcP384),
            WebAuthnAlgorithm::Rs256 => members.rsa(),
        };
        Ok(Self { algorithm, key: key.ok_or(WebAuthnError::Key)? })
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> WebAuthnAlgorithm {
        self.algorithm
    }

    /// Verifies a signature; ECDSA signatures are in DER (6.5.5).
    ///
    /// # Errors
    /// [`WebAuthnError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), WebAuthnError> {
        let verified = self.key.verify(self.algorithm.scheme(), Message::Raw(message), signature);
        verified.map_err(|_| WebAuthnError::Signature)
    }
}

/// The members of a key by their numbers.
struct Members(Vec<(i64, Value)>);

impl Members {
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > KEY_MAX {
            return None;
        }
        let (value, rest) = cbor(bytes)?;
        let entries = value.into_map().ok().filter(|_| rest.is_empty())?;
        let mut members: Vec<(i64, Value)> = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let name = i64::try_from(name.into_integer().ok()?).ok()?;
            if members.iter().any(|(other, _)| *other == name) {
                return None;
            }
            members.push((name, value));
        }
        Some(Self(members))
    }

    fn value(&self, name: i64) -> Option<&Value> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn number(&self, name: i64) -> Option<i64> {
        i64::try_from(self.value(name)?.as_integer()?).ok()
    }

    fn bytes(&self, name: i64) -> Option<&[u8]> {
        self.value(name)?.as_bytes().map(Vec::as_slice)
    }

    /// RFC 9053, 7.2: key type 1 with curve 6.
    fn edwards(&self) -> Option<PublicKey> {
        if self.number(1)? != 1 || self.number(-1)? != 6 {
            return None;
        }
        PublicKey::from_raw(KeyAlgorithm::Ed25519, self.bytes(-2)?).ok()
    }

    /// RFC 9053, 7.1.1: key type 2, both coordinates in full length; WebAuthn does not allow compressed points.
    fn point(&self, curve: i64, len: usize, algorithm: KeyAlgorithm) -> Option<PublicKey> {
        let (x, y) = (self.bytes(-2)?, self.bytes(-3)?);
        if self.number(1)? != 2 || self.number(-1)? != curve || x.len() != len || y.len() != len {
            return None;
        }
        PublicKey::from_raw(algorithm, &[&[0x04], x, y].concat()).ok()
    }

    /// RFC 8230, 4: key type 3.
    fn rsa(&self) -> Option<PublicKey> {
        if self.number(1)? != 3 {
            return None;
        }
        PublicKey::from_rsa_numbers(self.bytes(-1)?, self.bytes(-2)?).ok()
    }
}

/// The first CBOR item (RFC 8949) of some bytes, and what follows it.
pub(super) fn cbor(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH).ok()?;
    Some((value, rest))
}
