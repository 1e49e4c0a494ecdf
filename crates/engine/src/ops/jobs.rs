//! Jobs: watching and stopping them, and the steps that the server does (requirement K11). What a job does is in a file
//! of its own.

use keyreeve_model::filed;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{Job, JobRefusal, JobWork};
use keyreeve_model::metadata::Label;
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};

use super::rekey::Rekeying;
use super::{Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Target};

impl From<JobRefusal> for Error {
    fn from(refusal: JobRefusal) -> Self {
        Self::new(Code::WrongState, refusal.to_string())
    }
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobReply(pub Job);

super::replies::remember_as_json!(JobReply);

impl Core {
    async fn job(&self, id: JobId) -> Result<(Job, keyreeve_model::Revision), Error> {
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
        let outcome = match job.work().clone() {
            JobWork::Rekey(rekey) => {
                let rekeying = Rekeying { core, opened, approved, job, revision };
                rekeying.step(&rekey).await?
            }
        };
        Ok(outcome.detail("job", self.job))
    }
}
