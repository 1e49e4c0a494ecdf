//! Several roots of trust: what opens what, new key-encryption keys, moving from one root to another (requirements R3,
//! T3, T5, K18).

use futures::future::join_all;
use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::Code;
use keyreeve_engine::ops::keys::{CreateSpec, MetadataPatch, Update};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::{jobs, keyrings, rekey, roots, system};
use keyreeve_epochs::EpochVault;
use keyreeve_model::job::JobState;
use keyreeve_model::roots::{Need, Wrapped};
use keyreeve_model::{Classification, Custody, Environment, KeyringRecord, Label, RootUse};
use keyreeve_root::Root;
use keyreeve_store::{Page, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Council, House, RootKind, create, key_of, label, name};

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
    roots::Join { name: name(root), shares: 0, threshold: 0, reason: label("a second one") }
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
    let old: Vec<_> = join_all(before.iter().map(|id| house.vault().get(*id))).await;
    let job = house.ask(rotate("default", None)).await;
    assert_eq!(house.code(rotate("default", None)).await, Code::WrongState, "one at a time");
    let done = finish(&house, &job).await;
    assert_eq!((done.0.state(), done.0.progress()), (JobState::Done, (1, 1)));
    let ring = &rings(&house).await[0];
    assert_eq!(ring.keks.iter().map(|kek| kek.version).collect::<Vec<_>>(), [2]);
    for (id, old) in before.iter().zip(old) {
        let now = house.vault().get(*id).await.unwrap().unwrap();
        assert_eq!(now[..4], 2u32.to_be_bytes());
        assert_ne!(Some(now), old.unwrap());
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
