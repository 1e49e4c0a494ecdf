//! Copying a store whole, and loading the copy into an empty one.

use keyreeve_model::change::IdempotencyRow;
use keyreeve_model::record::Table;
use keyreeve_model::{
    Change, DestructionRow, FiledRow, MaterialRow, Revision, RowId, StoredRow, Transaction, UnixMillis,
};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::{
    Opener, commit, destruction, key_id, key_row, keyring_id, keyring_row, material_row, name, named_row, outbox_row,
    record, shard, token_row,
};
use crate::{PIECE_ROWS, Piece, Store, StoreError};

/// Keys in the copied store: more than a piece has rows.
const KEYS: u32 = 700;

/// All rows of a store, in the order in which they come.
async fn copy(store: &dyn Store) -> Vec<StoredRow> {
    let (to, mut from) = mpsc::channel(1);
    let take = async {
        let (mut rows, mut ended) = (Vec::new(), false);
        while let Some(piece) = from.recv().await {
            assert!(!ended, "a piece behind the end");
            match piece {
                Piece::Rows(more) => {
                    assert!((1..=PIECE_ROWS).contains(&more.len()), "a piece of {} rows", more.len());
                    rows.extend(more);
                }
                Piece::End => ended = true,
            }
        }
        assert!(ended, "the copy has no end");
        rows
    };
    let (copied, rows) = tokio::join!(store.snapshot(to), take);
    copied.unwrap();
    rows
}

