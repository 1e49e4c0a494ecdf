//! Backups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The backups that were made, and what there is to know of them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Backups {
    /// The backups, newest first.
    pub items: Vec<Backup>,
    /// The destinations that are configured.
    pub destinations: Vec<BackupDestination>,
    /// Destroyed keys whose entry is still in the ledger of a destination.
    pub pending_cuts: Vec<PendingCut>,
    /// That this server came out of a backup; missing where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<RestoredFrom>,
}

/// A backup.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Its number.
    pub sequence: u64,
    /// When it was begun.
    pub created: Timestamp,
    /// The version of the backup key.
    pub key_version: u32,
    /// Its size without the audit log (bytes).
    pub size: u64,
    /// Rows of the store (count).
    pub rows: u64,
    /// Versions of keys whose material is in it (count).
    pub materials: u64,
    /// Versions of keys whose material could not be opened and is not in it (count).
    pub unopened: u64,
    /// Entries of the audit log that it covers (count).
    pub log_size: u64,
    /// The root of the audit log at that size, in base64.
    pub log_root: String,
    /// How it stands at each destination.
    pub destinations: Vec<PlacedBackup>,
}

/// A backup at a destination.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlacedBackup {
    /// The destination.
    pub destination: String,
    /// Where the destination of that name led then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// When it was stored there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Timestamp>,
    /// When it was last read again and found whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Timestamp>,
    /// When retention removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
    /// Why it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A destination of backups; no secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BackupDestination {
    /// Its name.
    pub name: String,
    /// What it is: `directory`, `s3`, `command`.
    pub kind: String,
    /// Where it leads.
    pub place: String,
}

/// A destroyed key that destinations still have to be told of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PendingCut {
    /// The key.
    pub key: String,
    /// When it was destroyed.
    pub destroyed: Timestamp,
    /// The destinations whose ledger still has its entry.
    pub destinations: Vec<String>,
}

/// That a server came out of a backup.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RestoredFrom {
    /// The number of the backup.
    pub sequence: u64,
    /// When that was made.
    pub made: Timestamp,
    /// When it was restored.
    pub restored: Timestamp,
    /// Entries of the audit log that the backup covers: those behind came later (count).
    pub log_size: u64,
    /// Versions of keys that were destroyed after the backup and stayed so (count).
    pub kept_destroyed: u64,
    /// Destinations that could not be asked for newer ledgers: a key that was destroyed while the source of the restore
    /// was away may be back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<String>,
    /// Who took note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<String>,
}

/// Reads a backup again at a destination and checks everything about it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyBackup {
    /// The number of the backup.
    pub sequence: u64,
    /// The destination.
    pub destination: String,
}

/// What a backup was found to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifiedBackup {
    /// The number of the backup.
    pub sequence: u64,
    /// Rows of the store, each as it was sealed (count).
    pub rows: u64,
    /// Versions of keys whose material opens (count).
    pub materials: u64,
    /// Versions of keys that were destroyed since, which nobody opens (count).
    pub destroyed: u64,
    /// Entries of the audit log that it covers, found and as the checkpoint says (count).
    pub log_size: u64,
    /// Entries that came later (count).
    pub log_later: u64,
}

/// Takes note that the server came out of a backup.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRestore {
    /// What was done about it.
    pub reason: String,
}
