//! Keyrings, keys and their aliases.

use keyreeve_model::{Change, State, UnixMillis};

use super::{KeyRow, Opener, commit, conflicts, key_id, key_row, keyring_id, keyring_row, name, page, taken};
use crate::KeyFilter;

pub(super) async fn keyrings_are_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let put = |revision| vec![Change::PutKeyring(keyring_row(1, "payments", revision))];
    conflicts(&*store, put(2), "no such keyring").await;
    commit(&*store, put(1)).await;
    conflicts(&*store, put(1), "there is one already, and the name is its own").await;
    conflicts(&*store, put(3), "revision 2 was left out").await;
    commit(&*store, put(2)).await;
    let row = Some(keyring_row(1, "payments", 2));
    assert_eq!(store.keyring(keyring_id(1)).await.unwrap(), row);
    assert_eq!(store.keyring_named(&name("payments")).await.unwrap(), row);
    assert_eq!(store.keyring(keyring_id(2)).await.unwrap(), None);
}

pub(super) async fn keyring_names_are_unique(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![Change::PutKeyring(keyring_row(1, "one", 1)), Change::PutKeyring(keyring_row(2, "two", 1))])
        .await;
    taken(&*store, vec![Change::PutKeyring(keyring_row(3, "one", 1))], "keyring", "one").await;
    taken(&*store, vec![Change::PutKeyring(keyring_row(2, "one", 2))], "keyring", "one").await;
    assert_eq!(store.keyring(keyring_id(2)).await.unwrap(), Some(keyring_row(2, "two", 1)));
    assert_eq!(store.keyring(keyring_id(3)).await.unwrap(), None);

    commit(&*store, vec![Change::PutKeyring(keyring_row(1, "uno", 2))]).await;
    assert_eq!(store.keyring_named(&name("one")).await.unwrap(), None, "the old name is gone");
    commit(&*store, vec![Change::PutKeyring(keyring_row(3, "one", 1))]).await;
    assert_eq!(store.keyring_named(&name("one")).await.unwrap(), Some(keyring_row(3, "one", 1)));
    assert!(store.keyring_named(&name("ONE")).await.unwrap().is_none(), "upper and lower case differ");
}

pub(super) async fn keyrings_are_listed_by_page(opener: Opener) {
    let store = opener.open().await;
    let rows = [(1, "c"), (2, "b"), (300, "a")].map(|(n, called)| keyring_row(n, called, 1));
    commit(&*store, rows.iter().rev().cloned().map(Change::PutKeyring).collect()).await;
    assert_eq!(store.keyrings(page(None, 2)).await.unwrap(), rows[..2]);
    assert_eq!(store.keyrings(page(Some(keyring_id(2)), 2)).await.unwrap(), rows[2..]);
    assert_eq!(store.keyrings(page(Some(keyring_id(300)), 2)).await.unwrap(), []);
}

pub(super) async fn keys_are_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let put = |row: &KeyRow| vec![Change::PutKey(row.clone())];
    conflicts(&*store, put(&key_row(1, 2, &[])), "no such key").await;
    commit(&*store, put(&key_row(1, 1, &["a"]))).await;
    conflicts(&*store, put(&key_row(1, 1, &["b"])), "there is one already").await;
    let mut second = key_row(1, 2, &["a"]);
    second.state = State::Suspended;
    second.destruction_due = Some(UnixMillis(77));
    second.keyring = keyring_id(2);
    second.record.bytes = b"changed".to_vec();
    commit(&*store, put(&second)).await;
    conflicts(&*store, put(&key_row(1, 2, &["b"])), "stale").await;
    conflicts(&*store, put(&key_row(1, 4, &["b"])), "revision 3 was left out").await;
    assert_eq!(store.key(key_id(1)).await.unwrap(), Some(second));
    assert_eq!(store.key_aliased(&name("b")).await.unwrap(), None, "refused transactions leave no alias");
    for (n, state) in State::ALL.into_iter().enumerate() {
        let row = KeyRow { state, ..key_row(100 + u32::try_from(n).unwrap(), 1, &[]) };
        commit(&*store, put(&row)).await;
        assert_eq!(store.key(row.id).await.unwrap(), Some(row));
    }
}

pub(super) async fn aliases_are_replaced(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![Change::PutKey(key_row(1, 1, &["a", "b", "c/d"])), Change::PutKey(key_row(2, 1, &[]))]).await;
    for alias in ["a", "b", "c/d"] {
        assert_eq!(store.key_aliased(&name(alias)).await.unwrap(), Some(key_row(1, 1, &["a", "b", "c/d"])));
    }
    commit(&*store, vec![Change::PutKey(key_row(1, 2, &["b", "e"]))]).await;
    assert_eq!(store.key_aliased(&name("a")).await.unwrap(), None);
    assert_eq!(store.key_aliased(&name("e")).await.unwrap(), Some(key_row(1, 2, &["b", "e"])));
    commit(&*store, vec![Change::PutKey(key_row(2, 2, &["a"]))]).await;
    assert_eq!(store.key_aliased(&name("a")).await.unwrap().map(|row| row.id), Some(key_id(2)));
    commit(&*store, vec![Change::PutKey(key_row(1, 3, &[]))]).await;
    assert_eq!(store.key(key_id(1)).await.unwrap(), Some(key_row(1, 3, &[])));
    assert_eq!(store.key_aliased(&name("b")).await.unwrap(), None);
}

