//! The driver passes the suite of the store port, on a server given by the environment.
//!
//! `KEYREEVE_TEST_POSTGRES` holds the URL of a server where the user may create schemas; each case gets its own.
#![allow(clippy::unwrap_used, missing_docs)]

use keyreeve_model::change::NamedRow;
use keyreeve_model::{Change, Revision, SealedRecord, Transaction, UnixMillis};
use keyreeve_store::migration::SchemaError;
use keyreeve_store::{Store, StoreError, conformance};
use keyreeve_store_postgres::{OpenError, PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const VARIABLE: &str = "KEYREEVE_TEST_POSTGRES";

/// The server's URL; without one the test does nothing and says so, or fails where everything must run.
#[allow(clippy::print_stderr)]
fn server(test: &str) -> Option<String> {
    let url = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let why = format!("{test}: {VARIABLE} is not set, so there is no PostgreSQL to test with");
        assert!(std::env::var("KEYREEVE_TEST_ALL").as_deref() != Ok("1"), "{why}");
        eprintln!("not run: {why}");
    }
    url
}

/// Schemas of this test, dropped by [`Schemas::drop_all`].
struct Schemas {
    url: String,
    made: Mutex<HashSet<String>>,
}

impl Schemas {
    fn new(url: String) -> Arc<Self> {
        Arc::new(Self { url, made: Mutex::default() })
    }

    async fn run(&self, sql: String) {
        let mut db = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    }

    /// The URL that leads into a schema, which is made when it is named for the first time.
    async fn url(&self, case: &str) -> String {
        let schema = format!("k{}_{case}", std::process::id());
        let new = self.made.lock().unwrap().insert(schema.clone());
        if new {
            self.run(format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")).await;
        }
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}options=-csearch_path%3D{schema}", self.url)
    }

    async fn drop_all(&self) {
        let made: Vec<_> = self.made.lock().unwrap().drain().collect();
        for schema in made {
            self.run(format!("DROP SCHEMA {schema} CASCADE")).await;
        }
    }
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::connect(url, PostgresOptions::default()).await.unwrap()
}

