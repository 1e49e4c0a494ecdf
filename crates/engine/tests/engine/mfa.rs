//! Second factors through the whole pipeline: what proves, what proves nothing, and for how long.

use keyreeve_audit::Outcome;
use keyreeve_engine::ops::mfa::{
    Answer, Answered, ChallengeFor, FactorView, Invite, List, NewChallenge, ProofReply, RecoveryCodes, Remove, Reset,
    Status, TotpStart, Verify, WebAuthnStart,
};
use keyreeve_engine::ops::{policies, tokens};
use keyreeve_engine::{Code, Settings};
use keyreeve_model::mfa::TotpAlgorithm;
use keyreeve_secret::SecretString;

use crate::cases::mfa::{code, enrol};
use crate::support::{Authenticator, House, Member, RootKind, Who, label, name};

const MINUTE: i64 = 60_000;

fn start(invitation: Option<&str>) -> TotpStart {
    let invitation = invitation.map(SecretString::copy_from);
    TotpStart { label: label("phone"), algorithm: TotpAlgorithm::Sha1, invitation }
}

fn by_code(house: &House, seed: &str) -> Verify {
    Verify { answer: Answer::Code { credential: None, code: code(house, seed) } }
}

fn typed(text: &str) -> Verify {
    Verify { answer: Answer::Code { credential: None, code: SecretString::copy_from(text) } }
}

/// What showing a factor came to: the code of the refusal, wherever it was found.
async fn shown(house: &House, who: &Who, verify: Verify) -> Result<ProofReply, Code> {
    match house.call(who, verify).await {
        Ok(done) => match done.reply {
            Answered::Right(proof) => Ok(proof),
            Answered::Wrong(error) => Err(error.code()),
        },
        Err(refused) => Err(refused.error.code()),
    }
}

/// The developer with codes by time; the seed.
async fn enrolled(house: &House) -> String {
    enrol(house, &house.developer, start(None)).await.unwrap().1
}

/// A person with an invitation that was taken up; the seed.
async fn invited(house: &House, person: &str) -> (Who, String) {
    let who = house.welcome(House::person(person, &[])).await;
    let invitation = house.ask(Invite { principal: name(person), seconds: 3600 }).await;
    let (_, seed) = enrol(house, &who, start(Some(invitation.code.expose()))).await.unwrap();
    (who, seed)
}

#[tokio::test]
async fn a_code_works_once_and_the_token_carries_the_proof() {
    let house = House::new().await;
    let seed = enrolled(&house).await;
    // The code that confirmed the factor was one.
    assert_eq!(shown(&house, &house.developer, by_code(&house, &seed)).await, Err(Code::MfaRefused));
    house.clock.turn(MINUTE);
    let proof = shown(&house, &house.developer, by_code(&house, &seed)).await.unwrap();
    assert_eq!(shown(&house, &house.developer, by_code(&house, &seed)).await, Err(Code::MfaRefused));
    house.clock.turn(MINUTE);
    let status = house.ask(Status).await;
    assert_eq!(status.shown, Some((proof.kind, 60)));
    let records = house.records().await;
    let last = records.last().unwrap();
    assert_eq!((last.details["mfa"].as_str(), last.details["mfa_age"].as_str()), ("totp", "60"));
    let refused = records.iter().rev().find(|record| record.operation == "mfa.verify").unwrap();
    assert_eq!(refused.outcome.code(), Some("mfa-refused"));
    // Another token of the same person proves nothing by this.
    let other = house.token_for("developer").await;
    assert_eq!(house.call(&other, Status).await.unwrap().reply.shown, None);
}

#[tokio::test]
async fn wrong_codes_pause_a_factor_and_a_restart_does_not_forget_them() {
    let mut house = House::new().await;
    let seed = enrolled(&house).await;
    house.clock.turn(MINUTE);
    for _ in 0..5 {
        assert_eq!(shown(&house, &house.developer, typed("12345")).await, Err(Code::MfaRefused));
    }
    house.reopen().await;
    assert_eq!(shown(&house, &house.developer, by_code(&house, &seed)).await, Err(Code::TooManyAttempts));
    house.clock.turn(5 * MINUTE);
    assert!(shown(&house, &house.developer, by_code(&house, &seed)).await.is_ok());
}

