//! Nobody is asked to consent to what would come to nothing.

use keyreeve_engine::Operation;
use keyreeve_engine::ops::emergencies::Declare;
use keyreeve_engine::ops::grants::{self, Wanted};
use keyreeve_engine::ops::lifecycle::{Activate, Compromise, Deactivate};
use keyreeve_engine::ops::login::{credential, methods};
use keyreeve_engine::ops::{incidents, mfa};
use keyreeve_model::Label;
use keyreeve_model::grant::Constraints;
use keyreeve_model::incident::IncidentKind;

use super::*;

/// A rule about every operation that can wait, beside those that are shipped.
const EVERYTHING: &str = r#"
[[rule]]
name = "everything"
operations = [
  "key.schedule-destruction", "key.rotate", "key.activate", "key.deactivate", "key.compromise", "key.create",
  "key.update", "keyring.create", "principal.put", "principal.delete", "policy.put", "policy.delete", "policy.apply",
  "policy.rollback", "mfa.reset", "grant.create", "grant.request", "hold.release", "emergency.declare",
  "login-method.put", "login-method.delete", "rules.put", "token.create", "credential.issue", "mfa.invite",
  "keyring.rotate-kek", "root.migrate", "root.join", "root.retire",
]
seats = [{ role = "ciso" }]
"#;

/// A council in which everything waits for the CISO at least.
async fn strict(prepared: impl AsyncFnOnce(&House)) -> Council {
    let council = Council::gathered().await;
    let book = council.house.ask(rules::Describe).await.book.rules.to_toml();
    council.house.ask(rules::Put { text: format!("{book}{EVERYTHING}") }).await;
    prepared(&council.house).await;
    council.house.call(&council.olga.who, Enact).await.unwrap();
    council
}

/// Refusals at once, by the operation.
struct Refusals<'a> {
    house: &'a House,
    seen: Vec<(&'static str, Code)>,
}

impl Refusals<'_> {
    /// Asks for something as the developer, who may ask for everything.
    async fn of<O: Operation>(&mut self, operation: O) {
        self.seen.push((O::DESCRIPTOR.name, self.house.code(operation).await));
    }

    async fn about_keys(&mut self, key: &KeyRef, ended: &KeyRef) {
        self.of(Schedule { key: key.clone(), days: 3, reason: label("soon") }).await;
        self.of(rotate(ended)).await;
        self.of(Activate { key: key.clone(), reason: label("again") }).await;
        self.of(Deactivate { key: ended.clone(), reason: label("again") }).await;
        let (version, reason) = (Some(9), label("lost"));
        self.of(Compromise { key: key.clone(), version, risk_accepted: false, reason }).await;
        self.of(create(KeyAlgorithm::Aes256GcmSiv).checked()).await;
        let patch = MetadataPatch { classification: Some(Classification::Restricted), ..MetadataPatch::default() };
        self.of(update(key, patch)).await;
        self.of(ring("default")).await;
    }

    async fn about_principals(&mut self) {
        let put = principals::PutSpec { networks: ["nowhere".to_owned()].into(), ..House::person("new", &[]) };
        self.of(principals::Put::new(put)).await;
        self.of(principals::Delete { name: name("nobody") }).await;
        self.of(mfa::Reset { principal: name("nobody") }).await;
        let (principal, networks) = (name("ann"), BTreeSet::new());
        self.of(tokens::Create { principal, seconds: 999_999_999, description: label("long"), networks }).await;
        self.of(credential::Issue { spec: crate::logins::issuing("ann") }).await;
        self.of(Invite { principal: name("nobody"), seconds: 600 }).await;
        self.of(methods::Delete { method: name("nothing") }).await;
    }

    async fn about_policies(&mut self) {
        let broken = || "permit (principal".to_owned();
        self.of(policies::Put { name: name("own"), text: broken() }).await;
        self.of(policies::Delete { name: name("nothing"), base: None }).await;
        self.of(applying([(name("own"), broken())].into())).await;
        self.of(policies::Rollback { version: 99, base: None, comment: Label::default() }).await;
        self.of(rules::Put { text: "[[rule]]".to_owned() }).await;
    }

    async fn about_grants(&mut self, key: &KeyRef) {
        self.of(granting("ann", on(key, "key.decypt"), 60)).await;
        self.of(granting("ann", on(key, "key.decrypt"), 400 * 86_400)).await;
        for role in ["ciso", "nonsense"] {
            let wanted = || Wanted::Role { role: name(role) };
            self.of(granting("ann", wanted(), 60)).await;
            self.of(grants::Request { request: granting("developer", wanted(), 60) }).await;
        }
    }
}

