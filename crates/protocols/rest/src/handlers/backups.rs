//! Backups.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::backups::{Acknowledge, BackupReply, Create, List, Verify};
use keyreeve_http::Problem;
use keyreeve_model::backup::BackupRecord;
use keyreeve_wire::backups::{
    AcknowledgeRestore, Backup, BackupDestination, Backups, PendingCut, PlacedBackup, RestoredFrom, VerifiedBackup,
    VerifyBackup,
};

use crate::answer;
use crate::call::{Json, Plain};
use crate::convert::{field, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/backups", Admin, BACKUP_LIST, list).gives::<Backups>(),
    route!(Post "/backups", Admin, BACKUP_CREATE, create)
        .gives::<Backup>()
        .note("Answers when every destination was tried; where one could not take the backup, its `trouble` says why."),
    route!(Post "/backups/verify", Admin, BACKUP_VERIFY, verify)
        .takes::<VerifyBackup>(r#"{"sequence":7,"destination":"vault"}"#)
        .gives::<VerifiedBackup>(),
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
        destinations: cut.pending.iter().map(ToString::to_string).collect(),
    });
    let restored = done.reply.restored.as_ref().map(|restored| RestoredFrom {
        sequence: restored.sequence,
        made: timestamp(restored.made),
        restored: timestamp(restored.at),
        log_size: restored.log_size,
        kept_destroyed: restored.kept_destroyed,
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
    let BackupReply(record) = &done.reply;
    answer::json(done.record, &backup(record))
}

async fn verify(State(engine): State<Engine>, call: Json<VerifyBackup>) -> Result<Response, Problem> {
    let operation = Verify { sequence: call.body.sequence, destination: field("destination", &call.body.destination)? };
    let done = engine.call(call.arrival, operation).await?;
    let found = done.reply;
    let reply = VerifiedBackup {
        sequence: found.sequence,
        rows: found.rows,
        materials: found.materials,
        destroyed: found.destroyed,
        log_size: found.log_size,
        log_later: found.log_later,
    };
    answer::json(done.record, &reply)
}

async fn acknowledge(State(engine): State<Engine>, call: Json<AcknowledgeRestore>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Acknowledge { reason: field("reason", &call.body.reason)? }).await?;
    Ok(answer::nothing(done.record))
}