#[tokio::test]
async fn a_first_factor_needs_an_invitation_and_a_further_one_a_fresh_proof() {
    let house = House::new().await;
    let alice = house.welcome(House::person("alice", &[])).await;
    assert_eq!(house.code_for(&alice, start(None)).await, Code::WrongState);
    assert_eq!(house.code_for(&alice, start(Some("WRONG"))).await, Code::MfaRefused);
    let invitation = house.ask(Invite { principal: name("alice"), seconds: 3600 }).await;
    let bob = house.welcome(House::person("bob", &[])).await;
    assert_eq!(house.code_for(&bob, start(Some(invitation.code.expose()))).await, Code::MfaRefused, "it is alice's");
    house.clock.turn(61 * MINUTE);
    assert_eq!(house.code_for(&alice, start(Some(invitation.code.expose()))).await, Code::MfaRefused, "too late");
    let invitation = house.ask(Invite { principal: name("alice"), seconds: 3600 }).await;
    assert!(enrol(&house, &alice, start(Some(invitation.code.expose()))).await.is_some());
    // Used up, and no other is made for somebody who has a factor.
    house.clock.turn(10 * MINUTE);
    assert_eq!(house.code_for(&alice, start(Some(invitation.code.expose()))).await, Code::MfaNeeded);
    assert_eq!(house.code(Invite { principal: name("alice"), seconds: 3600 }).await, Code::WrongState);
    // The developer may invite, but is not the first any more.
    assert_eq!(house.code(start(None)).await, Code::WrongState);
}

#[tokio::test]
async fn an_authenticator_registers_and_signs_for_its_challenge_and_token_only() {
    let house = House::new().await;
    let seed = enrolled(&house).await;
    let key = Authenticator::new();
    let asked = house.ask(WebAuthnStart { invitation: None }).await;
    let made = house.ask(key.make(&asked)).await;
    assert_eq!(house.code(key.make(&asked)).await, Code::MfaRefused, "a challenge is answered once");
    let again = house.ask(WebAuthnStart { invitation: None }).await;
    assert_eq!(house.code(key.make(&again)).await, Code::AlreadyExists);
    let other = house.token_for("developer").await;
    let step_up = || NewChallenge { purpose: ChallengeFor::StepUp };
    let asked = house.ask(step_up()).await;
    let answer = || Verify { answer: Answer::Assertion(Box::new(key.sign(&asked))) };
    assert_eq!(shown(&house, &other, answer()).await, Err(Code::MfaRefused), "it was given to another token");
    let proof = shown(&house, &house.developer, answer()).await.unwrap();
    assert_eq!(proof.credential, made.id);
    assert_eq!(shown(&house, &house.developer, answer()).await, Err(Code::MfaRefused), "a replay");
    let asked = house.ask(step_up()).await;
    let late = key.sign(&asked);
    house.clock.turn(5 * MINUTE);
    let late = Verify { answer: Answer::Assertion(Box::new(late)) };
    assert_eq!(shown(&house, &house.developer, late).await, Err(Code::MfaRefused), "too late");
    assert!(shown(&house, &house.developer, by_code(&house, &seed)).await.is_ok());
}

#[tokio::test]
async fn a_copied_or_careless_authenticator_proves_nothing() {
    let house = House::new().await;
    enrolled(&house).await;
    let key = Authenticator::new();
    let asked = house.ask(WebAuthnStart { invitation: None }).await;
    house.ask(key.make(&asked)).await;
    let sign = async |key: &Authenticator| {
        let asked = house.ask(NewChallenge { purpose: ChallengeFor::StepUp }).await;
        shown(&house, &house.developer, Verify { answer: Answer::Assertion(Box::new(key.sign(&asked))) }).await
    };
    assert!(sign(&key).await.is_ok());
    key.count.set(1);
    assert_eq!(sign(&key).await, Err(Code::MfaRefused), "the counter went back");
    key.count.set(9);
    key.verifies.set(false);
    assert_eq!(sign(&key).await, Err(Code::MfaRefused), "nobody was recognised");
    key.verifies.set(true);
    assert!(sign(&key).await.is_ok());
}

#[tokio::test]
async fn each_recovery_code_works_once_and_lets_a_new_factor_in() {
    let house = House::new().await;
    enrolled(&house).await;
    let codes = house.ask(RecoveryCodes).await.codes;
    house.clock.turn(10 * MINUTE);
    assert_eq!(house.code(start(None)).await, Code::MfaNeeded);
    let paper = |code: &str| Verify { answer: Answer::Recovery { code: SecretString::copy_from(code) } };
    assert!(shown(&house, &house.developer, paper(codes[3].expose())).await.is_ok());
    assert_eq!(shown(&house, &house.developer, paper(codes[3].expose())).await, Err(Code::MfaRefused));
    let left = |status: Vec<FactorView>| status.iter().find_map(|factor| factor.codes_left);
    assert_eq!(left(house.ask(Status).await.factors), Some(9));
    assert!(enrol(&house, &house.developer, start(None)).await.is_some());
    // A new set voids the old one.
    house.ask(RecoveryCodes).await;
    assert_eq!(shown(&house, &house.developer, paper(codes[4].expose())).await, Err(Code::MfaRefused));
    assert_eq!(left(house.ask(Status).await.factors), Some(10));
}

