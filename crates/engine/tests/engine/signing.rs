//! What people sign with their name counts by who they are, and a review goes around nobody's consent.

use keyreeve_engine::ops::access_report::{FindingKind, Report};
use keyreeve_engine::ops::login::methods;
use keyreeve_engine::ops::reviews::{Close, Decide, DecideReply, Describe, Open};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::{holds, policies, principals};
use keyreeve_engine::{Code, Operation};
use keyreeve_model::PrincipalKind;
use keyreeve_model::ids::ReviewId;
use keyreeve_model::review::{ReviewItem, Scope, Subject, Verdict};

use crate::logins::{claims, kinds, spec, visited};
use crate::support::{Council, House, Member, Who, label, name};

fn open(subjects: &[Subject], reviewers: &[&str]) -> Open {
    Open {
        scope: Scope { subjects: subjects.iter().copied().collect(), principal: None },
        reviewers: reviewers.iter().map(|reviewer| name(reviewer)).collect(),
        days: 30,
        reason: label("second half-year"),
    }
}

async fn ask_as<O: Operation>(house: &House, who: &Who, operation: O) -> O::Reply {
    match house.call(who, operation).await {
        Ok(done) => done.reply,
        Err(refused) => panic!("{}: {}", O::DESCRIPTOR.name, refused.error),
    }
}

/// A campaign over everything, with its items.
struct Reviewing {
    id: ReviewId,
    items: Vec<ReviewItem>,
}

impl Reviewing {
    async fn begin(house: &House, who: &Who) -> Self {
        let id = ask_as(house, who, open(&Subject::ALL, &[])).await.campaign.id();
        let all = Describe { review: id, undecided: false, after: None, limit: 1000 };
        Self { id, items: ask_as(house, who, all).await.items }
    }

    fn decide(&self, holder: &str, verdict: Verdict) -> Decide {
        let found: Vec<_> = self.items.iter().filter(|item| item.who.as_str() == holder).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        Decide { review: self.id, item: found[0].number, verdict, reason: label("looked at") }
    }
}

