//! A scratch instance: an engine over places that are empty, private, and gone afterwards. It has no lease, tells
//! nobody, keeps no backups and listens nowhere.

use keyreeve_crypto::Random;
use keyreeve_engine::{
    Clock, DrillSource, Engine, Ports, Rehearsed, RestoreOptions, RestoreSource, Roots, ScratchVault, SealStatus,
};
use keyreeve_journal_file::{FileJournal, Options};
use keyreeve_login_ldap::LdapDirectory;
use keyreeve_login_oidc::HttpsProvider;
use keyreeve_model::drill::DrillStep;
use keyreeve_model::{Label, UnixMillis};
use keyreeve_store_sqlite::SqliteStore;
use keyreeve_wire::Ciphertext;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::assemble::settings;
use crate::config::Config;
use crate::error::ServerError;
use crate::files;
use crate::metrics::Operations;
use crate::running::Mode;

/// Longest file with a sample ciphertext (bytes).
const SAMPLE_MAX: usize = 256 * 1024;

/// What was done so far, each with its time.
#[derive(Debug)]
pub(crate) struct Steps {
    began: Instant,
    last: Instant,
    pub(crate) done: Vec<DrillStep>,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, done: Vec::new() }
    }

    /// What was done since the last one.
    pub(crate) fn add(&mut self, name: &str, passed: bool, found: &str) {
        let now = Instant::now();
        let took_ms = millis(now.duration_since(self.last));
        self.last = now;
        self.done.push(DrillStep { name: label(name), passed, found: label(found), took_ms });
    }

    pub(crate) fn took_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A text as a label: without control characters, cut to its length.
pub(crate) fn label(text: &str) -> Label {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while line.parse::<Label>().is_err() && line.pop().is_some() {}
    line.parse().unwrap_or_default()
}

/// Removes a place when it is no longer needed, also when a drill is dropped half-way.
pub(crate) struct Place(PathBuf);

impl Place {
    /// An empty private directory in the place of whatever is there.
    pub(crate) fn make(path: PathBuf) -> Result<Self, ServerError> {
        remove(&path)?;
        files::private_directory(&path).map_err(|trouble| ServerError::part("scratch instance", trouble))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, "what a drill wrote stays until the next one");
        }
    }
}

fn remove(path: &Path) -> Result<(), ServerError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ServerError::part("scratch instance", format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// An engine over an empty place.
pub(crate) async fn open(
    config: &Config,
    mode: Mode,
    place: &Place,
    (roots, random, clock): (Roots, Random, Arc<dyn Clock>),
) -> Result<Engine, ServerError> {
    let part = |error: &dyn std::fmt::Display| ServerError::part("scratch instance", error);
    let directory = |name: &str| -> Result<PathBuf, ServerError> {
        let path = place.path().join(name);
        files::private_directory(&path).map_err(|trouble| part(&trouble))?;
        Ok(path)
    };
    let (audit, store) = (directory("audit")?, directory("store")?);
    let time = Arc::clone(&clock);
    let journal = FileJournal::open(&audit, Options::new(Arc::new(move || time.now()))).await;
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&store.join("scratch.db"))).await;
    let store = opened.map_err(|error| part(&error))?.map_err(|error| part(&error))?;
    let ports = Ports {
        store: Arc::new(store),
        roots: Arc::new(roots),
        vault: Arc::new(ScratchVault::default()),
        journal: Arc::new(journal.map_err(|error| part(&error))?),
        clock,
        random: Arc::new(random),
        observer: Arc::new(Operations::new()),
        oidc: Arc::new(HttpsProvider::new()),
        directory: Arc::new(LdapDirectory::new()),
        notifiers: Vec::new(),
    };
    Engine::new(ports, settings(config, mode)?).map_err(|error| part(&error))
}

/// Chooses the backup in a scratch engine.
pub(crate) async fn choose(
    engine: &Engine,
    source: &dyn keyreeve_archive::Archive,
    sequence: Option<u64>,
) -> Result<RestoreSource, String> {
    let options = RestoreOptions { sequence, ..RestoreOptions::default() };
    engine.begin_restore(source, &options).await.map_err(|error| error.to_string())
}

/// Restores what was chosen, whose roots of trust are open, and looks at everything.
pub(crate) async fn rehearse(
    engine: &Engine,
    source: &dyn keyreeve_archive::Archive,
    chosen: &RestoreSource,
    samples: &[PathBuf],
    steps: &mut Steps,
) -> Result<Rehearsed, String> {
    if engine.restore_status() != SealStatus::Open {
        return Err("the root of trust of the backup is not open here".to_owned());
    }
    let samples = samples.iter().map(|path| sample(path)).collect::<Result<Vec<_>, _>>()?;
    let name = "restore it, look at every row, every key and the log";
    match engine.rehearse(source, chosen, &samples).await {
        Ok(found) => {
            let text = format!(
                "{} rows, {} key versions as their records name them, {} destroyed and kept so, {} log entries under \
                 the signed checkpoint and {} later",
                found.rows, found.materials, found.destroyed, found.log_size, found.log_later
            );
            steps.add(name, true, &text);
            let text = format!(
                "{} keys in {} keyrings did their work; {} sample ciphertexts were opened",
                found.tried, found.keyrings, found.samples
            );
            steps.add("use the keys that came back", true, &text);
            Ok(found)
        }
        Err(error) => {
            steps.add(name, false, &error.to_string());
            Err(error.to_string())
        }
    }
}

/// Compares with what was on record when the backup was made.
pub(crate) fn compare(source: &DrillSource, found: &Rehearsed, steps: &mut Steps) -> Result<(), String> {
    let name = "compare with what was written down when it was made";
    match source.compare(found) {
        Ok(()) => {
            steps.add(name, true, &format!("{} rows, log root {}", found.archived, found.log_root));
            Ok(())
        }
        Err(error) => {
            steps.add(name, false, &error.to_string());
            Err(error.to_string())
        }
    }
}

/// How much would have been lost: what came after the backup.
pub(crate) fn lost_ms(now: UnixMillis, made: UnixMillis) -> u64 {
    u64::try_from(now.since(made)).unwrap_or(0)
}

fn sample(path: &Path) -> Result<Vec<u8>, String> {
    let text = files::read_public(path).map_err(|trouble| format!("sample: {trouble}"))?;
    let wrong =
        || format!("{} has no ciphertext (`kr1.…`): make it with `keyreeve encrypt KEY --small`", path.display());
    if text.len() > SAMPLE_MAX {
        return Err(wrong());
    }
    let text = std::str::from_utf8(&text).map_err(|_| wrong())?;
    Ok(text.trim().parse::<Ciphertext>().map_err(|_| wrong())?.0)
}
