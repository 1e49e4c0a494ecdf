//! Alterations of principals and of keys' lists: they hold with the next request, and do not undo one another.

use futures::future::join_all;
use keyreeve_engine::ops::keys::{self, MetadataPatch};
use keyreeve_engine::ops::principals::{Describe, PrincipalPatch, Put, PutSpec, Update};
use keyreeve_engine::ops::{LabelPatch, SetPatch, policies};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::access::CertificateRule;
use keyreeve_model::{Label, Name, PrincipalKind, PrincipalRecord};
use std::collections::{BTreeMap, BTreeSet};

use crate::support::{House, label, name};

fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

fn roles(add: &[&str], remove: &[&str]) -> PrincipalPatch {
    PrincipalPatch { roles: SetPatch::Alter { add: names(add), remove: names(remove) }, ..PrincipalPatch::default() }
}

fn altering(principal: &str, patch: PrincipalPatch) -> Update {
    Update { name: name(principal), patch }
}

async fn known(house: &House, principal: &str) -> PrincipalRecord {
    house.ask(Describe { name: name(principal) }).await.record
}

#[tokio::test]
async fn what_is_altered_of_a_principal_holds_with_the_very_next_request() {
    let house = House::new().await;
    let key = house.aead().await;
    let guest = house.welcome(House::person("guest", &["key-user-encrypt"])).await;
    let encrypt = || House::encrypting(&key, b"x");
    for _ in 0..3 {
        house.call(&guest, encrypt()).await.unwrap();
        house.ask(altering("guest", roles(&["key-auditor"], &["key-user-encrypt"]))).await;
        assert_eq!(house.code_for(&guest, encrypt()).await, Code::Denied);
        house.ask(altering("guest", roles(&["key-user-encrypt"], &["key-auditor"]))).await;
        house.call(&guest, encrypt()).await.unwrap();
        for disabled in [true, false] {
            let patch = PrincipalPatch { disabled: Some(disabled), ..PrincipalPatch::default() };
            house.ask(altering("guest", patch)).await;
            assert_eq!(house.call(&guest, encrypt()).await.is_err(), disabled);
        }
        for networks in [["192.0.2.0/24"], ["10.0.0.0/8"]] {
            let networks = SetPatch::Replace(networks.map(str::to_owned).into());
            house.ask(altering("guest", PrincipalPatch { networks, ..PrincipalPatch::default() })).await;
            let elsewhere = house.call(&guest, encrypt()).await.is_err();
            assert_eq!(elsewhere, known(&house, "guest").await.networks.contains("192.0.2.0/24"));
        }
    }
}

#[tokio::test]
async fn what_is_not_altered_of_a_principal_stays() {
    let house = House::new().await;
    let spec = PutSpec {
        kind: PrincipalKind::Service,
        labels: BTreeMap::from([(name("tier"), label("gold")), (name("team"), label("shop"))]),
        networks: ["10.0.0.0/8".to_owned()].into(),
        certificates: [CertificateRule::DnsName("shop.example".into())].into(),
        ..House::person("shop", &["application"])
    };
    house.ask(Put::new(spec)).await;
    let before = known(&house, "shop").await;
    house.clock.turn(1);
    let patch = PrincipalPatch {
        labels: LabelPatch::Alter { set: [(name("tier"), label("tin"))].into(), remove: names(&["team"]) },
        certificates: SetPatch::Alter {
            add: [CertificateRule::Uri("spiffe://example/shop".into())].into(),
            remove: BTreeSet::new(),
        },
        ..PrincipalPatch::default()
    };
    let reply = house.ask(altering("shop", patch)).await;
    let wanted = PrincipalRecord {
        labels: BTreeMap::from([(name("tier"), label("tin"))]),
        certificates: before
            .certificates
            .iter()
            .cloned()
            .chain([CertificateRule::Uri("spiffe://example/shop".into())])
            .collect(),
        ..before.clone()
    };
    assert_eq!((&reply.record, &known(&house, "shop").await), (&wanted, &wanted));
    assert_eq!(house.code(altering("shop", roles(&[], &["pipeline"]))).await, Code::WrongState, "it has no such role");
    assert_eq!(house.code(altering("nobody", roles(&["operator"], &[]))).await, Code::NotFound);
    let networks = SetPatch::Alter { add: ["10.0.0.1/8".to_owned()].into(), remove: BTreeSet::new() };
    let patch = PrincipalPatch { networks, ..PrincipalPatch::default() };
    assert_eq!(house.code(altering("shop", patch)).await, Code::InvalidRequest);
    assert_eq!(known(&house, "shop").await, wanted, "what is refused changes nothing");
}

