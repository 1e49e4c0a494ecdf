//! The store in PostgreSQL: for several servers, or where a database is operated anyway.
//!
//! Only portable SQL: compare-and-set updates, `ON CONFLICT`, arrays as parameters, `FOR SHARE` on one row; no advisory
//! locks. Databases that speak PostgreSQL's protocol and dialect can serve as well. The transport follows the URL's
//! `sslmode`.
//!
//! - **Durable**: a commit returns when the server says so; a session that finds `synchronous_commit` off turns it on,
//!   and a server that runs with `fsync = off` is warned about.
//! - **Erasing**: the rows are deleted, but PostgreSQL gives no means to overwrite them: old row versions stay until
//!   `VACUUM`, and in its log and backups. Destroyed keys stay destroyed because their epoch's key is erased, which no
//!   database holds.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod copy;
mod error;
mod filed;
mod migrate;
mod pool;
mod rows;

use async_trait::async_trait;
use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::record::Table;
use keyreeve_model::{
    DestructionRow, FiledRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RowId, SealedRecord, TokenId, Transaction,
    UnixMillis,
};
use keyreeve_store::migration::SchemaError;
use keyreeve_store::{KeyFilter, MaterialPlace, Page, Piece, Store, StoreError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::pool::Pool;

/// How often a statement or transaction is tried again after a fault that the database calls transient.
const ATTEMPTS: u32 = 6;

/// Why a database was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL cannot be read. The cause is left out: it could repeat the password.
    #[error(
        "the database URL is not valid: expected `postgres://user:password@host:port/database?sslmode=verify-full`"
    )]
    Url,
    /// Its schema is not this program's.
    #[error(transparent)]
    Schema(SchemaError),
    /// The server cannot be reached or refuses.
    #[error("PostgreSQL cannot be used: {0}")]
    Database(#[from] sqlx::Error),
}

/// How the connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// At most this many connections at a time, and one more for the lease.
    pub connections: u32,
    /// How long a caller waits for a free connection or a new one.
    pub acquire_timeout: Duration,
    /// How long a transaction or a read may take; afterwards its connection is given up.
    pub operation_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { connections: 16, acquire_timeout: Duration::from_secs(5), operation_timeout: Duration::from_secs(10) }
    }
}

/// A store in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
}

impl PostgresStore {
    /// Connects and migrates the schema to this program's version. The tables go where the user's `search_path` leads.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong; it never repeats the URL.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, OpenError> {
        let pool = Pool::connect(url, options).await?;
        let mut db = pool.connection().await?;
        migrate::migrate(&mut db, migrate::MIGRATIONS).await?;
        Ok(Self { pool })
    }
}

/// The bytes after which a page of ids begins; the empty string sorts before every id.
fn after_id(after: Option<&[u8; 16]>) -> &[u8] {
    after.map_or(&[], |id| id.as_slice())
}

fn after_name(after: Option<&Name>) -> &str {
    after.map_or("", Name::as_str)
}

fn rows_per_page<C>(page: &Page<C>) -> i64 {
    page.limit.clamp(1, 1000).into()
}

/// One statement, so that a key and its aliases are of the same moment. No name contains a space.
macro_rules! select_keys {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT id, keyring, state, destruction_due, (SELECT string_agg(alias, ' ' ORDER BY alias) FROM aliases \
             WHERE key_id = keys.id), revision, record, mac FROM keys ",
            $rest
        ))
    };
}

