//! Rules of approval: who must agree to what, and that it is done once, as it was agreed (requirements A6 and A9).

use keyreeve_audit::{Outcome, Record};
use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::approvals::{Describe, Execute, List, Withdraw};
use keyreeve_engine::ops::destruction::Schedule;
use keyreeve_engine::ops::holds::{Place, Release};
use keyreeve_engine::ops::keys::{CreateSpec, MetadataPatch, Update};
use keyreeve_engine::ops::lifecycle::{Rotate, Suspend};
use keyreeve_engine::ops::mfa::Invite;
use keyreeve_engine::ops::rules::{self, Enact};
use keyreeve_engine::ops::{LabelPatch, SetPatch, keyrings, policies, principals, tokens};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::approval::{Decision, ProposalState};
use keyreeve_model::ids::ApprovalId;
use keyreeve_model::{Classification, Environment, Name};
use keyreeve_secret::SecretString;
use keyreeve_store::faulty::CommitFault;
use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Checked, Council, DAY, House, Member, Schema, create, key_of, label, name, waiting};

mod bases;
mod feasible;
mod lints;
mod rehearsed;
mod resuming;
mod ways_around;

impl House {
    /// A proposal, as the developer sees it.
    pub(crate) async fn shown(&self, approval: ApprovalId) -> keyreeve_engine::ops::approvals::ProposalReply {
        self.ask(Describe { approval }).await
    }

    async fn state(&self, approval: ApprovalId) -> ProposalState {
        self.shown(approval).await.state()
    }

    /// Records of an operation, oldest first.
    async fn told_of(&self, operation: &str) -> Vec<Record> {
        self.records().await.into_iter().filter(|record| record.operation == operation).collect()
    }
}

fn schedule(key: &KeyRef) -> Schedule {
    Schedule { key: key.clone(), days: 7, reason: label("retired") }
}

fn rotate(key: &KeyRef) -> Rotate {
    Rotate { key: key.clone(), reason: label("due") }
}

fn labelled(value: &str) -> CreateSpec {
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.labels = BTreeMap::from([(name("type"), label(value))]);
    spec
}

fn update(key: &KeyRef, patch: MetadataPatch) -> Update {
    Update { key: key.clone(), patch }
}

fn consumers(add: &[&str], remove: &[&str]) -> MetadataPatch {
    let set = |names: &[&str]| names.iter().map(|name| label(name)).collect();
    MetadataPatch { consumers: SetPatch::Alter { add: set(add), remove: set(remove) }, ..MetadataPatch::default() }
}

/// Keys are made before the rules are in force, where they would wait.
async fn council_with(spec: CreateSpec) -> (Council, KeyRef) {
    let council = Council::gathered().await;
    let key = key_of(&council.house.make(spec).await);
    council.house.call(&council.olga.who, Enact).await.unwrap();
    (council, key)
}

async fn council_with_key() -> (Council, KeyRef) {
    council_with(create(KeyAlgorithm::Xaes256Gcm)).await
}

#[tokio::test]
async fn nothing_waits_before_the_rules_are_enacted_and_that_is_on_record() {
    let house = House::new().await;
    let key = house.aead().await;
    house.ask(schedule(&key)).await;
    let record = house.told_of("key.schedule-destruction").await.remove(0);
    assert_eq!(record.details["governance"], "founding");
    assert_eq!(house.code(Enact).await, Code::WrongState, "never in development mode");
}

#[tokio::test]
async fn rules_are_enacted_once_and_only_when_people_could_satisfy_them() {
    let mut council = Council::gathered().await;
    let gone = principals::Delete { name: name("lea") };
    council.house.ask(gone).await;
    let refused = council.house.call(&council.olga.who, Enact).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unsatisfiable);
    assert!(refused.error.public().contains("rule `destroy`: nobody for legal"), "{:?}", refused.error);
    // Somebody without a second factor cannot vote, and so does not count.
    council.house.welcome(House::person("lena", &["legal"])).await;
    assert_eq!(council.house.code_for(&council.olga.who, Enact).await, Code::Unsatisfiable);
    council.lea = Member::join(&council.house, "lee", &["legal"]).await;
    council.house.call(&council.olga.who, Enact).await.unwrap();
    assert_eq!(council.house.code_for(&council.olga.who, Enact).await, Code::AlreadyDone);
    council.house.reopen().await;
    let reply = council.house.ask(rules::Describe).await;
    assert_eq!((reply.book.enacted.unwrap().by, reply.problems.len()), (name("olga"), 0));
}

