//! Whole transactions, the outbox, the lease, reopening and closing.

use keyreeve_model::change::IdempotencyRow;
use keyreeve_model::{Change, DestructionRow, Revision, UnixMillis};

use super::{
    Opener, Store, StoreError, Transaction, change, commit, conflicts, destruction, key_id, key_row, keyring_id,
    keyring_row, material_row, name, named_row, outbox_row, page, record, taken, token_id, token_row,
};

/// One change of every kind that can be refused, on rows of its own.
fn one_of_each() -> Vec<Change> {
    let row = IdempotencyRow { key: [1; 32], request: [2; 32], reply: b"ok".to_vec(), expires: UnixMillis(100) };
    vec![
        Change::PutDeployment(record(1, "deployment")),
        Change::PutKeyring(keyring_row(1, "ring", 1)),
        Change::PutKey(key_row(1, 1, &["alias"])),
        Change::AddMaterial(material_row(1, 1, 1)),
        destruction(1, 7, "destruction"),
        Change::PutToken(token_row(1, 1, 100)),
        Change::PutPrincipal(named_row("alice", 1)),
        Change::PutPolicy(named_row("policy", 1)),
        Change::Remember { row, now: UnixMillis(0) },
    ]
}

async fn holds_one_of_each(store: &dyn Store) {
    assert_eq!(store.deployment().await.unwrap(), Some(record(1, "deployment")));
    assert_eq!(store.keyring_named(&name("ring")).await.unwrap(), Some(keyring_row(1, "ring", 1)));
    assert_eq!(store.key_aliased(&name("alias")).await.unwrap(), Some(key_row(1, 1, &["alias"])));
    assert_eq!(store.material(key_id(1), 1).await.unwrap(), Some(material_row(1, 1, 1)));
    assert_eq!(store.destruction(key_id(1)).await.unwrap(), Some(record(1, "destruction")));
    let (key, keyring, record_of) = (key_id(1), keyring_id(1), record(1, "destruction"));
    let row = DestructionRow { key, keyring, shard: 0, epoch: 7, record: record_of };
    assert_eq!(store.destructions(page(None, 10)).await.unwrap(), [row]);
    assert_eq!(store.destructions(page(Some(key_id(1)), 10)).await.unwrap(), []);
    assert_eq!(store.token(token_id(1)).await.unwrap(), Some(token_row(1, 1, 100)));
    assert_eq!(store.principal(&name("alice")).await.unwrap(), Some(named_row("alice", 1)));
    assert_eq!(store.policy(&name("policy")).await.unwrap(), Some(named_row("policy", 1)));
    assert!(store.remembered(&[1; 32], UnixMillis(0)).await.unwrap().is_some());
}

async fn holds_nothing(store: &dyn Store) {
    assert_eq!(store.deployment().await.unwrap(), None);
    assert_eq!(store.keyring(keyring_id(1)).await.unwrap(), None);
    assert_eq!(store.key(key_id(1)).await.unwrap(), None);
    assert_eq!(store.key_aliased(&name("alias")).await.unwrap(), None);
    assert_eq!(store.material(key_id(1), 1).await.unwrap(), None);
    assert_eq!(store.destruction(key_id(1)).await.unwrap(), None);
    assert_eq!(store.destructions(page(None, 10)).await.unwrap(), []);
    assert_eq!(store.token(token_id(1)).await.unwrap(), None);
    assert_eq!(store.principal(&name("alice")).await.unwrap(), None);
    assert_eq!(store.policy(&name("policy")).await.unwrap(), None);
    assert_eq!(store.remembered(&[1; 32], UnixMillis(0)).await.unwrap(), None);
}

