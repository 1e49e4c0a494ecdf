//! The store port: where records and wrapped key material live.
//!
//! A driver keeps rows and applies [`Transaction`]s; it knows nothing of keys, policies or cryptography. Everything it
//! holds is wrapped or sealed before it arrives. Every driver passes the `conformance` suite (feature of that name).
#![forbid(unsafe_code)]
#![cfg_attr(any(test, feature = "conformance"), allow(clippy::unwrap_used))]

use async_trait::async_trait;
use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::record::Table;
use keyreeve_model::{
    DestructionRow, FiledRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RowId, SealedRecord, State, StoredRow,
    TokenId, Transaction, UnixMillis,
};
use thiserror::Error;
use tokio::sync::mpsc;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "faulty")]
pub mod faulty;
pub mod migration;

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else changed a row first; nothing was applied. Reload, recompute, try again.
    #[error("the `{transaction}` transaction met a concurrent change")]
    Conflict {
        /// The transaction's name.
        transaction: &'static str,
    },
    /// A name or alias is taken; nothing was applied. Trying again does not help.
    #[error("the {what} `{name}` exists already")]
    Taken {
        /// What kind of name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There is no room or no permission to write; nothing was applied and reads still work.
    #[error("the store cannot write")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store did not answer. Nothing was applied, and nothing of it will be.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer to a commit was lost and could not be found out: the transaction was applied, or will be, or not.
    #[error("it is not known whether the transaction was applied")]
    InDoubt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The lease this handle had asked for is somebody else's; nothing was applied.
    #[error("another server holds the lease on the store")]
    LeaseLost,
    /// Rows should be loaded into a store that has some; nothing was changed.
    #[error("the store is not empty: rows are loaded into a fresh one only")]
    NotEmpty,
    /// What is stored cannot be right. Nothing is guessed; a person must look.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Which keys to list.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Only keys of this keyring.
    pub keyring: Option<KeyringId>,
    /// Only keys whose row was written in this state.
    pub state: Option<State>,
}

/// A page of rows, in ascending order of their id or name.
#[derive(Clone, Copy, Debug)]
pub struct Page<C> {
    /// Only rows after this one.
    pub after: Option<C>,
    /// At most this many rows; 1 to 1,000.
    pub limit: u32,
}

/// A piece of a copy of a whole store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Rows, at most [`PIECE_ROWS`] of them.
    Rows(Vec<StoredRow>),
    /// There are no more: a copy without this is none.
    End,
}

/// The most rows of one piece (count).
pub const PIECE_ROWS: usize = 500;

/// Where a row stands among the material of its shard: epoch, key, version.
pub type MaterialPlace = (u64, KeyId, u32);

/// Where records and wrapped material live.
///
/// # Contract
/// - **Durable**: when [`Store::commit`] returns `Ok`, the transaction survives the loss of power.
/// - **Atomic**: all changes, outbox rows and settlements of a transaction apply, or none.
/// - **Compare-and-set**: a row of revision *n* + 1 is written only over revision *n*, revision 1 only where there is
///   none; otherwise [`StoreError::Conflict`]. A unique name of another row is [`StoreError::Taken`].
/// - **Serialisable** among commits; a read sees every commit that returned before it began.
/// - **Concurrent**: any number of callers; a driver may apply several transactions in one flush (group commit), each
///   with its own outcome.
/// - **Erasing erases**: after [`keyreeve_model::Change::EraseMaterial`] and
///   [`keyreeve_model::Change::EraseVersion`] the driver's files hold the bytes no longer where the database gives it
///   the means.
/// - **Fenced**: once [`Store::lease`] was asked on a handle, that handle's commits apply only while the holder it
///   named last has the lease; otherwise [`StoreError::LeaseLost`]. The lease is a condition inside the transaction:
///   a superseded server cannot write, however late it notices. Time alone takes nothing away, another holder does.
/// - **Retry** is the caller's job, except for faults the database itself calls transient (serialisation failures),
///   which the driver retries a few times.
#[async_trait]
pub trait Store: Send + Sync {
    /// Applies a transaction.
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError>;

    /// The deployment's record, unless the store is fresh.
    async fn deployment(&self) -> Result<Option<SealedRecord>, StoreError>;

    /// One keyring.
    async fn keyring(&self, id: KeyringId) -> Result<Option<KeyringRow>, StoreError>;
    /// One keyring by its name.
    async fn keyring_named(&self, name: &Name) -> Result<Option<KeyringRow>, StoreError>;
    /// Keyrings by id.
    async fn keyrings(&self, page: Page<KeyringId>) -> Result<Vec<KeyringRow>, StoreError>;

    /// One key.
    async fn key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError>;
    /// The key that has this alias.
    async fn key_aliased(&self, alias: &Name) -> Result<Option<KeyRow>, StoreError>;
    /// Keys by id.
    async fn keys(&self, filter: &KeyFilter, page: Page<KeyId>) -> Result<Vec<KeyRow>, StoreError>;
    /// One key with the material of its newest version that has some, of one moment: what a first use needs.
    async fn key_with_material(&self, id: KeyId) -> Result<Option<(KeyRow, Option<MaterialRow>)>, StoreError>;
    /// Keys whose pending destruction is due, with its instant, soonest first and then by id.
    async fn destructions_due(
        &self,
        now: UnixMillis,
        page: Page<(UnixMillis, KeyId)>,
    ) -> Result<Vec<(UnixMillis, KeyId)>, StoreError>;

