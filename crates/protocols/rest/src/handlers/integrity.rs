//! Damage: scans for it, and what is in quarantine because of it.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::integrity::{Describe, List, QuarantineReply, Release, Scan as BeginsScan, Status};
use keyreeve_http::Problem;
use keyreeve_model as model;
use keyreeve_model::job::JobWork;
use keyreeve_model::quarantine::Place;
use keyreeve_wire::integrity::{BeginScan, Integrity, Quarantine, ReleaseQuarantine, ReleasedQuarantine, Scan};
use keyreeve_wire::jobs::Job;

use super::jobs::job;
use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Plain};
use crate::convert::{self, field, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/integrity", Admin, INTEGRITY_STATUS, status).gives::<Integrity>(),
    route!(Post "/integrity/scans", Admin, INTEGRITY_SCAN, scan)
        .takes::<BeginScan>(r#"{"pace":5000,"reason":"after the disk was replaced"}"#)
        .gives::<Job>(),
    route!(Get "/integrity/quarantines", Admin, INTEGRITY_LIST, list).query(Filter::PARAMS).lists::<Quarantine>(),
    route!(Get "/integrity/quarantine", Admin, INTEGRITY_DESCRIBE, describe)
        .query(Which::PARAMS)
        .gives::<Quarantine>()
        .note("It is looked at again: `now` says what is wrong with it at this moment."),
    route!(Post "/integrity/release", Admin, INTEGRITY_RELEASE, release)
        .takes::<ReleaseQuarantine>(r#"{"place":"principals/alice","reason":"put back from the copy of last night"}"#)
        .gives::<Quarantine>(),
];

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<bool>("released", "`true` for what was released as well."), AFTER, LIMIT];
}

struct Which;

impl Known for Which {
    const PARAMS: &'static [Param] = &[Param::text("place", "What, as listings name it, for example `keys/key_…`.")];
}

fn scanned(job: &model::job::Job) -> Option<Scan> {
    let JobWork::Scan(scan) = job.work() else { return None };
    Some(Scan {
        job: job.id().to_string(),
        begun: timestamp(job.begun()),
        ended: job.ended().map(timestamp),
        stage: scan.stage.name().to_owned(),
        rows: scan.rows,
        materials: scan.materials,
        untried: scan.untried,
        entries: scan.entries,
        damaged: scan.damaged,
    })
}

fn quarantine(found: &model::quarantine::Quarantine) -> Quarantine {
    let released = found.released.as_ref().map(|released| ReleasedQuarantine {
        at: timestamp(released.at),
        by: released.by.to_string(),
        how: released.how.name().to_owned(),
        reason: released.reason.to_string(),
    });
    Quarantine {
        place: found.place.to_string(),
        why: found.why.name().to_owned(),
        explained: found.why.text().to_owned(),
        blocks: found.why.blocks(),
        found: timestamp(found.found),
        job: found.by.map(|job| job.to_string()),
        released,
        now: None,
        advice: None,
    }
}

async fn status(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Status).await?;
    let reply = Integrity {
        quarantined: done.reply.quarantined as u64,
        newest: done.reply.newest.as_ref().and_then(scanned),
        finished: done.reply.finished.as_ref().and_then(scanned),
        every_seconds: done.reply.every.map(|every| every.as_secs()),
        next: done.reply.next.map(timestamp),
    };
    answer::json(done.record, &reply)
}

async fn scan(State(engine): State<Engine>, call: Json<BeginScan>) -> Result<Response, Problem> {
    let operation = BeginsScan { pace: call.body.pace, reason: field("reason", &call.body.reason)? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn list(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let released = call.query.get("released")?.unwrap_or(false);
    let operation = List { released, after: call.query.get::<Place>("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |QuarantineReply(found)| Ok(quarantine(&found)))?)
}

async fn describe(State(engine): State<Engine>, call: Asking<Which>) -> Result<Response, Problem> {
    let place = call.query.get::<String>("place")?.unwrap_or_default();
    let done = engine.call(call.arrival, Describe { place: field("place", &place)? }).await?;
    let now = done.reply.now.map_or("sound", |why| why.name());
    let reply = Quarantine {
        now: Some(now.to_owned()),
        advice: Some(done.reply.advice.to_owned()),
        ..quarantine(&done.reply.quarantine)
    };
    answer::json(done.record, &reply)
}

async fn release(State(engine): State<Engine>, call: Json<ReleaseQuarantine>) -> Result<Response, Problem> {
    let ReleaseQuarantine { place, discard, reason } = &call.body;
    let release = Release { place: field("place", place)?, discard: *discard, reason: field("reason", reason)? };
    let done = engine.call(call.arrival, release).await?;
    answer::json(done.record, &quarantine(&done.reply.0))
}
