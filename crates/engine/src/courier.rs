//! Notices to people: filed in the transaction of their cause, delivered afterwards, tried until they are taken.
//!
//! An answer waits for a delivery only in emergencies, and then not for long. A notice is a row for each channel; it is
//! unfiled when the channel has taken it, so a restart loses none, and a crash between delivery and
//! unfiling sends it once more under the same id.

use futures::future::BoxFuture;
use keyreeve_audit::Record;
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::NoticeId;
use keyreeve_model::notice::Urgency;
use keyreeve_model::record::{Revision, Table};
use keyreeve_model::{Change, Facts, Name, Notice, NoticeKind, RecordId, Transaction, UnixMillis};
use keyreeve_notify::Notifier;
use keyreeve_store::Page;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::error::Error;
use crate::sealing::Opened;

/// How long an answer waits for people to be told of an emergency.
const AT_MOST: Duration = Duration::from_secs(5);
/// Notices looked at in one round, of each queue (count).
const ROUND: u32 = 1000;
/// Pages of [`ROUND`] notices among which those are looked for whose turn it is (count).
const PAGES: usize = 20;
/// Failures in a row after which a round ends: the channel is not there, and others wait for their turn.
const FAILURES: usize = 3;
/// How long a channel is left alone when nothing waits for it, and at most between two attempts.
const IDLE: Duration = Duration::from_secs(60);
/// How long after the store or the clock did not work.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// What people are told of without having asked: operations that were done, and as what (requirements A2, A6, A7). Here
/// stand those of which the audit record says all there is to say; one that knows more, or tells only sometimes, says
/// it itself ([`Outcome::telling`](crate::pipeline::Outcome)). Nothing is told in both ways as the same kind of notice.
const TOLD: &[(&Descriptor, NoticeKind)] = &[
    (&catalogue::POLICY_PUT, NoticeKind::AccessChanged),
    (&catalogue::POLICY_DELETE, NoticeKind::AccessChanged),
    (&catalogue::POLICY_APPLY, NoticeKind::AccessChanged),
    (&catalogue::POLICY_ROLLBACK, NoticeKind::AccessChanged),
    (&catalogue::PRINCIPAL_PUT, NoticeKind::AccessChanged),
    (&catalogue::PRINCIPAL_DELETE, NoticeKind::AccessChanged),
    (&catalogue::TOKEN_CREATE, NoticeKind::AccessChanged),
    (&catalogue::KEY_EXPORT, NoticeKind::KeyExported),
    (&catalogue::LOGIN_METHOD_PUT, NoticeKind::AccessChanged),
    (&catalogue::LOGIN_METHOD_SET_SECRET, NoticeKind::AccessChanged),
    (&catalogue::LOGIN_METHOD_DELETE, NoticeKind::AccessChanged),
    (&catalogue::CREDENTIAL_ISSUE, NoticeKind::AccessChanged),
    (&catalogue::GRANT_CREATE, NoticeKind::GrantCreated),
    (&catalogue::GRANT_REQUEST, NoticeKind::GrantCreated),
    (&catalogue::GRANT_REVOKE, NoticeKind::GrantEnded),
    (&catalogue::INCIDENT_NOTE, NoticeKind::IncidentChanged),
    (&catalogue::INCIDENT_CONFIRM, NoticeKind::IncidentChanged),
    (&catalogue::INCIDENT_CLOSE, NoticeKind::IncidentChanged),
    (&catalogue::MFA_INVITE, NoticeKind::MfaChanged),
    (&catalogue::MFA_TOTP_FINISH, NoticeKind::MfaChanged),
    (&catalogue::MFA_WEBAUTHN_FINISH, NoticeKind::MfaChanged),
    (&catalogue::MFA_REMOVE, NoticeKind::MfaChanged),
    (&catalogue::MFA_RESET, NoticeKind::MfaChanged),
];

/// A channel and what it is for.
pub struct Channel {
    /// What sends.
    pub notifier: Arc<dyn Notifier>,
    /// The kinds of notices that go there; all where there is nothing. Emergencies go everywhere.
    pub only: Option<BTreeSet<NoticeKind>>,
}

