//! Somebody who can write to the database and holds no root of trust: what they alter is noticed and not used.
//!
//! What row by row protection does not notice, and a test below pins down: a whole row put back as it once was, and a
//! row taken away. Old copies of the whole database are the subject of `destruction`.

use keyreeve_engine::ops::destruction::{DescribeDestruction, Destroy, Schedule};
use keyreeve_engine::ops::keys::{self, MetadataPatch};
use keyreeve_engine::ops::lifecycle::{Rotate, Suspend};
use keyreeve_engine::ops::{SetPatch, policies, tokens};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::{KeyId, State};
use rusqlite::params;

use crate::support::{DAY, House, Who, label, name};

fn id(key: &KeyRef) -> KeyId {
    match key {
        KeyRef::Id(id) => *id,
        KeyRef::Alias(_) => panic!("an id"),
    }
}

/// Runs SQL against the database while the server is down. It must touch something.
fn alter(house: &mut House, sql: &str, params: impl rusqlite::Params) {
    house.crash();
    assert!(house.sql().execute(sql, params).unwrap() > 0, "{sql} altered nothing");
}

/// Replaces text in the records of a table while the server is down.
fn rewrite(house: &mut House, table: &str, from: &str, to: &str) {
    house.crash();
    let sql = format!(
        "UPDATE {table} SET record = CAST(replace(CAST(record AS TEXT), ?1, ?2) AS BLOB) \
         WHERE instr(CAST(record AS TEXT), ?1) > 0"
    );
    assert!(house.sql().execute(&sql, [from, to]).unwrap() > 0, "`{from}` is in no record of {table}");
}

#[tokio::test]
async fn an_altered_key_record_is_not_used() {
    let changes = [
        ("\"exportable\":false", "\"exportable\":true"),
        ("\"state\":\"suspended\"", "\"state\":\"active\""),
        ("\"suspension\"", "\"suspensiom\""),
        ("\"primary\":2", "\"primary\":1"),
        ("\"scope\":\"both\"", "\"scope\":\"apply-only\""),
    ];
    for (from, to) in changes {
        let mut house = House::new().await;
        let (key, other) = (house.aead().await, house.aead().await);
        let ciphertext = house.encrypt(&key, b"x").await;
        house.ask(Rotate { key: key.clone(), reason: label("due") }).await;
        house.ask(Suspend { key: key.clone(), risk_accepted: true, reason: label("doubt") }).await;
        let kept = house.sql();
        let others: (Vec<u8>, Vec<u8>) = kept
            .query_row("SELECT record, mac FROM keys WHERE id = ?1", [id(&other).as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        if from.starts_with("\"state\"") {
            // States are of versions; the suspension is the key's. There is nothing to replace, which is fine.
            continue;
        }
        rewrite(&mut house, "keys", from, to);
        // The other key keeps its own record.
        kept.execute(
            "UPDATE keys SET record = ?1, mac = ?2 WHERE id = ?3",
            params![others.0, others.1, id(&other).as_bytes()],
        )
        .unwrap();
        house.reopen().await;
        assert_eq!(house.code(House::decrypting(&key, &ciphertext)).await, Code::Tampered, "{from}");
        assert_eq!(house.code(keys::Describe { key: key.clone() }).await, Code::Tampered, "{from}");
        assert_eq!(house.code(Schedule { key: key.clone(), days: 7, reason: label("x") }).await, Code::Tampered);
        let list = keys::List { query: keys::KeyQuery::default(), after: None, limit: 10 };
        let listed: Vec<KeyId> = house.ask(list).await.items.iter().map(|item| item.key.id()).collect();
        assert_eq!(listed, [id(&other)], "a listing leaves out what cannot be trusted");
        house.encrypt(&other, b"others go on").await;
        house.verify_log().await;
    }
}

#[tokio::test]
async fn revisions_and_places_of_rows_are_part_of_what_is_protected() {
    for sql in [
        "UPDATE keys SET revision = revision + 1 WHERE id = ?1",
        "UPDATE keys SET revision = revision - 1 WHERE id = ?1",
        "UPDATE keys SET mac = zeroblob(32) WHERE id = ?1",
        "UPDATE keys SET keyring = (SELECT id FROM keyrings WHERE name = 'other') WHERE id = ?1",
        "UPDATE keys SET record = (SELECT record FROM keys WHERE id <> ?1), \
         mac = (SELECT mac FROM keys WHERE id <> ?1) WHERE id = ?1",
    ] {
        let mut house = House::new().await;
        let other = keyreeve_engine::ops::keyrings::Create {
            name: name("other"),
            owner: label(""),
            description: label(""),
            classification: keyreeve_model::Classification::Internal,
            environment: keyreeve_model::Environment::Development,
            allow_deterministic: false,
            roots: None,
        };
        house.ask(other).await;
        let (key, _other) = (house.aead().await, house.aead().await);
        let ciphertext = house.encrypt(&key, b"x").await;
        alter(&mut house, sql, [id(&key).as_bytes()]);
        house.reopen().await;
        assert_eq!(house.code(House::decrypting(&key, &ciphertext)).await, Code::Tampered, "{sql}");
    }
}

#[tokio::test]
async fn columns_that_only_help_to_find_rows_decide_nothing() {
    let mut house = House::new().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"x").await;
    alter(&mut house, "UPDATE keys SET state = 'destroyed', destruction_due = 1 WHERE id = ?1", [id(&key).as_bytes()]);
    house.reopen().await;
    house.pass(DAY).await;
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"x", "neither hidden nor destroyed ahead of time");
    assert_eq!(house.ask(keys::Describe { key: key.clone() }).await.state(), State::Active);
}