#[tokio::test]
async fn a_destruction_needs_two_others_and_runs_once() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, schedule(&key)).await;
    assert_eq!(ann.waits(house, schedule(&key)).await, id, "asking again leads to the same");
    let waited = house.told_of("key.schedule-destruction").await.remove(0);
    assert_eq!(waited.outcome, Outcome::Refused { code: "approval-needed".to_owned() });
    assert_eq!((waited.details["approval"].as_str(), waited.details["rules"].as_str()), (&*id.to_string(), "destroy"));
    let shown = house.shown(id).await.proposal;
    assert_eq!(shown.request().form, serde_json::json!({"days": 7, "reason": "retired"}));
    assert_eq!(shown.reason().as_str(), "retired");
    assert!(shown.shown().iter().any(|fact| fact.name == "algorithm" && fact.value == "xaes-256-gcm"), "{shown:?}");
    assert_eq!(council.carl.approve(house, id).await.state(), ProposalState::Waiting);
    assert_eq!(ann.waits(house, schedule(&key)).await, id, "one is not enough");
    assert_eq!(council.sue.approve(house, id).await.state(), ProposalState::Approved);
    let done = house.call(&ann.who, schedule(&key)).await.unwrap();
    let record = house.told_of("key.schedule-destruction").await.pop().unwrap();
    assert_eq!((Some(record.id), record.details["approval"].as_str()), (done.record, &*id.to_string()));
    assert_eq!(house.state(id).await, ProposalState::Executed);
    let votes = house.told_of("approval.vote").await;
    assert!(
        votes.iter().all(|vote| vote.details["proof"] == "totp" && vote.details["digest"] == record.details["digest"])
    );
    // The consent is used up.
    house.ask(keyreeve_engine::ops::destruction::Cancel { key: key.clone(), reason: label("no") }).await;
    assert_ne!(ann.waits(house, schedule(&key)).await, id);
}

#[tokio::test]
async fn a_hold_makes_a_destruction_triple_and_one_that_comes_later_stands_in_its_way() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let hold = house.ask(Place { key: key.clone(), matter: label("case 7") }).await.0;
    let id = ann.waits(house, schedule(&key)).await;
    council.carl.approve(house, id).await;
    council.sue.approve(house, id).await;
    let missing = house.call(&ann.who, schedule(&key)).await.unwrap_err().waiting.unwrap().missing;
    assert_eq!(missing, ["legal"]);
    council.lea.approve(house, id).await;
    // All three agreed: in spite of this hold, and of no other that is placed later.
    house.call(&ann.who, schedule(&key)).await.unwrap();
    let later = house.ask(Place { key: key.clone(), matter: label("case 8") }).await.0;
    house.pass(8 * 86_400_000).await;
    assert_eq!(house.code(keyreeve_engine::ops::destruction::Destroy { key: key.clone() }).await, Code::UnderHold);
    let release = || Release { hold: later.id(), reason: label("settled") };
    let released = council.lea.waits(house, release()).await;
    council.carl.approve(house, released).await;
    house.call(&council.lea.who, release()).await.unwrap();
    house.pass(0).await;
    let gone = house.ask(keyreeve_engine::ops::destruction::DescribeDestruction { key: key.clone() }).await;
    assert!(!gone.0.verified.is_empty(), "destroyed while {} still stands", hold.id());
}

#[tokio::test]
async fn a_hold_that_comes_after_the_votes_asks_for_legal_anew() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, schedule(&key)).await;
    council.carl.approve(house, id).await;
    council.sue.approve(house, id).await;
    house.ask(Place { key: key.clone(), matter: label("case 7") }).await;
    let anew = ann.waits(house, schedule(&key)).await;
    assert_ne!(anew, id);
    assert_eq!(house.state(id).await, ProposalState::Withdrawn);
    assert_eq!(house.shown(anew).await.proposal.missing(), ["ciso", "legal", "security-lead"]);
}

