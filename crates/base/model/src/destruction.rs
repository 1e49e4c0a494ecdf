//! Destruction: the waiting period, and the record that outlives the key (requirement R8).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::ids::{HoldId, KeyId, KeyringId};
use crate::lifecycle::Refusal;
use crate::limits::{DESTRUCTION_WAIT_MAX_DAYS, DESTRUCTION_WAIT_MIN_DAYS};
use crate::metadata::{Label, Name};
use crate::time::UnixMillis;

/// A destruction that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledDestruction {
    /// When it was asked for.
    pub requested: UnixMillis,
    /// When it may be carried out.
    pub due: UnixMillis,
    /// By whom.
    pub requested_by: Name,
    /// Why.
    pub reason: Label,
    /// The holds that Legal knew of when it consented: these do not stand in the way.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub holds: BTreeSet<HoldId>,
}

/// Checks a waiting period.
///
/// # Errors
/// [`Refusal::WaitingPeriod`] outside 7 to 30 days.
pub fn check_waiting_period(days: u32) -> Result<(), Refusal> {
    if (DESTRUCTION_WAIT_MIN_DAYS..=DESTRUCTION_WAIT_MAX_DAYS).contains(&days) {
        Ok(())
    } else {
        Err(Refusal::WaitingPeriod { days })
    }
}

/// One erased piece of material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedVersion {
    /// The version.
    pub version: u32,
    /// The material's fingerprint, as in the key's record.
    pub fingerprint: String,
    /// SHA-256, in hexadecimal, of the wrapped material that was erased; empty where that was inside a device.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wrapped_sha256: String,
    /// The root of trust whose device had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Name>,
}

/// What remains of a key for ever: proof that it is gone, and what the server consults after a restore
/// (docs/decisions/0002).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestructionRecord {
    /// The key.
    pub key: KeyId,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard whose epoch was erased with it.
    pub shard: u32,
    /// The epoch under which the material was wrapped, erased; 0 where it was under none, inside a device.
    pub erased_epoch: u64,
    /// When the waiting period began.
    pub requested: UnixMillis,
    /// Who asked for it.
    pub requested_by: Name,
    /// Why.
    pub reason: Label,
    /// When it was carried out.
    pub destroyed: UnixMillis,
    /// Who carried it out.
    pub destroyed_by: Name,
    /// What was erased.
    pub versions: Vec<ErasedVersion>,
    /// What was looked at to show that the key is gone, in words. Empty as stored, because the record is written with
    /// the erasure and not after it: whoever shows the record fills in what was checked then.
    pub verified: Vec<String>,
    /// SHA-256, in hexadecimal, over all of the above in storage form, `verified` empty: what the audit record carries.
    pub verification_hash: String,
}

impl DestructionRecord {
    /// The bytes the verification hash is computed over: the record as stored, with that field empty.
    #[must_use]
    pub fn hashed_form(&self) -> Vec<u8> {
        let unhashed = Self { verification_hash: String::new(), verified: Vec::new(), ..self.clone() };
        // Unwrap safety: strings and numbers always serialise.
        #[allow(clippy::expect_used)]
        serde_json::to_vec(&unhashed).expect("records serialise")
    }
}
