//! Roots of trust of the deployment, and long work.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::jobs::{self, JobReply};
use keyreeve_engine::ops::rekey;
use keyreeve_engine::ops::roots::{Join, List, Retire, RootReply};
use keyreeve_engine::{Engine, KeyringRef};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{JobState, JobWork, RekeyScope};
use keyreeve_wire::SecretText;
use keyreeve_wire::roots::{CancelJob, Job, JoinRoot, JoinedRoot, MigrateRoots, RetireRoot, Root, Roots, RotateKek};

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, field, named, optional, root_use, root_use_from, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/roots", Admin, ROOT_LIST, list).gives::<Roots>(),
    route!(Post "/roots", Admin, ROOT_JOIN, join)
        .takes::<JoinRoot>(r#"{"name":"hsm","reason":"the new device"}"#)
        .gives::<JoinedRoot>()
        .note("Shares, where there are any, are shown this once."),
    route!(Post "/roots/{root}/retire", Admin, ROOT_RETIRE, retire)
        .takes::<RetireRoot>(r#"{"reason":"everything moved to the new device"}"#),
    route!(Post "/roots/migrate", Admin, ROOT_MIGRATE, migrate)
        .takes::<MigrateRoots>(r#"{"from":"main","to":{"roots":["hsm"]},"reason":"the new device"}"#)
        .gives::<Job>(),
    route!(Post "/keyrings/{keyring}/rotate-kek", Admin, KEYRING_ROTATE_KEK, rotate_kek)
        .takes::<RotateKek>(r#"{"reason":"its time is over"}"#)
        .gives::<Job>(),
    route!(Get "/jobs", Admin, JOB_LIST, list_jobs).query(Filter::PARAMS).lists::<Job>(),
    route!(Get "/jobs/{id}", Admin, JOB_DESCRIBE, describe_job).gives::<Job>(),
    route!(Post "/jobs/{id}/cancel", Admin, JOB_CANCEL, cancel_job)
        .takes::<CancelJob>(r#"{"reason":"another time"}"#)
        .gives::<Job>(),
];

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<bool>("ended", "`true` for those that ended as well."), AFTER, LIMIT];
}

fn root(reply: &RootReply) -> Result<Root, Problem> {
    Ok(Root {
        name: reply.name.to_string(),
        kind: reply.kind.clone(),
        custody: reply.custody.map(|custody| named(custody.name())).transpose()?,
        status: reply.status.as_ref().map(convert::root),
        joined: reply.joined.map(timestamp),
        keyrings: reply.keyrings,
        own_secret: reply.own_secret,
    })
}

fn job(JobReply(job): &JobReply) -> Result<Job, Problem> {
    let JobWork::Rekey(rekey) = job.work();
    let scope = match &rekey.scope {
        RekeyScope::Keyring(keyring) => keyring.to_string(),
        RekeyScope::Root(root) => format!("root {root}"),
        RekeyScope::Everything => "everything".to_owned(),
    };
    let ((done, total), trouble) = (job.progress(), job.trouble());
    Ok(Job {
        id: job.id().to_string(),
        work: job.work().name().to_owned(),
        scope,
        to: rekey.to.as_ref().map(root_use).transpose()?,
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
    })
}

async fn list(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, List).await?;
    let roots = done.reply.0.iter().map(root).collect::<Result<_, _>>()?;
    answer::json(done.record, &Roots { roots })
}

async fn join(State(engine): State<Engine>, call: Json<JoinRoot>) -> Result<Response, Problem> {
    let JoinRoot { name, shares, threshold, reason } = &call.body;
    let (name, reason) = (field("name", name)?, field("reason", reason)?);
    let join = Join { name, shares: *shares, threshold: *threshold, reason };
    let done = engine.call(call.arrival, join).await?;
    let shares = done.reply.shares.into_iter().map(SecretText).collect();
    answer::secret_json(done.record, &JoinedRoot { kind: done.reply.kind.to_owned(), shares })
}

async fn retire(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<RetireRoot>,
) -> Result<Response, Problem> {
    let retire = Retire { name: root, reason: field("reason", &call.body.reason)? };
    Ok(answer::nothing(engine.call(call.arrival, retire).await?.record))
}

async fn migrate(State(engine): State<Engine>, call: Json<MigrateRoots>) -> Result<Response, Problem> {
    let body = &call.body;
    let migrate = rekey::MigrateRoots {
        from: optional("from", body.from.as_deref())?,
        to: root_use_from(&body.to)?,
        pace: body.pace,
        reason: field("reason", &body.reason)?,
    };
    let done = engine.call(call.arrival, migrate).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn rotate_kek(
    State(engine): State<Engine>,
    Named(keyring): Named<KeyringRef>,
    call: Json<RotateKek>,
) -> Result<Response, Problem> {
    let body = &call.body;
    let roots = body.roots.as_ref().map(root_use_from).transpose()?;
    let rotate = rekey::RotateKek { keyring, roots, pace: body.pace, reason: field("reason", &body.reason)? };
    let done = engine.call(call.arrival, rotate).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn list_jobs(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let ended = call.query.get("ended")?.unwrap_or(false);
    let operation = jobs::List { ended, after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| job(&row))?)
}

async fn describe_job(
    State(engine): State<Engine>,
    Named(id): Named<JobId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, jobs::Describe { job: id }).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn cancel_job(
    State(engine): State<Engine>,
    Named(id): Named<JobId>,
    call: Json<CancelJob>,
) -> Result<Response, Problem> {
    let cancel = jobs::Cancel { job: id, reason: field("reason", &call.body.reason)? };
    let done = engine.call(call.arrival, cancel).await?;
    answer::json(done.record, &job(&done.reply)?)
}
