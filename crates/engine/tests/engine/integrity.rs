//! Damage: it is found wherever it is, what is damaged is not used, and the rest is served (requirements T10 and U4).

use keyreeve_engine::ops::destruction::{Destroy, Schedule};
use keyreeve_engine::ops::integrity::{Describe, List, Release, Scan, Status};
use keyreeve_engine::ops::lifecycle::Rotate;
use keyreeve_engine::ops::{grants, holds, jobs, keyrings, keys, policies, rules, tokens};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_model::job::{Job, JobState, JobWork};
use keyreeve_model::quarantine::{Place, Quarantine, Why};
use keyreeve_model::record::Table;
use keyreeve_model::scan::Scan as Scanned;
use keyreeve_model::{KeyId, NoticeKind};
use rusqlite::params;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use crate::cases::{self, Stage};
use crate::support::{DAY, House, Who, label, name};

fn id(key: &KeyRef) -> KeyId {
    match key {
        KeyRef::Id(id) => *id,
        KeyRef::Alias(_) => panic!("an id"),
    }
}

fn key_place(key: &KeyRef) -> Place {
    Place::row(Table::Keys, id(key).as_bytes())
}

/// Runs SQL against the database, whether or not a server uses it. It must touch one row.
fn alter(house: &House, sql: &str, params: impl rusqlite::Params) {
    assert_eq!(house.sql().execute(sql, params).unwrap(), 1, "{sql}");
}

/// Makes the MAC of one row wrong; twice, and it is right again.
fn flip(house: &House, table: &str, row: &str, params: impl rusqlite::Params) {
    let db = house.sql();
    let mac: Vec<u8> = db.query_row(&format!("SELECT mac FROM {table} WHERE {row}"), params, |row| row.get(0)).unwrap();
    let mut other = mac.clone();
    other[0] ^= 1;
    assert_eq!(db.execute(&format!("UPDATE {table} SET mac = ?1 WHERE mac = ?2"), params![other, mac]).unwrap(), 1);
}

/// Another keyring.
async fn elsewhere(house: &House) {
    let other = keyrings::Create {
        name: name("elsewhere"),
        owner: label(""),
        description: label(""),
        classification: keyreeve_model::Classification::Internal,
        environment: keyreeve_model::Environment::Development,
        allow_deterministic: false,
        roots: None,
    };
    house.ask(other).await;
}

async fn begin(house: &House) -> Job {
    house.ask(Scan { pace: 0, reason: label("a look") }).await.0
}

async fn finish(house: &House, scan: &Job) -> Scanned {
    let mut job = scan.clone();
    while job.state() == JobState::Running && job.trouble().is_none() {
        house.engine().work_on_jobs().await.unwrap();
        job = house.ask(jobs::Describe { job: scan.id() }).await.0;
    }
    assert_eq!((job.state(), job.trouble()), (JobState::Done, None));
    match job.work() {
        JobWork::Scan(scan) => scan.clone(),
        JobWork::Rekey(_) | JobWork::Backup(_) => panic!("a scan"),
    }
}

async fn scan(house: &House) -> Scanned {
    let job = begin(house).await;
    finish(house, &job).await
}

async fn quarantined(house: &House) -> BTreeMap<String, Why> {
    let list = List { released: false, after: None, limit: 1000 };
    house.ask(list).await.items.iter().map(|item| (item.0.place.to_string(), item.0.why)).collect()
}

fn release(place: Place, discard: bool) -> Release {
    Release { place, discard, reason: label("looked into it") }
}

async fn released(house: &House, place: Place, discard: bool) -> Quarantine {
    house.ask(release(place, discard)).await.0
}

fn list_keys() -> keys::List {
    keys::List { query: keys::KeyQuery::default(), after: None, limit: 1000 }
}

