//! The installation itself: one record, written by initialisation.

use serde::{Deserialize, Serialize};

use crate::ids::DeploymentId;
use crate::lifecycle::Profile;
use crate::time::UnixMillis;

/// One installation of Keyreeve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRecord {
    /// Its id, for ever.
    pub id: DeploymentId,
    /// When it was initialised.
    pub created: UnixMillis,
    /// The kind of root of trust, for example `shamir` or `sealed-file`.
    pub root_kind: String,
    /// What the root of trust needs to open again, and no secret: share threshold and the like.
    pub root_public: serde_json::Value,
    /// Which revision of SP 800-57 part 1 rules new keys.
    pub profile: Profile,
    /// The origin line of the audit log's checkpoints.
    pub log_origin: String,
    /// The public keys that verify the audit log's checkpoints (C2SP signed-note vkeys).
    pub log_vkeys: Vec<String>,
    /// The secret of records and audit log, wrapped by the root of trust, in hexadecimal.
    pub system_secret: String,
}
