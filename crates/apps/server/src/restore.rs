//! `keyreeve restore`: a backup into a data directory that has nothing yet, without a server.

use keyreeve_archive::Archive;
use keyreeve_engine::{Code, Engine, RestoreOptions, RestoreSource, RestoredReply, SealStatus};
use keyreeve_model::{Name, UnixMillis};
use keyreeve_secret::SecretString;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
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

/// What became of the last share that was given.
#[derive(Debug)]
pub enum Taken {
    /// None was given yet.
    None,
    /// It counts, for this root of trust, which stands so now.
    Counts(Name, SealStatus),
    /// It is of this root of trust, which is open already: it was not needed.
    NotNeeded(String),
    /// It was refused.
    Refused(String),
}

/// Restores a backup. `found` hears which one it is; `share` is asked for shares while roots of trust want any: it is
/// told which ones, and what became of the last share.
///
/// # Errors
/// [`ServerError`] says what is wrong and what to do; the store is as empty as before.
pub fn restore(
    restore: &Restore<'_>,
    found: impl FnOnce(&FoundBackup),
    share: impl FnMut(&[(Name, SealStatus)], Taken) -> Result<SecretString, ServerError>,
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
    share: impl FnMut(&[(Name, SealStatus)], Taken) -> Result<SecretString, ServerError>,
) -> Result<RestoredReply, ServerError> {
    let failed = |error: keyreeve_engine::Error| ServerError::Refused(error.to_string());
    let destination = config.backup.as_ref().and_then(|backup| backup.destinations.get(&restore.from));
    let destination = destination.ok_or_else(|| {
        let text = format!("the configuration has no `[backup.destinations.{}]`", restore.from);
        ServerError::Refused(text)
    })?;
    let source: Arc<dyn Archive> = open_destination(config, &restore.from, destination)?;
    files::private_directory(&config.data_dir).map_err(|trouble| ServerError::part("data directory", trouble))?;
    clear_half_done(config)?;
    let empty = Places::of(config).empty();
    let parts: Parts = assemble(config, Mode::Production).await?;
    let engine = &parts.engine;
    let chosen = engine.begin_restore(&*source, &restore.options).await.map_err(failed)?;
    found(&FoundBackup { sequence: chosen.sequence(), made: chosen.made() });
    open_by_people(engine, &chosen, share).await?;
    let marker = config.data_dir.join(MARKER);
    let begun = serde_json::to_vec(&Begun { v: 1, places: Places::of(config).found(), empty: empty.found() });
    let begun = begun.map_err(|error| ServerError::part("data directory", error))?;
    files::write_private(&marker, &begun).map_err(|trouble| ServerError::part("data directory", trouble))?;
    let restored = engine.restore(&*source, &chosen, &restore.options).await;
    engine.stop().await;
    let restored = restored.map_err(failed)?;
    std::fs::remove_file(&marker).map_err(|error| ServerError::part("data directory", error))?;
    Ok(restored)
}

/// Asks for shares until the roots of trust that a backup needs are open.
pub(crate) async fn open_by_people(
    engine: &Engine,
    chosen: &RestoreSource,
    mut share: impl FnMut(&[(Name, SealStatus)], Taken) -> Result<SecretString, ServerError>,
) -> Result<(), ServerError> {
    let mut taken = Taken::None;
    while engine.restore_status() != SealStatus::Open {
        let waiting = engine.restore_waiting(chosen);
        if waiting.is_empty() {
            let text = "the root of trust of this backup does not open: is its device there, and is it in `[root]`?";
            return Err(ServerError::Refused(text.to_owned()));
        }
        let given = share(&waiting, taken)?;
        taken = match engine.restore_unseal(&given).await {
            Ok((name, status)) => Taken::Counts(name, status),
            Err(error) if error.code() == Code::WrongState => Taken::NotNeeded(error.public().to_owned()),
            Err(error) => Taken::Refused(error.public().to_owned()),
        };
    }
    Ok(())
}

