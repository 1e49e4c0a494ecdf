//! Somebody who issues tokens, with keys of each kind.

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random, SignatureScheme};
use keyreeve_identity::{JwsAlgorithm, KeySet};
use keyreeve_model::UnixMillis;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// An instant at a whole second.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn at(seconds: i64) -> UnixMillis {
    UnixMillis(seconds * 1000)
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

pub(crate) struct Issuer {
    random: Random,
    keys: Vec<(KeyAlgorithm, LoadedKey)>,
}

/// Made once: an RSA key takes its time.
pub(crate) fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(Issuer::new)
}

const fn scheme(algorithm: JwsAlgorithm) -> (KeyAlgorithm, SignatureScheme) {
    match algorithm {
        JwsAlgorithm::Rs256 => (KeyAlgorithm::Rsa2048, SignatureScheme::RsaPkcs1Sha256),
        JwsAlgorithm::Rs384 => (KeyAlgorithm::Rsa2048, SignatureScheme::RsaPkcs1Sha384),
        JwsAlgorithm::Rs512 => (KeyAlgorithm::Rsa2048, SignatureScheme::RsaPkcs1Sha512),
        JwsAlgorithm::Ps256 => (KeyAlgorithm::Rsa2048, SignatureScheme::RsaPssSha256),
        JwsAlgorithm::Ps384 => (KeyAlgorithm::Rsa2048, SignatureScheme::RsaPssSha384),
        JwsAlgorithm::Ps512 => (KeyAlgorithm::Rsa2048, SignatureScheme::RsaPssSha512),
        JwsAlgorithm::Es256 => (KeyAlgorithm::EcP256, SignatureScheme::EcdsaSha256),
        JwsAlgorithm::Es384 => (KeyAlgorithm::EcP384, SignatureScheme::EcdsaSha384),
        JwsAlgorithm::EdDsa => (KeyAlgorithm::Ed25519, SignatureScheme::Ed25519),
    }
}

/// The kid of the key that makes these signatures.
pub(crate) fn kid(algorithm: JwsAlgorithm) -> &'static str {
    scheme(algorithm).0.name()
}

impl Issuer {
    fn new() -> Self {
        let random = Random::from_module().unwrap();
        let algorithms = [KeyAlgorithm::Rsa2048, KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::Ed25519];
        let keys = algorithms.map(|algorithm| {
            let material = Material::generate(algorithm, &random).unwrap();
            (algorithm, LoadedKey::load(&material, Purpose::Sign).unwrap())
        });
        Self { random, keys: keys.into() }
    }

    fn key(&self, algorithm: KeyAlgorithm) -> &LoadedKey {
        &self.keys.iter().find(|(listed, _)| *listed == algorithm).unwrap().1
    }

    /// Signs any header and payload.
    pub(crate) fn sign_raw(&self, algorithm: JwsAlgorithm, header: &[u8], payload: &[u8]) -> String {
        let (key, scheme) = scheme(algorithm);
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.key(key).sign(&self.random, scheme, Message::Raw(signed.as_bytes())).unwrap();
        let signature = match key {
            KeyAlgorithm::EcP256 => fixed(&signature, 32),
            KeyAlgorithm::EcP384 => fixed(&signature, 48),
            _ => signature,
        };
        format!("{signed}.{}", encode(&signature))
    }

    pub(crate) fn sign(&self, algorithm: JwsAlgorithm, claims: &Value) -> String {
        let header = json!({"alg": algorithm.name(), "kid": kid(algorithm), "typ": "JWT"});
        self.sign_raw(algorithm, header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// One public key in the form of RFC 7517.
    pub(crate) fn jwk(&self, algorithm: KeyAlgorithm) -> Value {
        let public = self.key(algorithm).public_key().unwrap();
        match algorithm {
            KeyAlgorithm::Rsa2048 => {
                // SubjectPublicKeyInfo of a 2048-bit key: the modulus is 256 bytes before the exponent's five.
                let spki = public.spki();
                let modulus = &spki[spki.len() - 261..spki.len() - 5];
                json!({"kty": "RSA", "kid": algorithm.name(), "use": "sig", "n": encode(modulus), "e": "AQAB"})
            }
            KeyAlgorithm::Ed25519 => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": algorithm.name(), "x": encode(public.raw().unwrap())})
            }
            _ => {
                let point = &public.raw().unwrap()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if algorithm == KeyAlgorithm::EcP256 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "kid": algorithm.name(), "x": encode(x), "y": encode(y)})
            }
        }
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": self.keys.iter().map(|(algorithm, _)| self.jwk(*algorithm)).collect::<Vec<_>>()})
    }

    pub(crate) fn key_set(&self) -> KeySet {
        KeySet::parse(self.jwks().to_string().as_bytes()).unwrap()
    }
}

/// An ECDSA signature in DER as two numbers of a fixed length (RFC 7518 section 3.4).
fn fixed(der: &[u8], len: usize) -> Vec<u8> {
    let number = |at: usize| {
        let size = usize::from(der[at + 1]);
        (&der[at + 2..at + 2 + size], at + 2 + size)
    };
    let (r, next) = number(2);
    let (s, _) = number(next);
    let mut out = Vec::new();
    for number in [r, s] {
        let number: Vec<u8> = number.iter().skip_while(|byte| **byte == 0).copied().collect();
        out.extend(std::iter::repeat_n(0, len - number.len()));
        out.extend(number);
    }
    out
}

/// Claims that count at [`NOW`].
pub(crate) fn claims() -> Value {
    let (iat, exp) = (NOW - 10, NOW + 290);
    json!({"iss": "https://id.example", "sub": "alice", "aud": "keyreeve", "iat": iat, "exp": exp, "jti": "1"})
}

/// With one member changed; `null` takes it away.
pub(crate) fn with(mut claims: Value, name: &str, value: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    claims
}