#[tokio::test]
async fn who_alters_must_be_allowed_for_what_was_and_what_shall_be() {
    let house = House::new().await;
    let text = r#"permit (principal in Keyreeve::Role::"helper", action == Keyreeve::Action::"principal.put", resource)
        unless { resource in Keyreeve::Role::"operator" };"#;
    house.ask(policies::Put { name: name("helpers"), text: text.to_owned() }).await;
    let helper = house.welcome(House::person("helper", &["helper"])).await;
    house.ask(House::putting("guest", &[])).await;
    house.ask(House::putting("boss", &["operator"])).await;
    house.call(&helper, altering("guest", roles(&["key-auditor"], &[]))).await.unwrap();
    assert_eq!(house.code_for(&helper, altering("guest", roles(&["operator"], &[]))).await, Code::Denied);
    assert_eq!(house.code_for(&helper, altering("boss", roles(&[], &["operator"]))).await, Code::Denied);
    let own = house.code(altering("developer", roles(&["operator"], &["developer"]))).await;
    assert_eq!(own, Code::WrongState, "nobody takes away their own roles");
}

#[tokio::test]
async fn alterations_at_the_same_time_all_stay() {
    let house = House::new().await;
    let key = house.aead().await;
    house.ask(House::putting("guest", &[])).await;
    let wanted: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
    let on_key = |one: &String| {
        let consumers = SetPatch::Alter { add: [label(one)].into(), remove: BTreeSet::new() };
        let labels = LabelPatch::Alter { set: [(name(one), label("set"))].into(), remove: BTreeSet::new() };
        keys::Update { key: key.clone(), patch: MetadataPatch { consumers, labels, ..MetadataPatch::default() } }
    };
    let on_principal = |one: &String| altering("guest", roles(&[one], &[]));
    let (keys_done, principals_done) = futures::future::join(
        join_all(wanted.iter().map(|one| house.call(&house.developer, on_key(one)))),
        join_all(wanted.iter().map(|one| house.call(&house.developer, on_principal(one)))),
    )
    .await;
    assert!(keys_done.iter().all(Result::is_ok) && principals_done.iter().all(Result::is_ok), "nobody loses the race");
    let metadata = house.ask(keys::Describe { key }).await.key.metadata;
    assert_eq!(metadata.consumers, wanted.iter().map(|one| label(one)).collect::<BTreeSet<Label>>());
    assert_eq!(metadata.labels.len(), wanted.len());
    assert_eq!(known(&house, "guest").await.roles, wanted.iter().map(|one| name(one)).collect());
}

#[tokio::test]
async fn lists_of_a_key_are_altered_in_part_or_replaced() {
    let house = House::new().await;
    let key = house.aead().await;
    let labels = |texts: &[&str]| texts.iter().map(|text| label(text)).collect::<BTreeSet<Label>>();
    let update = async |consumers: SetPatch<Label>| {
        let patch = MetadataPatch { consumers, ..MetadataPatch::default() };
        house.ask(keys::Update { key: key.clone(), patch }).await.key.metadata.consumers
    };
    assert_eq!(update(SetPatch::Replace(labels(&["a", "b"]))).await, labels(&["a", "b"]));
    let altered = SetPatch::Alter { add: labels(&["c", "a"]), remove: labels(&["b"]) };
    assert_eq!(update(altered).await, labels(&["a", "c"]));
    let wrong = SetPatch::Alter { add: BTreeSet::new(), remove: labels(&["b"]) };
    let wrong = MetadataPatch { consumers: wrong, owner: Some(label("me")), ..MetadataPatch::default() };
    assert_eq!(house.code(keys::Update { key: key.clone(), patch: wrong }).await, Code::WrongState);
    let metadata = house.ask(keys::Describe { key: key.clone() }).await.key.metadata;
    assert_eq!((metadata.consumers, metadata.owner), (labels(&["a", "c"]), label("")));
    let orders: KeyRef = "orders".parse().unwrap();
    let aliases = |add: &[&str], remove: &[&str]| {
        let aliases = SetPatch::Alter { add: names(add), remove: names(remove) };
        keys::Update { key: key.clone(), patch: MetadataPatch { aliases, ..MetadataPatch::default() } }
    };
    house.ask(aliases(&["orders"], &[])).await;
    house.encrypt(&orders, b"x").await;
    house.ask(aliases(&["later"], &["orders"])).await;
    assert_eq!(house.code(House::encrypting(&orders, b"x")).await, Code::NotFound);
}

