//! Damage: scans for it, and what is in quarantine because of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// How things stand with damage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Integrity {
    /// Places in quarantine (count).
    pub quarantined: u64,
    /// The newest scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Scan>,
    /// The newest scan that came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Scan>,
    /// How often the server begins one by itself (seconds); none where only people do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<u64>,
    /// When the server begins the next one, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// A scan, and what it has looked at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Scan {
    /// Its job: `job_…`.
    pub job: String,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What it looks at now, or looked at last: `keyrings`, `keys`, `destructions`, `tokens`, `principals`, `policies`,
    /// `filed`, `epochs`, `log`.
    pub stage: String,
    /// Rows (count).
    pub rows: u64,
    /// Versions of keys whose material opened (count).
    pub materials: u64,
    /// Versions of keys whose material could not be tried: their keyring is in quarantine, or its root of trust did not
    /// answer (count).
    pub untried: u64,
    /// Entries of the audit log (count).
    pub entries: u64,
    /// Places that are damaged (count).
    pub damaged: u64,
}

/// Begins a scan.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginScan {
    /// Rows and entries in a second at most; 0 for as fast as it goes.
    #[serde(default)]
    pub pace: u32,
    /// Why: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Something in quarantine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Quarantine {
    /// What: its kind and its name there, for example `keys/key_…`, `principals/alice`, `log/256/512`.
    pub place: String,
    /// What is wrong with it: `altered`, `unreadable`, `columns`, `missing`, `closed`, `no-epoch`, `unexpected`,
    /// `older`, `broken`.
    pub why: String,
    /// The same, for people.
    pub explained: String,
    /// Whether it is kept from use. Where only columns that help to find it are wrong, it is not.
    pub blocks: bool,
    /// When it was found.
    pub found: Timestamp,
    /// The scan that found it; none where it was met in other work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// That it came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<ReleasedQuarantine>,
    /// What is wrong with it now, or `sound`; only where one is shown by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// What can be done about it; only where one is shown by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// That something came out of quarantine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleasedQuarantine {
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// How: `sound`, `discarded`, `rewritten`.
    pub how: String,
    /// Why.
    pub reason: String,
}

/// Takes something out of quarantine.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseQuarantine {
    /// What, as listings name it.
    pub place: String,
    /// If it is damaged still, its row is removed.
    #[serde(default)]
    pub discard: bool,
    /// Why, and how it was made sure that it is right: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}
