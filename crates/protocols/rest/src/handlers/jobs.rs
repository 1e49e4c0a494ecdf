//! Long work: looking at it and stopping it. What begins it is with the things that it works on.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::jobs::{self, JobReply};
use keyreeve_http::Problem;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{BackupWork, JobState, JobWork, RekeyScope};
use keyreeve_wire::backups::VerifiedBackup;
use keyreeve_wire::jobs::{CancelJob, Job};

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, field, named, root_use, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/jobs", Admin, JOB_LIST, list).query(Filter::PARAMS).lists::<Job>(),
    route!(Get "/jobs/{id}", Admin, JOB_DESCRIBE, describe).gives::<Job>(),
    route!(Post "/jobs/{id}/cancel", Admin, JOB_CANCEL, cancel)
        .takes::<CancelJob>(r#"{"reason":"another time"}"#)
        .gives::<Job>(),
];

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<bool>("ended", "`true` for those that ended as well."), AFTER, LIMIT];
}

fn scope(scope: &RekeyScope) -> String {
    match scope {
        RekeyScope::Keyring(keyring) => keyring.to_string(),
        RekeyScope::Root(root) => format!("root {root}"),
        RekeyScope::Everything => "everything".to_owned(),
    }
}

/// The backup that a job is about, and what that was found to be.
fn backup(work: &JobWork) -> (Option<u64>, Option<VerifiedBackup>) {
    match work {
        JobWork::Backup(BackupWork::Make { sequence }) => (*sequence, None),
        JobWork::Backup(BackupWork::Check { sequence, found, .. }) => {
            let found = found.map(|found| VerifiedBackup {
                sequence: *sequence,
                rows: found.rows,
                materials: found.materials,
                destroyed: found.destroyed,
                log_size: found.log_size,
                log_later: found.log_later,
            });
            (Some(*sequence), found)
        }
        JobWork::Rekey(_) | JobWork::Scan(_) => (None, None),
    }
}

/// A job as it is told.
pub(super) fn job(JobReply(job): &JobReply) -> Result<Job, Problem> {
    let (scope, to) = match job.work() {
        JobWork::Rekey(rekey) => (scope(&rekey.scope), rekey.to.as_ref()),
        JobWork::Backup(BackupWork::Make { .. }) => ("every destination".to_owned(), None),
        JobWork::Backup(BackupWork::Check { sequence, at, .. }) => (format!("backup {sequence} at {at}"), None),
        JobWork::Scan(scan) => (scan.stage.name().to_owned(), None),
    };
    let (backup, found) = backup(job.work());
    let ((done, total), trouble) = (job.progress(), job.trouble());
    Ok(Job {
        id: job.id().to_string(),
        work: job.work().name().to_owned(),
        scope,
        to: to.map(root_use).transpose()?,
        reason: job.reason().to_string(),
        begun: timestamp(job.begun()),
        by: job.by().to_string(),
        state: named(job.state().name())?,
        done,
        total,
        trouble: trouble.map(|(text, _)| text.to_owned()),
        failures: trouble.map_or(0, |(_, failures)| failures),
        next: (job.state() == JobState::Running).then(|| timestamp(job.next())),
        ended: job.ended().map(timestamp),
        backup,
        found,
    })
}

async fn list(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let ended = call.query.get("ended")?.unwrap_or(false);
    let operation = jobs::List { ended, after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| job(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(id): Named<JobId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, jobs::Describe { job: id }).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn cancel(
    State(engine): State<Engine>,
    Named(id): Named<JobId>,
    call: Json<CancelJob>,
) -> Result<Response, Problem> {
    let cancel = jobs::Cancel { job: id, reason: field("reason", &call.body.reason)? };
    let done = engine.call(call.arrival, cancel).await?;
    answer::json(done.record, &job(&done.reply)?)
}