#[tokio::test]
async fn key_encryption_keys_are_made_and_rotated_by_two() {
    let (council, key) = council_with(labelled("kek")).await;
    let by_admin = council.ann.waits(&council.house, rotate(&key)).await;
    assert_eq!(council.house.shown(by_admin).await.proposal.missing(), ["ciso", "security-lead"]);
    let sue = &council.sue.who;
    assert_eq!(council.house.code_for(sue, rotate(&key)).await, Code::Denied, "the role alone rotates nothing");
    let creating = labelled("backup").checked();
    let made = council.ann.waits(&council.house, creating).await;
    assert_eq!(council.house.shown(made).await.proposal.missing(), ["ciso", "security-lead"]);
    let plain = council.house.call(&council.ann.who, create(KeyAlgorithm::Xaes256Gcm).checked()).await;
    assert!(plain.is_ok(), "other keys wait for nobody");
    let ring = keyrings::Create {
        name: name("ring"),
        owner: label("owen"),
        description: label("d"),
        classification: Classification::Internal,
        environment: Environment::Production,
        allow_deterministic: false,
        roots: None,
    };
    let ring = council.ann.waits(&council.house, ring).await;
    council.carl.approve(&council.house, ring).await;
    council.sue.approve(&council.house, ring).await;
    let arrival = House::arrival(&council.ann.who);
    let done = council.house.engine().execute_approved(arrival, ring).await.unwrap();
    assert_eq!((done.reply.operation.as_str(), done.reply.target.id.as_str()), ("keyring.create", "ring"));
}

#[tokio::test]
async fn a_security_lead_who_proposes_needs_the_ciso_only() {
    let council = Council::gathered().await;
    let house = &council.house;
    let key = key_of(&house.make(labelled("kek")).await);
    let both = Member::join(house, "bea", &["key-admin", "security-lead"]).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let id = both.waits(house, rotate(&key)).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["ciso"]);
    assert_eq!(council.sue.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "she has no seat");
    council.carl.approve(house, id).await;
    house.call(&both.who, rotate(&key)).await.unwrap();
}

#[tokio::test]
async fn giving_access_to_a_key_needs_the_security_lead_and_its_owner() {
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.owner = label("owen");
    spec.metadata.consumers = BTreeSet::from([label("old")]);
    let (council, key) = council_with(spec).await;
    let (house, ann) = (&council.house, &council.ann);
    let other = Member::join_later(&council, "oona", "system-owner").await;
    house.call(&ann.who, update(&key, consumers(&[], &["old"]))).await.expect("taking access away waits for nobody");
    let id = ann.waits(house, update(&key, consumers(&["shop"], &[]))).await;
    let facts = house.shown(id).await.proposal;
    assert!(facts.shown().iter().any(|fact| fact.name == "consumers" && fact.value.ends_with("-> shop")), "{facts:?}");
    council.sue.approve(house, id).await;
    assert_eq!(other.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "owns other systems");
    council.owen.approve(house, id).await;
    house.call(&ann.who, update(&key, consumers(&["shop"], &[]))).await.unwrap();
    // Making oneself the owner is giving access too.
    let owner = MetadataPatch { owner: Some(label("oona")), ..MetadataPatch::default() };
    ann.waits(house, update(&key, owner)).await;
}

impl Member {
    /// Somebody who comes when the rules are in force already: the people agree to it.
    async fn join_later(council: &Council, person: &'static str, role: &str) -> Self {
        council.agreed(|| House::putting(person, &[role])).await;
        let token = || tokens::Create {
            principal: name(person),
            seconds: 86_400,
            description: label("t"),
            networks: BTreeSet::new(),
        };
        let issued = council.agreed(token).await;
        let invited = council.agreed(|| Invite { principal: name(person), seconds: 3600 }).await;
        let who = crate::support::Who::Bearer(issued.token);
        Self::enrol_with(&council.house, person, who, invited.code).await
    }
}

