//! A small catalogue, and principals, keys and circumstances to ask about.

use keyreeve_policy::{
    ActionSpec, ContextAttrs, KeyAttrs, KeyringAttrs, Method, PolicyName, PolicyProblem, PolicySet, PrincipalAttrs,
    PrincipalKind, ResourceAttrs, ResourceDetails, ResourceKind, Revision, Schema,
};
use std::collections::BTreeMap;

const fn spec(name: &'static str, resource: ResourceKind, groups: &'static [&'static str]) -> ActionSpec {
    ActionSpec { name, resource, groups }
}

use ResourceKind::{Approval, Audit, Case, Grant, Key, Keyring, Login, Policy, Principal, System, Token};

/// A small catalogue, one or two actions for each group and kind of resource. It is not the engine's: what the shipped
/// policies allow of that is tested there, in `crates/engine/tests/engine/roles.rs`, through the whole pipeline.
pub(crate) const CATALOGUE: &[ActionSpec] = &[
    spec("system.unseal", System, &["bootstrap"]),
    spec("system.status", System, &["bootstrap", "system"]),
    spec("system.seal", System, &["system"]),
    spec("keyring.create", Keyring, &["lifecycle"]),
    spec("keyring.rotate-kek", Keyring, &["lifecycle"]),
    spec("root.migrate", System, &["lifecycle"]),
    spec("root.join", System, &["system"]),
    spec("root.retire", System, &["system"]),
    spec("keyring.describe", Keyring, &["read"]),
    spec("key.describe", Key, &["read"]),
    spec("key.rotate", Key, &["lifecycle", "replace"]),
    spec("key.compromise", Key, &["lifecycle", "revoke"]),
    spec("key.destroy", Key, &["lifecycle", "scheduled"]),
    spec("key.verify-destruction", Key, &["scheduled"]),
    spec("key.export", Key, &["export"]),
    spec("key.encrypt", Key, &["encrypt-side"]),
    spec("key.decrypt", Key, &["decrypt-side"]),
    spec("key.sign", Key, &["sign-side"]),
    spec("key.verify", Key, &["verify-side"]),
    spec("key.derive", Key, &["derive-side"]),
    spec("login.jwt", Login, &["login"]),
    spec("random.generate", System, &["self"]),
    // No token action of the engine is everybody's; this one tests that it would be for one's own only.
    spec("token.renew", Token, &["self"]),
    spec("token.revoke", Token, &["access"]),
    spec("principal.put", Principal, &["access"]),
    spec("policy.describe", Policy, &["access", "audit"]),
    spec("audit.search", Audit, &["audit"]),
    spec("audit.prove", Audit, &["audit", "self"]),
    // Of groups that no shipped role has yet, or that policies of the tests use.
    spec("grant.revoke", Grant, &["grant"]),
    spec("approval.vote", Approval, &["approve"]),
    spec("login-method.put", Login, &["access"]),
    spec("incident.close", Case, &["emergency"]),
    spec("rules.put", System, &["govern"]),
    spec("hold.place", Key, &["hold"]),
    spec("review.decide", Case, &["review"]),
    spec("escrow.describe", System, &["escrow"]),
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
        hold: true,
        incident: true,
        exportable: false,
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
        Grant => ResourceDetails::Grant { principal: of.name.clone(), key: "key-1".to_owned() },
        Approval => ResourceDetails::Approval { operation: "key.rotate".to_owned(), proposer: of.name.clone() },
        Login => ResourceDetails::Login { name: "sso".to_owned(), kind: "oidc".to_owned() },
        Case => ResourceDetails::Case { kind: "incident".to_owned() },
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
        mfa_kind: None,
        login: None,
        emergency: false,
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
