//! Notices: filed with their cause, delivered afterwards, never lost, never in the way of an answer.

use keyreeve_engine::Code;
use keyreeve_engine::ops::{incidents, mfa, notices, tokens};
use keyreeve_model::incident::IncidentKind;
use keyreeve_model::{Notice, NoticeKind, RecordId};
use keyreeve_notify::NotifyError;
use keyreeve_store::faulty::CommitFault;
use std::time::Duration;

use crate::support::{House, label, name};

const IDLE: Duration = Duration::from_secs(60);

async fn put(house: &House, who: &str) -> RecordId {
    house.call(&house.developer, House::putting(who, &[])).await.unwrap().record.unwrap()
}

async fn listed(house: &House) -> Vec<Notice> {
    house.ask(notices::List { after: None, limit: 100 }).await.notices
}

fn again() -> NotifyError {
    NotifyError::TryAgain("no answer".to_owned())
}

#[tokio::test]
async fn a_change_of_access_is_told_with_what_the_audit_log_says() {
    let house = House::new().await;
    let record = put(&house, "ann").await;
    assert!(house.posts[0].taken().is_empty(), "an answer does not wait for a delivery");
    assert_eq!(house.engine().deliver(0).await, IDLE);
    let told = house.posts[0].taken();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind, told[0].record), (NoticeKind::AccessChanged, Some(record)));
    assert_eq!(told[0].subject.as_str(), "developer did principal.put on principal ann");
    let fact = |name: &str| told[0].facts.get(name).unwrap_or_default().to_owned();
    assert_eq!((fact("operation"), fact("by")), ("principal.put".to_owned(), "developer".to_owned()));
    assert_eq!(fact("resource"), "principal ann");
    assert!(listed(&house).await.is_empty(), "what was delivered leaves the store");
    // The other channel is for other kinds.
    assert_eq!(house.engine().deliver(1).await, IDLE);
    assert!(house.posts[1].taken().is_empty());
}

#[tokio::test]
async fn invitations_and_what_becomes_of_incidents_are_told_without_what_is_secret() {
    let house = House::new().await;
    put(&house, "ann").await;
    let _ = house.engine().deliver(0).await;
    let _ = house.posts[0].taken();
    let invited = house.ask(mfa::Invite { principal: name("ann"), seconds: 600 }).await;
    house.clock.turn(1);
    let (kind, reason) = (IncidentKind::Other, label("a laptop is gone"));
    let open = incidents::Open { kind, keys: Vec::new(), ticket: None, reason };
    let incident = house.ask(open).await.incident.id();
    house.clock.turn(1);
    house.ask(incidents::Note { incident, text: label("called the vendor") }).await;
    house.clock.turn(1);
    house.ask(incidents::Close { incident, text: label("found again") }).await;
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken();
    let kinds: Vec<_> = told.iter().map(|notice| notice.kind).collect();
    let changed = NoticeKind::IncidentChanged;
    assert_eq!(kinds, [NoticeKind::IncidentOpened, NoticeKind::MfaChanged, changed, changed]);
    assert_eq!(told[1].facts.get("grantee"), Some("ann"));
    assert_eq!(told[3].facts.get("reason"), Some("found again"));
    assert!(told.iter().all(|notice| !notice.text().contains(invited.code.expose())), "no secret is told");
}

#[tokio::test]
async fn what_was_not_done_is_not_told() {
    let house = House::new().await;
    let stranger = house.welcome(House::person("stranger", &[])).await;
    let _ = house.engine().deliver(0).await;
    let _ = house.posts[0].taken();
    assert_eq!(house.code_for(&stranger, House::putting("ann", &[])).await, Code::Denied);
    house.store().fail_next_commit(CommitFault::Failed);
    assert!(house.call(&house.developer, House::putting("bob", &[])).await.is_err());
    let _ = house.engine().deliver(0).await;
    assert!(house.posts[0].taken().is_empty());
    assert!(listed(&house).await.is_empty());
}

#[tokio::test]
async fn a_token_for_somebody_else_is_told_and_one_for_oneself_is_not() {
    let house = House::new().await;
    put(&house, "ann").await;
    let mut secrets = Vec::new();
    for whom in ["developer", "ann"] {
        let create =
            tokens::Create { principal: name(whom), seconds: 60, description: label(""), networks: Default::default() };
        secrets.push(house.ask(create).await.token);
    }
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken();
    let of_tokens = told.iter().filter(|notice| notice.facts.get("operation") == Some("token.create"));
    let grantees: Vec<_> = of_tokens.filter_map(|notice| notice.facts.get("grantee")).collect();
    assert_eq!(grantees, ["ann"]);
    for secret in secrets {
        let secret = secret.expose().rsplit_once('_').unwrap().1.to_owned();
        assert!(told.iter().all(|notice| !notice.text().contains(&secret)), "no secret is told");
    }
}

#[tokio::test]
async fn a_refused_notice_is_tried_again_ever_more_rarely_and_then_taken() {
    let house = House::new().await;
    put(&house, "ann").await;
    for wait in [1, 2, 4] {
        house.posts[0].refuse_next(again());
        assert_eq!(house.engine().deliver(0).await, Duration::from_secs(wait));
        // Not before its time.
        assert_eq!(house.engine().deliver(0).await, Duration::from_secs(wait));
        let waiting = listed(&house).await;
        assert_eq!(waiting[0].trouble.as_deref(), Some("no answer"));
        house.clock.turn(i64::try_from(wait).unwrap() * 1000);
    }
    assert_eq!(house.engine().deliver(0).await, IDLE);
    assert_eq!(house.posts[0].taken()[0].attempts, 3);
    assert!(listed(&house).await.is_empty());
}

