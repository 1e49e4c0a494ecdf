//! `[drills]`: when the server rehearses a restore by itself, and when people are reminded to rehearse.

use keyreeve_model::drill::DrillPlan;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;

const HOUR: u64 = 3600;
/// Sample ciphertexts (count).
const SAMPLES_MAX: usize = 64;

/// Drills.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrillsConfig {
    /// How often the server restores its newest backup into a scratch instance (hours); 0 for only when somebody asks.
    pub restore_hours: u64,
    /// Within how many days people rehearse each runbook; 0 where nobody is to be reminded.
    pub people_days: u64,
    /// The directory in which the scratch instance is made, as `keyreeve-drill`, and removed; the data directory where
    /// nothing else is said. It needs as much room as store and audit log together.
    pub dir: Option<PathBuf>,
    /// Files with one ciphertext each, as `keyreeve encrypt` writes them with `--small` and without context: every
    /// drill opens them with the keys that came back.
    pub samples: Vec<PathBuf>,
}

impl Default for DrillsConfig {
    fn default() -> Self {
        Self { restore_hours: 7 * 24, people_days: 365, dir: None, samples: Vec::new() }
    }
}

impl DrillsConfig {
    pub(crate) fn resolve(&mut self, base: &Path) {
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        self.dir.iter_mut().chain(&mut self.samples).for_each(absolute);
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.samples.len() > SAMPLES_MAX {
            let problem = format!("{} samples", self.samples.len());
            return Err(Fault::new("drills.samples", problem, format!("name at most {SAMPLES_MAX}")));
        }
        Ok(())
    }

    /// When drills are wanted.
    pub(crate) fn plan(&self) -> DrillPlan {
        let time = |count: u64, seconds: u64| (count > 0).then(|| Duration::from_secs(count.saturating_mul(seconds)));
        DrillPlan { restore_every: time(self.restore_hours, HOUR), rehearse_within: time(self.people_days, 24 * HOUR) }
    }
}
