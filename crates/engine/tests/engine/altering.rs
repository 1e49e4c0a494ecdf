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
    assert!(unknown.contains("`key-amdin`") && unknown.contains("key-admin"), "{unknown}");
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
