//! Failing stores and journals: never an answer without its record, nothing acknowledged lost, nothing done twice.

use futures::FutureExt;
use keyreeve_audit::{Outcome, Record};
use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::keys::{self, Create};
use keyreeve_engine::ops::lifecycle::Suspend;
use keyreeve_engine::ops::principals::Put;
use keyreeve_engine::ops::system::Seal;
use keyreeve_engine::ops::tokens;
use keyreeve_engine::{Arrival, Code, Idempotency, KeyRef, Operation, Readiness, SealStatus};
use keyreeve_journal::faulty::Fault;
use keyreeve_journal::{Journal, JournalError};
use keyreeve_store::Store;
use keyreeve_store::faulty::CommitFault;
use std::sync::Arc;

use crate::support::{Checked, DAY, House, VaultFault, Who, create, key_of, label, name};

fn full() -> JournalError {
    JournalError::NoSpace("injected".to_owned())
}

fn creating() -> Create {
    create(KeyAlgorithm::Xaes256Gcm).checked()
}

fn listing() -> keys::List {
    keys::List { query: keys::KeyQuery::default(), after: None, limit: 1000 }
}

async fn keys(house: &House) -> usize {
    house.ask(listing()).await.items.len()
}

/// Records of an operation, oldest first.
async fn told(house: &House, operation: &str) -> Vec<Record> {
    house.records().await.into_iter().filter(|record| record.operation == operation).collect()
}

fn endings(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.outcome.code().unwrap_or("ok")).collect()
}

#[tokio::test]
async fn a_failed_commit_changes_nothing_and_is_recorded_as_failed() {
    let house = House::new().await;
    house.store().fail_next_commit(CommitFault::Failed);
    assert_eq!(house.code(creating()).await, Code::StoreUnavailable);
    assert_eq!(keys(&house).await, 0);
    let records = told(&house, "key.create").await;
    assert_eq!(endings(&records), ["store-unavailable"]);
    assert!(matches!(records[0].outcome, Outcome::Failed { .. }));
    house.ask(creating()).await;
    assert_eq!(keys(&house).await, 1);
    house.verify_log().await;
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_gets_the_first_answer() {
    let mut house = House::new().await;
    house.store().fail_next_commit(CommitFault::FailedButPersisted);
    let lost = house.retry(&house.developer, "order-1", creating()).await.unwrap_err();
    assert_eq!(lost.error.code(), Code::OutcomeUnknown);
    let first = house.retry(&house.developer, "order-1", creating()).await.unwrap();
    assert_eq!(keys(&house).await, 1, "made once");
    let again = house.retry(&house.developer, "order-1", creating()).await.unwrap();
    assert_eq!(first.reply.key, again.reply.key);
    house.reopen().await;
    let later = house.retry(&house.developer, "order-1", creating()).await.unwrap();
    assert_eq!(first.reply.key, later.reply.key, "also after a restart");
    let ciphertext = house.encrypt(&key_of(&later.reply), b"x").await;
    assert_eq!(house.decrypt(&key_of(&later.reply), &ciphertext).await, b"x");
    let records = told(&house, "key.create").await;
    let done: Vec<&Record> = records.iter().filter(|record| record.outcome == Outcome::Ok).collect();
    let repeated = done.iter().filter(|record| record.details.contains_key("repeated")).count();
    assert_eq!((done.len(), repeated), (4, 3), "{:?}", endings(&records));
    assert!(endings(&records).contains(&"outcome-unknown"), "{:?}", endings(&records));
    house.verify_log().await;
}

/// The database applied a transaction after the server had given up waiting and had looked for it in vain.
#[tokio::test]
async fn a_change_that_is_applied_late_gets_its_record() {
    let house = House::new().await;
    house.store().fail_next_commit(CommitFault::FailedButPersisted);
    assert_eq!(house.code(creating()).await, Code::OutcomeUnknown);
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let late = house.sql().query_row("SELECT id, bytes FROM outbox ORDER BY seq DESC", [], row).unwrap();
    house.sql().execute("DELETE FROM outbox WHERE id = ?1", [&late.0]).unwrap();
    house.ask(creating()).await;
    house.pass(60_000).await;
    house.sql().execute("INSERT INTO outbox (id, bytes) VALUES (?1, ?2)", [&late.0, &late.1]).unwrap();
    house.pass(60_000).await;
    let records = told(&house, "key.create").await;
    assert_eq!(endings(&records), ["outcome-unknown", "ok", "ok"]);
    house.verify_log().await;
}

#[tokio::test]
async fn an_answer_that_is_repeated_waits_for_the_record_of_the_first() {
    let house = House::new().await;
    house.store().fail_next_commit(CommitFault::FailedButPersisted);
    house.retry(&house.developer, "order-1", creating()).await.unwrap_err();
    let first = house.retry(&house.developer, "order-1", creating()).await.unwrap();
    let records = told(&house, "key.create").await;
    let made = records.iter().find(|record| record.outcome == Outcome::Ok).unwrap();
    assert_eq!(made.resource.as_ref().unwrap().id, first.reply.key.id().to_string(), "the making is in the log");
    assert!(!made.details.contains_key("repeated"));
}

#[tokio::test]
async fn idempotency_keys_belong_to_one_request_one_principal_and_one_day() {
    let house = House::new().await;
    let other = house.welcome(House::person("other", &["developer"])).await;
    let first = house.retry(&house.developer, "order-1", creating()).await.unwrap().reply.key.id();
    let foreign = house.retry(&other, "order-1", creating()).await.unwrap().reply.key.id();
    assert_ne!(first, foreign);
    let different = Arrival {
        idempotency: Some(Idempotency { key: "order-1".to_owned(), request: [8; 32] }),
        ..House::arrival(&house.developer)
    };
    let refused = house.engine().call(different, creating()).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::IdempotencyMismatch);
    house.pass(DAY + 1).await;
    let next_day = house.retry(&house.developer, "order-1", creating()).await.unwrap().reply.key.id();
    assert_ne!(first, next_day);
}

