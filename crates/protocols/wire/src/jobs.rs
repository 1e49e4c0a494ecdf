//! Long work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::backups::VerifiedBackup;
use crate::names::JobState;
use crate::system::RootUse;

/// Long work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id: `job_…`.
    pub id: String,
    /// What it does: `rekey`, `backup`, `backup-check`, `scan`.
    pub work: String,
    /// On what: a keyring's id, `root NAME`, or `everything`; of backups `every destination`, or `backup NUMBER at
    /// DESTINATION`; of `scan`, what it looks at now.
    pub scope: String,
    /// The roots of trust that things come under, where they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RootUse>,
    /// Why.
    pub reason: String,
    /// When it began.
    pub begun: Timestamp,
    /// Who began it.
    pub by: String,
    /// Where it stands.
    pub state: JobState,
    /// Units that are done (count; of `rekey`, epochs; of `backup`, the copy and each destination; of `scan`, rows and
    /// entries of the audit log).
    pub done: u64,
    /// Units there are, as far as is known (count).
    pub total: u64,
    /// Why its last step failed; it is tried again while the job is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How many steps failed in a row (count).
    pub failures: u32,
    /// When its next step is due, while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The number of the backup that it makes or reads, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<u64>,
    /// What the backup was found to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<VerifiedBackup>,
}

/// Stops a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelJob {
    /// Why: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}