#[tokio::test]
async fn whoever_takes_the_label_away_needs_the_consent_that_it_stands_for() {
    let (council, key) = council_with(labelled("kek")).await;
    let labels = LabelPatch::Alter { set: BTreeMap::new(), remove: BTreeSet::from([name("type")]) };
    let patch = || MetadataPatch { labels: labels.clone(), ..MetadataPatch::default() };
    let id = council.ann.waits(&council.house, update(&key, patch())).await;
    let shown = council.house.shown(id).await.proposal;
    assert_eq!(shown.rules().iter().map(Name::as_str).collect::<Vec<_>>(), ["grant-key", "kek-create", "kek-rotate"]);
}

#[tokio::test]
async fn one_person_revokes_at_once_and_an_incident_is_opened_with_it() {
    let (council, key) = council_with(labelled("kek")).await;
    let house = &council.house;
    let suspend = Suspend { key: key.clone(), risk_accepted: false, reason: label("leaked") };
    house.call(&council.sue.who, suspend).await.unwrap();
    let record = house.told_of("key.suspend").await.remove(0);
    assert!(record.details["incident"].starts_with("inc_"), "{:?}", record.details);
    assert_eq!(record.details["rules"], "revoke");
    // The replacement is made under the same authority, and confirmed afterwards.
    house.call(&council.sue.who, resuming::compromise(&key, false)).await.unwrap();
    house.call(&council.sue.who, rotate(&key)).await.unwrap();
    let record = house.told_of("key.rotate").await.remove(0);
    assert_eq!(record.details["rules"], "replace-in-emergency");
    assert!(record.details["incident"].starts_with("inc_"), "{:?}", record.details);
}

#[tokio::test]
async fn rights_of_people_are_agreed_by_a_peer_and_those_of_governance_by_its_own() {
    let council = Council::gathered().await;
    let (house, olga) = (&council.house, &council.olga);
    // Carl is not the only one, so that he can go.
    Member::join(house, "cora", &["ciso"]).await;
    house.call(&olga.who, Enact).await.unwrap();
    let putting = || House::putting("new", &["key-user-encrypt"]);
    let id = olga.waits(house, putting()).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["security-lead", "peer of the proposer"]);
    council.sue.approve(house, id).await;
    assert_eq!(council.carl.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "no peer of olga's");
    council.otto.approve(house, id).await;
    house.call(&olga.who, putting()).await.unwrap();
    let disable = principals::PrincipalPatch { disabled: Some(true), ..principals::PrincipalPatch::default() };
    house.call(&olga.who, principals::Update { name: name("new"), patch: disable }).await.expect("narrows");
    let ciso = olga.waits(house, House::putting("new", &["ciso"])).await;
    assert_eq!(house.shown(ciso).await.proposal.missing(), ["ciso", "security-lead", "peer of the proposer"]);
    let demoting = House::putting("carl", &[]);
    let demoted = olga.waits(house, demoting).await;
    let rules: Vec<String> = house.shown(demoted).await.proposal.rules().iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["grant-governance"], "taking a governance role away is agreed to by its own as well");
}

#[tokio::test]
async fn policies_and_rules_stand_under_the_rules() {
    let council = Council::new().await;
    let (house, olga) = (&council.house, &council.olga);
    let text = "forbid (principal, action == Keyreeve::Action::\"key.sign\", resource);";
    let put = |text: &str| policies::Put { name: name("mine"), text: text.to_owned() };
    let id = olga.waits(house, put(text)).await;
    council.sue.approve(house, id).await;
    council.carl.approve(house, id).await;
    house.call(&olga.who, put(text)).await.unwrap();
    // Approved over the first version; meanwhile somebody else's second one comes to be.
    let third = "forbid (principal, action == Keyreeve::Action::\"key.mac\", resource);";
    let late = olga.waits(house, put(third)).await;
    let between = council.otto.waits(house, put("forbid (principal, action, resource is Keyreeve::Token);")).await;
    for id in [late, between] {
        council.sue.approve(house, id).await;
        council.carl.approve(house, id).await;
    }
    let arrival = House::arrival(&council.otto.who);
    house.engine().execute_approved(arrival, between).await.unwrap();
    assert_ne!(olga.waits(house, put(third)).await, late, "consent to replacing one version is none to another");
}

