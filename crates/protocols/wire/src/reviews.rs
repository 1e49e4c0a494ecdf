//! Going through who has which right.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::names::{FindingKind, PrincipalKind};

/// A page of the report on who can do what to which key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessReport {
    /// What each principal may do to each key, under these assumptions: a second factor just shown, from one of the
    /// principal's own networks, now, without an encryption context. Pairs without any right are left out.
    pub rows: Vec<AccessRow>,
    /// Where the next page begins; missing at the end. A page may have no rows and yet a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What somebody should look at; on the first page only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What one principal may do to one key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessRow {
    /// Who.
    pub principal: String,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Which key, by id.
    pub key: String,
    /// One of its aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Its keyring, by name.
    pub keyring: String,
    /// What.
    pub rights: Vec<Right>,
}

/// One way of using a key, and what allows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Right {
    /// The group of actions, such as `decrypt-side`.
    pub group: String,
    /// What it comes through: `policy:NAME`, `grant:ID`, whatever circumstances the grant asks for; besides,
    /// `elevation:ID` where a role for a time is in force.
    pub through: Vec<String>,
    /// The day on which it was last used, at midnight UTC; missing where it was not, or where uses are not noted (of
    /// reading and of managing keys).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// What it is about: the id of a grant, the name of a principal.
    pub about: String,
    /// In words.
    pub text: String,
}
