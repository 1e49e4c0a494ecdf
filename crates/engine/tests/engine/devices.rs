//! Keys inside the device of a root of trust: made, used, rotated and destroyed there, and nowhere else (requirements
//! T1, K18).

use keyreeve_archive::Archive;
use keyreeve_archive_directory::DirectoryArchive;
use keyreeve_backup::Keep;
use keyreeve_crypto::{KeyAlgorithm, Purpose, TransportPrivate, WrappingMethod};
use keyreeve_engine::ops::data_keys::{GenerateDataKey, NewDataKeys, UnwrapDataKey};
use keyreeve_engine::ops::destruction::{DescribeDestruction, Schedule};
use keyreeve_engine::ops::exports::Export;
use keyreeve_engine::ops::imports::ImportVersion;
use keyreeve_engine::ops::keys::{Create, CreateSpec, Describe};
use keyreeve_engine::ops::lifecycle::Rotate;
use keyreeve_engine::ops::signing::{Claim, Mac, MessageForm, Sign, Verify, VerifyMac};
use keyreeve_engine::ops::{backups, jobs, rekey, roots};
use keyreeve_engine::{Backups, Code, KeyRef, Plan, RestoreOptions};
use keyreeve_epochs::EpochVault;
use keyreeve_model::device::DeviceWork;
use keyreeve_model::job::JobState;
use keyreeve_model::record::Table;
use keyreeve_model::roots::Need;
use keyreeve_model::{Custody, EncryptionContext, FiledRecord, Protection, RootUse, State};
use keyreeve_root::soft_device::SoftDevice;
use keyreeve_store::faulty::CommitFault;
use keyreeve_store::{Page, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::support::{Checked, DAY, House, RootKind, Who, create, incoming, key_of, label, name, payloads};

const AES: KeyAlgorithm = KeyAlgorithm::Aes256Gcm;
const QUARTER: i64 = 15 * 60 * 1000;

fn inside(algorithm: KeyAlgorithm, purpose: Purpose) -> CreateSpec {
    CreateSpec { protection: Protection::Hsm, purpose: Some(purpose), ..create(algorithm) }
}

fn making() -> Create {
    inside(AES, Purpose::Encrypt).checked()
}

/// A house whose first root of trust has a device.
async fn house() -> (House, Arc<SoftDevice>) {
    let mut house = House::new().await;
    let device = Arc::new(SoftDevice::default());
    house.devices.insert("main", Arc::clone(&device));
    house.reopen().await;
    (house, device)
}

async fn made(house: &House, algorithm: KeyAlgorithm, purpose: Purpose) -> KeyRef {
    key_of(&house.make(inside(algorithm, purpose)).await)
}

async fn under_work(house: &House) -> usize {
    let page = Page { after: None, limit: 100 };
    house.store().filed_page(Table::DeviceWork, None, page).await.unwrap().len()
}

/// Every file below a directory, one after the other.
fn all_bytes(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(all_bytes(&path)) } else { all.extend(std::fs::read(path).unwrap()) }
    }
    all
}

fn signing(key: &KeyRef) -> Sign {
    Sign { key: key.clone(), scheme: None, form: MessageForm::Raw, items: payloads(&[b"message"]) }
}

