//! No operation without an authorization case and an audit case: the catalogue is the list, the cases must cover it.

use keyreeve_audit::{Method, Outcome, Record};
use keyreeve_engine::catalogue::{self, AuditClass};
use keyreeve_engine::ops::cipher::ReEncrypt;
use keyreeve_engine::{Code, Descriptor};
use keyreeve_journal::Journal;
use keyreeve_model::EncryptionContext;
use std::collections::BTreeSet;

use crate::cases::{self, Case, Run, Stage};
use crate::support::{House, Who};

/// Operations that nobody calls by themselves, with what covers them instead. May only shrink.
const NOT_CALLED: [(&str, &str); 10] = [
    ("system.started", "done by the server when it opens: the tests of anchors have its record"),
    ("system.rolled-back", "done by the server that finds itself to be old: the tests of anchors have its record"),
    ("integrity.quarantine", "done by the server where it meets damage: the tests of integrity have its record"),
    ("backup.restored", "done by the server once it was restored: the tests of backups have its record"),
    ("backup.record", "done by the server: the tests of backups have its record"),
    ("job.step", "done by the server: the tests of named roots have its record"),
    ("key.verify-destruction", "done by the server after each destruction: the case of key.destroy has its record"),
    ("key.end-material", "done by the server when imported material is over: the tests of transport have its record"),
    (
        "emergency.look-after",
        "done by the server where something was renewed: the tests of emergencies have its record",
    ),
    ("key.re-encrypt-to", "decided together with key.re-encrypt-from: its own test is below"),
];

/// Operations that leave no record. Reviewed by hand: each reveals nothing but whether the server is well.
const COUNTED: [&str; 3] = ["system.health", "system.status", "system.metrics"];

/// What anybody may do, who they are not being known.
const FOR_ANYBODY: [&str; 14] = [
    "credential.unwrap",
    "login.certificate",
    "login.credential",
    "login.jwt",
    "login.ldap",
    "login.methods",
    "login.oidc-finish",
    "login.oidc-start",
    "request.refuse",
    "system.health",
    "system.init",
    "system.metrics",
    "system.status",
    "system.unseal",
];

/// What everybody may do who is known.
const FOR_THE_KNOWN: &[&str] = &[
    "token.renew",
    "token.revoke-self",
    "algorithm.list",
    "approval.describe",
    "approval.execute",
    "approval.list",
    "approval.vote",
    "approval.withdraw",
    "audit.prove",
    "escrow.give-share",
    "escrow.verify-share",
    "grant.self",
    "mfa.challenge",
    "mfa.recovery-codes",
    "mfa.remove",
    "mfa.status",
    "mfa.totp-finish",
    "mfa.totp-start",
    "mfa.verify",
    "mfa.webauthn-finish",
    "mfa.webauthn-start",
    "random.generate",
    "root.reshare-give",
    "root.verify-share",
    "token.self",
];

/// What is refused even to the developer, because of the state of the house: it is initialised, its root takes no
/// shares, and without rules of approval nothing is to be confirmed and
/// there is no emergency.
const REFUSED_BY_STATE: &[(&str, Code)] = &[
    ("backup.create", Code::WrongState),
    ("backup.verify", Code::WrongState),
    ("drill.restore", Code::WrongState),
    ("backup.acknowledge", Code::WrongState),
    // Nobody has shown a share of the escrow key that waits, and nothing is deposited.
    ("escrow.accept-key", Code::WrongState),
    ("escrow.verify-share", Code::InvalidShare),
    ("escrow.open-campaign", Code::WrongState),
    ("escrow.hand-in-rehearsal", Code::WrongState),
    ("escrow.deposit", Code::WrongState),
    ("escrow.recover", Code::NotFound),
    ("escrow.give-share", Code::NotFound),
    ("escrow.recovery", Code::NotFound),
    ("escrow.abandon-recovery", Code::NotFound),
    ("system.init", Code::WrongState),
    ("system.unseal", Code::InvalidRequest),
    ("system.accept-rollback", Code::WrongState),
    ("root.holders", Code::InvalidRequest),
    ("root.name-holder", Code::InvalidRequest),
    ("root.challenge", Code::InvalidRequest),
    ("root.verify-share", Code::InvalidRequest),
    ("root.reshare", Code::InvalidRequest),
    ("root.reshare-give", Code::InvalidRequest),
    ("root.reshare-show", Code::InvalidRequest),
    ("root.reshare-commit", Code::InvalidRequest),
    ("root.reshare-abandon", Code::InvalidRequest),
    ("token.renew", Code::WrongState),
    ("grant.request", Code::WrongState),
    ("incident.confirm", Code::WrongState),
    // Nothing waits where the rules are not in force, and there they never are.
    ("approval.describe", Code::NotFound),
    ("approval.vote", Code::NotFound),
    ("approval.withdraw", Code::NotFound),
    ("approval.execute", Code::NotFound),
    ("governance.enact", Code::WrongState),
    ("emergency.declare", Code::OtherPersonNeeded),
    ("key.export", Code::OtherPersonNeeded),
    // All of it was given by who runs the cases.
    ("review.decide", Code::OtherPersonNeeded),
    ("review.close", Code::WrongState),
    ("emergency.end", Code::NotFound),
    ("emergency.describe", Code::NotFound),
    ("emergency.review", Code::NotFound),
    // There is one root of trust, and no job.
    ("root.join", Code::InvalidRequest),
    ("root.retire", Code::NotFound),
    ("root.migrate", Code::InvalidRequest),
    ("job.describe", Code::NotFound),
    ("job.cancel", Code::NotFound),
    // Nothing is damaged.
    ("integrity.describe", Code::NotFound),
    ("integrity.release", Code::NotFound),
];

