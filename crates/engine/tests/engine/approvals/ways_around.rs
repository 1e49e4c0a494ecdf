//! Ways around the consent of others that are closed.

use super::*;

fn suspend(key: &KeyRef) -> Suspend {
    Suspend { key: key.clone(), risk_accepted: false, reason: label("leaked") }
}

fn activate(key: &KeyRef) -> keyreeve_engine::ops::lifecycle::Activate {
    keyreeve_engine::ops::lifecycle::Activate { key: key.clone(), reason: label("a mistake") }
}

#[tokio::test]
async fn whoever_opens_an_incident_by_suspending_rotates_nothing_alone_by_it() {
    let (council, key) = council_with(labelled("kek")).await;
    let (house, ann) = (&council.house, &council.ann);
    house.call(&ann.who, suspend(&key)).await.expect("a key administrator may suspend");
    let resumed = ann.waits(house, activate(&key)).await;
    council.sue.approve(house, resumed).await;
    house.call(&ann.who, activate(&key)).await.unwrap();
    let id = ann.waits(house, rotate(&key)).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["ciso", "security-lead"]);
}

#[tokio::test]
async fn names_labels_and_custodians_are_access_too() {
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.aliases = BTreeSet::from([name("old")]);
    spec.metadata.custodians = BTreeSet::from([label("owen"), label("pat")]);
    spec.metadata.labels = BTreeMap::from([(name("team"), label("shop"))]);
    let (council, key) = council_with(spec).await;
    let (house, ann) = (&council.house, &council.ann);
    let aliases = |add: &[&str], remove: &[&str]| {
        let set = |names: &[&str]| names.iter().map(|text| name(text)).collect();
        MetadataPatch { aliases: SetPatch::Alter { add: set(add), remove: set(remove) }, ..MetadataPatch::default() }
    };
    let labels = |set: &[(&str, &str)], remove: &[&str]| {
        let set = set.iter().map(|(key, value)| (name(key), label(value))).collect();
        let remove = remove.iter().map(|key| name(key)).collect();
        MetadataPatch { labels: LabelPatch::Alter { set, remove }, ..MetadataPatch::default() }
    };
    let custodians = MetadataPatch {
        custodians: SetPatch::Alter { add: BTreeSet::new(), remove: BTreeSet::from([label("pat")]) },
        ..MetadataPatch::default()
    };
    for patch in [aliases(&["new"], &[]), labels(&[("team", "bank")], &[]), labels(&[], &["team"]), custodians] {
        let id = ann.waits(house, update(&key, patch)).await;
        assert_eq!(house.shown(id).await.proposal.missing(), ["security-lead", "system owner"]);
    }
    house.call(&ann.who, update(&key, aliases(&[], &["old"]))).await.expect("one name less waits for nobody");
}

#[tokio::test]
async fn the_class_of_a_key_is_access_too() {
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.classification = Classification::Internal;
    let (council, key) = council_with(spec).await;
    let (house, ann) = (&council.house, &council.ann);
    let public = MetadataPatch { classification: Some(Classification::Public), ..MetadataPatch::default() };
    let id = ann.waits(house, update(&key, public)).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["security-lead", "system owner"]);
    let same = MetadataPatch { classification: Some(Classification::Internal), ..MetadataPatch::default() };
    house.call(&ann.who, update(&key, same)).await.expect("nothing changes");
}

#[tokio::test]
async fn a_program_asks_for_consent_only_when_it_is_known_whose_it_is() {
    let council = Council::gathered().await;
    let house = &council.house;
    let key = house.aead().await;
    let program = |text: &str, person: Option<&str>| principals::PutSpec {
        kind: keyreeve_model::PrincipalKind::Service,
        person: person.map(label),
        ..House::person(text, &["key-admin"])
    };
    let nobodys = house.welcome(program("robot", None)).await;
    let carls = house.welcome(program("carls-robot", Some("carl"))).await;
    Member::join(house, "cora", &["ciso"]).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    assert_eq!(house.code_for(&nobodys, schedule(&key)).await, Code::Denied);
    let id = waiting(house.call(&carls, schedule(&key)).await.map(|_| ()));
    assert_eq!(council.carl.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "his own request");
}

