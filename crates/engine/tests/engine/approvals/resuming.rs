//! What one person revoked alone comes back into use with the consent of those who revoke, while its incident is open.

use keyreeve_engine::ops::incidents;
use keyreeve_engine::ops::lifecycle::{Activate, Compromise, Deactivate};
use keyreeve_model::ids::IncidentId;

use super::*;

fn suspend(key: &KeyRef) -> Suspend {
    Suspend { key: key.clone(), risk_accepted: false, reason: label("leaked") }
}

pub(super) fn compromise(key: &KeyRef, risk_accepted: bool) -> Compromise {
    Compromise { key: key.clone(), version: None, risk_accepted, reason: label("it was") }
}

fn compromise_first(key: &KeyRef) -> Compromise {
    Compromise { version: Some(1), ..compromise(key, false) }
}

fn activate(key: &KeyRef) -> Activate {
    Activate { key: key.clone(), reason: label("a mistake") }
}

fn deactivate(key: &KeyRef) -> Deactivate {
    Deactivate { key: key.clone(), reason: label("not needed") }
}

async fn decrypts(house: &House, key: &KeyRef, ciphertext: &[u8]) -> bool {
    house.call(&house.developer, House::decrypting(key, ciphertext)).await.is_ok()
}

/// A key that Sue suspended, with something encrypted under it, and the incident about it.
async fn suspended() -> (Council, KeyRef, Vec<u8>, IncidentId) {
    let (council, key) = council_with_key().await;
    let ciphertext = council.house.encrypt(&key, b"x").await;
    council.house.call(&council.sue.who, suspend(&key)).await.unwrap();
    let record = council.house.told_of("key.suspend").await.remove(0);
    let incident = record.details["incident"].parse().unwrap();
    assert!(!decrypts(&council.house, &key, &ciphertext).await);
    (council, key, ciphertext, incident)
}

#[tokio::test]
async fn a_suspension_is_lifted_with_the_consent_of_those_who_suspend() {
    let (council, key, ciphertext, _) = suspended().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, activate(&key)).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["incident-commander or security-lead"]);
    assert_eq!(council.carl.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "he has no seat");
    assert!(!decrypts(house, &key, &ciphertext).await);
    council.sue.approve(house, id).await;
    let arrival = House::arrival(&ann.who);
    house.engine().execute_approved(arrival, id).await.expect("run as it was agreed");
    assert!(decrypts(house, &key, &ciphertext).await);
}

#[tokio::test]
async fn nor_is_a_key_brought_back_by_deactivating_it_or_by_accepting_the_risk() {
    let (council, key, ciphertext, _) = suspended().await;
    let (house, ann) = (&council.house, &council.ann);
    let by_deactivating = ann.waits(house, deactivate(&key)).await;
    let by_accepting = ann.waits(house, compromise(&key, true)).await;
    assert_ne!(by_deactivating, by_accepting);
    assert!(!decrypts(house, &key, &ciphertext).await);
    // What revokes more waits for nobody, before and after.
    house.call(&ann.who, compromise_first(&key)).await.expect("the risk is not accepted");
    assert!(!decrypts(house, &key, &ciphertext).await);
    house.call(&council.sue.who, rotate(&key)).await.unwrap();
    ann.waits(house, compromise(&key, true)).await;
    assert!(!decrypts(house, &key, &ciphertext).await);
}

#[tokio::test]
async fn a_key_of_no_open_incident_is_activated_as_ever() {
    let (council, key, ciphertext, incident) = suspended().await;
    let (house, ann) = (&council.house, &council.ann);
    assert_eq!(house.code_for(&ann.who, incidents::Close { incident, text: label("over") }).await, Code::Denied);
    house.call(&council.sue.who, incidents::Close { incident, text: label("over") }).await.unwrap();
    house.call(&ann.who, activate(&key)).await.unwrap();
    assert!(decrypts(house, &key, &ciphertext).await);
    // Nor does it wait for anybody where nothing was halted.
    house.call(&ann.who, deactivate(&key)).await.unwrap();
}