#[tokio::test]
async fn rules_are_replaced_under_the_rules_that_stand() {
    let council = Council::new().await;
    let (house, olga) = (&council.house, &council.olga);
    let short = "[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n";
    let put = |text: &str| rules::Put { text: text.to_owned() };
    let id = olga.waits(house, put(short)).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["ciso", "security-lead"]);
    council.sue.approve(house, id).await;
    council.carl.approve(house, id).await;
    let reply = house.call(&olga.who, put(short)).await.unwrap().reply;
    assert_eq!((reply.book.version, reply.book.approval, reply.book.enacted.is_some()), (1, Some(id), true));
    // In force for the very next request.
    let key = house.aead().await;
    house.call(&council.ann.who, schedule(&key)).await.expect("no rule is about it any more");
    let unsatisfiable = short.replace("ciso", "cfo");
    assert_eq!(house.code_for(&olga.who, put(&unsatisfiable)).await, Code::Unsatisfiable, "nobody is a cfo");
    for (text, wanted) in [
        ("[[rule]]", "cannot be read"),
        (&*short.replace("rules.put", "key.melt"), "no rule holds for every"),
        (
            &*format!("{short}[[rule]]\nname = \"x\"\noperations = [\"key.encrypt\"]\nseats = [{{ peer = true }}]\n"),
            "wait",
        ),
        (&*short.replace("seats", "when = \"1\"\nseats"), "no rule holds for every"),
    ] {
        let refused = house.call(&olga.who, rules::Check { text: text.to_owned() }).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::InvalidRequest);
        assert!(refused.error.public().contains(wanted), "{:?}", refused.error);
    }
}

#[tokio::test]
async fn the_shipped_rules_fit_the_catalogue() {
    let house = House::new().await;
    let text = house.ask(rules::Describe).await.book.rules.to_toml();
    house.ask(rules::Check { text }).await;
}

#[tokio::test]
async fn a_vote_is_for_the_digest_that_was_seen_by_somebody_else_with_a_fresh_code() {
    let (council, key) = council_with_key().await;
    let house = &council.house;
    let id = council.ann.waits(house, schedule(&key)).await;
    let digest = house.shown(id).await.proposal.digest().to_owned();
    let (carl, yes) = (&council.carl, Decision::Approve);
    house.clock.turn(30_000);
    let other = "0".repeat(64);
    assert_eq!(carl.vote_on(house, id, yes, &other, carl.code(house)).await.unwrap_err(), Code::WrongState);
    let wrong = SecretString::from("000000".to_owned());
    assert_eq!(carl.vote_on(house, id, yes, &digest, wrong).await.unwrap_err(), Code::MfaRefused);
    let code = carl.code(house);
    carl.vote_on(house, id, yes, &digest, code.duplicate()).await.unwrap();
    assert_eq!(carl.vote_on(house, id, yes, &digest, code).await.unwrap_err(), Code::MfaRefused, "a code works once");
    assert_eq!(council.ann.vote(house, id, yes).await.unwrap_err(), Code::Denied, "one does not vote on one's own");
    assert_eq!(house.state(id).await, ProposalState::Waiting);
    let vote = house.shown(id).await.proposal.votes()[0].clone();
    assert!(vote.proof.evidence.starts_with("totp:"), "{vote:?}");
}

#[tokio::test]
async fn neither_the_proposer_nor_another_name_of_theirs_votes() {
    let council = Council::gathered().await;
    let house = &council.house;
    let key = house.aead().await;
    let bea = Member::join(house, "bea", &["key-admin", "ciso"]).await;
    let mut second = House::person("bea-2", &["security-lead"]);
    second.person = Some(label("bea"));
    let who = house.welcome(second).await;
    let second = Member::enrol(house, "bea-2", who).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let id = bea.waits(house, schedule(&key)).await;
    for member in [&bea, &second] {
        assert_eq!(member.vote(house, id, Decision::Approve).await.unwrap_err(), Code::Denied, "{}", member.name);
        assert_eq!(member.vote(house, id, Decision::Reject).await.unwrap_err(), Code::Denied, "{}", member.name);
    }
    // Nor do two names of one person make two people.
    let id = council.ann.waits(house, schedule(&key)).await;
    bea.approve(house, id).await;
    second.approve(house, id).await;
    assert_eq!(house.shown(id).await.proposal.missing(), ["ciso"], "the last vote of the person counts");
}

