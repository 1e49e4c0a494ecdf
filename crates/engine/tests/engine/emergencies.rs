//! What is out of the ordinary: holds keep keys from being destroyed, incidents are followed until nothing is owed.

use keyreeve_engine::ops::{destruction, holds, incidents};
use keyreeve_engine::{Code, KeyRef, KeyringRef, Operation};
use keyreeve_model::hold::Hold;
use keyreeve_model::incident::IncidentKind;

use crate::support::{House, Who, label};

const DAY_MS: i64 = 86_400_000;

async fn ask_as<O: Operation>(house: &House, who: &Who, operation: O) -> O::Reply {
    match house.call(who, operation).await {
        Ok(done) => done.reply,
        Err(refused) => panic!("{}: {}", O::DESCRIPTOR.name, refused.error),
    }
}

async fn place(house: &House, who: &Who, key: &KeyRef) -> Hold {
    ask_as(house, who, holds::Place { key: key.clone(), matter: label("2026-cv-1") }).await.0
}

fn schedule(key: &KeyRef) -> destruction::Schedule {
    destruction::Schedule { key: key.clone(), days: 7, reason: label("over") }
}

#[tokio::test]
async fn what_is_held_is_neither_scheduled_nor_destroyed_until_it_is_released() {
    let house = House::new().await;
    let (key, other) = (house.aead().await, house.aead().await);
    house.ask(schedule(&key)).await;
    let legal = house.welcome(House::person("lee", &["legal"])).await;
    let hold = place(&house, &legal, &key).await;

    // Scheduled before the hold: it is due and does not happen, by nobody's hand.
    house.pass(8 * DAY_MS).await;
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.engine().overdue_destructions(), 0);
    assert_eq!(house.code(destruction::Destroy { key: key.clone() }).await, Code::UnderHold);
    let legal = house.token_for("lee").await;

    // Under a hold: not even scheduled, while a neighbour is.
    let held = place(&house, &legal, &other).await;
    assert_eq!(house.code(schedule(&other)).await, Code::UnderHold);
    let release = |hold: &Hold| holds::Release { hold: hold.id(), reason: label("case closed") };
    ask_as(&house, &legal, release(&held)).await;
    house.ask(schedule(&other)).await;

    // Released: the next tick destroys it.
    ask_as(&house, &legal, release(&hold)).await;
    assert_eq!(house.code_for(&legal, release(&hold)).await, Code::WrongState, "once");
    assert!(house.engine().tick().await.is_empty());
    let gone = house.ask(destruction::DescribeDestruction { key }).await;
    assert!(!gone.0.verified.is_empty());
}

#[tokio::test]
async fn a_hold_on_a_keyring_covers_keys_that_are_made_later() {
    let house = House::new().await;
    let keyring: KeyringRef = "default".parse().unwrap();
    let hold = house.ask(holds::PlaceOnKeyring { keyring, matter: label("2026-cv-1") }).await.0;
    let key = house.aead().await;
    assert_eq!(house.code(schedule(&key)).await, Code::UnderHold);
    let listing = |released| holds::List { key: Some(key.clone()), released, after: None, limit: 10 };
    assert_eq!(house.ask(listing(false)).await.items.len(), 1);
    house.ask(holds::Release { hold: hold.id(), reason: label("over") }).await;
    house.ask(schedule(&key)).await;
    assert_eq!(house.ask(listing(false)).await.items.len(), 0);
    assert_eq!(house.ask(listing(true)).await.items.len(), 1);
}

#[tokio::test]
async fn holds_survive_sealing() {
    let mut house = House::new().await;
    let key = house.aead().await;
    house.ask(holds::Place { key: key.clone(), matter: label("2026-cv-1") }).await;
    house.ask(keyreeve_engine::ops::system::Seal).await;
    house.reopen().await;
    assert_eq!(house.code(schedule(&key)).await, Code::UnderHold);
}

#[tokio::test]
async fn policies_see_holds_and_incidents_from_the_next_request_on() {
    let house = House::new().await;
    let key = house.aead().await;
    let policy = r#"@id("careful") forbid (principal, action == Keyreeve::Action::"key.encrypt", resource)
        when { resource.hold || resource.incident };"#;
    let put = keyreeve_engine::ops::policies::Put { name: "careful".parse().unwrap(), text: policy.to_owned() };
    house.ask(put).await;
    let encrypts =
        async || house.call(&house.developer, House::encrypting(&key, b"x")).await.err().map(|r| r.error.code());
    assert_eq!(encrypts().await, None);
    let hold = place(&house, &house.developer, &key).await;
    assert_eq!(encrypts().await, Some(Code::Denied), "a remembered yes does not outlive the hold");
    house.ask(holds::Release { hold: hold.id(), reason: label("over") }).await;
    assert_eq!(encrypts().await, None);
    let open = incidents::Open {
        kind: IncidentKind::Compromise,
        keys: vec![key.clone()],
        ticket: Some(label("INC-7")),
        reason: label("laptop stolen"),
    };
    let incident = house.ask(open).await.incident;
    assert_eq!(encrypts().await, Some(Code::Denied));
    house.ask(incidents::Close { incident: incident.id(), text: label("found again") }).await;
    assert_eq!(encrypts().await, None);
}

#[tokio::test]
async fn who_revokes_alone_replaces_the_key_only_while_its_incident_is_open() {
    let house = House::new().await;
    let key = house.aead().await;
    let lead = house.welcome(House::person("sam", &["security-lead"])).await;
    let rotate = || keyreeve_engine::ops::lifecycle::Rotate { key: key.clone(), reason: label("replaced") };
    assert_eq!(house.code_for(&lead, rotate()).await, Code::Denied);
    let open = incidents::Open {
        kind: IncidentKind::Compromise,
        keys: vec![key.clone()],
        ticket: None,
        reason: label("laptop stolen"),
    };
    let incident = ask_as(&house, &lead, open).await.incident;
    ask_as(&house, &lead, rotate()).await;
    ask_as(&house, &lead, incidents::Close { incident: incident.id(), text: label("replaced") }).await;
    assert_eq!(house.code_for(&lead, rotate()).await, Code::Denied);
}

#[tokio::test]
async fn incidents_are_listed_by_whether_they_are_open() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for reason in ["one", "two", "three"] {
        let open = incidents::Open { kind: IncidentKind::Other, keys: Vec::new(), ticket: None, reason: label(reason) };
        ids.push(house.ask(open).await.incident.id());
        house.pass(1).await;
    }
    house.ask(incidents::Close { incident: ids[1], text: label("nothing") }).await;
    let listed = async |open, limit| {
        let listing = house.ask(incidents::List { open, after: None, limit }).await;
        (listing.items.iter().map(|row| row.incident.id()).collect::<Vec<_>>(), listing.next)
    };
    assert_eq!(listed(Some(true), 10).await.0, [ids[0], ids[2]]);
    assert_eq!(listed(Some(false), 10).await.0, [ids[1]]);
    assert_eq!(listed(None, 2).await, (vec![ids[0], ids[1]], Some(ids[1].to_string())));
    let unsaid = incidents::Open { kind: IncidentKind::Other, keys: Vec::new(), ticket: None, reason: label("") };
    assert_eq!(house.code(unsaid).await, Code::InvalidRequest);
}