    /// The wrapped material of one version.
    async fn material(&self, key: KeyId, version: u32) -> Result<Option<MaterialRow>, StoreError>;
    /// The wrapped material of every version of one key, by version.
    async fn key_material(&self, key: KeyId) -> Result<Vec<MaterialRow>, StoreError>;
    /// Material of one shard, by epoch, key and version.
    async fn shard_material(
        &self,
        keyring: KeyringId,
        shard: u32,
        page: Page<MaterialPlace>,
    ) -> Result<Vec<MaterialRow>, StoreError>;
    /// How many keys have material in one shard.
    async fn shard_keys(&self, keyring: KeyringId, shard: u32) -> Result<u32, StoreError>;
    /// Every epoch that some material of one shard is wrapped under, ascending, without repetition.
    async fn shard_epochs(&self, keyring: KeyringId, shard: u32) -> Result<Vec<u64>, StoreError>;
    /// Every (keyring, shard, epoch) that some material is wrapped under, without repetition.
    async fn epochs_in_use(&self) -> Result<Vec<(KeyringId, u32, u64)>, StoreError>;

    /// The destruction record of a key, if the key was destroyed.
    async fn destruction(&self, key: KeyId) -> Result<Option<SealedRecord>, StoreError>;

    /// Destruction records by their key.
    async fn destructions(&self, page: Page<KeyId>) -> Result<Vec<DestructionRow>, StoreError>;

    /// A destruction record of the shard that calls this epoch or a later one erased, with its key; none when there is
    /// none.
    async fn destruction_of_epoch(
        &self,
        keyring: KeyringId,
        shard: u32,
        epoch: u64,
    ) -> Result<Option<(KeyId, SealedRecord)>, StoreError>;

    /// One token.
    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError>;
    /// Tokens by id.
    async fn tokens(&self, page: Page<TokenId>) -> Result<Vec<TokenRow>, StoreError>;

    /// One principal.
    async fn principal(&self, name: &Name) -> Result<Option<NamedRow>, StoreError>;
    /// Principals by name.
    async fn principals(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError>;

    /// One policy.
    async fn policy(&self, name: &Name) -> Result<Option<NamedRow>, StoreError>;
    /// Policies by name.
    async fn policies(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError>;

    /// One filed record.
    async fn filed(&self, table: Table, id: &RowId) -> Result<Option<FiledRow>, StoreError>;
    /// Filed records of one kind by id, all of them or those of one parent.
    async fn filed_page(
        &self,
        table: Table,
        parent: Option<&str>,
        page: Page<RowId>,
    ) -> Result<Vec<FiledRow>, StoreError>;
    /// Filed records of one kind that are due at `before` or were earlier, soonest first and then by id; at most
    /// `limit`, 1 to 1,000.
    async fn filed_due(&self, table: Table, before: UnixMillis, limit: u32) -> Result<Vec<FiledRow>, StoreError>;
    /// How many filed records of one kind a parent has.
    async fn filed_count(&self, table: Table, parent: &str) -> Result<u64, StoreError>;

    /// The remembered answer to a request, unless it ended before `now`.
    async fn remembered(&self, key: &[u8; 32], now: UnixMillis) -> Result<Option<IdempotencyRow>, StoreError>;

    /// Audit records that have not been settled, oldest first, at most `limit`.
    async fn outbox(&self, limit: u32) -> Result<Vec<Outbox>, StoreError>;

    /// Every row of the store, all of one moment, in this order of kinds: deployment, keyrings, destruction records,
    /// keys, material, tokens, principals, policies, filed records, remembered answers, outbox; material by keyring,
    /// shard, key and version. Pieces go to `to` as fast as they are taken, and [`Piece::End`] behind the last one.
    /// Commits go on meanwhile, so whoever takes slowly keeps old rows alive in the database. Leases are no part of it.
    ///
    /// # Errors
    /// Also when nobody takes the pieces any more.
    async fn snapshot(&self, to: mpsc::Sender<Piece>) -> Result<(), StoreError>;

    /// Puts rows into an empty store, as they are and at the revisions they have: all up to [`Piece::End`], or none
    /// where that does not come. In an order in which [`Store::snapshot`] could have given them. It asks for no lease:
    /// nobody uses an empty store.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`]; [`StoreError::Damaged`] when the rows contradict one another or end early.
    async fn load(&self, from: mpsc::Receiver<Piece>) -> Result<(), StoreError>;

    /// Takes or renews the right to be the one server of this store until `until`. `Ok(false)` when `holder` is
    /// somebody else's and not over at `now`. Durable like a commit; compare-and-set, no vendor locks. From the first
    /// call on, this handle's commits apply only while `holder` has the lease.
    ///
    /// With an `until` that is not after `now` it gives the lease back: what is somebody else's stays so, over or not,
    /// because he may renew it yet. The call waits for no connection that commits or reads need.
    async fn lease(&self, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, StoreError>;

    /// Asks whether the store can read and write now; cheap, for readiness.
    async fn check(&self) -> Result<(), StoreError>;

    /// Finishes what is under way and closes. Afterwards every call is [`StoreError::Unavailable`].
    async fn close(&self);
}
