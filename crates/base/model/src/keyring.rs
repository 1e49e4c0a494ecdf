//! Keyrings: the unit of separation, each with its own key-encryption key (requirement K6).
//!
//! Hierarchy: roots of trust → KEK of the keyring → epoch key of a shard → material of a key version.

use serde::{Deserialize, Serialize};

use crate::ids::KeyringId;
use crate::metadata::{Classification, Environment, Label, Name};
use crate::roots::{RootUse, Wrapped};
use crate::time::UnixMillis;

/// One version of a keyring's KEK, wrapped by roots of trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KekVersion {
    /// From 1.
    pub version: u32,
    /// When it was made.
    pub created: UnixMillis,
    /// By whom.
    pub by: Name,
    /// The KEK under the roots of trust of its time.
    pub wrapped: Wrapped,
}

/// A keyring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringRecord {
    /// Its id.
    pub id: KeyringId,
    /// Its name, unique in the deployment.
    pub name: Name,
    /// Who answers for it.
    pub owner: Label,
    /// What it is for.
    pub description: Label,
    /// The class its keys may protect at most.
    pub classification: Classification,
    /// The environment all its keys belong to: production and other keys are never shared.
    pub environment: Environment,
    /// May keys for deterministic encryption be made here (requirement K9)? Off unless said.
    #[serde(default)]
    pub allow_deterministic: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// The roots of trust that wrap its next KEK; those of earlier KEKs are said there.
    #[serde(default)]
    pub roots: RootUse,
    /// Its KEK versions, oldest first; the last one wraps.
    pub keks: Vec<KekVersion>,
}

impl KeyringRecord {
    /// The version of the KEK that wraps.
    #[must_use]
    pub fn current_kek(&self) -> Option<&KekVersion> {
        self.keks.last()
    }
}