macro_rules! select_material {
    ($rest:literal) => {
        sqlx::query(concat!("SELECT key_id, version, keyring, shard, epoch, wrapped FROM material ", $rest))
    };
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.pool.commit(&transaction).await
    }

    async fn deployment(&self) -> Result<Option<SealedRecord>, StoreError> {
        let query = sqlx::query("SELECT revision, record, mac FROM deployment WHERE one = 1");
        self.pool.first(query, rows::sealed).await
    }

    async fn keyring(&self, id: KeyringId) -> Result<Option<KeyringRow>, StoreError> {
        let sql = "SELECT id, name, revision, record, mac FROM keyrings WHERE id = $1";
        self.pool.first(sqlx::query(sql).bind(id.as_bytes()), rows::keyring).await
    }

    async fn keyring_named(&self, name: &Name) -> Result<Option<KeyringRow>, StoreError> {
        let sql = "SELECT id, name, revision, record, mac FROM keyrings WHERE name = $1";
        self.pool.first(sqlx::query(sql).bind(name.as_str()), rows::keyring).await
    }

    async fn keyrings(&self, page: Page<KeyringId>) -> Result<Vec<KeyringRow>, StoreError> {
        let sql = "SELECT id, name, revision, record, mac FROM keyrings WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after_id(page.after.as_ref().map(KeyringId::as_bytes));
        self.pool.all(sqlx::query(sql).bind(after).bind(rows_per_page(&page)), rows::keyring).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        self.pool.first(select_keys!("WHERE id = $1").bind(id.as_bytes()), rows::key).await
    }

    async fn key_aliased(&self, alias: &Name) -> Result<Option<KeyRow>, StoreError> {
        let query = select_keys!("WHERE id = (SELECT key_id FROM aliases WHERE alias = $1)");
        self.pool.first(query.bind(alias.as_str()), rows::key).await
    }

    async fn keys(&self, filter: &KeyFilter, page: Page<KeyId>) -> Result<Vec<KeyRow>, StoreError> {
        let query = match (filter.keyring, filter.state) {
            (None, None) => select_keys!("WHERE id > $1 ORDER BY id LIMIT $2"),
            (Some(_), None) => select_keys!("WHERE keyring = $3 AND id > $1 ORDER BY id LIMIT $2"),
            (None, Some(_)) => select_keys!("WHERE state = $3 AND id > $1 ORDER BY id LIMIT $2"),
            (Some(_), Some(_)) => {
                select_keys!("WHERE keyring = $3 AND state = $4 AND id > $1 ORDER BY id LIMIT $2")
            }
        };
        let after = after_id(page.after.as_ref().map(KeyId::as_bytes));
        let mut query = query.bind(after).bind(rows_per_page(&page));
        if let Some(keyring) = &filter.keyring {
            query = query.bind(keyring.as_bytes());
        }
        if let Some(state) = filter.state {
            query = query.bind(state.name());
        }
        self.pool.all(query, rows::key).await
    }

    async fn key_with_material(&self, id: KeyId) -> Result<Option<(KeyRow, Option<MaterialRow>)>, StoreError> {
        let sql = "SELECT keys.id, keys.keyring, state, destruction_due, (SELECT string_agg(alias, ' ' ORDER BY alias) \
                   FROM aliases WHERE key_id = keys.id), revision, record, mac, \
                   key_id, version, material.keyring, shard, epoch, wrapped \
                   FROM keys LEFT JOIN material ON key_id = keys.id WHERE keys.id = $1 ORDER BY version DESC LIMIT 1";
        self.pool.first(sqlx::query(sql).bind(id.as_bytes()), rows::key_with_material).await
    }

    async fn destructions_due(
        &self,
        now: UnixMillis,
        page: Page<(UnixMillis, KeyId)>,
    ) -> Result<Vec<(UnixMillis, KeyId)>, StoreError> {
        let sql = "SELECT destruction_due, id FROM keys \
                   WHERE destruction_due <= $1 AND (destruction_due, id) > ($2, $3) \
                   ORDER BY destruction_due, id LIMIT $4";
        let due = page.after.as_ref().map_or(i64::MIN, |(due, _)| due.0);
        let id = after_id(page.after.as_ref().map(|(_, id)| id.as_bytes()));
        let query = sqlx::query(sql).bind(now.0).bind(due).bind(id).bind(rows_per_page(&page));
        self.pool.all(query, rows::due).await
    }

    async fn material(&self, key: KeyId, version: u32) -> Result<Option<MaterialRow>, StoreError> {
        let query = select_material!("WHERE key_id = $1 AND version = $2");
        self.pool.first(query.bind(key.as_bytes()).bind(i64::from(version)), rows::material).await
    }

    async fn key_material(&self, key: KeyId) -> Result<Vec<MaterialRow>, StoreError> {
        let query = select_material!("WHERE key_id = $1 ORDER BY version");
        self.pool.all(query.bind(key.as_bytes()), rows::material).await
    }

    async fn shard_material(
        &self,
        keyring: KeyringId,
        shard: u32,
        page: Page<MaterialPlace>,
    ) -> Result<Vec<MaterialRow>, StoreError> {
        let query = select_material!(
            "WHERE keyring = $1 AND shard = $2 AND (epoch, key_id, version) > ($3, $4, $5) \
             ORDER BY epoch, key_id, version LIMIT $6"
        );
        let (epoch, version) = page.after.as_ref().map_or((i64::MIN, 0), |(epoch, _, v)| (epoch.cast_signed(), *v));
        let key = after_id(page.after.as_ref().map(|(_, key, _)| key.as_bytes()));
        let query = query.bind(keyring.as_bytes()).bind(i64::from(shard)).bind(epoch).bind(key);
        self.pool.all(query.bind(i64::from(version)).bind(rows_per_page(&page)), rows::material).await
    }

    async fn shard_keys(&self, keyring: KeyringId, shard: u32) -> Result<u32, StoreError> {
        let sql = "SELECT COUNT(DISTINCT key_id) FROM material WHERE keyring = $1 AND shard = $2";
        let query = sqlx::query(sql).bind(keyring.as_bytes()).bind(i64::from(shard));
        Ok(self.pool.first(query, rows::count).await?.unwrap_or(0))
    }

    async fn shard_epochs(&self, keyring: KeyringId, shard: u32) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT DISTINCT epoch FROM material WHERE keyring = $1 AND shard = $2 ORDER BY epoch";
        self.pool.all(sqlx::query(sql).bind(keyring.as_bytes()).bind(i64::from(shard)), rows::epoch_number).await
    }

    async fn epochs_in_use(&self) -> Result<Vec<(KeyringId, u32, u64)>, StoreError> {
        let sql = "SELECT DISTINCT keyring, shard, epoch FROM material ORDER BY keyring, shard, epoch";
        self.pool.all(sqlx::query(sql), rows::epoch).await
    }

    async fn destruction(&self, key: KeyId) -> Result<Option<SealedRecord>, StoreError> {
        let sql = "SELECT revision, record, mac FROM destructions WHERE key_id = $1";
        self.pool.first(sqlx::query(sql).bind(key.as_bytes()), rows::sealed).await
    }

    async fn destructions(&self, page: Page<KeyId>) -> Result<Vec<DestructionRow>, StoreError> {
        let sql = "SELECT key_id, keyring, shard, epoch, revision, record, mac FROM destructions \
                   WHERE key_id > $1 ORDER BY key_id LIMIT $2";
        let after = after_id(page.after.as_ref().map(KeyId::as_bytes));
        self.pool.all(sqlx::query(sql).bind(after).bind(rows_per_page(&page)), rows::destruction_row).await
    }

    async fn destruction_of_epoch(
        &self,
        keyring: KeyringId,
        shard: u32,
        epoch: u64,
    ) -> Result<Option<(KeyId, SealedRecord)>, StoreError> {
        let sql = "SELECT key_id, revision, record, mac FROM destructions \
                   WHERE keyring = $1 AND shard = $2 AND epoch >= $3 ORDER BY epoch LIMIT 1";
        let query = sqlx::query(sql).bind(keyring.as_bytes()).bind(i64::from(shard)).bind(epoch.cast_signed());
        self.pool.first(query, rows::destruction).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        let sql = "SELECT id, principal, expires, revision, record, mac FROM tokens WHERE id = $1";
        self.pool.first(sqlx::query(sql).bind(id.as_bytes()), rows::token).await
    }

    async fn tokens(&self, page: Page<TokenId>) -> Result<Vec<TokenRow>, StoreError> {
        let sql = "SELECT id, principal, expires, revision, record, mac FROM tokens WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after_id(page.after.as_ref().map(TokenId::as_bytes));
        self.pool.all(sqlx::query(sql).bind(after).bind(rows_per_page(&page)), rows::token).await
    }

    async fn principal(&self, name: &Name) -> Result<Option<NamedRow>, StoreError> {
        let sql = "SELECT name, revision, record, mac FROM principals WHERE name = $1";
        self.pool.first(sqlx::query(sql).bind(name.as_str()), rows::named).await
    }

    async fn principals(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError> {
        let sql = "SELECT name, revision, record, mac FROM principals WHERE name > $1 ORDER BY name LIMIT $2";
        let query = sqlx::query(sql).bind(after_name(page.after.as_ref())).bind(rows_per_page(&page));
        self.pool.all(query, rows::named).await
    }

    async fn policy(&self, name: &Name) -> Result<Option<NamedRow>, StoreError> {
        let sql = "SELECT name, revision, record, mac FROM policies WHERE name = $1";
        self.pool.first(sqlx::query(sql).bind(name.as_str()), rows::named).await
    }

    async fn policies(&self, page: Page<Name>) -> Result<Vec<NamedRow>, StoreError> {
        let sql = "SELECT name, revision, record, mac FROM policies WHERE name > $1 ORDER BY name LIMIT $2";
        let query = sqlx::query(sql).bind(after_name(page.after.as_ref())).bind(rows_per_page(&page));
        self.pool.all(query, rows::named).await
    }

    async fn filed(&self, table: Table, id: &RowId) -> Result<Option<FiledRow>, StoreError> {
        let found = self.pool.first(filed::select_one(table, id), filed::row).await?;
        Ok(found.map(|row| row.of(table)))
    }

    async fn filed_page(
        &self,
        table: Table,
        parent: Option<&str>,
        page: Page<RowId>,
    ) -> Result<Vec<FiledRow>, StoreError> {
        let limit = rows_per_page(&page);
        let found = self.pool.all(filed::select_page(table, parent, page.after.as_ref(), limit), filed::row).await?;
        Ok(found.into_iter().map(|row| row.of(table)).collect())
    }

    async fn filed_due(&self, table: Table, before: UnixMillis, limit: u32) -> Result<Vec<FiledRow>, StoreError> {
        let found = self.pool.all(filed::select_due(table, before, limit), filed::row).await?;
        Ok(found.into_iter().map(|row| row.of(table)).collect())
    }

    async fn filed_count(&self, table: Table, parent: &str) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM filed WHERE kind = $1 AND parent = $2";
        let query = sqlx::query(sql).bind(table.name()).bind(parent);
        Ok(self.pool.first(query, rows::epoch_number).await?.unwrap_or(0))
    }

    async fn remembered(&self, key: &[u8; 32], now: UnixMillis) -> Result<Option<IdempotencyRow>, StoreError> {
        let sql =
            "SELECT request_key, request, reply, expires FROM idempotency WHERE request_key = $1 AND expires >= $2";
        self.pool.first(sqlx::query(sql).bind(key.as_slice()).bind(now.0), rows::answer).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<Outbox>, StoreError> {
        let sql = "SELECT id, bytes FROM outbox ORDER BY seq LIMIT $1";
        self.pool.all(sqlx::query(sql).bind(i64::from(limit)), rows::outbox).await
    }

    async fn snapshot(&self, to: mpsc::Sender<Piece>) -> Result<(), StoreError> {
        let mut db = self.pool.apart().await?;
        copy::snapshot(&mut db, &to).await
    }

    async fn load(&self, from: mpsc::Receiver<Piece>) -> Result<(), StoreError> {
        let mut db = self.pool.apart().await?;
        copy::load(&mut db, from).await
    }

    async fn lease(&self, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, StoreError> {
        self.pool.lease(holder, now, until).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.pool.statement("check", apply::beat).await? {
            1 => Ok(()),
            _ => Err(StoreError::Damaged("table `health` has lost its row".into())),
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
