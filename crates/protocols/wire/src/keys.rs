//! Keys: making, showing, altering, moving through their states.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{
    Activation, Algorithm, AlgorithmStatus, Classification, Environment, Origin, Protection, Purpose, Scope, State,
};
use crate::transport::{Departure, ImportedMaterial};
use crate::{Base64, Pairs, Timestamp};

/// Generates a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its keyring, by id or name; `default` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// What it shall be; `xaes-256-gcm` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The one thing it is for; the algorithm's usual purpose unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Which half of that it may serve; `both` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// May its material leave wrapped?
    #[serde(default)]
    pub exportable: bool,
    /// Where its material is, for ever; `software` unless said. `hsm` makes it inside the device of the keyring's root
    /// of trust, where every use of it takes place; nobody can take it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// When it starts; `now` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// It starts at this instant; not together with `activation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates: Option<Timestamp>,
    /// It stops protecting at this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivates: Option<Timestamp>,
    /// Why deterministic encryption is needed: required for `aes-256-gcm-siv`, at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic_reason: Option<String>,
    /// The environment the keyring is expected to be of; refused when it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Names by which callers address the key, unique: at most 50 of 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Labels for search and policy: at most 64.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub labels: Pairs,
    /// Who answers for the key: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Who may hold shares or backups of it: at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custodians: Vec<String>,
    /// Which systems use it: at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<String>,
    /// Third parties that hold a copy: at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<String>,
    /// Sensitivity of the protected data; `internal` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// What it is for: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Why it is made: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Alters a key's metadata; what is not given stays as it is. A list is either altered, by what is added and removed,
/// or replaced as a whole. Two who alter one list at the same time do not undo one another.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateKey {
    /// Replaces the aliases as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<String>>,
    /// Adds to the aliases; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_aliases: Vec<String>,
    /// Removes from the aliases; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_aliases: Vec<String>,
    /// Replaces the labels as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Pairs>,
    /// Sets labels: new ones, or new values.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub set_labels: Pairs,
    /// Removes labels, by name; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
    /// Replaces the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Replaces the custodians as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custodians: Option<Vec<String>>,
    /// Adds to the custodians; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_custodians: Vec<String>,
    /// Removes from the custodians; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_custodians: Vec<String>,
    /// Replaces the consumers as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Vec<String>>,
    /// Adds to the consumers; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_consumers: Vec<String>,
    /// Removes from the consumers; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_consumers: Vec<String>,
    /// Replaces the third-party holders as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<String>>,
    /// Adds to the third-party holders; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_holders: Vec<String>,
    /// Removes from the third-party holders; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_holders: Vec<String>,
    /// Raises or lowers the class, within what the keyring protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Replaces the description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A key as listings show it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeySummary {
    /// Its id: `key_…`.
    pub id: String,
    /// The name of its keyring.
    pub keyring: String,
    /// What it is.
    pub algorithm: Algorithm,
    /// The one thing it is for.
    pub purpose: Purpose,
    /// Which half of that it may serve.
    pub scope: Scope,
    /// May its material leave wrapped?
    pub exportable: bool,
    /// Where its material is while it is used.
    #[serde(default)]
    pub protection: Protection,
    /// Its state: that of its primary version.
    pub state: State,
    /// When it was made.
    pub created: Timestamp,
    /// The version that protects new data.
    pub primary_version: u32,
    /// How many versions there are.
    pub version_count: u32,
    /// The destruction that waits, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction: Option<PendingDestruction>,
    /// Why deterministic encryption was chosen, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic_reason: Option<String>,
    /// Names by which callers address the key.
    pub aliases: Vec<String>,
    /// Labels for search and policy.
    pub labels: Pairs,
    /// Who answers for the key.
    pub owner: String,
    /// Who may hold shares or backups of it.
    pub custodians: Vec<String>,
    /// Which systems use it.
    pub consumers: Vec<String>,
    /// Third parties that hold a copy.
    pub holders: Vec<String>,
    /// Sensitivity of the protected data.
    pub classification: Classification,
    /// Where it is used.
    pub environment: Environment,
    /// What it is for.
    pub description: String,
}

/// A key: everything about it but its secret material.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// What listings show too.
    #[serde(flatten)]
    pub summary: KeySummary,
    /// All versions, oldest first.
    pub versions: Vec<KeyVersion>,
    /// Every transition so far, oldest first.
    pub history: Vec<Transition>,
    /// When its material left, wrapped for somebody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departures: Vec<Departure>,
}

