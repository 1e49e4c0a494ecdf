//! Keyrings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::names::{Classification, Environment};
use crate::system::RootUse;

/// Makes a keyring.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKeyring {
    /// Its name, unique: 1 to 128 characters out of letters, digits and `-_./:@+`.
    pub name: String,
    /// Who answers for it: at most 1,024 bytes.
    #[serde(default)]
    pub owner: String,
    /// What it is for: at most 1,024 bytes.
    #[serde(default)]
    pub description: String,
    /// The class its keys may protect at most; `internal` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// The environment all its keys belong to; `production` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// May keys for deterministic encryption be made here? They reveal which plaintexts are equal.
    #[serde(default)]
    pub allow_deterministic: bool,
    /// The roots of trust that wrap its key-encryption key; those of the server's own secret unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<RootUse>,
}

/// A keyring.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Keyring {
    /// Its id: `krg_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub description: String,
    /// The class its keys may protect at most.
    pub classification: Classification,
    /// The environment all its keys belong to.
    pub environment: Environment,
    /// May keys for deterministic encryption be made here?
    pub allow_deterministic: bool,
    /// When it was made.
    pub created: Timestamp,
    /// The version of its key-encryption key, from 1.
    pub kek_version: u32,
    /// The roots of trust that wrap its key-encryption key.
    pub roots: RootUse,
}
