//! What people are told because its time has come. Each is safe to repeat: that they were told is written down in the
//! transaction that tells them.

use keyreeve_model::approval::Proposal;
use keyreeve_model::filed::file;
use keyreeve_model::grant::{GrantRecord, Told};
use keyreeve_model::holders::{Holder, SharesRecord};
use keyreeve_model::incident::Incident;
use keyreeve_model::review::Campaign;
use keyreeve_model::{Change, Facts, Name, NoticeKind};
use std::sync::Arc;

use crate::commit::Durable;
use crate::core::Engine;
use crate::courier::Telling;
use crate::error::Error;
use crate::ops::{grants, reviews, shares};
use crate::pipeline::closed;
use crate::sealing::Opened;

/// Records of one sort that are looked at at one tick (count).
const AT_ONCE: u32 = 100;
/// Requests closed at one tick because their time is over (count).
const CLOSED_AT_ONCE: u32 = 1000;

impl Engine {
    /// Closes requests whose time is over, at most [`AT_ONCE`] of them, and tells of it.
    pub(super) async fn close_expired(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (proposal, revision) in core.filed_due::<Proposal>(&opened, now, CLOSED_AT_ONCE).await? {
            let Some(expired) = proposal.expired(now) else { continue };
            let mut changes = vec![file(&opened.keys, revision.next(), &expired)];
            changes.extend(core.closing(&opened, &expired).await?);
            changes.extend(core.notice(&opened, &closed(&expired, now), None, now)?);
            self.told("approval-expired", &opened, changes).await?;
        }
        Ok(())
    }

    /// Tells of grants that end soon, and of those that ended. Safe to repeat: what was told is written down with it.
    pub(super) async fn tell_of_ends(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (grant, revision) in core.filed_due::<GrantRecord>(&opened, now, AT_ONCE).await? {
            let Some(next) = grant.telling(now) else { continue };
            let (kind, how) = match next.told {
                Told::Over => (NoticeKind::GrantEnded, "is over"),
                Told::Soon | Told::Nothing => (NoticeKind::GrantExpiring, "ends soon"),
            };
            let telling = Telling::new(kind, format!("a grant of {} {how}", grant.principal), grants::facts(&grant));
            let mut changes = vec![file(&opened.keys, revision.next(), &next)];
            changes.extend(core.notice(&opened, &telling, None, now)?);
            self.told("grant-told", &opened, changes).await?;
        }
        Ok(())
    }

    /// Reminds of confirmations that incidents owe. Safe to repeat: what was sent is written down with it.
    pub(super) async fn remind_of_incidents(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (incident, revision) in core.filed_due::<Incident>(&opened, now, AT_ONCE).await? {
            let Some((next, due)) = incident.remind(now) else { continue };
            let mut changes = vec![file(&opened.keys, revision.next(), &next)];
            for owed in due {
                let roles = owed.any_of.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
                let facts = Facts::default()
                    .with("incident", incident.id())
                    .with("confirmation", owed.number)
                    .with("operation", &owed.operation)
                    .with("key", owed.key)
                    .with("by", &owed.by.name)
                    .with("roles", roles)
                    .with("due", owed.due);
                let late = if owed.is_overdue(now) { "is overdue" } else { "is owed" };
                let subject = format!("a confirmation of {} {late}", owed.operation);
                let telling = Telling::new(NoticeKind::IncidentOverdue, subject, facts);
                changes.extend(core.notice(&opened, &telling, None, now)?);
            }
            self.told("incident-reminded", &opened, changes).await?;
        }
        Ok(())
    }

    /// Reminds of campaigns that are overdue. Safe to repeat: that people were told is written down with it.
    pub(super) async fn remind_of_reviews(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (campaign, revision) in core.filed_due::<Campaign>(&opened, now, AT_ONCE).await? {
            let Some(next) = campaign.remind(now) else { continue };
            let mut changes = vec![file(&opened.keys, revision.next(), &next)];
            let subject = format!("a review is overdue: {} rights are not decided on", campaign.undecided());
            let telling = Telling::new(NoticeKind::ReviewOverdue, subject, reviews::facts(&campaign));
            changes.extend(core.notice(&opened, &telling, None, now)?);
            self.told("review-reminded", &opened, changes).await?;
        }
        Ok(())
    }

    /// Tells people of proofs that are overdue. Safe to repeat: that they were told is written down with it.
    pub(super) async fn remind_of_proofs(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (record, revision) in core.filed_due::<SharesRecord>(&opened, now, AT_ONCE).await? {
            let Some(next) = record.clone().remind(now) else { continue };
            let who: Vec<String> = record.current.overdue(now).map(Holder::called).collect();
            let subject = format!("{} holders of shares have not shown for long to have them", who.len());
            let facts = shares::facts(&record).with("holders", who.join(", "));
            let telling = Telling::new(NoticeKind::ShareProofsOverdue, subject, facts);
            let mut changes: Vec<Change> = vec![file(&opened.keys, revision.next(), &next)];
            changes.extend(core.notice(&opened, &telling, None, now)?);
            self.told("share-proofs-reminded", &opened, changes).await?;
        }
        Ok(())
    }

    async fn told(&self, name: &'static str, opened: &Arc<Opened>, changes: Vec<Change>) -> Result<(), Error> {
        let sealer = Some(Arc::clone(&opened.keys));
        self.core.commit(Durable { name, changes, entry: None, sealer }).await
    }
}