#[tokio::test]
async fn votes_are_counted_again_when_it_runs() {
    let council = Council::gathered().await;
    let (house, ann) = (&council.house, &council.ann);
    let key = key_of(&house.make(create(KeyAlgorithm::Xaes256Gcm)).await);
    // Without another CISO the one there is could not be switched off.
    Member::join(house, "cora", &["ciso"]).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let id = ann.waits(house, schedule(&key)).await;
    council.carl.approve(house, id).await;
    council.sue.approve(house, id).await;
    let disabled = |off: bool| principals::Update {
        name: name("carl"),
        patch: principals::PrincipalPatch { disabled: Some(off), ..principals::PrincipalPatch::default() },
    };
    let off = council.olga.waits(house, disabled(true)).await;
    council.sue.approve(house, off).await;
    council.carl.approve(house, off).await;
    house.call(&council.olga.who, disabled(true)).await.unwrap();
    let refused = house.call(&ann.who, schedule(&key)).await.unwrap_err();
    assert_eq!(refused.waiting.unwrap().missing, ["ciso"]);
    let arrival = House::arrival(&ann.who);
    let by_id = house.engine().execute_approved(arrival, id).await.unwrap_err();
    assert_eq!(by_id.error.code(), Code::ApprovalNeeded);
}

#[tokio::test]
async fn a_request_is_withdrawn_rejected_or_expires() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, schedule(&key)).await;
    assert_eq!(house.code_for(&council.olga.who, Withdraw { approval: id }).await, Code::NotFound);
    house.call(&ann.who, Withdraw { approval: id }).await.unwrap();
    house.clock.turn(1);
    let rejected = ann.waits(house, schedule(&key)).await;
    assert_ne!(rejected, id);
    council.lea.vote(house, rejected, Decision::Reject).await.expect_err("has no seat here");
    council.carl.vote(house, rejected, Decision::Reject).await.unwrap();
    assert_eq!(council.sue.vote(house, rejected, Decision::Approve).await.unwrap_err(), Code::WrongState);
    let expired = ann.waits(house, schedule(&key)).await;
    council.carl.approve(house, expired).await;
    house.clock.turn(3 * DAY);
    assert_eq!(council.sue.vote(house, expired, Decision::Approve).await.unwrap_err(), Code::WrongState);
    let unused = ann.waits(house, schedule(&key)).await;
    council.carl.approve(house, unused).await;
    council.sue.approve(house, unused).await;
    house.clock.turn(DAY);
    assert_ne!(ann.waits(house, schedule(&key)).await, unused, "consent holds a day");
    let states: Vec<ProposalState> = {
        let list = List { state: None, after: None, limit: 10 };
        house.call(&ann.who, list).await.unwrap().reply.items.iter().map(|item| item.state()).collect()
    };
    use ProposalState::{Expired, Rejected, Waiting, Withdrawn};
    assert_eq!(states, [Withdrawn, Rejected, Expired, Expired, Waiting]);
}

#[tokio::test]
async fn one_sees_ones_own_requests_and_those_who_agree_see_all() {
    let (council, key) = council_with_key().await;
    let house = &council.house;
    let id = council.ann.waits(house, schedule(&key)).await;
    let stranger = Member::join_later(&council, "eve", "key-user-encrypt").await;
    let list = || List { state: Some(ProposalState::Waiting), after: None, limit: 10 };
    let seen = async |member: &Member| house.call(&member.who, list()).await.unwrap().reply.items.len();
    assert_eq!((seen(&council.ann).await, seen(&council.carl).await, seen(&stranger).await), (1, 1, 0));
    assert_eq!(house.code_for(&stranger.who, Describe { approval: id }).await, Code::NotFound);
    assert_eq!(house.code_for(&stranger.who, Execute { approval: id }).await, Code::NotFound);
    house.call(&council.lea.who, Describe { approval: id }).await.unwrap();
}

