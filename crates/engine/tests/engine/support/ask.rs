//! Short ways to say what is asked.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::keys::{Create, CreateSpec};
use keyreeve_engine::ops::{KeyReply, Payload};
use keyreeve_engine::{KeyRef, KeyringRef};
use keyreeve_model::key::{Activation, Scope};
use keyreeve_model::{EncryptionContext, KeyMetadata, Label, Name, Protection};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub(crate) fn keyring(text: &str) -> KeyringRef {
    text.parse().unwrap()
}

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    let pairs: BTreeMap<String, String> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    EncryptionContext::try_from(pairs).unwrap()
}

pub(crate) fn payloads(items: &[&[u8]]) -> Arc<[Payload]> {
    items.iter().map(|item| Payload::from(item.to_vec())).collect()
}

pub(crate) fn key_of(reply: &KeyReply) -> KeyRef {
    KeyRef::Id(reply.key.id())
}

/// A key in the first keyring, as plain as can be.
pub(crate) fn create(algorithm: KeyAlgorithm) -> CreateSpec {
    CreateSpec {
        keyring: keyring("default"),
        algorithm,
        purpose: None,
        scope: Scope::Both,
        exportable: false,
        protection: Protection::Software,
        activation: Activation::Now,
        deactivates: None,
        deterministic_reason: None,
        metadata: KeyMetadata::default(),
        environment: None,
        reason: label("test"),
    }
}

/// The operation for a specification that is right.
pub(crate) trait Checked {
    fn checked(self) -> Create;
}

impl Checked for CreateSpec {
    fn checked(self) -> Create {
        Create::new(self).unwrap()
    }
}
