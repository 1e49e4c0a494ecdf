//! Several roots of trust: what opens what, new key-encryption keys, moving from one root to another (requirements R3,
//! T3, T5, K18).

use futures::future::join_all;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Purpose, Random, WrappingMethod};
use keyreeve_engine::ops::imports::Import;
use keyreeve_engine::ops::keys::{CreateSpec, MetadataPatch, Update};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::{jobs, keyrings, rekey, roots, shares, system};
use keyreeve_engine::{Code, KeyRef};
use keyreeve_epochs::{EpochId, EpochVault};
use keyreeve_model::job::JobState;
use keyreeve_model::roots::{Need, Wrapped};
use keyreeve_model::{Classification, Custody, Environment, KeyringRecord, Label, MaterialRow, RootUse};
use keyreeve_root::{Root, SealStatus};
use keyreeve_root_software::SealedFileRoot;
use keyreeve_secret::{SecretBytes, SecretString};
use keyreeve_store::faulty::CommitFault;
use keyreeve_store::{Page, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::shares::{holder, proof};
use crate::support::{Checked, Council, House, RootKind, Who, create, key_of, label, name, prepared, wrapped_for};

fn under(need: Need, roots: &[&str]) -> RootUse {
    RootUse::new(need, roots.iter().map(|root| root.parse().unwrap()).collect()).unwrap()
}

fn ring(text: &str, classification: Classification, roots: Option<RootUse>) -> keyrings::Create {
    keyrings::Create {
        name: name(text),
        owner: Label::default(),
        description: Label::default(),
        classification,
        environment: Environment::Production,
        allow_deterministic: false,
        roots,
    }
}

fn migrate(from: Option<&str>, to: RootUse) -> rekey::MigrateRoots {
    rekey::MigrateRoots { from: from.map(name), to, pace: 0, reason: label("a new device") }
}

fn rotate(keyring: &str, roots: Option<RootUse>) -> rekey::RotateKek {
    rekey::RotateKek { keyring: keyring.parse().unwrap(), roots, pace: 0, reason: label("its time is over") }
}

fn retire(root: &str) -> roots::Retire {
    roots::Retire { name: name(root), reason: label("moved") }
}

fn join(root: &str) -> roots::Join {
    roots::Join { name: name(root), shares: 0, threshold: 0, holders: Vec::new(), reason: label("a second one") }
}

/// A house with further roots, joined.
async fn with_roots(more: &[(&'static str, Custody, Option<Duration>)]) -> House {
    let mut house = House::new().await;
    house.more_roots = more.iter().map(|(name, custody, bound)| (*name, (*custody, *bound))).collect();
    house.reopen().await;
    for (root, ..) in more {
        house.ask(join(root)).await;
    }
    house
}

async fn finish(house: &House, job: &jobs::JobReply) -> jobs::JobReply {
    for _ in 0..1000 {
        house.engine().work_on_jobs().await.unwrap();
        let now = house.ask(jobs::Describe { job: job.0.id() }).await;
        if now.0.state() != JobState::Running {
            return now;
        }
        house.clock.turn(1000);
    }
    panic!("the job comes to no end");
}

async fn rings(house: &House) -> Vec<KeyringRecord> {
    let rows = house.store().keyrings(Page { after: None, limit: 100 }).await.unwrap();
    rows.iter().map(|row| serde_json::from_slice(&row.record.bytes).unwrap()).collect()
}

/// Everything that roots of trust wrapped, as it is stored.
async fn wrapped(house: &House) -> Vec<Wrapped> {
    let deployment = house.store().deployment().await.unwrap().unwrap();
    let deployment: keyreeve_model::DeploymentRecord = serde_json::from_slice(&deployment.bytes).unwrap();
    let keks = rings(house).await.into_iter().flat_map(|ring| ring.keks).map(|kek| kek.wrapped);
    keks.chain([deployment.system_secret]).collect()
}

#[tokio::test]
async fn a_root_that_nobody_configured_or_joined_takes_no_keyring() {
    let mut house = House::new().await;
    let wanted = || ring("payments", Classification::Internal, Some(under(Need::Any, &["second"])));
    assert_eq!(house.code(wanted()).await, Code::InvalidRequest);
    assert_eq!(house.code(join("second")).await, Code::InvalidRequest);
    house.more_roots.insert("second", (Custody::Kms, None));
    house.reopen().await;
    assert_eq!(house.code(wanted()).await, Code::WrongState);
    house.ask(join("second")).await;
    assert_eq!(house.code(join("second")).await, Code::AlreadyExists);
    let made = house.ask(wanted()).await;
    assert_eq!(made.keyring.roots, under(Need::Any, &["second"]));
    assert!(made.keyring.keks.iter().all(|kek| kek.wrapped.under() == made.keyring.roots));
    house.reopen().await;
    let key = house.aead_in("payments").await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

#[tokio::test]
async fn a_class_is_refused_where_keys_are_kept_less_well_than_it_demands() {
    let house = House::with(RootKind::SealedFile, |settings| settings.development = true).await;
    house.ask(ring("anything", Classification::Restricted, None)).await;
    drop(house);
    let mut house = with_roots(&[("cloud", Custody::Kms, None), ("hsm", Custody::Hsm, None)]).await;
    house.settings.development = false;
    house.reopen().await;
    let on = |class, need, roots: &[&str]| ring("r", class, Some(under(need, roots)));
    for (class, need, roots) in [
        (Classification::Restricted, Need::Any, &["main"][..]),
        (Classification::Restricted, Need::Any, &["cloud"]),
        (Classification::Restricted, Need::Any, &["cloud", "hsm"]),
        (Classification::Confidential, Need::Any, &["main"]),
        (Classification::Confidential, Need::Any, &["cloud", "main"]),
    ] {
        assert_eq!(house.code(on(class, need, roots)).await, Code::Custody, "{class} under {roots:?}");
    }
    house.ask(ring("one", Classification::Restricted, Some(under(Need::Any, &["hsm"])))).await;
    house.ask(ring("two", Classification::Restricted, Some(under(Need::All, &["main", "hsm"])))).await;
    house.ask(ring("three", Classification::Confidential, Some(under(Need::Any, &["cloud", "hsm"])))).await;
    assert_eq!(house.code(rotate("one", Some(under(Need::Any, &["cloud"])))).await, Code::Custody);
    assert_eq!(house.code(migrate(Some("hsm"), under(Need::Any, &["cloud"]))).await, Code::Custody);
}

#[tokio::test]
async fn any_of_several_roots_opens_and_all_of_several_are_needed() {
    let mut house = with_roots(&[("left", Custody::Kms, None), ("right", Custody::Kms, None)]).await;
    house.ask(ring("any", Classification::Internal, Some(under(Need::Any, &["left", "right"])))).await;
    house.ask(ring("all", Classification::Internal, Some(under(Need::All, &["left", "right"])))).await;
    let (any, all) = (house.aead_in("any").await, house.aead_in("all").await);
    house.reopen().await;
    house.another_root("left").lose(true);
    assert_eq!(house.round_trip(&any).await, b"plaintext");
    assert_eq!(house.round_trip_code(&all).await, Some(Code::RootUnavailable));
    house.another_root("left").lose(false);
    assert_eq!(house.round_trip(&all).await, b"plaintext");
    // No part alone is the KEK: each opens, and neither is what the other side makes of them.
    let ring = rings(&house).await.into_iter().find(|ring| ring.name == name("all")).unwrap();
    let Wrapped::Under(parts) = &ring.keks[0].wrapped else { panic!("not in parts") };
    assert!(parts.split.is_some() && parts.parts.len() == 2);
}

#[tokio::test]
async fn a_keyring_whose_root_is_away_at_the_start_keeps_no_other_from_working() {
    let mut house = with_roots(&[("cloud", Custody::Kms, None)]).await;
    house.ask(ring("remote", Classification::Internal, Some(under(Need::Any, &["cloud"])))).await;
    let (remote, local) = (house.aead_in("remote").await, house.aead_in("default").await);
    house.crash();
    std::fs::rename(house.path().join("cloud.root"), house.path().join("away")).unwrap();
    house.reopen().await;
    assert_eq!(house.round_trip(&local).await, b"plaintext");
    assert!(house.round_trip_code(&remote).await.is_some());
    std::fs::rename(house.path().join("away"), house.path().join("cloud.root")).unwrap();
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.round_trip(&remote).await, b"plaintext");
}

#[tokio::test]
async fn what_a_root_opened_is_refused_once_it_was_not_heard_from_within_its_bound() {
    let mut house = with_roots(&[("cloud", Custody::Kms, Some(Duration::from_secs(900)))]).await;
    house.ask(ring("remote", Classification::Internal, Some(under(Need::Any, &["cloud"])))).await;
    let (remote, local) = (house.aead_in("remote").await, house.aead_in("default").await);
    assert_eq!(house.round_trip(&remote).await, b"plaintext");
    house.another_root("cloud").lose(true);
    house.clock.turn(899_000);
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.round_trip(&remote).await, b"plaintext");
    house.clock.turn(2_000);
    assert_eq!(house.round_trip_code(&remote).await, Some(Code::RootUnavailable));
    assert_eq!(house.round_trip(&local).await, b"plaintext");
    house.another_root("cloud").lose(false);
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.round_trip(&remote).await, b"plaintext");
    // While it answers it is heard from in time, by the tick alone.
    for _ in 0..20 {
        house.clock.turn(300_000);
        assert!(house.engine().tick().await.is_empty());
        assert_eq!(house.round_trip(&remote).await, b"plaintext");
    }
    house.crash();
}

#[tokio::test]
async fn a_rotated_kek_wraps_everything_and_the_old_one_is_gone() {
    let mut house = House::new().await;
    let keys = [house.aead_in("default").await, house.aead_in("default").await];
    let before = house.vault().list().await.unwrap();
    let job = house.ask(rotate("default", None)).await;
    assert_eq!(house.code(rotate("default", None)).await, Code::WrongState, "one at a time");
    let done = finish(&house, &job).await;
    assert_eq!((done.0.state(), done.0.progress()), (JobState::Done, (1, 1)));
    let ring = &rings(&house).await[0];
    assert_eq!(ring.keks.iter().map(|kek| kek.version).collect::<Vec<_>>(), [2]);
    let after = house.vault().list().await.unwrap();
    assert_eq!(after.len(), before.len());
    for id in after {
        assert!(!before.contains(&id), "epochs are new ones");
        assert_eq!(house.vault().get(id).await.unwrap().unwrap()[..4], 2u32.to_be_bytes());
    }
    for key in &keys {
        assert_eq!(house.round_trip(key).await, b"plaintext");
    }
    house.reopen().await;
    for key in &keys {
        assert_eq!(house.round_trip(key).await, b"plaintext");
    }
}

#[tokio::test]
async fn of_two_rotations_that_are_begun_at_once_one_is_refused() {
    let house = House::new().await;
    let key = house.aead_in("default").await;
    let both = join_all((0..8).map(|_| house.call(&house.developer, rotate("default", None)))).await;
    let begun: Vec<_> = both.into_iter().filter_map(Result::ok).collect();
    assert_eq!(begun.len(), 1);
    assert_eq!(finish(&house, &begun[0].reply).await.0.state(), JobState::Done);
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

#[tokio::test]
async fn everything_moves_to_another_root_under_load_and_the_old_one_opens_nothing() {
    let mut house = with_roots(&[("second", Custody::Kms, None)]).await;
    for text in ["one", "two", "three"] {
        house.ask(ring(text, Classification::Internal, None)).await;
    }
    let keys = Arc::new(join_all(["default", "one", "two", "three"].map(|ring| house.aead_in(ring))).await);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        while !stop.load(Ordering::SeqCst) {
            for key in keys.iter() {
                assert_eq!(house.round_trip(key).await, b"plaintext");
                served.fetch_add(1, Ordering::SeqCst);
            }
            house.aead_in("two").await;
        }
    };
    let moving = async {
        let job = house.ask(migrate(Some("main"), under(Need::Any, &["second"]))).await;
        let done = finish(&house, &job).await;
        stop.store(true, Ordering::SeqCst);
        done
    };
    let (done, ()) = tokio::join!(moving, load);
    assert_eq!(done.0.state(), JobState::Done);
    assert!(served.load(Ordering::SeqCst) > 0);
    let all = wrapped(&house).await;
    assert_eq!(all.len(), 5);
    for one in &all {
        assert_eq!(one.under(), under(Need::Any, &["second"]));
        let Wrapped::Under(parts) = one else { panic!("not in parts") };
        for part in parts.parts.values() {
            assert!(house.root().unwrap(b"", &hex::decode(part).unwrap()).await.is_err());
        }
    }
    house.ask(retire("main")).await;
    house.crash();
    std::fs::remove_file(house.path().join("root.key")).unwrap();
    house.reopen().await;
    for key in keys.iter() {
        assert_eq!(house.round_trip(key).await, b"plaintext");
    }
}

/// Somebody who kept the key of a root, and a copy of the database and of the vault, from before a migration.
struct Thief {
    root: SealedFileRoot,
    epochs: Vec<(EpochId, LoadedKey)>,
}

impl Thief {
    fn load(bytes: SecretBytes) -> LoadedKey {
        LoadedKey::load(&Material::parse(KeyAlgorithm::Xaes256Gcm, bytes).unwrap(), Purpose::Encrypt).unwrap()
    }

    async fn with(house: &House, root: SealedFileRoot) -> Self {
        let mut epochs = Vec::new();
        for ring in rings(house).await {
            for id in house.vault().list().await.unwrap().into_iter().filter(|id| id.keyring == ring.id) {
                let sealed = house.vault().get(id).await.unwrap().unwrap();
                let version = u32::from_be_bytes(sealed[..4].try_into().unwrap());
                let kek = ring.keks.iter().find(|kek| kek.version == version).unwrap();
                let context = [b"keyreeve/kek/1".as_slice(), ring.id.as_bytes(), &version.to_be_bytes()].concat();
                let Wrapped::Under(parts) = &kek.wrapped else { panic!("not in parts") };
                let part = hex::decode(&parts.parts[&name("main")]).unwrap();
                let kek = Self::load(root.unwrap(&context, &part).await.unwrap());
                let (shard, epoch) = (id.shard.to_be_bytes(), id.epoch.to_be_bytes());
                let context = [b"keyreeve/epoch/1".as_slice(), id.keyring.as_bytes(), &shard, &epoch].concat();
                epochs.push((id, Self::load(kek.open(&context, &sealed[4..]).unwrap())));
            }
        }
        Self { root, epochs }
    }

    /// How many rows of material there are, and how many of them open by what the thief has.
    async fn opens(&self, house: &House) -> (usize, usize) {
        let (mut rows, mut opened) = (0, 0);
        for ring in rings(house).await {
            for row in house.store().shard_material(ring.id, 0, Page { after: None, limit: 100 }).await.unwrap() {
                rows += 1;
                let tried = self.epochs.iter().any(|(id, key)| {
                    [id.epoch, row.epoch].into_iter().any(|epoch| {
                        let bound = MaterialRow::associated_data(row.key, row.version, row.keyring, row.shard, epoch);
                        key.open(&bound, &row.wrapped).is_ok()
                    })
                });
                opened += usize::from(tried);
            }
        }
        (rows, opened)
    }
}

#[tokio::test]
async fn copies_of_before_and_the_old_root_open_nothing_that_is_stored_afterwards() {
    let house = with_roots(&[("second", Custody::Kms, None)]).await;
    house.ask(ring("one", Classification::Internal, Some(under(Need::Any, &["main"])))).await;
    let keys = [house.aead_in("default").await, house.aead_in("one").await];
    // Of before roots had names a KEK is wrapped in another form: rotated once, all are in this one.
    let job = house.ask(rotate("default", Some(under(Need::Any, &["main"])))).await;
    finish(&house, &job).await;
    let copy = house.path().join("stolen.key");
    std::fs::copy(house.path().join("root.key"), &copy).unwrap();
    let root = SealedFileRoot::new(copy, Random::from_module().unwrap());
    let deployment = house.store().deployment().await.unwrap().unwrap();
    let deployment: keyreeve_model::DeploymentRecord = serde_json::from_slice(&deployment.bytes).unwrap();
    root.configure(&deployment.roots()[&name("main")].public).await.unwrap();
    let thief = Thief::with(&house, root).await;
    assert_eq!(thief.opens(&house).await, (2, 2), "or this test shows nothing");
    let job = house.ask(migrate(Some("main"), under(Need::Any, &["second"]))).await;
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    house.aead_in("one").await;
    assert_eq!(thief.opens(&house).await, (3, 0));
    for one in wrapped(&house).await {
        let Wrapped::Under(parts) = one else { panic!("not in parts") };
        for part in parts.parts.values() {
            assert!(thief.root.unwrap(b"", &hex::decode(part).unwrap()).await.is_err());
        }
    }
    for key in &keys {
        assert_eq!(house.round_trip(key).await, b"plaintext");
    }
    let left = house.vault().list().await.unwrap();
    assert!(left.iter().all(|id| thief.epochs.iter().all(|(before, _)| before != id)), "{left:?}");
}

#[tokio::test]
async fn material_that_does_not_open_keeps_its_epoch_and_holds_nothing_up() {
    let mut house = House::new().await;
    let keys = [house.aead_in("default").await, house.aead_in("default").await];
    let before = house.vault().list().await.unwrap();
    let KeyRef::Id(hurt) = &keys[0] else { panic!("not by its id") };
    house.crash();
    let flip = "UPDATE slots SET wrapped = zeroblob(size) WHERE slot IN (SELECT slot FROM material WHERE key_id = ?1)";
    assert_eq!(house.sql().execute(flip, [hurt.as_bytes()]).unwrap(), 1);
    house.reopen().await;
    let job = house.ask(rotate("default", None)).await;
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    assert_eq!(house.round_trip(&keys[1]).await, b"plaintext");
    assert_eq!(house.round_trip_code(&keys[0]).await, Some(Code::Tampered));
    let after = house.vault().list().await.unwrap();
    assert!(after.contains(&before[0]) && after.len() == 2, "it may be mended from a copy of the row");
    for id in after {
        assert_eq!(house.vault().get(id).await.unwrap().unwrap()[..4], 2u32.to_be_bytes());
    }
}

#[tokio::test]
async fn an_import_that_waits_outlives_a_rotation() {
    let house = House::new().await;
    house.aead_in("default").await;
    let algorithm = KeyAlgorithm::Xaes256Gcm;
    let waiting = house.ask(prepared(None, algorithm, WrappingMethod::X25519MlKem768)).await;
    let job = house.ask(rotate("default", None)).await;
    finish(&house, &job).await;
    let import = Import { create: create(algorithm).checked(), incoming: wrapped_for(&waiting, &[7; 32]) };
    let key = key_of(&house.ask(import).await);
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

/// What came in is not even opened: a right and a wrong one are answered alike.
#[tokio::test]
async fn nothing_is_imported_by_a_root_that_was_not_heard_from_within_its_bound() {
    let house = with_roots(&[("cloud", Custody::Kms, Some(Duration::from_secs(900)))]).await;
    let job = house.ask(rotate("default", Some(under(Need::Any, &["cloud"])))).await;
    finish(&house, &job).await;
    let algorithm = KeyAlgorithm::Xaes256Gcm;
    let waiting = house.ask(prepared(None, algorithm, WrappingMethod::X25519MlKem768)).await;
    let import = |wrapped: Option<Vec<u8>>| {
        let mut incoming = wrapped_for(&waiting, &[7; 32]);
        incoming.wrapped = wrapped.unwrap_or(incoming.wrapped);
        Import { create: create(algorithm).checked(), incoming }
    };
    house.another_root("cloud").lose(true);
    house.clock.turn(901_000);
    assert_eq!(house.code(import(Some(vec![1; 1200]))).await, Code::RootUnavailable);
    assert_eq!(house.code(import(None)).await, Code::RootUnavailable);
    house.another_root("cloud").lose(false);
    assert!(house.engine().tick().await.is_empty());
    house.ask(import(None)).await;
}

/// An epoch that is on its way into the vault when whoever asked for it goes away is under a KEK that stays until then.
#[tokio::test]
async fn an_epoch_that_nobody_waits_for_any_more_is_not_left_under_a_kek_that_is_gone() {
    let house = Arc::new(House::new().await);
    let gate = house.vault().hold_next_put();
    let asked = Arc::clone(&house);
    let asking = tokio::spawn(async move { asked.aead_in("default").await });
    gate.reached.notified().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    let job = house.ask(rotate("default", None)).await;
    let (done, ()) = tokio::join!(finish(&house, &job), async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.open.notify_one();
    });
    assert_eq!(done.0.state(), JobState::Done);
    let key = house.aead_in("default").await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
    let mut house = Arc::into_inner(house).unwrap();
    house.reopen().await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
    house.aead_in("default").await;
}

#[tokio::test]
async fn an_epoch_that_nothing_opens_takes_no_new_key() {
    let mut house = House::new().await;
    let ring = rings(&house).await[0].id;
    house.vault().put(EpochId { keyring: ring, shard: 0, epoch: 1 }, &[0; 60]).await.unwrap();
    let key = house.aead_in("default").await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
    house.reopen().await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

#[tokio::test]
async fn a_root_that_lies_gets_nothing() {
    let house = with_roots(&[("second", Custody::Kms, None)]).await;
    let key = house.aead_in("default").await;
    house.another_root("second").lie(true);
    let both = || under(Need::Any, &["main", "second"]);
    assert_eq!(house.code(ring("one", Classification::Internal, Some(both()))).await, Code::RootUnavailable);
    let job = house.ask(migrate(None, both())).await;
    house.engine().work_on_jobs().await.unwrap();
    let seen = house.ask(jobs::Describe { job: job.0.id() }).await.0;
    assert!(seen.trouble().is_some_and(|(text, _)| text.contains("does not give back")), "{seen:?}");
    assert!(wrapped(&house).await.iter().all(|one| !one.names(&name("second"))));
    house.another_root("second").lie(false);
    house.clock.turn(10_000);
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

/// A root that alice, bob and carol open, two of them.
fn join_people() -> roots::Join {
    let holders = (0..3).map(holder).collect();
    roots::Join { shares: 3, threshold: 2, holders, ..join("people") }
}

async fn with_people() -> House {
    let mut house = House::new().await;
    house.more_roots.insert("people", (Custody::Kms, None));
    house.reopen().await;
    house
}

/// The shares that were made last, which only their holders see.
fn heard(house: &House) -> Vec<SecretString> {
    house.another_root("people").heard()
}

fn unseal(share: &SecretString) -> system::Unseal {
    system::Unseal { share: share.duplicate() }
}

/// Hands in that the holder of a share has it.
async fn prove(house: &House, share: &SecretString) {
    let asked = house.ask(shares::Holders { root: Some(name("people")) }).await.challenge.unwrap();
    let proof = shares::VerifyShare { root: Some(name("people")), ..proof(share, &asked) };
    house.ask(proof).await;
}

/// Asks the holders of `people`, two of whom show that they have theirs: from then on it takes something.
async fn proved(house: &House, shares: &[SecretString]) {
    house.ask(shares::Challenge { root: Some(name("people")) }).await;
    for share in &shares[..2] {
        prove(house, share).await;
    }
}

#[tokio::test]
async fn people_join_and_retire_and_join_again_with_other_shares() {
    let mut house = with_people().await;
    // What the store did not take left a key in memory, of which nobody has the shares.
    house.store().fail_next_commit(CommitFault::Failed);
    assert!(house.call(&house.developer, join_people()).await.is_err());
    house.ask(join_people()).await;
    let first = heard(&house);
    house.ask(retire("people")).await;
    house.ask(join_people()).await;
    let second = heard(&house);
    assert!(first.iter().all(|share| second.iter().all(|other| share.expose() != other.expose())));
    let kept = house.store().deployment().await.unwrap().unwrap();
    let kept: keyreeve_model::DeploymentRecord = serde_json::from_slice(&kept.bytes).unwrap();
    let [retired] = &kept.retired[..] else { panic!("its parameters are lost") };
    assert_eq!((retired.name.as_str(), retired.root.kind.as_str()), ("people", "shamir"));
    assert_ne!(retired.root.public, kept.roots()[&name("people")].public);
    house.reopen().await;
    let refused = house.call(&Who::Nobody, unseal(&first[0])).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::InvalidShare);
    for share in &second[..2] {
        house.call(&Who::Nobody, unseal(share)).await.unwrap();
    }
    assert_eq!(house.another_root("people").status(), SealStatus::Open);
}

#[tokio::test]
async fn whoever_joins_a_root_of_shares_sees_none_and_nothing_comes_under_it_before_holders_proved_theirs() {
    let mut house = with_people().await;
    house.settings.development = false;
    house.reopen().await;
    let shown = roots::Join { holders: Vec::new(), ..join_people() };
    assert_eq!(house.code(shown).await, Code::InvalidRequest, "one would have it all");
    let joined = house.ask(join_people()).await;
    assert!(joined.shares.is_empty());
    let whose: Vec<&str> = joined.handed.iter().map(|text| text.person.name.as_str()).collect();
    assert_eq!(whose, ["alice", "bob", "carol"]);
    assert!(joined.handed.iter().all(|text| text.text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----")));
    assert!(joined.challenge.is_some());
    // Whose answer was lost asks again, until the shares were seen to open it.
    let show = || shares::Show { root: Some(name("people")) };
    let again = house.ask(show()).await.shares;
    assert_eq!(again, joined.handed);
    let given = heard(&house);
    let to = || under(Need::Any, &["people"]);
    let either = || under(Need::Any, &["main", "people"]);
    prove(&house, &given[0]).await;
    assert_eq!(house.code(ring("one", Classification::Internal, Some(to()))).await, Code::WrongState);
    assert_eq!(house.code(ring("one", Classification::Internal, Some(either()))).await, Code::WrongState);
    assert_eq!(house.code(rotate("default", Some(to()))).await, Code::WrongState);
    assert_eq!(house.code(migrate(None, to())).await, Code::WrongState);
    prove(&house, &given[2]).await;
    let key = house.aead_in("default").await;
    let job = house.ask(migrate(None, to())).await;
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    house.ask(ring("one", Classification::Internal, None)).await;
    assert!(house.engine().tick().await.is_empty());
    house.ask(show()).await;
    house.clock.turn(1000);
    house.reopen().await;
    for share in &given[1..] {
        house.call(&Who::Nobody, unseal(share)).await.unwrap();
    }
    assert_eq!(house.round_trip(&key).await, b"plaintext");
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.code(show()).await, Code::WrongState, "they are there, and nothing of them is here");
}

#[tokio::test]
async fn a_root_that_something_is_under_is_not_retired() {
    let house = with_roots(&[("second", Custody::Kms, None)]).await;
    assert_eq!(house.code(retire("main")).await, Code::WrongState);
    assert_eq!(house.code(retire("third")).await, Code::NotFound);
    house.ask(ring("one", Classification::Internal, Some(under(Need::Any, &["second"])))).await;
    assert_eq!(house.code(retire("second")).await, Code::WrongState);
    let listed = house.ask(roots::List).await.0;
    let of = |name: &str| listed.iter().find(|root| root.name.as_str() == name).unwrap();
    assert_eq!((of("main").keyrings, of("main").own_secret), (1, true));
    assert_eq!((of("second").keyrings, of("second").own_secret), (1, false));
}

#[tokio::test]
async fn a_migration_goes_on_after_a_crash_at_every_step_and_nothing_is_lost() {
    let mut house = with_roots(&[("second", Custody::Kms, None)]).await;
    house.ask(ring("one", Classification::Internal, None)).await;
    let keys = [house.aead_in("default").await, house.aead_in("one").await];
    let job = house.ask(migrate(None, under(Need::All, &["main", "second"]))).await;
    let mut steps = 0;
    loop {
        // One step, then the end of the process, whether or not it was told.
        house.engine().step_job(job.0.id()).await.unwrap();
        house.reopen().await;
        for key in &keys {
            assert_eq!(house.round_trip(key).await, b"plaintext", "after {steps} steps");
        }
        steps += 1;
        if house.ask(jobs::Describe { job: job.0.id() }).await.0.state() == JobState::Done {
            break;
        }
        assert!(steps < 50);
    }
    assert!(wrapped(&house).await.iter().all(|one| one.under() == under(Need::All, &["main", "second"])));
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again_and_a_job_is_stopped() {
    let mut house = with_roots(&[("second", Custody::Kms, None)]).await;
    let key = house.aead_in("default").await;
    house.another_root("second").lose(true);
    let job = house.ask(rotate("default", Some(under(Need::Any, &["second"])))).await;
    let wait = house.engine().work_on_jobs().await.unwrap().unwrap();
    assert!(wait > Duration::ZERO);
    let seen = house.ask(jobs::Describe { job: job.0.id() }).await.0;
    assert_eq!(seen.trouble().map(|(_, failures)| failures), Some(1));
    house.another_root("second").lose(false);
    house.clock.turn(10_000);
    house.engine().step_job(job.0.id()).await.unwrap();
    let seen = house.ask(jobs::Describe { job: job.0.id() }).await.0;
    assert_eq!(seen.trouble(), None);
    let ended = house.ask(jobs::Cancel { job: job.0.id(), reason: label("another time") }).await;
    assert_eq!(ended.0.state(), JobState::Cancelled);
    assert_eq!(house.engine().work_on_jobs().await.unwrap(), None);
    house.reopen().await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
    let job = house.ask(rotate("default", None)).await;
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    assert_eq!(rings(&house).await[0].keks.len(), 1);
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

#[tokio::test]
async fn what_joining_shows_once_is_shown_to_nobody_but_who_asks_again() {
    let mut house = House::new().await;
    house.more_roots.insert("second", (Custody::Kms, None));
    house.reopen().await;
    let council = Council::gathered_in(house).await;
    let (house, olga) = (&council.house, &council.olga);
    house.call(&olga.who, Enact).await.unwrap();
    let id = olga.waits(house, join("second")).await;
    for member in [&council.sue, &council.carl] {
        member.approve(house, id).await;
    }
    // Its answer goes nowhere.
    let refused = house.engine().execute_approved(House::arrival(&olga.who), id).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::WrongState);
    house.call(&olga.who, join("second")).await.unwrap();
    assert_eq!(house.code_for(&olga.who, join("second")).await, Code::AlreadyExists);
}

#[tokio::test]
async fn a_root_that_a_job_brings_keys_under_is_not_retired() {
    let house = with_roots(&[("second", Custody::Kms, None)]).await;
    house.another_root("second").lose(true);
    let job = house.ask(migrate(Some("main"), under(Need::Any, &["second"]))).await;
    house.engine().work_on_jobs().await.unwrap();
    assert_eq!(house.code(retire("second")).await, Code::WrongState);
    house.ask(jobs::Cancel { job: job.0.id(), reason: label("it never came") }).await;
    house.ask(retire("second")).await;
    assert_eq!(house.code(rotate("default", Some(under(Need::Any, &["second"])))).await, Code::WrongState);
}

#[tokio::test]
async fn nothing_comes_under_a_root_while_it_is_retired() {
    let house = with_roots(&[("second", Custody::Kms, None)]).await;
    let wanted =
        |number: usize| ring(&format!("r{number}"), Classification::Internal, Some(under(Need::Any, &["second"])));
    let made = join_all((0..8).map(|number| house.call(&house.developer, wanted(number))));
    let (made, gone) = tokio::join!(made, house.call(&house.developer, retire("second")));
    let made = made.into_iter().filter(Result::is_ok).count();
    assert_eq!(gone.is_ok(), made == 0, "{made} made");
    let count = rings(&house).await.iter().filter(|ring| ring.roots.names(&name("second"))).count();
    assert_eq!(count, made);
}

#[tokio::test]
async fn people_are_asked_where_the_other_root_is_not_configured_any_more() {
    let mut house = House::with(RootKind::Shamir(3, 2), |_| {}).await;
    house.more_roots.insert("second", (Custody::Kms, None));
    house.reopen().await;
    house.unseal().await;
    house.ask(join("second")).await;
    let key = house.aead_in("default").await;
    let job = house.ask(migrate(None, under(Need::Any, &["main", "second"]))).await;
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    house.reopen().await;
    assert!(house.engine().is_open(), "one of them is enough");
    house.more_roots.clear();
    house.reopen().await;
    assert!(house.engine().seal_status().needs_people());
    house.unseal().await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

#[tokio::test]
async fn everything_is_refused_once_the_root_of_the_servers_own_secret_was_not_heard_from() {
    let mut house = with_roots(&[("cloud", Custody::Kms, Some(Duration::from_secs(900)))]).await;
    house.ask(ring("local", Classification::Internal, None)).await;
    let key = house.aead_in("local").await;
    let job = house.ask(migrate(None, under(Need::Any, &["cloud"]))).await;
    finish(&house, &job).await;
    let job = house.ask(rotate("local", Some(under(Need::Any, &["main"])))).await;
    finish(&house, &job).await;
    house.another_root("cloud").lose(true);
    house.clock.turn(901_000);
    assert_eq!(house.round_trip_code(&key).await, Some(Code::RootUnavailable));
    assert_eq!(house.code(roots::List).await, Code::RootUnavailable);
    house.another_root("cloud").lose(false);
    house.engine().tick().await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
    house.ask(roots::List).await;
    house.another_root("cloud").lose(true);
    house.clock.turn(901_000);
    house.ask(system::Seal).await;
    assert!(!house.engine().is_open());
    house.crash();
}

#[tokio::test]
async fn a_class_is_not_raised_above_what_the_roots_amount_to() {
    let mut house = House::with(RootKind::SealedFile, |settings| settings.development = true).await;
    house.ask(ring("anything", Classification::Restricted, None)).await;
    let mut spec = CreateSpec { keyring: "anything".parse().unwrap(), ..create(KeyAlgorithm::Xaes256Gcm) };
    spec.metadata.classification = Classification::Confidential;
    let key = key_of(&house.make(spec).await);
    house.settings.development = false;
    house.reopen().await;
    let class = |class| {
        let patch = MetadataPatch { classification: Some(class), ..MetadataPatch::default() };
        Update { key: key.clone(), patch }
    };
    assert_eq!(house.code(class(Classification::Restricted)).await, Code::Custody);
    house.ask(class(Classification::Internal)).await;
    assert_eq!(house.code(class(Classification::Confidential)).await, Code::Custody);
}

/// A house whose first root is in shares, with two more that are: their shares by root, in the order of joining.
async fn with_shared(more: &[&'static str]) -> (House, Vec<Vec<SecretString>>) {
    let mut house = House::with(RootKind::Shamir(3, 2), |_| {}).await;
    house.shared_roots = more.to_vec();
    house.reopen().await;
    house.unseal().await;
    let mut shares = vec![house.shares.iter().map(SecretString::duplicate).collect()];
    for root in more {
        let join = roots::Join { shares: 2, threshold: 2, ..join(root) };
        shares.push(house.call(&house.developer, join).await.unwrap().reply.shares);
    }
    (house, shares)
}

async fn give(house: &House, share: &SecretString) -> Result<(String, SealStatus), (Code, String)> {
    let given = house.call(&Who::Nobody, system::Unseal { share: share.duplicate() }).await;
    let given = given.map(|done| (done.reply.name.to_string(), done.reply.root));
    given.map_err(|refused| (refused.error.code(), refused.error.public().to_owned()))
}

#[tokio::test]
async fn shares_of_any_sealed_root_are_taken_in_any_order_and_say_which_root_they_are_of() {
    let (mut house, shares) = with_shared(&["people", "others"]).await;
    proved(&house, &shares[1]).await;
    house.ask(ring("theirs", Classification::Internal, Some(under(Need::Any, &["people"])))).await;
    let (theirs, ours) = (house.aead_in("theirs").await, house.aead_in("default").await);
    let message = house.encrypt(&theirs, b"plaintext").await;
    house.reopen().await;
    let sealed = |given, threshold, shares| SealStatus::Sealed { given, threshold, shares };
    assert_eq!(give(&house, &shares[2][1]).await, Ok(("others".to_owned(), sealed(1, 2, 2))));
    assert_eq!(give(&house, &shares[0][2]).await, Ok(("main".to_owned(), sealed(1, 2, 3))));
    assert_eq!(give(&house, &shares[1][0]).await, Ok(("people".to_owned(), sealed(1, 2, 2))));
    let twice = give(&house, &shares[1][0]).await.unwrap_err();
    assert!(
        twice.0 == Code::InvalidShare && twice.1.starts_with("root of trust `people`: share number 1"),
        "{twice:?}"
    );
    assert_eq!(give(&house, &shares[0][0]).await, Ok(("main".to_owned(), SealStatus::Open)));
    assert!(house.engine().is_open());
    // The server is open, and one root is not: what is under it says so, whether or not it was used before.
    assert_eq!(house.round_trip(&ours).await, b"plaintext");
    let refused = house.call(&house.developer, House::decrypting(&theirs, &message)).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Sealed);
    assert!(refused.error.public().contains("`people` is sealed"), "{}", refused.error.public());
    let unneeded = give(&house, &shares[0][1]).await.unwrap_err();
    assert!(unneeded.0 == Code::WrongState && unneeded.1.contains("`main` is open already"), "{unneeded:?}");
    let foreign = House::with(RootKind::Shamir(3, 2), |_| {}).await;
    let foreign = give(&house, &foreign.shares[0]).await.unwrap_err();
    assert!(foreign.0 == Code::InvalidShare && foreign.1.contains("`others`, `people`"), "{foreign:?}");
    assert_eq!(give(&house, &shares[1][1]).await, Ok(("people".to_owned(), SealStatus::Open)));
    assert_eq!(house.decrypt(&theirs, &message).await, b"plaintext");
    let states = house.engine().root_states();
    let still: Vec<&str> = states.iter().filter(|root| root.is_sealed()).map(|root| root.name.as_str()).collect();
    assert_eq!(still, ["others"]);
}

#[tokio::test]
async fn a_root_that_was_retired_is_joined_again_with_other_shares() {
    let (mut house, shares) = with_shared(&["people"]).await;
    house.ask(shares::Challenge { root: Some(name("people")) }).await;
    house.ask(retire("people")).await;
    let join = || roots::Join { shares: 3, threshold: 2, ..join("people") };
    let new = house.call(&house.developer, join()).await.unwrap().reply.shares;
    let known = house.ask(shares::Holders { root: Some(name("people")) }).await;
    assert_eq!((known.record.current.holders.len(), known.challenge), (3, None));
    proved(&house, &new).await;
    house.ask(ring("theirs", Classification::Internal, Some(under(Need::Any, &["people"])))).await;
    let key = house.aead_in("theirs").await;
    house.reopen().await;
    house.unseal().await;
    assert_eq!(give(&house, &shares[1][0]).await.unwrap_err().0, Code::InvalidShare, "of before");
    for share in &new[1..] {
        give(&house, share).await.unwrap();
    }
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}

#[tokio::test]
async fn leaving_one_root_takes_only_that_one_out_of_a_set() {
    let house =
        with_roots(&[("hsm", Custody::Hsm, None), ("left", Custody::Kms, None), ("right", Custody::Kms, None)]).await;
    let (any, all) = (under(Need::Any, &["main", "left"]), under(Need::All, &["main", "left"]));
    house.ask(ring("any", Classification::Internal, Some(any))).await;
    house.ask(ring("all", Classification::Internal, Some(all))).await;
    house.ask(ring("elsewhere", Classification::Internal, Some(under(Need::Any, &["right"])))).await;
    let key = house.aead_in("all").await;
    // One of two that are both needed would be left, or two kinds of sets mixed.
    for (to, word) in [(under(Need::Any, &["left"]), "alone"), (under(Need::Any, &["hsm", "right"]), "two kinds")] {
        let refused = house.call(&house.developer, migrate(Some("main"), to)).await.unwrap_err().error;
        assert_eq!(refused.code(), Code::WrongState);
        assert!(refused.public().contains(word) && refused.public().contains("rotate-kek all --root"), "{refused}");
    }
    let job = house.ask(migrate(Some("main"), under(Need::Any, &["hsm"]))).await;
    assert_eq!(finish(&house, &job).await.0.state(), JobState::Done);
    let now: BTreeMap<String, RootUse> =
        rings(&house).await.iter().map(|ring| (ring.name.to_string(), ring.keks[0].wrapped.under())).collect();
    assert_eq!(now["any"], under(Need::Any, &["hsm", "left"]));
    assert_eq!(now["all"], under(Need::All, &["hsm", "left"]));
    assert_eq!((&now["elsewhere"], &now["default"]), (&under(Need::Any, &["right"]), &under(Need::Any, &["hsm"])));
    house.ask(retire("main")).await;
    assert_eq!(house.round_trip(&key).await, b"plaintext");
}
