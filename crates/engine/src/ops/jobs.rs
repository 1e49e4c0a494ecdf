//! Jobs: watching and stopping them, and the steps that the server does (requirement K11). What a job does is in a file
//! of its own.

use keyreeve_model::Revision;
use keyreeve_model::filed;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{Job, JobRefusal, JobWork, NewJob};
use keyreeve_model::metadata::Label;
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::rekey::Rekeying;
use super::scan::Scanning;
use super::{Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::{Effect, Opened};

impl From<JobRefusal> for Error {
    fn from(refusal: JobRefusal) -> Self {
        Self::new(Code::WrongState, refusal.to_string())
    }
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobReply(pub Job);

super::replies::remember_as_json!(JobReply);

/// What begins a job.
pub(super) struct Beginning<'a> {
    pub(super) work: JobWork,
    /// How many units there are, as far as is known.
    pub(super) total: u64,
    /// Units in a second at most; 0 for as fast as it goes.
    pub(super) pace: u32,
    pub(super) reason: &'a Label,
}

impl Core {
    /// Begins a job, in the transaction of the operation that asks for it.
    pub(super) fn begin_job<O: Operation>(
        &self,
        opened: &Opened,
        approved: &Approved<O>,
        beginning: Beginning<'_>,
    ) -> Result<Outcome<JobReply>, Error> {
        let (now, Beginning { work, total, pace, reason }) = (approved.now(), beginning);
        let (id, by) = (JobId::new(now, self.id_random()?), approved.principal().name.clone());
        let bell = match &work {
            JobWork::Rekey(_) | JobWork::Scan(_) => Effect::WorkOnJobs,
            JobWork::Backup(_) => Effect::WorkOnBackups,
        };
        let job = Job::begin(NewJob { id, work, reason: reason.clone(), by, total, pace }, now);
        let filed = filed::file(&opened.keys, Revision::FIRST, &job);
        Ok(Outcome::reply(JobReply(job)).changing(filed).then(bell).detail("job", id))
    }

    async fn job(&self, id: JobId) -> Result<(Job, Revision), Error> {
        let opened = self.need_open()?;
        self.filed::<Job>(&opened, id).await?.ok_or_else(|| Error::not_found("job"))
    }
}

/// Shows a job.
#[derive(Debug)]
pub struct Describe {
    /// The job.
    pub job: JobId,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::JOB_DESCRIBE;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        Ok(Outcome::reply(JobReply(core.job(self.job).await?.0)).detail("job", self.job))
    }
}

/// Lists jobs, oldest first.
#[derive(Debug)]
pub struct List {
    /// Those that ended as well.
    pub ended: bool,
    /// Only those after this one.
    pub after: Option<JobId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::JOB_LIST;
    type Reply = Listing<JobReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<JobReply>>, Error> {
        let (opened, limit) = (core.need_open()?, self.limit.clamp(1, PAGE_MAX));
        let (mut items, mut after) = (Vec::new(), self.after.map(Into::into));
        // Rows that are not wanted do not count: the page is full, or there are no more.
        let next = loop {
            let page = Page { after: after.clone(), limit };
            let (jobs, next) = core.filed_page::<Job>(&opened, None, page).await?;
            for (job, _) in jobs {
                if self.ended || job.ended().is_none() {
                    items.push(JobReply(job));
                }
                if items.len() == limit as usize {
                    break;
                }
            }
            match next {
                _ if items.len() == limit as usize => break items.last().map(|last: &JobReply| last.0.id()),
                Some(next) => after = Some(next),
                None => break None,
            }
        };
        let count = items.len();
        let next = next.map(|id| id.to_string());
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

/// Stops a job; what it has done stays.
#[derive(Debug)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Why.
    pub reason: Label,
}

impl Operation for Cancel {
    const DESCRIPTOR: &'static Descriptor = &catalogue::JOB_CANCEL;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        let (opened, (job, revision)) = (core.need_open()?, core.job(self.job).await?);
        let job = job.cancelled(approved.now())?;
        let change = filed::file(&opened.keys, revision.next(), &job);
        let outcome = Outcome::reply(JobReply(job)).changing(change);
        Ok(outcome.detail("job", self.job).detail("reason", &self.reason))
    }
}

/// Does the next step of a job; by the server itself.
#[derive(Debug)]
pub struct Step {
    /// The job.
    pub job: JobId,
}

impl Operation for Step {
    const DESCRIPTOR: &'static Descriptor = &catalogue::JOB_STEP;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        let (opened, (job, revision)) = (core.need_open()?, core.job(self.job).await?);
        if let Some(at) = job.ended() {
            return Err(JobRefusal::Ended { state: job.state(), at }.into());
        }
        let work = job.work().clone();
        let stepping = Stepping { core, opened, approved, job, revision };
        let outcome = match work {
            JobWork::Rekey(rekey) => Rekeying(stepping).step(&rekey).await?,
            // It goes on beside the others (`backup/work.rs`).
            JobWork::Backup(_) => return Ok(Outcome::reply(JobReply(stepping.job)).detail("job", self.job)),
            JobWork::Scan(scan) => Scanning(stepping).step(scan).await?,
        };
        Ok(outcome.detail("job", self.job))
    }
}

/// One step of a job: what it works with, and what the job is after it. What the step changes goes into the outcome
/// that [`Stepping::goes_on`] or [`Stepping::finishes`] makes, so that both are committed together.
pub(super) struct Stepping<'a> {
    pub(super) core: &'a Core,
    pub(super) opened: Arc<Opened>,
    pub(super) approved: &'a Approved<Step>,
    pub(super) job: Job,
    revision: Revision,
}

impl Stepping<'_> {
    /// The job has come further by so many units, and there is more to do.
    pub(super) fn goes_on(&self, work: JobWork, units: u64) -> Result<Outcome<JobReply>, Error> {
        Ok(self.filing(self.job.stepped(work, units, self.approved.now())?))
    }

    /// The job is at its end.
    pub(super) fn finishes(&self, work: JobWork) -> Result<Outcome<JobReply>, Error> {
        Ok(self.filing(self.job.finished(work, self.approved.now())?).detail("done", "true"))
    }

    fn filing(&self, job: Job) -> Outcome<JobReply> {
        let filed = filed::file(&self.opened.keys, self.revision.next(), &job);
        Outcome::reply(JobReply(job)).changing(filed)
    }
}
