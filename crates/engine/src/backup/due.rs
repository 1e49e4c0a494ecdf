//! What falls due with time: backups and checks of those there are are begun, and a restore is put on record.

use keyreeve_model::backup::BackupRecord;
use keyreeve_model::job::{BackupWork, Job};
use keyreeve_model::{Facts, Name, NoticeKind, UnixMillis};
use std::time::Duration;

use super::Keeper;
use super::work::{again, backup_work};
use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::Error;
use crate::ops::backups::{Create, Verify};
use crate::sealing::Opened;
use std::sync::Arc;

/// How long after a backup or a check was given up the next one begins; doubled with each that is given up in a row.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// How long the same troubles are not told again.
const QUIET: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// Puts a restore on record that is not yet, and begins backups and checks that are due: jobs that go on beside
    /// everything else.
    pub(crate) async fn look_after_backups(&self) -> Vec<Error> {
        let core = &*self.core;
        let mut errors: Vec<Error> = self.record_restore().await.err().into_iter().collect();
        let (Some(opened), Some(keeper)) = (core.opened(), core.backups.get()) else { return errors };
        if let Err(error) = self.due_backups(&opened, keeper).await {
            errors.extend(core.tell_of_backups(&opened, keeper, &error.to_string()).await.err());
            errors.push(error);
        }
        errors
    }

    async fn due_backups(&self, opened: &Opened, keeper: &Keeper) -> Result<(), Error> {
        let (core, plan) = (&*self.core, keeper.backups.plan);
        let (now, made) = (core.now()?, core.backups_made(opened).await?);
        let newest = made.first().map(|(record, _)| record);
        let mut jobs = None;
        if let Some(every) = plan.every
            && newest.is_none_or(|record| record.created.plus(every) <= now || !record.is_well())
        {
            let known = core.backup_jobs(opened).await?;
            let makes = |job: &&Job| matches!(backup_work(job), Some(BackupWork::Make { .. }));
            let waits = again(known.iter().filter(makes), AGAIN, every);
            if !known.iter().filter(makes).any(|job| job.ended().is_none()) && is_due(newest, every, waits, now) {
                self.call_as_server("scheduled-backup", Create).await.map_err(|refused| refused.error)?;
            }
            jobs = Some(known);
        }
        let (Some(every), Some(newest)) = (plan.verify_every, newest) else { return Ok(()) };
        for (at, placed) in &newest.destinations {
            let looked = placed.verified.or(placed.stored);
            let due = looked.is_some_and(|looked| looked.plus(every) <= now) && placed.removed.is_none();
            if due && keeper.backups.destinations.contains_key(at) {
                if jobs.is_none() {
                    jobs = Some(core.backup_jobs(opened).await?);
                }
                let known = jobs.as_deref().unwrap_or_default();
                self.begin_check(known, (newest.sequence, at), every, now).await?;
            }
        }
        Ok(())
    }

    async fn begin_check(
        &self,
        known: &[Job],
        (sequence, at): (u64, &Name),
        every: Duration,
        now: UnixMillis,
    ) -> Result<(), Error> {
        let there = |job: &&Job| matches!(backup_work(job), Some(BackupWork::Check { at: place, .. }) if place == at);
        if known.iter().filter(there).any(|job| job.ended().is_none()) {
            return Ok(());
        }
        if again(known.iter().filter(there), AGAIN, every).is_some_and(|again| now < again) {
            return Ok(());
        }
        let operation = Verify { sequence, destination: at.clone() };
        let begun = self.call_as_server("scheduled-verification", operation).await;
        begun.map(|_| ()).map_err(|refused| refused.error)
    }
}

/// Whether a backup is due, where none is being made.
fn is_due(newest: Option<&BackupRecord>, every: Duration, waits: Option<UnixMillis>, now: UnixMillis) -> bool {
    let by_plan = newest.is_none_or(|record| record.created.plus(every) <= now);
    match waits {
        Some(again) => again <= now,
        // Not at every destination, and nothing was given up: somebody stopped it, or a check found damage.
        None => by_plan,
    }
}

impl Core {
    /// Tells people that something about backups is wrong, once a day.
    pub(super) async fn tell_of_backups(&self, opened: &Arc<Opened>, keeper: &Keeper, what: &str) -> Result<(), Error> {
        let now: UnixMillis = self.now()?;
        let mut told = keeper.told.lock().await;
        if told.is_some_and(|until| now < until) {
            return Ok(());
        }
        let facts = Facts::default().with("trouble", what);
        let telling = Telling::new(NoticeKind::BackupTrouble, "backups are in trouble".to_owned(), facts);
        let changes = self.notice(opened, &telling, None, now)?;
        let sealer = Some(Arc::clone(&opened.keys));
        self.commit(Durable { name: "backup-trouble", changes, entry: None, sealer }).await?;
        *told = Some(now.plus(QUIET));
        Ok(())
    }
}
