//! Destruction: the waiting period, the erasure, and that neither crash nor restored copy brings a key back
//! (docs/decisions/0002).

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::KeyReply;
use keyreeve_engine::ops::destruction::{Cancel, DescribeDestruction, Destroy, Schedule};
use keyreeve_engine::ops::keys::{self, Create};
use keyreeve_engine::ops::lifecycle::{Compromise, Rotate};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_epochs::{EpochId, EpochVault};
use keyreeve_model::State;
use keyreeve_store::Store;
use keyreeve_store::faulty::CommitFault;
use std::path::Path;
use std::sync::Arc;

use crate::support::{Checked, DAY, House, VaultFault, create, key_of, label};

fn schedule(key: &KeyRef, days: u32) -> Schedule {
    Schedule { key: key.clone(), days, reason: label("no longer needed") }
}

fn destroy(key: &KeyRef) -> Destroy {
    Destroy { key: key.clone() }
}

fn creating() -> Create {
    create(KeyAlgorithm::Xaes256Gcm).checked()
}

/// A key with a ciphertext to try it with.
struct Tried {
    key: KeyRef,
    ciphertext: Vec<u8>,
    text: Vec<u8>,
}

impl Tried {
    async fn new(house: &House, text: &str) -> Self {
        let key = house.aead().await;
        let ciphertext = house.encrypt(&key, text.as_bytes()).await;
        Self { key, ciphertext, text: text.as_bytes().to_vec() }
    }

    async fn works(&self, house: &House) {
        assert_eq!(house.decrypt(&self.key, &self.ciphertext).await, self.text);
    }

    async fn refused(&self, house: &House) -> Code {
        house.code(House::decrypting(&self.key, &self.ciphertext)).await
    }

    async fn state(&self, house: &House) -> State {
        house.ask(keys::Describe { key: self.key.clone() }).await.state()
    }
}

async fn epochs(house: &House) -> Vec<u64> {
    house.vault().list().await.unwrap().into_iter().map(|id: EpochId| id.epoch).collect()
}

#[tokio::test]
async fn a_scheduled_key_is_not_used_and_a_cancelled_one_is_as_before() {
    let house = House::new().await;
    let key = Tried::new(&house, "kept").await;
    for days in [0, 6, 31] {
        assert_eq!(house.code(schedule(&key.key, days)).await, Code::InvalidRequest, "{days} days");
    }
    let before = house.ask(keys::Describe { key: key.key.clone() }).await.key;
    house.ask(schedule(&key.key, 7)).await;
    assert_eq!(house.code(House::encrypting(&key.key, b"x")).await, Code::WrongState);
    assert_eq!(key.refused(&house).await, Code::WrongState);
    assert_eq!(house.code(Rotate { key: key.key.clone(), reason: label("x") }).await, Code::WrongState);
    assert_eq!(house.code(schedule(&key.key, 8)).await, Code::WrongState);
    let cancelled: KeyReply = house.ask(Cancel { key: key.key.clone(), reason: label("mistake") }).await;
    assert_eq!(serde_json::to_string(&cancelled.key).unwrap(), serde_json::to_string(&before).unwrap());
    key.works(&house).await;
    assert_eq!(house.code(Cancel { key: key.key.clone(), reason: label("again") }).await, Code::WrongState);
    house.pass(30 * DAY).await;
    key.works(&house).await;
}

#[tokio::test]
async fn nothing_is_destroyed_before_its_time() {
    let house = House::new().await;
    let key = Tried::new(&house, "kept").await;
    assert_eq!(house.code(destroy(&key.key)).await, Code::WrongState, "it was never scheduled");
    house.ask(schedule(&key.key, 7)).await;
    house.pass(7 * DAY - 1).await;
    assert_eq!(key.state(&house).await, State::Active);
    assert_eq!(house.code(destroy(&key.key)).await, Code::WrongState);
    house.ask(Cancel { key: key.key.clone(), reason: label("just in time") }).await;
    key.works(&house).await;
}

/// True when the bytes stand anywhere in a file of the directory.
fn on_disk(directory: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return on_disk(&path, bytes);
        }
        std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}

