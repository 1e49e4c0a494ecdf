//! The steps of a scan for damage.

use keyreeve_model::job::JobWork;
use keyreeve_model::scan::Scan;

use super::jobs::{JobReply, Stepping};
use crate::error::Error;
use crate::integrity::Looked;
use crate::pipeline::Outcome;

/// One step of a scan.
pub(super) struct Scanning<'a>(pub(super) Stepping<'a>);

impl Scanning<'_> {
    /// What it finds comes into quarantine in the transaction that says how far the scan has come: a crash between two
    /// steps loses no finding and tells none twice.
    pub(super) async fn step(self, scan: Scan) -> Result<Outcome<JobReply>, Error> {
        let Self(stepping) = self;
        let (core, opened, job) = (stepping.core, &stepping.opened, stepping.job.id());
        let stage = scan.stage.name();
        let Looked { scan, ended, units, found } = core.look(opened, scan).await?;
        let fresh = core.put_in_quarantine(opened, &found, (Some(job), stepping.approved.now())).await?;
        let work = JobWork::Scan(scan.clone());
        let outcome = if ended { stepping.finishes(work)? } else { stepping.goes_on(work, units)? };
        let outcome = outcome.detail("stage", stage).detail("rows", scan.rows).detail("entries", scan.entries);
        Ok(outcome.detail("damaged", scan.damaged).quarantining(fresh))
    }
}
