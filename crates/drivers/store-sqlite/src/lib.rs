//! The store in one SQLite file: for a single server, without a database to operate.
//!
//! - **Durable**: write-ahead log with `synchronous=FULL`; a commit returns after the log is synced. Transactions that
//!   wait at the same time share one sync.
//! - **Erasing erases**: material is overwritten where it lies, and after an erasure the write-ahead log is emptied.
//!   What a copy-on-write file system or a flash disk keeps of overwritten blocks is out of SQLite's reach.
//! - **Alone**: one process uses the database at a time; a second one is refused.
//!
//! Calls need a Tokio runtime; reads run on its blocking threads.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod copy;
mod error;
mod filed;
mod migrate;
mod open;
mod read;
mod readers;
mod slots;
mod writer;

use async_trait::async_trait;
use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::record::Table;
use keyreeve_model::{
    DestructionRow, FiledRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RowId, SealedRecord, TokenId, Transaction,
    UnixMillis,
};
use keyreeve_store::{KeyFilter, MaterialPlace, Page, Piece, Store, StoreError};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

pub use crate::open::OpenError;

use crate::error::Gone;
use crate::readers::Readers;
use crate::writer::{Job, Work, Writer};

/// How many transactions wait for the writer before callers wait to be let in.
const QUEUE: usize = 1024;

/// A store in one SQLite file.
pub struct SqliteStore {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    readers: Readers,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens or makes the database at `path`. The directory must be closed to other users (mode 0700; made so where
    /// there is none), the file too (0600). Migrates the schema to this program's version. Blocks for some
    /// milliseconds.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        open::prepare(path)?;
        let lock = open::lock(path)?;
        let mut db = open::writer(path)?;
        migrate::migrate(&mut db, migrate::MIGRATIONS)?;
        let readers = Readers::new(path);
        // A process that died between an erasure and the clearing of the log left that to us.
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = Writer::new(db, lock);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(receiver))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), readers, path: path.to_owned() })
    }

    async fn write(&self, work: Work) -> Result<bool, StoreError> {
        let sender = locked(&self.jobs).clone().ok_or(Gone::Closed)?;
        let (reply, outcome) = oneshot::channel();
        sender.send(Job { work, reply }).await.map_err(|_| Gone::Writer)?;
        // `close` waits for the queue to end, so nobody keeps a sender longer than needed.
        drop(sender);
        // It had the work: what became of it, the next start sees.
        outcome.await.map_err(|_| StoreError::InDoubt(Box::new(Gone::Writer)))?
    }

    /// Runs long work on a blocking thread, unless the store is closed.
    async fn apart<F>(&self, work: F) -> Result<(), StoreError>
    where
        F: FnOnce(&Path) -> Result<(), StoreError> + Send + 'static,
    {
        if locked(&self.jobs).is_none() {
            return Err(Gone::Closed.into());
        }
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || work(&path)).await.map_err(|_| Gone::Cancelled)?
    }

    /// Lets the writer finish what waits; returns it, unless somebody else has it already.
    fn end(&self) -> Option<JoinHandle<()>> {
        locked(&self.jobs).take();
        locked(&self.thread).take()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("open", &locked(&self.jobs).is_some()).finish_non_exhaustive()
    }
}

