//! Notices: what people are told without having asked (requirements A2, A6, A7 and U4).
//!
//! A notice is a record like any other: it is stored in the transaction of its cause, once for each channel, and leaves
//! the store when the channel has taken it. It tells of what happened; it never holds a secret, and whoever reads it
//! could have read the same in the audit log.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::ids::{NoticeId, RecordId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// Facts of one notice (count).
pub const FACTS_MAX: usize = 32;
/// Longest text of a fact that is kept (bytes); what is longer is cut.
const FACT_MAX: usize = 1024;
/// What ends the name of a channel's queue of what goes first.
const FIRST: &str = " first";
/// The wait after the first failure; it doubles from failure to failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long delivery is tried.
const TRIED_FOR: Duration = Duration::from_secs(3 * 24 * 3600);
/// How long a notice that could not be delivered is kept to be looked at (days).
pub const UNDELIVERED_KEPT_DAYS: u32 = 30;

/// A text that is not the name of a kind of notice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no such kind of notice; they are: {}", NoticeKind::names().join(", "))]
pub struct UnknownNoticeKind;

macro_rules! notice_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $urgency:ident;)*) => {
        /// What a notice is about. The names are part of the interface to receivers and are never changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum NoticeKind {
            $($(#[$doc])* $kind,)*
        }

        impl NoticeKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The name on wires, in records and in configurations.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// How it should be taken.
            #[must_use]
            pub const fn urgency(self) -> Urgency {
                match self {
                    $(Self::$kind => Urgency::$urgency,)*
                }
            }
        }
    };
}

notice_kinds! {
    /// A request waits for the consent of people.
    ApprovalNeeded = "approval-needed", Task;
    /// A waiting request was executed, withdrawn, rejected, or has expired.
    ApprovalClosed = "approval-closed", Information;
    /// Who may do what was changed: a policy, a principal, a role, a way to log in, the rules, a token for somebody
    /// else.
    AccessChanged = "access-changed", Information;
    /// More failures to come in than are to be expected (requirement U4).
    AccessFailures = "access-failures", Alert;
    /// An incident was opened.
    IncidentOpened = "incident-opened", Alert;
    /// Something was written down in an incident or confirmed, or the incident was closed.
    IncidentChanged = "incident-changed", Information;
    /// What an incident still owes is overdue.
    IncidentOverdue = "incident-overdue", Alert;
    /// Somebody asked for emergency access.
    EmergencyDeclared = "emergency-declared", Emergency;
    /// Emergency access was granted.
    EmergencyActive = "emergency-active", Emergency;
    /// Emergency access was used.
    EmergencyUsed = "emergency-used", Emergency;
    /// Emergency access is over; its review is due.
    EmergencyEnded = "emergency-ended", Emergency;
    /// The review of an emergency is overdue.
    EmergencyReviewOverdue = "emergency-review-overdue", Emergency;
    /// A review of access began.
    ReviewOpened = "review-opened", Task;
    /// A review of access is overdue.
    ReviewOverdue = "review-overdue", Alert;
    /// A grant was given.
    GrantCreated = "grant-created", Information;
    /// A grant ends soon.
    GrantExpiring = "grant-expiring", Information;
    /// A grant is over, or was taken back.
    GrantEnded = "grant-ended", Information;
    /// A credential that works once was shown again: somebody else may hold it.
    CredentialReused = "credential-reused", Alert;
    /// Somebody's second factor was added, removed or reset.
    MfaChanged = "mfa-changed", Information;
    /// A security key's counter went back: it may have been copied.
    MfaCloned = "mfa-cloned", Alert;
    /// The rules of approval came into force, or their text changed.
    GovernanceChanged = "governance-changed", Alert;
    /// The rules of approval have not been brought into force for long.
    GovernanceFounding = "governance-founding", Alert;
    /// A key left, wrapped for somebody.
    KeyExported = "key-exported", Alert;
    /// Imported material ends soon.
    MaterialEnding = "material-ending", Task;
    /// Imported material has ended and was erased.
    MaterialEnded = "material-ended", Information;
    /// A hold was placed on keys, or released.
    HoldChanged = "hold-changed", Information;
    /// A backup failed, is overdue, or was found damaged; or a destroyed key's entry could not be taken out of a
    /// ledger.
    BackupTrouble = "backup-trouble", Alert;
    /// Something that is stored was found damaged and is in quarantine (requirement T10).
    IntegrityTrouble = "integrity-trouble", Alert;
    /// Something came out of quarantine.
    IntegrityReleased = "integrity-released", Alert;
    /// This server came out of a backup.
    Restored = "restored", Alert;
    /// The server is older than an anchor remembers, or people agreed that it goes on although it is.
    RolledBack = "rolled-back", Alert;
    /// An anchor does not answer, or is configured no more.
    AnchorTrouble = "anchor-trouble", Alert;
    /// Another program or another configuration runs than before, or a program that was not expected.
    ServerChanged = "server-changed", Alert;
    /// A drill went wrong: what it rehearses would not work today.
    DrillFailed = "drill-failed", Alert;
    /// Drills were not held for too long.
    DrillOverdue = "drill-overdue", Alert;
    /// Shares of a root of trust are exchanged, or were.
    SharesChanged = "shares-changed", Alert;
    /// Holders of shares have not shown for long to have them.
    ShareProofsOverdue = "share-proofs-overdue", Alert;
    /// Which keys are escrowed was changed, or under which key.
    EscrowChanged = "escrow-changed", Alert;
    /// Escrow agents are asked to show their shares.
    EscrowCampaign = "escrow-campaign", Task;
    /// A campaign of escrow is overdue, or keys that the policy names are in no escrow.
    EscrowOverdue = "escrow-overdue", Alert;
    /// A key is taken out of escrow, or was.
    EscrowRecovery = "escrow-recovery", Alert;
    /// Somebody tries whether the channel works.
    Test = "test", Information;
}