async fn load(store: &dyn Store, pieces: Vec<Piece>) -> Result<(), StoreError> {
    let (to, from) = mpsc::channel(1);
    let give = async move {
        for piece in pieces {
            if to.send(piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(store.load(from), give).0
}

fn filed() -> FiledRow {
    FiledRow {
        table: Table::Grants,
        id: RowId::from([9; 4]),
        parent: "alice".to_owned(),
        due: Some(UnixMillis(5)),
        forget: None,
        record: record(1, "grant"),
    }
}

fn answer() -> IdempotencyRow {
    IdempotencyRow { key: [1; 32], request: [2; 32], reply: b"done".to_vec(), expires: UnixMillis(100) }
}

/// One row of every kind at least, some of a later revision.
async fn fill(store: &dyn Store) {
    commit(store, vec![Change::PutDeployment(record(1, "one"))]).await;
    commit(store, vec![Change::PutDeployment(record(2, "deployment"))]).await;
    let named = |n: u32| if n < 2 { format!("alias-{n}") } else { String::new() };
    let aliases: Vec<String> = (0..KEYS).map(named).collect();
    let mut changes = vec![Change::PutKeyring(keyring_row(1, "ring", 1))];
    for n in 0..KEYS {
        let alias = aliases.get(n as usize).filter(|alias| !alias.is_empty()).map(String::as_str);
        changes.push(Change::PutKey(key_row(n, 1, alias.as_slice())));
    }
    changes.push(Change::PutKey(key_row(1, 2, &["alias-1", "second"])));
    changes.push(Change::AddMaterial(material_row(3, 1, 7)));
    changes.push(Change::AddMaterial(MaterialRow { shard: 4, ..material_row(2, 1, 6) }));
    changes.push(Change::AddMaterial(material_row(1, 2, 6)));
    changes.push(destruction(8, 5, "gone"));
    changes.push(Change::PutToken(token_row(1, 1, 50)));
    changes.push(Change::PutPrincipal(named_row("alice", 1)));
    changes.push(Change::PutPolicy(named_row("policy", 1)));
    changes.push(Change::File(filed()));
    changes.push(Change::Remember { row: answer(), now: UnixMillis(1) });
    let outbox = vec![outbox_row(2), outbox_row(1)];
    store.commit(Transaction { name: "case", changes, outbox, ..Transaction::default() }).await.unwrap();
}

fn expected() -> Vec<StoredRow> {
    let mut rows = vec![StoredRow::Deployment(record(2, "deployment")), StoredRow::Keyring(keyring_row(1, "ring", 1))];
    let gone = DestructionRow { key: key_id(8), keyring: keyring_id(1), shard: 0, epoch: 5, record: record(1, "gone") };
    rows.push(StoredRow::Destruction(gone));
    rows.extend((0..KEYS).map(|n| {
        StoredRow::Key(match n {
            0 => key_row(0, 1, &["alias-0"]),
            1 => key_row(1, 2, &["alias-1", "second"]),
            _ => key_row(n, 1, &[]),
        })
    }));
    rows.push(StoredRow::Material(material_row(1, 2, 6)));
    rows.push(StoredRow::Material(material_row(3, 1, 7)));
    rows.push(StoredRow::Material(MaterialRow { shard: 4, ..material_row(2, 1, 6) }));
    rows.push(StoredRow::Token(token_row(1, 1, 50)));
    rows.push(StoredRow::Principal(named_row("alice", 1)));
    rows.push(StoredRow::Policy(named_row("policy", 1)));
    rows.push(StoredRow::Filed(filed()));
    rows.push(StoredRow::Answer(answer()));
    rows.extend([StoredRow::Outbox(outbox_row(2)), StoredRow::Outbox(outbox_row(1))]);
    rows
}

fn pieces(rows: Vec<StoredRow>) -> Vec<Piece> {
    rows.chunks(PIECE_ROWS).map(|rows| Piece::Rows(rows.to_vec())).chain([Piece::End]).collect()
}

pub(super) async fn a_copy_has_every_row_in_order(opener: Opener) {
    let store = opener.open().await;
    assert_eq!(copy(&*store).await, []);
    fill(&*store).await;
    assert_eq!(copy(&*store).await, expected());
}

pub(super) async fn a_copy_is_of_one_moment(opener: Opener) {
    let store = opener.open().await;
    fill(&*store).await;
    let (to, mut from) = mpsc::channel(1);
    let taking = Arc::clone(&store);
    let copying = tokio::spawn(async move { taking.snapshot(to).await });
    let Some(Piece::Rows(mut rows)) = from.recv().await else { panic!("no first piece") };
    // Changed while the copy is being taken: none of it is in the copy, whatever was read by then.
    let away = Change::DeletePolicy { name: name("policy"), revision: Revision(1) };
    commit(&*store, vec![Change::PutPrincipal(named_row("mallory", 1)), away]).await;
    while let Some(piece) = from.recv().await {
        if let Piece::Rows(more) = piece {
            rows.extend(more);
        }
    }
    copying.await.unwrap().unwrap();
    assert_eq!(rows, expected());
}

pub(super) async fn a_copy_that_nobody_takes_ends(opener: Opener) {
    let store = opener.open().await;
    fill(&*store).await;
    let (to, from) = mpsc::channel(1);
    drop(from);
    assert!(matches!(store.snapshot(to).await, Err(StoreError::Unavailable(_))));
    commit(&*store, vec![Change::PutPrincipal(named_row("bob", 1))]).await;
}

pub(super) async fn loading_needs_an_empty_store(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![Change::PutPrincipal(named_row("alice", 1))]).await;
    let loaded = load(&*store, pieces(expected())).await;
    assert!(matches!(loaded, Err(StoreError::NotEmpty)), "{loaded:?}");
    assert_eq!(copy(&*store).await, [StoredRow::Principal(named_row("alice", 1))]);
}

pub(super) async fn loading_is_whole_or_not_at_all(opener: Opener) {
    let store = opener.open().await;
    let mut cut = pieces(expected());
    cut.pop();
    assert!(matches!(load(&*store, cut).await, Err(StoreError::Damaged(_))), "no end came");
    let twice = [expected(), vec![StoredRow::Principal(named_row("alice", 1))]].concat();
    assert!(matches!(load(&*store, pieces(twice)).await, Err(StoreError::Damaged(_))), "one row came twice");
    assert_eq!(copy(&*store).await, []);
    load(&*store, pieces(expected())).await.unwrap();
    assert_eq!(copy(&*store).await, expected());
}

pub(super) async fn what_was_loaded_serves(opener: Opener) {
    let store = opener.open().await;
    load(&*store, pieces(expected())).await.unwrap();
    store.close().await;
    let store = opener.open().await;
    assert_eq!(copy(&*store).await, expected());
    assert_eq!(store.key_aliased(&name("second")).await.unwrap().unwrap().id, key_id(1));
    assert_eq!(shard(&*store, keyring_id(1), 0).await.len(), 2);
    assert_eq!(store.filed(Table::Grants, &RowId::from([9; 4])).await.unwrap(), Some(filed()));
    commit(&*store, vec![Change::PutKey(key_row(1, 3, &["third"])), Change::EraseMaterial { key: key_id(1) }]).await;
    let found = store.key(key_id(1)).await.unwrap().unwrap();
    assert_eq!(found.record.revision, Revision(3));
    assert_eq!(store.outbox(10).await.unwrap(), [outbox_row(2), outbox_row(1)]);
}
