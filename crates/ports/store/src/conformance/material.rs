//! Wrapped material, epochs and destruction records.

use keyreeve_model::change::IdempotencyRow;
use keyreeve_model::{Change, KeyId, KeyringId, MaterialRow, RecordId, UnixMillis};

use super::{
    KeyRow, Opener, Outbox, Revision, SealedRecord, Transaction, commit, conflicts, destruction, key_id, key_row,
    keyring_id, material_row, page, record, shard,
};

fn add(rows: &[MaterialRow]) -> Vec<Change> {
    rows.iter().cloned().map(Change::AddMaterial).collect()
}

pub(super) async fn material_is_added_once(opener: Opener) {
    let store = opener.open().await;
    let rows = [material_row(1, 1, 5), material_row(1, 2, 5), material_row(2, 1, 5)];
    commit(&*store, add(&[rows[2].clone(), rows[1].clone(), rows[0].clone()])).await;
    assert_eq!(store.material(key_id(1), 2).await.unwrap(), Some(rows[1].clone()));
    assert_eq!(store.material(key_id(1), 3).await.unwrap(), None);
    assert_eq!(store.material(key_id(3), 1).await.unwrap(), None);
    conflicts(&*store, add(&[material_row(1, 2, 6)]), "the version has material").await;
    assert_eq!(shard(&*store, keyring_id(1), 0).await, rows, "by key and version");
    assert_eq!(shard(&*store, keyring_id(1), 1).await, []);
    assert_eq!(shard(&*store, keyring_id(2), 0).await, []);
}

pub(super) async fn material_is_rewrapped_from_its_epoch(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, add(&[material_row(1, 1, 5), material_row(1, 2, 5)])).await;
    let rewrap = |version, from_epoch, to| vec![Change::Rewrap { row: material_row(1, version, to), from_epoch }];
    conflicts(&*store, rewrap(1, 4, 6), "it stands under epoch 5").await;
    conflicts(&*store, rewrap(3, 5, 6), "there is no version 3").await;
    commit(&*store, rewrap(1, 5, 6)).await;
    conflicts(&*store, rewrap(1, 5, 6), "it stands under epoch 6 by now").await;
    assert_eq!(store.material(key_id(1), 1).await.unwrap(), Some(material_row(1, 1, 6)));
    assert_eq!(store.material(key_id(1), 2).await.unwrap(), Some(material_row(1, 2, 5)));
    let moved = MaterialRow { keyring: keyring_id(7), shard: 9, ..material_row(1, 1, 8) };
    commit(&*store, vec![Change::Rewrap { row: moved.clone(), from_epoch: 6 }]).await;
    assert_eq!(shard(&*store, keyring_id(7), 9).await, [moved]);
}

pub(super) async fn shards_are_listed_by_page(opener: Opener) {
    let store = opener.open().await;
    let rows = [(2, 1, 1), (1, 1, 2), (1, 2, 2), (3, 1, 2), (1, 3, 7)].map(|(key, version, epoch)| {
        let place = (epoch, key_id(key), version);
        (place, material_row(key, version, epoch))
    });
    let elsewhere = [
        MaterialRow { shard: 1, ..material_row(8, 1, 1) },
        MaterialRow { keyring: keyring_id(2), ..material_row(9, 1, 1) },
    ];
    let all: Vec<_> = rows.iter().rev().map(|(_, row)| row.clone()).chain(elsewhere).collect();
    commit(&*store, add(&all)).await;
    let listed = async |after, limit| store.shard_material(keyring_id(1), 0, page(after, limit)).await.unwrap();
    for limit in 1..=6 {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let some = listed(after, limit).await;
            assert!(some.len() <= limit as usize);
            let Some(last) = some.last() else { break };
            after = Some((last.epoch, last.key, last.version));
            found.extend(some);
        }
        let wanted: Vec<_> = rows.iter().map(|(_, row)| row.clone()).collect();
        assert_eq!(found, wanted, "by epoch, key and version, {limit} at a time");
    }
    assert_eq!(listed(Some(rows[3].0), 10).await, [rows[4].1.clone()]);
    assert_eq!(store.shard_epochs(keyring_id(1), 0).await.unwrap(), [1, 2, 7]);
    assert!(store.shard_epochs(keyring_id(1), 9).await.unwrap().is_empty());
    assert_eq!(store.shard_keys(keyring_id(1), 0).await.unwrap(), 3, "keys, not versions");
    assert_eq!(store.shard_keys(keyring_id(1), 9).await.unwrap(), 0);
}

