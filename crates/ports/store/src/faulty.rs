//! A store that fails on command: what stands above it is tested against every kind of failure a real store has.
//!
//! The hardest one is [`CommitFault::FailedButPersisted`]: the transaction was applied, the answer got lost. A caller
//! that repeats it blindly does it twice; a caller that forgets it loses something it promised.

use async_trait::async_trait;
use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::record::Table;
use keyreeve_model::{
    DestructionRow, FiledRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RowId, SealedRecord, TokenId, Transaction,
    UnixMillis,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{KeyFilter, MaterialPlace, Page, Piece, Store, StoreError};

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is applied; the caller hears [`StoreError::Unavailable`].
    Failed,
    /// Everything is applied; the caller hears [`StoreError::InDoubt`].
    FailedButPersisted,
    /// Nothing is applied; the caller hears [`StoreError::Conflict`].
    Conflict,
    /// Nothing is applied; the caller hears [`StoreError::LeaseLost`].
    LeaseLost,
}

/// What the caller of a faulty store finds as the source of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("injected: {0}")]
pub struct Injected(&'static str);

#[derive(Debug, Default)]
struct Script {
    commits: u64,
    reads: u64,
    checks: u64,
    faults: BTreeMap<u64, CommitFault>,
    failing_reads: u64,
    read_only: bool,
}

/// A store with a script of failures; without one it behaves as the store inside.
///
/// Commits and reads are counted from 1 since the wrapper was made. [`Store::lease`] and [`Store::check`] count as
/// neither; both fail while the store is read-only.
#[derive(Debug)]
pub struct FaultyStore<S: ?Sized> {
    script: Mutex<Script>,
    inner: Arc<S>,
}

impl<S: Store + ?Sized> FaultyStore<S> {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<S>) -> Self {
        Self { script: Mutex::default(), inner }
    }

    /// Lets commit number `number` (from 1) fail.
    pub fn fail_commit(&self, number: u64, fault: CommitFault) {
        self.script().faults.insert(number, fault);
    }

    /// Lets the commit after those that were made so far fail.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        let mut script = self.script();
        let next = script.commits + 1;
        script.faults.insert(next, fault);
    }

    /// Lets the next `count` reads fail as unavailable.
    pub fn fail_reads(&self, count: u64) {
        self.script().failing_reads = count;
    }

    /// Refuses every write as [`StoreError::ReadOnly`] until told otherwise, as a full disk does.
    pub fn set_read_only(&self, read_only: bool) {
        self.script().read_only = read_only;
    }

    /// How many commits were asked for.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.script().commits
    }

    /// How many reads were asked for.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.script().reads
    }

    /// How often [`Store::check`] was asked.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.script().checks
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Result<(), StoreError> {
        if self.script().read_only { Err(StoreError::ReadOnly(Box::new(Injected("no space")))) } else { Ok(()) }
    }

    fn read(&self) -> Result<&S, StoreError> {
        let mut script = self.script();
        script.reads += 1;
        match script.failing_reads.checked_sub(1) {
            Some(left) => {
                script.failing_reads = left;
                Err(unavailable("read failed"))
            }
            None => Ok(&self.inner),
        }
    }
}

fn unavailable(what: &'static str) -> StoreError {
    StoreError::Unavailable(Box::new(Injected(what)))
}