#[tokio::test]
async fn a_redirected_alias_does_not_lead_to_another_key() {
    let mut house = House::new().await;
    let (key, other) = (house.aead().await, house.aead().await);
    let aliases = SetPatch::Replace([name("orders")].into());
    let patch = MetadataPatch { aliases, ..MetadataPatch::default() };
    house.ask(keys::Update { key: key.clone(), patch }).await;
    alter(&mut house, "UPDATE aliases SET key_id = ?1 WHERE alias = 'orders'", [id(&other).as_bytes()]);
    house.reopen().await;
    assert_eq!(house.code(House::encrypting(&"orders".parse().unwrap(), b"x")).await, Code::NotFound);
    house.encrypt(&key, b"x").await;
}

#[tokio::test]
async fn material_does_not_open_in_another_place() {
    let swaps = [
        // Between keys, and between versions.
        "UPDATE slots SET wrapped = (SELECT wrapped FROM slots JOIN material USING (slot) WHERE key_id = ?2) \
         WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1)",
        "UPDATE slots SET wrapped = (SELECT wrapped FROM slots JOIN material USING (slot) \
         WHERE key_id = ?1 AND version = 2) \
         WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1 AND version = 1 AND ?2 <> '')",
        "UPDATE slots SET wrapped = zeroblob(size) \
         WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1 AND ?2 <> '')",
        "UPDATE material SET shard = shard + 1 WHERE key_id = ?1 AND ?2 <> ''",
        "UPDATE material SET epoch = epoch + 1 WHERE key_id = ?1 AND ?2 <> ''",
        "DELETE FROM material WHERE key_id = ?1 AND ?2 <> ''",
    ];
    for sql in swaps {
        let mut house = House::new().await;
        // Otherwise the server notices at the start that an epoch is missing, and does not open.
        house.settings.accept_missing_epochs = true;
        let (key, other) = (house.aead().await, house.aead().await);
        let ciphertext = house.encrypt(&key, b"x").await;
        house.ask(Rotate { key: key.clone(), reason: label("due") }).await;
        house.crash();
        let done = house.sql().execute(sql, params![id(&key).as_bytes(), id(&other).as_bytes()]).unwrap();
        assert!(done > 0, "{sql}");
        house.reopen().await;
        assert_eq!(house.code(House::decrypting(&key, &ciphertext)).await, Code::Tampered, "{sql}");
        house.encrypt(&other, b"others go on").await;
    }
}

#[tokio::test]
async fn an_altered_token_proves_nothing() {
    for (from, to) in [
        ("\"principal\":\"guest\"", "\"principal\":\"developer\""),
        ("\"description\":\"t\"", "\"description\":\"u\""),
        ("\"secret_sha256\":\"", "\"secret_sha256\":\"00"),
    ] {
        let mut house = House::new().await;
        let guest = house.welcome(House::person("guest", &[])).await;
        let others: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = {
            let db = house.sql();
            let mut all = db.prepare("SELECT id, record, mac FROM tokens WHERE principal <> 'guest'").unwrap();
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect()
        };
        rewrite(&mut house, "tokens", from, to);
        for (id, record, mac) in others {
            let sql = "UPDATE tokens SET record = ?1, mac = ?2 WHERE id = ?3";
            house.sql().execute(sql, params![record, mac, id]).unwrap();
        }
        house.reopen().await;
        assert_eq!(house.code_for(&guest, tokens::WhoAmI).await, Code::Tampered, "{from}");
        house.ask(tokens::WhoAmI).await;
    }
}

#[tokio::test]
async fn a_token_moved_to_another_principal_proves_nothing() {
    let mut house = House::new().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    alter(&mut house, "UPDATE tokens SET principal = 'developer' WHERE principal = 'guest'", []);
    house.reopen().await;
    assert_eq!(house.code_for(&guest, tokens::WhoAmI).await, Code::Tampered);
}