#[tokio::test]
async fn what_becomes_a_kek_later_needs_the_consent_that_making_one_does() {
    let (council, key) = council_with_key().await;
    let labels = LabelPatch::Alter { set: BTreeMap::from([(name("type"), label("kek"))]), remove: BTreeSet::new() };
    let patch = MetadataPatch { labels, ..MetadataPatch::default() };
    let id = council.ann.waits(&council.house, update(&key, patch)).await;
    let missing = council.house.shown(id).await.proposal.missing();
    assert_eq!(missing, ["ciso", "security-lead", "system owner"]);
}

#[tokio::test]
async fn a_rule_about_other_operations_is_asked_when_a_label_takes_a_key_out_of_its_reach() {
    let council = Council::gathered().await;
    let house = &council.house;
    let key = key_of(&house.make(labelled("kek")).await);
    let text = "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n\
                [[rule]]\nname = \"rotate\"\noperations = [\"key.rotate\"]\nwhen = 'resource.hasTag(\"type\")'\n\
                seats = [{ role = \"ciso\" }]\n";
    house.call(&council.olga.who, rules::Put { text: text.to_owned() }).await.unwrap();
    house.call(&council.olga.who, Enact).await.unwrap();
    let labels = LabelPatch::Alter { set: BTreeMap::new(), remove: BTreeSet::from([name("type")]) };
    council.ann.waits(house, update(&key, MetadataPatch { labels, ..MetadataPatch::default() })).await;
}

#[tokio::test]
async fn a_token_that_speaks_for_governance_takes_governance() {
    let council = Council::new().await;
    let house = &council.house;
    let token = |principal: &str| tokens::Create {
        principal: name(principal),
        seconds: 3600,
        description: label("t"),
        networks: BTreeSet::new(),
    };
    let id = council.olga.waits(house, token("carl")).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["ciso", "security-lead", "peer of the proposer"]);
    let other = council.olga.waits(house, token("ann")).await;
    assert_eq!(house.shown(other).await.proposal.missing(), ["security-lead", "peer of the proposer"]);
}

#[tokio::test]
async fn a_peer_has_the_role_by_which_one_may_ask() {
    let council = Council::gathered().await;
    let house = &council.house;
    let both = Member::join(house, "bea", &["operator", "key-user-encrypt"]).await;
    let fellow = Member::join(house, "fred", &["key-user-encrypt"]).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let id = both.waits(house, House::putting("new", &["key-user-encrypt"])).await;
    assert_eq!(fellow.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "a peer at something else");
    council.otto.approve(house, id).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["security-lead"]);
}

#[tokio::test]
async fn nobody_has_more_than_a_hundred_requests_waiting() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let nth = |n: usize| Schedule { key: key.clone(), days: 7, reason: label(&format!("reason {n}")) };
    for n in 0..100 {
        ann.waits(house, nth(n)).await;
    }
    assert_eq!(house.code_for(&ann.who, nth(100)).await, Code::WrongState);
    ann.waits(house, nth(0)).await;
    let (waiting, expired) = (Some(ProposalState::Waiting), Some(ProposalState::Expired));
    let list = async |state, limit| house.call(&ann.who, List { state, after: None, limit }).await.unwrap().reply;
    assert_eq!(list(waiting, 200).await.items.len(), 100);
    let _ = house.engine().deliver(0).await;
    let _ = house.posts[0].taken();
    house.clock.turn(3 * DAY);
    assert!(house.engine().tick().await.is_empty());
    assert_eq!((list(waiting, 200).await.items.len(), list(expired, 200).await.items.len()), (0, 100));
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken();
    let closed = told.iter().filter(|notice| notice.kind == keyreeve_model::NoticeKind::ApprovalClosed);
    assert_eq!(closed.count(), 100);
    ann.waits(house, nth(100)).await;
}

