//! Reviews: every right is decided on by somebody else, and what is revoked is gone with the answer.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::access_report::{FindingKind, Report};
use keyreeve_engine::ops::grants::{Create, Revoke, Wanted};
use keyreeve_engine::ops::reviews::{Close, Decide, Describe, List, Open};
use keyreeve_engine::ops::{keys, principals};
use keyreeve_engine::{Clock, Code, KeyRef, Operation};
use keyreeve_model::grant::Constraints;
use keyreeve_model::ids::ReviewId;
use keyreeve_model::review::{ReviewItem, Scope, Source, Subject, Verdict};
use keyreeve_model::usage::day_of;
use keyreeve_model::{NoticeKind, PrincipalKind};

use crate::support::{DAY, House, Who, create, key_of, label, name};

fn open(subjects: &[Subject], reviewers: &[&str]) -> Open {
    Open {
        scope: Scope { subjects: subjects.iter().copied().collect(), principal: None },
        reviewers: reviewers.iter().map(|reviewer| name(reviewer)).collect(),
        days: 30,
        reason: label("second half-year"),
    }
}

fn decide(review: ReviewId, item: u32, verdict: Verdict) -> Decide {
    Decide { review, item, verdict, reason: label("looked at") }
}

async fn ask_as<O: Operation>(house: &House, who: &Who, operation: O) -> O::Reply {
    match house.call(who, operation).await {
        Ok(done) => done.reply,
        Err(refused) => panic!("{}: {}", O::DESCRIPTOR.name, refused.error),
    }
}

async fn items(house: &House, review: ReviewId) -> Vec<ReviewItem> {
    house.ask(Describe { review, undecided: false, after: None, limit: 1000 }).await.items
}

/// The number of the only item that is so.
fn number(items: &[ReviewItem], wanted: impl Fn(&ReviewItem) -> bool) -> u32 {
    let found: Vec<_> = items.iter().filter(|item| wanted(item)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].number
}

/// A house with a key that names `ci` as its consumer, a program `batch` with a grant on it, and rita who reviews.
struct Scene {
    house: House,
    key: KeyRef,
    rita: Who,
    ci: Who,
    batch: Who,
    ciphertext: Vec<u8>,
}

impl Scene {
    async fn new() -> Self {
        let house = House::new().await;
        let mut spec = create(KeyAlgorithm::Xaes256Gcm);
        spec.metadata.consumers = [label("ci")].into();
        let key = key_of(&house.make(spec).await);
        let service = |text: &str, roles: &[&str]| {
            let mut program = House::person(text, roles);
            program.kind = PrincipalKind::Service;
            program.networks.insert("10.0.0.0/8".to_owned());
            program
        };
        let ci = house.welcome(service("ci", &["pipeline"])).await;
        let batch = house.welcome(service("batch", &[])).await;
        let rita = house.welcome(House::person("rita", &["dpo"])).await;
        let ciphertext = house.encrypt(&key, b"x").await;
        let what = Wanted::Key { key: key.clone(), operations: [name("key.decrypt")].into() };
        let (constraints, seconds) = (Constraints::default(), 300 * 86_400);
        let reason = label("run");
        house.ask(Create { principal: name("batch"), what, constraints, not_before: None, seconds, reason }).await;
        Self { house, key, rita, ci, batch, ciphertext }
    }

    async fn works(&self, who: &Who, operation: impl Operation) -> bool {
        match self.house.call(who, operation).await {
            Ok(_) => true,
            Err(refused) => {
                assert_eq!(refused.error.code(), Code::Denied);
                false
            }
        }
    }

    async fn ci_encrypts(&self) -> bool {
        self.works(&self.ci, House::encrypting(&self.key, b"y")).await
    }

    async fn batch_decrypts(&self) -> bool {
        self.works(&self.batch, House::decrypting(&self.key, &self.ciphertext)).await
    }
}