/// How a notice should be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// For the file.
    Information,
    /// Somebody is asked to do something.
    Task,
    /// Somebody should look now.
    Alert,
    /// Somebody should look now, and no channel may be without it.
    Emergency,
}

impl Urgency {
    /// The name on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Information => "information",
            Self::Task => "task",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

impl Urgency {
    /// Whether it is delivered before everything else, and apart from it.
    #[must_use]
    pub const fn goes_first(self) -> bool {
        matches!(self, Self::Alert | Self::Emergency)
    }
}

impl NoticeKind {
    /// The names of all kinds.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|kind| kind.name()).collect()
    }

    /// Whether it goes to every channel, whatever kinds the channel is for: emergencies do, and tests of the channel.
    #[must_use]
    pub const fn goes_everywhere(self) -> bool {
        matches!(self.urgency(), Urgency::Emergency) || matches!(self, Self::Test)
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NoticeKind {
    type Err = UnknownNoticeKind;

    fn from_str(text: &str) -> Result<Self, UnknownNoticeKind> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or(UnknownNoticeKind)
    }
}

impl From<NoticeKind> for &'static str {
    fn from(kind: NoticeKind) -> Self {
        kind.name()
    }
}

impl TryFrom<String> for NoticeKind {
    type Error = UnknownNoticeKind;

    fn try_from(text: String) -> Result<Self, UnknownNoticeKind> {
        text.parse()
    }
}

/// Facts of a notice: names and values, without control characters, cut to a length that every channel takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// One more fact. Control characters become spaces; after [`FACTS_MAX`] facts the rest is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if self.0.len() < FACTS_MAX || self.0.contains_key(name) {
            self.0.insert(one_line(name), one_line(&value.to_string()));
        }
        self
    }

    /// The facts by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// `text` on one line of at most [`FACT_MAX`] bytes.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = line.len().min(FACT_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// A notice on its way to one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Its id; the same at every attempt, so that a receiver knows what it has seen.
    pub id: NoticeId,
    /// The channel it goes to.
    pub channel: Name,
    /// What it is about.
    pub kind: NoticeKind,
    /// One line that says what happened.
    pub subject: Label,
    /// What there is to know, by name.
    pub facts: Facts,
    /// The audit record of the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// When it happened.
    pub created: UnixMillis,
    /// Attempts that failed (count).
    pub attempts: u32,
    /// When it is tried next. While [`Notice::given_up`] says something it is not.
    pub next: UnixMillis,
    /// What the last attempt ended with, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When it was given up, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<UnixMillis>,
}

impl Notice {
    /// A notice about something that happened `now`, due at once.
    #[must_use]
    pub fn new(id: NoticeId, channel: Name, kind: NoticeKind, subject: &str, facts: Facts, now: UnixMillis) -> Self {
        // A line without control characters and of at most that length is a label.
        let subject = one_line(subject).parse().unwrap_or_default();
        Self {
            id,
            channel,
            kind,
            subject,
            facts,
            record: None,
            created: now,
            attempts: 0,
            next: now,
            trouble: None,
            given_up: None,
        }
    }

    /// What the rows are found by that wait for a channel: those that go first, or the others. However many wait of
    /// the others, they are not in the way.
    #[must_use]
    pub fn queue(channel: &Name, first: bool) -> String {
        // Names have no spaces.
        if first { format!("{channel}{FIRST}") } else { channel.to_string() }
    }

    /// Whether rows of this queue go first.
    #[must_use]
    pub fn is_first(queue: &str) -> bool {
        queue.ends_with(FIRST)
    }

    /// The same with the audit record of its cause.
    #[must_use]
    pub fn caused_by(mut self, record: RecordId) -> Self {
        self.record = Some(record);
        self
    }

    /// The notice after one more attempt that failed: when it is tried next, or that it is given up, when the receiver
    /// will never take it (`for_good`) or three days are over.
    #[must_use]
    pub fn failed(mut self, why: &str, for_good: bool, now: UnixMillis) -> Self {
        self.attempts = self.attempts.saturating_add(1);
        let doubled = FIRST_WAIT.saturating_mul(1 << (self.attempts - 1).min(16));
        self.next = now.plus(doubled.min(LONGEST_WAIT));
        self.trouble = Some(one_line(why));
        if for_good || self.next > self.created.plus(TRIED_FOR) {
            self.given_up = Some(now);
        }
        self
    }