#[tokio::test]
async fn in_a_sound_house_a_scan_finds_nothing_and_says_what_it_looked_at() {
    let house = House::new().await;
    let key = house.aead().await;
    house.ask(Rotate { key: key.clone(), reason: label("due") }).await;
    let size = keyreeve_journal::Journal::size(house.journal());
    let found = scan(&house).await;
    assert_eq!((found.damaged, found.materials, found.untried), (0, 2, 0));
    assert!(found.rows > 5 && found.entries >= size, "{found:?}");
    let status = house.ask(Status).await;
    assert_eq!((status.quarantined, status.finished.map(|job| job.state())), (0, Some(JobState::Done)));
    assert_eq!(house.engine().readiness().await.integrity, None);
    // The next one compares the log with what this one saw signed.
    let JobWork::Scan(next) = begin(&house).await.work().clone() else { panic!("a scan") };
    assert_eq!(next.marks, [found.log.unwrap().signed]);
    assert_eq!(house.code(Scan { pace: 0, reason: label("second") }).await, Code::WrongState, "one at a time");
}

/// One row of each table, and each other place.
#[tokio::test]
async fn a_scan_finds_damage_in_every_kind_of_row_and_the_rest_is_served() {
    let mut stage = Stage::new().await;
    let developer = Who::Bearer(match &stage.house.developer {
        Who::Bearer(token) => token.duplicate(),
        Who::Nobody => panic!("a developer"),
    });
    for case in cases::all().filter(|case| !case.name.starts_with("system.") && !case.name.starts_with("integrity.")) {
        (case.run)(&stage, &developer).await;
    }
    let house = &mut stage.house;
    elsewhere(house).await;
    let (hurt, lost, well) = (house.aead().await, house.aead().await, house.aead_in("elsewhere").await);
    let gone = house.aead_in("elsewhere").await;
    house.ask(Schedule { key: gone.clone(), days: 7, reason: label("gone") }).await;
    house.clock.turn(7 * DAY);
    house.ask(Destroy { key: gone.clone() }).await;
    house.welcome(House::person("guest", &[])).await;
    let text = house.encrypt(&well, b"well").await;
    let mut wanted: Vec<Place> = Vec::new();

    flip(house, "keys", "id = ?1", [id(&hurt).as_bytes()]);
    wanted.push(key_place(&hurt));
    flip(house, "tokens", "principal = 'guest'", []);
    flip(house, "principals", "name = 'guest'", []);
    wanted.push(Place::row(Table::Principals, b"guest"));
    flip(house, "destructions", "key_id = ?1", [id(&gone).as_bytes()]);
    wanted.push(Place::row(Table::Destructions, id(&gone).as_bytes()));
    let sql = "UPDATE slots SET wrapped = zeroblob(size) WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1)";
    alter(house, sql, [id(&lost).as_bytes()]);
    wanted.push(Place::Material(id(&lost), 1));
    let kinds: Vec<(String, Vec<u8>)> = {
        let db = house.sql();
        // The rules of approval have a test of their own: without them hardly anything is done.
        let mut all = db.prepare("SELECT kind, min(id) FROM filed WHERE kind <> 'rules' GROUP BY kind").unwrap();
        all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    for (kind, row) in &kinds {
        flip(house, "filed", "kind = ?1 AND id = ?2", params![kind, row]);
        wanted.push(Place::row(Table::from_name(kind).unwrap(), row));
    }
    assert!(kinds.len() > 12, "{kinds:?}");

    let found = scan(house).await;
    let known = quarantined(house).await;
    for place in &wanted {
        assert!(known.contains_key(&place.to_string()), "{place} was not found among {known:?}");
    }
    assert!(known.keys().any(|place| place.starts_with("tokens/")));
    assert!(found.damaged >= wanted.len() as u64);
    let record = house.records().await.into_iter().find(|record| record.details.contains_key("quarantined")).unwrap();
    assert_eq!(record.operation, "job.step");
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken();
    assert!(told.iter().any(|notice| notice.kind == NoticeKind::IntegrityTrouble));

    for again in [false, true] {
        assert_eq!(house.decrypt(&well, &text).await, b"well", "{again}");
        house.encrypt(&well, b"more").await;
        assert_eq!(house.code(House::encrypting(&hurt, b"x")).await, Code::Quarantined);
        assert_eq!(house.code(House::encrypting(&lost, b"x")).await, Code::Quarantined);
        let listed = house.ask(list_keys()).await;
        assert!(listed.items.iter().all(|item| item.key.id() != id(&hurt)) && listed.items.len() > 5);
        house.ask(tokens::List { after: None, limit: 100 }).await;
        house.ask(grants::List { principal: None, key: None, standing: false, after: None, limit: 100 }).await;
        house.ask(jobs::List { ended: true, after: None, limit: 100 }).await;
        assert!(house.engine().readiness().await.is_ready(), "it is served");
        assert!(house.engine().readiness().await.integrity.is_some());
        house.reopen().await;
    }
    house.verify_log().await;
}

#[tokio::test]
async fn what_opens_again_stays_in_quarantine_until_people_release_it() {
    let house = House::new().await;
    let key = house.aead().await;
    let text = house.encrypt(&key, b"x").await;
    flip(&house, "keys", "id = ?1", [id(&key).as_bytes()]);
    scan(&house).await;
    let place = key_place(&key);
    let shown = house.ask(Describe { place: place.clone() }).await;
    assert_eq!((shown.quarantine.why, shown.now), (Why::Altered, Some(Why::Altered)));
    assert_eq!(house.code(release(place.clone(), false)).await, Code::WrongState, "it is damaged still");
    assert_eq!(house.code(release(place.clone(), true)).await, Code::WrongState, "no key is ever removed");
    flip(&house, "keys", "id = ?1", [id(&key).as_bytes()]);
    assert_eq!(house.ask(Describe { place: place.clone() }).await.now, None);
    assert_eq!(house.code(House::decrypting(&key, &text)).await, Code::Quarantined);
    assert_eq!(house.code(keys::Describe { key: key.clone() }).await, Code::Quarantined);
    assert!(!released(&house, place.clone(), false).await.is_open());
    assert_eq!(house.decrypt(&key, &text).await, b"x");
    assert_eq!(house.code(release(place.clone(), false)).await, Code::WrongState, "once");
    assert!(quarantined(&house).await.is_empty());
    // Found again, it is in quarantine again.
    flip(&house, "keys", "id = ?1", [id(&key).as_bytes()]);
    scan(&house).await;
    assert_eq!(house.code(House::decrypting(&key, &text)).await, Code::Quarantined);
}

#[tokio::test]
async fn columns_that_decide_nothing_are_told_and_keep_nothing_from_use() {
    let house = House::new().await;
    let key = house.aead().await;
    alter(&house, "UPDATE keys SET destruction_due = 1 WHERE id = ?1", [id(&key).as_bytes()]);
    let found = scan(&house).await;
    assert_eq!((found.damaged, quarantined(&house).await.get(&key_place(&key).to_string())), (1, Some(&Why::Columns)));
    house.encrypt(&key, b"x").await;
    released(&house, key_place(&key), false).await;
    assert_eq!(scan(&house).await.damaged, 0, "its columns were written anew");
}

#[tokio::test]
async fn rows_that_are_gone_and_rows_that_were_put_back_are_noticed_where_others_tell() {
    let house = House::new().await;
    let (key, back) = (house.aead().await, house.aead().await);
    house.ask(Rotate { key: key.clone(), reason: label("due") }).await;
    let old: (Vec<u8>, Vec<u8>, i64) = house
        .sql()
        .query_row("SELECT record, mac, revision FROM keys WHERE id = ?1", [id(&back).as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    house.ask(Schedule { key: back.clone(), days: 7, reason: label("gone") }).await;
    house.pass(7 * DAY).await;
    let sql = "UPDATE keys SET record = ?1, mac = ?2, revision = ?3, destruction_due = NULL WHERE id = ?4";
    alter(&house, sql, params![old.0, old.1, old.2, id(&back).as_bytes()]);
    alter(&house, "DELETE FROM material WHERE key_id = ?1 AND version = 1", [id(&key).as_bytes()]);
    let forbid = |role: &str| format!("forbid (principal in Keyreeve::Role::\"{role}\", action, resource);");
    house.ask(policies::Put { name: name("guests"), text: forbid("guest") }).await;
    house.ask(policies::Put { name: name("others"), text: forbid("other") }).await;
    alter(&house, "DELETE FROM policies WHERE name = 'guests'", []);
    scan(&house).await;
    let known = quarantined(&house).await;
    assert_eq!(known.get(&Place::Material(id(&key), 1).to_string()), Some(&Why::Missing), "{known:?}");
    assert_eq!(known.get(&key_place(&back).to_string()), Some(&Why::Older));
    assert_eq!(known.get("policies/guests"), Some(&Why::Missing));
    // The other version of the key is served.
    house.encrypt(&key, b"x").await;
    released(&house, Place::row(Table::Policies, b"guests"), false).await;
    let standing = house.ask(policies::Describe { name: name("guests") }).await;
    assert_eq!(standing.text, forbid("guest"), "it was written anew from the history");
}

#[tokio::test]
async fn a_damaged_principal_is_nobody_and_others_come_in() {
    let mut house = House::new().await;
    let guest = house.welcome(House::person("guest", &["operator"])).await;
    flip(&house, "principals", "name = 'guest'", []);
    house.reopen().await;
    assert_eq!(house.code_for(&guest, tokens::WhoAmI).await, Code::Unauthenticated);
    house.pass(1).await;
    assert_eq!(house.code_for(&guest, tokens::WhoAmI).await, Code::Quarantined, "met when the server was opened");
    assert!(house.records().await.iter().any(|record| record.operation == "integrity.quarantine"));
    house.ask(tokens::WhoAmI).await;
    let place = Place::row(Table::Principals, b"guest");
    released(&house, place, true).await;
    house.ask(House::putting("guest", &[])).await;
    assert_eq!(house.code_for(&guest, tokens::WhoAmI).await, Code::Unauthenticated, "it is another guest");
}

#[tokio::test]
async fn a_damaged_policy_goes_on_forbidding_or_everything_is_refused() {
    let mut house = House::new().await;
    let guest = house.welcome(House::person("guest", &["guest", "key-auditor"])).await;
    let list = || keyrings::List { after: None, limit: 10 };
    house.call(&guest, list()).await.unwrap();
    let forbid = "forbid (principal in Keyreeve::Role::\"guest\", action, resource);".to_owned();
    house.ask(policies::Put { name: name("guests"), text: forbid }).await;
    flip(&house, "policies", "name = 'guests'", []);
    house.reopen().await;
    assert_eq!(house.code_for(&guest, list()).await, Code::Denied);
    house.ask(list()).await;
    // And the history with it.
    flip(&house, "filed", "kind = 'policy_texts'", []);
    house.reopen().await;
    for who in [&guest, &house.developer] {
        assert_eq!(house.code_for(who, list()).await, Code::Denied);
    }
    house.pass(1).await;
    let place = Place::row(Table::Policies, b"guests");
    assert_eq!(house.code(release(place.clone(), false)).await, Code::WrongState);
    house.ask(Status).await;
    flip(&house, "filed", "kind = 'policy_texts'", []);
    released(&house, place, false).await;
    house.ask(list()).await;
    assert_eq!(house.code_for(&guest, list()).await, Code::Denied, "as it was");
}

#[tokio::test]
async fn a_damaged_hold_holds_everything_until_it_is_released() {
    let mut house = House::new().await;
    let (key, other) = (house.aead().await, house.aead().await);
    let hold = house.ask(holds::Place { key: key.clone(), matter: label("a case") }).await.0;
    house.ask(Schedule { key: other.clone(), days: 7, reason: label("gone") }).await;
    flip(&house, "filed", "kind = 'holds'", []);
    house.reopen().await;
    house.clock.turn(8 * DAY);
    assert_eq!(house.code(Destroy { key: other.clone() }).await, Code::UnderHold);
    house.pass(1).await;
    house.encrypt(&key, b"used all the same").await;
    released(&house, Place::row(Table::Holds, hold.id().as_bytes()), true).await;
    house.ask(Destroy { key: other }).await;
}

#[tokio::test]
async fn without_the_rules_of_approval_nothing_is_done_that_they_could_be_about() {
    let mut house = House::new().await;
    let key = house.aead().await;
    house.ask(rules::Put { text: keyreeve_policy::rules::SHIPPED.to_owned() }).await;
    flip(&house, "filed", "kind = 'rules'", []);
    house.reopen().await;
    house.pass(1).await;
    let rotate = || Rotate { key: key.clone(), reason: label("due") };
    assert_eq!(house.code(rotate()).await, Code::Quarantined);
    assert_eq!(house.code(House::putting("guest", &[])).await, Code::Quarantined);
    house.encrypt(&key, b"x").await;
    flip(&house, "filed", "kind = 'rules'", []);
    house.reopen().await;
    assert_eq!(house.code(rotate()).await, Code::Quarantined, "until it is released");
}

#[tokio::test]
async fn damage_in_the_files_of_the_log_is_found_and_the_server_goes_on() {
    let house = House::new().await;
    let key = house.aead().await;
    for _ in 0..600 {
        house.encrypt(&key, b"x").await;
    }
    house.journal_flush().await;
    assert_eq!(scan(&house).await.damaged, 0);
    let bundle = house.path().join("journal/log/tile/entries/001");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(bundle).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 400).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 400).unwrap();
    let found = scan(&house).await;
    assert!(found.damaged > 0);
    let known = quarantined(&house).await;
    let place: Place = known.keys().find(|place| place.starts_with("log/")).unwrap().parse().unwrap();
    assert!(matches!(place, Place::Log(from, to) if from >= 256 && to <= 512), "{place}");
    house.encrypt(&key, b"goes on").await;
    assert_eq!(house.code(release(place.clone(), false)).await, Code::WrongState);
    file.write_all_at(&byte, 400).unwrap();
    released(&house, place, false).await;
    assert_eq!(scan(&house).await.damaged, 0);
}

#[tokio::test]
async fn an_epoch_that_the_vault_lacks_is_told_once() {
    let mut house = House::new().await;
    house.settings.accept_missing_epochs = true;
    let (key, _same) = (house.aead().await, house.aead().await);
    alter(&house, "UPDATE material SET epoch = epoch + 9 WHERE key_id = ?1", [id(&key).as_bytes()]);
    house.reopen().await;
    scan(&house).await;
    let known = quarantined(&house).await;
    assert_eq!(known.values().collect::<Vec<_>>(), [&Why::NoEpoch], "{known:?}");
}

#[tokio::test]
async fn a_scan_goes_on_where_it_was_after_a_crash() {
    let mut house = House::new().await;
    for _ in 0..3 {
        house.aead().await;
    }
    let hurt = house.aead().await;
    flip(&house, "keys", "id = ?1", [id(&hurt).as_bytes()]);
    let job = begin(&house).await;
    let (mut steps, mut stages) = (0, Vec::new());
    loop {
        house.engine().step_job(job.id()).await.unwrap();
        steps += 1;
        house.reopen().await;
        let now = house.ask(jobs::Describe { job: job.id() }).await.0;
        let JobWork::Scan(at) = now.work() else { panic!("a scan") };
        stages.push(at.stage.name());
        if now.state() == JobState::Done {
            break;
        }
    }
    assert!(steps > 20, "{stages:?}");
    assert_eq!(quarantined(&house).await.len(), 1);
    let told = house.records().await.iter().filter(|record| record.details.contains_key("quarantined")).count();
    assert_eq!(told, 1, "once, when it was found");
}

/// Keys come, turn and go while everything is looked at: nothing of that is damage, and nobody waits or is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_scan_under_load_finds_nothing_and_fails_no_request() {
    let house = std::sync::Arc::new(House::new().await);
    let mut workers = Vec::new();
    for worker in 0..4 {
        let house = std::sync::Arc::clone(&house);
        workers.push(tokio::spawn(async move {
            for round in 0..12 {
                let key = house.aead().await;
                let text = house.encrypt(&key, b"x").await;
                house.ask(Rotate { key: key.clone(), reason: label("due") }).await;
                assert_eq!(house.decrypt(&key, &text).await, b"x");
                if (worker + round) % 3 == 0 {
                    house.ask(Schedule { key: key.clone(), days: 7, reason: label("gone") }).await;
                }
            }
        }));
    }
    for _ in 0..4 {
        assert_eq!(scan(&house).await.damaged, 0);
    }
    for worker in workers {
        worker.await.unwrap();
    }
    house.clock.turn(8 * DAY);
    let (ticked, scanned) = tokio::join!(house.engine().tick(), scan(&house));
    assert!(ticked.is_empty(), "{ticked:?}");
    assert_eq!((scanned.damaged, scan(&house).await.damaged), (0, 0));
}