async fn roles(house: &House, principal: &str) -> Vec<String> {
    let record = house.ask(principals::Describe { name: name(principal) }).await.record;
    record.roles.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_review_takes_nothing_that_others_would_have_to_agree_to() {
    let council = Council::gathered().await;
    let house = &council.house;
    let dora = Member::join(house, "dora", &["dpo"]).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let review = Reviewing::begin(house, &dora.who).await;
    let revoke =
        async |holder: &str| -> DecideReply { ask_as(house, &dora.who, review.decide(holder, Verdict::Revoke)).await };
    for (holder, role) in [("sue", "security-lead"), ("carl", "ciso"), ("owen", "system-owner")] {
        let decided = revoke(holder).await;
        let (remark, decision) = (decided.remark.unwrap(), decided.item.decision.unwrap());
        assert!(remark.contains(&format!("`keyreeve principal update {holder} --remove-role {role}`")), "{remark}");
        assert_eq!((decision.verdict, decision.taken), (Verdict::Revoke, false));
        assert_eq!(roles(house, holder).await, [role]);
    }
    // What nobody has to agree to goes at once.
    let decided = revoke("ann").await;
    assert!(decided.remark.is_none() && decided.item.decision.unwrap().taken);
    assert!(roles(house, "ann").await.is_empty());
    // That operation waits, as the answer says.
    let patch = principals::PrincipalPatch {
        roles: keyreeve_engine::ops::SetPatch::Replace([].into()),
        ..principals::PrincipalPatch::default()
    };
    let waiting = council.olga.waits(house, principals::Update { name: name("owen"), patch }).await;
    assert_eq!(house.shown(waiting).await.proposal.missing(), ["ciso", "security-lead"]);
}

#[tokio::test]
async fn two_reviews_at_the_same_time_do_not_take_the_role_from_the_last_two_operators() {
    let house = House::new().await;
    let rita = house.welcome(House::person("rita", &["dpo"])).await;
    for round in 0..5 {
        house.ask(House::putting("olga", &["operator"])).await;
        house.ask(House::putting("otto", &["operator"])).await;
        let (one, other) = (Reviewing::begin(&house, &rita).await, Reviewing::begin(&house, &rita).await);
        let (first, second) = futures::future::join(
            house.call(&rita, one.decide("olga", Verdict::Revoke)),
            house.call(&rita, other.decide("otto", Verdict::Revoke)),
        )
        .await;
        assert!(first.is_ok() != second.is_ok(), "round {round}");
        let left = roles(&house, "olga").await.len() + roles(&house, "otto").await.len();
        assert_eq!(left, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_program_is_no_operator_who_lets_people_in() {
    let house = House::new().await;
    let rita = house.welcome(House::person("rita", &["dpo"])).await;
    house.ask(House::putting("olga", &["operator"])).await;
    let mut robot = House::person("robot", &["operator"]);
    robot.kind = PrincipalKind::Service;
    house.ask(principals::Put::new(robot)).await;
    let review = Reviewing::begin(&house, &rita).await;
    assert_eq!(house.code_for(&rita, review.decide("olga", Verdict::Revoke)).await, Code::WrongState);
    ask_as(&house, &rita, review.decide("robot", Verdict::Revoke)).await;
}

#[tokio::test]
async fn roles_that_a_login_gives_sign_nothing() {
    let house = House::new().await;
    let key = house.aead().await;
    let kind = kinds(&house).into_iter().find(|kind| kind.name() == "oidc").unwrap();
    let mut spec = spec(kind);
    spec.bindings[0].roles.extend(["dpo", "legal"].map(name));
    let method = house.ask(methods::Put { spec }).await.record.name;
    let finish = visited(&house, &method, claims(&house)).await;
    let done = house.call(&Who::Nobody, finish).await.unwrap();
    let ann = Who::Bearer(done.reply.issued.token.duplicate());
    house.ask(House::putting("guest", &["key-auditor"])).await;
    let rita = house.welcome(House::person("rita", &["dpo"])).await;
    let review = Reviewing::begin(&house, &rita).await;
    assert_eq!(house.code_for(&ann, open(&Subject::ALL, &[])).await, Code::Denied);
    assert_eq!(house.code_for(&ann, review.decide("guest", Verdict::Keep)).await, Code::Denied);
    assert_eq!(house.code_for(&ann, Close { review: review.id, text: label("done") }).await, Code::Denied);
    let place = || holds::Place { key: key.clone(), matter: label("2026-cv-1042") };
    assert_eq!(house.code_for(&ann, place()).await, Code::Denied);
    let lea = house.welcome(House::person("lea", &["legal"])).await;
    let hold = ask_as(&house, &lea, place()).await.0.id();
    let release = || holds::Release { hold, reason: label("closed") };
    assert_eq!(house.code_for(&ann, release()).await, Code::Denied);
    // What she only looks at, or does as anybody with the role, a login is enough for.
    ask_as(&house, &ann, Describe { review: review.id, undecided: false, after: None, limit: 1 }).await;
    house.ask(House::putting("ann", &["dpo", "legal"])).await;
    ask_as(&house, &ann, review.decide("guest", Verdict::Keep)).await;
    ask_as(&house, &ann, release()).await;
}

#[tokio::test]
async fn roles_that_a_login_gives_are_told_of_where_only_those_of_records_are_looked_at() {
    let house = House::new().await;
    let rita = house.welcome(House::person("rita", &["dpo"])).await;
    let kind = kinds(&house).into_iter().find(|kind| kind.name() == "oidc").unwrap();
    let mut spec = spec(kind);
    spec.bindings[0].role_from_group.insert("ops".to_owned(), name("key-auditor"));
    house.ask(methods::Put { spec }).await;
    let report = Report { principal: None, key: None, after: None, limit: 1, from_audit: false };
    let found = house.ask(report).await.findings;
    let told: Vec<_> = found.iter().filter(|finding| finding.kind == FindingKind::LoginRoles).collect();
    assert_eq!(told.len(), 1, "{found:?}");
    assert!(told[0].about == "by-oidc" && told[0].text.contains("`ann` the roles key-auditor"), "{told:?}");
    house.ask(House::putting("ann", &["key-auditor"])).await;
    house.ask(House::putting("bob", &["key-auditor"])).await;
    let review = Reviewing::begin(&house, &rita).await;
    let decided = ask_as(&house, &rita, review.decide("ann", Verdict::Revoke)).await;
    assert!(decided.item.decision.unwrap().taken && decided.remark.unwrap().contains("by-oidc"));
    assert_eq!(ask_as(&house, &rita, review.decide("bob", Verdict::Revoke)).await.remark, None);
}

#[tokio::test]
async fn nobody_votes_by_the_name_of_somebody_who_went_nor_runs_what_they_asked_for() {
    let council = Council::gathered().await;
    let house = &council.house;
    let (oscar, olga) = (Member::join(house, "oscar", &["operator"]).await, &council.olga);
    house.call(&olga.who, Enact).await.unwrap();
    let wanted = || House::putting("new", &["key-user-encrypt"]);
    let id = olga.waits(house, wanted()).await;
    council.sue.approve(house, id).await;
    council.otto.approve(house, id).await;
    house.call(&olga.who, principals::Delete { name: name("otto") }).await.unwrap();
    let again = || House::putting("otto", &["operator"]);
    let made = olga.waits(house, again()).await;
    council.sue.approve(house, made).await;
    oscar.approve(house, made).await;
    house.call(&olga.who, again()).await.unwrap();
    assert_eq!(olga.waits(house, wanted()).await, id);
    oscar.approve(house, id).await;
    house.call(&olga.who, wanted()).await.unwrap();
}

#[tokio::test]
async fn programs_sign_nothing() {
    let house = House::new().await;
    let rita = house.welcome(House::person("rita", &["dpo"])).await;
    house.ask(House::putting("guest", &["key-auditor"])).await;
    let review = Reviewing::begin(&house, &rita).await;
    // Roles of governance are not for programs; an organisation's own policy may let one do this all the same.
    let text = r#"permit (principal in Keyreeve::Role::"campaigner", action in Keyreeve::Action::"review", resource);"#;
    house.ask(policies::Put { name: name("campaigns"), text: text.to_owned() }).await;
    let mut robot = House::person("robot", &["campaigner"]);
    robot.kind = PrincipalKind::Service;
    let robot = house.welcome(robot).await;
    ask_as(&house, &robot, open(&[Subject::Roles], &[])).await;
    assert_eq!(house.code_for(&robot, review.decide("guest", Verdict::Keep)).await, Code::OtherPersonNeeded);
    let close = Close { review: review.id, text: label("done") };
    assert_eq!(house.code_for(&robot, close).await, Code::OtherPersonNeeded);
    ask_as(&house, &rita, review.decide("guest", Verdict::Keep)).await;
}

#[tokio::test]
async fn whoever_is_called_like_somebody_who_went_has_nothing_of_theirs_in_a_review() {
    let house = House::new().await;
    let rita = house.welcome(House::person("rita", &["dpo"])).await;
    house.ask(House::putting("guest", &["key-auditor"])).await;
    house.ask(House::putting("other", &["key-auditor"])).await;
    house.welcome(House::person("dora", &["dpo"])).await;
    let id = ask_as(&house, &rita, open(&[Subject::Roles], &["rita", "dora"])).await.campaign.id();
    let all = Describe { review: id, undecided: false, after: None, limit: 1000 };
    let review = Reviewing { id, items: ask_as(&house, &rita, all).await.items };
    house.clock.turn(1);
    for gone in ["dora", "guest"] {
        house.ask(principals::Delete { name: name(gone) }).await;
    }
    let dora = house.welcome(House::person("dora", &["dpo"])).await;
    house.ask(House::putting("guest", &["key-auditor"])).await;
    assert_eq!(house.code_for(&dora, review.decide("other", Verdict::Keep)).await, Code::OtherPersonNeeded);
    let decided = ask_as(&house, &rita, review.decide("guest", Verdict::Revoke)).await;
    assert!(!decided.item.decision.unwrap().taken, "that one is gone");
    assert_eq!(roles(&house, "guest").await, ["key-auditor"]);
    assert!(ask_as(&house, &rita, review.decide("other", Verdict::Revoke)).await.item.decision.unwrap().taken);
}
