//! How a record is stored: its bytes, a revision for compare-and-set, and a MAC.
//!
//! The MAC binds table, row, revision and content, so that someone who can write to the database but does not hold the
//! root of trust cannot forge a token, widen a policy or revive a key (SP 800-57 part 1 rev. 6 draft §5.2.3: metadata
//! is integrity-protected).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// How often a row was written: 1 when inserted, one more at each update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// Of a row just inserted.
    pub const FIRST: Self = Self(1);

    /// Of the row after one more update.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])+ $table:ident = $name:literal,)+) => {
        /// The tables that hold sealed records; the name is part of what the MAC covers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum Table {
            $($(#[$doc])+ $table,)+
        }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$table,)+];

            /// The name in the database and in what the MAC covers.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)+
                }
            }

            /// The table of this name, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$table),)+
                    _ => None,
                }
            }
        }
    };
}

/// A text that is not the name of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no such table of records")]
pub struct UnknownTable;

impl From<Table> for &'static str {
    fn from(table: Table) -> Self {
        table.name()
    }
}

impl TryFrom<String> for Table {
    type Error = UnknownTable;

    fn try_from(name: String) -> Result<Self, UnknownTable> {
        Self::from_name(&name).ok_or(UnknownTable)
    }
}

tables! {
    /// One row: the deployment.
    Deployment = "deployment",
    /// Keyrings.
    Keyrings = "keyrings",
    /// Keys.
    Keys = "keys",
    /// Bearer tokens.
    Tokens = "tokens",
    /// Principals.
    Principals = "principals",
    /// Policies.
    Policies = "policies",
    /// Destruction records.
    Destructions = "destructions",
    /// Audit records on their way to the journal.
    Outbox = "outbox",
    /// Remembered answers.
    Idempotency = "idempotency",
    /// Ways to log in.
    LoginMethods = "login_methods",
    /// Logins under way.
    Logins = "logins",
    /// Evidence that was used and may not be used again.
    Seen = "seen",
    /// Who first came as whom.
    Subjects = "subjects",
    /// Service credentials.
    Credentials = "credentials",
    /// Secrets that wait to be unwrapped once.
    Wrapped = "wrapped",
    /// Second factors.
    Mfa = "mfa",
    /// Challenges to second factors.
    MfaChallenges = "mfa_challenges",
    /// Grants.
    Grants = "grants",
    /// Proposals and the votes on them.
    Approvals = "approvals",
    /// Which request has an open proposal.
    OpenRequests = "open_requests",
    /// The rule book, and its former versions.
    Rules = "rules",
    /// Legal holds.
    Holds = "holds",
    /// Incidents.
    Incidents = "incidents",
    /// Declared emergencies.
    Emergencies = "emergencies",
    /// Which texts made up the policies, version by version.
    PolicyManifests = "policy_manifests",
    /// Texts of policies, by their digest.
    PolicyTexts = "policy_texts",
    /// Policies on trial.
    Drafts = "drafts",
    /// Review campaigns.
    Reviews = "reviews",
    /// What is decided in review campaigns.
    ReviewItems = "review_items",
    /// Who last used what.
    Uses = "uses",
    /// Notices on their way.
    Notices = "notices",
    /// Long work.
    Jobs = "jobs",
    /// Wrapping keys that wait for an import.
    Imports = "imports",
    /// Material that exists outside as well.
    KnownMaterial = "known_material",
    /// When imported material ends.
    MaterialEnds = "material_ends",
    /// Keys in devices that are being made or erased.
    DeviceWork = "device_work",
    /// Keys that encrypt backups, wrapped by the root of trust.
    BackupKeys = "backup_keys",
    /// Backups that were made.
    Backups = "backups",
    /// Destroyed keys whose part of a backup's ledger is still to be erased somewhere.
    BackupCuts = "backup_cuts",
    /// Who holds the shares of a secret.
    Shares = "shares",
    /// Rehearsals of a restore.
    BackupDrills = "backup_drills",
    /// That the server came out of a backup.
    Restores = "restores",
    /// What the server expects of its anchors.
    Anchors = "anchors",
    /// That people agreed to go on with an old copy.
    Rollbacks = "rollbacks",
    /// What ran when the server was last opened.
    Starts = "starts",
    /// What was found damaged.
    Quarantines = "quarantines",
    /// Which keys are escrowed.
    Escrow = "escrow",
    /// Keys that others are deposited under.
    EscrowKeys = "escrow_keys",
    /// Keys in escrow.
    Deposits = "deposits",
    /// Campaigns in which escrow agents show their shares.
    EscrowCampaigns = "escrow_campaigns",
    /// Keys that come back from escrow.
    Recoveries = "recoveries",
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// The write count of the row.
    pub revision: Revision,
    /// The record in storage form (JSON).
    pub bytes: Vec<u8>,
    /// HMAC-SHA-256 over table, row key, revision and bytes.
    pub mac: [u8; 32],
}

/// Computes and checks the MACs of records; held by the engine once the root of trust is open.
pub trait RecordSealer: Send + Sync {
    /// The MAC of a row.
    fn mac(&self, table: Table, row: &[u8], revision: Revision, bytes: &[u8]) -> [u8; 32];
    /// True when the MAC is right; compared in constant time.
    fn check(&self, table: Table, row: &[u8], record: &SealedRecord) -> bool;
}

impl<T: RecordSealer + ?Sized> RecordSealer for Arc<T> {
    fn mac(&self, table: Table, row: &[u8], revision: Revision, bytes: &[u8]) -> [u8; 32] {
        (**self).mac(table, row, revision, bytes)
    }

    fn check(&self, table: Table, row: &[u8], record: &SealedRecord) -> bool {
        (**self).check(table, row, record)
    }
}

/// A stored record that cannot be trusted or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadRecord {
    /// The MAC does not fit: the row was altered, moved or replaced outside Keyreeve.
    #[error("a row of table `{table}` was altered outside Keyreeve: its MAC does not fit")]
    Tampered {
        /// The table.
        table: &'static str,
    },
    /// The MAC fits but this version does not understand the record.
    #[error("a row of table `{table}` was written by a version of Keyreeve that this one does not understand")]
    Unreadable {
        /// The table.
        table: &'static str,
    },
}

/// Seals a record for its row.
pub fn seal<T: Serialize>(
    sealer: &dyn RecordSealer,
    table: Table,
    row: &[u8],
    revision: Revision,
    record: &T,
) -> SealedRecord {
    // Unwrap safety: records hold strings, numbers and maps with string keys; serde_json fails on none of these.
    #[allow(clippy::expect_used)]
    let bytes = serde_json::to_vec(record).expect("records serialise");
    let mac = sealer.mac(table, row, revision, &bytes);
    SealedRecord { revision, bytes, mac }
}

/// Checks and reads a record of its row.
///
/// # Errors
/// [`BadRecord::Tampered`] when the MAC does not fit, [`BadRecord::Unreadable`] when it does but the form is unknown.
pub fn open<T: DeserializeOwned>(
    sealer: &dyn RecordSealer,
    table: Table,
    row: &[u8],
    record: &SealedRecord,
) -> Result<T, BadRecord> {
    if !sealer.check(table, row, record) {
        return Err(BadRecord::Tampered { table: table.name() });
    }
    serde_json::from_slice(&record.bytes).map_err(|_| BadRecord::Unreadable { table: table.name() })
}
