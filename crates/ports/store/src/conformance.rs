//! The suite every driver passes: one case for each thing the [`Store`] contract says.
//!
//! Times are plain values and nothing waits for a clock.

mod access;
mod concurrency;
mod copying;
mod durability;
mod filed;
mod keys;
mod material;

use keyreeve_model::change::{KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::{
    Change, KeyId, KeyringId, MaterialRow, Name, Outbox, RecordId, Revision, SealedRecord, State, TokenId, Transaction,
    UnixMillis,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::{MaterialPlace, Page, Store, StoreError};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens the store of a case: a fresh one at first, the same one again after it was closed.
#[derive(Clone)]
struct Opener(Arc<dyn Fn(&'static str) -> BoxFuture<Arc<dyn Store>> + Send + Sync>, &'static str);

impl Opener {
    async fn open(&self) -> Arc<dyn Store> {
        (self.0)(self.1).await
    }
}

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        /// The name of every case.
        pub const CASES: &[&str] = &[$(stringify!($case)),*];

        fn start(opener: &Opener) -> Vec<BoxFuture<()>> {
            vec![$(Box::pin($module::$case(Opener(Arc::clone(&opener.0), stringify!($case))))),*]
        }
    };
}

cases![
    access::a_fresh_store_is_empty,
    access::the_deployment_is_written_by_compare_and_set,
    access::tokens_are_written_by_compare_and_set,
    access::tokens_are_listed_by_page,
    access::principals_are_written_by_compare_and_set,
    access::policies_are_written_by_compare_and_set,
    access::named_rows_are_listed_by_page,
    access::answers_are_remembered_until_they_end,
    access::expiring_removes_only_what_ended,
    keys::keyrings_are_written_by_compare_and_set,
    keys::keyring_names_are_unique,
    keys::keyrings_are_listed_by_page,
    keys::keys_are_written_by_compare_and_set,
    keys::aliases_are_replaced,
    keys::aliases_are_unique,
    keys::keys_are_listed_by_page_and_filter,
    keys::due_destructions_come_soonest_first,
    keys::due_destructions_are_listed_by_page,
    keys::pages_have_one_to_a_thousand_rows,
    material::material_is_added_once,
    material::material_is_rewrapped_from_its_epoch,
    material::shards_are_listed_by_page,
    material::a_key_comes_with_its_newest_material,
    material::erasing_takes_every_version_of_one_key,
    material::erasing_a_version_leaves_the_others,
    material::epochs_in_use_are_listed_once,
    material::a_destruction_is_recorded_once,
    material::destroyed_epochs_are_known,
    material::nothing_is_added_under_an_erased_epoch,
    material::extreme_values_come_back,
    filed::filed_records_are_written_by_compare_and_set,
    filed::filed_records_are_removed_by_their_revision,
    filed::kinds_of_filed_records_are_apart,
    filed::filed_records_are_listed_by_page_and_parent,
    filed::due_filed_records_come_soonest_first,
    filed::what_may_be_forgotten_goes_when_expired,
    filed::one_of_many_files_a_record,
    durability::transactions_apply_whole_or_not_at_all,
    durability::changes_apply_in_their_order,
    durability::the_outbox_keeps_its_order_until_settled,
    durability::the_lease_has_one_holder,
    durability::commits_need_the_lease_that_was_asked_for,
    durability::a_lease_given_back_and_taken_again_serves,
    durability::reopening_finds_everything,
    durability::a_closed_store_is_unavailable,
    durability::a_working_store_passes_its_check,
    concurrency::no_update_is_lost,
    concurrency::independent_commits_all_apply,
    concurrency::one_of_many_gets_a_name,
    concurrency::one_of_many_gets_the_lease,
    concurrency::crossed_renames_end,
    concurrency::reads_see_what_was_committed_before,
    copying::a_copy_has_every_row_in_order,
    copying::a_copy_is_of_one_moment,
    copying::a_copy_that_nobody_takes_ends,
    copying::loading_needs_an_empty_store,
    copying::loading_is_whole_or_not_at_all,
    copying::what_was_loaded_serves,
];

/// Runs every case. `open` is given the name of the case: at the first call for a name it opens a fresh store, later
/// the same one again.
///
/// # Panics
/// When a case fails; the message names all that did.
pub async fn run<F, Fut>(open: F)
where
    F: Fn(&'static str) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Arc<dyn Store>> + Send + 'static,
{
    let opener = Opener(Arc::new(move |case| Box::pin(open(case))), "");
    let mut failed = Vec::new();
    for (name, case) in CASES.iter().zip(start(&opener)) {
        // A task of its own, so that one failing case does not hide the others.
        if tokio::spawn(case).await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), CASES.len());
}

/// A transaction of these changes.
fn change(changes: Vec<Change>) -> Transaction {
    Transaction { name: "case", changes, ..Transaction::default() }
}

async fn commit(store: &dyn Store, changes: Vec<Change>) {
    store.commit(change(changes)).await.unwrap();
}

/// Commits something that must meet a conflict.
async fn conflicts(store: &dyn Store, changes: Vec<Change>, why: &str) {
    match store.commit(change(changes)).await {
        Err(StoreError::Conflict { transaction }) => assert_eq!(transaction, "case"),
        other => panic!("{why}: expected a conflict, got {other:?}"),
    }
}

/// Commits something that must meet a taken name.
async fn taken(store: &dyn Store, changes: Vec<Change>, what: &str, name: &str) {
    match store.commit(change(changes)).await {
        Err(StoreError::Taken { what: whose, name: which }) => assert_eq!((whose, which.as_str()), (what, name)),
        other => panic!("expected the {what} `{name}` to be taken, got {other:?}"),
    }
}

fn bytes(n: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes[15] = 0xff;
    bytes
}

fn key_id(n: u32) -> KeyId {
    KeyId::from_bytes(bytes(n))
}

fn keyring_id(n: u32) -> KeyringId {
    KeyringId::from_bytes(bytes(n))
}

fn token_id(n: u32) -> TokenId {
    TokenId::from_bytes(bytes(n))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn record(revision: i64, text: &str) -> SealedRecord {
    SealedRecord { revision: Revision(revision), bytes: text.as_bytes().to_vec(), mac: [revision.to_le_bytes()[0]; 32] }
}

fn keyring_row(n: u32, called: &str, revision: i64) -> KeyringRow {
    KeyringRow { id: keyring_id(n), name: name(called), record: record(revision, called) }
}

/// An active key in keyring 1.
fn key_row(n: u32, revision: i64, aliases: &[&str]) -> KeyRow {
    KeyRow {
        id: key_id(n),
        keyring: keyring_id(1),
        state: State::Active,
        destruction_due: None,
        aliases: aliases.iter().map(|alias| name(alias)).collect(),
        record: record(revision, &format!("key {n}")),
    }
}

fn token_row(n: u32, revision: i64, expires: i64) -> TokenRow {
    let record = record(revision, "token");
    TokenRow { id: token_id(n), principal: name("alice"), expires: UnixMillis(expires), record }
}

fn named_row(called: &str, revision: i64) -> NamedRow {
    NamedRow { name: name(called), record: record(revision, called) }
}

/// Material of a key in keyring 1, shard 0.
fn material_row(key: u32, version: u32, epoch: u64) -> MaterialRow {
    let wrapped = format!("material {key} {version} {epoch}").into_bytes();
    MaterialRow { key: key_id(key), version, keyring: keyring_id(1), shard: 0, epoch, wrapped }
}

/// A destruction in keyring 1, shard 0.
fn destruction(key: u32, epoch: u64, text: &str) -> Change {
    let record = record(1, text);
    Change::AddDestruction { key: key_id(key), keyring: keyring_id(1), shard: 0, epoch, record }
}

fn outbox_row(n: u32) -> Outbox {
    Outbox { id: RecordId::from_bytes(bytes(n)), bytes: format!("audit {n}").into_bytes() }
}

/// All material of a shard.
async fn shard(store: &dyn Store, keyring: KeyringId, shard: u32) -> Vec<MaterialRow> {
    store.shard_material(keyring, shard, page::<MaterialPlace>(None, 1000)).await.unwrap()
}

fn page<C>(after: Option<C>, limit: u32) -> Page<C> {
    Page { after, limit }
}