#[async_trait]
impl<S: Store + ?Sized> Store for FaultyStore<S> {
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        let fault = {
            let mut script = self.script();
            script.commits += 1;
            let number = script.commits;
            script.faults.remove(&number)
        };
        self.write()?;
        match fault {
            None => self.inner.commit(transaction).await,
            Some(CommitFault::Failed) => Err(unavailable("commit failed")),
            Some(CommitFault::Conflict) => Err(StoreError::Conflict { transaction: transaction.name }),
            Some(CommitFault::LeaseLost) => Err(StoreError::LeaseLost),
            Some(CommitFault::FailedButPersisted) => {
                self.inner.commit(transaction).await?;
                Err(StoreError::InDoubt(Box::new(Injected("commit succeeded, the answer was lost"))))
            }
        }
    }

    async fn deployment(&self) -> Result<Option<SealedRecord>, StoreError> {
        self.read()?.deployment().await
    }

    async fn keyring(&self, id: KeyringId) -> Result<Option<KeyringRow>, StoreError> {
        self.read()?.keyring(id).await
    }

    async fn keyring_named(&self, name: &Name) -> Result<Option<KeyringRow>, StoreError> {
        self.read()?.keyring_named(name).await
    }

    async fn keyrings(&self, page: Page<KeyringId>) -> Result<Vec<KeyringRow>, StoreError> {
        self.read()?.keyrings(page).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        self.read()?.key(id).await
    }

    async fn key_aliased(&self, alias: &Name) -> Result<Option<KeyRow>, StoreError> {
        self.read()?.key_aliased(alias).await
    }

    async fn keys(&self, filter: &KeyFilter, page: Page<KeyId>) -> Result<Vec<KeyRow>, StoreError> {
        self.read()?.keys(filter, page).await
    }

    async fn key_with_material(&self, id: KeyId) -> Result<Option<(KeyRow, Option<MaterialRow>)>, StoreError> {
        self.read()?.key_with_material(id).await
    }

    async fn destructions_due(
        &self,
        now: UnixMillis,
        page: Page<(UnixMillis, KeyId)>,
    ) -> Result<Vec<(UnixMillis, KeyId)>, StoreError> {
        self.read()?.destructions_due(now, page).await
    }

    async fn material(&self, key: KeyId, version: u32) -> Result<Option<MaterialRow>, StoreError> {
        self.read()?.material(key, version).await
    }

    async fn key_material(&self, key: KeyId) -> Result<Vec<MaterialRow>, StoreError> {
        self.read()?.key_material(key).await
    }

    async fn shard_material(
        &self,
        keyring: KeyringId,
        shard: u32,
        page: Page<MaterialPlace>,
    ) -> Result<Vec<MaterialRow>, StoreError> {
        self.read()?.shard_material(keyring, shard, page).await
    }

    async fn shard_keys(&self, keyring: KeyringId, shard: u32) -> Result<u32, StoreError> {
        self.read()?.shard_keys(keyring, shard).await
    }

    async fn shard_epochs(&self, keyring: KeyringId, shard: u32) -> Result<Vec<u64>, StoreError> {
        self.read()?.shard_epochs(keyring, shard).await
    }

    async fn epochs_in_use(&self) -> Result<Vec<(KeyringId, u32, u64)>, StoreError> {
        self.read()?.epochs_in_use().await
    }

    async fn destruction(&self, key: KeyId) -> Result<Option<SealedRecord>, StoreError> {
        self.read()?.destruction(key).await
    }

    async fn destructions(&self, page: Page<KeyId>) -> Result<Vec<DestructionRow>, StoreError> {
        self.read()?.destructions(page).await
    }

    async fn destruction_of_epoch(
        &self,
        keyring: KeyringId,
        shard: u32,
        epoch: u64,
    ) -> Result<Option<(KeyId, SealedRecord)>, StoreError> {
        self.read()?.destruction_of_epoch(keyring, shard, epoch).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.read()?.token(id).await
    }

    async fn tokens(&self, page: Page<TokenId>) -> Result<Vec<TokenRow>, StoreError> {
        self.read()?.tokens(page).await
    }

    async fn principal(&self, name: &Name) -> Result<Option<NamedRow>, StoreError> {
        self.read()?.principal(name).await
    }

    async fn principals(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError> {
        self.read()?.principals(page).await
    }

    async fn policy(&self, name: &Name) -> Result<Option<NamedRow>, StoreError> {
        self.read()?.policy(name).await
    }

    async fn policies(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError> {
        self.read()?.policies(page).await
    }

    async fn filed(&self, table: Table, id: &RowId) -> Result<Option<FiledRow>, StoreError> {
        self.read()?.filed(table, id).await
    }

    async fn filed_page(
        &self,
        table: Table,
        parent: Option<&str>,
        page: Page<RowId>,
    ) -> Result<Vec<FiledRow>, StoreError> {
        self.read()?.filed_page(table, parent, page).await
    }

    async fn filed_due(&self, table: Table, before: UnixMillis, limit: u32) -> Result<Vec<FiledRow>, StoreError> {
        self.read()?.filed_due(table, before, limit).await
    }

    async fn filed_count(&self, table: Table, parent: &str) -> Result<u64, StoreError> {
        self.read()?.filed_count(table, parent).await
    }

    async fn remembered(&self, key: &[u8; 32], now: UnixMillis) -> Result<Option<IdempotencyRow>, StoreError> {
        self.read()?.remembered(key, now).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<Outbox>, StoreError> {
        self.read()?.outbox(limit).await
    }

    async fn snapshot(&self, to: mpsc::Sender<Piece>) -> Result<(), StoreError> {
        self.read()?.snapshot(to).await
    }

    async fn load(&self, from: mpsc::Receiver<Piece>) -> Result<(), StoreError> {
        self.write()?;
        self.inner.load(from).await
    }

    async fn lease(&self, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.lease(holder, now, until).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.script().checks += 1;
        self.write()?;
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
