//! Filed records.

use keyreeve_model::record::Table;
use keyreeve_model::{Change, FiledRow, Revision, RowId, UnixMillis};
use tokio::task::JoinSet;

use super::{Arc, Opener, StoreError, change, commit, conflicts, page, record};

fn row(n: u8, revision: i64, parent: &str) -> FiledRow {
    FiledRow {
        table: Table::Grants,
        id: RowId::from([n]),
        parent: parent.to_owned(),
        due: None,
        forget: None,
        record: record(revision, &format!("filed {n}")),
    }
}

fn file(row: &FiledRow) -> Vec<Change> {
    vec![Change::File(row.clone())]
}

fn unfile(row: &FiledRow) -> Vec<Change> {
    vec![Change::Unfile { table: row.table, id: row.id.clone(), revision: row.record.revision }]
}

pub(super) async fn filed_records_are_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let id = RowId::from([1]);
    assert_eq!(store.filed(Table::Grants, &id).await.unwrap(), None);
    conflicts(&*store, file(&row(1, 2, "a")), "nothing stands under revision 1").await;
    conflicts(&*store, file(&row(1, 0, "a")), "there is no revision 0").await;
    commit(&*store, file(&row(1, 1, "a"))).await;
    conflicts(&*store, file(&row(1, 1, "a")), "there is one already").await;
    conflicts(&*store, file(&row(1, 3, "a")), "revision 2 was left out").await;
    let mut second = row(1, 2, "b");
    second.due = Some(UnixMillis(i64::MAX));
    second.forget = Some(UnixMillis(i64::MIN));
    commit(&*store, file(&second)).await;
    assert_eq!(store.filed(Table::Grants, &id).await.unwrap(), Some(second.clone()), "every column is replaced");
    conflicts(&*store, file(&second), "revision 1 stands no longer").await;
    let third = row(1, 3, "");
    commit(&*store, file(&third)).await;
    assert_eq!(store.filed(Table::Grants, &id).await.unwrap(), Some(third), "and emptied");
}

pub(super) async fn filed_records_are_removed_by_their_revision(opener: Opener) {
    let store = opener.open().await;
    conflicts(&*store, unfile(&row(1, 1, "")), "no such row").await;
    commit(&*store, file(&row(1, 1, "")).into_iter().chain(file(&row(2, 1, ""))).collect()).await;
    commit(&*store, file(&row(1, 2, ""))).await;
    conflicts(&*store, unfile(&row(1, 1, "")), "revision 2 stands").await;
    conflicts(&*store, unfile(&row(1, 3, "")), "revision 2 stands").await;
    // One row that does not fit takes the whole transaction with it.
    let both = unfile(&row(2, 1, "")).into_iter().chain(unfile(&row(1, 1, ""))).collect();
    conflicts(&*store, both, "the second change does not fit").await;
    assert!(store.filed(Table::Grants, &RowId::from([2])).await.unwrap().is_some());
    commit(&*store, unfile(&row(1, 2, ""))).await;
    assert_eq!(store.filed(Table::Grants, &RowId::from([1])).await.unwrap(), None);
    conflicts(&*store, unfile(&row(1, 2, "")), "it is gone").await;
    commit(&*store, file(&row(1, 1, ""))).await;
}

pub(super) async fn kinds_of_filed_records_are_apart(opener: Opener) {
    let store = opener.open().await;
    let mut grant = row(1, 1, "same");
    grant.due = Some(UnixMillis(5));
    let hold = FiledRow { table: Table::Holds, record: record(1, "a hold"), ..grant.clone() };
    commit(&*store, vec![Change::File(grant.clone()), Change::File(hold.clone())]).await;
    assert_eq!(store.filed(Table::Grants, &grant.id).await.unwrap(), Some(grant.clone()));
    assert_eq!(store.filed(Table::Holds, &hold.id).await.unwrap(), Some(hold.clone()));
    assert_eq!(store.filed(Table::Incidents, &hold.id).await.unwrap(), None);
    let holds = [hold];
    assert_eq!(store.filed_page(Table::Holds, None, page(None, 10)).await.unwrap(), holds);
    assert_eq!(store.filed_page(Table::Holds, Some("same"), page(None, 10)).await.unwrap(), holds);
    assert_eq!(store.filed_due(Table::Holds, UnixMillis(5), 10).await.unwrap(), holds);
    assert_eq!(store.filed_count(Table::Holds, "same").await.unwrap(), 1);
    commit(&*store, unfile(&grant)).await;
    let [hold] = holds;
    assert_eq!(store.filed(Table::Holds, &hold.id).await.unwrap(), Some(hold));
    assert_eq!(store.filed_count(Table::Grants, "same").await.unwrap(), 0);
}

