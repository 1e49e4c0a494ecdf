//! A draft of the policies on trial: what it would have decided otherwise is counted and recorded, and nothing else
//! comes of it.

use keyreeve_audit::Outcome;
use keyreeve_engine::ops::policies::{
    Apply, Put, ShadowGroup, ShadowReport, ShadowStart, ShadowStarted, ShadowStop, Shadowed, Would,
};
use keyreeve_engine::ops::principals::{Delete as DeletePrincipal, PutSpec};
use keyreeve_engine::{Clock, Code};
use keyreeve_model::{Name, PrincipalKind};
use std::collections::BTreeMap;

use crate::support::{House, Who, label, name};

const NO_WRITING: &str = "forbid (principal in Keyreeve::Role::\"key-user-encrypt\", \
    action == Keyreeve::Action::\"key.encrypt\", resource);";
const READING: &str =
    "permit (principal == Keyreeve::Principal::\"writer\", action == Keyreeve::Action::\"key.decrypt\", resource);";

fn texts(of: &[(&str, &str)]) -> BTreeMap<Name, String> {
    of.iter().map(|(one, text)| (name(one), (*text).to_owned())).collect()
}

fn trial(of: &[(&str, &str)]) -> ShadowStart {
    ShadowStart { policies: texts(of), delete_others: false, comment: label("next month") }
}

async fn start(house: &House, of: &[(&str, &str)]) -> ShadowStarted {
    house.ask(trial(of)).await
}

async fn report(house: &House) -> Shadowed {
    house.ask(ShadowReport).await
}

/// The groups about one principal: action, what was, what would be, how often.
async fn groups(house: &House, principal: &str) -> Vec<(&'static str, bool, Would, u64)> {
    let counts = report(house).await.counts;
    let told = |group: &ShadowGroup| (group.action, group.allowed, group.would, group.count);
    let mut groups: Vec<_> = counts.groups.iter().filter(|group| group.principal == principal).map(told).collect();
    groups.sort_by_key(|group| group.0);
    groups
}

/// A principal's records of an operation: whether it was done, and what they say of the draft.
async fn noted(house: &House, principal: &str, operation: &str) -> Vec<(bool, Option<String>)> {
    let records = house.records().await;
    let of = records.iter().filter(|record| record.actor.principal == principal && record.operation == operation);
    of.map(|record| (record.outcome == Outcome::Ok, record.details.get("shadow").cloned())).collect()
}

async fn writer(house: &House) -> Who {
    house.welcome(House::person("writer", &["key-user-encrypt"])).await
}

#[tokio::test]
async fn differences_are_counted_and_recorded_and_no_outcome_is_another() {
    let house = House::new().await;
    let (key, writer) = (house.aead().await, writer(&house).await);
    let sealed = house.encrypt(&key, b"x").await;
    let began = Clock::now(&*house.clock);
    let started = start(&house, &[("no-writing", NO_WRITING), ("reading", READING)]).await;
    assert_eq!((started.draft.base, started.draft.at), (0, began));
    assert_eq!(started.changes.added, [name("no-writing"), name("reading")]);
    for _ in 0..3 {
        house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    }
    assert_eq!(house.code_for(&writer, House::decrypting(&key, &sealed)).await, Code::Denied);
    assert_eq!(house.decrypt(&key, &sealed).await, b"x", "the draft is about others");
    let expected = [("key.decrypt", false, Would::Allow, 1), ("key.encrypt", true, Would::Deny, 3)];
    assert_eq!(groups(&house, "writer").await, expected);
    let told = report(&house).await;
    assert_eq!((told.counts.differing, told.counts.ungrouped, told.problem), (4, 0, None));
    // Three and one of the writer, one of the developer, and the report before this one.
    assert_eq!((told.counts.asked, told.since, told.version), (6, began, 0));
    // The log has the same, and the ids of the records lead there.
    let deny = Some("deny".to_owned());
    assert_eq!(noted(&house, "writer", "key.encrypt").await, vec![(true, deny); 3]);
    assert_eq!(noted(&house, "writer", "key.decrypt").await, [(false, Some("allow".to_owned()))]);
    assert_eq!(noted(&house, "developer", "key.decrypt").await, [(true, None)]);
    let most = &told.counts.groups[0];
    let records = house.records().await;
    let last = records.iter().rfind(|record| record.operation == "key.encrypt").unwrap();
    assert_eq!(most.record, Some(last.id));
}

