//! Prints how many durable commits and reads per second this machine manages: `cargo bench -p keyreeve-store-sqlite`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use keyreeve_model::change::KeyRow;
use keyreeve_model::{Change, KeyId, KeyringId, Outbox, RecordId, Revision, SealedRecord, State, Transaction};
use keyreeve_store::Store;
use keyreeve_store_sqlite::SqliteStore;
use std::sync::Arc;
use std::time::Instant;

fn id(n: u32) -> [u8; 16] {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// A new key of 512 bytes and its audit record, as creating a key writes them.
fn create(n: u32) -> Transaction {
    let record = SealedRecord { revision: Revision::FIRST, bytes: vec![n.to_le_bytes()[0]; 512], mac: [0; 32] };
    let keyring = KeyringId::from_bytes([1; 16]);
    let id = id(n);
    let key = KeyId::from_bytes(id);
    let row = KeyRow { id: key, keyring, state: State::Active, destruction_due: None, aliases: vec![], record };
    let outbox = vec![Outbox { id: RecordId::from_bytes(id), bytes: vec![1; 400] }];
    Transaction { name: "create", changes: vec![Change::PutKey(row)], outbox, settled: vec![] }
}

async fn commits(store: &Arc<SqliteStore>, callers: u32, each: u32, first: u32) {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for n in 0..each {
                store.commit(create(first + caller * each + n)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let rate = f64::from(callers * each) / start.elapsed().as_secs_f64();
    println!("{callers:3} callers: {rate:8.0} transactions/s of 2 rows");
}

async fn reads(store: &Arc<SqliteStore>, callers: u32, each: u32) {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for n in 0..each {
                let key = KeyId::from_bytes(id((caller * 31 + n) % 2000));
                assert!(store.key(key).await.unwrap().is_some());
            }
        });
    }
    tasks.join_all().await;
    let rate = f64::from(callers * each) / start.elapsed().as_secs_f64();
    println!("{callers:3} callers: {rate:8.0} reads/s");
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("data").join("store.db")).unwrap());
    commits(&store, 1, 5000, 0).await;
    commits(&store, 8, 2000, 100_000).await;
    commits(&store, 64, 500, 200_000).await;
    reads(&store, 1, 20_000).await;
    reads(&store, 64, 1000).await;
    store.close().await;
}
