//! Backups.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::backups::{Acknowledge, Create, List, Verify};
use keyreeve_http::Problem;
use keyreeve_model::backup::BackupRecord;
use keyreeve_wire::backups::{
    AcknowledgeRestore, Backup, BackupDestination, Backups, PendingCut, PlacedBackup, RestoredFrom, VerifyBackup,
};
use keyreeve_wire::jobs::Job;

use super::jobs::job;
use crate::answer;
use crate::call::{Json, Plain};
use crate::convert::{field, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/backups", Admin, BACKUP_LIST, list).gives::<Backups>(),
    route!(Post "/backups", Admin, BACKUP_CREATE, create)
        .gives::<Job>()
        .note("Answers with the job that makes it and brings it to every destination; `GET /jobs/{id}` tells how far."),
    route!(Post "/backups/verify", Admin, BACKUP_VERIFY, verify)
        .takes::<VerifyBackup>(r#"{"sequence":7,"destination":"vault"}"#)
        .gives::<Job>()
        .note("Answers with the job that reads it; once that is done, its `found` says what the backup is."),
    route!(Post "/backups/acknowledge", Admin, BACKUP_ACKNOWLEDGE, acknowledge)
        .takes::<AcknowledgeRestore>(r#"{"reason":"went through what changed since"}"#),
];

fn backup(record: &BackupRecord) -> Backup {
    let placed = record.destinations.iter().map(|(at, placed)| PlacedBackup {
        destination: at.to_string(),
        stored: placed.stored.map(timestamp),
        verified: placed.verified.map(timestamp),
        removed: placed.removed.map(timestamp),
        trouble: placed.trouble.clone(),
        place: placed.place.clone(),
    });
    Backup {
        sequence: record.sequence,
        created: timestamp(record.created),
        key_version: record.key,
        size: record.size,
        rows: record.rows,
        materials: record.materials,
        unopened: record.unopened,
        log_size: record.log_size,
        log_root: record.log_root.clone(),
        destinations: placed.collect(),
    }
}

async fn list(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, List).await?;
    let destinations = done.reply.destinations.into_iter().map(|(name, kind, place)| BackupDestination {
        name: name.to_string(),
        kind: kind.to_owned(),
        place,
    });
    let cuts = done.reply.cuts.iter().map(|cut| PendingCut {
        key: cut.key.to_string(),
        destroyed: timestamp(cut.destroyed),
        destinations: cut.names().iter().map(ToString::to_string).collect(),
    });
    let restored = done.reply.restored.as_ref().map(|restored| RestoredFrom {
        sequence: restored.sequence,
        made: timestamp(restored.made),
        restored: timestamp(restored.at),
        log_size: restored.log_size,
        kept_destroyed: restored.kept_destroyed,
        unasked: restored.unasked.iter().map(ToString::to_string).collect(),
        acknowledged: restored.acknowledged.as_ref().map(ToString::to_string),
    });
    let reply = Backups {
        items: done.reply.backups.iter().map(backup).collect(),
        destinations: destinations.collect(),
        pending_cuts: cuts.collect(),
        restored,
    };
    answer::json(done.record, &reply)
}

async fn create(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Create).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn verify(State(engine): State<Engine>, call: Json<VerifyBackup>) -> Result<Response, Problem> {
    let operation = Verify { sequence: call.body.sequence, destination: field("destination", &call.body.destination)? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn acknowledge(State(engine): State<Engine>, call: Json<AcknowledgeRestore>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Acknowledge { reason: field("reason", &call.body.reason)? }).await?;
    Ok(answer::nothing(done.record))
}