fn row(case: &Case) -> &'static Descriptor {
    catalogue::find(case.name).unwrap()
}

#[test]
fn every_operation_has_a_case_or_is_excepted() {
    let cased: Vec<&str> = cases::all().map(|case| case.name).collect();
    let unique: BTreeSet<&str> = cased.iter().copied().collect();
    assert_eq!(cased.len(), unique.len(), "an operation has two cases");
    for row in catalogue::ALL {
        let excepted = NOT_CALLED.iter().any(|(name, _)| *name == row.name);
        assert!(unique.contains(row.name) != excepted, "`{}` needs a case in tests/engine/cases/", row.name);
    }
    assert_eq!(unique.len() + NOT_CALLED.len(), catalogue::ALL.len(), "a case of an operation that is no more");
}

#[test]
fn the_operations_without_a_record_are_these() {
    let counted: Vec<&str> =
        catalogue::ALL.iter().filter(|row| row.audit == AuditClass::Counted).map(|row| row.name).collect();
    assert_eq!(counted, COUNTED);
}

/// The records of one call, checked against what must be in every record.
async fn records_of(stage: &Stage, case: &Case, run: &Run, who: (&str, Method)) -> Vec<Record> {
    let bytes = stage.house.journal().read(run.entries.clone()).await.unwrap();
    let records: Vec<Record> = bytes.iter().map(|(_, bytes)| Record::decode(bytes).unwrap()).collect();
    let row = row(case);
    let AuditClass::Recorded(class) = row.audit else {
        assert!(records.is_empty() && run.record.is_none(), "{} is only counted", case.name);
        return records;
    };
    let own: Vec<&Record> = records.iter().filter(|record| record.operation == case.name).collect();
    let [record] = own[..] else { panic!("{} left {} records", case.name, own.len()) };
    assert_eq!(Some(record.id), run.record, "{}", case.name);
    assert_eq!((record.class, record.count), (class, 1), "{}", case.name);
    assert_eq!((record.request.as_str(), record.source.as_deref()), ("req-test", Some("10.1.2.3")));
    assert_eq!((record.actor.principal.as_str(), record.actor.method), who, "{}", case.name);
    let resource = record.resource.as_ref().unwrap();
    assert_eq!(resource.kind, row.resource.name().to_lowercase(), "{}", case.name);
    assert!(run.about.is_empty() || resource.id == run.about, "{}: about {}", case.name, resource.id);
    // To refuse is what it does.
    let refused = (case.name == "request.refuse").then_some("unknown-route");
    assert_eq!(record.outcome.code(), refused.or(run.code.map(Code::name)), "{}", case.name);
    assert!(!matches!(record.outcome, Outcome::Failed { .. }), "{}", case.name);
    records
}

