//! Backups: what is known of those that were made, and what still has to be done at their destinations (requirement
//! T8).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::filed::{FiledRecord, RowId};
use crate::ids::{KeyId, KeyringId};
use crate::imports::MaterialEnd;
use crate::metadata::Name;
use crate::record::Table;
use crate::roots::Wrapped;
use crate::time::UnixMillis;

/// Messages by which counters of keys jump ahead after a restore: what was protected since the backup was not counted
/// in it.
pub const COUNTERS_JUMP: u64 = 1 << 31;

/// A version of the key that encrypts backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyRecord {
    /// From 1; the highest encrypts.
    pub version: u32,
    /// When it was made.
    pub created: UnixMillis,
    /// The key, wrapped by roots of trust.
    pub wrapped: Wrapped,
}

impl FiledRecord for BackupKeyRecord {
    const TABLE: Table = Table::BackupKeys;

    fn row_id(&self) -> RowId {
        self.version.to_be_bytes().into()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// A backup at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Where the destination of this name led then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// When it was stored there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<UnixMillis>,
    /// When it was last read again and found whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<UnixMillis>,
    /// When retention removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<UnixMillis>,
    /// Why it is not there, or what was found wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRecord {
    /// Its number, from 1; numbers only go up.
    pub sequence: u64,
    /// When it was begun.
    pub created: UnixMillis,
    /// The version of the backup key.
    pub key: u32,
    /// Its size (bytes), without the audit log.
    pub size: u64,
    /// Rows of the store (count).
    pub rows: u64,
    /// Versions of keys whose material it has (count).
    pub materials: u64,
    /// Versions of keys whose material could not be opened and is not in it (count).
    #[serde(default)]
    pub unopened: u64,
    /// Entries of the audit log that it covers.
    pub log_size: u64,
    /// The root of the log at that size, in base64.
    pub log_root: String,
    /// Ledgers that there were on the server (count): as many must be there for the next one.
    #[serde(default)]
    pub ledgers: u64,
    /// Where it is, by destination.
    pub destinations: BTreeMap<Name, Placed>,
}

impl BackupRecord {
    /// True when at least one destination has it and none of those that should has trouble.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.destinations.values().all(|placed| placed.trouble.is_none())
            && self.destinations.values().any(|placed| placed.stored.is_some())
    }
}

impl FiledRecord for BackupRecord {
    const TABLE: Table = Table::Backups;

    fn row_id(&self) -> RowId {
        self.sequence.to_be_bytes().into()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// A version whose material ended while its key lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedVersion {
    /// The version.
    pub version: u32,
    /// The last epoch that it was under.
    pub epoch: u64,
}

/// A destroyed key that the ledgers of some destinations still have an entry of. Filed with the destruction, removed
/// when the last destination was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupCut {
    /// The key.
    pub key: KeyId,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring.
    pub shard: u32,
    /// When it was destroyed.
    pub destroyed: UnixMillis,
    /// The version that ended, where the key lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedVersion>,
    /// Destinations that are still to be reached and of which nobody knows where they led.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pending: BTreeSet<Name>,
    /// Places that are still to be reached, each with the name that the destination there had: a name that leads to
    /// another place since says nothing of the one of before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, Name>,
}

impl BackupCut {
    /// Whether every ledger was reached.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.pending.is_empty() && self.places.is_empty()
    }

    /// The names of what is still to be reached.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Name> {
        self.pending.iter().chain(self.places.values()).cloned().collect()
    }
}

impl FiledRecord for BackupCut {
    const TABLE: Table = Table::BackupCuts;

    fn row_id(&self) -> RowId {
        match self.ended {
            Some(ended) => MaterialEnd::row(self.key, ended.version),
            None => self.key.into(),
        }
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// That a deployment came out of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// The number of the backup.
    pub sequence: u64,
    /// When that was made: everything later is lost or came from the log alone.
    pub made: UnixMillis,
    /// When it was restored.
    pub at: UnixMillis,
    /// Entries of the audit log that the backup covers; those behind came later.
    pub log_size: u64,
    /// Keys that were destroyed after the backup and stayed so (count).
    pub kept_destroyed: u64,
    /// Destinations that did not answer when they were asked for newer ledgers: a key that was destroyed while the
    /// source was away may be back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unasked: BTreeSet<Name>,
    /// Whether the audit log has a record of it.
    #[serde(default)]
    pub recorded: bool,
    /// Who took note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Name>,
}

impl FiledRecord for Restored {
    const TABLE: Table = Table::Restores;

    fn row_id(&self) -> RowId {
        self.at.0.to_be_bytes().into()
    }

    fn parent(&self) -> String {
        String::new()
    }
}
