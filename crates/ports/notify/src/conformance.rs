//! The suite every driver of this port passes, run from the driver's own tests over a receiver that is none of
//! ours.

use keyreeve_model::ids::NoticeId;
use keyreeve_model::{Facts, Notice, NoticeKind, RecordId, UnixMillis};

use crate::{Notifier, NotifyError};

/// When the suite's notices are sent: 2026-11-22T09:00:00.123Z.
pub const NOW: UnixMillis = UnixMillis(1_795_338_000_123);

/// What a receiver saw of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The notice's id, where a receiver would look for it to tell what it has seen.
    pub id: String,
    /// The line that says what happened.
    pub subject: String,
    /// Everything else that it says, in the channel's own form.
    pub body: String,
    /// To whom it went, as the receiver was told; one for a channel that leads to one place.
    pub recipients: usize,
}

/// A channel with its receiver.
pub trait NotifyFixture {
    /// The driver, connected to the receiver.
    fn notifier(&self) -> Box<dyn Notifier>;
    /// What comes next.
    fn next(&self) -> Seen;
    /// Sees that nothing comes.
    fn nothing(&self);
    /// Has the receiver refuse the next notice: for now, or for good.
    fn refuse_next(&self, for_good: bool);
    /// Whether credentials or other things of the channel that must not be told are in this text.
    fn gives_away(&self, text: &str) -> bool;
    /// The same driver, whose receiver is not there.
    fn nobody_there(&self) -> Box<dyn Notifier>;
    /// The same driver towards somebody who shows a certificate that it has no reason to believe.
    fn stranger(&self) -> Box<dyn Notifier>;
}

/// Runs the whole suite. Panics where the contract is broken.
pub async fn notify_suite(fixture: &dyn NotifyFixture) {
    what_is_sent_arrives_whole(fixture).await;
    every_kind_arrives(fixture).await;
    content_stays_content(fixture).await;
    refused_for_now_is_taken_later(fixture).await;
    refused_for_good_is_told_apart(fixture).await;
    nobody_there_is_no_delivery(fixture).await;
    strangers_hear_nothing(fixture).await;
    callers_do_not_disturb_each_other(fixture).await;
}

/// A notice for the channel of `notifier`.
#[must_use]
pub fn notice(notifier: &dyn Notifier, kind: NoticeKind, subject: &str, n: u8) -> Notice {
    let facts = Facts::default().with("operation", "key.rotate").with("by", "ann").with("reason", "Prüfung <&> \"5\"");
    let id = NoticeId::new(NOW, [n; 10]);
    Notice::new(id, notifier.channel().clone(), kind, subject, facts, NOW).caused_by(RecordId::new(NOW, [n; 10]))
}

async fn what_is_sent_arrives_whole(fixture: &dyn NotifyFixture) {
    let notifier = fixture.notifier();
    let sent = notice(&*notifier, NoticeKind::ApprovalNeeded, "ann möchte key.rotate auf „billing“ ausführen", 1);
    notifier.send(&sent, NOW).await.unwrap();
    let seen = fixture.next();
    assert_eq!(seen.id, sent.id.to_string());
    assert!(seen.subject.contains(sent.subject.as_str()), "{seen:?}");
    for wanted in ["approval-needed", "2026-11-22T09:00:00.123Z", "key.rotate", "ann"] {
        assert!(seen.body.contains(wanted), "{wanted} is not in {seen:?}");
    }
    assert!(seen.body.contains(&sent.record.unwrap().to_string()), "{seen:?}");
    // Sent again, as after a crash: the receiver can tell.
    notifier.send(&sent, UnixMillis(NOW.0 + 60_000)).await.unwrap();
    assert_eq!(fixture.next().id, seen.id);
}

async fn every_kind_arrives(fixture: &dyn NotifyFixture) {
    let notifier = fixture.notifier();
    for (n, kind) in NoticeKind::ALL.iter().enumerate() {
        let sent = notice(&*notifier, *kind, "something happened", u8::try_from(n).unwrap());
        notifier.send(&sent, NOW).await.unwrap();
        let seen = fixture.next();
        assert!(seen.body.contains(kind.name()), "{kind} is not in {seen:?}");
    }
}

