//! What policies see of a key.

use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_model::metadata::Label;
use keyreeve_model::{KeyMetadata, State};
use keyreeve_policy::KeyAttrs;
use std::collections::BTreeSet;

/// The attributes of a key, or of one that is to be made; without its keyring.
pub(crate) fn attrs_of(algorithm: KeyAlgorithm, purpose: Purpose, state: State, metadata: &KeyMetadata) -> KeyAttrs {
    let texts = |set: &BTreeSet<Label>| set.iter().map(ToString::to_string).collect();
    KeyAttrs {
        aliases: metadata.aliases.iter().map(ToString::to_string).collect(),
        algorithm: algorithm.to_string(),
        purpose: purpose.to_string(),
        state: state.name().to_owned(),
        classification: metadata.classification.level(),
        environment: metadata.environment.name().to_owned(),
        owner: metadata.owner.to_string(),
        custodians: texts(&metadata.custodians),
        consumers: texts(&metadata.consumers),
        labels: metadata.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        ..KeyAttrs::default()
    }
}
