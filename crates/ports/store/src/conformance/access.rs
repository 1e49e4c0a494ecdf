//! The deployment, tokens, principals, policies and remembered answers.

use keyreeve_model::change::IdempotencyRow;
use keyreeve_model::{Change, Name, Revision, UnixMillis};

use super::{Opener, commit, conflicts, key_id, keyring_id, name, named_row, page, record, token_id, token_row};

pub(super) async fn a_fresh_store_is_empty(opener: Opener) {
    let store = opener.open().await;
    assert_eq!(store.deployment().await.unwrap(), None);
    assert_eq!(store.keyring(keyring_id(1)).await.unwrap(), None);
    assert_eq!(store.keyring_named(&name("a")).await.unwrap(), None);
    assert_eq!(store.keyrings(page(None, 10)).await.unwrap(), []);
    assert_eq!(store.key(key_id(1)).await.unwrap(), None);
    assert_eq!(store.key_aliased(&name("a")).await.unwrap(), None);
    assert_eq!(store.keys(&crate::KeyFilter::default(), page(None, 10)).await.unwrap(), []);
    assert_eq!(store.destructions_due(UnixMillis(i64::MAX), page(None, 10)).await.unwrap(), []);
    assert_eq!(store.material(key_id(1), 1).await.unwrap(), None);
    assert_eq!(super::shard(&*store, keyring_id(1), 0).await, []);
    assert_eq!(store.epochs_in_use().await.unwrap(), []);
    assert_eq!(store.destruction(key_id(1)).await.unwrap(), None);
    assert_eq!(store.destruction_of_epoch(keyring_id(1), 0, 0).await.unwrap(), None);
    assert_eq!(store.token(token_id(1)).await.unwrap(), None);
    assert_eq!(store.tokens(page(None, 10)).await.unwrap(), []);
    assert_eq!(store.principal(&name("a")).await.unwrap(), None);
    assert_eq!(store.principals(page(None, 10)).await.unwrap(), []);
    assert_eq!(store.policy(&name("a")).await.unwrap(), None);
    assert_eq!(store.policies(page(None, 10)).await.unwrap(), []);
    assert_eq!(store.remembered(&[1; 32], UnixMillis(0)).await.unwrap(), None);
    assert_eq!(store.outbox(10).await.unwrap(), []);
    commit(&*store, vec![]).await;
}

pub(super) async fn the_deployment_is_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let put = |revision| vec![Change::PutDeployment(record(revision, "deployment"))];
    conflicts(&*store, put(2), "nothing stands under revision 1").await;
    commit(&*store, put(1)).await;
    assert_eq!(store.deployment().await.unwrap(), Some(record(1, "deployment")));
    conflicts(&*store, put(1), "there is one already").await;
    conflicts(&*store, put(3), "revision 2 was left out").await;
    commit(&*store, put(2)).await;
    conflicts(&*store, put(2), "revision 1 stands no longer").await;
    assert_eq!(store.deployment().await.unwrap(), Some(record(2, "deployment")));
}

pub(super) async fn tokens_are_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let put = |revision| vec![Change::PutToken(token_row(1, revision, 100))];
    conflicts(&*store, put(2), "no such token").await;
    commit(&*store, put(1)).await;
    conflicts(&*store, put(1), "there is one already").await;
    conflicts(&*store, put(0), "there is no revision 0").await;
    let mut renewed = token_row(1, 2, 200);
    renewed.principal = name("bob");
    commit(&*store, vec![Change::PutToken(renewed.clone())]).await;
    assert_eq!(store.token(token_id(1)).await.unwrap(), Some(renewed));
    conflicts(&*store, put(2), "stale").await;
    assert_eq!(store.token(token_id(2)).await.unwrap(), None);
}

pub(super) async fn tokens_are_listed_by_page(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, [3, 1, 2].map(|n| Change::PutToken(token_row(n, 1, 100))).to_vec()).await;
    let rows = [1, 2, 3].map(|n| token_row(n, 1, 100));
    assert_eq!(store.tokens(page(None, 2)).await.unwrap(), rows[..2]);
    assert_eq!(store.tokens(page(Some(token_id(2)), 2)).await.unwrap(), rows[2..]);
    assert_eq!(store.tokens(page(Some(token_id(3)), 2)).await.unwrap(), []);
}