fn claims(proof: &[u8]) -> Arc<[Claim]> {
    [Claim { message: b"message".to_vec().into(), proof: proof.to_vec() }].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_and_used_inside_and_nothing_of_them_is_stored() {
    let (house, device) = house().await;
    let cipher = made(&house, AES, Purpose::Encrypt).await;
    let sealed = house.encrypt(&cipher, b"plaintext").await;
    assert_eq!(house.decrypt(&cipher, &sealed).await, b"plaintext");
    let context = EncryptionContext::default;
    let wanted = NewDataKeys { key: cipher.clone(), context: context(), bytes: 32, count: 2 };
    let mut keys = house.ask(GenerateDataKey(wanted)).await.items;
    let (first, wrapped) = (keys.remove(0), keys.remove(0).wrapped);
    let items: Arc<[Vec<u8>]> = [first.wrapped.clone(), wrapped].into();
    let unwrapped = house.ask(UnwrapDataKey { key: cipher.clone(), context: context(), items }).await;
    let plain = first.plaintext.unwrap();
    assert!(unwrapped.items[0].as_ref().unwrap().1.ct_eq(plain.expose()));

    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048] {
        let key = made(&house, algorithm, Purpose::Sign).await;
        let signed = house.ask(signing(&key)).await.items.remove(0).unwrap();
        let verify = |proof: &[u8]| Verify {
            key: key.clone(),
            version: None,
            scheme: None,
            form: MessageForm::Raw,
            items: claims(proof),
        };
        assert_eq!(house.ask(verify(&signed)).await.items[0].as_ref().unwrap(), &Some(1));
        assert_eq!(house.ask(verify(b"other")).await.items[0].as_ref().unwrap(), &None);
    }
    let tagging = made(&house, KeyAlgorithm::HmacSha256, Purpose::Mac).await;
    let tag = house.ask(Mac { key: tagging.clone(), items: payloads(&[b"message"]) }).await.items.remove(0).unwrap();
    let verify = |proof: &[u8]| VerifyMac { key: tagging.clone(), version: None, items: claims(proof) };
    assert_eq!(house.ask(verify(&tag)).await.items[0].as_ref().unwrap(), &Some(1));
    assert_eq!(house.ask(verify(&tag[1..])).await.items[0].as_ref().unwrap(), &None);

    assert_eq!((device.len(), under_work(&house).await), (5, 0));
    let record = house.ask(Describe { key: cipher.clone() }).await.key;
    assert!(house.store().key_material(record.id()).await.unwrap().is_empty());
    assert_eq!(record.protection(), Protection::Hsm);
    assert_eq!(record.devices().next().unwrap().root, name("main"));
    let module = &record.versions()[0].provenance().module;
    assert!(module.contains("`main`") && module.contains("soft device"), "{module}");
    let described = house.records().await.into_iter().find(|record| record.operation == "key.create").unwrap();
    assert_eq!(described.details["protection"], "hsm");
    assert_eq!(described.details["device"], "main");
    let stored = all_bytes(house.path());
    for canary in device.canaries() {
        assert!(!stored.windows(canary.len()).any(|window| window == canary), "material left the device");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_a_key_out_or_puts_one_in() {
    let (house, _device) = house().await;
    let key = made(&house, AES, Purpose::Encrypt).await;
    let random = keyreeve_crypto::Random::from_module().unwrap();
    let private = TransportPrivate::generate(WrappingMethod::X25519MlKem768, None, &random).unwrap();
    let recipient = private.public().unwrap();
    let export = Export { key: key.clone(), version: 1, recipient, reason: label("the bank wants it") };
    let refused = house.call(&house.developer, export).await.unwrap_err().error;
    assert_eq!(refused.code(), Code::WrongKeyUse);
    assert!(refused.to_string().contains("inside a device"), "{refused}");
    let both = CreateSpec { exportable: true, ..inside(AES, Purpose::Encrypt) };
    assert_eq!(Create::new(both).unwrap_err().code(), Code::InvalidRequest);
    let import = ImportVersion {
        key: key.clone(),
        incoming: incoming(&house, &house.developer, Some(&key), &[7; 32]).await,
        reason: label("from elsewhere"),
    };
    assert_eq!(house.code(import).await, Code::WrongKeyUse);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_device_makes_is_refused_before_anything_is_made() {
    let (house, device) = house().await;
    for (algorithm, purpose) in [(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt), (KeyAlgorithm::X25519, Purpose::Agree)] {
        assert_eq!(house.code(inside(algorithm, purpose).checked()).await, Code::AlgorithmNotAllowed, "{algorithm}");
    }
    let plain = House::new().await;
    assert_eq!(plain.code(making()).await, Code::Custody);
    assert!(device.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_away_is_told_from_a_wrong_proof_and_from_a_key_that_is_gone() {
    let (house, device) = house().await;
    let cipher = made(&house, AES, Purpose::Encrypt).await;
    let signer = made(&house, KeyAlgorithm::EcP256, Purpose::Sign).await;
    let tagging = made(&house, KeyAlgorithm::HmacSha256, Purpose::Mac).await;
    let sealed = house.encrypt(&cipher, b"plaintext").await;
    let signed = house.ask(signing(&signer)).await.items.remove(0).unwrap();
    let tag = house.ask(Mac { key: tagging.clone(), items: payloads(&[b"message"]) }).await.items.remove(0).unwrap();
    let verify_mac = || VerifyMac { key: tagging.clone(), version: None, items: claims(&tag) };
    device.lose(true);
    assert_eq!(house.code(House::decrypting(&cipher, &sealed)).await, Code::RootUnavailable);
    assert_eq!(house.code(signing(&signer)).await, Code::RootUnavailable);
    assert_eq!(house.code(verify_mac()).await, Code::RootUnavailable, "not: it does not verify");
    let verify =
        Verify { key: signer.clone(), version: None, scheme: None, form: MessageForm::Raw, items: claims(&signed) };
    assert_eq!(house.ask(verify).await.items[0].as_ref().unwrap(), &Some(1), "the public half is here");
    assert_eq!(house.code(making()).await, Code::RootUnavailable);
    device.lose(false);
    assert_eq!(house.decrypt(&cipher, &sealed).await, b"plaintext");
    assert_eq!(house.ask(verify_mac()).await.items[0].as_ref().unwrap(), &Some(1));
    device.reset();
    let refused = house.call(&house.developer, House::decrypting(&cipher, &sealed)).await.unwrap_err().error;
    assert_eq!(refused.code(), Code::Tampered);
    assert!(refused.to_string().contains("does not have this key"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_makes_another_inside_and_both_outlive_a_restart() {
    let (mut house, device) = house().await;
    let key = made(&house, AES, Purpose::Encrypt).await;
    let old = house.encrypt(&key, b"old").await;
    let rotated = house.ask(Rotate { key: key.clone(), reason: label("its time is over") }).await.key;
    assert_eq!((rotated.versions().len(), device.len()), (2, 2));
    assert_eq!(rotated.devices().count(), 2);
    let new = house.encrypt(&key, b"new").await;
    house.reopen().await;
    assert_eq!(house.decrypt(&key, &old).await, b"old");
    assert_eq!(house.decrypt(&key, &new).await, b"new");
    let epochs = house.vault().list().await.unwrap();
    assert!(epochs.is_empty(), "nothing was wrapped: {epochs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_attempt_left_in_the_device_is_erased() {
    let (house, device) = house().await;
    // The device made it, and its answer was lost.
    device.lose_answers(true);
    assert_eq!(house.code(making()).await, Code::RootUnavailable);
    device.lose_answers(false);
    assert_eq!((device.len(), under_work(&house).await), (1, 1));
    // It was made, and not stored: the note of it was the commit before.
    house.store().fail_commit(house.store().commits() + 2, CommitFault::Failed);
    assert_eq!(house.code(making()).await, Code::StoreUnavailable);
    assert_eq!((device.len(), under_work(&house).await), (2, 2));
    // The note was not stored: nothing was made.
    house.store().fail_next_commit(CommitFault::Failed);
    assert_eq!(house.code(making()).await, Code::StoreUnavailable);
    assert_eq!(device.len(), 2);
    let kept = made(&house, AES, Purpose::Encrypt).await;
    house.pass(QUARTER - 60_000).await;
    assert_eq!(device.len(), 3, "somebody may still be about to store it");
    house.pass(2 * 60_000).await;
    assert_eq!((device.len(), under_work(&house).await), (1, 0));
    house.round_trip(&kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_keeps_its_key() {
    let (house, device) = house().await;
    house.store().fail_commit(house.store().commits() + 2, CommitFault::FailedButPersisted);
    house.call(&house.developer, making()).await.unwrap_err();
    house.pass(2 * QUARTER).await;
    assert_eq!((device.len(), under_work(&house).await), (1, 0), "it was stored, and is a key like any other");
}

async fn destroy(house: &House, key: &KeyRef) {
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("no longer needed") }).await;
    house.pass(8 * DAY).await;
    assert_eq!(house.ask(Describe { key: key.clone() }).await.state(), State::Destroyed);
}

fn verifications(house: &House) -> usize {
    house.observed().iter().filter(|(name, code)| *name == "key.verify-destruction" && code.is_none()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn destruction_erases_every_version_in_the_device_and_asks_it() {
    let (mut house, device) = house().await;
    let (key, other) = (made(&house, AES, Purpose::Encrypt).await, made(&house, AES, Purpose::Encrypt).await);
    house.ask(Rotate { key: key.clone(), reason: label("first") }).await;
    let sealed = house.encrypt(&key, b"plaintext").await;
    assert_eq!(device.len(), 3);
    destroy(&house, &key).await;
    assert_eq!((device.len(), under_work(&house).await), (1, 0));
    assert_eq!(house.code(House::decrypting(&key, &sealed)).await, Code::WrongState);
    assert_eq!(verifications(&house), 1);
    let shown = house.ask(DescribeDestruction { key: key.clone() }).await.0;
    assert_eq!((shown.versions.len(), shown.erased_epoch), (2, 0));
    assert!(shown.versions.iter().all(|version| version.device == Some(name("main"))));
    assert!(shown.verified.iter().any(|check| check.contains("the device of `main` was asked")), "{shown:?}");
    house.round_trip(&other).await;
    house.reopen().await;
    house.pass(DAY).await;
    house.round_trip(&other).await;
    assert_eq!(device.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_away_erases_later_and_only_then_is_the_destruction_shown() {
    let (mut house, device) = house().await;
    let key = made(&house, AES, Purpose::Encrypt).await;
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("no longer needed") }).await;
    device.lose(true);
    house.clock.turn(8 * DAY);
    house.engine().tick().await;
    assert_eq!(house.ask(Describe { key: key.clone() }).await.state(), State::Destroyed);
    assert_eq!((device.len(), under_work(&house).await, verifications(&house)), (1, 1, 0));
    let shown = house.ask(DescribeDestruction { key: key.clone() }).await.0;
    assert!(!shown.verified.iter().any(|check| check.contains("device")), "nothing is claimed: {shown:?}");
    house.reopen().await;
    assert!(!house.engine().tick().await.is_empty() || under_work(&house).await == 1);
    device.lose(false);
    house.pass(2 * 3600 * 1000).await;
    assert_eq!((device.len(), under_work(&house).await, verifications(&house)), (0, 0, 1));
}

fn under(roots: &[&str]) -> RootUse {
    RootUse::new(Need::Any, roots.iter().map(|root| name(root)).collect()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_not_retired_while_keys_are_inside_its_device() {
    let (mut house, device) = house().await;
    let other = Arc::new(SoftDevice::default());
    house.more_roots.insert("second", (Custody::Hsm, None));
    house.devices.insert("second", Arc::clone(&other));
    house.reopen().await;
    house
        .ask(roots::Join {
            name: name("second"),
            shares: 0,
            threshold: 0,
            holders: Vec::new(),
            reason: label("a new device"),
        })
        .await;
    let key = made(&house, AES, Purpose::Encrypt).await;
    let old = house.encrypt(&key, b"old").await;
    let migrate = rekey::MigrateRoots { from: None, to: under(&["second"]), pace: 0, reason: label("a new device") };
    let job = house.ask(migrate).await;
    for _ in 0..100 {
        house.engine().work_on_jobs().await.unwrap();
        if house.ask(jobs::Describe { job: job.0.id() }).await.0.state() != JobState::Running {
            break;
        }
        house.clock.turn(1000);
    }
    assert_eq!(house.decrypt(&key, &old).await, b"old", "it stays in its device and works");
    let retire = || roots::Retire { name: name("main"), reason: label("moved") };
    let refused = house.call(&house.developer, retire()).await.unwrap_err().error;
    assert_eq!(refused.code(), Code::WrongState);
    assert!(refused.to_string().contains("inside the device"), "{refused}");
    // The next version is in the other device.
    house.ask(Rotate { key: key.clone(), reason: label("move on") }).await;
    assert_eq!((device.len(), other.len()), (1, 1));
    assert_eq!(house.decrypt(&key, &old).await, b"old");
    destroy(&house, &key).await;
    assert_eq!((device.len(), other.len()), (0, 0));
    house.ask(retire()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_are_no_place_for_one_key() {
    let (mut house, device) = house().await;
    house.more_roots.insert("second", (Custody::Hsm, None));
    house.devices.insert("second", Arc::new(SoftDevice::default()));
    house.reopen().await;
    house
        .ask(roots::Join {
            name: name("second"),
            shares: 0,
            threshold: 0,
            holders: Vec::new(),
            reason: label("a spare one"),
        })
        .await;
    let ring = keyreeve_engine::ops::keyrings::Create {
        name: name("both"),
        owner: label("x"),
        description: label("x"),
        classification: keyreeve_model::Classification::Internal,
        environment: keyreeve_model::Environment::Production,
        allow_deterministic: false,
        roots: Some(under(&["main", "second"])),
    };
    house.ask(ring).await;
    let spec = CreateSpec { keyring: "both".parse().unwrap(), ..inside(AES, Purpose::Encrypt) };
    assert_eq!(house.code(spec.checked()).await, Code::InvalidRequest);
    assert!(device.is_empty());
}

fn archive(path: &Path) -> Arc<dyn Archive> {
    Arc::new(DirectoryArchive::open(path).unwrap())
}

fn serve(house: &House, archive: &Arc<dyn Archive>) {
    house.engine().keep_backups(Backups {
        local: Arc::new(DirectoryArchive::open(&house.path().join("backup")).unwrap()),
        destinations: BTreeMap::from([(name("disk"), Arc::clone(archive))]),
        configuration: None,
        plan: Plan { every: None, verify_every: None, keep: Keep::default() },
    });
}

/// A backup restored elsewhere, beside the device or without it.
async fn restored(from: &House, archive: &Arc<dyn Archive>, device: Option<Arc<SoftDevice>>) -> (House, u64) {
    let mut new = House::empty(RootKind::SealedFile, |_| {}).await;
    std::fs::copy(from.path().join("root.key"), new.path().join("root.key")).unwrap();
    new.devices.extend(device.map(|device| ("main", device)));
    new.reopen().await;
    serve(&new, archive);
    let options = RestoreOptions { token_for: Some(name("developer")), ..RestoreOptions::default() };
    let engine = new.engine().clone();
    let chosen = engine.begin_restore(&**archive, &options).await.unwrap();
    let reply = engine.restore(&**archive, &chosen, &options).await.unwrap();
    new.developer = Who::Bearer(reply.token.unwrap());
    new.developer = new.token_for("developer").await;
    (new, reply.in_devices.get(&name("main")).copied().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_needs_the_device_and_erases_nothing_in_it_that_it_does_not_know() {
    let (house, device) = house().await;
    let places = tempfile::tempdir().unwrap();
    let archive = archive(&places.path().join("disk"));
    serve(&house, &archive);
    let key = made(&house, AES, Purpose::Encrypt).await;
    let (gone, plain) = (made(&house, AES, Purpose::Encrypt).await, house.aead().await);
    let (sealed, text) = (house.encrypt(&key, b"inside").await, house.encrypt(&plain, b"outside").await);
    device.lose_answers(true);
    house.code(making()).await;
    device.lose_answers(false);
    house.ask(backups::Create).await;
    house.engine().work_on_backups().await.unwrap();
    let record = house.ask(backups::List).await.backups.remove(0);
    assert_eq!((record.materials, record.unopened), (1, 0));
    let later = made(&house, AES, Purpose::Encrypt).await;
    // Destroyed while the device was away: the server that should have erased it is lost before it could.
    house.ask(Schedule { key: gone.clone(), days: 7, reason: label("no longer needed") }).await;
    device.lose(true);
    house.clock.turn(8 * DAY);
    house.engine().tick().await;
    device.lose(false);
    assert_eq!(device.len(), 4);

    let (without, counted) = restored(&house, &archive, None).await;
    assert_eq!(counted, 1, "the one that was destroyed is none that has to be there");
    assert_eq!(without.decrypt(&plain, &text).await, b"outside");
    let refused = without.call(&without.developer, House::decrypting(&key, &sealed)).await.unwrap_err().error;
    assert_eq!(refused.code(), Code::RootUnavailable);
    assert!(refused.to_string().contains("inside a device") && refused.to_string().contains("`main`"), "{refused}");

    let (with, _) = restored(&house, &archive, Some(Arc::clone(&device))).await;
    assert_eq!(with.decrypt(&key, &sealed).await, b"inside");
    assert_eq!(with.ask(Describe { key: gone }).await.state(), State::Destroyed);
    with.clock.turn(60_000);
    with.engine().tick().await;
    with.pass(2 * DAY).await;
    // What was destroyed is erased at last; what came after the backup is not this server's to erase.
    assert_eq!(device.len(), 3);
    house.round_trip(&later).await;
}

#[test]
fn device_work_is_filed_by_its_key() {
    let place = keyreeve_model::InDevice::new(name("main"), b"reference");
    let key = keyreeve_model::KeyId::from_bytes([7; 16]);
    let of = keyreeve_model::device::DeviceUse::Key(key);
    let work = DeviceWork::making(place, of, keyreeve_model::UnixMillis(0));
    assert_eq!((work.parent(), work.due()), (key.to_string(), Some(keyreeve_model::UnixMillis(QUARTER))));
}
