//! Backups as jobs: each is made, and read again, step by step on a task of the server's own. Nobody waits for it but
//! who wants to, and a destination that takes hours holds up nothing but other backups.

use keyreeve_model::backup::{BackupRecord, Placed};
use keyreeve_model::filed::file;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{BackupFound, BackupWork, Job, JobState, JobWork};
use keyreeve_model::{Name, UnixMillis};
use std::sync::Arc;
use std::time::Duration;

use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::error::{Code, Error, Fault};
use crate::ops::backups::{Came, Record};
use crate::sealing::Opened;

/// Steps that may fail in a row; the pauses between them grow to ten minutes.
const TRIES: u32 = 10;

/// The work of a job, if it is about backups.
pub(crate) const fn backup_work(job: &Job) -> Option<&BackupWork> {
    match job.work() {
        JobWork::Backup(work) => Some(work),
        JobWork::Rekey(_) | JobWork::Scan(_) => None,
    }
}

/// Whether trying again may help.
fn is_passing(error: &Error) -> bool {
    matches!(error.code().fault(), Fault::Unavailable | Fault::Internal)
}

impl Engine {
    /// Makes and reads backups that are due, one after the other, until none is. Returns how long until the next one
    /// is; none when none waits. May take hours; what is dropped half-way is taken up where it was.
    ///
    /// # Errors
    /// When the store does not tell which are due, or takes nothing.
    pub async fn work_on_backups(&self) -> Result<Option<Duration>, Error> {
        let core = &*self.core;
        let Some(keeper) = core.backups.get() else { return Ok(None) };
        let _one = keeper.working.lock().await;
        loop {
            // Nothing leaves an old copy of a server: it would take the place of what is newer.
            let (Some(opened), None) = (core.opened(), core.held()) else { return Ok(None) };
            let mut running = core.backup_jobs(&opened).await?;
            drop(opened);
            running.retain(|job| job.state() == JobState::Running);
            let Some(next) = running.into_iter().min_by_key(Job::next) else { return Ok(None) };
            let wait = next.next().since(core.now()?);
            if wait > 0 {
                return Ok(Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0))));
            }
            self.work_on_backup(&next).await?;
        }
    }

    /// Waits until a backup is to be made or read.
    pub async fn backup_begun(&self) {
        match self.core.backups.get() {
            Some(keeper) => keeper.bell.notified().await,
            None => std::future::pending().await,
        }
    }

    async fn work_on_backup(&self, job: &Job) -> Result<(), Error> {
        let worked = match backup_work(job) {
            Some(BackupWork::Make { sequence }) => self.make_backup(job.id(), *sequence).await,
            Some(BackupWork::Check { sequence, at, .. }) => self.check_backup(job.id(), *sequence, at).await,
            None => Ok(()),
        };
        match worked {
            Err(error) if error.code() != Code::Sealed => self.note_trouble(job.id(), &error).await,
            _ => Ok(()),
        }
    }

    /// Makes a backup, or goes on with one: the copy first, then each destination that does not have it.
    async fn make_backup(&self, job: JobId, sequence: Option<u64>) -> Result<(), Error> {
        let core = &*self.core;
        let copied = match sequence {
            Some(sequence) => core.copied_backup(sequence).await?,
            None => None,
        };
        let record = match copied {
            Some(record) => record,
            None => {
                let record = core.copy_backup(core.now()?).await?;
                self.came(job, Came::Copied(record.clone())).await?;
                record
            }
        };
        let mut trouble = None;
        for at in core.keeper()?.backups.destinations.keys() {
            let has = record.destinations.get(at).is_some_and(|placed| placed.stored.is_some());
            if has || core.is_stopped(job).await? {
                continue;
            }
            // One that passes is worth another try, whatever is wrong elsewhere.
            trouble = match (trouble, self.bring_to(job, at, &record).await?) {
                (Some(known), Some(new)) => Some(if is_passing(&known) { known } else { new }),
                (known, new) => new.or(known),
            };
        }
        if core.is_stopped(job).await? {
            return core.clear_spool(core.keeper()?).await;
        }
        match trouble {
            Some(trouble) => Err(trouble),
            None => {
                core.clear_spool(core.keeper()?).await?;
                self.came(job, Came::Made { sequence: record.sequence }).await
            }
        }
    }

    /// Brings a backup to a destination and puts on record what came of it. Returns why it is not there.
    async fn bring_to(&self, job: JobId, at: &Name, record: &BackupRecord) -> Result<Option<Error>, Error> {
        let (core, sequence) = (&*self.core, record.sequence);
        let place = Some(core.destination(at)?.place());
        let (placed, removed, trouble) = match core.bring(at, record).await {
            Ok(()) => {
                // A destination that fails here has too much, which harms nobody.
                let removed = core.prune(at).await.unwrap_or_else(|error| {
                    tracing::warn!(destination = %at, %error, "old backups stay");
                    Default::default()
                });
                (Placed { place, stored: Some(core.now()?), ..Placed::default() }, removed, None)
            }
            Err(error) if error.code() == Code::Sealed => return Err(error),
            Err(error) => {
                tracing::error!(destination = %at, %error, cause = error.cause(), "a backup was not stored");
                let placed = Placed { place, trouble: Some(error.to_string()), ..Placed::default() };
                (placed, Default::default(), Some(error))
            }
        };
        self.came(job, Came::Placed { sequence, at: at.clone(), placed, removed }).await?;
        Ok(trouble)
    }

    async fn check_backup(&self, job: JobId, sequence: u64, at: &Name) -> Result<(), Error> {
        let core = &*self.core;
        let found = match core.verify_backup(at, sequence).await {
            Ok(found) => Ok(BackupFound {
                rows: found.rows,
                materials: found.materials,
                destroyed: found.destroyed,
                log_size: found.log_size,
                log_later: found.log_later,
            }),
            // Reading it again would find the same.
            Err(error) if matches!(error.code(), Code::Tampered | Code::WrongState | Code::NotFound) => {
                tracing::error!(destination = %at, backup = sequence, %error, "a backup is not as it should be");
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        };
        self.came(job, Came::Checked { sequence, at: at.clone(), found }).await
    }

    async fn came(&self, job: JobId, came: Came) -> Result<(), Error> {
        let recorded = self.call_as_server("backup", Record { job, came }).await;
        recorded.map(|_| ()).map_err(|refused| refused.error)
    }

    /// Notes why a step failed; after too many the job is given up, and the next one begins when it is due.
    async fn note_trouble(&self, job: JobId, error: &Error) -> Result<(), Error> {
        let (core, now) = (&*self.core, self.core.now()?);
        let opened = core.need_open()?;
        let Some((failed, revision)) = core.filed::<Job>(&opened, job).await? else { return Ok(()) };
        if failed.state() != JobState::Running {
            return core.clear_spool(core.keeper()?).await;
        }
        tracing::warn!(%job, %error, cause = error.cause(), "a step of a backup failed");
        let text = error.to_string();
        let last = !is_passing(error) || failed.trouble().map_or(0, |(_, failures)| failures) + 1 >= TRIES;
        let noted = if last { failed.given_up(&text, now)? } else { failed.failed(&text, now)? };
        let changes = vec![file(&opened.keys, revision.next(), &noted)];
        let sealer = Some(Arc::clone(&opened.keys));
        core.commit(Durable { name: "backup-failed", changes, entry: None, sealer }).await?;
        if last {
            core.clear_spool(core.keeper()?).await?;
        }
        core.tell_of_backups(&opened, core.keeper()?, &text).await
    }
}