#[tokio::test]
async fn an_answer_with_a_secret_is_not_repeated() {
    let house = House::new().await;
    let issuing = || tokens::Create {
        principal: name("developer"),
        seconds: 600,
        description: label("ci"),
        networks: Default::default(),
    };
    house.retry(&house.developer, "token-1", issuing()).await.unwrap();
    let again = house.retry(&house.developer, "token-1", issuing()).await.unwrap_err();
    assert_eq!(again.error.code(), Code::AlreadyDone);
    assert_eq!(house.ask(tokens::List { after: None, limit: 10 }).await.items.len(), 2);
}

#[tokio::test]
async fn without_a_journal_nothing_is_answered() {
    let house = House::new().await;
    let key = house.aead().await;
    let size = house.journal().size();
    // The record of the use and the record of its failure.
    house.journal().plan(Some(Fault::Failed(full())));
    house.journal().plan(Some(Fault::Failed(full())));
    let refused = house.call(&house.developer, House::encrypting(&key, b"x")).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::AuditUnavailable);
    assert_eq!((refused.record, house.journal().size()), (None, size));
    // A refusal is not told without its record either.
    house.journal().plan(Some(Fault::Failed(full())));
    let refused = house.call(&Who::Nobody, House::encrypting(&key, b"x")).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::AuditUnavailable);
    house.encrypt(&key, b"x").await;
    house.verify_log().await;
}

#[tokio::test]
async fn a_change_whose_record_missed_the_journal_is_mended_exactly_once() {
    for fault in [Fault::Failed(full()), Fault::FailedButPersisted(full())] {
        for restart in [false, true] {
            let mut house = House::new().await;
            house.journal().plan(Some(fault.clone()));
            assert_eq!(house.code(creating()).await, Code::AuditUnavailable);
            if restart {
                house.reopen().await;
            } else {
                house.pass(0).await;
            }
            let records = told(&house, "key.create").await;
            let done = records.iter().filter(|record| record.outcome == Outcome::Ok).count();
            assert_eq!(done, 1, "{fault:?}, restarted: {restart}: {:?}", endings(&records));
            assert_eq!(keys(&house).await, 1, "the change stands and is told of");
            house.pass(0).await;
            assert!(house.store().outbox(10).await.unwrap().is_empty());
            house.verify_log().await;
        }
    }
}

#[tokio::test]
async fn a_lost_race_is_run_again_and_recorded_once() {
    let house = House::new().await;
    house.store().fail_next_commit(CommitFault::Conflict);
    house.ask(creating()).await;
    assert_eq!(endings(&told(&house, "key.create").await), ["ok"]);
    let next = house.store().commits() + 1;
    for number in next..next + 16 {
        house.store().fail_commit(number, CommitFault::Conflict);
    }
    assert_eq!(house.code(creating()).await, Code::Conflict);
    assert_eq!(keys(&house).await, 1);
}