#[tokio::test]
async fn what_a_review_revokes_is_gone_with_the_answer() {
    let scene = Scene::new().await;
    let house = &scene.house;
    assert!(scene.ci_encrypts().await && scene.batch_decrypts().await);
    let review = house.ask(open(&Subject::ALL, &[])).await.campaign;
    let today = Some(day_of(house.clock.now()));
    let all = items(house, review.id()).await;
    assert_eq!(u32::try_from(all.len()).unwrap(), review.items());

    let consumer = number(&all, |item| matches!(item.source, Source::Consumer { .. }));
    let grant = number(&all, |item| matches!(item.source, Source::Grant { .. }));
    let role = number(&all, |item| item.who.as_str() == "ci" && item.source.subject() == Subject::Roles);
    for (item, who) in [(consumer, "ci"), (grant, "batch"), (role, "ci")] {
        let item = &all[item as usize - 1];
        assert_eq!((item.who.as_str(), item.last_use), (who, today), "{item:?}");
    }
    // What the developer made is for others to decide on.
    assert_eq!(house.code(decide(review.id(), grant, Verdict::Keep)).await, Code::OtherPersonNeeded);
    assert_eq!(house.code(decide(review.id(), consumer, Verdict::Revoke)).await, Code::OtherPersonNeeded);
    assert!(scene.ci_encrypts().await && scene.batch_decrypts().await);

    let decided = ask_as(house, &scene.rita, decide(review.id(), grant, Verdict::Revoke)).await;
    assert!(decided.item.decision.unwrap().taken);
    assert_eq!(decided.undecided, review.items() - 1);
    assert!(!scene.batch_decrypts().await);
    assert!(scene.ci_encrypts().await);
    ask_as(house, &scene.rita, decide(review.id(), consumer, Verdict::Revoke)).await;
    assert!(!scene.ci_encrypts().await);
    let metadata = house.ask(keys::Describe { key: scene.key.clone() }).await.key.metadata;
    assert!(metadata.consumers.is_empty());
    ask_as(house, &scene.rita, decide(review.id(), role, Verdict::Revoke)).await;
    assert!(house.ask(principals::Describe { name: name("ci") }).await.record.roles.is_empty());
    // Once.
    assert_eq!(house.code_for(&scene.rita, decide(review.id(), role, Verdict::Keep)).await, Code::WrongState);

    let told = house.records().await;
    let told: Vec<_> = told.iter().filter(|record| record.operation == "review.decide").collect();
    let last = &told.iter().rfind(|record| record.outcome.code().is_none()).unwrap().details;
    let detail = |name: &str| last.get(name).map(String::as_str);
    assert_eq!((detail("decision"), detail("revoked")), (Some("revoke"), Some("true")), "{last:?}");
    assert_eq!((detail("grantee"), detail("role")), (Some("ci"), Some("pipeline")), "{last:?}");
    house.engine().deliver(0).await;
    let kinds: Vec<_> = house.posts[0].taken().iter().map(|notice| notice.kind).collect();
    assert!(kinds.contains(&NoticeKind::ReviewOpened), "{kinds:?}");
}

#[tokio::test]
async fn nobody_decides_on_their_own_rights_under_whatever_name_and_only_reviewers_decide() {
    let scene = Scene::new().await;
    let house = &scene.house;
    let person = |text: &str| {
        let mut spec = House::person(text, &["ciso"]);
        spec.person = Some(label("Carla C"));
        spec
    };
    let carla = house.welcome(person("carla")).await;
    let other = house.welcome(person("carla-2")).await;
    let review = house.ask(open(&[Subject::Roles], &["carla", "carla-2"])).await.campaign.id();
    let all = items(house, review).await;
    let own = number(&all, |item| item.who.as_str() == "carla");
    for who in [&carla, &other] {
        assert_eq!(house.code_for(who, decide(review, own, Verdict::Revoke)).await, Code::OtherPersonNeeded);
    }
    let ritas = number(&all, |item| item.who.as_str() == "rita");
    assert_eq!(house.code_for(&scene.rita, decide(review, own, Verdict::Keep)).await, Code::OtherPersonNeeded);
    ask_as(house, &other, decide(review, ritas, Verdict::Keep)).await;
    assert_eq!(house.code_for(&carla, decide(review, 10_000, Verdict::Keep)).await, Code::NotFound);
    assert_eq!(house.code_for(&carla, decide(ReviewId::from_bytes([7; 16]), 1, Verdict::Keep)).await, Code::NotFound);
    assert_eq!(house.code(open(&[], &[])).await, Code::InvalidRequest);
    assert_eq!(house.code(open(&[Subject::Roles], &["nobody"])).await, Code::NotFound);
    assert_eq!(house.code(Open { days: 367, ..open(&[Subject::Roles], &[]) }).await, Code::InvalidRequest);
    assert_eq!(house.code_for(&scene.batch, open(&[Subject::Roles], &[])).await, Code::Denied);
}