fn wrapped_of(house: &House, key: &KeyRef) -> Vec<Vec<u8>> {
    let KeyRef::Id(id) = key else { panic!("an id") };
    let db = house.sql();
    let sql = "SELECT wrapped FROM slots JOIN material USING (slot) WHERE key_id = ?1";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([id.as_bytes()], |row| row.get(0)).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

#[tokio::test]
async fn at_its_time_a_key_goes_for_good_and_its_neighbours_stay() {
    let mut house = House::new().await;
    let (doomed, neighbour) = (Tried::new(&house, "doomed").await, Tried::new(&house, "neighbour").await);
    house.ask(Rotate { key: doomed.key.clone(), reason: label("due") }).await;
    let wrapped = wrapped_of(&house, &doomed.key);
    assert_eq!(wrapped.len(), 2);
    assert!(wrapped.iter().all(|bytes| on_disk(house.path(), bytes)), "this test looks in the right place");
    house.ask(schedule(&doomed.key, 7)).await;
    house.pass(7 * DAY).await;
    assert_eq!(doomed.refused(&house).await, Code::WrongState);
    assert_eq!(doomed.state(&house).await, State::Destroyed);
    assert!(wrapped_of(&house, &doomed.key).is_empty());
    assert!(!wrapped.iter().any(|bytes| on_disk(house.path(), bytes)), "wrapped material is left in a file");
    assert_eq!(epochs(&house).await, [2], "the epoch that wrapped it is gone");
    for _ in 0..2 {
        neighbour.works(&house).await;
        assert_eq!(doomed.refused(&house).await, Code::WrongState);
        house.reopen().await;
    }
    let proof = house.ask(DescribeDestruction { key: doomed.key.clone() }).await.0;
    assert_eq!((proof.versions.len(), proof.erased_epoch, proof.requested_by.as_str()), (2, 1, "developer"));
    assert_eq!(proof.destroyed_by.as_str(), "system");
    let hash = hex::encode(keyreeve_crypto::digest::sha256(&proof.hashed_form()));
    assert_eq!(proof.verification_hash, hash);
    let told: Vec<_> =
        house.records().await.into_iter().filter(|r| r.details.get("verification_hash") == Some(&hash)).collect();
    let names: Vec<&str> = told.iter().map(|record| record.operation.as_str()).collect();
    assert_eq!(names, ["key.destroy", "key.verify-destruction"], "the log carries the hash");
    for field in ["material_rows", "epoch_keys", "usable_versions", "held_in_memory", "loaded_versions"] {
        assert_eq!(told[1].details.get(field).map(String::as_str), Some("0"), "{field}");
    }
    assert_eq!(proof.verified.len(), 6, "{:?}", proof.verified);
    assert!(told.iter().all(|record| record.actor.principal == "system"));
    assert_eq!(house.code(DescribeDestruction { key: neighbour.key }).await, Code::NotFound);
    house.verify_log().await;
}

#[tokio::test]
async fn a_person_may_carry_out_what_is_due_and_a_compromise_found_later_is_recorded() {
    let house = House::new().await;
    let doomed = Tried::new(&house, "doomed").await;
    house.ask(schedule(&doomed.key, 30)).await;
    house.clock.turn(30 * DAY);
    let reply = house.ask(destroy(&doomed.key)).await;
    assert_eq!(reply.state(), State::Destroyed);
    assert_eq!(house.code(destroy(&doomed.key)).await, Code::WrongState, "once");
    assert_eq!(house.code(schedule(&doomed.key, 7)).await, Code::WrongState);
    let late = Compromise { key: doomed.key.clone(), version: None, risk_accepted: true, reason: label("found late") };
    assert_eq!(house.ask(late).await.state(), State::DestroyedCompromised);
    assert_eq!(doomed.refused(&house).await, Code::WrongState);
}

#[tokio::test]
async fn many_due_keys_of_one_shard_go_together() {
    let mut house = House::new().await;
    let mut all = Vec::new();
    for number in 0..8 {
        all.push(Tried::new(&house, &format!("key {number}")).await);
    }
    let (doomed, kept) = all.split_at(5);
    for one in doomed {
        house.ask(schedule(&one.key, 7)).await;
    }
    house.pass(7 * DAY).await;
    house.reopen().await;
    for one in doomed {
        assert_eq!(one.state(&house).await, State::Destroyed);
    }
    for one in kept {
        one.works(&house).await;
    }
    assert_eq!(epochs(&house).await.len(), 1);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn replace(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

/// An old copy of the database alone does not bring a destroyed key back. Neither does it open the other keys that were
/// in the same shard, because their old wrapping went with the same epoch: so the server does not open over it unless a
/// person says that those are lost. Nothing newer is harmed meanwhile, and the newer database put back is whole again.
#[tokio::test]
async fn an_old_copy_of_the_database_does_not_bring_a_destroyed_key_back() {
    let mut house = House::new().await;
    let (doomed, neighbour) = (Tried::new(&house, "doomed").await, Tried::new(&house, "neighbour").await);
    let (store, backup, newer) = (house.path().join("store"), house.path().join("backup"), house.path().join("newer"));
    house.crash();
    copy(&store, &backup);
    house.reopen().await;
    house.ask(schedule(&doomed.key, 7)).await;
    house.pass(7 * DAY).await;
    house.crash();
    copy(&store, &newer);
    replace(&backup, &store);
    assert_eq!(house.try_reopen().await.unwrap_err().code(), Code::Tampered);
    assert!(!house.engine().is_open());
    house.settings.accept_missing_epochs = true;
    house.reopen().await;
    assert_eq!(doomed.state(&house).await, State::Active, "the old record says so");
    assert_eq!(doomed.refused(&house).await, Code::Tampered, "but nothing opens its material");
    assert_eq!(neighbour.refused(&house).await, Code::Tampered);
    let fresh = Tried::new(&house, "made after the restore").await;
    house.pass(DAY).await;
    fresh.works(&house).await;
    assert_eq!(epochs(&house).await, [2], "an old database does not make the server erase a newer epoch");
    house.crash();
    replace(&newer, &store);
    house.settings.accept_missing_epochs = false;
    house.reopen().await;
    neighbour.works(&house).await;
    assert_eq!(doomed.refused(&house).await, Code::WrongState);
}

#[tokio::test]
async fn a_crash_before_the_epoch_is_erased_is_swept_up() {
    let mut house = House::new().await;
    let (doomed, neighbour) = (Tried::new(&house, "doomed").await, Tried::new(&house, "neighbour").await);
    house.ask(schedule(&doomed.key, 7)).await;
    house.clock.turn(7 * DAY);
    house.vault().set(Some(VaultFault::Erase));
    assert_eq!(house.code(destroy(&doomed.key)).await, Code::StoreUnavailable);
    assert_eq!(epochs(&house).await, [1, 2]);
    let verified = async |house: &House| house.ask(DescribeDestruction { key: doomed.key.clone() }).await.0.verified;
    let says_so = |checks: &[String]| checks.iter().any(|check| check.contains("epoch vault"));
    assert!(!says_so(&verified(&house).await), "what is still there is not said to be gone");
    house.reopen().await;
    assert_eq!(epochs(&house).await, [1, 2]);
    house.pass(60_000).await;
    assert_eq!(epochs(&house).await, [2]);
    assert!(says_so(&verified(&house).await));
    neighbour.works(&house).await;
    assert_eq!(doomed.refused(&house).await, Code::WrongState);
    house.verify_log().await;
}

#[tokio::test]
async fn new_keys_never_keep_the_epoch_of_a_destroyed_key_alive() {
    for (fault, code) in
        [(CommitFault::Failed, Code::StoreUnavailable), (CommitFault::FailedButPersisted, Code::OutcomeUnknown)]
    {
        let mut house = House::new().await;
        let (doomed, neighbour) = (Tried::new(&house, "doomed").await, Tried::new(&house, "neighbour").await);
        house.ask(schedule(&doomed.key, 7)).await;
        house.clock.turn(7 * DAY);
        house.store().fail_next_commit(fault);
        assert_eq!(house.code(destroy(&doomed.key)).await, code);
        // The server runs on and makes keys in the same shard before it tidies up.
        let fresh = Tried::new(&house, "fresh").await;
        house.pass(60_000).await;
        house.pass(60_000).await;
        assert_eq!(doomed.state(&house).await, State::Destroyed, "{fault:?}");
        assert_eq!(epochs(&house).await.len(), 1, "{fault:?}: {:?}", epochs(&house).await);
        house.reopen().await;
        for kept in [&neighbour, &fresh] {
            kept.works(&house).await;
        }
        house.verify_log().await;
    }
}

#[tokio::test]
async fn without_room_for_a_new_epoch_nothing_is_destroyed() {
    let house = House::new().await;
    let (doomed, neighbour) = (Tried::new(&house, "doomed").await, Tried::new(&house, "neighbour").await);
    house.ask(schedule(&doomed.key, 7)).await;
    house.clock.turn(7 * DAY);
    house.vault().set(Some(VaultFault::Put));
    assert_eq!(house.code(destroy(&doomed.key)).await, Code::StoreUnavailable);
    neighbour.works(&house).await;
    assert_eq!(house.code(DescribeDestruction { key: doomed.key.clone() }).await, Code::NotFound);
    house.vault().set(None);
    house.pass(0).await;
    assert_eq!(doomed.state(&house).await, State::Destroyed);
}

#[tokio::test]
async fn a_read_under_way_when_its_epoch_goes_finds_the_new_one() {
    let mut house = House::new().await;
    let (doomed, neighbour) = (Tried::new(&house, "doomed").await, Tried::new(&house, "neighbour").await);
    house.ask(schedule(&doomed.key, 7)).await;
    house.clock.turn(7 * DAY);
    house.reopen().await;
    // The neighbour's row was read, its epoch was not: now the epoch is replaced.
    let gate = house.vault().hold_next_read();
    let meanwhile = async {
        gate.reached.notified().await;
        house.ask(destroy(&doomed.key)).await;
        gate.open.notify_one();
    };
    futures::join!(neighbour.works(&house), meanwhile);
    assert_eq!(epochs(&house).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_when_keys_are_made_rotated_and_read_while_others_are_destroyed() {
    let mut house = House::new().await;
    let mut doomed = Vec::new();
    let mut kept = Vec::new();
    for number in 0..6 {
        doomed.push(Tried::new(&house, "doomed").await);
        kept.push(Tried::new(&house, &format!("kept {number}")).await);
    }
    for one in &doomed {
        house.ask(schedule(&one.key, 7)).await;
    }
    house.clock.turn(7 * DAY);
    // Cold caches: every read goes to the rows that are being rewrapped.
    house.reopen().await;
    let shared = Arc::new(house);
    let work = |index: usize| {
        let (house, key) = (Arc::clone(&shared), kept[index].key.clone());
        let (ciphertext, text) = (kept[index].ciphertext.clone(), kept[index].text.clone());
        tokio::spawn(async move {
            let mut made = Vec::new();
            for round in 0..4 {
                assert_eq!(house.decrypt(&key, &ciphertext).await, text);
                house.ask(Rotate { key: key.clone(), reason: label("meanwhile") }).await;
                let rotated = format!("{index} {round}");
                made.push((key.clone(), house.encrypt(&key, rotated.as_bytes()).await, rotated));
                let fresh = key_of(&house.ask(creating()).await);
                let text = format!("fresh {index} {round}");
                made.push((fresh.clone(), house.encrypt(&fresh, text.as_bytes()).await, text));
            }
            made
        })
    };
    let tasks: Vec<_> = (0..kept.len()).map(work).collect();
    for one in &doomed {
        shared.ask(destroy(&one.key)).await;
    }
    let mut made = Vec::new();
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    let mut house = Arc::into_inner(shared).unwrap();
    house.pass(60_000).await;
    house.reopen().await;
    assert_eq!(made.len(), 48);
    for (key, ciphertext, text) in &made {
        assert_eq!(house.decrypt(key, ciphertext).await, text.as_bytes());
    }
    for one in &kept {
        one.works(&house).await;
    }
    for one in &doomed {
        assert_eq!(one.state(&house).await, State::Destroyed);
    }
    let used = house.store().epochs_in_use().await.unwrap();
    assert_eq!((used.len(), epochs(&house).await.len()), (1, 1), "one epoch serves the shard");
    house.verify_log().await;
}
