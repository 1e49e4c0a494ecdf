//! An authenticator in memory, with the page that asks it: what `navigator.credentials` would answer.

use ciborium::Value;
use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random, SignatureScheme};
use keyreeve_engine::ops::mfa::{Assertion, ChallengeReply, WebAuthnFinish, WebAuthnStarted};
use std::cell::Cell;
use std::collections::BTreeSet;

use super::label;

/// The origin of the page, and the relying party that houses have.
pub(crate) const ORIGIN: &str = "https://localhost:7433";

pub(crate) struct Authenticator {
    key: LoadedKey,
    id: [u8; 32],
    /// What its counter says next.
    pub(crate) count: Cell<u32>,
    /// Whether it asks for a PIN.
    pub(crate) verifies: Cell<bool>,
}

impl Authenticator {
    pub(crate) fn new() -> Self {
        let random = Random::from_module().unwrap();
        let material = Material::generate(KeyAlgorithm::Ed25519, &random).unwrap();
        let key = LoadedKey::load(&material, Purpose::Sign).unwrap();
        let id = random.nonce_array().unwrap();
        Self { key, id, count: Cell::new(1), verifies: Cell::new(true) }
    }

    fn client_data(ceremony: &str, challenge: &[u8]) -> Vec<u8> {
        let challenge = BASE64URL_NOPAD.encode(challenge);
        format!(r#"{{"type":"{ceremony}","challenge":"{challenge}","origin":"{ORIGIN}","crossOrigin":false}}"#)
            .into_bytes()
    }

    fn auth_data(&self, relying: &str, made: bool) -> Vec<u8> {
        let flags = if self.verifies.get() { 0x05 } else { 0x01 } | if made { 0x40 } else { 0 };
        let mut data = sha256(relying.as_bytes()).to_vec();
        data.push(flags);
        data.extend_from_slice(&self.count.get().to_be_bytes());
        self.count.set(self.count.get() + 1);
        if made {
            let raw = self.key.public_key().unwrap().raw().unwrap().to_vec();
            let pair = |name: i64, value: Value| (Value::from(name), value);
            let key = [pair(1, 1.into()), pair(3, (-8).into()), pair(-1, 6.into()), pair(-2, Value::Bytes(raw))];
            data.extend_from_slice(&[0; 16]);
            data.extend_from_slice(&[0, 32]);
            data.extend_from_slice(&self.id);
            ciborium::into_writer(&Value::Map(key.to_vec()), &mut data).unwrap();
        }
        data
    }

    /// Answers to a registration.
    pub(crate) fn make(&self, asked: &WebAuthnStarted) -> WebAuthnFinish {
        let entry = |name: &str, value| (Value::from(name), value);
        let object = Value::Map(vec![
            entry("fmt", "none".into()),
            entry("attStmt", Value::Map(Vec::new())),
            entry("authData", Value::Bytes(self.auth_data(&asked.relying, true))),
        ]);
        let mut attestation = Vec::new();
        ciborium::into_writer(&object, &mut attestation).unwrap();
        WebAuthnFinish {
            challenge: asked.id,
            label: label("key"),
            client_data: Self::client_data("webauthn.create", &asked.challenge),
            attestation,
            transports: BTreeSet::from(["usb".to_owned(), "telepathy".to_owned()]),
        }
    }

    /// Answers to a challenge.
    pub(crate) fn sign(&self, asked: &ChallengeReply) -> Assertion {
        assert!(asked.credentials.iter().any(|id| id == &self.id));
        let client_data = Self::client_data("webauthn.get", &asked.challenge);
        let auth_data = self.auth_data(&asked.relying, false);
        let message = [auth_data.as_slice(), &sha256(&client_data)].concat();
        let random = Random::from_module().unwrap();
        let signature = self.key.sign(&random, SignatureScheme::Ed25519, Message::Raw(&message)).unwrap();
        Assertion { challenge: asked.id, credential_id: self.id.to_vec(), client_data, auth_data, signature }
    }
}
