//! What is owed afterwards: every way in of a participant ends, and whoever signs does so in person.

use keyreeve_engine::ops::login::credential::{self, Issue};
use keyreeve_engine::ops::login::{certificate, methods};
use keyreeve_engine::ops::{SetPatch, tokens};
use keyreeve_engine::{Arrival, Evidence, PeerCertificate};
use keyreeve_model::UnixMillis;
use keyreeve_model::access::CertificateRule;
use keyreeve_model::login::PrincipalRule;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::logins::{issuing, kinds, spec};

#[tokio::test]
async fn whoever_confirms_or_signs_a_review_shows_a_second_factor_just_then() {
    let night = Night::fallen().await;
    let (house, council) = (&night.council.house, &night.council);
    let id = night.in_force().await.id();
    let ended = ask_as(house, &council.carl.who, emergencies::End { emergency: id }).await.emergency;
    night.rotated().await;
    night.pat_is_disabled().await;
    house.clock.turn(6 * 60_000);
    assert_eq!(house.code_for(&night.dora.who, night.review(&ended)).await, Code::MfaNeeded);
    night.shown_by(&night.dora).await;
    let closed = ask_as(house, &night.dora.who, night.review(&ended)).await.emergency;
    assert_eq!(closed.state(), EmergencyState::Closed);

    let confirm = || incidents::Confirm { incident: night.incident, number: 1 };
    assert_eq!(house.code_for(&council.carl.who, confirm()).await, Code::MfaNeeded);
    let owed = ask_as(house, &council.carl.who, incidents::Describe { incident: night.incident }).await.incident;
    assert_eq!(owed.owed().count(), 1, "nothing was confirmed");
    night.shown_by(&council.carl).await;
    assert_eq!(ask_as(house, &council.carl.who, confirm()).await.incident.owed().count(), 0);
}

/// Pat's certificates: the first is pinned, the second is of those that a login method lets in.
fn certificates() -> [PeerCertificate; 2] {
    let valid = (UnixMillis(0), UnixMillis(i64::MAX));
    let pinned = PeerCertificate {
        fingerprint: [7; 32],
        dns_names: Vec::new(),
        uris: Vec::new(),
        authorities: Vec::new(),
        valid,
    };
    let uris = vec!["spiffe://prod.example/pat".to_owned()];
    [pinned.clone(), PeerCertificate { fingerprint: [8; 32], uris, ..pinned }]
}

fn pin() -> BTreeSet<CertificateRule> {
    [CertificateRule::Fingerprint(hex::encode([7; 32]))].into()
}

fn pinning(add: BTreeSet<CertificateRule>, remove: BTreeSet<CertificateRule>) -> principals::Update {
    let certificates = SetPatch::Alter { add, remove };
    let patch = principals::PrincipalPatch { certificates, ..Default::default() };
    principals::Update { name: name("pat"), patch }
}

/// Gives pat certificates and a login by certificate, besides a token. Of when pat was a program there is a service
/// credential still.
async fn prepared(house: &House) {
    let kind = keyreeve_model::PrincipalKind::Service;
    house.ask(principals::Put::new(principals::PutSpec { kind, ..House::person("pat", &[]) })).await;
    house.ask(Issue { spec: issuing("pat") }).await;
    house.ask(House::putting("pat", &[])).await;
    let by_name = CertificateRule::DnsName("pat.example".to_owned());
    house.ask(pinning(pin().into_iter().chain([by_name]).collect(), BTreeSet::new())).await;
    let kind = kinds(house).into_iter().find(|kind| kind.name() == "certificate").unwrap();
    let mut method = spec(kind);
    method.bindings[0].principal = PrincipalRule::Fixed(name("pat"));
    house.ask(methods::Put { spec: method }).await;
}

async fn logged_in(house: &House) -> Who {
    let [_, peer] = certificates();
    let login = certificate::Certificate { method: name("by-certificate"), peer: Some(Arc::new(peer)) };
    Who::Bearer(ask_as(house, &Who::Nobody, login).await.issued.token)
}

/// The code with which pat's pinned certificate is refused, if it is.
async fn with_certificate(house: &House) -> Option<Code> {
    let [pinned, _] = certificates();
    let arrival = Arrival { evidence: Evidence::Certificate(Arc::new(pinned)), ..House::arrival(&Who::Nobody) };
    house.engine().call(arrival, tokens::WhoAmI).await.err().map(|refused| refused.error.code())
}

