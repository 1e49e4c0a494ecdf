//! After an erasure no file of the store holds the erased bytes.
#![allow(clippy::unwrap_used, missing_docs)]

use keyreeve_model::{Change, KeyId, KeyringId, MaterialRow, Transaction};
use keyreeve_store::Store;
use keyreeve_store_sqlite::SqliteStore;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// Bytes that occur nowhere else.
fn wrapped(key: u32, version: u32, epoch: u64, size: usize) -> Vec<u8> {
    let mut state = (u64::from(key) << 40) ^ (u64::from(version) << 20) ^ epoch ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::new();
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn key(n: u32) -> KeyId {
    let mut bytes = [0; 16];
    // Not in ascending order, so that pages split in their middle.
    bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_be_bytes());
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    KeyId::from_bytes(bytes)
}

fn row(n: u32, version: u32, epoch: u64, size: usize) -> MaterialRow {
    let wrapped = wrapped(n, version, epoch, size);
    MaterialRow { key: key(n), version, keyring: KeyringId::from_bytes([1; 16]), shard: 0, epoch, wrapped }
}

async fn commit(store: &SqliteStore, changes: Vec<Change>) {
    store.commit(Transaction { name: "erasure", changes, ..Transaction::default() }).await.unwrap();
}

/// The name of a file that holds any piece of any of these, where a piece is eight bytes from a place that eight
/// divides: 15 bytes in a row always contain one.
fn trace(files: &[(String, Vec<u8>)], gone: &[Vec<u8>]) -> Option<String> {
    let piece = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let pieces: HashSet<u64> = gone.iter().flat_map(|bytes| bytes.chunks_exact(8).map(piece)).collect();
    // Most places of a file are ruled out by their first two bytes.
    let mut starts = vec![false; 1 << 16];
    let start = |piece: u64| usize::try_from(piece & 0xffff).unwrap();
    pieces.iter().for_each(|piece| starts[start(*piece)] = true);
    let holds = |content: &[u8]| {
        let place =
            |bytes: &[u8]| starts[usize::from(bytes[0]) | usize::from(bytes[1]) << 8] && pieces.contains(&piece(bytes));
        content.windows(8).any(place)
    };
    files.iter().find(|(_, content)| holds(content)).map(|(name, _)| name.clone())
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(directory).unwrap().map(|entry| read(entry.unwrap())).collect()
}

#[tokio::test]
async fn erased_material_is_in_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("data");
    let store = SqliteStore::open(&home.join("store.db")).unwrap();
    commit(&store, (1..=3).map(|version| Change::AddMaterial(row(1, version, 1, 60))).collect()).await;
    commit(&store, vec![Change::AddMaterial(row(2, 1, 1, 60))]).await;
    for version in 1..=3 {
        assert!(trace(&files(&home), &[wrapped(1, version, 1, 60)]).is_some(), "the search finds what is there");
    }
    let survivor = Change::Rewrap { row: row(2, 1, 2, 60), from_epoch: 1 };
    commit(&store, vec![Change::EraseMaterial { key: key(1) }, survivor]).await;
    let after = files(&home);
    for version in 1..=3 {
        assert_eq!(trace(&after, &[wrapped(1, version, 1, 60)]), None);
    }
    assert_eq!(trace(&after, &[wrapped(2, 1, 1, 60)]), None, "what was rewrapped is gone in its old form too");
    assert!(trace(&after, &[wrapped(2, 1, 2, 60)]).is_some());
    assert!(after.len() >= 3, "database, log and lock were searched");
}

/// One key's life in a larger store.
#[derive(Clone, Debug)]
enum Step {
    Add { key: u32, versions: u32, size: usize },
    Rewrap { key: u32 },
    Erase { key: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..60u32;
    prop_oneof![
        4 => (key.clone(), 1..6u32, prop_oneof![Just(60usize), Just(300), Just(1700), Just(3000), Just(9000)])
            .prop_map(|(key, versions, size)| Step::Add { key, versions, size }),
        1 => key.clone().prop_map(|key| Step::Rewrap { key }),
        2 => key.prop_map(|key| Step::Erase { key }),
    ]
}

/// What stands in the store: key to its versions, epoch and size.
type Standing = BTreeMap<u32, (u32, u64, usize)>;

async fn take(store: &SqliteStore, standing: &mut Standing, gone: &mut Vec<Vec<u8>>, step: &Step, epoch: u64) {
    match *step {
        Step::Add { key, versions, size } => {
            if let Entry::Vacant(free) = standing.entry(key) {
                let rows = (1..=versions).map(|version| Change::AddMaterial(row(key, version, epoch, size)));
                commit(store, rows.collect()).await;
                free.insert((versions, epoch, size));
            }
        }
        Step::Rewrap { key } => {
            if let Some(entry) = standing.get_mut(&key) {
                let (versions, from_epoch, size) = *entry;
                let to = |version| Change::Rewrap { row: row(key, version, epoch, size), from_epoch };
                commit(store, (1..=versions).map(to).collect()).await;
                entry.1 = epoch;
                gone.extend((1..=versions).map(|version| wrapped(key, version, from_epoch, size)));
            }
        }
        Step::Erase { key: n } => {
            commit(store, vec![Change::EraseMaterial { key: key(n) }]).await;
            if let Some((versions, epoch, size)) = standing.remove(&n) {
                gone.extend((1..=versions).map(|version| wrapped(n, version, epoch, size)));
            }
        }
    }
}

/// However rows were added, moved between pages and rewrapped before: an erased one leaves no trace.
#[test]
fn erased_material_leaves_no_trace_whatever_happened_before() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let steps = proptest::collection::vec(step(), 100..300);
    let outcome = runner.run(&steps, |steps| {
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let home = directory.path().join("data");
            let store = SqliteStore::open(&home.join("store.db")).unwrap();
            let (mut standing, mut gone) = (Standing::new(), Vec::new());
            for (epoch, step) in (1..).zip(&steps) {
                take(&store, &mut standing, &mut gone, step, epoch).await;
            }
            // Emptying the store makes pages merge, if anything does.
            let last = steps.len() as u64 + 1;
            for n in standing.keys().copied().filter(|n| n % 7 != 0).collect::<Vec<_>>() {
                take(&store, &mut standing, &mut gone, &Step::Erase { key: n }, last).await;
            }
            take(&store, &mut standing, &mut gone, &Step::Erase { key: 0 }, last).await;
            let files = files(&home);
            let left: Vec<_> = standing.iter().map(|(key, (_, epoch, size))| wrapped(*key, 1, *epoch, *size)).collect();
            prop_assert_eq!(trace(&files, &left).is_some(), !left.is_empty(), "the search finds what is there");
            prop_assert_eq!(trace(&files, &gone), None);
            Ok(())
        })
    });
    outcome.unwrap();
}
