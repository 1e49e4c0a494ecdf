//! Roots of trust, and moving what is under them.

use keyreeve_engine::ops::{rekey, roots};
use keyreeve_model::RootUse;

use super::{Case, reason};
use crate::support::name;

cases! {
    "root.list" => |stage, who| stage.run(who, "", roots::List).await;
    "root.join" => |stage, who| {
        // Joined or not, the configuration names no such root.
        let holders = Vec::new();
        stage.run(who, "", roots::Join { name: name("none"), shares: 0, threshold: 0, holders, reason: reason() }).await
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
}
