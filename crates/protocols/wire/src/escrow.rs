//! Escrow: which keys are deposited, under what, and how one comes back.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::names::{Classification, WrappingMethod};
use crate::shares::{HandedShare, NewHolder, ShareSet};
use crate::{Base64, SecretText, Timestamp};

/// Which keys are escrowed: those to which everything said here applies. A rule that says nothing names every key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscrowRule {
    /// Keys of the keyring with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// Keys with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Keys for data of this class or a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Classification>,
}

/// Says which keys are escrowed, in place of what was said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEscrowPolicy {
    /// A key is escrowed if one of them names it; an empty list escrows nothing. At most 64. Private signature keys are
    /// never escrowed.
    pub rules: Vec<EscrowRule>,
    /// Why: at most 1,024 bytes.
    pub reason: String,
}

/// Which keys are escrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowPolicy {
    /// A key is escrowed if one of them names it.
    pub rules: Vec<EscrowRule>,
    /// Why.
    pub reason: String,
    /// When it was said.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// Makes a key that others are deposited under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeEscrowKey {
    /// How many agents it takes to open what is deposited: 2 or more.
    pub threshold: u8,
    /// The agents, in the order of their shares' numbers: 2 to 32.
    pub agents: Vec<NewHolder>,
    /// Why: at most 1,024 bytes.
    pub reason: String,
}

/// A key that was made, and the shares for its agents. They are shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeEscrowKey {
    /// Its version.
    pub version: u32,
    /// SHA-256 of its public half, in hexadecimal.
    pub fingerprint: String,
    /// A share for each agent, whom alone it can be read by.
    pub shares: Vec<HandedShare>,
    /// What agents answer with `keyreeve share prove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// Begins to deposit keys under the key that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptEscrowKey {
    /// Agents who did not prove to have their share, and whom the caller answers for; as many as open what is deposited
    /// must have proved theirs.
    #[serde(default)]
    pub confirmed: Vec<String>,
}

/// Done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowDone {
    /// True.
    pub done: bool,
}

/// A version of the escrow key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowKey {
    /// The version.
    pub version: u32,
    /// `waiting` until its agents have shown their shares, `active`, or `replaced` by a later one.
    pub state: String,
    /// How it wraps.
    pub method: WrappingMethod,
    /// The public half as PEM: two keys, the one for ECDH first.
    pub public_key: String,
    /// SHA-256 of the public half, in hexadecimal.
    pub fingerprint: String,
    /// The private half, sealed: it opens with the secret that the agents' shares give, and with nothing else.
    pub private_sealed: Base64,
    /// When it was made.
    pub made: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When keys were first deposited under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
    /// Who holds its shares.
    pub agents: ShareSet,
}

/// One verification of an escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowCampaign {
    /// Counts them, from 1.
    pub number: u32,
    /// The version of the escrow key.
    pub escrow_key: u32,
    /// When it began.
    pub opened: Timestamp,
    /// By whom.
    pub by: String,
    /// When it is to be over.
    pub due: Timestamp,
    /// True when that is over.
    pub overdue: bool,
    /// What agents answer with `keyreeve share prove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// What only the private half can answer; `keyreeve escrow rehearse` does, in a process of its own.
    pub rehearsal: Base64,
    /// When the shares gave the private half in a rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// Whether everything was shown.
    pub verified: bool,
    /// What is missing, in words.
    pub missing: Vec<String>,
}

/// Everything there is to know of escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowStatus {
    /// Which keys are escrowed; missing where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<EscrowPolicy>,
    /// Versions of the escrow key, oldest first.
    pub keys: Vec<EscrowKey>,
    /// The newest campaign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<EscrowCampaign>,
    /// Keys that the policy names, when they were last gone through.
    pub escrowed_keys: u64,
    /// Of these, keys that could not be deposited.
    pub missing_keys: u64,
    /// When all keys were last gone through, since the server started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<Timestamp>,
}

/// Hands in the answer of a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandInRehearsal {
    /// The campaign.
    pub number: u32,
    /// What the sealed process answered: 64 hexadecimal digits. It says nothing of the key.
    pub answer: String,
}

/// What was done with the deposits of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deposited {
    /// The key's id.
    pub key: String,
    /// The version of the escrow key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow_key: Option<u32>,
    /// Versions that were deposited.
    pub made: Vec<u32>,
    /// Versions whose deposit was as it should be.
    pub kept: Vec<u32>,
    /// Versions whose deposit was removed.
    pub removed: Vec<u32>,
    /// Versions whose material does not open, so that no new deposit could be made.
    pub failed: Vec<u32>,
}

/// The material of a key version in escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowDeposit {
    /// The key's id.
    pub key: String,
    /// Its version.
    pub version: u32,
    /// The version of the escrow key.
    pub escrow_key: u32,
    /// When it was deposited.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// Begins to take a key version out of escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverKey {
    /// The version: said, so that others agree to one and not to another.
    pub version: u32,
    /// How it is wrapped for a recipient; together with `recipient`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<WrappingMethod>,
    /// The public key of whoever gets it, as PEM. Without one the material goes back into the server, which lost it;
    /// with one the key must have been made exportable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Why: at most 1,024 bytes; others are shown it.
    pub reason: String,
}

/// A key that comes back from escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscrowRecovery {
    /// Its id: `rcv_…`.
    pub id: String,
    /// The key's id.
    pub key: String,
    /// The name of its keyring.
    pub keyring: String,
    /// The version.
    pub version: u32,
    /// The version of the escrow key.
    pub escrow_key: u32,
    /// The fingerprint of the key that it is wrapped for; missing where it goes back into the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Why.
    pub reason: String,
    /// Who asked, with the consent of others.
    pub by: String,
    /// When.
    pub begun: Timestamp,
    /// Shares are taken until then.
    pub expires: Timestamp,
    /// `open`, `expired`, `done` or `abandoned`.
    pub state: String,
    /// Shares given since the server started.
    pub given: u8,
    /// Shares needed.
    pub needed: u8,
    /// The agents whose shares brought it back.
    pub agents: Vec<String>,
    /// What goes to the recipient, once it is there: raw bytes for a symmetric key, PKCS #8 in DER for a private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<Base64>,
}

/// Gives an agent's share towards a recovery.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveEscrowShare {
    /// The share, as its agent has it.
    pub share: SecretText,
}

/// How far a recovery has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryProgress {
    /// Shares given.
    pub given: u8,
    /// Shares needed.
    pub needed: u8,
    /// True once the key is back.
    pub done: bool,
}

/// Gives a recovery up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonRecovery {
    /// Why.
    pub reason: String,
}
