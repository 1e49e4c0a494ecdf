//! Escrow: which keys are deposited with people who do not manage them, under what, and how one comes back
//! (requirement T7, docs/decisions/0025).
//!
//! A deposit is the material of one key version, wrapped for the public half of the escrow key, and that under the
//! epoch of the key's shard: it opens with the shares of enough escrow agents **and** the server's roots of trust, and
//! with the epoch it goes when the key is destroyed.

use data_encoding::BASE64;
use keyreeve_crypto::{CryptoError, KeyAlgorithm, Purpose, TransportPublic, WrappingMethod};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::holders::ShareHolders;
use crate::ids::{KeyId, KeyringId, RecoveryId};
use crate::key::KeyRecord;
use crate::metadata::{Classification, Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// Rules of a policy (count).
pub const RULES_MAX: usize = 64;
/// Escrow agents show their shares so often (days): quarterly.
pub const CAMPAIGN_EVERY_DAYS: u32 = 90;
/// So long a campaign may take before it is overdue (days).
pub const CAMPAIGN_DAYS: u32 = 14;
/// Days between two notices of a campaign that is overdue.
pub const TOLD_EVERY_DAYS: u32 = 7;
/// So long a recovery waits for the shares of agents (hours).
pub const RECOVERY_HOURS: u32 = 24;

/// Bytes of ciphertext: base64 in storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sealed(pub Vec<u8>);

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        BASE64.encode(&sealed.0)
    }
}

impl TryFrom<String> for Sealed {
    type Error = data_encoding::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64.decode(text.as_bytes()).map(Self)
    }
}

/// Which keys are escrowed: those to which everything said here applies. A rule that says nothing names every key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscrowRule {
    /// Keys of this keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<Name>,
    /// Keys with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Name, Label>,
    /// Keys for data of this class or a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Classification>,
}

impl EscrowRule {
    fn names(&self, key: &KeyRecord, keyring: &Name) -> bool {
        self.keyring.as_ref().is_none_or(|named| named == keyring)
            && self.labels.iter().all(|(label, value)| key.metadata.labels.get(label) == Some(value))
            && self.at_least.is_none_or(|least| key.metadata.classification >= least)
    }
}

/// Whether a key may be escrowed at all. Private signature keys never are: whoever could bring one back could sign as
/// its owner (SP 800-57 part 1 §8.3.1 does not let them be archived). Of keys inside a device there is nothing
/// to deposit.
#[must_use]
pub fn may_be_escrowed(key: &KeyRecord) -> bool {
    key.purpose() != Purpose::Sign && key.protection().is_software()
}

/// Which keys are escrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscrowPolicy {
    /// A key is escrowed if one of them names it.
    pub rules: Vec<EscrowRule>,
    /// Why.
    pub reason: Label,
    /// When it was said.
    pub at: UnixMillis,
    /// By whom.
    pub by: Name,
}

impl EscrowPolicy {
    /// Whether a key is to be escrowed.
    #[must_use]
    pub fn concerns(&self, key: &KeyRecord, keyring: &Name) -> bool {
        may_be_escrowed(key) && self.rules.iter().any(|rule| rule.names(key, keyring))
    }

    /// The row of the one policy that there is.
    #[must_use]
    pub fn row() -> RowId {
        RowId::from(*b"policy")
    }
}

impl FiledRecord for EscrowPolicy {
    const TABLE: Table = Table::Escrow;

    fn row_id(&self) -> RowId {
        Self::row()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// What becomes of a version of the escrow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EscrowKeyState {
    /// Its shares are on their way to the agents; nothing is deposited under it.
    Waiting,
    /// Keys are deposited under it.
    Active,
    /// Another took its place; deposits that could not be made anew are under it still.
    Replaced,
}

impl EscrowKeyState {
    /// The name on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Replaced => "replaced",
        }
    }
}

/// A version of the escrow key. Its private half is in no place but sealed, here, under a secret that escrow agents
/// have shares of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscrowKey {
    /// From 1.
    pub version: u32,
    /// What it is for.
    pub state: EscrowKeyState,
    /// How it wraps.
    pub method: WrappingMethod,
    /// The public half as PEM.
    pub public: String,
    /// SHA-256 of the public half, in hexadecimal.
    pub fingerprint: String,
    /// The private half under the agents' secret.
    pub private: Sealed,
    /// When it was made.
    pub made: UnixMillis,
    /// By whom.
    pub by: Name,
    /// Why.
    pub reason: Label,
    /// When keys were first deposited under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<UnixMillis>,
}