#[tokio::test]
async fn scans_begin_by_themselves() {
    let mut house = House::new().await;
    house.settings.scan_every = Some(std::time::Duration::from_secs(24 * 3600));
    house.reopen().await;
    house.pass(1).await;
    assert_eq!(house.ask(jobs::List { ended: true, after: None, limit: 10 }).await.items.len(), 0);
    house.pass(3_600_000).await;
    house.engine().work_on_jobs().await.unwrap();
    house.pass(DAY / 2).await;
    assert_eq!(house.ask(jobs::List { ended: true, after: None, limit: 10 }).await.items.len(), 1);
    house.reopen().await;
    house.pass(DAY / 2).await;
    house.engine().work_on_jobs().await.unwrap();
    let all = house.ask(jobs::List { ended: true, after: None, limit: 10 }).await.items;
    assert_eq!(all.iter().map(|job| job.0.by().as_str()).collect::<Vec<_>>(), ["system", "system"]);
}

/// A generator of numbers that are the same at each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Spoils something, anywhere but in the deployment's row.
fn spoil(house: &House, dice: &mut Dice) {
    let db = house.sql();
    let tables = ["keyrings", "keys", "destructions", "tokens", "principals", "policies", "filed"];
    if dice.below(8) == 0 {
        let slots: Vec<i64> = {
            let mut all = db.prepare("SELECT slot FROM slots WHERE free = 0 ORDER BY slot").unwrap();
            all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let slot = slots[dice.below(slots.len())];
        db.execute("UPDATE slots SET wrapped = zeroblob(size) WHERE slot = ?1", [slot]).unwrap();
        return;
    }
    let table = tables[dice.below(tables.len())];
    let count: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    if count == 0 {
        return;
    }
    let column = ["record", "mac"][dice.below(2)];
    let row = dice.below(usize::try_from(count).unwrap()) as i64;
    let (rowid, mut bytes): (i64, Vec<u8>) = db
        .query_row(&format!("SELECT rowid, {column} FROM {table} ORDER BY rowid LIMIT 1 OFFSET ?1"), [row], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let at = dice.below(bytes.len());
    bytes[at] ^= 1 << dice.below(8);
    db.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE rowid = ?2"), params![bytes, rowid]).unwrap();
}

/// Whatever is spoilt: what is answered is right, and nobody may do more than before.
#[tokio::test]
async fn random_damage_leads_to_refusals_and_never_to_a_wrong_answer() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut house = House::new().await;
        elsewhere(&house).await;
        let keys = [house.aead().await, house.aead().await, house.aead_in("elsewhere").await];
        let mut texts = Vec::new();
        for (n, key) in keys.iter().enumerate() {
            texts.push(house.encrypt(key, format!("text {n}").as_bytes()).await);
        }
        house.ask(Schedule { key: keys[0].clone(), days: 7, reason: label("held") }).await;
        house.ask(holds::Place { key: keys[0].clone(), matter: label("a case") }).await;
        let guest = house.welcome(House::person("guest", &[])).await;
        let barred = house.welcome(House::person("barred", &["key-auditor", "barred"])).await;
        let forbid = "forbid (principal in Keyreeve::Role::\"barred\", action, resource);".to_owned();
        house.ask(policies::Put { name: name("barred"), text: forbid }).await;
        for _ in 0..6 {
            spoil(&house, &mut dice);
        }
        for look in 0..2 {
            house.reopen().await;
            for (n, (key, text)) in keys.iter().zip(&texts).enumerate() {
                if house.call(&house.developer, House::decrypting(key, text)).await.is_ok() {
                    assert_eq!(house.decrypt(key, text).await, format!("text {n}").into_bytes(), "{seed}");
                }
            }
            let list = || keyrings::List { after: None, limit: 10 };
            for who in [&guest, &barred] {
                assert!(house.call(who, list()).await.is_err(), "{seed} {look}: somebody may do more than before");
            }
            house.clock.turn(8 * DAY);
            let _ = house.engine().tick().await;
            assert!(
                house.call(&house.developer, Destroy { key: keys[0].clone() }).await.is_err(),
                "{seed}: it is held"
            );
            if house.call(&house.developer, Scan { pace: 0, reason: label("a look") }).await.is_ok() {
                house.engine().work_on_jobs().await.unwrap();
            }
        }
        house.verify_log().await;
    }
}