#[tokio::test]
async fn a_trial_is_recorded_and_ends() {
    let house = House::new().await;
    let (key, writer) = (house.aead().await, writer(&house).await);
    assert_eq!(house.code(ShadowReport).await, Code::NotFound);
    assert_eq!(house.code(ShadowStop).await, Code::NotFound);
    start(&house, &[("no-writing", NO_WRITING)]).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    house.ask(ShadowStop).await;
    assert_eq!(house.code(ShadowReport).await, Code::NotFound);
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(noted(&house, "writer", "key.encrypt").await, [(true, Some("deny".to_owned())), (true, None)]);
    let records = house.records().await;
    let of = |trial: &str| {
        let is = |record: &&keyreeve_audit::Record| record.details.get("trial").is_some_and(|told| told == trial);
        records.iter().find(is).unwrap().details.clone()
    };
    let (began, ended) = (of("started"), of("stopped"));
    for (detail, value) in [("base", "0"), ("policies", "1"), ("added", "no-writing")] {
        assert_eq!(began.get(detail).map(String::as_str), Some(value), "{detail}");
    }
    assert_eq!(ended.get("draft"), began.get("draft"));
    assert_eq!(ended.get("differing").map(String::as_str), Some("1"));
    // It begins anew, and counts anew.
    start(&house, &[("no-writing", NO_WRITING)]).await;
    assert_eq!(report(&house).await.counts.differing, 0);
}

#[tokio::test]
async fn a_draft_survives_a_restart_and_counts_from_then() {
    let mut house = House::new().await;
    let (key, writer) = (house.aead().await, writer(&house).await);
    let started = start(&house, &[("no-writing", NO_WRITING)]).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    house.pass(60_000).await;
    house.reopen().await;
    let told = report(&house).await;
    assert_eq!((told.draft, told.counts.differing), (started.draft.clone(), 0));
    assert!(told.since > started.draft.at, "{:?}", told.since);
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "writer").await, [("key.encrypt", true, Would::Deny, 1)]);
    assert_eq!(noted(&house, "writer", "key.encrypt").await, vec![(true, Some("deny".to_owned())); 2]);
}

#[tokio::test]
async fn the_draft_follows_changes_of_principals_and_not_those_of_policies() {
    let house = House::new().await;
    let (key, writer) = (house.aead().await, writer(&house).await);
    start(&house, &[("no-writing", NO_WRITING)]).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "writer").await, [("key.encrypt", true, Would::Deny, 1)]);
    // Another role by which it is allowed: the draft does not forbid that one.
    house.ask(House::putting("writer", &["developer"])).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "writer").await, [("key.encrypt", true, Would::Deny, 1)], "counted before it changed");
    // The same name and revision, given anew: no decision about the former one is taken for one about it.
    house.ask(DeletePrincipal { name: name("writer") }).await;
    let writer = self::writer(&house).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "writer").await, [("key.encrypt", true, Would::Deny, 2)]);
    // What others put meanwhile is not in the draft, which would differ where it now applies.
    house.ask(Put { name: name("reading"), text: READING.to_owned() }).await;
    let sealed = house.encrypt(&key, b"x").await;
    house.call(&writer, House::decrypting(&key, &sealed)).await.unwrap();
    let told = groups(&house, "writer").await;
    assert_eq!(told, [("key.decrypt", true, Would::Deny, 1), ("key.encrypt", true, Would::Deny, 2)]);
    assert_eq!(report(&house).await.version, 1);
}

#[tokio::test]
async fn a_draft_that_cannot_be_evaluated_is_a_difference_and_harms_nobody() {
    let house = House::new().await;
    let (key, writer) = (house.aead().await, writer(&house).await);
    // The sum overflows: well-typed, and yet it fails.
    let broken = "forbid (principal, action == Keyreeve::Action::\"key.encrypt\", resource)
        when { context.items + 9223372036854775807 > 0 };";
    start(&house, &[("broken", broken)]).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "writer").await, [("key.encrypt", true, Would::Error, 1)]);
    assert_eq!(noted(&house, "writer", "key.encrypt").await, [(true, Some("error".to_owned()))]);
}