#[tokio::test]
async fn readiness_names_the_part_that_cannot_work() {
    let house = House::new().await;
    // A second later, when the parts are looked at again.
    let readiness = async || {
        house.clock.turn(1000);
        house.engine().readiness().await
    };
    let well = Readiness::well(SealStatus::Open);
    assert_eq!(readiness().await, well);
    house.root().lose(true);
    let told = Some("the root of trust is not available: injected".to_owned());
    assert_eq!(readiness().await, Readiness { root: told, ..well.clone() });
    house.root().lose(false);
    house.vault().set(Some(VaultFault::Check));
    let told = Some("the epoch vault is not available: injected".to_owned());
    assert_eq!(readiness().await, Readiness { vault: told, ..well.clone() });
    assert!(!readiness().await.is_ready());
    house.vault().set(None);
    house.store().set_read_only(true);
    let told = readiness().await;
    assert!(told.store.is_some());
    assert_eq!(Readiness { store: None, ..told }, well);
}

/// Anybody may ask, and each look at the store is a write.
#[tokio::test]
async fn the_parts_are_looked_at_once_a_second_whoever_asks() {
    let house = House::new().await;
    let engine = house.engine();
    let ask = |times| futures::future::join_all((0..times).map(|_| engine.readiness()));
    assert!(ask(50).await.iter().all(Readiness::is_ready));
    assert_eq!(house.store().checks(), 1);
    house.clock.turn(999);
    ask(50).await;
    assert_eq!(house.store().checks(), 1);
    house.clock.turn(1);
    // One who goes away has asked all the same.
    assert!(engine.readiness().now_or_never().is_none());
    assert!(ask(50).await.iter().all(Readiness::is_ready));
    assert_eq!(house.store().checks(), 2);
    house.ask(Seal).await;
    assert_ne!(engine.readiness().await.seal, SealStatus::Open, "where the root stands is told as it is");
}

/// Exchanges the rows of tables for those that were kept.
fn swap(house: &House, tables: &[&str]) {
    for table in tables {
        let sql = format!(
            "CREATE TEMP TABLE other AS SELECT * FROM {table}; DELETE FROM {table}; \
             INSERT INTO {table} SELECT * FROM kept_{table}; DELETE FROM kept_{table}; \
             INSERT INTO kept_{table} SELECT * FROM other; DROP TABLE other;"
        );
        house.sql().execute_batch(&sql).unwrap();
    }
}

/// What was read between a commit whose answer got lost and its late effect is read again.
#[tokio::test]
async fn a_change_that_is_applied_late_is_seen_in_memory_too() {
    for (table, then) in [("keys", Code::WrongState), ("principals", Code::Unauthenticated)] {
        let house = House::new().await;
        let key = house.aead().await;
        let leaver = house.welcome(House::person("leaver", &["key-user-encrypt"])).await;
        for table in [table, "outbox"] {
            let sql = format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}");
            house.sql().execute_batch(&sql).unwrap();
        }
        house.store().fail_next_commit(CommitFault::FailedButPersisted);
        let code = if table == "keys" {
            house.code(Suspend { key: key.clone(), risk_accepted: false, reason: label("doubt") }).await
        } else {
            let mut disabled = House::person("leaver", &[]);
            disabled.disabled = true;
            house.code(Put::new(disabled)).await
        };
        assert_eq!(code, Code::OutcomeUnknown);
        swap(&house, &[table, "outbox"]);
        house.pass(1).await;
        house.call(&leaver, House::encrypting(&key, b"x")).await.unwrap();
        swap(&house, &[table, "outbox"]);
        house.pass(60_000).await;
        assert_eq!(house.code_for(&leaver, House::encrypting(&key, b"x")).await, then, "{table}");
    }
}

#[tokio::test]
async fn a_commit_without_the_lease_is_told_to_who_runs_the_server() {
    let house = House::new().await;
    assert!(house.engine().lease_lost().now_or_never().is_none());
    house.store().fail_next_commit(CommitFault::LeaseLost);
    assert_eq!(house.code(creating()).await, Code::StoreUnavailable);
    house.engine().lease_lost().await;
    assert!(house.engine().lease_lost().now_or_never().is_some(), "whoever asks later hears it too");
}