    /// The notice in words, for channels that carry text: a line for each fact.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("record".len());
        let mut text = format!("{}\n\n", self.subject);
        let mut line = |name: &str, value: &str| {
            text.push_str(&format!("{name:<width$}  {value}\n"));
        };
        line("kind", self.kind.name());
        line("time", &self.created.to_string());
        for (name, value) in self.facts.iter() {
            line(name, value);
        }
        if let Some(record) = self.record {
            line("record", &record.to_string());
        }
        line("notice", &self.id.to_string());
        text
    }
}

impl FiledRecord for Notice {
    const TABLE: Table = Table::Notices;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        Self::queue(&self.channel, self.kind.urgency().goes_first())
    }

    /// The next attempt; none once it is given up.
    fn due(&self) -> Option<UnixMillis> {
        self.given_up.is_none().then_some(self.next)
    }

    /// Never while it is still tried.
    fn forget(&self) -> Option<UnixMillis> {
        self.given_up.map(|at| at.plus_days(UNDELIVERED_KEPT_DAYS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_338_000_000);

    fn notice() -> Notice {
        let id = NoticeId::new(NOW, [1; 10]);
        let facts = Facts::default().with("operation", "key.rotate").with("by", "ann");
        Notice::new(id, "oncall".parse().unwrap(), NoticeKind::ApprovalNeeded, "ann asks", facts, NOW)
    }

    #[test]
    fn kinds_have_names_that_are_read_back_and_are_all_different() {
        for kind in NoticeKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(serde_json::from_str::<NoticeKind>(&json).unwrap(), *kind);
        }
        let names: std::collections::BTreeSet<_> = NoticeKind::names().into_iter().collect();
        assert_eq!(names.len(), NoticeKind::ALL.len());
        assert_eq!("approval".parse::<NoticeKind>(), Err(UnknownNoticeKind));
        assert!(serde_json::from_str::<NoticeKind>("\"approval\"").is_err());
    }

    #[test]
    fn emergencies_and_tests_go_to_every_channel_and_nothing_else_does() {
        let everywhere: Vec<_> = NoticeKind::ALL.iter().filter(|kind| kind.goes_everywhere()).collect();
        assert_eq!(everywhere.len(), 6, "{everywhere:?}");
        assert!(NoticeKind::EmergencyUsed.goes_everywhere() && !NoticeKind::AccessFailures.goes_everywhere());
    }

    #[test]
    fn waits_double_from_a_second_to_an_hour_and_end_after_three_days() {
        let mut notice = notice();
        let (mut now, mut waits) = (NOW, Vec::new());
        while let Some(next) = notice.due() {
            now = next;
            notice = notice.failed("no answer", false, now);
            waits.push(notice.next.since(now) / 1000);
        }
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert_eq!(waits[11..14], [2048, 3600, 3600]);
        let days = notice.given_up.unwrap().since(NOW) as f64 / 86_400_000.0;
        assert!((2.9..=3.0).contains(&days), "{days}");
        assert_eq!(notice.forget(), Some(now.plus_days(30)));
    }

    #[test]
    fn what_will_never_be_taken_is_given_up_at_once() {
        let notice = notice().failed("no such mailbox\r\nX: y", true, NOW);
        assert_eq!((notice.due(), notice.attempts), (None, 1));
        assert_eq!(notice.trouble.unwrap(), "no such mailbox  X: y");
    }

    #[test]
    fn no_text_has_a_second_line_and_none_is_too_long() {
        let facts = (0..40).fold(Facts::default(), |facts, n| facts.with(&format!("f{n}"), "a\r\nBcc: b"));
        assert_eq!(facts.iter().count(), FACTS_MAX);
        assert!(facts.iter().all(|(_, value)| value == "a  Bcc: b"));
        let long = Facts::default().with("long", "ü".repeat(2000));
        assert_eq!(long.get("long").unwrap().len(), 1024);
        let id = NoticeId::new(NOW, [1; 10]);
        let channel: Name = "mail".parse().unwrap();
        let made = Notice::new(id, channel, NoticeKind::Test, "one\r\nSubject: two", Facts::default(), NOW);
        assert_eq!(made.subject.as_str(), "one  Subject: two");
    }

    #[test]
    fn the_record_and_its_words() {
        let record = RecordId::new(NOW, [2; 10]);
        let notice = notice().caused_by(record);
        let json = serde_json::to_string(&notice).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice);
        assert!(serde_json::from_str::<Notice>(&json.replacen('{', "{\"more\":1,", 1)).is_err());
        let text = notice.text();
        assert!(text.starts_with("ann asks\n\nkind       approval-needed\n"), "{text}");
        assert!(text.contains(&format!("record     {record}\n")) && text.contains("operation  key.rotate\n"), "{text}");
    }
}