#[tokio::test]
async fn what_could_not_be_applied_is_not_tried() {
    let house = House::new().await;
    let wrong = house.call(&house.developer, trial(&[("a", "permit (")])).await.unwrap_err();
    assert_eq!(wrong.error.code(), Code::InvalidPolicy);
    assert!(wrong.error.public().contains("policy `a`"), "{}", wrong.error.public());
    let lock = "forbid (principal, action in Keyreeve::Action::\"access\", resource);";
    assert_eq!(house.code(trial(&[("lock", lock)])).await, Code::InvalidPolicy);
    assert_eq!(house.code(trial(&[("key-admin", NO_WRITING)])).await, Code::AlreadyExists);
    assert_eq!(house.code(trial(&[("long", &" ".repeat(65 * 1024))])).await, Code::TooLarge);
    assert_eq!(house.code(ShadowReport).await, Code::NotFound);
    // The others join the draft, or are not in it.
    let apply = Apply {
        policies: texts(&[("stays", READING)]),
        delete_others: true,
        base: None,
        dry_run: false,
        comment: label(""),
    };
    house.ask(apply).await;
    let joined = start(&house, &[("no-writing", NO_WRITING)]).await;
    assert_eq!((joined.draft.entries.len(), joined.draft.base), (2, 1));
    let alone = house.ask(ShadowStart { delete_others: true, ..trial(&[("no-writing", NO_WRITING)]) }).await;
    assert_eq!((alone.draft.entries.len(), alone.changes.removed), (1, vec![name("stays")]));
    let nobody = house.welcome(House::person("nobody", &[])).await;
    assert_eq!(house.code_for(&nobody, ShadowStop).await, Code::Denied);
}

#[tokio::test]
async fn rights_for_a_time_hold_for_the_draft_as_well() {
    use keyreeve_engine::ops::grants::{Create, Wanted};
    let house = House::new().await;
    let key = house.aead().await;
    let kind = PrincipalKind::Service;
    let batch = house.welcome(PutSpec { kind, ..House::person("batch", &[]) }).await;
    let what = Wanted::Key { key: key.clone(), operations: [name("key.encrypt")].into() };
    let (constraints, reason) = (Default::default(), label("test"));
    house.ask(Create { principal: name("batch"), what, constraints, not_before: None, seconds: 60, reason }).await;
    start(&house, &[("reading", READING)]).await;
    house.call(&batch, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "batch").await, []);
    let stop = "forbid (principal == Keyreeve::Principal::\"batch\", action, resource);";
    start(&house, &[("stop", stop)]).await;
    house.call(&batch, House::encrypting(&key, b"x")).await.unwrap();
    assert_eq!(groups(&house, "batch").await, [("key.encrypt", true, Would::Deny, 1)]);
}

/// Whoever has the database cannot stop the server by way of the draft, nor make it lie about it.
#[tokio::test]
async fn a_draft_altered_outside_is_not_asked_and_stops_nothing() {
    let mut house = House::new().await;
    let (key, writer) = (house.aead().await, writer(&house).await);
    for (alteration, code) in [
        ("UPDATE filed SET mac = zeroblob(32) WHERE kind = 'drafts'", Some(Code::Tampered)),
        ("DELETE FROM filed WHERE kind = 'policy_texts'", None),
    ] {
        start(&house, &[("no-writing", NO_WRITING)]).await;
        house.crash();
        assert!(house.sql().execute(alteration, []).unwrap() > 0);
        house.reopen().await;
        house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
        assert_eq!(noted(&house, "writer", "key.encrypt").await.pop(), Some((true, None)));
        match code {
            Some(code) => assert_eq!(house.code(ShadowReport).await, code),
            None => {
                let told = report(&house).await;
                assert!(told.problem.is_some_and(|text| text.contains("no-writing")) && told.counts.asked == 0);
            }
        }
        house.ask(ShadowStop).await;
        assert_eq!(house.code(ShadowReport).await, Code::NotFound);
    }
}
