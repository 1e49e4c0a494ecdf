//! What shares a shard with a destroyed key: it is never lost, whatever fails on the way and whoever wrote to the
//! database before.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::destruction::{DescribeDestruction, Destroy, Schedule};
use keyreeve_engine::ops::keyrings;
use keyreeve_engine::ops::keys::{self, CreateSpec};
use keyreeve_engine::ops::lifecycle::Rotate;
use keyreeve_engine::{Code, KeyRef};
use keyreeve_epochs::EpochVault;
use keyreeve_model::{Classification, Environment, KeyId, State};
use keyreeve_store::faulty::CommitFault;
use rusqlite::params;

use crate::support::{DAY, House, RootKind, create, key_of, keyring, label, name};

fn id(key: &KeyRef) -> KeyId {
    match key {
        KeyRef::Id(id) => *id,
        KeyRef::Alias(_) => panic!("an id"),
    }
}

async fn schedule(house: &House, key: &KeyRef) {
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("no longer needed") }).await;
}

fn destroy(key: &KeyRef) -> Destroy {
    Destroy { key: key.clone() }
}

async fn state(house: &House, key: &KeyRef) -> State {
    house.ask(keys::Describe { key: key.clone() }).await.state()
}

async fn epochs(house: &House) -> Vec<u64> {
    house.vault().list().await.unwrap().into_iter().map(|id| id.epoch).collect()
}

/// Keys with two versions each, and a message under each version.
struct Kept(Vec<(KeyRef, Vec<u8>)>);

impl Kept {
    async fn new(house: &House, count: usize) -> Self {
        let mut kept = Vec::new();
        for _ in 0..count {
            let key = house.aead().await;
            kept.push((key.clone(), house.encrypt(&key, b"first").await));
            house.ask(Rotate { key: key.clone(), reason: label("due") }).await;
            kept.push((key.clone(), house.encrypt(&key, b"second").await));
        }
        Self(kept)
    }

    async fn work(&self, house: &House) {
        for (number, (key, ciphertext)) in self.0.iter().enumerate() {
            let text: &[u8] = if number % 2 == 0 { b"first" } else { b"second" };
            assert_eq!(house.decrypt(key, ciphertext).await, text);
        }
    }
}

/// A shard is wrapped anew two rows at a time, and each transaction of it fails once in each way: nothing is lost,
/// whether the server runs on or begins again, and the destruction is carried out the next time.
#[tokio::test]
async fn a_destruction_in_steps_survives_a_failure_at_each_of_them() {
    for fault in [CommitFault::Failed, CommitFault::FailedButPersisted] {
        for step in 0..5 {
            let mut house = House::with(RootKind::SealedFile, |settings| settings.rewrap_step = 2).await;
            let kept = Kept::new(&house, 4).await;
            // Later than the others, so that its row is the last one.
            house.clock.turn(1);
            let doomed = house.aead().await;
            schedule(&house, &doomed).await;
            house.clock.turn(7 * DAY);
            let before = house.store().commits();
            house.store().fail_commit(before + 1 + step, fault);
            let failed = house.call(&house.developer, destroy(&doomed)).await.is_err();
            assert_eq!(failed, step < 4, "four transactions of at most two rows, {step}");
            kept.work(&house).await;
            if step % 2 == 0 {
                house.reopen().await;
                kept.work(&house).await;
            }
            house.pass(60_000).await;
            house.pass(60_000).await;
            assert_eq!(state(&house, &doomed).await, State::Destroyed, "{fault:?} at {step}");
            assert_eq!(epochs(&house).await.len(), 1, "{fault:?} at {step}");
            house.reopen().await;
            kept.work(&house).await;
            assert_eq!(house.ask(DescribeDestruction { key: doomed }).await.0.verified.len(), 6);
            house.verify_log().await;
        }
    }
}

/// Alters a row under the running server, tries the destruction, and puts the row back.
async fn refused_while(house: &House, doomed: &KeyRef, damaged: &KeyRef, what: &str, table: &str, set: &str) {
    let sql = house.sql();
    sql.execute_batch(&format!("CREATE TEMP TABLE kept AS SELECT * FROM {table}")).unwrap();
    let column = if table == "keys" { "id" } else { "key_id" };
    let altered = if set.is_empty() {
        sql.execute(&format!("DELETE FROM {table} WHERE {column} = ?1"), [id(damaged).as_bytes()])
    } else {
        sql.execute(&format!("UPDATE {table} SET {set} WHERE {column} = ?1"), [id(damaged).as_bytes()])
    };
    assert!(altered.unwrap() > 0, "{what}");
    let before = epochs(house).await;
    let refused = house.call(&house.developer, destroy(doomed)).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Tampered, "{what}: {:?}", refused.error);
    assert!(refused.error.public().contains(&id(damaged).to_string()), "{what}: {:?}", refused.error);
    assert_eq!(epochs(house).await, before, "{what}: no epoch comes or goes");
    assert_eq!(state(house, doomed).await, State::Active, "{what}");
    sql.execute_batch(&format!("PRAGMA foreign_keys = OFF; REPLACE INTO {table} SELECT * FROM kept; DROP TABLE kept"))
        .unwrap();
}

