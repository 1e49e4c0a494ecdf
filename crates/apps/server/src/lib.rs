//! The server: puts engine, drivers and protocols together, from a configuration file or in development mode.
//!
//! Composition only: what the parts do stands in their own crates. [`serve`] and [`dev()`] run until a signal ends
//! them; [`Running`] is the same for programs that start and end a server themselves.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod dev;
pub mod tpm;

mod assemble;
mod clouds;
mod drill;
mod error;
mod evidence;
mod examine;
mod files;
mod harden;
mod health;
mod lease;
mod listeners;
mod logging;
mod machine;
mod metrics;
mod moves;
mod restore;
mod root_check;
mod running;
mod service;

use std::path::Path;

pub use config::{Config, ConfigError};
pub use dev::{DevOptions, DevReady, dev};
pub use drill::{RehearsedRestore, RestoreDrill, drill_restore};
pub use error::ServerError;
pub use examine::Checked;
pub use keyreeve_engine::{Clock, RestoreOptions, RestoredReply, SealStatus};
pub use machine::SystemClock;
pub use restore::{FoundBackup, Restore, Taken, restore};
pub use root_check::{RootCheck, RootDevice, RootOffer, root_check};
use running::Signals;
pub use running::{Addresses, Mode, Running};

/// Runs the server that `path` describes until SIGTERM or SIGINT; SIGHUP reads certificates anew. Makes its own tokio
/// runtime, so it must not be called from within one.
///
/// # Errors
/// [`ServerError`] says what is wrong and what to do.
pub fn serve(path: &Path) -> Result<(), ServerError> {
    // Loading reads passwords and private keys, so nobody may look into this process by then.
    let remarks = harden::apply();
    let config = Config::load(path)?;
    logging::start(&config.log)?;
    for remark in remarks.into_iter().chain(examine::certificate_warnings(&config, SystemClock::new().now())) {
        tracing::warn!(remark);
    }
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        match signals.unless_ended(Running::start(config, Mode::Production)).await? {
            Some(running) => running.until_signalled(signals).await,
            None => Ok(()),
        }
    })
}

/// Reads and checks a configuration with every file it names, and changes nothing. Returns what was looked at, and what
/// is no error.
///
/// # Errors
/// [`ConfigError`] names file and field, and says what to do.
pub fn check(path: &Path) -> Result<Checked, ConfigError> {
    // What could not be done is left out: it tells of this shell, not of the service.
    let _ = harden::apply();
    examine::examine(&Config::load(path)?, path, SystemClock::new().now())
}

/// The hidden command that holds the library of a hardware security module: the server starts itself again with it.
pub const PKCS11_WORKER: &str = "pkcs11-worker";

/// Runs as [`PKCS11_WORKER`], until the server that started it ends.
///
/// # Errors
/// When the other end is gone or talks nonsense.
pub fn pkcs11_worker() -> Result<(), ServerError> {
    keyreeve_root_pkcs11::worker::run().map_err(|error| ServerError::part("PKCS #11 worker", error))
}

fn runtime() -> Result<tokio::runtime::Runtime, ServerError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| ServerError::Refused(format!("no threads could be started: {error}")))
}