pub(super) async fn transactions_apply_whole_or_not_at_all(opener: Opener) {
    let store = opener.open().await;
    let settled = outbox_row(1);
    let with_outbox = |changes, outbox, settled| Transaction { name: "case", changes, outbox, settled };
    store.commit(with_outbox(vec![], vec![settled.clone()], vec![])).await.unwrap();

    // The last change conflicts.
    let mut changes = one_of_each();
    changes.push(Change::PutPolicy(named_row("policy", 3)));
    let refused = store.commit(with_outbox(changes, vec![outbox_row(2)], vec![settled.id])).await;
    assert!(matches!(refused, Err(StoreError::Conflict { transaction: "case" })), "{refused:?}");
    holds_nothing(&*store).await;
    assert_eq!(store.outbox(10).await.unwrap(), std::slice::from_ref(&settled), "nothing added, nothing settled");

    // The outbox row conflicts: an audit record is written once.
    let refused = store.commit(with_outbox(one_of_each(), vec![outbox_row(2), settled.clone()], vec![])).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    holds_nothing(&*store).await;
    assert_eq!(store.outbox(10).await.unwrap(), std::slice::from_ref(&settled));

    // A name is taken.
    let mut changes = one_of_each();
    changes.push(Change::PutKey(key_row(2, 1, &["alias"])));
    taken(&*store, changes, "alias", "alias").await;
    holds_nothing(&*store).await;

    store.commit(with_outbox(one_of_each(), vec![outbox_row(2)], vec![settled.id])).await.unwrap();
    holds_one_of_each(&*store).await;
    assert_eq!(store.outbox(10).await.unwrap(), [outbox_row(2)]);

    // Removals are undone too.
    let removals = vec![
        Change::DeletePolicy { name: name("policy"), revision: Revision(1) },
        Change::DeletePrincipal { name: name("alice"), revision: Revision(1) },
        Change::EraseMaterial { key: key_id(1) },
        Change::Expire { before: UnixMillis(i64::MAX) },
        Change::PutKey(key_row(1, 2, &[])),
        Change::Rewrap { row: material_row(1, 1, 2), from_epoch: 1 },
    ];
    conflicts(&*store, removals, "the material is erased by the same transaction").await;
    holds_one_of_each(&*store).await;
}

pub(super) async fn changes_apply_in_their_order(opener: Opener) {
    let store = opener.open().await;
    let put = |revision| Change::PutPolicy(named_row("policy", revision));
    commit(&*store, vec![put(1), put(2), put(3)]).await;
    assert_eq!(store.policy(&name("policy")).await.unwrap(), Some(named_row("policy", 3)));
    conflicts(&*store, vec![put(5), put(4)], "5 comes before 4").await;
    let delete = Change::DeletePolicy { name: name("policy"), revision: Revision(3) };
    commit(&*store, vec![delete, put(1)]).await;
    assert_eq!(store.policy(&name("policy")).await.unwrap(), Some(named_row("policy", 1)));
    let (add, erase) = (Change::AddMaterial(material_row(1, 1, 1)), Change::EraseMaterial { key: key_id(1) });
    commit(&*store, vec![add.clone(), erase.clone(), add.clone()]).await;
    assert_eq!(store.material(key_id(1), 1).await.unwrap(), Some(material_row(1, 1, 1)));
    commit(&*store, vec![erase.clone(), add, erase]).await;
    assert_eq!(store.material(key_id(1), 1).await.unwrap(), None);
}

pub(super) async fn the_outbox_keeps_its_order_until_settled(opener: Opener) {
    let store = opener.open().await;
    let outbox = |outbox, settled| Transaction { name: "case", outbox, settled, ..Transaction::default() };
    // Ids in descending order: the order is that of the commits, not of the ids.
    let rows = [9, 8, 7, 6, 5].map(outbox_row);
    store.commit(outbox(rows[..2].to_vec(), vec![])).await.unwrap();
    store.commit(outbox(rows[2..3].to_vec(), vec![])).await.unwrap();
    assert_eq!(store.outbox(10).await.unwrap(), rows[..3]);
    assert_eq!(store.outbox(2).await.unwrap(), rows[..2]);
    store.commit(outbox(rows[3..4].to_vec(), vec![rows[0].id, rows[2].id])).await.unwrap();
    assert_eq!(store.outbox(10).await.unwrap(), [rows[1].clone(), rows[3].clone()]);
    // Settling twice is harmless: the caller may not have heard that the first time worked.
    store.commit(outbox(vec![], vec![rows[0].id, rows[1].id, rows[3].id])).await.unwrap();
    assert_eq!(store.outbox(10).await.unwrap(), []);
    store.commit(outbox(rows[4..].to_vec(), vec![])).await.unwrap();
    assert_eq!(store.outbox(10).await.unwrap(), rows[4..]);
}

pub(super) async fn the_lease_has_one_holder(opener: Opener) {
    let store = opener.open().await;
    let lease = async |store: &dyn Store, holder: &str, now, until| {
        store.lease(holder, UnixMillis(now), UnixMillis(until)).await.unwrap()
    };
    assert!(lease(&*store, "a", 0, 100).await, "free");
    assert!(!lease(&*store, "b", 50, 150).await, "held");
    assert!(lease(&*store, "a", 50, 150).await, "renewed");
    assert!(!lease(&*store, "b", 149, 300).await, "held until 150 by now");
    store.close().await;
    let store = opener.open().await;
    assert!(!lease(&*store, "b", 149, 300).await, "durable");
    assert!(lease(&*store, "b", 150, 300).await, "over at its end");
    assert!(!lease(&*store, "a", 151, 400).await, "it is somebody else's now");
    assert!(lease(&*store, "b", 200, 200).await, "given back early");
    assert!(lease(&*store, "a", 200, 400).await);
    assert!(!lease(&*store, "b", 500, 500).await, "nobody gives back what is another's, over as it is");
    assert!(lease(&*store, "a", 500, 600).await, "who did not notice its end renews it");
    store.commit(whole(1)).await.unwrap();
}