/// Somebody who can write to the database makes a destruction overlook a key, so that it would go with the epoch. It is
/// refused while that is so; the row put right, all is as it was.
#[tokio::test]
async fn a_destruction_takes_no_key_that_was_hidden_from_it() {
    let mut house = House::new().await;
    let kept = Kept::new(&house, 2).await;
    let (damaged, doomed) = (kept.0[0].0.clone(), house.aead().await);
    schedule(&house, &doomed).await;
    house.clock.turn(7 * DAY);
    for (what, table, set) in [
        ("under an epoch nobody has", "material", "epoch = 77"),
        ("deleted", "material", ""),
        ("moved to another shard", "material", "shard = 9"),
        ("moved to another keyring", "material", "keyring = zeroblob(16)"),
        ("called the material of another version", "material", "version = version + 5"),
        ("its record altered", "keys", "record = replace(CAST(record AS TEXT), '\"shard\":0', '\"shard\":1')"),
        ("its record moved to another keyring, altered", "keys", "keyring = zeroblob(16), record = CAST('{}' AS BLOB)"),
    ] {
        let set = set.replace(
            "record = replace(CAST(record AS TEXT), '\"shard\":0', '\"shard\":1')",
            "record = CAST(replace(CAST(record AS TEXT), '\"shard\":0', '\"shard\":1') AS BLOB)",
        );
        refused_while(&house, &doomed, &damaged, what, table, &set).await;
    }
    // The wrapped bytes themselves.
    let flip = "UPDATE slots SET wrapped = CAST(substr(wrapped, 2) || substr(wrapped, 1, 1) AS BLOB) \
                WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1)";
    let kept_slots = "CREATE TEMP TABLE kept AS SELECT * FROM slots";
    let sql = house.sql();
    sql.execute_batch(kept_slots).unwrap();
    sql.execute(flip, [id(&damaged).as_bytes()]).unwrap();
    assert_eq!(house.code(destroy(&doomed)).await, Code::Tampered);
    sql.execute_batch("REPLACE INTO slots SELECT * FROM kept").unwrap();
    drop(sql);

    house.reopen().await;
    kept.work(&house).await;
    house.pass(0).await;
    assert_eq!(state(&house, &doomed).await, State::Destroyed);
    kept.work(&house).await;
    house.verify_log().await;
}

/// Keys that cannot be mended can still be destroyed, all of them, even though each stands in the way of the others.
#[tokio::test]
async fn damaged_keys_can_be_destroyed_together() {
    let house = House::new().await;
    let kept = Kept::new(&house, 1).await;
    let damaged = [house.aead().await, house.aead().await];
    for key in &damaged {
        schedule(&house, key).await;
        let sql =
            "UPDATE slots SET wrapped = zeroblob(size) WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1)";
        assert_eq!(house.sql().execute(sql, params![id(key).as_bytes()]).unwrap(), 1);
    }
    house.clock.turn(7 * DAY - 1);
    let third = house.aead().await;
    schedule(&house, &third).await;
    house.pass(1).await;
    for key in &damaged {
        assert_eq!(state(&house, key).await, State::Destroyed);
    }
    house.pass(7 * DAY).await;
    assert_eq!(state(&house, &third).await, State::Destroyed);
    assert_eq!(epochs(&house).await.len(), 1);
    kept.work(&house).await;
}

async fn elsewhere(house: &House) -> KeyRef {
    let made = keyrings::Create {
        name: name("elsewhere"),
        owner: label(""),
        description: label(""),
        classification: Classification::Internal,
        environment: Environment::Production,
        allow_deterministic: false,
        roots: None,
    };
    house.ask(made).await;
    key_of(&house.make(CreateSpec { keyring: keyring("elsewhere"), ..create(KeyAlgorithm::Xaes256Gcm) }).await)
}

/// More destructions fail than are tried at a time; the one behind them is carried out all the same, and theirs too
/// when the cause is gone.
#[tokio::test]
async fn destructions_that_fail_do_not_hold_up_others() {
    let house = House::new().await;
    let mut stuck = Vec::new();
    for _ in 0..101 {
        let key = house.aead().await;
        schedule(&house, &key).await;
        stuck.push(key);
    }
    house.clock.turn(1);
    let (damaged, last) = (house.aead().await, elsewhere(&house).await);
    schedule(&house, &last).await;
    let hide = |epoch: u32| {
        let sql = "UPDATE material SET epoch = ?1 WHERE key_id = ?2";
        assert_eq!(house.sql().execute(sql, params![epoch, id(&damaged).as_bytes()]).unwrap(), 1);
    };
    hide(9);
    house.pass(7 * DAY).await;
    assert_eq!(house.engine().overdue_destructions(), 100);
    assert_eq!(state(&house, &last).await, State::Active, "its turn did not come yet");
    house.pass(30_000).await;
    assert_eq!(state(&house, &last).await, State::Destroyed, "those before it wait");
    assert_eq!(house.engine().overdue_destructions(), 101);
    hide(1);
    for _ in 0..4 {
        house.pass(3_600_000).await;
    }
    assert_eq!(house.engine().overdue_destructions(), 0);
    for key in &stuck {
        assert_eq!(state(&house, key).await, State::Destroyed);
    }
    assert_eq!(state(&house, &damaged).await, State::Active);
}