impl EscrowKey {
    /// What the shares of a version are filed under.
    #[must_use]
    pub fn shares_of(version: u32) -> Name {
        // Letters, a hyphen and digits: a name whatever the number.
        format!("escrow-{version}").parse().unwrap_or_else(|_| crate::roots::main())
    }

    /// What the sealed private half is bound to.
    #[must_use]
    pub fn context(version: u32, fingerprint: &str) -> Vec<u8> {
        [b"keyreeve/escrow/key/1".as_slice(), &version.to_be_bytes(), fingerprint.as_bytes()].concat()
    }

    /// The public half.
    ///
    /// # Errors
    /// When what is stored is no key.
    pub fn public(&self) -> Result<TransportPublic, CryptoError> {
        TransportPublic::from_pem(self.method, &self.public)
    }

    /// The row of a version.
    #[must_use]
    pub fn row(version: u32) -> RowId {
        RowId::from(version.to_be_bytes())
    }
}

impl FiledRecord for EscrowKey {
    const TABLE: Table = Table::EscrowKeys;

    fn row_id(&self) -> RowId {
        Self::row(self.version)
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// The material of one key version in escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring.
    pub shard: u32,
    /// The epoch of the shard that the deposit is under: it goes when that goes.
    pub epoch: u64,
    /// What the material is.
    pub algorithm: KeyAlgorithm,
    /// What tells the material from others; only the server can make it.
    pub identity: String,
    /// The version of the escrow key.
    pub escrow: u32,
    /// The material, wrapped for the escrow key, and that under the epoch key.
    pub sealed: Sealed,
    /// When it was deposited.
    pub at: UnixMillis,
    /// By whom.
    pub by: Name,
}

impl Deposit {
    /// The row of a version's deposit.
    #[must_use]
    pub fn row(key: KeyId, version: u32) -> RowId {
        let mut id = [0; 20];
        id[..16].copy_from_slice(key.as_bytes());
        id[16..].copy_from_slice(&version.to_be_bytes());
        RowId::from(id)
    }

    /// What the wrapped form is bound to, and with an epoch what that is.
    #[must_use]
    pub fn context(key: KeyId, version: u32, keyring: KeyringId, escrow: u32) -> Vec<u8> {
        let (version, escrow) = (version.to_be_bytes(), escrow.to_be_bytes());
        let place = [key.as_bytes().as_slice(), &version, keyring.as_bytes(), &escrow];
        [b"keyreeve/escrow/deposit/1".as_slice(), &place.concat()].concat()
    }

    /// The context of this one.
    #[must_use]
    pub fn own_context(&self) -> Vec<u8> {
        Self::context(self.key, self.version, self.keyring, self.escrow)
    }
}

impl FiledRecord for Deposit {
    const TABLE: Table = Table::Deposits;

    fn row_id(&self) -> RowId {
        Self::row(self.key, self.version)
    }

    fn parent(&self) -> String {
        self.key.to_string()
    }
}

/// That the shares gave the private half in a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// When it was shown here.
    pub at: UnixMillis,
    /// Who brought the answer.
    pub by: Name,
}

/// One verification of an escrow: every agent shows the own share, and a rehearsal shows that they combine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// From 1.
    pub number: u32,
    /// The version of the escrow key.
    pub escrow: u32,
    /// When it began.
    pub opened: UnixMillis,
    /// Proofs that were asked for since then count: when it began, or when the key was made for its first one.
    pub since: UnixMillis,
    /// By whom.
    pub by: Name,
    /// When it is to be over.
    pub due: UnixMillis,
    /// What only the private half can answer.
    pub challenge: Sealed,
    /// SHA-256 of the answer.
    #[serde(with = "hex::serde")]
    pub expected: [u8; 32],
    /// When that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<Rehearsed>,
    /// When all was shown, or when another took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<UnixMillis>,
    /// Whether everything was shown.
    #[serde(default)]
    pub verified: bool,
    /// When people were last told that it is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<UnixMillis>,
}

impl Campaign {
    /// What its rehearsal is bound to.
    #[must_use]
    pub fn context(number: u32, escrow: u32) -> Vec<u8> {
        [b"campaign".as_slice(), &number.to_be_bytes(), &escrow.to_be_bytes()].concat()
    }