pub(super) async fn a_key_comes_with_its_newest_material(opener: Opener) {
    let store = opener.open().await;
    let row = key_row(1, 1, &["b", "a"]);
    commit(&*store, vec![Change::PutKey(row.clone())]).await;
    let row = store.key(row.id).await.unwrap().unwrap();
    assert_eq!(store.key_with_material(row.id).await.unwrap(), Some((row.clone(), None)), "it has none");
    assert_eq!(store.key_material(row.id).await.unwrap(), []);
    let rows = [material_row(1, 1, 5), material_row(1, 2, 6), material_row(1, 10, 5)];
    commit(&*store, add(&[rows[2].clone(), rows[0].clone(), rows[1].clone(), material_row(2, 11, 5)])).await;
    assert_eq!(store.key_with_material(row.id).await.unwrap(), Some((row.clone(), Some(rows[2].clone()))));
    assert_eq!(store.key_material(row.id).await.unwrap(), rows, "by version");
    assert_eq!(store.key_with_material(key_id(2)).await.unwrap(), None, "material without a key is nothing");
    commit(&*store, vec![Change::EraseMaterial { key: row.id }]).await;
    assert_eq!(store.key_with_material(row.id).await.unwrap(), Some((row, None)));
}

pub(super) async fn erasing_takes_every_version_of_one_key(opener: Opener) {
    let store = opener.open().await;
    let stays = material_row(2, 1, 5);
    commit(&*store, add(&[material_row(1, 1, 4), material_row(1, 2, 5), material_row(1, 3, 5), stays.clone()])).await;
    let erase = || vec![Change::EraseMaterial { key: key_id(1) }];
    commit(&*store, erase()).await;
    for version in 1..=3 {
        assert_eq!(store.material(key_id(1), version).await.unwrap(), None);
    }
    assert_eq!(shard(&*store, keyring_id(1), 0).await, [stays]);
    assert_eq!(store.epochs_in_use().await.unwrap(), [(keyring_id(1), 0, 5)]);
    commit(&*store, erase()).await;
}

pub(super) async fn erasing_a_version_leaves_the_others(opener: Opener) {
    let store = opener.open().await;
    let stays = [material_row(1, 1, 4), material_row(1, 3, 5), material_row(2, 2, 5)];
    commit(&*store, add(&[&stays[..], &[material_row(1, 2, 5)]].concat())).await;
    let erase = || vec![Change::EraseVersion { key: key_id(1), version: 2 }];
    commit(&*store, erase()).await;
    assert_eq!(store.material(key_id(1), 2).await.unwrap(), None);
    assert_eq!(store.key_material(key_id(1)).await.unwrap(), stays[..2]);
    assert_eq!(store.key_material(key_id(2)).await.unwrap(), stays[2..]);
    commit(&*store, erase()).await;
    commit(&*store, add(&[material_row(1, 2, 6)])).await;
    assert_eq!(store.material(key_id(1), 2).await.unwrap(), Some(material_row(1, 2, 6)), "it can come back");
}

pub(super) async fn epochs_in_use_are_listed_once(opener: Opener) {
    let store = opener.open().await;
    let in_shard = |n, shard, epoch| MaterialRow { shard, ..material_row(n, 1, epoch) };
    let elsewhere = MaterialRow { keyring: keyring_id(2), ..material_row(9, 1, 1) };
    let rows = [in_shard(1, 0, 1), in_shard(2, 0, 1), in_shard(3, 0, 2), in_shard(4, 1, 1), elsewhere];
    commit(&*store, add(&rows)).await;
    let mut found = store.epochs_in_use().await.unwrap();
    found.sort_unstable();
    let (one, two) = (keyring_id(1), keyring_id(2));
    assert_eq!(found, [(one, 0, 1), (one, 0, 2), (one, 1, 1), (two, 0, 1)]);
}

pub(super) async fn a_destruction_is_recorded_once(opener: Opener) {
    let store = opener.open().await;
    let add = |text| vec![destruction(1, 7, text)];
    commit(&*store, add("first")).await;
    conflicts(&*store, add("second"), "a key is destroyed once").await;
    assert_eq!(store.destruction(key_id(1)).await.unwrap(), Some(record(1, "first")));
    assert_eq!(store.destruction(key_id(2)).await.unwrap(), None);
    commit(&*store, vec![Change::Expire { before: UnixMillis(i64::MAX) }]).await;
    assert_eq!(store.destruction(key_id(1)).await.unwrap(), Some(record(1, "first")), "it stays for ever");
}

/// Epochs are numbered up to here: what a signed 64-bit column can compare.
const LAST: u64 = 1 << 62;

