//! `[integrity]`: how often everything that is stored is looked through for damage.

use serde::Deserialize;
use std::time::Duration;

/// Scans for damage.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegrityConfig {
    /// How often one begins (hours); 0 for only when somebody asks.
    pub every_hours: u64,
    /// Rows and entries of the log that it looks at in a second at most; 0 for as fast as it goes.
    pub pace: u32,
}

impl Default for IntegrityConfig {
    /// Every day; a million rows in a few minutes, beside everything else.
    fn default() -> Self {
        Self { every_hours: 24, pace: 5000 }
    }
}

impl IntegrityConfig {
    /// How often one begins.
    pub(crate) fn every(&self) -> Option<Duration> {
        (self.every_hours > 0).then(|| Duration::from_secs(self.every_hours.saturating_mul(3600)))
    }
}