#[tokio::test]
async fn an_altered_deployment_keeps_the_server_shut() {
    let changes = [
        ("deployment", "\"log_origin\":\"keyreeve.local/audit\"", "\"log_origin\":\"elsewhere.example/audit\""),
        ("deployment", "\"profile\":\"rev5\"", "\"profile\":\"rev6\""),
    ];
    for (table, from, to) in changes {
        let mut house = House::new().await;
        rewrite(&mut house, table, from, to);
        let refused = house.try_reopen().await.unwrap_err();
        assert_eq!(refused.code(), Code::Tampered, "{table}: {from}");
        assert!(!house.engine().is_open());
        assert_eq!(house.code_for(&Who::Nobody, tokens::WhoAmI).await, Code::Sealed);
    }
}

#[tokio::test]
async fn a_principal_made_up_in_the_database_is_nobody() {
    let mut house = House::new().await;
    let sql = "INSERT INTO principals (name, revision, record, mac) SELECT 'intruder', revision, record, mac \
               FROM principals WHERE name = 'developer'";
    alter(&mut house, sql, []);
    house.reopen().await;
    let create = tokens::Create {
        principal: name("intruder"),
        description: label("t"),
        seconds: 3600,
        networks: Default::default(),
    };
    assert_eq!(house.code(create).await, Code::NotFound);
    assert_ne!(house.code(House::putting("intruder", &["developer"])).await, Code::Denied, "its row is in the way");
}

#[tokio::test]
async fn rows_altered_under_a_running_server_never_take_effect() {
    let mut house = House::new().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    let sql = "UPDATE principals SET record = CAST(replace(CAST(record AS TEXT), '\"roles\":[]', \
               '\"roles\":[\"developer\"]') AS BLOB) WHERE name = 'guest'";
    assert_eq!(house.sql().execute(sql, []).unwrap(), 1);
    let list = || tokens::List { after: None, limit: 10 };
    assert_eq!(house.code_for(&guest, list()).await, Code::Denied, "what is in memory is still right");
    house.ask(House::putting("newcomer", &[])).await;
    assert_eq!(house.code_for(&guest, list()).await, Code::Denied, "what is in memory is still right");
    house.reopen().await;
    assert_eq!(house.code_for(&guest, list()).await, Code::Unauthenticated, "altered rows are nobody's");
    house.ask(list()).await;
}

#[tokio::test]
async fn a_policy_altered_under_a_running_server_is_noticed_by_the_next_change_and_never_decides() {
    let mut house = House::new().await;
    let forbid = |role: &str| format!("forbid (principal in Keyreeve::Role::\"{role}\", action, resource);");
    house.ask(policies::Put { name: name("guests"), text: forbid("guest") }).await;
    let sql = "UPDATE policies SET record = CAST(replace(CAST(record AS TEXT), 'forbid', 'permit') AS BLOB)";
    assert_eq!(house.sql().execute(sql, []).unwrap(), 1);
    assert_eq!(house.code(policies::Put { name: name("more"), text: forbid("more") }).await, Code::Tampered);
    let list = || tokens::List { after: None, limit: 10 };
    house.ask(list()).await;
    house.reopen().await;
    let guest = house.welcome(House::person("guest", &["guest", "operator"])).await;
    assert_eq!(house.code_for(&guest, list()).await, Code::Denied, "what it forbade is in the history of policies");
}

#[tokio::test]
async fn an_altered_destruction_record_is_not_shown() {
    let mut house = House::new().await;
    let key = house.aead().await;
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("gone") }).await;
    house.clock.turn(7 * DAY);
    house.ask(Destroy { key: key.clone() }).await;
    rewrite(&mut house, "destructions", "\"reason\":\"gone\"", "\"reason\":\"none\"");
    house.reopen().await;
    assert_eq!(house.code(DescribeDestruction { key }).await, Code::Tampered);
}

#[tokio::test]
async fn a_whole_row_put_back_as_it_once_was_is_not_noticed() {
    let mut house = House::new().await;
    let key = house.aead().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    let old: (Vec<u8>, Vec<u8>, i64) = house
        .sql()
        .query_row("SELECT record, mac, revision FROM tokens WHERE principal = 'guest'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let token = house.call(&guest, tokens::WhoAmI).await.unwrap().reply.token.unwrap();
    house.ask(tokens::Revoke { token }).await;
    let sql = "UPDATE tokens SET record = ?1, mac = ?2, revision = ?3 WHERE principal = 'guest'";
    alter(&mut house, sql, params![old.0, old.1, old.2]);
    house.reopen().await;
    house.call(&guest, tokens::WhoAmI).await.unwrap();
    house.encrypt(&key, b"x").await;
}
