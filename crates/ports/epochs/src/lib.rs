//! The epochs port: where wrapped epoch keys are kept, apart from the store.
#![forbid(unsafe_code)]
#![cfg_attr(any(test, feature = "conformance"), allow(clippy::unwrap_used))]

use async_trait::async_trait;
use keyreeve_model::KeyringId;
use thiserror::Error;

#[cfg(feature = "conformance")]
pub mod conformance;

/// Longest wrapped epoch key that a vault takes, in bytes: several times what any KEK makes of a key.
pub const WRAPPED_MAX: usize = 64 * 1024;

/// One epoch of one shard of a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId {
    /// The keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring.
    pub shard: u32,
    /// Counts up from 1.
    pub epoch: u64,
}

/// Why the epoch vault did not do what it was asked.
#[derive(Debug, Error)]
pub enum VaultError {
    /// There is an epoch of this number already.
    #[error("epoch {} of shard {} exists already", .0.epoch, .0.shard)]
    Exists(EpochId),
    /// What is kept for this epoch is not what was put there.
    #[error(
        "epoch {} of shard {} of {} is damaged in the epoch vault: restore the vault, or destroy the keys of the shard",
        .0.epoch, .0.shard, .0.keyring
    )]
    Damaged(EpochId),
    /// There is no room or no permission to write; nothing changed.
    #[error("the epoch vault cannot write: {0}")]
    ReadOnly(std::io::Error),
    /// It did not answer.
    #[error("the epoch vault is not available: {0}")]
    Unavailable(std::io::Error),
}

/// Keeps wrapped epoch keys, apart from the store and out of its backups.
///
/// A destroyed key's material was wrapped under an epoch key that is erased here: whoever restores an old copy of the
/// store finds nothing that opens it (docs/decisions/0002 has the reasoning).
///
/// # Contract
/// - **Durable**: when `put` returns, the epoch survives the loss of power.
/// - **Erased**: when `erase` returns, the bytes were overwritten where the medium permits, and the epoch stays gone
///   after the loss of power. Erasing what is not there is no error.
/// - **Replaced**: when `replace` returns true the new bytes survive the loss of power, and the former ones were
///   overwritten where the medium permits; whoever reads meanwhile gets one or the other, whole. It brings nothing
///   back: an epoch that is erased at the same time stays erased.
/// - Any number of callers at once.
#[async_trait]
pub trait EpochVault: Send + Sync {
    /// Adds an epoch: at most [`WRAPPED_MAX`] bytes, and never over one that is there.
    async fn put(&self, id: EpochId, wrapped: &[u8]) -> Result<(), VaultError>;
    /// The wrapped key of an epoch.
    async fn get(&self, id: EpochId) -> Result<Option<Vec<u8>>, VaultError>;
    /// Puts other bytes, at most [`WRAPPED_MAX`] of them, in the place of an epoch's wrapped key: the same key under
    /// another one. False, and nothing done, where there is no such epoch.
    async fn replace(&self, id: EpochId, wrapped: &[u8]) -> Result<bool, VaultError>;
    /// Erases an epoch.
    async fn erase(&self, id: EpochId) -> Result<(), VaultError>;
    /// All epochs, in order.
    async fn list(&self) -> Result<Vec<EpochId>, VaultError>;
    /// Asks whether epochs could be read and added now; cheap, for readiness: anybody may cause calls, as often as they
    /// like.
    async fn check(&self) -> Result<(), VaultError>;
}