#[tokio::test]
async fn what_is_probably_not_meant_is_said_when_a_principal_is_written() {
    let house = House::new().await;
    let warned = async |spec: PutSpec| house.ask(Put::new(spec)).await.warnings;
    assert_eq!(warned(House::person("alice", &["key-admin", "key-auditor"])).await, [""; 0]);
    let [unknown] = &warned(House::person("bob", &["key-amdin"])).await[..] else { panic!("one warning") };
    assert!(unknown.contains("`key-amdin`"), "{unknown}");
    assert!(!unknown.contains("key-admin"), "what roles there are is not told: {unknown}");
    let service = || PutSpec { kind: PrincipalKind::Service, ..House::person("shop", &["application"]) };
    let [networks] = &warned(service()).await[..] else { panic!("one warning") };
    assert!(networks.contains("without a network"), "{networks}");
    assert_eq!(warned(PutSpec { networks: ["0.0.0.0/0".to_owned()].into(), ..service() }).await, [""; 0]);
    assert!(warned(House::person("carol", &["pipeline"])).await[0].contains("services only"));
    let text = r#"permit (principal in Keyreeve::Role::"night-shift", action, resource);"#.to_owned();
    house.ask(policies::Put { name: name("night"), text }).await;
    assert_eq!(house.ask(House::putting("dave", &["night-shift"])).await.warnings, [""; 0]);
    let patched = house.ask(altering("dave", roles(&["day-shift"], &[]))).await;
    assert!(patched.warnings[0].contains("`day-shift`"));
    assert_eq!(house.ask(Describe { name: name("dave") }).await.warnings, [""; 0], "a reading warns of nothing");
    let again = async || house.retry(&house.developer, "eve", House::putting("eve", &["nothing"])).await.unwrap().reply;
    let (first, second) = (again().await, again().await);
    assert_eq!((first.warnings.len(), first.warnings), (1, second.warnings), "a retry hears the same");
}

#[tokio::test]
async fn a_program_is_nobody_who_agrees_and_nobody_becomes_a_program() {
    let house = House::new().await;
    let program = |text: &str, roles: &[&str]| PutSpec { kind: PrincipalKind::Service, ..House::person(text, roles) };
    for role in keyreeve_policy::shipped::GOVERNANCE_ROLES {
        assert_eq!(house.code(Put::new(program("robot", &[role]))).await, Code::InvalidRequest, "{role}");
    }
    house.ask(Put::new(program("robot", &["application"]))).await;
    assert_eq!(house.code(altering("robot", roles(&["ciso"], &[]))).await, Code::InvalidRequest);
    // One who becomes a program shows no second factor any more.
    let own = Put::new(program("developer", &["developer"]));
    assert_eq!(house.code(own).await, Code::WrongState);
    let warned = async |spec: PutSpec| house.ask(Put::new(spec)).await.warnings;
    let [told] = &warned(program("backup", &["operator"])).await[..] else { panic!("one warning") };
    assert!(told.contains("second factor") && told.contains("network"), "{told}");
    let somewhere = PutSpec { networks: ["10.0.0.0/8".to_owned()].into(), ..program("backup", &["operator"]) };
    assert_eq!(warned(somewhere).await, [""; 0]);
}

/// The details of the newest record of an operation.
async fn told(house: &House, operation: &str) -> BTreeMap<String, String> {
    house.records().await.into_iter().rfind(|record| record.operation == operation).unwrap().details
}

