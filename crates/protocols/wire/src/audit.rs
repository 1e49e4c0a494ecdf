//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{Class, Method, Outcome};
use crate::{Pairs, Timestamp};

/// One audit record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Its index in the log, from 0.
    pub index: u64,
    /// Its id: `rec_…`.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// The id of the request.
    pub request: String,
    /// Who.
    pub principal: String,
    /// How it proved itself.
    pub method: Method,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The operation: `key.encrypt`.
    pub operation: String,
    /// What kind of act.
    pub class: Class,
    /// What was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<AuditResource>,
    /// How it ended.
    pub outcome: Outcome,
    /// The error code, unless it ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Items in the batch; 1 for a single operation.
    pub count: u32,
    /// The encryption context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Pairs>,
    /// What else matters: `old_version`, `new_version`, `reason`, …
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub details: Pairs,
}

/// A page of audit records. A page may be short, even empty, with more to come: only a missing `next` is the end.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The records.
    pub items: Vec<AuditRecord>,
    /// Give this as `before` for the next page; missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What the wanted `resource` is called besides and was searched by as well: the id of the key that has the alias
    /// now, id and name of the keyring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_called: Vec<String>,
}

/// What was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditResource {
    /// Its type: `key`, `keyring`, `token`, …
    pub kind: String,
    /// Its id, or what the caller named when there was no such thing.
    pub id: String,
    /// The key version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The name of its keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
}

/// A self-contained proof that a record is in the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditProof {
    /// The record's index.
    pub index: u64,
    /// The record exactly as it stands in the log, which is JSON again: its bytes in UTF-8 are the leaf that is proved.
    pub record: String,
    /// The proof: `c2sp.org/tlog-proof@v1`.
    pub proof: String,
    /// The public keys that verify it (C2SP signed-note vkeys).
    pub vkeys: Vec<String>,
}
