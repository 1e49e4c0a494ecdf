//! Backups and drills, in a house that has no place for them: the tests of backups have one.

use keyreeve_engine::ops::{backups, drills};
use keyreeve_model::drill::DrillKind;

use super::{Case, SERVER, reason};
use crate::support::name;

cases! {
    "backup.create" => |stage, who| stage.run(who, SERVER, backups::Create).await;
    "backup.list" => |stage, who| stage.run(who, SERVER, backups::List).await;
    "backup.verify" => |stage, who| {
        stage.run(who, SERVER, backups::Verify { sequence: 1, destination: name("disk") }).await
    };
    "backup.acknowledge" => |stage, who| stage.run(who, SERVER, backups::Acknowledge { reason: reason() }).await;
    "drill.restore" => |stage, who| stage.run(who, SERVER, drills::Restore).await;
    "drill.record" => |stage, who| {
        let record = drills::Record {
            kind: DrillKind::ShareHolder,
            passed: true,
            took_ms: 84_000,
            lost_ms: None,
            backup: None,
            destination: None,
            steps: Vec::new(),
            trouble: None,
        };
        stage.run(who, SERVER, record).await
    };
    "drill.list" => |stage, who| stage.run(who, SERVER, drills::List).await;
}