#[tokio::test]
async fn a_full_disk_stops_changes_and_nothing_else() {
    let house = House::new().await;
    let key = house.aead().await;
    house.store().set_read_only(true);
    assert_eq!(house.code(creating()).await, Code::StoreUnavailable);
    let ciphertext = house.encrypt(&key, b"x").await;
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"x");
    assert!(!house.engine().readiness().await.is_ready());
    house.store().set_read_only(false);
    house.ask(creating()).await;
    house.clock.turn(1000);
    assert!(house.engine().readiness().await.is_ready());
    assert_eq!(keys(&house).await, 2);
    house.verify_log().await;
}

#[tokio::test]
async fn whoever_was_shut_out_stays_out_when_the_answer_got_lost() {
    for journal in [false, true] {
        let house = House::new().await;
        let key = house.aead().await;
        let leaver = house.welcome(House::person("leaver", &["key-user-encrypt"])).await;
        let mut disabled = House::person("leaver", &[]);
        disabled.disabled = true;
        if journal {
            house.journal().plan(Some(Fault::Failed(full())));
        } else {
            house.store().fail_next_commit(CommitFault::FailedButPersisted);
        }
        house.call(&house.developer, Put::new(disabled)).await.unwrap_err();
        let code = house.code_for(&leaver, House::encrypting(&key, b"x")).await;
        assert_eq!(code, Code::Unauthenticated, "by journal: {journal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_acknowledged_survives_the_death_of_the_process() {
    let house = Arc::new(House::new().await);
    let work = |number: u32| {
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            let made = house.call(&house.developer, creating()).await.unwrap();
            let key = key_of(&made.reply);
            let used = house.call(&house.developer, House::encrypting(&key, &number.to_be_bytes())).await.unwrap();
            (key, used.reply.items.into_iter().next().unwrap().unwrap(), [made.record, used.record])
        })
    };
    let tasks: Vec<_> = (0..40).map(work).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    let mut house = Arc::into_inner(house).unwrap();
    house.reopen().await;
    for (number, (key, ciphertext, records)) in done.iter().enumerate() {
        assert_eq!(house.decrypt(key, ciphertext).await, (number as u32).to_be_bytes());
        for record in records {
            assert!(house.journal().find(&record.unwrap()).await.unwrap().is_some());
        }
    }
    assert_eq!(keys(&house).await, 40);
    house.verify_log().await;
}

/// Polls a call so often, then forgets it, as a server does whose client hung up.
async fn abandon<O: Operation>(house: &House, operation: O, polls: usize) -> bool {
    let mut call = Box::pin(house.call(&house.developer, operation));
    for _ in 0..polls {
        if call.as_mut().now_or_never().is_some() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Whether the principal is disabled in the database, once what is enforced is the same. What was begun may still be on
/// its way for a moment, so it is asked again; it never comes to rest where the two differ.
async fn settled(house: &House, who: &Who, key: &KeyRef) -> Option<bool> {
    let sql = "SELECT instr(CAST(record AS TEXT), '\"disabled\":true') > 0 FROM principals WHERE name = 'leaver'";
    for _ in 0..100 {
        let stored: bool = house.sql().query_row(sql, [], |row| row.get(0)).unwrap();
        if house.call(who, House::encrypting(key, b"x")).await.is_err() == stored {
            return Some(stored);
        }
    }
    None
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_half_done() {
    let mut house = House::new().await;
    let key = house.aead().await;
    let mut finished = false;
    let (mut polls, mut abandoned) = (1, 0);
    while !finished {
        let leaver = house.welcome(House::person("leaver", &["key-user-encrypt"])).await;
        let mut disabled = House::person("leaver", &[]);
        disabled.disabled = true;
        finished = abandon(&house, Put::new(disabled), polls).await;
        let stored = settled(&house, &leaver, &key).await;
        assert!(stored.is_some(), "after {polls} polls: what is stored and what is enforced differ for good");
        assert!(!finished || stored == Some(true));
        abandoned += usize::from(!finished);
        polls += polls.div_ceil(4);
        house.ask(House::putting("leaver", &["key-user-encrypt"])).await;
    }
    assert!(abandoned > 3, "nothing was abandoned in its midst");
    house.reopen().await;
    house.pass(0).await;
    assert!(house.store().outbox(10).await.unwrap().is_empty());
    house.verify_log().await;
}

#[tokio::test]
async fn a_clock_that_went_back_stops_everything() {
    let house = House::new().await;
    let key: KeyRef = house.aead().await;
    house.clock.turn(-30_000);
    house.encrypt(&key, b"a small step is a correction").await;
    house.clock.turn(-3_600_000);
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::ClockWentBack);
    house.clock.turn(3_630_000);
    house.encrypt(&key, b"x").await;
}