#[tokio::test]
async fn nobody_is_refused_everything_but_opening_the_server() {
    let stage = Stage::new().await;
    for case in cases::all() {
        let run = (case.run)(&stage, &Who::Nobody).await;
        let refused = run.code == Some(Code::Unauthenticated);
        assert_eq!(refused, !FOR_ANYBODY.contains(&case.name), "{}: {:?}", case.name, run.code);
        let records = records_of(&stage, case, &run, ("anonymous", Method::Anonymous)).await;
        assert!(records.len() <= 1, "{}", case.name);
    }
}

#[tokio::test]
async fn a_principal_without_rights_gets_what_everybody_gets() {
    let stage = Stage::new().await;
    let stranger = stage.house.welcome(House::person("stranger", &[])).await;
    let allowed: Vec<&str> = [&FOR_ANYBODY[..], FOR_THE_KNOWN].concat();
    for case in cases::all() {
        // Tokens end while clocks are turned for the destructions.
        let run = (case.run)(&stage, &stranger).await;
        assert_eq!(run.code == Some(Code::Denied), !allowed.contains(&case.name), "{}: {:?}", case.name, run.code);
        assert_ne!(run.code, Some(Code::Unauthenticated), "{}", case.name);
        let records = records_of(&stage, case, &run, ("stranger", Method::Token)).await;
        assert!(records.len() <= 1, "{}", case.name);
    }
}

#[tokio::test]
async fn the_developer_does_everything_and_each_leaves_its_one_record() {
    let mut stage = Stage::new().await;
    for case in cases::all() {
        let run = (case.run)(&stage, &stage.house.developer).await;
        let by_state = REFUSED_BY_STATE.iter().find(|(name, _)| *name == case.name).map(|(_, code)| *code);
        assert_eq!(run.code, by_state, "{}", case.name);
        let records = records_of(&stage, case, &run, ("developer", Method::Token)).await;
        let others: Vec<&str> =
            records.iter().map(|record| record.operation.as_str()).filter(|name| *name != case.name).collect();
        let expected: &[&str] = if case.name == "key.destroy" { &["key.verify-destruction"] } else { &[] };
        assert_eq!(others, expected, "{}", case.name);
        if case.name == "system.seal" {
            stage.house.reopen().await;
        }
    }
    let observed: BTreeSet<&str> = stage.house.observed().into_iter().map(|(name, _)| name).collect();
    assert!(observed.contains("key.encrypt"), "every operation is told to the metrics");
    stage.house.verify_log().await;
}

#[tokio::test]
async fn what_failed_to_be_read_at_all_is_recorded_as_unknown() {
    let house = House::new().await;
    let before = house.journal().size();
    let forged = Who::Bearer(keyreeve_secret::SecretString::copy_from("krt_nonsense"));
    let refused = house.call(&forged, House::encrypting(&"key".parse().unwrap(), b"x")).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unauthenticated);
    let records = house.journal().read(before..before + 10).await.unwrap();
    let [(_, bytes)] = &records[..] else { panic!("{} records", records.len()) };
    let record = Record::decode(bytes).unwrap();
    assert_eq!(record.actor.principal, "unknown");
    assert_eq!(record.outcome, Outcome::Refused { code: "unauthenticated".into() });
    assert_eq!(Some(record.id), refused.record);
}

#[tokio::test]
async fn re_encrypting_needs_the_right_to_both_keys() {
    let house = House::new().await;
    let (from, to) = (house.aead().await, house.aead().await);
    let ciphertext = house.encrypt(&from, b"text").await;
    let moving = || ReEncrypt {
        from: from.clone(),
        to: to.clone(),
        from_context: EncryptionContext::default(),
        to_context: EncryptionContext::default(),
        items: [ciphertext.clone()].into(),
    };
    let reader = house.welcome(House::person("reader", &["key-user-decrypt"])).await;
    let writer = house.welcome(House::person("writer", &["key-user-encrypt"])).await;
    let both = house.welcome(House::person("both", &["key-user-encrypt", "key-user-decrypt"])).await;
    assert_eq!(house.code_for(&reader, moving()).await, Code::Denied);
    assert_eq!(house.code_for(&writer, moving()).await, Code::Denied);
    let moved = house.call(&both, moving()).await.unwrap().reply.items.remove(0).unwrap();
    assert_eq!(house.decrypt(&to, &moved).await, b"text");
    let record = house.records().await.into_iter().rfind(|record| record.operation == "key.re-encrypt-from").unwrap();
    assert_eq!(record.details["to_key"], to.to_string());
}