impl Channel {
    /// Whether notices of a kind go there.
    fn takes(&self, kind: NoticeKind) -> bool {
        kind.goes_everywhere() || self.only.as_ref().is_none_or(|only| only.contains(&kind))
    }
}

/// Something to tell, before it is addressed.
pub(crate) struct Telling {
    pub(crate) kind: NoticeKind,
    pub(crate) subject: String,
    pub(crate) facts: Facts,
}

/// The channels, and the bell that says that there is something to deliver.
pub(crate) struct Courier {
    channels: Vec<Channel>,
    /// One for each channel: held by whoever delivers to it.
    busy: Vec<tokio::sync::Mutex<()>>,
    bell: watch::Sender<()>,
    /// How often something was filed that goes first.
    urgent: AtomicU64,
}

/// What a transaction files for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filed {
    Nothing,
    /// Nothing that goes before everything else.
    Some,
    /// Something that does.
    Urgent,
}

impl Courier {
    pub(crate) fn new(channels: Vec<Channel>) -> Self {
        let busy = channels.iter().map(|_| tokio::sync::Mutex::default()).collect();
        Self { channels, busy, bell: watch::Sender::new(()), urgent: AtomicU64::new(0) }
    }

    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// What these changes file for people.
    pub(crate) fn filed(changes: &[Change]) -> Filed {
        let queues = changes.iter().filter_map(|change| match change {
            Change::File(row) if row.table == Table::Notices => Some(Notice::is_first(&row.parent)),
            _ => None,
        });
        queues.max().map_or(Filed::Nothing, |first| if first { Filed::Urgent } else { Filed::Some })
    }

    /// There may be something to deliver.
    pub(crate) fn ring(&self, filed: Filed) {
        if filed == Filed::Urgent {
            self.urgent.fetch_add(1, Ordering::Release);
        }
        if filed != Filed::Nothing {
            self.bell.send_replace(());
        }
    }
}

impl Telling {
    pub(crate) fn new(kind: NoticeKind, subject: impl Into<String>, facts: Facts) -> Self {
        Self { kind, subject: subject.into(), facts }
    }

    /// What an operation that was done is worth telling of, from its audit record.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let (row, kind) = TOLD.iter().find(|(row, _)| row.name == record.operation)?;
        let (operation, by) = (row.name, &record.actor.principal);
        // A token for oneself gives nobody anything.
        if operation == catalogue::TOKEN_CREATE.name && record.details.get("grantee") == Some(by) {
            return None;
        }
        let mut facts = Facts::default().with("operation", operation).with("by", by);
        let mut subject = format!("{by} did {operation}");
        if let Some(resource) = &record.resource {
            facts = facts.with("resource", format!("{} {}", resource.kind, resource.id));
            subject = format!("{subject} on {} {}", resource.kind, resource.id);
        }
        if let Some(source) = &record.source {
            facts = facts.with("source", source);
        }
        let facts = record.details.iter().fold(facts, |facts, (name, value)| facts.with(name, value));
        Some(Self::new(*kind, subject, facts))
    }
}

impl Core {
    /// The changes that file a notice, one for each channel it goes to. They belong into the transaction of its cause.
    pub(crate) fn notice(
        &self,
        opened: &Opened,
        telling: &Telling,
        record: Option<RecordId>,
        now: UnixMillis,
    ) -> Result<Vec<Change>, Error> {
        let channels = self.courier.channels().iter().filter(|channel| channel.takes(telling.kind));
        channels.map(|channel| Ok(self.notice_for(opened, channel, telling, record, now)?.1)).collect()
    }

    /// The change that files a notice for one channel.
    pub(crate) fn notice_for(
        &self,
        opened: &Opened,
        channel: &Channel,
        telling: &Telling,
        record: Option<RecordId>,
        now: UnixMillis,
    ) -> Result<(NoticeId, Change), Error> {
        let id = NoticeId::new(now, self.id_random()?);
        let channel = channel.notifier.channel().clone();
        let notice = Notice::new(id, channel, telling.kind, &telling.subject, telling.facts.clone(), now);
        let notice = Notice { record, ..notice };
        Ok((id, file(&opened.keys, Revision::FIRST, &notice)))
    }
}

