//! Roots of trust of the deployment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::Custody;
use crate::shares::{HandedShare, NewHolder};
use crate::system::{RootStatus, RootUse};
use crate::{SecretText, Timestamp};

/// A root of trust, and what is under it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// Its kind: `shamir`, `pkcs11`, `tpm`, `aws-kms`, `azure-key-vault`, `google-kms`, `vault-transit`, `sealed-file`.
    pub kind: String,
    /// How well it keeps its key; missing while it is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custody: Option<Custody>,
    /// Where opening it stands; missing while it is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RootStatus>,
    /// When it was joined; missing where the configuration alone names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Timestamp>,
    /// How many keyrings have a key-encryption key under it (count).
    pub keyrings: u64,
    /// Whether the server's own secret is under it.
    pub own_secret: bool,
}

/// The roots of trust, by name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Roots {
    /// All of them.
    pub roots: Vec<Root>,
}

/// Makes a root of trust that the configuration names one of the deployment's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRoot {
    /// Its name in the configuration.
    pub name: String,
    /// How many shares to make (count, 2 to 32); 0 for roots without shares.
    #[serde(default)]
    pub shares: u8,
    /// How many of them open it (count, at least 2); 0 for roots without shares.
    #[serde(default)]
    pub threshold: u8,
    /// Who gets the shares, in the order of their numbers, each encrypted to its holder; as many as shares. Outside of
    /// development mode a root with shares is joined with holders only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<NewHolder>,
    /// Why: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}

/// What joining shows once and never again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JoinedRoot {
    /// Its kind.
    pub kind: String,
    /// One for each holder; none for roots without shares, and where they are encrypted.
    pub shares: Vec<SecretText>,
    /// For each holder that was named, the share encrypted to that holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handed: Vec<HandedShare>,
    /// What these holders answer to show that they have theirs: so many must as open the root, before anything comes
    /// under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// Takes a root of trust that nothing is under out of the deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireRoot {
    /// Why: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Moves what roots of trust wrap to others.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateRoots {
    /// What is under this root; everything unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The roots it comes under.
    pub to: RootUse,
    /// Epochs in a second at most (one for about 256 keys); 0 for as fast as it goes.
    #[serde(default)]
    pub pace: u32,
    /// Why: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Makes a new key-encryption key for a keyring and brings everything beneath under it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKek {
    /// The roots of trust that wrap the new one; those of the former unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<RootUse>,
    /// Epochs in a second at most (one for about 256 keys); 0 for as fast as it goes.
    #[serde(default)]
    pub pace: u32,
    /// Why: at most 1,024 bytes.
    #[serde(default)]
    pub reason: String,
}