#[tokio::test]
async fn a_review_closes_when_everything_is_decided_and_its_pages_are_the_whole() {
    let scene = Scene::new().await;
    let house = &scene.house;
    let grants = open(&[Subject::Grants], &[]);
    let review = house.ask(grants).await.campaign.id();
    let close = || Close { review, text: label("done") };
    assert_eq!(house.code(close()).await, Code::WrongState);
    let all = items(house, review).await;
    let Source::Grant { grant, .. } = all[0].source else { panic!("{all:?}") };
    // Taken back in the meantime: there is nothing left to take.
    house.ask(Revoke { grant, reason: label("over") }).await;
    let decided = ask_as(house, &scene.rita, decide(review, 1, Verdict::Revoke)).await;
    assert!(!decided.item.decision.unwrap().taken);
    assert_eq!(house.code(Close { text: label(""), ..close() }).await, Code::InvalidRequest);
    let closed = house.ask(close()).await.campaign;
    assert_eq!((closed.items(), closed.revoked()), (1, 1));
    assert_eq!(house.code(close()).await, Code::WrongState);
    assert_eq!(house.code_for(&scene.rita, decide(review, 1, Verdict::Keep)).await, Code::WrongState);

    let roles = house.ask(open(&[Subject::Roles], &[])).await.campaign;
    let whole = items(house, roles.id()).await;
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = house.ask(Describe { review: roles.id(), undecided: true, after, limit: 1 }).await;
        pages.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(whole.len() >= 3, "{whole:?}");
    assert_eq!(pages, whole);
    let listed = async |open| house.ask(List { open, after: None, limit: 10 }).await.items.len();
    assert_eq!((listed(None).await, listed(Some(true)).await, listed(Some(false)).await), (2, 1, 1));
}

#[tokio::test]
async fn the_last_operator_stays() {
    let scene = Scene::new().await;
    let house = &scene.house;
    house.ask(House::putting("olga", &["operator"])).await;
    house.ask(House::putting("otto", &["operator"])).await;
    let review = house.ask(open(&[Subject::Roles], &[])).await.campaign.id();
    let all = items(house, review).await;
    let of = |who: &str| number(&all, |item| item.who.as_str() == who);
    ask_as(house, &scene.rita, decide(review, of("otto"), Verdict::Revoke)).await;
    assert_eq!(house.code_for(&scene.rita, decide(review, of("olga"), Verdict::Revoke)).await, Code::WrongState);
    ask_as(house, &scene.rita, decide(review, of("olga"), Verdict::Keep)).await;
}

#[tokio::test]
async fn a_late_review_and_rights_that_nobody_goes_through_are_told_of() {
    let house = House::new().await;
    let developer = house.token_for("developer").await;
    let auditor = house.welcome(House::person("rita", &["key-auditor"])).await;
    let overdue = async || -> Vec<String> {
        let report = Report { principal: None, key: None, after: None, limit: 1, from_audit: false };
        let found = ask_as(&house, &auditor, report).await.findings.into_iter();
        found.filter(|finding| finding.kind == FindingKind::ReviewOverdue).map(|finding| finding.about).collect()
    };
    let taken = async || -> Vec<NoticeKind> {
        assert!(house.engine().tick().await.is_empty());
        house.engine().deliver(0).await;
        let kinds = house.posts[0].taken().into_iter().map(|notice| notice.kind);
        kinds.filter(|kind| *kind == NoticeKind::ReviewOverdue).collect()
    };
    let review = house.ask(open(&[Subject::Consumers], &[])).await.campaign.id();
    house.pass(29 * DAY).await;
    assert_eq!((overdue().await, taken().await.len()), (vec![], 0));
    house.pass(DAY).await;
    assert_eq!((overdue().await, taken().await.len()), (vec![review.to_string()], 1));
    let again = taken().await.len();
    house.pass(6 * DAY).await;
    assert_eq!(taken().await.len(), again, "not before a week is over");
    house.pass(DAY).await;
    assert!(taken().await.len() > again, "every week");
    assert_eq!(house.code_for(&auditor, Close { review, text: label("none") }).await, Code::Denied);
    ask_as(&house, &developer, Close { review, text: label("there are none") }).await;
    assert_eq!(overdue().await, [""; 0]);
    // 180 days after the beginning what nobody went through; what was, 180 days after that.
    house.pass(144 * DAY).await;
    assert_eq!(overdue().await, ["roles", "grants"]);
    house.pass(37 * DAY).await;
    assert_eq!(overdue().await, ["roles", "grants", "consumers"]);
}
