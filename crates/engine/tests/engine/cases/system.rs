//! The server itself, its audit log, and what everybody may ask.

use keyreeve_engine::ops::{anchors, audit, ceremonies, derivation, keys, requests, system};
use keyreeve_secret::SecretString;

use super::{Case, LOG, SERVER};

cases! {
    "system.health" => |stage, who| stage.run(who, "", system::Health).await;
    "system.status" => |stage, who| stage.run(who, "", system::Status).await;
    "system.metrics" => |stage, who| stage.run(who, "", system::Metrics).await;
    "request.refuse" => |stage, who| {
        stage.run(who, SERVER, requests::Refuse::one("unknown-route", requests::Seen::default())).await
    };
    "system.init" => |stage, who| {
        stage.run(who, SERVER, system::Init { shares: 0, threshold: 0, holders: Vec::new() }).await
    };
    "system.unseal" => |stage, who| {
        stage.run(who, SERVER, system::Unseal { share: SecretString::copy_from("share") }).await
    };
    "system.seal" => |stage, who| stage.run(who, SERVER, system::Seal).await;
    "system.info" => |stage, who| stage.run(who, SERVER, anchors::Info).await;
    "system.accept-rollback" => |stage, who| {
        stage.run(who, SERVER, anchors::AcceptRollback { reason: "because".parse().unwrap() }).await
    };
    "ceremony.record" => |stage, who| {
        let (script_sha256, transcript_sha256) = ("0".repeat(64), "f".repeat(64));
        let record = ceremonies::Record {
            ceremony: "destruction".parse().unwrap(),
            script_sha256,
            transcript_sha256,
            outcome: ceremonies::CeremonyOutcome::Completed,
            participants: vec!["Alice Baker (Acme)".parse().unwrap()],
            deviations: 0,
        };
        stage.run(who, SERVER, record).await
    };
    "random.generate" => |stage, who| stage.run(who, SERVER, derivation::GenerateRandom { bytes: 32 }).await;
    "algorithm.list" => |stage, who| stage.run(who, SERVER, keys::ListAlgorithms).await;
    "audit.search" => |stage, who| {
        let query = audit::AuditQuery::default();
        let search = audit::Search { query, from: None, until: None, before: None, limit: 5 };
        stage.run(who, LOG, search).await
    };
    "audit.prove" => |stage, who| {
        // Of one's own record, which everybody may prove.
        let own = stage.run(who, SERVER, derivation::GenerateRandom { bytes: 1 }).await;
        stage.run(who, LOG, audit::Prove { record: own.record.unwrap() }).await
    };
    "audit.read" => |stage, who| stage.run(who, LOG, audit::Read { file: audit::LogFile::Checkpoint }).await;
}