#[tokio::test]
async fn an_alias_that_leads_elsewhere_does_not_redirect_what_was_approved() {
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.aliases = BTreeSet::from([name("it")]);
    let (council, key) = council_with(spec).await;
    let (house, ann) = (&council.house, &council.ann);
    let by_alias = KeyRef::Alias(name("it"));
    let id = ann.waits(house, schedule(&by_alias)).await;
    assert_eq!(ann.waits(house, schedule(&key)).await, id, "the same key by another name is the same request");
    council.carl.approve(house, id).await;
    council.sue.approve(house, id).await;
    let moving = |add: &[&str], remove: &[&str]| {
        let set = |names: &[&str]| names.iter().map(|text| name(text)).collect();
        MetadataPatch { aliases: SetPatch::Alter { add: set(add), remove: set(remove) }, ..MetadataPatch::default() }
    };
    house.ask(update(&key, moving(&[], &["it"]))).await;
    let other = house.aead().await;
    let moved = ann.waits(house, update(&other, moving(&["it"], &[]))).await;
    council.sue.approve(house, moved).await;
    council.owen.approve(house, moved).await;
    house.call(&ann.who, update(&other, moving(&["it"], &[]))).await.unwrap();
    let anew = ann.waits(house, schedule(&by_alias)).await;
    assert_ne!(anew, id, "consent was to another key");
    let done = house.engine().execute_approved(House::arrival(&ann.who), id).await.unwrap();
    assert_eq!(KeyRef::Id(done.reply.target.id.parse().unwrap()).to_string(), key.to_string());
}

#[tokio::test]
async fn what_was_approved_is_run_by_its_id_by_whoever_asked_and_once() {
    let (council, key) = council_with_key().await;
    let (house, ann) = (&council.house, &council.ann);
    let id = ann.waits(house, schedule(&key)).await;
    let run = async |member: &Member| house.engine().execute_approved(House::arrival(&member.who), id).await;
    assert_eq!(run(ann).await.unwrap_err().error.code(), Code::WrongState, "consent is missing");
    council.carl.approve(house, id).await;
    council.sue.approve(house, id).await;
    assert_eq!(run(&council.olga).await.unwrap_err().error.code(), Code::NotFound);
    let done = run(ann).await.unwrap().reply;
    assert_eq!((done.operation.as_str(), done.record.is_some()), ("key.schedule-destruction", true));
    assert_eq!(run(ann).await.unwrap_err().error.code(), Code::AlreadyDone);
}

#[tokio::test]
async fn an_approved_request_runs_once_whatever_the_store_does() {
    for fault in [CommitFault::Failed, CommitFault::FailedButPersisted, CommitFault::Conflict] {
        let (council, key) = council_with(labelled("kek")).await;
        let (house, ann) = (&council.house, &council.ann);
        let id = ann.waits(house, rotate(&key)).await;
        council.carl.approve(house, id).await;
        council.sue.approve(house, id).await;
        house.store().fail_next_commit(fault);
        let _ = house.call(&ann.who, rotate(&key)).await;
        for _ in 0..3 {
            let _ = house.engine().execute_approved(House::arrival(&ann.who), id).await;
        }
        let shown = house.ask(keyreeve_engine::ops::keys::Describe { key: key.clone() }).await;
        assert_eq!(shown.key.versions().len(), 2, "{fault:?}");
        assert_eq!(house.state(id).await, ProposalState::Executed, "{fault:?}");
    }
}