fn granting(who: &str, what: Wanted, seconds: u64) -> grants::Create {
    let (principal, constraints) = (name(who), Constraints::default());
    grants::Create { principal, what, constraints, not_before: None, seconds, reason: label("audit") }
}

fn on(key: &KeyRef, operation: &str) -> Wanted {
    Wanted::Key { key: key.clone(), operations: [name(operation)].into() }
}

fn ring(text: &str) -> keyrings::Create {
    keyrings::Create {
        name: name(text),
        owner: label("owen"),
        description: label("d"),
        classification: Classification::Internal,
        environment: Environment::Production,
        allow_deterministic: false,
        roots: None,
    }
}

fn applying(policies: BTreeMap<Name, String>) -> policies::Apply {
    policies::Apply { policies, delete_others: false, base: None, dry_run: false, comment: Label::default() }
}

async fn waits<O: Operation>(house: &House, operation: O) -> ApprovalId {
    waiting(house.call(&house.developer, operation).await.map(|_| ()))
}

#[tokio::test]
async fn what_would_be_refused_is_refused_before_anybody_is_asked() {
    let (mut keys, mut holds) = (Vec::new(), Vec::new());
    let prepared = async |house: &House| {
        keys.extend([house.aead().await, house.aead().await]);
        house.ask(Deactivate { key: keys[1].clone(), reason: label("over") }).await;
        let hold = house.ask(Place { key: keys[0].clone(), matter: label("case 7") }).await.0.id();
        house.ask(Release { hold, reason: label("settled") }).await;
        holds.push(hold);
    };
    let council = strict(prepared).await;
    let (house, key) = (&council.house, keys[0].clone());
    let (kind, reason) = (IncidentKind::Other, label("the vendor is gone"));
    let open = incidents::Open { kind, keys: vec![key.clone()], ticket: None, reason };
    let incident = house.ask(open).await.incident.id();
    let KeyRef::Id(id) = key else { panic!("not an id") };
    let declare = |operation: &str, participant: &str| Declare {
        incident,
        keys: [id].into(),
        keyrings: BTreeSet::new(),
        operations: [operation.to_owned()].into(),
        participants: [name(participant)].into(),
        minutes: 30,
        why: label("the restore must run tonight"),
    };

    let mut refusals = Refusals { house, seen: Vec::new() };
    refusals.about_keys(&key, &keys[1]).await;
    refusals.about_principals().await;
    refusals.about_policies().await;
    refusals.about_grants(&key).await;
    refusals.of(Release { hold: holds[0], reason: label("again") }).await;
    refusals.of(declare("key.decypt", "ann")).await;
    refusals.of(declare("key decrypt", "ann")).await;
    refusals.of(declare("key.decrypt", "nobody")).await;
    let asked: Vec<_> = refusals.seen.iter().filter(|(_, code)| *code == Code::ApprovalNeeded).collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(refusals.seen.iter().all(|(_, code)| *code != Code::Denied), "{:?}", refusals.seen);

    // What is right waits, and names the operations that a group stands for.
    let granted = waits(house, granting("ann", on(&key, "decrypt"), 60)).await;
    let declared = waits(house, declare("decrypt-side", "ann")).await;
    let facts = house.shown(granted).await.proposal.shown().to_vec();
    let fact = |name: &str| facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.clone());
    assert_eq!(fact("classification").as_deref(), Some("internal"), "{facts:?}");
    let facts = house.shown(declared).await.proposal.shown().to_vec();
    assert!(facts.iter().any(|fact| fact.name == id.to_string()), "{facts:?}");
    for id in [granted, declared] {
        let form = house.shown(id).await.proposal.request().form.to_string();
        assert!(form.contains("\"key.decrypt\"") && form.contains("\"key.unwrap-data-key\""), "{form}");
    }
}

#[tokio::test]
async fn what_changes_nothing_takes_nobodys_consent() {
    let text = "permit (principal == Keyreeve::Principal::\"ann\", action, resource is Keyreeve::Key);";
    let texts = || BTreeMap::from([(name("own"), text.to_owned())]);
    let council = strict(async |house: &House| drop(house.ask(applying(texts())).await)).await;
    let (house, olga) = (&council.house, &council.olga);
    let same = house.call(&olga.who, applying(texts())).await.unwrap().reply;
    assert_eq!((same.from, same.to), (1, None));
    let back = policies::Rollback { version: 1, base: None, comment: Label::default() };
    assert_eq!(house.call(&olga.who, back).await.unwrap().reply.to, None);
    let record = house.told_of("policy.rollback").await.remove(0);
    assert_eq!((record.outcome, record.details["unchanged"].as_str()), (Outcome::Ok, "true"));
    // Another text is a change, and shown as one.
    let id = olga.waits(house, applying([(name("own"), text.replace("ann", "owen"))].into())).await;
    let shown = house.shown(id).await.proposal.shown().to_vec();
    let difference = shown.iter().find(|fact| fact.name == "difference").unwrap();
    assert!(difference.value.contains("\n-permit") && difference.value.contains("owen"), "{difference:?}");
}