#[tokio::test]
async fn the_last_factor_stays_and_a_reset_takes_all_proofs_along() {
    let house = House::new().await;
    enrolled(&house).await;
    let (alice, _) = invited(&house, "alice").await;
    let factors = house.ask(List { principal: name("alice") }).await;
    let [only] = &factors[..] else { panic!("{factors:?}") };
    assert_eq!(house.code_for(&alice, Remove { credential: only.id }).await, Code::WrongState);
    assert!(house.call(&alice, Status).await.unwrap().reply.shown.is_some());
    assert_eq!(house.code(Remove { credential: only.id }).await, Code::NotFound, "it is alice's");
    house.ask(Reset { principal: name("alice") }).await;
    let status = house.call(&alice, Status).await.unwrap().reply;
    assert_eq!((status.shown, status.factors.len()), (None, 0));
    assert_eq!(house.code(Reset { principal: name("developer") }).await, Code::WrongState);
}

#[tokio::test]
async fn a_policy_demands_a_factor_and_a_fresh_one_satisfies_it() {
    let house = House::with(RootKind::SealedFile, |settings| {
        settings.extra_policies.extend(Settings::default().extra_policies)
    })
    .await;
    enrolled(&house).await;
    let boss = house.welcome(House::person("boss", &["operator"])).await;
    let invitation = house.ask(Invite { principal: name("boss"), seconds: 3600 }).await;
    let list = || tokens::List { after: None, limit: 10 };
    assert_eq!(house.code_for(&boss, list()).await, Code::MfaNeeded);
    let (_, seed) = enrol(&house, &boss, start(Some(invitation.code.expose()))).await.unwrap();
    assert!(house.call(&boss, list()).await.is_ok());
    house.clock.turn(12 * 60 * MINUTE + 1);
    assert_eq!(house.code_for(&boss, list()).await, Code::MfaNeeded);
    assert!(shown(&house, &boss, by_code(&house, &seed)).await.is_ok());
    assert!(house.call(&boss, list()).await.is_ok());
    let last = house.records().await.pop().unwrap();
    assert_eq!((last.operation.as_str(), last.outcome), ("token.list", Outcome::Ok));
}

#[tokio::test]
async fn a_policy_that_was_put_under_a_name_before_it_was_shipped_stays_in_force() {
    let mut house = House::new().await;
    let text = "forbid (principal, action == Keyreeve::Action::\"token.list\", resource);".to_owned();
    house.ask(policies::Put { name: name("require-mfa"), text: text.clone() }).await;
    let list = || tokens::List { after: None, limit: 10 };
    assert_eq!(house.code(list()).await, Code::Denied);
    crate::roles::demand_factors(&mut house.settings);
    house.settings.development = false;
    house.reopen().await;
    let admin = Member::join(&house, "admin", &["operator"]).await;
    let denied = async || house.code_for(&admin.who, list()).await;
    assert_eq!(denied().await, Code::Denied, "what the organisation forbids stays forbidden");
    let named = async || {
        let listed = house.call(&admin.who, policies::List { after: None, limit: 100 }).await.unwrap().reply.items;
        let theirs = listed.into_iter().filter(|one| one.name.starts_with("require-mfa"));
        theirs.map(|one| (one.name, one.built_in)).collect::<Vec<_>>()
    };
    let [shipped, own] = [("require-mfa".to_owned(), true), ("require-mfa.own".to_owned(), false)];
    assert_eq!(named().await, [shipped.clone(), own.clone()]);
    // As it is pulled it can be applied, which gives it the name for good.
    let policies = [(name("require-mfa.own"), text)].into();
    let apply = policies::Apply { policies, delete_others: true, base: None, dry_run: false, comment: label("") };
    let changes = house.call(&admin.who, apply).await.unwrap().reply.changes;
    assert_eq!((changes.added, changes.removed), (vec![name("require-mfa.own")], vec![name("require-mfa")]));
    assert_eq!(denied().await, Code::Denied);
    let delete = |text: &str| policies::Delete { name: name(text), base: None };
    assert_eq!(house.code_for(&admin.who, delete("require-mfa")).await, Code::AlreadyExists);
    house.call(&admin.who, delete("require-mfa.own")).await.unwrap();
    assert!(house.call(&admin.who, list()).await.is_ok());
    // A version of before comes back under the other name as well.
    let back = policies::Rollback { version: 1, base: None, comment: label("") };
    house.call(&admin.who, back).await.unwrap();
    assert_eq!((named().await, denied().await), (vec![shipped.clone(), own], Code::Denied));
    house.call(&admin.who, delete("require-mfa.own")).await.unwrap();
    assert_eq!(named().await, [shipped]);
}

#[tokio::test]
async fn a_policy_whose_name_is_shipped_now_is_deleted_by_its_name() {
    let mut house = House::new().await;
    let text = "forbid (principal, action == Keyreeve::Action::\"token.list\", resource);".to_owned();
    house.ask(policies::Put { name: name("require-mfa"), text }).await;
    crate::roles::demand_factors(&mut house.settings);
    house.reopen().await;
    let admin = Member::join(&house, "admin", &["operator"]).await;
    house.call(&admin.who, policies::Delete { name: name("require-mfa"), base: None }).await.unwrap();
    assert!(house.call(&admin.who, tokens::List { after: None, limit: 10 }).await.is_ok());
}