impl Engine {
    /// How many channels there are.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.core.courier.channels().len()
    }

    /// Changes when there may be something to deliver.
    #[must_use]
    pub fn notices_filed(&self) -> watch::Receiver<()> {
        self.core.courier.bell.subscribe()
    }

    /// Delivers what waits for a channel (by number) and is due. How long to wait until it is worth calling again,
    /// unless [`Engine::notices_filed`] changes before. Called by one task for each channel, so that a channel that
    /// does not answer holds up no other.
    pub async fn deliver(&self, channel: usize) -> Duration {
        let courier = &self.core.courier;
        let (Some(busy), Some(channel)) = (courier.busy.get(channel), courier.channels().get(channel)) else {
            return IDLE;
        };
        let _one = busy.lock().await;
        match self.deliver_due(channel).await {
            Ok(None) => IDLE,
            Ok(Some(wait)) => wait.min(IDLE),
            Err(error) => {
                tracing::warn!(channel = %channel.notifier.channel(), %error, "notices wait");
                AFTER_TROUBLE
            }
        }
    }

    /// Tries every channel once, all at the same time, for at most [`AT_MOST`]: what is not taken by then is tried
    /// again as ever. Boxed, because the pipeline waits for it.
    pub(crate) fn deliver_now(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let all = (0..self.channels()).map(|channel| self.deliver(channel));
            if tokio::time::timeout(AT_MOST, futures::future::join_all(all)).await.is_err() {
                tracing::warn!("not every channel took the notice of an emergency at once: it is tried again");
            }
        })
    }

    async fn deliver_due(&self, channel: &Channel) -> Result<Option<Duration>, Error> {
        let core = &*self.core;
        // While sealed nothing is known of what waits; opening rings.
        let Some(opened) = core.opened() else { return Ok(None) };
        // Each queue by itself: what is refused in one takes no turn of the other.
        let first = self.deliver_queue(&opened, channel, true).await?;
        let other = self.deliver_queue(&opened, channel, false).await?;
        let next = first.into_iter().chain(other).min();
        let now = core.now()?;
        // What is due and had no turn in this round has it in the next.
        let wait = |next: UnixMillis| u64::try_from(next.since(now)).unwrap_or(0).max(1000);
        Ok(next.map(|next| Duration::from_millis(wait(next))))
    }

    /// Delivers what is due of one queue; when the next one of it is.
    async fn deliver_queue(
        &self,
        opened: &Opened,
        channel: &Channel,
        first: bool,
    ) -> Result<Option<UnixMillis>, Error> {
        let core = &*self.core;
        let urgent = || core.courier.urgent.load(Ordering::Acquire);
        let filed = urgent();
        let (mut next, mut failures) = (None, 0);
        for (notice, revision) in self.waiting_for(opened, channel.notifier.channel(), first).await? {
            let mut again = Some(notice.next);
            // What goes first does not wait either for the end of a round that had begun before it was filed.
            let turn = failures < FAILURES && (first || urgent() == filed);
            if turn && notice.next <= core.now()? {
                again = self.deliver_one(opened, channel, notice, revision).await?;
                failures = if again.is_some() { failures + 1 } else { 0 };
            }
            next = again.into_iter().chain(next).min();
        }
        Ok(next)
    }

    /// What waits for one channel in one queue, in the order of its turns, whatever waits elsewhere; at most [`ROUND`].
    async fn waiting_for(
        &self,
        opened: &Opened,
        channel: &Name,
        first: bool,
    ) -> Result<Vec<(Notice, Revision)>, Error> {
        let (queue, now) = (Notice::queue(channel, first), self.core.now()?);
        let (mut waiting, mut after) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = Page { after, limit: ROUND };
            let (found, next) = self.core.filed_page::<Notice>(opened, Some(&queue), page).await?;
            // Those that were given up are kept for a while, to be shown.
            waiting.extend(found.into_iter().filter(|(notice, _)| notice.given_up.is_none()));
            in_turn(&mut waiting, now);
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(waiting)
    }

    /// One attempt; when the next one is.
    async fn deliver_one(
        &self,
        opened: &Opened,
        channel: &Channel,
        notice: Notice,
        revision: Revision,
    ) -> Result<Option<UnixMillis>, Error> {
        let core = &*self.core;
        let sent = channel.notifier.send(&notice, core.now()?).await;
        let (name, change, again) = match sent {
            Ok(()) => {
                tracing::info!(notice = %notice.id, channel = %notice.channel, kind = %notice.kind, "delivered");
                ("notice-delivered", unfile(revision, &notice), None)
            }
            Err(error) => {
                let failed = notice.failed(&error.to_string(), error.is_for_good(), core.now()?);
                tell_of_failure(&failed);
                let again = failed.given_up.is_none().then_some(failed.next);
                ("notice-failed", file(&opened.keys, revision.next(), &failed), again)
            }
        };
        core.ports.store.commit(Transaction { name, changes: vec![change], ..Transaction::default() }).await?;
        Ok(again)
    }

    /// Gives up what waits for channels that are not configured any more.
    pub(crate) async fn give_up_orphans(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        let known = |notice: &Notice| core.courier.channels().iter().any(|c| *c.notifier.channel() == notice.channel);
        // All of them: those of a channel that does not answer may be many, and come first.
        let filed: Vec<(Notice, Revision)> = core.filed_sound(&opened, None).await?;
        let waits = |notice: &Notice| notice.given_up.is_none() && notice.next <= now;
        for (notice, revision) in filed.into_iter().filter(|(notice, _)| waits(notice) && !known(notice)) {
            let failed = notice.failed("the channel is not configured any more", true, now);
            tell_of_failure(&failed);
            let changes = vec![file(&opened.keys, revision.next(), &failed)];
            core.ports.store.commit(Transaction { name: "notice-failed", changes, ..Transaction::default() }).await?;
        }
        Ok(())
    }
}