/// A transaction with something of everything: what must not be applied is all of it.
fn whole(n: i64) -> Transaction {
    let changes = vec![Change::PutPolicy(named_row("policy", n))];
    let number = u32::try_from(n).unwrap();
    Transaction { name: "case", changes, outbox: vec![outbox_row(number)], settled: vec![outbox_row(number - 1).id] }
}

pub(super) async fn commits_need_the_lease_that_was_asked_for(opener: Opener) {
    let store = opener.open().await;
    store.commit(whole(1)).await.unwrap();
    assert!(store.lease("a", UnixMillis(0), UnixMillis(100)).await.unwrap());
    store.commit(whole(2)).await.unwrap();
    store.close().await;

    // Another server, which may not have it yet.
    let store = opener.open().await;
    assert!(!store.lease("b", UnixMillis(50), UnixMillis(150)).await.unwrap());
    let refused = store.commit(whole(3)).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
    let refused = store.commit(change(vec![])).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost)), "one without changes too: {refused:?}");
    assert_eq!(store.policy(&name("policy")).await.unwrap(), Some(named_row("policy", 2)));
    assert_eq!(store.outbox(10).await.unwrap(), [outbox_row(2)], "nothing added, nothing settled");
    assert!(store.lease("b", UnixMillis(100), UnixMillis(200)).await.unwrap());
    store.commit(whole(3)).await.unwrap();
    store.close().await;
}

pub(super) async fn a_lease_given_back_and_taken_again_serves(opener: Opener) {
    let store = opener.open().await;
    assert!(store.lease("a", UnixMillis(0), UnixMillis(100)).await.unwrap());
    assert!(store.lease("a", UnixMillis(80), UnixMillis(180)).await.unwrap(), "renewed while the server ends");
    store.commit(whole(1)).await.unwrap();
    assert!(store.lease("a", UnixMillis(90), UnixMillis(90)).await.unwrap(), "given back");
    // Nobody else took it: what is still under way may finish.
    store.commit(whole(2)).await.unwrap();
    store.close().await;
    let next = opener.open().await;
    assert!(next.lease("b", UnixMillis(90), UnixMillis(190)).await.unwrap(), "without waiting for its end");
    next.commit(whole(3)).await.unwrap();
    next.close().await;
}

pub(super) async fn reopening_finds_everything(opener: Opener) {
    let store = opener.open().await;
    let outbox = vec![outbox_row(2), outbox_row(1)];
    let all = Transaction { name: "case", changes: one_of_each(), outbox: outbox.clone(), settled: vec![] };
    store.commit(all).await.unwrap();
    store.close().await;
    let store = opener.open().await;
    holds_one_of_each(&*store).await;
    assert_eq!(store.outbox(10).await.unwrap(), outbox);
    conflicts(&*store, vec![Change::PutDeployment(record(1, "deployment"))], "there is one already").await;
    // Dropped without closing.
    commit(&*store, vec![Change::PutPolicy(named_row("policy", 2))]).await;
    drop(store);
    let store = opener.open().await;
    assert_eq!(store.policy(&name("policy")).await.unwrap(), Some(named_row("policy", 2)));
}

pub(super) async fn a_closed_store_is_unavailable(opener: Opener) {
    let store = opener.open().await;
    commit(&*store, vec![Change::PutPolicy(named_row("policy", 1))]).await;
    store.close().await;
    let gone = |error: StoreError| assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    gone(store.commit(change(vec![Change::PutPolicy(named_row("policy", 2))])).await.unwrap_err());
    gone(store.commit(change(vec![])).await.unwrap_err());
    gone(store.policy(&name("policy")).await.unwrap_err());
    gone(store.deployment().await.unwrap_err());
    gone(store.outbox(1).await.unwrap_err());
    gone(store.lease("a", UnixMillis(0), UnixMillis(1)).await.unwrap_err());
    gone(store.check().await.unwrap_err());
    store.close().await;
    let store = opener.open().await;
    assert_eq!(store.policy(&name("policy")).await.unwrap(), Some(named_row("policy", 1)));
}

pub(super) async fn a_working_store_passes_its_check(opener: Opener) {
    let store = opener.open().await;
    store.check().await.unwrap();
    commit(&*store, one_of_each()).await;
    store.check().await.unwrap();
    holds_one_of_each(&*store).await;
}