/// Waits for the writer, so that the database can be opened again right away.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.readers.clear();
        if let Some(thread) = self.end() {
            // A panic of the writer was seen by its callers.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.write(Work::Commit(transaction)).await.map(drop)
    }

    async fn deployment(&self) -> Result<Option<SealedRecord>, StoreError> {
        self.readers.read(read::deployment).await
    }

    async fn keyring(&self, id: KeyringId) -> Result<Option<KeyringRow>, StoreError> {
        self.readers.read(move |db| read::keyring(db, id)).await
    }

    async fn keyring_named(&self, name: &Name) -> Result<Option<KeyringRow>, StoreError> {
        let name = name.clone();
        self.readers.read(move |db| read::keyring_named(db, &name)).await
    }

    async fn keyrings(&self, page: Page<KeyringId>) -> Result<Vec<KeyringRow>, StoreError> {
        self.readers.read(move |db| read::keyrings(db, page)).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        self.readers.read(move |db| read::key(db, id)).await
    }

    async fn key_aliased(&self, alias: &Name) -> Result<Option<KeyRow>, StoreError> {
        let alias = alias.clone();
        self.readers.read(move |db| read::key_aliased(db, &alias)).await
    }

    async fn keys(&self, filter: &KeyFilter, page: Page<KeyId>) -> Result<Vec<KeyRow>, StoreError> {
        let filter = filter.clone();
        self.readers.read(move |db| read::keys(db, &filter, page)).await
    }

    async fn key_with_material(&self, id: KeyId) -> Result<Option<(KeyRow, Option<MaterialRow>)>, StoreError> {
        self.readers.read(move |db| read::key_with_material(db, id)).await
    }

    async fn destructions_due(
        &self,
        now: UnixMillis,
        page: Page<(UnixMillis, KeyId)>,
    ) -> Result<Vec<(UnixMillis, KeyId)>, StoreError> {
        self.readers.read(move |db| read::destructions_due(db, now, page)).await
    }

    async fn material(&self, key: KeyId, version: u32) -> Result<Option<MaterialRow>, StoreError> {
        self.readers.read(move |db| read::material(db, key, version)).await
    }

    async fn key_material(&self, key: KeyId) -> Result<Vec<MaterialRow>, StoreError> {
        self.readers.read(move |db| read::key_material(db, key)).await
    }

    async fn shard_material(
        &self,
        keyring: KeyringId,
        shard: u32,
        page: Page<MaterialPlace>,
    ) -> Result<Vec<MaterialRow>, StoreError> {
        self.readers.read(move |db| read::shard_material(db, keyring, shard, page)).await
    }

    async fn shard_keys(&self, keyring: KeyringId, shard: u32) -> Result<u32, StoreError> {
        self.readers.read(move |db| read::shard_keys(db, keyring, shard)).await
    }

    async fn shard_epochs(&self, keyring: KeyringId, shard: u32) -> Result<Vec<u64>, StoreError> {
        self.readers.read(move |db| read::shard_epochs(db, keyring, shard)).await
    }

    async fn epochs_in_use(&self) -> Result<Vec<(KeyringId, u32, u64)>, StoreError> {
        self.readers.read(read::epochs_in_use).await
    }

    async fn destruction(&self, key: KeyId) -> Result<Option<SealedRecord>, StoreError> {
        self.readers.read(move |db| read::destruction(db, key)).await
    }

    async fn destructions(&self, page: Page<KeyId>) -> Result<Vec<DestructionRow>, StoreError> {
        self.readers.read(move |db| read::destructions(db, page)).await
    }

    async fn destruction_of_epoch(
        &self,
        keyring: KeyringId,
        shard: u32,
        epoch: u64,
    ) -> Result<Option<(KeyId, SealedRecord)>, StoreError> {
        self.readers.read(move |db| read::destruction_of_epoch(db, keyring, shard, epoch)).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.readers.read(move |db| read::token(db, id)).await
    }

    async fn tokens(&self, page: Page<TokenId>) -> Result<Vec<TokenRow>, StoreError> {
        self.readers.read(move |db| read::tokens(db, page)).await
    }

    async fn principal(&self, name: &Name) -> Result<Option<NamedRow>, StoreError> {
        let name = name.clone();
        self.readers.read(move |db| read::principal(db, &name)).await
    }

    async fn principals(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError> {
        self.readers.read(move |db| read::principals(db, page)).await
    }

    async fn policy(&self, name: &Name) -> Result<Option<NamedRow>, StoreError> {
        let name = name.clone();
        self.readers.read(move |db| read::policy(db, &name)).await
    }

    async fn policies(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError> {
        self.readers.read(move |db| read::policies(db, page)).await
    }

    async fn filed(&self, table: Table, id: &RowId) -> Result<Option<FiledRow>, StoreError> {
        let id = id.clone();
        self.readers.read(move |db| filed::one(db, table, &id)).await
    }

    async fn filed_page(
        &self,
        table: Table,
        parent: Option<&str>,
        page: Page<RowId>,
    ) -> Result<Vec<FiledRow>, StoreError> {
        let parent = parent.map(str::to_owned);
        self.readers.read(move |db| filed::page(db, table, parent.as_deref(), &page)).await
    }

    async fn filed_due(&self, table: Table, before: UnixMillis, limit: u32) -> Result<Vec<FiledRow>, StoreError> {
        self.readers.read(move |db| filed::due(db, table, before, limit)).await
    }

    async fn filed_count(&self, table: Table, parent: &str) -> Result<u64, StoreError> {
        let parent = parent.to_owned();
        self.readers.read(move |db| filed::count(db, table, &parent)).await
    }

    async fn remembered(&self, key: &[u8; 32], now: UnixMillis) -> Result<Option<IdempotencyRow>, StoreError> {
        let key = *key;
        self.readers.read(move |db| read::remembered(db, &key, now)).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<Outbox>, StoreError> {
        self.readers.read(move |db| read::outbox(db, limit)).await
    }

    async fn snapshot(&self, to: mpsc::Sender<Piece>) -> Result<(), StoreError> {
        // A connection of its own: a long copy must not take one of the few that all reads share.
        self.apart(move |path| copy::snapshot(path, &to)).await
    }

    async fn load(&self, from: mpsc::Receiver<Piece>) -> Result<(), StoreError> {
        self.apart(move |path| copy::load(path, from)).await
    }

    async fn lease(&self, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, StoreError> {
        self.write(Work::Lease { holder: holder.to_owned(), now, until }).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.readers.read(read::deployment).await?;
        self.write(Work::Check).await.map(drop)
    }

    async fn close(&self) {
        // Readers first: the last connection to close empties the write-ahead log.
        self.readers.close().await;
        if let Some(thread) = self.end() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the store's writer thread did not end well");
            }
        }
    }
}

#[cfg(test)]
mod tests;