pub(super) async fn nothing_is_added_under_an_erased_epoch(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![destruction(1, 7, "gone")]).await;
    let row = |epoch| MaterialRow {
        key: key_id(9),
        version: 1,
        keyring: keyring_id(1),
        shard: 0,
        epoch,
        wrapped: vec![1, 2, 3],
    };
    conflicts(&*store, vec![Change::AddMaterial(row(7))], "its epoch is erased").await;
    conflicts(&*store, vec![Change::AddMaterial(row(6))], "an earlier epoch is erased too").await;
    commit(&*store, vec![Change::AddMaterial(row(8))]).await;
    let back = Change::Rewrap { row: row(7), from_epoch: 8 };
    conflicts(&*store, vec![back], "nothing moves under an erased epoch").await;
}

pub(super) async fn destroyed_epochs_are_known(opener: Opener) {
    let store = opener.open().await;
    let destroyed =
        async |keyring, shard, epoch| store.destruction_of_epoch(keyring, shard, epoch).await.unwrap().is_some();
    assert!(!destroyed(keyring_id(1), 0, 7).await);
    // Two keys may be destroyed with one epoch.
    commit(&*store, vec![destruction(1, 7, "one"), destruction(2, 7, "two"), destruction(3, LAST, "three")]).await;
    assert!(destroyed(keyring_id(1), 0, 7).await);
    assert!(destroyed(keyring_id(1), 0, 6).await, "a later one says so");
    assert!(destroyed(keyring_id(1), 0, LAST).await);
    assert!(!destroyed(keyring_id(1), 0, LAST + 1).await);
    assert!(!destroyed(keyring_id(1), 1, 7).await);
    assert!(!destroyed(keyring_id(2), 0, 7).await);
    let listed = async |after, limit| {
        let rows = store.destructions(page(after, limit)).await.unwrap();
        rows.into_iter().map(|row| (row.key, row.epoch)).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 2).await, [(key_id(1), 7), (key_id(2), 7)]);
    assert_eq!(listed(Some(key_id(2)), 2).await, [(key_id(3), LAST)]);
}

pub(super) async fn extreme_values_come_back(opener: Opener) {
    let store = opener.open().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let (key, keyring) = (KeyId::from_bytes([0xff; 16]), KeyringId::from_bytes([0; 16]));
    let (version, shard_number) = (u32::MAX, u32::MAX);
    let material =
        MaterialRow { key, version, keyring, shard: shard_number, epoch: u64::MAX, wrapped: every_byte.clone() };
    let longest = "x".repeat(128);
    let big = SealedRecord { revision: Revision(1), bytes: every_byte.repeat(4096), mac: [0xff; 32] };
    let key_row = KeyRow {
        id: key,
        keyring,
        destruction_due: Some(UnixMillis(i64::MIN)),
        record: big,
        ..key_row(1, 1, &[longest.as_str()])
    };
    let (id, expires) = ([0xff; 32], UnixMillis(i64::MAX));
    let answer = IdempotencyRow { key: id, request: [0; 32], reply: vec![], expires };
    let outbox = Outbox { id: RecordId::from_bytes([0xff; 16]), bytes: every_byte };
    let changes = vec![
        Change::PutKey(key_row.clone()),
        Change::AddMaterial(material.clone()),
        Change::Remember { row: answer.clone(), now: UnixMillis(i64::MIN) },
    ];
    store.commit(Transaction { name: "case", changes, outbox: vec![outbox.clone()], settled: vec![] }).await.unwrap();
    assert_eq!(store.key(key).await.unwrap(), Some(key_row));
    assert_eq!(store.material(key, version).await.unwrap(), Some(material.clone()));
    assert_eq!(shard(&*store, keyring, shard_number).await, std::slice::from_ref(&material));
    assert_eq!(store.epochs_in_use().await.unwrap(), [(keyring, shard_number, u64::MAX)]);
    assert_eq!(store.remembered(&id, expires).await.unwrap(), Some(answer));
    assert_eq!(store.outbox(u32::MAX).await.unwrap(), [outbox]);
    let due = store.destructions_due(UnixMillis(i64::MIN), page(None, 1)).await.unwrap();
    assert_eq!(due, [(UnixMillis(i64::MIN), key)]);
    assert_eq!(store.shard_epochs(keyring, shard_number).await.unwrap(), [u64::MAX]);
    let lower = MaterialRow { epoch: 0, ..material };
    commit(&*store, vec![Change::Rewrap { row: lower.clone(), from_epoch: u64::MAX }]).await;
    assert_eq!(store.material(key, version).await.unwrap(), Some(lower));
}
