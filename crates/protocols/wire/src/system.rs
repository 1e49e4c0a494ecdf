//! The server itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{Custody, RootNeed, RootState};
use crate::shares::{HandedShare, NewHolder};
use crate::{SecretText, Timestamp};

/// Where the server stands. Anybody may ask.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SystemStatus {
    /// The kind of the root of trust that keeps the server from opening, or of the first one: `shamir`, `pkcs11`,
    /// `tpm`, `aws-kms`, `azure-key-vault`, `google-kms`, `vault-transit`, `sealed-file`.
    pub root_kind: String,
    /// Where opening it stands.
    pub root: RootStatus,
    /// Each root of trust that the configuration names.
    #[serde(default)]
    pub roots: Vec<RootInfo>,
    /// True when the server works.
    pub open: bool,
    /// The public keys that verify the audit log (C2SP signed-note vkeys); empty until the server is open.
    pub log_vkeys: Vec<String>,
}

/// One root of trust.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RootInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How well it keeps its key.
    pub custody: Custody,
    /// Where opening it stands.
    pub status: RootStatus,
}

/// Roots of trust that wrap something together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RootUse {
    /// How many of them it takes; `any` unless said.
    #[serde(default = "any")]
    pub need: RootNeed,
    /// Their names, 1 to 8.
    pub roots: Vec<String>,
}

const fn any() -> RootNeed {
    RootNeed::Any
}

/// Where opening the root of trust stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootStatus {
    /// The state.
    pub state: RootState,
    /// While sealed: shares given so far (count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<u8>,
    /// While sealed: shares needed (count). 0 when it opens without people, while not initialised as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<u8>,
    /// While sealed: shares that were made (count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u8>,
}

/// Makes the root of trust; once.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// How many shares to make (count, 2 to 32); 0 for roots without shares.
    #[serde(default)]
    pub shares: u8,
    /// How many of them open the root (count, at least 2); 0 for roots without shares.
    #[serde(default)]
    pub threshold: u8,
    /// Who gets the shares, in the order of their numbers, each encrypted to its holder; as many as shares. When empty
    /// the shares are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<NewHolder>,
}

/// What initialisation shows once and never again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InitReply {
    /// One for each holder; empty where holders were named.
    pub shares: Vec<SecretText>,
    /// For each holder that was named, the share encrypted to that holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handed: Vec<HandedShare>,
    /// What these holders answer with `keyreeve share prove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The first administrator.
    pub principal: String,
    /// Its token.
    pub token: SecretText,
    /// When that token ends.
    pub expires: Timestamp,
    /// The public keys that verify the audit log: keep them apart from the server.
    pub log_vkeys: Vec<String>,
}

/// What runs, and how the server stands towards its anchors.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SystemInfo {
    /// The version of the program; missing where the server was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of the program's file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_sha256: Option<String>,
    /// The SHA-256 of what the configuration says, in hexadecimal; comments and the order of fields do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_sha256: Option<String>,
    /// The SHA-256 that the program should have, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_binary_sha256: Option<String>,
    /// The cryptographic module, its version, and whether it is the FIPS build.
    pub module: String,
    /// When the server was last opened by a new process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_start: Option<Timestamp>,
    /// What remembers elsewhere how far this server had come.
    pub anchors: Vec<AnchorInfo>,
    /// Why nothing is done: what does not fit, a sentence for each anchor. Empty where the server fits its anchors.
    pub rolled_back: Vec<String>,
    /// That people agreed to go on with an old copy, the last time that they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_rollback: Option<AcceptedRollback>,
}

/// How the server stands towards an anchor.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AnchorInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind: `file`, `tpm-counter`; `none` where it is configured no more.
    pub kind: String,
    /// Where it is.
    pub place: String,
    /// Whether the server stays closed until it was heard from.
    pub required: bool,
    /// The step at which it was left; missing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When it was last moved on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Entries of the audit log at that time (count).
    pub log_size: u64,
    /// Why it does not do its work, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// That people agreed to go on with a server that is older than its anchors.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AcceptedRollback {
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What was found.
    pub found: Vec<String>,
    /// Whether the counters of all keys have jumped ahead since.
    pub done: bool,
}

/// Goes on with a server that is older than its anchors.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptRollback {
    /// Why that is right.
    pub reason: String,
}

/// What became of a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unsealed {
    /// The root of trust that the share is of, by its name in the configuration.
    #[serde(default)]
    pub root: String,
    /// The state of that root.
    pub state: RootState,
    /// While it is sealed: shares given so far (count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<u8>,
    /// While it is sealed: shares needed (count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<u8>,
    /// While it is sealed: shares that were made (count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u8>,
}

/// Gives one share of a root of trust: which one it is of is found out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsealRequest {
    /// The share, as initialisation showed it.
    pub share: SecretText,
}
