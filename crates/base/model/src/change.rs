//! Changes: the only way to alter what is stored.
//!
//! A transaction is a value: all its changes apply or none does. Writing a row of revision *n* + 1 succeeds only where
//! revision *n* stands, revision 1 only where nothing does; so a transaction computed from stale records conflicts and
//! is computed again.

use crate::filed::{FiledRow, RowId};
use crate::ids::{KeyId, KeyringId, RecordId, TokenId};
use crate::lifecycle::State;
use crate::material::MaterialRow;
use crate::metadata::Name;
use crate::record::{SealedRecord, Table};
use crate::time::UnixMillis;

/// A key's row: the sealed record, and what the store indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key.
    pub id: KeyId,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The state when the row was written; for listing only, never for deciding.
    pub state: State,
    /// When its pending destruction is due.
    pub destruction_due: Option<UnixMillis>,
    /// All its aliases; replaces those the store has for it.
    pub aliases: Vec<Name>,
    /// The record.
    pub record: SealedRecord,
}

/// A keyring's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringRow {
    /// The keyring.
    pub id: KeyringId,
    /// Its name, unique.
    pub name: Name,
    /// The record.
    pub record: SealedRecord,
}

/// A token's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The token.
    pub id: TokenId,
    /// Whom it proves.
    pub principal: Name,
    /// When it ends; expired tokens may be removed.
    pub expires: UnixMillis,
    /// The record.
    pub record: SealedRecord,
}

/// A row that is addressed by name: a principal or a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRow {
    /// Its name, unique in its table.
    pub name: Name,
    /// The record.
    pub record: SealedRecord,
}

/// The remembered answer to a changing request, so that a retry does not do it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// SHA-256 of principal, operation and the caller's idempotency key.
    pub key: [u8; 32],
    /// SHA-256 of the request, to tell a retry from a different request under the same key.
    pub request: [u8; 32],
    /// The reply, without secrets.
    pub reply: Vec<u8>,
    /// When it may be forgotten.
    pub expires: UnixMillis,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes the deployment's record.
    PutDeployment(SealedRecord),
    /// Writes a keyring.
    PutKeyring(KeyringRow),
    /// Writes a key.
    PutKey(KeyRow),
    /// Adds the material of a new version; fails as a conflict where the version has material, or where a destruction
    /// record of its shard calls its epoch or a later one erased.
    AddMaterial(MaterialRow),
    /// Replaces material by the same under a newer epoch; fails as a conflict unless it stands under `from_epoch`, or
    /// where a destruction record calls the new epoch erased.
    Rewrap {
        /// The row as it shall be.
        row: MaterialRow,
        /// The epoch it stands under.
        from_epoch: u64,
    },
    /// Erases the material of every version of a key.
    EraseMaterial {
        /// The key.
        key: KeyId,
    },
    /// Erases the material of one version of a key; nothing where there is none.
    EraseVersion {
        /// The key.
        key: KeyId,
        /// The version.
        version: u32,
    },
    /// Adds a destruction record; there is one for a key, for ever.
    AddDestruction {
        /// The key.
        key: KeyId,
        /// Its keyring.
        keyring: KeyringId,
        /// The shard of the keyring.
        shard: u32,
        /// The epoch that is erased with it.
        epoch: u64,
        /// The record.
        record: SealedRecord,
    },
    /// Writes a token.
    PutToken(TokenRow),
    /// Writes a principal.
    PutPrincipal(NamedRow),
    /// Removes a principal; fails as a conflict unless its revision is the given one.
    DeletePrincipal {
        /// Its name.
        name: Name,
        /// The revision that is removed.
        revision: crate::Revision,
    },
    /// Writes a policy.
    PutPolicy(NamedRow),
    /// Removes a policy; fails as a conflict unless its revision is the given one.
    DeletePolicy {
        /// Its name.
        name: Name,
        /// The revision that is removed.
        revision: crate::Revision,
    },
    /// Remembers the answer to a request; fails as a conflict where one is remembered and not expired at `now`.
    Remember {
        /// What to remember.
        row: IdempotencyRow,
        /// The present, to tell expired rows.
        now: UnixMillis,
    },
    /// Writes a filed record.
    File(FiledRow),
    /// Removes a filed record; fails as a conflict unless its revision is the given one.
    Unfile {
        /// The kind of record.
        table: Table,
        /// Its row.
        id: RowId,
        /// The revision that is removed.
        revision: crate::Revision,
    },
    /// Forgets remembered answers, and removes tokens that ended and filed records that may be forgotten before this
    /// instant.
    Expire {
        /// Everything that ended before it goes.
        before: UnixMillis,
    },
}

/// An audit record on its way to the journal, stored with the changes it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    /// The audit record.
    pub id: RecordId,
    /// Its encoded form.
    pub bytes: Vec<u8>,
}

/// Changes that apply together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// For logs and metrics: the operation's name.
    pub name: &'static str,
    /// In this order.
    pub changes: Vec<Change>,
    /// Audit records that become durable with the changes.
    pub outbox: Vec<Outbox>,
    /// Audit records that have reached the journal and leave the outbox.
    pub settled: Vec<RecordId>,
}