#[tokio::test]
async fn a_listing_goes_on_where_its_page_ended_whatever_lies_between() {
    let (council, key) = council_with_key().await;
    let house = &council.house;
    let nth = |n: usize| Schedule { key: key.clone(), days: 7, reason: label(&format!("reason {n}")) };
    let mut own = Vec::new();
    for n in 0..5 {
        own.push(council.ann.waits(house, nth(n)).await);
        council.olga.waits(house, House::putting(&format!("new-{n}"), &["key-admin"])).await;
    }
    // By id; those of one millisecond are in no order of time.
    own.sort_by_key(ToString::to_string);
    let withdrawn = own.remove(2);
    house.call(&council.ann.who, Withdraw { approval: withdrawn }).await.unwrap();
    let page = async |after, state, limit| {
        let done = house.call(&council.ann.who, List { state, after, limit }).await.unwrap().reply;
        let ids: Vec<ApprovalId> = done.items.iter().map(|item| item.proposal.id()).collect();
        (ids, done.next.map(|next| next.parse::<ApprovalId>().unwrap()))
    };
    let all = async |state, limit| {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let (ids, next) = page(after, state, limit).await;
            assert!(ids.len() <= limit as usize && (next.is_none() || !ids.is_empty()), "{ids:?} {next:?}");
            found.extend(ids);
            pages += 1;
            after = next;
            if after.is_none() {
                return (found, pages);
            }
        }
    };
    let waiting = Some(ProposalState::Waiting);
    for limit in 1..=5 {
        let (found, pages) = all(waiting, limit).await;
        assert_eq!(found, own, "limit {limit}: those of others are neither shown nor in the way");
        assert!(pages >= own.len().div_ceil(limit as usize), "limit {limit}");
        let (found, _) = all(None, limit).await;
        assert_eq!(found.len(), 5, "limit {limit}: the one that was withdrawn as well");
    }
    assert_eq!(all(Some(ProposalState::Withdrawn), 1).await.0, [withdrawn]);
}

#[tokio::test]
async fn two_engines_over_one_store_run_an_approved_request_once() {
    two_engines_run_once(&Council::gathered().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_engines_over_one_postgres_database_run_an_approved_request_once() {
    let Some(schema) = Schema::make("approvals").await else { return };
    two_engines_run_once(&Council::gathered_in(House::on_postgres(schema.url()).await).await).await;
    schema.remove().await;
}

async fn two_engines_run_once(council: &Council) {
    let (house, ann) = (&council.house, &council.ann);
    let key = key_of(&house.make(labelled("kek")).await);
    house.call(&council.olga.who, Enact).await.unwrap();
    let other = house.beside().await;
    for round in 0..3 {
        let reason = label(&format!("round {round}"));
        let id = ann.waits(house, Rotate { key: key.clone(), reason }).await;
        council.carl.approve(house, id).await;
        council.sue.approve(house, id).await;
        let run = |engine: &keyreeve_engine::Engine| {
            let engine = engine.clone();
            let arrival = House::arrival(&ann.who);
            tokio::spawn(async move { engine.execute_approved(arrival, id).await.is_ok() })
        };
        let here = house.engine().clone();
        let (a, b, c, d) = tokio::join!(run(&here), run(&other), run(&here), run(&other));
        assert_eq!([a, b, c, d].into_iter().filter(|done| *done.as_ref().unwrap()).count(), 1, "round {round}");
        // An engine that did not run it may still show the key as it knew it.
        let mut shown = 0;
        for engine in [&here, &other] {
            let describe = keyreeve_engine::ops::keys::Describe { key: key.clone() };
            let done = engine.call(House::arrival(&house.developer), describe).await.unwrap();
            shown = shown.max(done.reply.key.versions().len());
        }
        assert_eq!(shown, round + 2);
    }
}

#[tokio::test]
async fn a_token_for_somebody_else_is_issued_by_asking_again() {
    let council = Council::new().await;
    let (house, olga) = (&council.house, &council.olga);
    let token = |principal: &str| tokens::Create {
        principal: name(principal),
        seconds: 3600,
        description: label("t"),
        networks: BTreeSet::new(),
    };
    house.call(&olga.who, token("olga")).await.expect("one's own");
    let id = waiting(house.call(&olga.who, token("ann")).await.map(|_| ()));
    council.sue.approve(house, id).await;
    council.otto.approve(house, id).await;
    let by_id = house.engine().execute_approved(House::arrival(&olga.who), id).await.unwrap_err();
    assert_eq!(by_id.error.code(), Code::WrongState, "the answer would be nobody's");
    house.call(&olga.who, token("ann")).await.unwrap();
}