#[tokio::test]
async fn the_log_tells_what_was_altered_of_a_principal_value_by_value() {
    let house = House::new().await;
    let said = async |detail: &str| told(&house, "principal.put").await.remove(detail);
    let spec = PutSpec {
        labels: [(name("tier"), label("gold"))].into(),
        networks: ["10.0.0.0/8".to_owned()].into(),
        certificates: [CertificateRule::DnsName("shop.example".into())].into(),
        ..House::person("shop", &["application"])
    };
    house.ask(Put::new(spec)).await;
    assert_eq!(said("kind").await.unwrap(), "person");
    assert_eq!(said("added_roles").await.unwrap(), r#"["application"]"#);
    assert_eq!(said("added_labels").await.unwrap(), r#"{"tier":"gold"}"#);
    assert_eq!(said("added_networks").await.unwrap(), r#"["10.0.0.0/8"]"#);
    assert_eq!(said("added_certificates").await.unwrap(), r#"["DNS name shop.example"]"#);
    let patch = PrincipalPatch {
        networks: SetPatch::Replace(["0.0.0.0/0".to_owned()].into()),
        certificates: SetPatch::Alter {
            add: [CertificateRule::Fingerprint("07".repeat(32))].into(),
            remove: BTreeSet::new(),
        },
        ..PrincipalPatch::default()
    };
    house.ask(altering("shop", patch)).await;
    assert_eq!(said("added_certificates").await.unwrap(), format!(r#"["fingerprint {}"]"#, "07".repeat(32)));
    assert_eq!(said("added_networks").await.unwrap(), r#"["0.0.0.0/0"]"#);
    assert_eq!(said("removed_networks").await.unwrap(), r#"["10.0.0.0/8"]"#);
    assert_eq!((said("added_roles").await, said("removed_certificates").await), (None, None), "what stays");
    house.ask(Put::new(PutSpec { kind: PrincipalKind::Service, ..House::person("shop", &[]) })).await;
    assert_eq!(said("removed_roles").await.unwrap(), r#"["application"]"#);
    assert!(said("removed_certificates").await.unwrap().contains("shop.example"));
    assert_eq!((said("old_kind").await, said("new_kind").await), (Some("person".into()), Some("service".into())));
}

#[tokio::test]
async fn the_log_tells_what_was_altered_of_a_key_value_by_value() {
    let house = House::new().await;
    let key = house.aead().await;
    let said = async |detail: &str| told(&house, "key.update").await.remove(detail);
    let patch = |alias: &str, consumer: &str| MetadataPatch {
        aliases: SetPatch::Replace(names(&[alias])),
        consumers: SetPatch::Replace([label(consumer)].into()),
        owner: Some(label(consumer)),
        ..MetadataPatch::default()
    };
    house.ask(keys::Update { key: key.clone(), patch: patch("orders", "shop") }).await;
    assert_eq!(said("changed").await.unwrap(), "aliases consumers owner");
    assert_eq!(said("added_aliases").await.unwrap(), r#"["orders"]"#);
    house.ask(keys::Update { key: key.clone(), patch: patch("bills", "till") }).await;
    assert_eq!(
        (said("added_aliases").await, said("removed_aliases").await),
        (Some(r#"["bills"]"#.to_owned()), Some(r#"["orders"]"#.to_owned()),)
    );
    assert_eq!((said("old_owner").await, said("new_owner").await), (Some("shop".into()), Some("till".into())));
    assert_eq!(said("removed_consumers").await.unwrap(), r#"["shop"]"#);
    assert_eq!(said("old_classification").await, None, "what stays is not told");
}

#[tokio::test]
async fn who_alters_a_key_must_be_allowed_for_what_it_was_and_what_it_shall_be() {
    let house = House::new().await;
    let key = house.aead().await;
    let text = r#"permit (principal in Keyreeve::Role::"helper", action == Keyreeve::Action::"key.update", resource)
        unless { resource.consumers.contains("payroll") };"#;
    house.ask(policies::Put { name: name("helpers"), text: text.to_owned() }).await;
    let helper = house.welcome(House::person("helper", &["helper"])).await;
    let update = |consumers: SetPatch<Label>| keys::Update {
        key: key.clone(),
        patch: MetadataPatch { consumers, ..MetadataPatch::default() },
    };
    let set = |consumer: &str| SetPatch::Replace([label(consumer)].into());
    house.call(&helper, update(set("shop"))).await.unwrap();
    assert_eq!(house.code_for(&helper, update(set("payroll"))).await, Code::Denied, "what it shall be");
    let metadata = house.ask(keys::Describe { key: key.clone() }).await.key.metadata;
    assert_eq!(metadata.consumers, [label("shop")].into());
    house.ask(update(set("payroll"))).await;
    assert_eq!(house.code_for(&helper, update(set("shop"))).await, Code::Denied, "what it was");
    let absent = keys::Update { key: "no-such-key".parse().unwrap(), patch: MetadataPatch::default() };
    assert_eq!(house.code(absent).await, Code::NotFound);
}

#[tokio::test]
async fn a_certificate_is_given_to_one_of_those_who_want_it_at_the_same_time() {
    let house = House::new().await;
    let wanted = |number: u32| PutSpec {
        certificates: [CertificateRule::DnsName("shop.example".into())].into(),
        ..House::person(&format!("n{number}"), &[])
    };
    let asked = (0..8).map(|number| house.call(&house.developer, Put::new(wanted(number))));
    let codes: Vec<_> =
        join_all(asked).await.into_iter().map(|done| done.err().map(|refused| refused.error.code())).collect();
    assert_eq!(codes.iter().filter(|code| code.is_none()).count(), 1, "{codes:?}");
    assert!(codes.iter().flatten().all(|code| *code == Code::AlreadyExists), "{codes:?}");
}
