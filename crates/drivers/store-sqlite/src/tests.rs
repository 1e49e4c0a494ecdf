//! What only this driver promises: its files' permissions, being alone, and coming back when the disk has space again.

use super::*;
use keyreeve_model::{RecordId, Revision};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = directory.path().join("store.db");
    (directory, path)
}

fn outbox(number: u8, size: usize) -> Transaction {
    let row = Outbox { id: RecordId::from_bytes([number; 16]), bytes: vec![number; size] };
    Transaction { name: "test", outbox: vec![row], ..Transaction::default() }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn all_files_are_closed_to_others() {
    let (_directory, path) = place();
    let path = path.parent().unwrap().join("made").join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.commit(outbox(1, 1)).await.unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let mut seen = 0;
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        seen += 1;
    }
    assert_eq!(seen, 4, "database, write-ahead log, its index, lock");
}

#[test]
fn wide_permissions_are_refused_with_the_remedy() {
    let (directory, path) = place();
    drop(SqliteStore::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refusal = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(refusal.contains("mode 640") && refusal.contains(&format!("chmod 600 {}", path.display())), "{refusal}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refusal = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(refusal.contains(&format!("chmod 700 {}", directory.path().display())), "{refusal}");
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_closed() {
    let (_directory, path) = place();
    let first = SqliteStore::open(&path).unwrap();
    let refusal = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(&refusal, OpenError::InUse { holder, .. } if *holder == std::process::id().to_string()));
    assert!(refusal.to_string().contains("in use by another process"));
    first.close().await;
    let second = SqliteStore::open(&path).unwrap();
    drop(second);
    SqliteStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let (_directory, path) = place();
    fs::write(&path, vec![7; 8192]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::Sqlite(_))));
}

#[tokio::test]
async fn the_settings_are_in_force() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    drop(store);
    let db = open::writer(&path).unwrap();
    let value =
        |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(value("journal_mode"), String::from("wal").into());
    assert_eq!(value("synchronous"), 2.into());
    assert_eq!(value("secure_delete"), 1.into());
    assert_eq!(value("foreign_keys"), 1.into());
    assert_eq!(value("temp_store"), 2.into());
}

/// Fills, refuses, reads on, and writes again without help once there is space.
async fn comes_back(stop: &'static str, go: &'static str) {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.commit(outbox(1, 10)).await.unwrap();
    store.write(Work::Pragma(stop)).await.unwrap_or(true);

    let refused = store.commit(outbox(2, 100_000)).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    assert_eq!(store.outbox(10).await.unwrap().len(), 1, "reads still work");

    store.write(Work::Pragma(go)).await.unwrap();
    store.check().await.unwrap();
    store.commit(outbox(3, 100_000)).await.unwrap();
    let ids: Vec<_> = store.outbox(10).await.unwrap().into_iter().map(|row| row.bytes[0]).collect();
    assert_eq!(ids, [1, 3]);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    comes_back("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000").await;
}

#[tokio::test]
async fn a_read_only_disk_refuses_and_recovers() {
    comes_back("PRAGMA query_only = ON", "PRAGMA query_only = OFF").await;
}

#[tokio::test]
async fn a_full_disk_is_seen_by_the_readiness_check() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.check().await.unwrap();
    store.write(Work::Pragma("PRAGMA query_only = ON")).await.unwrap_or(true);
    assert!(matches!(store.check().await, Err(StoreError::ReadOnly(_))));
}

#[tokio::test]
async fn rows_that_cannot_be_right_are_damage() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.write(Work::Pragma("INSERT INTO policies VALUES ('not a name', 1, x'00', zeroblob(32))")).await.unwrap();
    store.write(Work::Pragma("INSERT INTO deployment VALUES (1, 1, x'00', zeroblob(31))")).await.unwrap();
    let page = Page { after: None, limit: 10 };
    assert!(matches!(store.policies(page).await, Err(StoreError::Damaged(_))));
    assert!(matches!(store.deployment().await, Err(StoreError::Damaged(_))));
}

/// Each transaction of a batch has its own outcome: one that is refused does not take its neighbours with it.
#[tokio::test]
async fn a_refusal_inside_a_batch_stays_alone() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let record = SealedRecord { revision: Revision(1), bytes: b"{}".to_vec(), mac: [0; 32] };
    let once = || Transaction {
        name: "init",
        changes: vec![keyreeve_model::Change::PutDeployment(record.clone())],
        ..Transaction::default()
    };
    let mut batch = Vec::new();
    let mut outcomes = Vec::new();
    for work in [Work::Commit(outbox(1, 1)), Work::Commit(once()), Work::Commit(once()), Work::Commit(outbox(2, 1))] {
        let (reply, outcome) = oneshot::channel();
        batch.push(Job { work, reply });
        outcomes.push(outcome);
    }
    drop(store);
    let lock = open::lock(&path).unwrap();
    let (sender, receiver) = mpsc::channel(4);
    for job in batch {
        sender.try_send(job).ok().unwrap();
    }
    drop(sender);
    let writer = Writer::new(open::writer(&path).unwrap(), lock);
    std::thread::spawn(move || writer.run(receiver)).join().unwrap();
    let mut applied = Vec::new();
    for outcome in outcomes {
        applied.push(match outcome.await.unwrap() {
            Ok(done) => done,
            Err(StoreError::Conflict { transaction }) => {
                assert_eq!(transaction, "init");
                false
            }
            Err(other) => panic!("{other}"),
        });
    }
    assert_eq!(applied, [true, true, false, true]);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.outbox(10).await.unwrap().len(), 2);
}
