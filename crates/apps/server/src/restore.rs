//! `keyreeve restore`: a backup into a data directory that has nothing yet, without a server.

use keyreeve_archive::Archive;
use keyreeve_engine::{RestoreOptions, RestoredReply, SealStatus};
use keyreeve_model::{Name, UnixMillis};
use keyreeve_secret::SecretString;
use std::path::Path;
use std::sync::Arc;

use crate::assemble::{Parts, assemble, open_destination};
use crate::config::Config;
use crate::error::ServerError;
use crate::files;
use crate::harden;
use crate::running::Mode;

/// A file in the data directory while a restore is under way: a server does not start over half of one.
const MARKER: &str = "restoring";

/// Which backup is restored, from where.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The configuration of the new server.
    pub config: &'a Path,
    /// The destination in it that has the backup.
    pub from: Name,
    /// Which backup, and what becomes of credentials.
    pub options: RestoreOptions,
}

/// A backup that was found.
#[derive(Debug)]
pub struct FoundBackup {
    /// Its number.
    pub sequence: u64,
    /// When it was made.
    pub made: UnixMillis,
}

/// Restores a backup. `found` hears which one it is; `share` is asked for shares while the root of trust wants any, and
/// told why the last one was refused.
///
/// # Errors
/// [`ServerError`] says what is wrong and what to do; the store is as empty as before.
pub fn restore(
    restore: &Restore<'_>,
    found: impl FnOnce(&FoundBackup),
    share: impl FnMut(&SealStatus, Option<String>) -> Result<SecretString, ServerError>,
) -> Result<RestoredReply, ServerError> {
    // As in `serve`: nobody may look into this process while the root of trust is open in it.
    let _ = harden::apply();
    let config = Config::load(restore.config)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| ServerError::part("runtime", error))?;
    runtime.block_on(run(&config, restore, found, share))
}

async fn run(
    config: &Config,
    restore: &Restore<'_>,
    found: impl FnOnce(&FoundBackup),
    mut share: impl FnMut(&SealStatus, Option<String>) -> Result<SecretString, ServerError>,
) -> Result<RestoredReply, ServerError> {
    let failed = |error: keyreeve_engine::Error| ServerError::Refused(error.to_string());
    let destination = config.backup.as_ref().and_then(|backup| backup.destinations.get(&restore.from));
    let destination = destination.ok_or_else(|| {
        let text = format!("the configuration has no `[backup.destinations.{}]`", restore.from);
        ServerError::Refused(text)
    })?;
    let source: Arc<dyn Archive> = open_destination(destination)?;
    files::private_directory(&config.data_dir).map_err(|trouble| ServerError::part("data directory", trouble))?;
    clear_half_done(config)?;
    let parts: Parts = assemble(config, Mode::Production).await?;
    let engine = &parts.engine;
    let chosen = engine.begin_restore(&*source, &restore.options).await.map_err(failed)?;
    found(&FoundBackup { sequence: chosen.sequence(), made: chosen.made() });
    let mut refused = None;
    while engine.restore_status() != SealStatus::Open {
        let status = engine.restore_status();
        if !status.needs_people() {
            let text = "the root of trust of this backup does not open: is its device there, and is it in `[root]`?";
            return Err(ServerError::Refused(text.to_owned()));
        }
        let given = share(&status, refused.take())?;
        refused = engine.restore_unseal(&chosen, &given).await.err().map(|error| error.to_string());
    }
    let marker = config.data_dir.join(MARKER);
    files::write_private(&marker, b"a restore is under way\n")
        .map_err(|trouble| ServerError::part("data directory", trouble))?;
    let restored = engine.restore(&*source, &chosen, &restore.options).await;
    engine.stop().await;
    let restored = restored.map_err(failed)?;
    std::fs::remove_file(&marker).map_err(|error| ServerError::part("data directory", error))?;
    Ok(restored)
}

/// Refuses to start over half a restore.
pub(crate) fn refuse_half_done(config: &Config) -> Result<(), ServerError> {
    if config.data_dir.join(MARKER).exists() {
        let text = "a restore was begun here and not finished: run `keyreeve restore` again, then start";
        return Err(ServerError::Refused(text.to_owned()));
    }
    Ok(())
}

/// Removes what a restore wrote that did not come to its end: the marker says that all of it was new.
fn clear_half_done(config: &Config) -> Result<(), ServerError> {
    let marker = config.data_dir.join(MARKER);
    if !marker.exists() {
        return Ok(());
    }
    let mut made = vec![config.audit_dir(), config.epochs_dir()];
    if let crate::config::StoreConfig::Sqlite { path } = &config.store {
        made.extend(config.sqlite_path(path.as_deref()).parent().map(Path::to_owned));
    }
    for directory in made.iter().filter(|directory| directory.exists()) {
        empty(directory).map_err(|error| ServerError::part("data directory", error))?;
    }
    tracing::info!("removed what an earlier restore had begun");
    std::fs::remove_file(&marker).map_err(|error| ServerError::part("data directory", error))
}

/// Removes everything inside of a directory, which may be a mount point.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}