fn put(revision: i64) -> Transaction {
    let record = SealedRecord { revision: Revision(revision), bytes: b"{}".to_vec(), mac: [0; 32] };
    let row = NamedRow { name: "policy".parse().unwrap(), record };
    Transaction { name: "put", changes: vec![Change::PutPolicy(row)], ..Transaction::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_passes_the_conformance_suite() {
    let Some(url) = server("postgres_passes_the_conformance_suite") else { return };
    let schemas = Schemas::new(url);
    let all = Arc::clone(&schemas);
    conformance::run(move |case| {
        let schemas = Arc::clone(&all);
        async move { Arc::new(open(&schemas.url(case).await).await) as Arc<dyn Store> }
    })
    .await;
    assert_eq!(schemas.made.lock().unwrap().len(), conformance::CASES.len(), "every case had its own store");
    schemas.drop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_migrate_postgres_once() {
    let Some(url) = server("servers_that_start_at_once_migrate_postgres_once") else { return };
    let schemas = Schemas::new(url);
    let url = schemas.url("start").await;
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        starting.spawn(async move { open(&url).await });
    }
    let stores = starting.join_all().await;
    stores[0].commit(put(1)).await.unwrap();
    for store in &stores {
        assert!(store.policy(&"policy".parse().unwrap()).await.unwrap().is_some(), "all see one database");
        store.close().await;
    }
    schemas.drop_all().await;
}

#[tokio::test]
async fn newer_and_changed_postgres_databases_are_refused() {
    let Some(url) = server("newer_and_changed_postgres_databases_are_refused") else { return };
    let schemas = Schemas::new(url);
    let url = schemas.url("schema").await;
    open(&url).await.close().await;
    let mut db = PgConnection::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO schema_version VALUES (1000, '1000_later.sql', '00')").execute(&mut db).await.unwrap();
    let refusal = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap_err();
    assert!(matches!(refusal, OpenError::Schema(SchemaError::Newer { found: 1000, .. })), "{refusal}");
    sqlx::query("DELETE FROM schema_version WHERE version = 1000").execute(&mut db).await.unwrap();
    sqlx::query("UPDATE schema_version SET sha256 = 'x' WHERE version = 1").execute(&mut db).await.unwrap();
    let refusal = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap_err();
    assert!(matches!(refusal, OpenError::Schema(SchemaError::Changed { .. })), "{refusal}");
    db.close().await.unwrap();
    schemas.drop_all().await;
}

#[tokio::test]
async fn a_read_only_postgres_refuses_writes_and_recovers() {
    let Some(url) = server("a_read_only_postgres_refuses_writes_and_recovers") else { return };
    let schemas = Schemas::new(url);
    let url = schemas.url("read_only").await;
    let store = open(&url).await;
    store.commit(put(1)).await.unwrap();
    let read_only = open_read_only(&url).await;
    assert!(matches!(read_only.commit(put(2)).await, Err(StoreError::ReadOnly(_))));
    assert!(matches!(read_only.check().await, Err(StoreError::ReadOnly(_))));
    assert!(read_only.policy(&"policy".parse().unwrap()).await.unwrap().is_some(), "reads still work");
    read_only.close().await;
    store.commit(put(2)).await.unwrap();
    store.close().await;
    schemas.drop_all().await;
}

async fn open_read_only(url: &str) -> PostgresStore {
    open(&url.replace("options=", "options=-cdefault_transaction_read_only%3Don%20")).await
}

/// A row that somebody else keeps locked: the commit gives up in time and can be repeated.
#[tokio::test]
async fn a_postgres_commit_does_not_wait_for_ever() {
    let Some(url) = server("a_postgres_commit_does_not_wait_for_ever") else { return };
    let schemas = Schemas::new(url);
    let url = schemas.url("wait").await;
    let options = PostgresOptions { operation_timeout: Duration::from_millis(300), ..PostgresOptions::default() };
    let store = PostgresStore::connect(&url, options).await.unwrap();
    store.commit(put(1)).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("UPDATE policies SET revision = revision").execute(&mut *lock).await.unwrap();
    assert!(matches!(store.commit(put(2)).await, Err(StoreError::Unavailable(_))));
    assert!(store.policy(&"policy".parse().unwrap()).await.unwrap().is_some());
    lock.rollback().await.unwrap();
    store.commit(put(2)).await.unwrap();
    other.close().await.unwrap();
    store.close().await;
    schemas.drop_all().await;
}

/// Whoever may ask for readiness cannot keep the server from renewing its lease.
#[tokio::test]
async fn a_postgres_lease_is_renewed_while_every_connection_is_taken() {
    let Some(url) = server("a_postgres_lease_is_renewed_while_every_connection_is_taken") else { return };
    let schemas = Schemas::new(url);
    let url = schemas.url("taken").await;
    let options =
        PostgresOptions { connections: 1, acquire_timeout: Duration::from_millis(300), ..PostgresOptions::default() };
    let store = Arc::new(PostgresStore::connect(&url, options).await.unwrap());
    assert!(store.lease("a", UnixMillis(0), UnixMillis(100)).await.unwrap());
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("UPDATE health SET beat = beat").execute(&mut *lock).await.unwrap();
    let waits = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.check().await })
    };
    while store.policy(&"policy".parse().unwrap()).await.is_ok() {}
    assert!(store.lease("a", UnixMillis(50), UnixMillis(150)).await.unwrap());
    lock.rollback().await.unwrap();
    waits.await.unwrap().unwrap();
    other.close().await.unwrap();
    store.close().await;
    schemas.drop_all().await;
}

/// The server ends all sessions between two commits: the second one notices before anything is sent, and takes a new
/// one.
#[tokio::test]
async fn a_lost_postgres_connection_is_replaced() {
    let Some(url) = server("a_lost_postgres_connection_is_replaced") else { return };
    let schemas = Schemas::new(url);
    let url = schemas.url("lost").await;
    let store = open(&format!("{url}&application_name=keyreeve-lost")).await;
    store.commit(put(1)).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keyreeve-lost'";
    assert!(sqlx::query(end).execute(&mut other).await.unwrap().rows_affected() > 0);
    store.commit(put(2)).await.unwrap();
    other.close().await.unwrap();
    store.close().await;
    schemas.drop_all().await;
}

#[tokio::test]
async fn a_bad_url_is_refused_without_being_repeated() {
    for url in
        ["postgres://user:hunter2@[bad/db", "not a url hunter2", "postgres://u:hunter2@127.0.0.1:1/x?sslmode=hunter2"]
    {
        let refusal = PostgresStore::connect(url, PostgresOptions::default()).await.unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("hunter2"), "{refusal:?}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_reported_in_time() {
    let options = PostgresOptions { acquire_timeout: Duration::from_millis(500), ..PostgresOptions::default() };
    let refusal = PostgresStore::connect("postgres://nobody@127.0.0.1:1/none", options).await.unwrap_err();
    assert!(matches!(refusal, OpenError::Database(_)), "{refusal}");
}