pub(super) async fn principals_are_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let put = |revision| vec![Change::PutPrincipal(named_row("alice", revision))];
    let delete = |revision| vec![Change::DeletePrincipal { name: name("alice"), revision: Revision(revision) }];
    conflicts(&*store, put(2), "no such principal").await;
    conflicts(&*store, delete(1), "no such principal").await;
    commit(&*store, put(1)).await;
    conflicts(&*store, put(1), "the caller did not know of the row").await;
    commit(&*store, put(2)).await;
    assert_eq!(store.principal(&name("alice")).await.unwrap(), Some(named_row("alice", 2)));
    assert_eq!(store.policy(&name("alice")).await.unwrap(), None, "policies are another table");
    conflicts(&*store, delete(1), "revision 2 stands").await;
    commit(&*store, delete(2)).await;
    assert_eq!(store.principal(&name("alice")).await.unwrap(), None);
    commit(&*store, put(1)).await;
}

pub(super) async fn policies_are_written_by_compare_and_set(opener: Opener) {
    let store = opener.open().await;
    let put = |revision| vec![Change::PutPolicy(named_row("readers", revision))];
    let delete = |revision| vec![Change::DeletePolicy { name: name("readers"), revision: Revision(revision) }];
    conflicts(&*store, put(2), "no such policy").await;
    conflicts(&*store, delete(1), "no such policy").await;
    commit(&*store, put(1)).await;
    conflicts(&*store, put(1), "the caller did not know of the row").await;
    commit(&*store, put(2)).await;
    assert_eq!(store.policy(&name("readers")).await.unwrap(), Some(named_row("readers", 2)));
    assert_eq!(store.principal(&name("readers")).await.unwrap(), None, "principals are another table");
    conflicts(&*store, delete(3), "revision 2 stands").await;
    commit(&*store, delete(2)).await;
    assert_eq!(store.policy(&name("readers")).await.unwrap(), None);
}

pub(super) async fn named_rows_are_listed_by_page(opener: Opener) {
    let store = opener.open().await;
    // In the order of their bytes, whatever language the database was set up for.
    let names = ["Zoe", "a-b", "a.b", "aB", "ab", "b"];
    let rows = names.map(|called| named_row(called, 1));
    let principals = rows.iter().rev().cloned().map(Change::PutPrincipal);
    let policies = rows.iter().rev().cloned().map(Change::PutPolicy);
    commit(&*store, principals.chain(policies).collect()).await;
    assert_eq!(store.principals(page(None, 100)).await.unwrap(), rows);
    assert_eq!(store.policies(page(None, 100)).await.unwrap(), rows);
    let after = |called| Some(name(called));
    assert_eq!(store.principals(page(after("a.b"), 2)).await.unwrap(), rows[3..5]);
    assert_eq!(store.policies(page(after("a.b"), 2)).await.unwrap(), rows[3..5]);
    assert_eq!(store.policies(page(after("b"), 2)).await.unwrap(), []);
    assert_eq!(
        store.policies(page::<Name>(after("aa"), 1)).await.unwrap(),
        rows[4..5],
        "after a name that is not there"
    );
}

fn answer(key: u8, reply: &str, expires: i64) -> IdempotencyRow {
    IdempotencyRow { key: [key; 32], request: [9; 32], reply: reply.into(), expires: UnixMillis(expires) }
}

pub(super) async fn answers_are_remembered_until_they_end(opener: Opener) {
    let store = opener.open().await;
    let remember = |row: &IdempotencyRow, now| vec![Change::Remember { row: row.clone(), now: UnixMillis(now) }];
    let first = answer(1, "first", 100);
    commit(&*store, remember(&first, 0)).await;
    let get = |now| store.remembered(&[1; 32], UnixMillis(now));
    assert_eq!(get(0).await.unwrap(), Some(first.clone()));
    assert_eq!(get(100).await.unwrap(), Some(first.clone()), "it did not end before its end");
    assert_eq!(get(101).await.unwrap(), None);
    assert_eq!(store.remembered(&[2; 32], UnixMillis(0)).await.unwrap(), None);

    let second = answer(1, "second", 300);
    conflicts(&*store, remember(&second, 100), "the first one still holds").await;
    commit(&*store, remember(&second, 101)).await;
    assert_eq!(get(200).await.unwrap(), Some(second));
}

pub(super) async fn expiring_removes_only_what_ended(opener: Opener) {
    let store = opener.open().await;
    let mut changes = Vec::new();
    for n in [99, 100, 101] {
        let row = answer(n, "x", i64::from(n));
        changes.push(Change::Remember { row, now: UnixMillis(0) });
        changes.push(Change::PutToken(token_row(u32::from(n), 1, i64::from(n))));
    }
    commit(&*store, changes).await;
    commit(&*store, vec![Change::Expire { before: UnixMillis(100) }]).await;
    for (n, stays) in [(99, false), (100, true), (101, true)] {
        assert_eq!(store.remembered(&[n; 32], UnixMillis(0)).await.unwrap().is_some(), stays, "answer {n}");
        assert_eq!(store.token(token_id(n.into())).await.unwrap().is_some(), stays, "token {n}");
    }
}
