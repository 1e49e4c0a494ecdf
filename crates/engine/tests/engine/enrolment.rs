//! What an invitation is worth, and what is left of a person's factors when the person is not there any more.

use keyreeve_engine::ops::login::credential;
use keyreeve_engine::ops::mfa::{Answer, Answered, Invite, List, Remove, TotpFinish, TotpStart, Verify, WebAuthnStart};
use keyreeve_engine::ops::{Listing, policies, principals, tokens};
use keyreeve_engine::{Code, Operation};
use keyreeve_model::mfa::TotpAlgorithm;
use keyreeve_secret::SecretString;

use crate::cases::mfa::{code, enrol};
use crate::logins::{issuing, program};
use crate::support::{Authenticator, House, Who, label, name};

const MINUTE: i64 = 60_000;

fn start(invitation: Option<&SecretString>) -> TotpStart {
    let invitation = invitation.map(SecretString::duplicate);
    TotpStart { label: label("phone"), algorithm: TotpAlgorithm::Sha1, invitation }
}

async fn invite(house: &House, person: &str) -> SecretString {
    house.ask(Invite { principal: name(person), seconds: 3600 }).await.code
}

async fn refused<O: Operation>(house: &House, who: &Who, operation: O) -> Code {
    house.call(who, operation).await.err().expect("refused").error.code()
}

#[tokio::test]
async fn one_invitation_enrols_one_factor_however_many_were_begun() {
    let house = House::new().await;
    let alice = house.welcome(House::person("alice", &[])).await;
    let invitation = invite(&house, "alice").await;
    let other = house.token_for("alice").await;
    // Whoever has another token of hers and saw the invitation begins as well.
    let begun = house.call(&other, start(Some(&invitation))).await.unwrap().reply;
    let asked = house.call(&other, WebAuthnStart { invitation: Some(invitation.duplicate()) }).await.unwrap().reply;
    assert!(enrol(&house, &alice, start(Some(&invitation))).await.is_some());
    let finish = TotpFinish { credential: begun.credential, code: code(&house, begun.seed.expose()) };
    assert_eq!(refused(&house, &other, finish).await, Code::NotFound);
    assert_eq!(refused(&house, &other, Authenticator::new().make(&asked)).await, Code::MfaRefused);
    assert_eq!(house.ask(List { principal: name("alice") }).await.len(), 1);
}

#[tokio::test]
async fn an_enrolment_is_finished_with_the_token_that_it_was_begun_with() {
    let house = House::new().await;
    let alice = house.welcome(House::person("alice", &[])).await;
    let invitation = invite(&house, "alice").await;
    let other = house.token_for("alice").await;
    let begun = house.call(&alice, start(Some(&invitation))).await.unwrap().reply;
    let asked = house.call(&alice, WebAuthnStart { invitation: Some(invitation) }).await.unwrap().reply;
    let finish = || TotpFinish { credential: begun.credential, code: code(&house, begun.seed.expose()) };
    assert_eq!(refused(&house, &other, finish()).await, Code::NotFound);
    assert_eq!(refused(&house, &other, Authenticator::new().make(&asked)).await, Code::MfaRefused);
    let done = house.call(&alice, finish()).await.unwrap().reply;
    assert!(matches!(done, Answered::Right(_)), "what somebody else tried is in nobody's way");
}

#[tokio::test]
async fn another_invitation_ends_what_was_begun_with_the_one_before() {
    let house = House::new().await;
    let alice = house.welcome(House::person("alice", &[])).await;
    let lost = invite(&house, "alice").await;
    let begun = house.call(&alice, start(Some(&lost))).await.unwrap().reply;
    let asked = house.call(&alice, WebAuthnStart { invitation: Some(lost) }).await.unwrap().reply;
    let invitation = invite(&house, "alice").await;
    let finish = TotpFinish { credential: begun.credential, code: code(&house, begun.seed.expose()) };
    assert_eq!(refused(&house, &alice, finish).await, Code::NotFound);
    assert_eq!(refused(&house, &alice, Authenticator::new().make(&asked)).await, Code::MfaRefused);
    assert!(enrol(&house, &alice, start(Some(&invitation))).await.is_some());
}

#[tokio::test]
async fn of_two_who_remove_the_last_two_factors_at_once_one_is_refused() {
    let house = House::new().await;
    let alice = house.welcome(House::person("alice", &[])).await;
    let invitation = invite(&house, "alice").await;
    let (one, _) = enrol(&house, &alice, start(Some(&invitation))).await.unwrap();
    let (other, _) = enrol(&house, &alice, start(None)).await.unwrap();
    let (first, second) =
        tokio::join!(house.call(&alice, Remove { credential: one }), house.call(&alice, Remove { credential: other }));
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
    assert_eq!(house.ask(List { principal: name("alice") }).await.len(), 1);
}

#[tokio::test]
async fn who_is_called_like_somebody_before_has_nothing_of_theirs() {
    let house = House::new().await;
    let alice = house.welcome(House::person("alice", &[])).await;
    let invitation = invite(&house, "alice").await;
    let (_, seed) = enrol(&house, &alice, start(Some(&invitation))).await.unwrap();
    house.welcome(House::person("bob", &[])).await;
    let of_bob = invite(&house, "bob").await;
    house.ask(program("app", &[])).await;
    house.ask(credential::Issue { spec: issuing("app") }).await;
    for gone in ["alice", "bob", "app"] {
        house.ask(principals::Delete { name: name(gone) }).await;
    }
    house.clock.turn(MINUTE);
    let alice = house.welcome(House::person("alice", &[])).await;
    let bob = house.welcome(House::person("bob", &[])).await;
    house.ask(program("app", &[])).await;
    assert_eq!(house.ask(List { principal: name("alice") }).await, []);
    let shown = Verify { answer: Answer::Code { credential: None, code: code(&house, &seed) } };
    match house.call(&alice, shown).await {
        Ok(done) => assert!(matches!(done.reply, Answered::Wrong(_))),
        Err(refused) => assert_eq!(refused.error.code(), Code::WrongState),
    }
    assert_eq!(refused(&house, &bob, start(Some(&of_bob))).await, Code::MfaRefused);
    let listed = house.ask(credential::List { principal: name("app"), after: None, limit: 10 }).await;
    let Listing { items, .. } = listed;
    assert!(items.is_empty());
}

#[tokio::test]
async fn an_issued_token_with_a_second_factor_came_from_no_login() {
    let house = House::new().await;
    enrol(&house, &house.developer, start(None)).await.unwrap();
    let text = "forbid (principal, action, resource) when { context has login };".to_owned();
    house.ask(policies::Put { name: name("no-logins"), text }).await;
    house.ask(tokens::List { after: None, limit: 10 }).await;
}

#[tokio::test]
async fn challenges_that_nobody_answers_are_bounded() {
    let house = House::new().await;
    enrol(&house, &house.developer, start(None)).await.unwrap();
    for _ in 0..64 {
        house.ask(WebAuthnStart { invitation: None }).await;
    }
    assert_eq!(house.code(WebAuthnStart { invitation: None }).await, Code::TooManyAttempts);
    house.clock.turn(5 * MINUTE + 1);
    assert_eq!(house.code(WebAuthnStart { invitation: None }).await, Code::MfaNeeded, "there is room again");
}
