//! Servers as they run in production: a configuration file, a root in shares, listeners and people kept apart,
//! PostgreSQL.
#![allow(clippy::unwrap_used)]

mod anchors;
mod canaries;
mod ceremony;
mod configuration;
mod connections;
mod damage;
mod disk_image;
mod drills;
mod ending;
mod holders;
mod inventory;
mod listeners;
mod process;
mod records;
mod restore;
mod roles;
mod softhsm;
mod stores;
mod swtpm;
mod transit;