pub(super) async fn filed_records_are_listed_by_page_and_parent(opener: Opener) {
    let store = opener.open().await;
    // By their bytes, the shorter one first; a parent is matched as it is written.
    let ids: [&[u8]; 5] = [&[0], &[0, 0], &[1], &[1, 200], &[200]];
    let parents = ["a", "A", "a", "b", "a"];
    let rows: Vec<_> = ids.iter().zip(parents).map(|(id, parent)| with_id(id, parent)).collect();
    commit(&*store, rows.iter().rev().cloned().map(Change::File).collect()).await;
    let list = |parent: Option<&'static str>, after: Option<&[u8]>, limit| {
        let (store, after) = (Arc::clone(&store), after.and_then(RowId::new));
        async move { store.filed_page(Table::Grants, parent, page(after, limit)).await.unwrap() }
    };
    assert_eq!(list(None, None, 10).await, rows);
    assert_eq!(list(None, None, 2).await, rows[..2]);
    assert_eq!(list(None, Some(&[0, 0]), 2).await, rows[2..4]);
    assert_eq!(list(None, Some(&[2]), 10).await, rows[4..], "after an id that is not there");
    assert_eq!(list(None, Some(&[200]), 10).await, []);
    let of_a = [rows[0].clone(), rows[2].clone(), rows[4].clone()];
    assert_eq!(list(Some("a"), None, 10).await, of_a);
    assert_eq!(list(Some("a"), Some(&[0]), 1).await, of_a[1..2]);
    assert_eq!(list(Some("c"), None, 10).await, []);
    let counts = [("a", 3), ("A", 1), ("b", 1), ("", 0)];
    for (parent, count) in counts {
        assert_eq!(store.filed_count(Table::Grants, parent).await.unwrap(), count, "{parent}");
    }
    assert_eq!(list(None, None, 0).await.len(), 1, "a page has at least one row");
}

fn with_id(id: &[u8], parent: &str) -> FiledRow {
    FiledRow { id: RowId::new(id).unwrap(), ..row(id[0], 1, parent) }
}

pub(super) async fn due_filed_records_come_soonest_first(opener: Opener) {
    let store = opener.open().await;
    let due = |n, due| FiledRow { due: Some(UnixMillis(due)), ..row(n, 1, "p") };
    let rows = [due(3, -1), due(2, 10), due(4, 10), due(1, 20)];
    commit(&*store, rows.iter().cloned().chain([row(5, 1, "p")]).map(Change::File).collect()).await;
    let list = |before, limit| {
        let store = Arc::clone(&store);
        async move { store.filed_due(Table::Grants, UnixMillis(before), limit).await.unwrap() }
    };
    assert_eq!(list(i64::MAX, 10).await, rows, "what is never due is not among them");
    assert_eq!(list(20, 3).await, rows[..3]);
    assert_eq!(list(19, 10).await, rows[..3]);
    assert_eq!(list(10, 10).await, rows[..3], "due at this very instant");
    assert_eq!(list(9, 10).await, rows[..1]);
    assert_eq!(list(-2, 10).await, []);
    let settled = FiledRow { due: None, record: record(2, "done"), ..rows[0].clone() };
    commit(&*store, file(&settled)).await;
    assert_eq!(list(10, 10).await, rows[1..3], "no longer due");
}

pub(super) async fn what_may_be_forgotten_goes_when_expired(opener: Opener) {
    let store = opener.open().await;
    let rows = [Some(99), Some(100), None].map(|forget| forget.map(UnixMillis));
    let changes = rows.iter().zip(1..).map(|(forget, n)| {
        // Being due is no reason to go.
        Change::File(FiledRow { forget: *forget, due: Some(UnixMillis(0)), ..row(n, 1, "p") })
    });
    commit(&*store, changes.collect()).await;
    commit(&*store, vec![Change::Expire { before: UnixMillis(99) }]).await;
    assert_eq!(store.filed_count(Table::Grants, "p").await.unwrap(), 3, "not before its instant is over");
    commit(&*store, vec![Change::Expire { before: UnixMillis(100) }]).await;
    for (n, stays) in [(1, false), (2, true), (3, true)] {
        assert_eq!(store.filed(Table::Grants, &RowId::from([n])).await.unwrap().is_some(), stays, "row {n}");
    }
    commit(&*store, vec![Change::Expire { before: UnixMillis(i64::MAX) }]).await;
    assert!(store.filed(Table::Grants, &RowId::from([3])).await.unwrap().is_some(), "what has no instant stays");
    commit(&*store, file(&row(1, 1, "p"))).await;
}

/// What stands for "used once" must be that under any number of callers.
pub(super) async fn one_of_many_files_a_record(opener: Opener) {
    let store = opener.open().await;
    let mut callers = JoinSet::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        let mine = FiledRow { record: record(1, &n.to_string()), ..row(1, 1, "") };
        callers.spawn(async move { (n, store.commit(change(file(&mine))).await) });
    }
    let outcomes = callers.join_all().await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let lost = |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::Conflict { .. }));
    assert_eq!(outcomes.iter().filter(|(_, outcome)| lost(outcome)).count(), 7, "{outcomes:?}");
    let row = store.filed(Table::Grants, &RowId::from([1])).await.unwrap().unwrap();
    assert_eq!((row.record.bytes, row.record.revision), (winners[0].to_string().into_bytes(), Revision::FIRST));
}
