//! Jobs over time: which step is due, and that each is done, one after the other.

use keyreeve_model::UnixMillis;
use keyreeve_model::filed::file;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{Job, JobState};
use std::sync::Arc;
use std::time::Duration;

use crate::backup::backup_work;
use crate::commit::Durable;
use crate::core::Engine;
use crate::error::{Code, Error};
use crate::ops::jobs::Step;

/// Jobs that are looked at in one round; more than there are ever about backups at once, which go on elsewhere.
const AT_ONCE: u32 = 16;
/// How long one round works before it lets others look after their own.
const ROUND: Duration = Duration::from_secs(10);

impl Engine {
    /// Does steps of jobs that are due, until none is or a round is over. Returns how long until the next one is due;
    /// none when none waits.
    ///
    /// # Errors
    /// When the store does not tell which are due, or takes nothing.
    pub async fn work_on_jobs(&self) -> Result<Option<Duration>, Error> {
        let clock = &self.core.ports.clock;
        let until = clock.elapsed() + ROUND;
        loop {
            let (Some(opened), None) = (self.core.opened(), self.core.held()) else { return Ok(None) };
            let now = self.core.now()?;
            let mut due: Vec<(Job, _)> = self.core.filed_due(&opened, now, AT_ONCE).await?;
            due.retain(|(job, _)| backup_work(job).is_none());
            if due.is_empty() {
                return self.next_step().await;
            }
            for (job, _) in due {
                self.step_job(job.id()).await?;
            }
            if clock.elapsed() > until {
                return Ok(Some(Duration::ZERO));
            }
        }
    }

    /// Waits until a job was begun.
    pub async fn job_begun(&self) {
        self.core.job_bell.notified().await;
    }

    async fn next_step(&self) -> Result<Option<Duration>, Error> {
        let Some(opened) = self.core.opened() else { return Ok(None) };
        let mut soonest: Vec<(Job, _)> = self.core.filed_due(&opened, UnixMillis(i64::MAX), AT_ONCE).await?;
        soonest.retain(|(job, _)| backup_work(job).is_none());
        let now = self.core.now()?;
        let wait = |job: &Job| Duration::from_millis(u64::try_from(job.next().since(now)).unwrap_or(0));
        Ok(soonest.first().map(|(job, _)| wait(job)))
    }

    /// Does one step of a job, and notes why when it fails.
    ///
    /// # Errors
    /// When the store does not take the note.
    pub async fn step_job(&self, job: JobId) -> Result<(), Error> {
        let Err(refused) = self.call_as_server("job", Step { job }).await else { return Ok(()) };
        let (error, opened) = (refused.error, self.core.need_open()?);
        let Some((failed, revision)) = self.core.filed::<Job>(&opened, job).await? else { return Ok(()) };
        if failed.state() != JobState::Running || matches!(error.code(), Code::Sealed | Code::RolledBack) {
            return Ok(());
        }
        tracing::warn!(%job, %error, cause = error.cause(), "a step of a job failed: it is tried again");
        let noted = failed.failed(&error.to_string(), self.core.now()?)?;
        let changes = vec![file(&opened.keys, revision.next(), &noted)];
        self.core
            .commit(Durable { name: "job-failed", changes, entry: None, sealer: Some(Arc::clone(&opened.keys)) })
            .await
    }
}
