//! The failure-injecting wrapper, over a real store.
#![allow(clippy::unwrap_used, missing_docs)]

use keyreeve_model::change::NamedRow;
use keyreeve_model::{Change, Revision, SealedRecord, Transaction, UnixMillis};
use keyreeve_store::faulty::{CommitFault, FaultyStore};
use keyreeve_store::{Store, StoreError, conformance};
use keyreeve_store_sqlite::SqliteStore;
use std::sync::Arc;
use tempfile::TempDir;

fn store() -> (TempDir, FaultyStore<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("data").join("store.db")).unwrap();
    (directory, FaultyStore::new(Arc::new(store)))
}

fn put(revision: i64) -> Transaction {
    let record = SealedRecord { revision: Revision(revision), bytes: b"{}".to_vec(), mac: [0; 32] };
    let row = NamedRow { name: "policy".parse().unwrap(), record };
    Transaction { name: "put", changes: vec![Change::PutPolicy(row)], ..Transaction::default() }
}

async fn revision(store: &dyn Store) -> i64 {
    store.policy(&"policy".parse().unwrap()).await.unwrap().map_or(0, |row| row.record.revision.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_script_it_is_the_store_inside() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    conformance::run(move |case| {
        let path = root.join(case).join("store.db");
        async move { Arc::new(FaultyStore::new(Arc::new(SqliteStore::open(&path).unwrap()))) as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test]
async fn commits_fail_by_number() {
    let (_directory, store) = store();
    store.fail_commit(2, CommitFault::Failed);
    store.fail_commit(4, CommitFault::FailedButPersisted);
    store.fail_commit(5, CommitFault::Conflict);
    store.commit(put(1)).await.unwrap();
    assert!(matches!(store.commit(put(2)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(revision(&store).await, 1, "failed: nothing applied");
    store.commit(put(2)).await.unwrap();
    assert!(matches!(store.commit(put(3)).await, Err(StoreError::InDoubt(_))));
    assert_eq!(revision(&store).await, 3, "failed but persisted");
    assert!(matches!(store.commit(put(4)).await, Err(StoreError::Conflict { transaction: "put" })));
    assert_eq!(revision(&store).await, 3);
    store.fail_next_commit(CommitFault::Failed);
    assert!(store.commit(put(4)).await.is_err());
    store.commit(put(4)).await.unwrap();
    assert_eq!(store.commits(), 7);
}

#[tokio::test]
async fn what_conflicts_inside_is_a_conflict_even_when_the_answer_should_get_lost() {
    let (_directory, store) = store();
    store.fail_commit(1, CommitFault::FailedButPersisted);
    assert!(matches!(store.commit(put(2)).await, Err(StoreError::Conflict { .. })));
}

#[tokio::test]
async fn reads_fail_for_a_while() {
    let (_directory, store) = store();
    store.commit(put(1)).await.unwrap();
    store.fail_reads(2);
    assert!(matches!(store.deployment().await, Err(StoreError::Unavailable(_))));
    store.commit(put(2)).await.unwrap();
    assert!(matches!(store.outbox(1).await, Err(StoreError::Unavailable(_))));
    assert_eq!(revision(&store).await, 2);
    assert_eq!(store.reads(), 3);
}

#[tokio::test]
async fn read_only_refuses_every_write_and_ends() {
    let (_directory, store) = store();
    store.set_read_only(true);
    let lease = || store.lease("a", UnixMillis(0), UnixMillis(1));
    assert!(matches!(store.commit(put(1)).await, Err(StoreError::ReadOnly(_))));
    assert!(matches!(lease().await, Err(StoreError::ReadOnly(_))));
    assert!(matches!(store.check().await, Err(StoreError::ReadOnly(_))));
    assert_eq!(revision(&store).await, 0, "reads work");
    store.set_read_only(false);
    store.check().await.unwrap();
    assert!(lease().await.unwrap());
    store.commit(put(1)).await.unwrap();
}