pub(super) async fn aliases_are_unique(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![Change::PutKey(key_row(1, 1, &["a", "z"])), Change::PutKey(key_row(2, 1, &["b"]))]).await;
    taken(&*store, vec![Change::PutKey(key_row(2, 2, &["b", "z"]))], "alias", "z").await;
    taken(&*store, vec![Change::PutKey(key_row(3, 1, &["c", "b"]))], "alias", "b").await;
    assert_eq!(store.key(key_id(2)).await.unwrap(), Some(key_row(2, 1, &["b"])));
    assert_eq!(store.key(key_id(3)).await.unwrap(), None);
    assert_eq!(store.key_aliased(&name("c")).await.unwrap(), None);
    assert_eq!(store.key_aliased(&name("A")).await.unwrap(), None, "upper and lower case differ");
    // An alias moves in one transaction when its owner lets go of it first.
    commit(&*store, vec![Change::PutKey(key_row(1, 2, &["a"])), Change::PutKey(key_row(2, 2, &["b", "z"]))]).await;
    assert_eq!(store.key_aliased(&name("z")).await.unwrap().map(|row| row.id), Some(key_id(2)));
}

pub(super) async fn keys_are_listed_by_page_and_filter(opener: Opener) {
    let store = opener.open().await;
    let rows: Vec<_> = (1..=8)
        .map(|n| {
            let alias = format!("k{n}");
            let mut row = key_row(n * 1000, 1, &[alias.as_str()]);
            row.keyring = keyring_id(1 + n % 2);
            row.state = if n <= 4 { State::Active } else { State::Deactivated };
            row
        })
        .collect();
    commit(&*store, rows.iter().rev().cloned().map(Change::PutKey).collect()).await;
    let pick = |wanted: [usize; 2]| wanted.map(|n| rows[n - 1].clone());
    let filter = |keyring: Option<u32>, state| KeyFilter { keyring: keyring.map(keyring_id), state };
    let list =
        async |filter: KeyFilter, after: Option<u32>| store.keys(&filter, page(after.map(key_id), 2)).await.unwrap();
    assert_eq!(list(filter(None, None), None).await, pick([1, 2]));
    assert_eq!(list(filter(None, None), Some(2000)).await, pick([3, 4]));
    assert_eq!(list(filter(None, None), Some(2001)).await, pick([3, 4]), "after an id that is not there");
    assert_eq!(list(filter(None, None), Some(8000)).await, []);
    assert_eq!(list(filter(Some(1), None), None).await, pick([2, 4]));
    assert_eq!(list(filter(Some(1), None), Some(4000)).await, pick([6, 8]));
    assert_eq!(list(filter(None, Some(State::Deactivated)), None).await, pick([5, 6]));
    assert_eq!(list(filter(None, Some(State::Deactivated)), Some(6000)).await, pick([7, 8]));
    assert_eq!(list(filter(Some(2), Some(State::Deactivated)), None).await, pick([5, 7]));
    assert_eq!(list(filter(Some(2), Some(State::Deactivated)), Some(7000)).await, []);
    assert_eq!(list(filter(Some(2), Some(State::Destroyed)), None).await, []);
    assert_eq!(list(filter(Some(3), None), None).await, []);
}

pub(super) async fn due_destructions_come_soonest_first(opener: Opener) {
    let store = opener.open().await;
    let put =
        |n, due: Option<i64>| Change::PutKey(KeyRow { destruction_due: due.map(UnixMillis), ..key_row(n, 1, &[]) });
    commit(&*store, vec![put(1, Some(300)), put(2, None), put(3, Some(100)), put(4, Some(200)), put(5, Some(100))])
        .await;
    let due = async |now, limit| {
        let found = store.destructions_due(UnixMillis(now), page(None, limit)).await.unwrap();
        found.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
    };
    assert_eq!(due(99, 10).await, []);
    assert_eq!(due(100, 10).await, [key_id(3), key_id(5)]);
    assert_eq!(due(1000, 10).await, [key_id(3), key_id(5), key_id(4), key_id(1)]);
    assert_eq!(due(1000, 3).await, [key_id(3), key_id(5), key_id(4)]);
    commit(&*store, vec![Change::PutKey(key_row(3, 2, &[]))]).await;
    assert_eq!(due(100, 10).await, [key_id(5)], "a cancelled destruction is not due");
}

pub(super) async fn due_destructions_are_listed_by_page(opener: Opener) {
    let store = opener.open().await;
    let dues = [(3, 100), (5, 100), (7, 100), (4, 200), (1, 300)];
    let put = |(n, due)| Change::PutKey(KeyRow { destruction_due: Some(UnixMillis(due)), ..key_row(n, 1, &[]) });
    commit(&*store, dues.into_iter().rev().map(put).collect()).await;
    let wanted = dues.map(|(n, due)| (UnixMillis(due), key_id(n)));
    for limit in 1..=6 {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let some = store.destructions_due(UnixMillis(300), page(after, limit)).await.unwrap();
            let Some(last) = some.last() else { break };
            after = Some(*last);
            found.extend(some);
        }
        assert_eq!(found, wanted, "{limit} at a time");
    }
    let rest = store.destructions_due(UnixMillis(299), page(Some(wanted[1]), 10)).await.unwrap();
    assert_eq!(rest, wanted[2..4]);
}

pub(super) async fn pages_have_one_to_a_thousand_rows(opener: Opener) {
    let store = opener.open().await;
    let rows = (0..1001).map(|n| Change::PutKey(key_row(n, 1, &[]))).collect();
    commit(&*store, rows).await;
    let filter = KeyFilter::default();
    for (limit, found) in [(0, 1), (1, 1), (999, 999), (1000, 1000), (1001, 1000), (u32::MAX, 1000)] {
        assert_eq!(store.keys(&filter, page(None, limit)).await.unwrap().len(), found, "limit {limit}");
    }
    let rest = store.keys(&filter, page(Some(key_id(999)), 1000)).await.unwrap();
    assert_eq!(rest, [key_row(1000, 1, &[])]);
}
