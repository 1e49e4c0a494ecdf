//! Prints what a key costs that is not in memory, and how much memory reading such keys takes: `cargo bench -p
//! keyreeve-store-sqlite --bench cold`. Linux only.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use keyreeve_model::change::KeyRow;
use keyreeve_model::{Change, KeyId, KeyringId, MaterialRow, Revision, SealedRecord, State, Transaction};
use keyreeve_store::Store;
use keyreeve_store_sqlite::SqliteStore;
use std::sync::Arc;
use std::time::Instant;

/// Keys in the store.
const KEYS: u32 = 100_000;
/// Reads of a round.
const READS: u32 = 100_000;

fn id(n: u32) -> [u8; 16] {
    let mut bytes = [7; 16];
    // Spread, so that neighbours in the table are not neighbours in time.
    bytes[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    bytes
}

fn create(n: u32) -> [Change; 2] {
    let (key, keyring) = (KeyId::from_bytes(id(n)), KeyringId::from_bytes([1; 16]));
    let record = SealedRecord { revision: Revision::FIRST, bytes: vec![n.to_le_bytes()[0]; 900], mac: [0; 32] };
    let row = KeyRow { id: key, keyring, state: State::Active, destruction_due: None, aliases: vec![], record };
    let material = MaterialRow { key, version: 1, keyring, shard: n / 256, epoch: 1, wrapped: vec![3; 72] };
    [Change::PutKey(row), Change::AddMaterial(material)]
}

/// Resident memory in KiB, and processor time in ticks of 10 ms.
fn usage() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (resident.trim().trim_end_matches(" kB").trim().parse().unwrap(), ticks(11) + ticks(12))
}

async fn reads(store: &Arc<SqliteStore>, callers: u32, together: bool) {
    let (start, (_, before)) = (Instant::now(), usage());
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for n in 0..READS / callers {
                let number = (caller * 7919 + n).wrapping_mul(48_271) % KEYS;
                let key = KeyId::from_bytes(id(number));
                if together {
                    assert!(store.key_with_material(key).await.unwrap().unwrap().1.is_some());
                } else {
                    assert!(store.key(key).await.unwrap().is_some());
                    assert!(store.material(key, 1).await.unwrap().is_some());
                }
            }
        });
    }
    tasks.join_all().await;
    let (memory, after) = usage();
    let cpu = (after - before) as f64 * 10_000.0 / f64::from(READS);
    let rate = f64::from(READS) / start.elapsed().as_secs_f64();
    let how = if together { "one read" } else { "two reads" };
    println!("{callers:3} callers, {how:9}: {rate:7.0} keys/s, {cpu:5.1} us CPU each, {memory} KiB resident");
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("data").join("store.db")).unwrap());
    for first in (0..KEYS).step_by(1000) {
        let changes = (first..first + 1000).flat_map(create).collect();
        store.commit(Transaction { name: "fill", changes, ..Transaction::default() }).await.unwrap();
    }
    println!("{KEYS} keys: {} KiB resident", usage().0);
    for callers in [1, 64] {
        for together in [false, true] {
            reads(&store, callers, together).await;
        }
    }
    store.close().await;
}