#[tokio::test]
async fn whoever_asks_for_a_right_is_told_nothing_of_the_key_before_they_have_it() {
    use keyreeve_engine::ops::grants::{Create, Request, Wanted};
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.aliases = BTreeSet::from([name("payroll")]);
    let council = Council::gathered().await;
    let house = &council.house;
    house.make(spec).await;
    let pat = Member::join(house, "pat", &[]).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let what = Wanted::Key { key: "payroll".parse().unwrap(), operations: [name("key.decrypt")].into() };
    let (constraints, reason) = (Default::default(), label("curious"));
    let request = Create { principal: name("pat"), what, constraints, not_before: None, seconds: 3600, reason };
    let approval = pat.waits(house, Request { request }).await;
    let seen = house.call(&pat.who, Describe { approval }).await.unwrap().reply;
    assert_eq!((seen.proposal.shown(), seen.proposal.digest().is_empty()), (&[][..], false));
    let list = List { state: None, after: None, limit: 10 };
    let listed = house.call(&pat.who, list).await.unwrap().reply.items;
    assert!(listed.len() == 1 && listed[0].proposal.shown().is_empty());
    let asked = house.call(&council.sue.who, Describe { approval }).await.unwrap().reply;
    assert!(asked.proposal.shown().iter().any(|fact| fact.name == "created"));
    let withdrawn = house.call(&pat.who, Withdraw { approval }).await.unwrap().reply;
    assert!(withdrawn.proposal.shown().is_empty());
}

#[tokio::test]
async fn nobody_floods_people_with_requests_that_are_taken_back() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    for _ in 0..120 {
        let approval = ann.waits(house, schedule(&key)).await;
        house.call(&ann.who, Withdraw { approval }).await.unwrap();
    }
    assert_eq!(house.code_for(&ann.who, schedule(&key)).await, Code::TooManyAttempts);
    council.olga.waits(house, House::putting("new", &["key-admin"])).await;
    house.clock.turn(3_600_000);
    ann.waits(house, schedule(&key)).await;
}

#[tokio::test]
async fn a_request_that_replaces_another_names_it_in_the_record() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, schedule(&key)).await;
    house.ask(Place { key: key.clone(), matter: label("case 7") }).await;
    ann.waits(house, schedule(&key)).await;
    let record = house.told_of("key.schedule-destruction").await.pop().unwrap();
    assert_eq!(record.details["withdrawn"], id.to_string());
}

#[tokio::test]
async fn an_invitation_to_a_second_factor_takes_the_consent_that_giving_access_does() {
    let council = Council::gathered().await;
    let (house, olga) = (&council.house, &council.olga);
    for (person, role) in [("kim", "key-user-encrypt"), ("cora", "ciso")] {
        house.welcome(House::person(person, &[role])).await;
    }
    let invite = |person: &str| Invite { principal: name(person), seconds: 3600 };
    house.call(&olga.who, invite("kim")).await.expect("nothing waits before the rules are in force");
    house.call(&olga.who, Enact).await.unwrap();
    let of_governance = olga.waits(house, invite("cora")).await;
    assert_eq!(house.shown(of_governance).await.proposal.missing(), ["ciso", "security-lead", "peer of the proposer"]);
    let id = olga.waits(house, invite("kim")).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["security-lead", "peer of the proposer"]);
    council.sue.approve(house, id).await;
    council.otto.approve(house, id).await;
    let by_id = house.engine().execute_approved(House::arrival(&olga.who), id).await.unwrap_err();
    assert_eq!(by_id.error.code(), Code::WrongState, "the code is for whoever asks again, and for nobody later");
    house.call(&olga.who, invite("kim")).await.expect("agreed");
    assert_ne!(olga.waits(house, invite("kim")).await, id, "once");
}
