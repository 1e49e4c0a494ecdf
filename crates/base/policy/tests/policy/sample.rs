//! A catalogue like the engine's, and principals, keys and circumstances to ask about.

use keyreeve_policy::{
    ActionSpec, ContextAttrs, KeyAttrs, KeyringAttrs, Method, PolicyName, PolicyProblem, PolicySet, PrincipalAttrs,
    PrincipalKind, ResourceAttrs, ResourceDetails, ResourceKind, Revision, Schema,
};
use std::collections::BTreeMap;

const fn spec(name: &'static str, resource: ResourceKind, groups: &'static [&'static str]) -> ActionSpec {
    ActionSpec { name, resource, groups }
}

use ResourceKind::{Audit, Key, Keyring, Policy, Principal, System, Token};

pub(crate) const CATALOGUE: &[ActionSpec] = &[
    spec("system.init", System, &["system", "bootstrap"]),
    spec("system.unseal", System, &["system", "bootstrap"]),
    spec("system.seal", System, &["system"]),
    spec("system.status", System, &["system", "bootstrap"]),
    spec("keyring.create", Keyring, &["lifecycle"]),
    spec("keyring.list", Keyring, &["read"]),
    spec("keyring.describe", Keyring, &["read"]),
    spec("keyring.rotate", Keyring, &["lifecycle", "scheduled"]),
    spec("key.create", Key, &["lifecycle"]),
    spec("key.import", Key, &["lifecycle"]),
    spec("key.list", Keyring, &["read"]),
    spec("key.describe", Key, &["read"]),
    spec("key.public-key", Key, &["read"]),
    spec("key.update", Key, &["lifecycle"]),
    spec("key.rotate", Key, &["lifecycle", "scheduled"]),
    spec("key.activate", Key, &["lifecycle", "scheduled"]),
    spec("key.suspend", Key, &["lifecycle"]),
    spec("key.resume", Key, &["lifecycle"]),
    spec("key.deactivate", Key, &["lifecycle", "scheduled"]),
    spec("key.compromise", Key, &["lifecycle"]),
    spec("key.schedule-destruction", Key, &["lifecycle"]),
    spec("key.cancel-destruction", Key, &["lifecycle"]),
    spec("key.destroy", Key, &["lifecycle", "scheduled"]),
    spec("key.export", Key, &["export"]),
    spec("key.encrypt", Key, &["encrypt-side"]),
    spec("key.decrypt", Key, &["decrypt-side"]),
    spec("key.re-encrypt-from", Key, &["decrypt-side"]),
    spec("key.re-encrypt-to", Key, &["encrypt-side"]),
    spec("key.rewrap", Key, &["encrypt-side"]),
    spec("key.generate-data-key", Key, &["encrypt-side"]),
    spec("key.generate-data-key-without-plaintext", Key, &["encrypt-side"]),
    spec("key.unwrap-data-key", Key, &["decrypt-side"]),
    spec("key.sign", Key, &["sign-side"]),
    spec("key.verify", Key, &["verify-side"]),
    spec("key.mac", Key, &["sign-side"]),
    spec("key.verify-mac", Key, &["verify-side"]),
    spec("key.derive", Key, &["derive-side"]),
    spec("key.wrap", Key, &["encrypt-side"]),
    spec("key.unwrap", Key, &["decrypt-side"]),
    spec("key.encapsulate", Key, &["encrypt-side"]),
    spec("key.decapsulate", Key, &["decrypt-side"]),
    spec("key.agree", Key, &["derive-side"]),
    spec("random.generate", System, &["self"]),
    spec("algorithm.list", System, &["self", "read"]),
    spec("token.create", Token, &["access"]),
    spec("token.list", Token, &["access"]),
    spec("token.revoke", Token, &["access"]),
    spec("token.self", Token, &["self"]),
    spec("principal.put", Principal, &["access"]),
    spec("principal.list", Principal, &["access", "read"]),
    spec("principal.delete", Principal, &["access"]),
    spec("policy.put", Policy, &["access"]),
    spec("policy.list", Policy, &["access", "read"]),
    spec("policy.delete", Policy, &["access"]),
    spec("policy.explain", Policy, &["access", "read"]),
    spec("audit.read", Audit, &["audit"]),
    spec("audit.search", Audit, &["audit"]),
    spec("audit.prove", Audit, &["audit"]),
];

/// 2027-01-15T08:00:00Z
pub(crate) const NOW_MS: i64 = 1_800_000_000_000;

pub(crate) fn principal(name: &str, kind: PrincipalKind, roles: &[&str]) -> PrincipalAttrs {
    PrincipalAttrs {
        id: format!("pr-{name}"),
        revision: Revision::At(1),
        name: name.to_owned(),
        kind,
        roles: roles.iter().map(ToString::to_string).collect(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        labels: BTreeMap::new(),
    }
}

pub(crate) fn key(id: &str, consumers: &[&str]) -> ResourceAttrs {
    let details = KeyAttrs {
        keyring_id: "ring-1".to_owned(),
        keyring: "payments".to_owned(),
        aliases: vec![format!("alias-{id}")],
        algorithm: "XAES-256-GCM".to_owned(),
        purpose: "encrypt-decrypt".to_owned(),
        state: "active".to_owned(),
        classification: 3,
        environment: "production".to_owned(),
        owner: "payments-team".to_owned(),
        custodians: vec!["carol".to_owned()],
        consumers: consumers.iter().map(ToString::to_string).collect(),
        labels: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
    };
    ResourceAttrs { id: id.to_owned(), revision: Revision::At(1), details: ResourceDetails::Key(Box::new(details)) }
}

/// A resource of the kind, which is the principal's own where there is such a thing.
pub(crate) fn resource(kind: ResourceKind, of: &PrincipalAttrs) -> ResourceAttrs {
    let details = match kind {
        Key => return key("key-1", &[&of.name]),
        System => ResourceDetails::System,
        Audit => ResourceDetails::Audit,
        Policy => ResourceDetails::Policy,
        Token => ResourceDetails::Token { principal: of.name.clone() },
        Principal => {
            let other = principal("somebody", PrincipalKind::Person, &[]);
            let id = other.id.clone();
            return ResourceAttrs {
                id,
                revision: Revision::At(1),
                details: ResourceDetails::Principal(Box::new(other)),
            };
        }
        Keyring => ResourceDetails::Keyring(KeyringAttrs {
            name: "payments".to_owned(),
            classification: 3,
            environment: "production".to_owned(),
            owner: "payments-team".to_owned(),
            labels: BTreeMap::new(),
        }),
    };
    ResourceAttrs { id: "resource-1".to_owned(), revision: Revision::At(1), details }
}

pub(crate) fn context() -> ContextAttrs<'static> {
    ContextAttrs {
        source_ip: Some("10.1.2.3".parse().unwrap()),
        time_ms: NOW_MS,
        method: Method::Token,
        mfa_age_seconds: None,
        encryption_context: None,
        items: 1,
    }
}

pub(crate) fn name(text: &str) -> PolicyName {
    PolicyName::new(text).unwrap()
}

pub(crate) fn schema() -> Schema {
    Schema::generate(CATALOGUE).unwrap()
}

pub(crate) fn compile(text: &str) -> Result<PolicySet, Vec<PolicyProblem>> {
    PolicySet::compile(&schema(), [(name("test"), text)])
}
