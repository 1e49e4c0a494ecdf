//! Key ceremonies on record.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Puts the outcome of a key ceremony into the audit log. The transcript stays with those who took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordCeremony {
    /// The name of the script that was followed.
    pub ceremony: String,
    /// The SHA-256 of the script, in hexadecimal.
    pub script_sha256: String,
    /// The SHA-256 of the whole transcript, in hexadecimal.
    pub transcript_sha256: String,
    /// How it ended.
    pub outcome: CeremonyOutcome,
    /// Who took part, as `name (organisation)`; at most 64.
    pub participants: Vec<String>,
    /// How many deviations from the script there were (count).
    #[serde(default)]
    pub deviations: u32,
}

/// How a key ceremony ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CeremonyOutcome {
    /// Every step was done, or skipped for a reason that was accepted.
    Completed,
    /// It was broken off.
    Aborted,
    /// It was a rehearsal.
    Rehearsed,
}
