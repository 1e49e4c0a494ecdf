//! How a record is stored: its bytes, a revision for compare-and-set, and a MAC.
//!
//! The MAC binds table, row, revision and content, so that someone who can write to the database but does not hold the
//! root of trust cannot forge a token, widen a policy or revive a key (SP 800-57 part 1 rev. 6 draft §5.2.3: metadata
//! is integrity-protected).

use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// The tables that hold sealed records; the name is part of what the MAC covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// One row: the deployment.
    Deployment,
    /// Keyrings.
    Keyrings,
    /// Keys.
    Keys,
    /// Bearer tokens.
    Tokens,
    /// Principals.
    Principals,
    /// Policies.
    Policies,
    /// Destruction records.
    Destructions,
    /// Audit records on their way to the journal.
    Outbox,
    /// Remembered answers.
    Idempotency,
    /// Ways to log in.
    LoginMethods,
    /// Logins under way.
    Logins,
    /// Evidence that was used and may not be used again.
    Seen,
    /// Who first came as whom.
    Subjects,
    /// Service credentials.
    Credentials,
    /// Secrets that wait to be unwrapped once.
    Wrapped,
    /// Second factors.
    Mfa,
    /// Challenges to second factors.
    MfaChallenges,
    /// Grants.
    Grants,
    /// Proposals and the votes on them.
    Approvals,
    /// Which request has an open proposal.
    OpenRequests,
    /// The rule book, and its former versions.
    Rules,
    /// Legal holds.
    Holds,
    /// Incidents.
    Incidents,
    /// Declared emergencies.
    Emergencies,
    /// Which texts made up the policies, version by version.
    PolicyManifests,
    /// Texts of policies, by their digest.
    PolicyTexts,
    /// Policies on trial.
    Drafts,
    /// Review campaigns.
    Reviews,
    /// What is decided in review campaigns.
    ReviewItems,
    /// Who last used what.
    Uses,
    /// Notices on their way.
    Notices,
}

impl Table {
    /// The name in the database and in what the MAC covers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Keyrings => "keyrings",
            Self::Keys => "keys",
            Self::Tokens => "tokens",
            Self::Principals => "principals",
            Self::Policies => "policies",
            Self::Destructions => "destructions",
            Self::Outbox => "outbox",
            Self::Idempotency => "idempotency",
            Self::LoginMethods => "login_methods",
            Self::Logins => "logins",
            Self::Seen => "seen",
            Self::Subjects => "subjects",
            Self::Credentials => "credentials",
            Self::Wrapped => "wrapped",
            Self::Mfa => "mfa",
            Self::MfaChallenges => "mfa_challenges",
            Self::Grants => "grants",
            Self::Approvals => "approvals",
            Self::OpenRequests => "open_requests",
            Self::Rules => "rules",
            Self::Holds => "holds",
            Self::Incidents => "incidents",
            Self::Emergencies => "emergencies",
            Self::PolicyManifests => "policy_manifests",
            Self::PolicyTexts => "policy_texts",
            Self::Drafts => "drafts",
            Self::Reviews => "reviews",
            Self::ReviewItems => "review_items",
            Self::Uses => "uses",
            Self::Notices => "notices",
        }
    }
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
