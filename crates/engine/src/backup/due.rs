//! What falls due with time: backups, checks of those there are, and destroyed keys that a destination still has.

use keyreeve_model::backup::{BackupCut, BackupRecord};
use keyreeve_model::{Facts, NoticeKind, UnixMillis};
use std::time::Duration;

use super::Keeper;
use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::Error;
use crate::ops::backups::{Create, Verify};
use crate::sealing::Opened;
use std::sync::Arc;

/// How long after a backup failed another one is tried.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// How long the same troubles are not told again.
const QUIET: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// Makes backups that are due, checks them, and finishes what destructions left to do.
    pub(crate) async fn look_after_backups(&self) -> Vec<Error> {
        let core = &*self.core;
        let mut errors: Vec<Error> = self.record_restore().await.err().into_iter().collect();
        let (Some(opened), Some(keeper)) = (core.opened(), core.backups.get()) else { return errors };
        errors.extend(self.retry_cuts(&opened).await.err());
        match self.due_backups(&opened, keeper).await {
            Ok(()) => {}
            Err(error) => {
                errors.extend(core.tell_of_backups(&opened, keeper, &error.to_string()).await.err());
                errors.push(error);
            }
        }
        errors
    }

    async fn retry_cuts(&self, opened: &Opened) -> Result<(), Error> {
        let mut last = Ok(());
        for (cut, _) in self.core.filed_all::<BackupCut>(opened, None).await? {
            if let Err(error) = self.core.carry_out_cut(cut.key).await {
                tracing::warn!(key = %cut.key, %error, "a destroyed key's entry is still in a ledger");
                last = Err(error);
            }
        }
        last
    }

    async fn due_backups(&self, opened: &Opened, keeper: &Keeper) -> Result<(), Error> {
        let (core, plan) = (&*self.core, keeper.backups.plan);
        let now = core.now()?;
        let made = core.backups_made(opened).await?;
        let newest = made.first().map(|(record, _)| record);
        let after = newest.map(|record| if record.is_well() { record.created } else { record.created.plus(AGAIN) });
        let due = match (plan.every, after, newest.is_some_and(BackupRecord::is_well)) {
            (None, ..) => false,
            (Some(_), None, _) => true,
            (Some(every), Some(at), true) => at.plus(every) <= now,
            (Some(every), Some(at), false) => at.plus(every.min(AGAIN)) <= now,
        };
        if due {
            self.call_as_server("scheduled-backup", Create).await.map_err(|refused| refused.error)?;
        }
        let Some(every) = plan.verify_every else { return Ok(()) };
        for (record, _) in core.backups_made(opened).await?.into_iter().take(1) {
            for (at, placed) in &record.destinations {
                let looked = placed.verified.or(placed.stored);
                let due = looked.is_some_and(|looked| looked.plus(every) <= now) && placed.removed.is_none();
                if due && keeper.backups.destinations.contains_key(at) {
                    let operation = Verify { sequence: record.sequence, destination: at.clone() };
                    self.call_as_server("scheduled-verification", operation).await.map_err(|refused| refused.error)?;
                }
            }
        }
        Ok(())
    }
}

impl Core {
    /// Tells people that something about backups is wrong, once a day.
    async fn tell_of_backups(&self, opened: &Arc<Opened>, keeper: &Keeper, what: &str) -> Result<(), Error> {
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