#[tokio::test]
async fn notices_survive_a_crash_and_carry_the_same_id_when_nobody_knows_whether_they_arrived() {
    let mut house = House::new().await;
    put(&house, "ann").await;
    house.reopen().await;
    // Delivered, and the crash comes before that is noted.
    house.store().fail_next_commit(CommitFault::Failed);
    let _ = house.engine().deliver(0).await;
    let first = house.posts[0].taken();
    house.reopen().await;
    let _ = house.engine().deliver(0).await;
    let second = house.posts[0].taken();
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(first[0].id, second[0].id);
    house.reopen().await;
    let _ = house.engine().deliver(0).await;
    assert!(house.posts[0].taken().is_empty());
}

#[tokio::test]
async fn what_is_never_taken_is_given_up_shown_for_a_month_and_removed() {
    let house = House::new().await;
    put(&house, "ann").await;
    house.posts[0].refuse_next(NotifyError::GiveUp("no such mailbox".to_owned()));
    assert_eq!(house.engine().deliver(0).await, IDLE);
    let given_up = listed(&house).await;
    assert_eq!(given_up[0].trouble.as_deref(), Some("no such mailbox"));
    assert!(given_up[0].given_up.is_some());
    let who = house.token_for("developer").await;
    house.clock.turn(31 * 86_400_000);
    let _ = house.engine().tick().await;
    let left = house.call(&who, notices::List { after: None, limit: 100 }).await.unwrap().reply;
    assert!(left.notices.iter().all(|notice| notice.given_up.is_none()), "{left:?}");
}

#[tokio::test]
async fn one_that_is_always_refused_keeps_no_other_waiting() {
    let house = House::new().await;
    put(&house, "ann").await;
    house.posts[0].refuse_next(again());
    let _ = house.engine().deliver(0).await;
    put(&house, "bob").await;
    house.clock.turn(1000);
    let _ = house.engine().deliver(0).await;
    let told: Vec<String> = house.posts[0].taken().iter().map(|notice| notice.subject.to_string()).collect();
    assert!(told[0].ends_with("bob") && told[1].ends_with("ann"), "{told:?}");
}

#[tokio::test]
async fn a_channel_that_is_dead_silences_no_other() {
    let house = House::new().await;
    let only = |channel: &str| notices::Test { channel: Some(name(channel)) };
    // More than are looked at in one round, all of them due before the one that comes later.
    for _ in 0..1001 {
        house.ask(only("second")).await;
    }
    house.clock.turn(1000);
    house.ask(only("first")).await;
    let _ = house.engine().deliver(0).await;
    assert_eq!(house.posts[0].taken().len(), 1);
}

#[tokio::test]
async fn however_much_is_refused_an_alert_comes_through() {
    let house = House::new().await;
    house.posts[0].refuse_always(NoticeKind::Test);
    for _ in 0..1001 {
        house.ask(notices::Test { channel: Some(name("first")) }).await;
    }
    house.clock.turn(1000);
    let reason = label("laptop stolen");
    house.ask(incidents::Open { kind: IncidentKind::Other, keys: Vec::new(), ticket: None, reason }).await;
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken();
    assert_eq!(told.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::IncidentOpened]);
}

#[tokio::test]
async fn trying_a_channel_goes_to_the_named_one_or_to_all() {
    let house = House::new().await;
    let test = |channel: Option<&str>| notices::Test { channel: channel.map(name) };
    assert_eq!(house.ask(test(Some("second"))).await.notices.len(), 1);
    assert_eq!(house.ask(test(None)).await.notices.len(), 2);
    assert_eq!(house.code(test(Some("third"))).await, Code::NotFound);
    for (channel, expected) in [(0, 1), (1, 2)] {
        let _ = house.engine().deliver(channel).await;
        let told = house.posts[channel].taken();
        assert_eq!(told.len(), expected);
        assert!(told.iter().all(|notice| notice.kind == NoticeKind::Test));
    }
    let channels = house.ask(notices::List { after: None, limit: 100 }).await.channels;
    let shown: Vec<_> = channels.iter().map(|channel| (channel.name.as_str(), channel.kind)).collect();
    assert_eq!(shown, [("first", "post"), ("second", "post")]);
    assert_eq!(channels[1].only, Some(vec![NoticeKind::ApprovalNeeded]));
}

#[tokio::test]
async fn notices_for_a_channel_that_is_no_more_are_given_up() {
    let mut house = House::new().await;
    house.ask(notices::Test { channel: Some(name("second")) }).await;
    house.posts.pop();
    house.reopen().await;
    assert!(house.engine().tick().await.is_empty());
    let left = listed(&house).await;
    assert_eq!(left[0].trouble.as_deref(), Some("the channel is not configured any more"));
    assert!(left[0].given_up.is_some());
}

#[tokio::test]
async fn while_sealed_nothing_is_delivered_and_opening_rings() {
    let mut house = House::new().await;
    put(&house, "ann").await;
    house.ask(keyreeve_engine::ops::system::Seal).await;
    assert_eq!(house.engine().deliver(0).await, IDLE);
    assert!(house.posts[0].taken().is_empty());
    house.reopen().await;
    let _ = house.engine().deliver(0).await;
    assert_eq!(house.posts[0].taken().len(), 1);
}

#[tokio::test]
async fn filing_rings_the_bell() {
    let house = House::new().await;
    let mut bell = house.engine().notices_filed();
    bell.mark_unchanged();
    let _ = house.aead().await;
    assert!(!bell.has_changed().unwrap(), "keys are nobody's news");
    put(&house, "ann").await;
    assert!(bell.has_changed().unwrap());
}
