//! A notice as a mail.

use keyreeve_model::{Notice, NoticeKind};
use lettre::Message;
use lettre::error::Error;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, header};
use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

/// The notice's id, so that a receiver tells what it has seen.
#[derive(Clone)]
struct NoticeHeader(String);
/// The kind, so that mail can be sorted.
#[derive(Clone)]
struct KindHeader(NoticeKind);
/// RFC 3834: nobody's absence is told to us.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for NoticeHeader {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Keyreeve-Notice")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

impl Header for KindHeader {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Keyreeve-Kind")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        Ok(Self(text.parse()?))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.name().to_owned())
    }
}

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The mail: the same bytes at every attempt, but for what the server adds.
pub(super) fn of(notice: &Notice, from: &Mailbox, to: &[Mailbox]) -> Result<Message, Error> {
    let millis = u64::try_from(notice.created.0).unwrap_or(0);
    let mut builder = Message::builder()
        .from(from.clone())
        .subject(subject(notice))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
        .message_id(Some(format!("<{}@{}>", notice.id, from.email.domain())))
        .header(NoticeHeader(notice.id.to_string()))
        .header(KindHeader(notice.kind))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN)
        .header(header::MIME_VERSION_1_0);
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    builder.body(notice.text())
}

/// What stands in the list of mails. An encoded word (RFC 2047) that somebody wrote into a name stays text.
fn subject(notice: &Notice) -> String {
    let readable: String = notice.subject.as_str().chars().filter(|c| !matches!(c, '\u{2028}' | '\u{2029}')).collect();
    format!("[keyreeve] {}: {}", notice.kind.urgency().name(), readable.replace("=?", "= ?"))
}