/// One version of a key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyVersion {
    /// From 1.
    pub version: u32,
    /// Its state now.
    pub state: State,
    /// When it was made.
    pub created: Timestamp,
    /// Identifies the material without revealing it.
    pub fingerprint: String,
    /// The public half: SubjectPublicKeyInfo, DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Base64>,
    /// Messages it may have protected at most (count), for algorithms with a limit.
    pub reserved_messages: u64,
    /// Where the material came from.
    pub provenance: Provenance,
    /// Of imported material: how it came, and how long it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedMaterial>,
    /// Of material inside a device: the root of trust whose device it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Where material came from.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// Generated here or brought.
    pub origin: Origin,
    /// The module that drew it, with its validation status.
    pub module: String,
    /// The principal who asked.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// One transition of a key's life.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// The version; missing when it was the whole key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A destruction that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingDestruction {
    /// When it was asked for.
    pub requested: Timestamp,
    /// When it may be carried out.
    pub due: Timestamp,
    /// By whom.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}

/// Why something is done to a key. The body may be empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why: at most 1,024 bytes; it is kept with the key and in the audit log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Halts all use of a key for a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendKey {
    /// Let it go on processing what it protected before; the risk of that is accepted.
    #[serde(default)]
    pub risk_accepted: bool,
    /// Why: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Records that a key, or one version of it, may be known to others.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompromiseKey {
    /// The version; all of them unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Let data still be processed; the risk of that is accepted.
    #[serde(default)]
    pub risk_accepted: bool,
    /// Why: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Starts the waiting period after which a key is destroyed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleDestruction {
    /// The waiting period in days, 7 to 30; 30 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Why: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What remains of a destroyed key for ever.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Destruction {
    /// The key's id.
    pub key: String,
    /// Its keyring's id.
    pub keyring: String,
    /// The shard whose epoch was erased with it.
    pub shard: u32,
    /// The epoch under which the material was wrapped, erased.
    pub erased_epoch: u64,
    /// When the waiting period began.
    pub requested: Timestamp,
    /// Who asked for it.
    pub requested_by: String,
    /// Why.
    pub reason: String,
    /// When it was carried out.
    pub destroyed: Timestamp,
    /// Who carried it out.
    pub destroyed_by: String,
    /// What was erased.
    pub versions: Vec<ErasedVersion>,
    /// What was checked for this answer and held, in words.
    pub verified: Vec<String>,
    /// SHA-256, in hexadecimal, over all of the above but `verified`, in storage form: what the audit record carries.
    pub verification_hash: String,
}

/// One erased piece of material.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErasedVersion {
    /// The version.
    pub version: u32,
    /// The material's fingerprint.
    pub fingerprint: String,
    /// SHA-256, in hexadecimal, of the wrapped material that was erased; empty where that was inside a device.
    pub wrapped_sha256: String,
    /// The root of trust whose device had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// The public half of a key version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PublicKey {
    /// The key's id.
    pub key: String,
    /// The version.
    pub version: u32,
    /// What the key is.
    pub algorithm: Algorithm,
    /// Identifies the material.
    pub fingerprint: String,
    /// SubjectPublicKeyInfo (RFC 5280), DER.
    pub der: Base64,
    /// The same as PEM (RFC 7468).
    pub pem: String,
}

/// An algorithm with its strength and dates.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlgorithmInfo {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What keys of it can be made for; the first is the usual one.
    pub purposes: Vec<Purpose>,
    /// Classical security strength in bits (SP 800-57 part 1).
    pub strength_bits: u16,
    /// True when no attack by a large quantum computer is known that breaks it.
    pub quantum_safe: bool,
    /// True when NIST approves it.
    pub fips_approved: bool,
    /// True when the whole operation is done inside the AWS-LC FIPS module.
    pub in_module: bool,
    /// What it may be used for today.
    pub status: AlgorithmStatus,
    /// Still used from then on, but its end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_from: Option<Timestamp>,
    /// No new keys from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_new_keys_from: Option<Timestamp>,
    /// Only decrypting, verifying, unwrapping from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_only_from: Option<Timestamp>,
    /// Nothing at all from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disallowed_from: Option<Timestamp>,
}
