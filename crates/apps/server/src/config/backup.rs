//! `[backup]`: where backups go, when they are made, and how many are kept.

use keyreeve_backup::Keep;
use keyreeve_model::Name;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;

/// Destinations of one server (count).
const DESTINATIONS_MAX: usize = 8;
const HOUR: u64 = 3600;

/// Backups.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupConfig {
    /// Where backups go, by name.
    pub destinations: BTreeMap<Name, DestinationConfig>,
    /// The server's own copy of the ledgers, and what is on its way; `backup` in the data directory where nothing else
    /// is said.
    pub dir: Option<PathBuf>,
    /// How often one is made (hours); 0 for only when somebody asks.
    #[serde(default = "daily")]
    pub every_hours: u64,
    /// How often the newest is read again and checked (hours); 0 for only when somebody asks.
    #[serde(default = "weekly")]
    pub verify_hours: u64,
    /// How many are kept.
    #[serde(default)]
    pub keep: Keep,
}

const fn daily() -> u64 {
    24
}

const fn weekly() -> u64 {
    7 * 24
}

/// A destination: its kind, and what that kind needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DestinationConfig {
    /// A directory, on a disk of its own or from a file server.
    Directory {
        /// The directory.
        path: PathBuf,
    },
}

impl BackupConfig {
    pub(crate) fn resolve(&mut self, base: &Path) {
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        self.dir.iter_mut().for_each(absolute);
        for destination in self.destinations.values_mut() {
            match destination {
                DestinationConfig::Directory { path } => absolute(path),
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.destinations.is_empty() || self.destinations.len() > DESTINATIONS_MAX {
            let problem = format!("{} destinations", self.destinations.len());
            return Err(Fault::new("backup.destinations", problem, format!("name 1 to {DESTINATIONS_MAX}")));
        }
        let mut places: Vec<&PathBuf> = self.destinations.values().map(DestinationConfig::path).collect();
        places.sort();
        if places.windows(2).any(|pair| pair[0] == pair[1]) {
            let problem = "two destinations are one directory";
            return Err(Fault::new("backup.destinations", problem, "give each a directory of its own"));
        }
        Ok(())
    }

    /// How often one is made.
    pub(crate) fn every(&self) -> Option<Duration> {
        hours(self.every_hours)
    }

    /// How often the newest is checked.
    pub(crate) fn verify_every(&self) -> Option<Duration> {
        hours(self.verify_hours)
    }
}

impl DestinationConfig {
    /// Its directory.
    pub(crate) const fn path(&self) -> &PathBuf {
        match self {
            Self::Directory { path } => path,
        }
    }
}

fn hours(count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(count.saturating_mul(HOUR)))
}
