//! Many callers at once.

use keyreeve_model::{Change, UnixMillis};
use tokio::task::JoinSet;

use super::{
    Arc, KeyRow, Name, NamedRow, Opener, Revision, Store, StoreError, Transaction, change, commit, key_id, key_row,
    keyring_id, keyring_row, material_row, name, named_row, outbox_row, page, record,
};

const CALLERS: u32 = 8;

fn is_conflict(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict { .. }))
}

/// Every caller adds its share to one counter by read, compute, compare-and-set.
pub(super) async fn no_update_is_lost(opener: Opener) {
    const EACH: u32 = 25;
    let store = opener.open().await;
    commit(&*store, vec![Change::PutPolicy(NamedRow { name: name("counter"), record: record(1, "0") })]).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for _ in 0..EACH {
                while !increment(&*store).await {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    callers.join_all().await;
    let row = store.policy(&name("counter")).await.unwrap().unwrap();
    assert_eq!(row.record.bytes, (CALLERS * EACH).to_string().into_bytes());
    assert_eq!(row.record.revision, Revision(1 + i64::from(CALLERS * EACH)));
}

/// False when somebody else was faster.
async fn increment(store: &dyn Store) -> bool {
    let row = store.policy(&name("counter")).await.unwrap().unwrap();
    let value: u32 = String::from_utf8(row.record.bytes).unwrap().parse().unwrap();
    let record = record(row.record.revision.next().0, &(value + 1).to_string());
    let outcome = store.commit(change(vec![Change::PutPolicy(NamedRow { name: row.name, record })])).await;
    assert!(outcome.is_ok() || is_conflict(&outcome), "{outcome:?}");
    outcome.is_ok()
}

pub(super) async fn independent_commits_all_apply(opener: Opener) {
    const EACH: u32 = 20;
    let store = opener.open().await;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for n in (caller * EACH)..((caller + 1) * EACH) {
                let alias = format!("k{n}");
                let changes =
                    vec![Change::PutKey(key_row(n, 1, &[alias.as_str()])), Change::AddMaterial(material_row(n, 1, 1))];
                let outbox = vec![outbox_row(n)];
                store.commit(Transaction { name: "case", changes, outbox, settled: vec![] }).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    store.close().await;
    let store = opener.open().await;
    let all = usize::try_from(CALLERS * EACH).unwrap();
    assert_eq!(store.keys(&crate::KeyFilter::default(), page(None, 1000)).await.unwrap().len(), all);
    assert_eq!(super::shard(&*store, keyring_id(1), 0).await.len(), all);
    let mut ids: Vec<_> = store.outbox(1000).await.unwrap().into_iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

pub(super) async fn one_of_many_gets_a_name(opener: Opener) {
    let store = opener.open().await;
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let key = store.commit(change(vec![Change::PutKey(key_row(n, 1, &["wanted"]))])).await;
            let keyring = store.commit(change(vec![Change::PutKeyring(keyring_row(n, "wanted", 1))])).await;
            for outcome in [&key, &keyring] {
                assert!(matches!(outcome, Ok(()) | Err(StoreError::Taken { .. })), "{outcome:?}");
            }
            (u32::from(key.is_ok()), u32::from(keyring.is_ok()))
        });
    }
    let winners = callers.join_all().await;
    assert_eq!(winners.iter().map(|won| won.0).sum::<u32>(), 1, "{winners:?}");
    assert_eq!(winners.iter().map(|won| won.1).sum::<u32>(), 1, "{winners:?}");
    assert_eq!(store.keys(&crate::KeyFilter::default(), page(None, 10)).await.unwrap().len(), 1);
    assert_eq!(store.keyrings(page(None, 10)).await.unwrap().len(), 1);
}

pub(super) async fn one_of_many_gets_the_lease(opener: Opener) {
    let store = opener.open().await;
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let holder = format!("server {n}");
            store.lease(&holder, UnixMillis(0), UnixMillis(100)).await.unwrap()
        });
    }
    let holders = callers.join_all().await;
    assert_eq!(holders.into_iter().filter(|had| *had).count(), 1);
}

/// Two keys hand each other their aliases, each caller touching them in its own order: a database that locks rows meets
/// deadlocks here, and the driver must resolve them.
pub(super) async fn crossed_renames_end(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![Change::PutKey(key_row(1, 1, &["x"])), Change::PutKey(key_row(2, 1, &["y"]))]).await;
    let mut callers = JoinSet::new();
    for forward in [true, false] {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut done = 0u32;
            for _ in 0..8 {
                done += u32::from(exchange(&*store, forward).await);
            }
            done
        });
    }
    let done: u32 = callers.join_all().await.into_iter().sum();
    let rows = [store.key(key_id(1)).await.unwrap().unwrap(), store.key(key_id(2)).await.unwrap().unwrap()];
    assert!(done > 0);
    for row in &rows {
        assert_eq!(row.record.revision, Revision(1 + i64::from(done)), "each exchange wrote both rows once");
    }
    let mut names: Vec<_> = rows.iter().flat_map(|row| row.aliases.clone()).collect();
    names.sort();
    assert_eq!(names, [name("x"), name("y")]);
}

/// The key that comes first gives all its aliases to the other one; false when somebody else was faster.
async fn exchange(store: &dyn Store, forward: bool) -> bool {
    let ids = if forward { [1, 2] } else { [2, 1] };
    let first = store.key(key_id(ids[0])).await.unwrap().unwrap();
    let second = store.key(key_id(ids[1])).await.unwrap().unwrap();
    let next = |row: &KeyRow, aliases: Vec<Name>| {
        let record = record(row.record.revision.next().0, "exchanged");
        KeyRow { aliases, record, ..row.clone() }
    };
    let mut all = [first.aliases.clone(), second.aliases.clone()].concat();
    all.sort();
    let changes = vec![Change::PutKey(next(&first, vec![])), Change::PutKey(next(&second, all))];
    let outcome = store.commit(change(changes)).await;
    assert!(matches!(outcome, Ok(()) | Err(StoreError::Conflict { .. } | StoreError::Taken { .. })), "{outcome:?}");
    outcome.is_ok()
}

pub(super) async fn reads_see_what_was_committed_before(opener: Opener) {
    let store = opener.open().await;
    let (sender, mut seen) = tokio::sync::mpsc::channel(1);
    let writing = Arc::clone(&store);
    let writer = tokio::spawn(async move {
        for revision in 1..=50 {
            commit(&*writing, vec![Change::PutPolicy(named_row("policy", revision))]).await;
            sender.send(revision).await.unwrap();
        }
    });
    while let Some(revision) = seen.recv().await {
        let row = store.policy(&name("policy")).await.unwrap().unwrap();
        assert!(row.record.revision >= Revision(revision), "{row:?} after {revision} was committed");
    }
    writer.await.unwrap();
}