/// Refuses to start over half a restore.
pub(crate) fn refuse_half_done(config: &Config) -> Result<(), ServerError> {
    if config.data_dir.join(MARKER).exists() {
        let text = "a restore was begun here and not finished: run `keyreeve restore` again, then start";
        return Err(ServerError::Refused(text.to_owned()));
    }
    Ok(())
}

/// Where a restore writes, besides a database on another machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    /// The audit log and the epoch vault.
    directories: Vec<PathBuf>,
    /// The database.
    file: Option<PathBuf>,
}

/// What the marker says: a restore that is tried again removes only what was not there before the first try.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    v: u32,
    places: Places,
    /// Those that had nothing in them.
    empty: Places,
}

impl Places {
    fn of(config: &Config) -> Self {
        let file = match &config.store {
            crate::config::StoreConfig::Sqlite { path } => Some(config.sqlite_path(path.as_deref())),
            crate::config::StoreConfig::Postgres { .. } => None,
        };
        Self { directories: vec![config.audit_dir(), config.epochs_dir()], file }
    }

    fn empty(self) -> Self {
        let is_empty = |path: &PathBuf| !path.exists() || path.read_dir().is_ok_and(|mut some| some.next().is_none());
        let Self { directories, file } = self;
        Self {
            directories: directories.into_iter().filter(is_empty).collect(),
            file: file.filter(|file| files_of(file).iter().all(|file| !file.exists())),
        }
    }

    /// Without links, so that the same name leads to the same place.
    fn found(self) -> Self {
        let found = |path: PathBuf| path.canonicalize().or_else(|_| std::path::absolute(&path)).unwrap_or(path);
        let Self { directories, file } = self;
        Self { directories: directories.into_iter().map(found).collect(), file: file.map(found) }
    }

    fn clear(&self) -> std::io::Result<()> {
        for directory in self.directories.iter().filter(|directory| directory.exists()) {
            empty(directory)?;
        }
        for file in self.file.iter().flat_map(|file| files_of(file)).filter(|file| file.exists()) {
            std::fs::remove_file(file)?;
        }
        Ok(())
    }
}

/// A SQLite database with what lies beside it.
fn files_of(database: &Path) -> [PathBuf; 3] {
    let beside = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    [database.to_owned(), beside("-wal"), beside("-shm")]
}

/// Removes what a restore wrote that did not come to its end, and nothing else: what had nothing in it then, where the
/// configuration still leads there.
fn clear_half_done(config: &Config) -> Result<(), ServerError> {
    let marker = config.data_dir.join(MARKER);
    if !marker.exists() {
        return Ok(());
    }
    let part = |error: std::io::Error| ServerError::part("data directory", error);
    let begun = serde_json::from_slice::<Begun>(&std::fs::read(&marker).map_err(part)?).ok();
    let same = begun.filter(|begun| begun.v == 1 && begun.places == Places::of(config).found());
    let Some(begun) = same else {
        let text = format!(
            "a restore into other places than the configuration names now was begun here and not finished: remove by \
             hand what it wrote, and `{}`, then try again",
            marker.display()
        );
        return Err(ServerError::Refused(text));
    };
    begun.empty.clear().map_err(part)?;
    tracing::info!("removed what an earlier restore had begun");
    std::fs::remove_file(&marker).map_err(part)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_empty_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let (old, new, file) = (home.path().join("old"), home.path().join("new"), home.path().join("keyreeve.db"));
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("epoch"), "a vault of another server").unwrap();
        std::fs::write(home.path().join("root.tpm"), "not a database").unwrap();
        let places = Places { directories: vec![old.clone(), new.clone()], file: Some(file.clone()) };
        let empty = places.empty().found();
        std::fs::create_dir(&new).unwrap();
        for path in files_of(&file).into_iter().chain([new.join("half")]) {
            std::fs::write(path, "half").unwrap();
        }
        empty.clear().unwrap();
        assert!(old.join("epoch").exists() && home.path().join("root.tpm").exists());
        assert!(!new.join("half").exists() && files_of(&file).iter().all(|file| !file.exists()));
    }
}