async fn content_stays_content(fixture: &dyn NotifyFixture) {
    let notifier = fixture.notifier();
    let plain = notice(&*notifier, NoticeKind::Test, "plain", 2);
    notifier.send(&plain, NOW).await.unwrap();
    let recipients = fixture.next().recipients;
    let hostile = [
        "one\r\nBcc: somebody@example.org",
        "one\r\n.\r\nMAIL FROM:<x@example.org>",
        "\"},\"kind\":\"emergency-active\",{\"",
        "=?utf-8?q?a=0D=0ABcc:_x@example.org?=",
        "\u{2028}Bcc: somebody@example.org",
        ".",
    ];
    for text in hostile {
        let mut sent = notice(&*notifier, NoticeKind::Test, text, 3);
        sent.facts = Facts::default().with("reason", text).with(text, "value");
        notifier.send(&sent, NOW).await.unwrap();
        let seen = fixture.next();
        assert_eq!((seen.recipients, seen.id), (recipients, sent.id.to_string()), "{text:?}");
    }
    // One notice is one message.
    fixture.nothing();
}

async fn refused_for_now_is_taken_later(fixture: &dyn NotifyFixture) {
    let notifier = fixture.notifier();
    let sent = notice(&*notifier, NoticeKind::AccessFailures, "four failures", 4);
    fixture.refuse_next(false);
    let error = notifier.send(&sent, NOW).await.unwrap_err();
    assert!(matches!(error, NotifyError::TryAgain(_)), "{error:?}");
    assert!(!fixture.gives_away(&error.to_string()), "{error}");
    notifier.send(&sent, NOW).await.unwrap();
    assert_eq!(fixture.next().id, sent.id.to_string());
}

async fn refused_for_good_is_told_apart(fixture: &dyn NotifyFixture) {
    let notifier = fixture.notifier();
    let sent = notice(&*notifier, NoticeKind::AccessFailures, "four failures", 5);
    fixture.refuse_next(true);
    let error = notifier.send(&sent, NOW).await.unwrap_err();
    assert!(error.is_for_good(), "{error:?}");
    assert!(!fixture.gives_away(&error.to_string()), "{error}");
}

async fn nobody_there_is_no_delivery(fixture: &dyn NotifyFixture) {
    let notifier = fixture.nobody_there();
    let sent = notice(&*notifier, NoticeKind::Test, "is anybody there", 6);
    let error = notifier.send(&sent, NOW).await.unwrap_err();
    assert!(matches!(error, NotifyError::TryAgain(_)), "{error:?}");
    assert!(!fixture.gives_away(&error.to_string()), "{error}");
}

async fn strangers_hear_nothing(fixture: &dyn NotifyFixture) {
    let notifier = fixture.stranger();
    let sent = notice(&*notifier, NoticeKind::EmergencyActive, "who are you", 7);
    let error = notifier.send(&sent, NOW).await.unwrap_err();
    assert!(matches!(error, NotifyError::TryAgain(_)), "somebody may put it right: {error:?}");
    assert!(error.to_string().contains("certificate"), "the reason is named: {error}");
    fixture.nothing();
}

async fn callers_do_not_disturb_each_other(fixture: &dyn NotifyFixture) {
    let notifier = fixture.notifier();
    let sent: Vec<Notice> = (10..14).map(|n| notice(&*notifier, NoticeKind::Test, "at once", n)).collect();
    let [a, b, c, d] = &sent[..] else { panic!("four were made") };
    let at_once = async |notice| notifier.send(notice, NOW).await.unwrap();
    futures::join!(at_once(a), at_once(b), at_once(c), at_once(d));
    let mut seen: Vec<String> = sent.iter().map(|_| fixture.next().id).collect();
    seen.sort();
    assert_eq!(seen, sent.iter().map(|notice| notice.id.to_string()).collect::<Vec<_>>());
}