#[tokio::test]
async fn what_nobody_could_consent_to_is_refused_and_otherwise_people_are_named() {
    let council = Council::gathered().await;
    let nora = Member::join(&council.house, "nora", &[]).await;
    let aki = Member::join(&council.house, "aki", &["key-admin"]).await;
    council.house.call(&council.olga.who, Enact).await.unwrap();
    let house = &council.house;
    let asking = |who: &str| grants::Request { request: granting(who, Wanted::Role { role: name("key-auditor") }, 60) };
    let refused = house.call(&nora.who, asking("nora")).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unsatisfiable, "{:?}", refused.error);
    assert!(refused.error.public().contains("`peer"), "{:?}", refused.error);
    // Whoever has a role shares it with somebody.
    let id = aki.waits(house, asking("aki")).await;
    let shown = house.shown(id).await;
    let people: Vec<_> = shown.candidates.iter().map(|one| (one.seat.as_str(), one.people.clone())).collect();
    let could = |seat: &str, who: &str| people.iter().any(|(of, all)| of.starts_with(seat) && *all == [name(who)]);
    assert!(people.len() == 2 && could("peer", "ann") && could("security-lead", "sue"), "{people:?}");
    council.sue.approve(house, id).await;
    assert_eq!(house.shown(id).await.candidates.len(), 1);
}

#[tokio::test]
async fn what_has_changed_since_people_were_asked_is_told() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, schedule(&key)).await;
    assert_eq!(house.shown(id).await.overtaken, []);
    house.ask(Place { key: key.clone(), matter: label("case 7") }).await;
    let overtaken = house.shown(id).await.overtaken;
    let overtaken: Vec<_> = overtaken.iter().map(|fact| (&*fact.name, &*fact.value)).collect();
    assert_eq!(overtaken, [("hold", "false -> true")]);
    for member in [&council.carl, &council.sue] {
        member.approve(house, id).await;
    }
    let refused = house.call(&ann.who, schedule(&key)).await.unwrap_err();
    let (anew, told) = (refused.waiting.unwrap(), refused.error.public().to_owned());
    assert!(told.contains(&id.to_string()) && told.contains("legal"), "{told}");
    assert_eq!((anew.replaces, house.state(id).await), (Some(id), ProposalState::Withdrawn));
}

#[tokio::test]
async fn the_risk_of_a_compromised_key_is_not_accepted_by_one() {
    let council = Council::gathered().await;
    let house = &council.house;
    let key = house.aead().await;
    let ingo = Member::join(house, "ingo", &["incident-commander"]).await;
    let ciphertext = house.encrypt(&key, b"x").await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let sue = &council.sue;
    let compromise =
        |risk_accepted| Compromise { key: key.clone(), version: None, risk_accepted, reason: label("laptop stolen") };
    house.call(&sue.who, compromise(false)).await.unwrap();
    assert_eq!(house.code(House::decrypting(&key, &ciphertext)).await, Code::WrongState);
    // The incident need not be open any more.
    let incidents = house.ask(incidents::List { open: Some(true), after: None, limit: 10 }).await.items;
    let close = incidents::Close { incident: incidents[0].incident.id(), text: label("moved on") };
    house.call(&sue.who, close).await.unwrap();
    let id = sue.waits(house, compromise(true)).await;
    let rules = house.shown(id).await.proposal.rules().iter().map(Name::to_string).collect::<Vec<_>>();
    assert_eq!(rules, ["accept-risk", "revoke"]);
    ingo.approve(house, id).await;
    house.call(&sue.who, compromise(true)).await.unwrap();
    house.ask(House::decrypting(&key, &ciphertext)).await;
    assert_eq!(house.code_for(&house.developer, House::encrypting(&key, b"x")).await, Code::WrongState);
    // That it is accepted no longer takes nobody's consent.
    house.call(&sue.who, compromise(false)).await.unwrap();
    assert_eq!(house.code(House::decrypting(&key, &ciphertext)).await, Code::WrongState);
}
