//! Backups, in a house that has no place for them: the tests of backups have one.

use keyreeve_engine::ops::backups;

use super::{Case, SERVER, reason};
use crate::support::name;

cases! {
    "backup.create" => |stage, who| stage.run(who, SERVER, backups::Create).await;
    "backup.list" => |stage, who| stage.run(who, SERVER, backups::List).await;
    "backup.verify" => |stage, who| {
        stage.run(who, SERVER, backups::Verify { sequence: 1, destination: name("disk") }).await
    };
    "backup.acknowledge" => |stage, who| stage.run(who, SERVER, backups::Acknowledge { reason: reason() }).await;
}