    /// The row of a number; numbers sort.
    #[must_use]
    pub fn row(number: u32) -> RowId {
        RowId::from(number.to_be_bytes())
    }

    /// Whether it goes on.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Whether it goes on although it should be over.
    #[must_use]
    pub fn is_overdue(&self, now: UnixMillis) -> bool {
        self.is_open() && self.due <= now
    }

    /// What is missing, in words; nothing once all was shown.
    #[must_use]
    pub fn missing(&self, set: &ShareHolders) -> Vec<String> {
        let mut missing: Vec<String> =
            set.unproved_since(self.since).map(|holder| format!("proof of {}", holder.called())).collect();
        if self.rehearsed.is_none() {
            missing.push("rehearsal".to_owned());
        }
        missing
    }

    /// Closed, if nothing is missing.
    #[must_use]
    pub fn complete(mut self, set: &ShareHolders, now: UnixMillis) -> Self {
        if self.is_open() && self.missing(set).is_empty() {
            (self.closed, self.verified) = (Some(now), true);
        }
        self
    }

    /// The record once people are told now that it is overdue; nothing if they need not be.
    #[must_use]
    pub fn remind(mut self, now: UnixMillis) -> Option<Self> {
        let again = self.told.is_none_or(|told| told.plus_days(TOLD_EVERY_DAYS) <= now);
        (self.is_overdue(now) && again).then(|| {
            self.told = Some(now);
            self
        })
    }

    /// When the next one begins.
    #[must_use]
    pub fn next(&self) -> UnixMillis {
        self.opened.plus_days(CAMPAIGN_EVERY_DAYS)
    }
}

impl FiledRecord for Campaign {
    const TABLE: Table = Table::EscrowCampaigns;

    fn row_id(&self) -> RowId {
        Self::row(self.number)
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// Where recovered material goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RecoverTo {
    /// Back into the server, which lost it.
    Server,
    /// To somebody, wrapped.
    Recipient {
        /// How.
        method: WrappingMethod,
        /// What people compare.
        fingerprint: String,
        /// The public half as PEM.
        key: String,
    },
}

/// Where a recovery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RecoveryState {
    /// It waits for the shares of agents.
    Open,
    /// The material went where it was to go.
    Done {
        /// When.
        at: UnixMillis,
    },
    /// Somebody gave it up.
    Abandoned {
        /// When.
        at: UnixMillis,
        /// Who.
        by: Name,
    },
}

/// A key that comes back from escrow. Kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Its id.
    pub id: RecoveryId,
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
    /// The version of the escrow key that it is under.
    pub escrow: u32,
    /// Where it goes.
    pub to: RecoverTo,
    /// Why.
    pub reason: Label,
    /// Who asked, with the consent of others.
    pub by: Name,
    /// When.
    pub begun: UnixMillis,
    /// Shares are taken until then.
    pub expires: UnixMillis,
    /// Where it stands.
    pub state: RecoveryState,
    /// The agents whose shares brought it back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agents: BTreeSet<String>,
    /// What goes to a recipient, wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<Sealed>,
}

/// Why a recovery takes no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecoveryRefusal {
    /// It is done, or was given up.
    #[error("this recovery is over: another is begun with `keyreeve escrow recover`")]
    Over,
    /// Its time is over.
    #[error("this recovery waited {RECOVERY_HOURS} hours for shares and is over: begin another, with consent anew")]
    Expired,
}

impl Recovery {
    /// Refuses unless it waits for shares.
    ///
    /// # Errors
    /// [`RecoveryRefusal`].
    pub fn need_open(&self, now: UnixMillis) -> Result<(), RecoveryRefusal> {
        match self.state {
            RecoveryState::Open if now < self.expires => Ok(()),
            RecoveryState::Open => Err(RecoveryRefusal::Expired),
            RecoveryState::Done { .. } | RecoveryState::Abandoned { .. } => Err(RecoveryRefusal::Over),
        }
    }

    /// The name of where it stands, on wires.
    #[must_use]
    pub fn standing(&self, now: UnixMillis) -> &'static str {
        match self.state {
            RecoveryState::Open if now < self.expires => "open",
            RecoveryState::Open => "expired",
            RecoveryState::Done { .. } => "done",
            RecoveryState::Abandoned { .. } => "abandoned",
        }
    }
}

impl FiledRecord for Recovery {
    const TABLE: Table = Table::Recoveries;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.key.to_string()
    }
}

#[cfg(test)]
mod tests;
