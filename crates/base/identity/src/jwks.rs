//! Key sets: the public keys that an issuer signs with (JSON Web Key, RFC 7517, RFC 7518 section 6, RFC 8037).

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use keyreeve_crypto::{KeyAlgorithm, PublicKey};
use keyreeve_model::login::JwsAlgorithm;
use serde_json::{Map, Value};

use crate::error::IdentityError;
use crate::json;

/// The longest key set in bytes.
pub const KEY_SET_MAX: usize = 256 * 1024;
/// The most keys that are looked at in one set.
pub const KEYS_MAX: usize = 100;
/// The longest key id in bytes.
pub const KID_MAX: usize = 256;

const WHAT: &str = "key set";
/// Modulus lengths in bytes: 2048 bits, below which a key is too weak (SP 800-131A), to 8192.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// What a key is, which decides what it may verify: never the token alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyType {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyType {
    const fn fits(self, algorithm: JwsAlgorithm) -> bool {
        use JwsAlgorithm as A;
        match algorithm {
            A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512 => matches!(self, Self::Rsa),
            A::Es256 => matches!(self, Self::P256),
            A::Es384 => matches!(self, Self::P384),
            A::EdDsa => matches!(self, Self::Ed25519),
        }
    }
}

const fn foreign(algorithm: JwsAlgorithm) -> Algorithm {
    match algorithm {
        JwsAlgorithm::Rs256 => Algorithm::RS256,
        JwsAlgorithm::Rs384 => Algorithm::RS384,
        JwsAlgorithm::Rs512 => Algorithm::RS512,
        JwsAlgorithm::Ps256 => Algorithm::PS256,
        JwsAlgorithm::Ps384 => Algorithm::PS384,
        JwsAlgorithm::Ps512 => Algorithm::PS512,
        JwsAlgorithm::Es256 => Algorithm::ES256,
        JwsAlgorithm::Es384 => Algorithm::ES384,
        JwsAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// One public key.
#[derive(Clone, Debug)]
struct Key {
    kid: Option<String>,
    /// The one algorithm that its owner uses it for, if he says so.
    algorithm: Option<JwsAlgorithm>,
    kind: KeyType,
    key: DecodingKey,
}

impl Key {
    fn fits(&self, algorithm: JwsAlgorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

/// The public keys of an issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

impl KeySet {
    /// Reads a key set. Keys of other types, other uses and with wrong parts are skipped, as RFC 7517 section 5 wants
    /// it: others of the set may be newer than this server.
    ///
    /// # Errors
    /// [`IdentityError::TooLarge`], [`IdentityError::Malformed`], [`IdentityError::Duplicate`];
    /// [`IdentityError::PrivateKey`] when it gives away private keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdentityError> {
        let set = json::object(WHAT, bytes, KEY_SET_MAX)?;
        let Some(Value::Array(listed)) = set.get("keys") else {
            return Err(IdentityError::Malformed { what: WHAT });
        };
        if listed.len() > KEYS_MAX {
            return Err(IdentityError::TooLarge { what: WHAT, max: KEYS_MAX });
        }
        let mut keys = Vec::with_capacity(listed.len());
        for value in listed {
            let Value::Object(jwk) = value else { return Err(IdentityError::Malformed { what: WHAT }) };
            let asymmetric = text(jwk, "kty") != Some("oct");
            if asymmetric && jwk.contains_key("d") {
                return Err(IdentityError::PrivateKey);
            }
            keys.extend(key(jwk));
        }
        Ok(Self { skipped: listed.len() - keys.len(), keys })
    }

    /// How many keys there are that can verify something.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when nothing can be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys were skipped.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether there is a key of this id.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Verifies a signature over `input`; `signature` is in base64url as it stands in the token.
    pub(crate) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: JwsAlgorithm,
        input: &str,
        signature: &str,
    ) -> Result<(), IdentityError> {
        let unknown = || IdentityError::UnknownKey(kid.map(str::to_owned));
        let named: Vec<&Key> = match kid {
            Some(kid) => self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).collect(),
            None => self.keys.iter().filter(|key| key.fits(algorithm)).collect(),
        };
        // Without an id there must be no doubt about which key is meant (OpenID Connect Core section 10.1).
        if named.is_empty() || (kid.is_none() && named.len() > 1) {
            return Err(unknown());
        }
        let mut fitting = named.into_iter().filter(|key| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(IdentityError::KeyMisfit);
        }
        let good = fitting.any(|key| {
            jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key.key, foreign(algorithm)).unwrap_or(false)
        });
        if good { Ok(()) } else { Err(IdentityError::Signature) }
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    jwk.get(member).and_then(Value::as_str)
}

fn bytes(jwk: &Map<String, Value>, member: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text(jwk, member)?.as_bytes()).ok()
}

/// The key, unless it is not for us.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    if jwk.get("use").is_some_and(|used| used.as_str() != Some("sig")) || !may_verify(jwk.get("key_ops")) {
        return None;
    }
    let algorithm = match jwk.get("alg") {
        Some(named) => Some(named.as_str()?.parse().ok()?),
        None => None,
    };
    let kid = match jwk.get("kid") {
        Some(kid) => Some(kid.as_str().filter(|kid| kid.len() <= KID_MAX)?.to_owned()),
        None => None,
    };
    let (kind, key) = match (text(jwk, "kty")?, text(jwk, "crv")) {
        ("RSA", None) => (KeyType::Rsa, rsa(jwk)?),
        ("EC", Some("P-256")) => (KeyType::P256, ec(jwk, KeyAlgorithm::EcP256, 32)?),
        ("EC", Some("P-384")) => (KeyType::P384, ec(jwk, KeyAlgorithm::EcP384, 48)?),
        ("OKP", Some("Ed25519")) => {
            let raw = bytes(jwk, "x")?;
            PublicKey::from_raw(KeyAlgorithm::Ed25519, &raw).ok()?;
            (KeyType::Ed25519, DecodingKey::from_ed_der(&raw))
        }
        // Symmetric keys never: whoever could publish one could sign with it.
        _ => return None,
    };
    let key = Key { kid, algorithm, kind, key };
    key.algorithm.is_none_or(|only| kind.fits(only)).then_some(key)
}

fn may_verify(operations: Option<&Value>) -> bool {
    match operations {
        None => true,
        Some(Value::Array(listed)) => listed.iter().any(|operation| operation.as_str() == Some("verify")),
        Some(_) => false,
    }
}

fn rsa(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let significant = |number: &[u8]| number.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let (n, e) = (significant(&n), significant(&e));
    // An odd exponent of three bytes is above 2^16 (FIPS 186-5, A.1.1); the top bit makes the length exact.
    let exponent = (3..=8).contains(&e.len()) && e.last().is_some_and(|byte| byte & 1 == 1);
    let modulus = RSA_BYTES.contains(&n.len()) && (n.len() > 256 || n.first().is_some_and(|byte| byte & 0x80 != 0));
    (exponent && modulus).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
}

fn ec(jwk: &Map<String, Value>, algorithm: KeyAlgorithm, len: usize) -> Option<DecodingKey> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != len || y.len() != len {
        return None;
    }
    let point = [&[0x04], &x[..], &y[..]].concat();
    PublicKey::from_raw(algorithm, &point).ok()?;
    Some(DecodingKey::from_ec_der(&point))
}