/// Those whose turn it is, at most [`ROUND`]: due ones before others, new ones before those that were refused, so that
/// one that is always refused keeps no other waiting, and emergencies before alerts.
fn in_turn(waiting: &mut Vec<(Notice, Revision)>, now: UnixMillis) {
    waiting.sort_by_key(|(notice, _)| {
        let later = Some(notice.next).filter(|next| *next > now);
        let emergency = notice.kind.urgency() == Urgency::Emergency;
        (later, notice.attempts > 0, !emergency, notice.attempts, notice.created)
    });
    waiting.truncate(ROUND as usize);
}

fn tell_of_failure(notice: &Notice) {
    let (id, channel, kind, attempts) = (notice.id, &notice.channel, notice.kind, notice.attempts);
    let trouble = notice.trouble.as_deref().unwrap_or_default();
    if notice.given_up.is_some() {
        tracing::error!(notice = %id, %channel, %kind, attempts, trouble, "a notice was given up");
    } else {
        tracing::warn!(notice = %id, %channel, %kind, attempts, trouble, "a notice was not taken, it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_hides_nothing_that_is_new() {
        let now = UnixMillis(1_800_000_000_000);
        let notice = |number: u64, kind, attempts| {
            let (id, channel) = (NoticeId::from_bytes(u128::from(number).to_be_bytes()), "oncall".parse().unwrap());
            let notice = Notice::new(id, channel, kind, "told", Facts::default(), now);
            (Notice { attempts, ..notice }, Revision::FIRST)
        };
        let mut waiting: Vec<_> = (0..3000).map(|number| notice(number, NoticeKind::ApprovalNeeded, 9)).collect();
        waiting.push(notice(3000, NoticeKind::IncidentOpened, 0));
        waiting.push(notice(3001, NoticeKind::EmergencyUsed, 0));
        let mut later = notice(3002, NoticeKind::EmergencyUsed, 0);
        later.0.next = UnixMillis(now.0 + 1);
        waiting.push(later);
        in_turn(&mut waiting, now);
        let kinds: Vec<_> = waiting.iter().map(|(notice, _)| notice.kind).take(3).collect();
        assert_eq!(kinds, [NoticeKind::EmergencyUsed, NoticeKind::IncidentOpened, NoticeKind::ApprovalNeeded]);
        assert_eq!(waiting.len(), ROUND as usize);
    }

    #[test]
    fn each_operation_is_told_of_as_one_thing() {
        let names: BTreeSet<&str> = TOLD.iter().map(|(row, _)| row.name).collect();
        assert_eq!(names.len(), TOLD.len());
    }
}
