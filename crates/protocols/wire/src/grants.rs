//! Grants: rights for a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::GrantState;
use crate::{Pairs, Timestamp};

/// Gives a principal operations on a key or keyring, or a role, for a time: exactly one of the three.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGrant {
    /// Whose it will be.
    pub principal: String,
    /// A key, by id or alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A keyring, by id or name: every key in it, those that come later included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// A role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// With a key or keyring: the operations, by their names in the list of actions, such as `key.decrypt`: 1 to 64
    /// that use or show a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// From when on; at once unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How long it lasts from then on, in seconds: at most 31,622,400 (366 days), of a role 86,400 (24 hours).
    pub seconds: u64,
    /// What it is for: at most 1,024 bytes.
    pub reason: String,
    /// Under which circumstances; all of them must hold.
    #[serde(default)]
    pub constraints: GrantConstraints,
}

/// Under which circumstances a grant gives what it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantConstraints {
    /// The request's encryption context is exactly this one; `{}` means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_equals: Option<Pairs>,
    /// The request's encryption context holds at least these pairs.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context_includes: Pairs,
    /// The request comes from one of these networks (CIDR); empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// A second factor was shown at most this many minutes ago: 1 to 10,080. Of a person that is always asked, with 720
    /// unless said; of a program only where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_minutes: Option<u32>,
}

/// A right for a time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// Its public id: `grt_…`.
    pub id: String,
    /// Whose it is.
    pub principal: String,
    /// The id of the key it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The id of the keyring it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// The role it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The operations it gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Under which circumstances.
    pub constraints: GrantConstraints,
    /// Where it stands now.
    pub state: GrantState,
    /// From this instant on.
    pub not_before: Timestamp,
    /// Until just before this instant.
    pub expires: Timestamp,
    /// What it is for.
    pub reason: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The approval that it was made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_because: Option<String>,
}
