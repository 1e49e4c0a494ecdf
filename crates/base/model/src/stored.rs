//! Every row of a store, as it is: what a copy of a whole store is made of.
//!
//! Nothing here is opened: records are sealed, material is wrapped. Whoever copies a store needs no key for it.

use crate::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, Outbox, TokenRow};
use crate::filed::FiledRow;
use crate::ids::{KeyId, KeyringId};
use crate::material::MaterialRow;
use crate::record::SealedRecord;

/// A destruction record's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestructionRow {
    /// The key.
    pub key: KeyId,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring.
    pub shard: u32,
    /// The epoch that was erased with it.
    pub epoch: u64,
    /// The record.
    pub record: SealedRecord,
}

/// One row of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredRow {
    /// The deployment's record.
    Deployment(SealedRecord),
    /// A keyring.
    Keyring(KeyringRow),
    /// A destruction record.
    Destruction(DestructionRow),
    /// A key with its aliases.
    Key(KeyRow),
    /// Wrapped material.
    Material(MaterialRow),
    /// A token.
    Token(TokenRow),
    /// A principal.
    Principal(NamedRow),
    /// A policy.
    Policy(NamedRow),
    /// A filed record.
    Filed(FiledRow),
    /// A remembered answer.
    Answer(IdempotencyRow),
    /// An audit record on its way to the journal.
    Outbox(Outbox),
}
