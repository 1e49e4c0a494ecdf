//! Roots of trust, and the long work that moves what is under them.

use keyreeve_engine::ops::{jobs, rekey, roots};
use keyreeve_model::RootUse;
use keyreeve_model::ids::JobId;

use super::{Case, reason};
use crate::support::name;

/// None is there: who may not ask is refused before that is looked at.
const UNKNOWN: JobId = JobId::from_bytes([9; 16]);

cases! {
    "root.list" => |stage, who| stage.run(who, "", roots::List).await;
    "root.join" => |stage, who| {
        // Joined or not, the configuration names no such root.
        stage.run(who, "", roots::Join { name: name("none"), shares: 0, threshold: 0, reason: reason() }).await
    };
    "root.retire" => |stage, who| {
        stage.run(who, "", roots::Retire { name: name("none"), reason: reason() }).await
    };
    "root.migrate" => |stage, who| {
        let to = RootUse::one(name("none"));
        stage.run(who, "", rekey::MigrateRoots { from: None, to, pace: 0, reason: reason() }).await
    };
    "keyring.rotate-kek" => |stage, who| {
        let keyring = stage.fresh_keyring().await;
        let rotate = rekey::RotateKek { keyring: keyring.1, roots: None, pace: 0, reason: reason() };
        stage.run(who, keyring.0, rotate).await
    };
    "job.list" => |stage, who| stage.run(who, "", jobs::List { ended: true, after: None, limit: 10 }).await;
    "job.describe" => |stage, who| stage.run(who, "", jobs::Describe { job: UNKNOWN }).await;
    "job.cancel" => |stage, who| stage.run(who, "", jobs::Cancel { job: UNKNOWN, reason: reason() }).await;
}