impl Core {
    /// Every job about backups, the oldest first.
    pub(crate) async fn backup_jobs(&self, opened: &Opened) -> Result<Vec<Job>, Error> {
        let all = self.filed_sound::<Job>(opened, None).await?;
        Ok(all.into_iter().map(|(job, _)| job).filter(|job| backup_work(job).is_some()).collect())
    }

    /// Whether somebody stopped a job.
    async fn is_stopped(&self, job: JobId) -> Result<bool, Error> {
        let opened = self.need_open()?;
        let found = self.filed::<Job>(&opened, job).await?;
        Ok(found.is_none_or(|(job, _)| job.state() != JobState::Running))
    }

    /// Rings for who makes and reads backups.
    pub(crate) fn work_on_backups_now(&self) {
        if let Some(keeper) = self.backups.get() {
            keeper.bell.notify_one();
        }
    }
}

/// How long after jobs of one kind failed in a row the next one may begin; none when the last one did not fail.
pub(super) fn again<'a>(jobs: impl Iterator<Item = &'a Job>, first: Duration, longest: Duration) -> Option<UnixMillis> {
    let (mut failed, mut last) = (0u32, None);
    for job in jobs {
        match job.state() {
            JobState::Failed => (failed, last) = (failed.saturating_add(1), job.ended()),
            JobState::Done | JobState::Cancelled => (failed, last) = (0, None),
            JobState::Running => {}
        }
    }
    let pause = longest.min(first.saturating_mul(1 << failed.saturating_sub(1).min(16)));
    last.map(|last| last.plus(pause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_model::Label;
    use keyreeve_model::job::NewJob;

    #[test]
    fn what_failed_in_a_row_is_begun_ever_more_rarely() {
        let job = |n: i64, ended: fn(&Job, UnixMillis) -> Job| {
            let work = JobWork::Backup(BackupWork::Make { sequence: None });
            let (id, reason, by) = (JobId::from_bytes([n as u8; 16]), Label::default(), "alice".parse().unwrap());
            let at = UnixMillis(n * 1000);
            ended(&Job::begin(NewJob { id, work, reason, by, total: 1, pace: 0 }, at), at)
        };
        let failed = |n| job(n, |job, at| job.given_up("away", at).unwrap());
        let done = |n| job(n, |job, at| job.finished(job.work().clone(), at).unwrap());
        let after = |jobs: &[Job]| again(jobs.iter(), Duration::from_secs(60), Duration::from_secs(200));
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[failed(1), done(2)]), None);
        assert_eq!(after(&[done(1), failed(2)]), Some(UnixMillis(2000 + 60_000)));
        assert_eq!(after(&[failed(2), failed(3)]), Some(UnixMillis(3000 + 120_000)));
        assert_eq!(after(&[failed(2), failed(3), failed(4), failed(5)]), Some(UnixMillis(5000 + 200_000)));
    }
}