impl Night {
    /// What the review is refused with.
    async fn left(&self, emergency: &Emergency) -> String {
        let refused = self.council.house.call(&self.dora.who, self.review(emergency)).await.unwrap_err().error;
        assert_eq!(refused.code(), Code::WrongState, "{refused:?}");
        refused.public().to_string()
    }

    /// The certificate is pinned again, with the consent that it takes.
    async fn pinned_again(&self) {
        let (house, council) = (&self.council.house, &self.council);
        let approval = council.olga.waits(house, pinning(pin(), BTreeSet::new())).await;
        council.sue.approve(house, approval).await;
        council.otto.approve(house, approval).await;
        ask_as(house, &council.olga.who, pinning(pin(), BTreeSet::new())).await;
    }
}

#[tokio::test]
async fn every_way_in_of_a_participant_ends_and_the_review_names_it() {
    let night = Night::after(prepared).await;
    let (house, council) = (&night.council.house, &night.council);
    let session = logged_in(house).await;
    assert_eq!(with_certificate(house).await, None);
    let id = night.in_force().await.id();
    let ended = ask_as(house, &council.carl.who, emergencies::End { emergency: id }).await.emergency;
    let revoked = &ended.ended().unwrap().revoked;
    let kinds: Vec<&str> = revoked.iter().map(|gone| gone.what.name()).collect();
    assert_eq!(kinds, ["certificate", "certificate", "credential", "token", "session"]);
    assert!(revoked.iter().all(|gone| gone.of == name("pat")), "{revoked:?}");
    let record = house.records().await.into_iter().rfind(|record| record.operation == "emergency.end").unwrap();
    assert_eq!((&*record.details["revoked"], &*record.details["revoked_certificates"]), ("5", "2"));
    assert_eq!(with_certificate(house).await, Some(Code::Unauthenticated));
    assert_eq!(house.code_for(&session, tokens::WhoAmI).await, Code::Unauthenticated);
    let listing = credential::List { principal: name("pat"), after: None, limit: 10 };
    assert!(house.ask(listing).await.items.iter().all(|credential| !credential.valid));

    // Pat logs in anew. What ended must not be there again.
    house.clock.turn(1000);
    assert!(night.left(&ended).await.contains("give `pat` new credentials"), "{}", night.left(&ended).await);
    logged_in(house).await;
    house.pass(0).await;
    house.pass(0).await;
    let records = house.records().await;
    let looked: Vec<_> = records.iter().filter(|record| record.operation == "emergency.look-after").collect();
    assert_eq!(looked.len(), 1, "once, for there was nothing more to write down");
    assert!(looked[0].details["renewed"].starts_with("pat: token "), "{:?}", looked[0].details);
    assert_eq!((&*looked[0].actor.principal, &*looked[0].details["owed"]), ("system", "0"));
    let renewed = ask_as(house, &council.carl.who, emergencies::Describe { emergency: id }).await.emergency;
    assert_eq!(renewed.owed().count(), 0);
    night.pinned_again().await;
    night.shown_by(&night.dora).await;
    let left = night.left(&ended).await;
    assert!(left.contains("end the certificate fingerprint 0707") && left.contains("of `pat`"), "{left}");
    ask_as(house, &council.olga.who, pinning(BTreeSet::new(), pin())).await;
    let closed = ask_as(house, &night.dora.who, night.review(&ended)).await.emergency;
    assert_eq!(closed.ended().unwrap().revoked.len(), 5);
}

#[tokio::test]
async fn a_token_that_was_revoked_with_the_emergency_renews_nothing() {
    let night = Night::after(prepared).await;
    let house = &night.council.house;
    let id = night.in_force().await.id();
    // Its time is over before the server notices, and in between pat logs in.
    house.clock.turn(30 * 60_000 + 1000);
    let session = logged_in(house).await;
    house.pass(0).await;
    assert_eq!(house.code_for(&session, tokens::WhoAmI).await, Code::Unauthenticated);
    let show = emergencies::Describe { emergency: id };
    let ended = ask_as(house, &night.council.sue.who, show).await.emergency;
    assert_eq!(ended.owed().count(), 1, "{:?}", ended.items());
}
