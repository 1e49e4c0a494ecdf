//! Drills: a backup restored into an engine that is thrown away, and what is done with the outcome (requirements T8,
//! T9).

use keyreeve_archive::{Archive, ReadOnly};
use keyreeve_backup::Object;
use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::drills::{List, Record, Restore};
use keyreeve_engine::{Code, HeldDrill, RestoreOptions};
use keyreeve_journal::Journal;
use keyreeve_model::NoticeKind;
use keyreeve_model::drill::{DrillKind, DrillPlan, DrillStep};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::backups::{Places, another, backup, destroy, house_with};
use crate::support::{DAY, House, RootKind, create, label, name};

fn options() -> RestoreOptions {
    RestoreOptions::default()
}

fn names(path: &std::path::Path) -> BTreeSet<String> {
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// One key for each purpose of each algorithm.
async fn one_of_each(house: &House) -> u64 {
    let mut made = 0;
    // The deterministic mode needs a keyring of its own, and is used as the others are.
    for algorithm in KeyAlgorithm::ALL.iter().filter(|algorithm| **algorithm != KeyAlgorithm::Aes256GcmSiv) {
        for purpose in algorithm.purposes() {
            let mut spec = create(*algorithm);
            spec.purpose = Some(*purpose);
            house.make(spec).await;
            made += 1;
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_uses_a_key_of_every_kind_and_changes_nothing_outside() {
    let places = Places::new();
    let house = house_with(&places).await;
    let made = one_of_each(&house).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    let sample = house.encrypt(&kept, b"a sample").await;
    backup(&house).await;
    destroy(&house, &gone).await;
    let source = house.engine().drill_source(0).await.unwrap();
    assert_eq!(source.record.sequence, 1);
    let (before, size) = (names(&places.path("disk")), house.journal().size());

    let scratch = another(RootKind::SealedFile, Some(house.path())).await;
    let engine = scratch.engine();
    let chosen = engine.begin_restore(&*source.archive, &options()).await.unwrap();
    let found = engine.rehearse(&*source.archive, &chosen, &[sample]).await.unwrap();
    assert_eq!((found.materials, found.destroyed, found.samples), (made + 1, 1, 1));
    // Keys of one kind in one keyring are tried once.
    assert_eq!((found.tried, found.keyrings), (made, 1));
    source.compare(&found).unwrap();
    // Nobody signs a second history of this log.
    assert!(scratch.journal().checkpoint().await.is_err());
    assert_eq!((names(&places.path("disk")), house.journal().size()), (before, size));
    assert!(scratch.posts.iter().all(|post| post.taken().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_fails_where_something_is_not_as_it_was() {
    let places = Places::new();
    let house = house_with(&places).await;
    let key = house.aead().await;
    let mut sample = house.encrypt(&key, b"a sample").await;
    backup(&house).await;
    let mut source = house.engine().drill_source(0).await.unwrap();
    let try_with = async |sample: &[u8]| {
        let scratch = another(RootKind::SealedFile, Some(house.path())).await;
        let chosen = scratch.engine().begin_restore(&*places.disk, &options()).await.unwrap();
        scratch.engine().rehearse(&*places.disk, &chosen, &[sample.to_vec()]).await
    };
    let found = try_with(&sample).await.unwrap();
    source.compare(&found).unwrap();
    source.record.rows += 1;
    assert!(source.compare(&found).unwrap_err().to_string().contains("rows"));
    source.record.rows -= 1;
    source.record.log_root = "another".to_owned();
    assert!(source.compare(&found).unwrap_err().to_string().contains("log"));

    *sample.last_mut().unwrap() ^= 1;
    assert_eq!(try_with(&sample).await.unwrap_err().code(), Code::DecryptionFailed);
    *sample.last_mut().unwrap() ^= 1;
    let archive = places.object("disk", Object::Archive(1));
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    assert!(try_with(&sample).await.is_err());
}

#[tokio::test]
async fn a_destination_on_loan_takes_nothing() {
    let places = Places::new();
    let lent = ReadOnly::new(Arc::clone(&places.disk) as Arc<dyn Archive>);
    let probe = Object::Probe.name();
    places.disk.replace(&probe, b"there").await.unwrap();
    assert!(lent.replace(&probe, b"other").await.is_err() && lent.delete(&probe).await.is_err());
    assert!(lent.put(&Object::Archive(1).name(), Box::new(&b"x"[..]), None).await.is_err());
    assert_eq!(lent.list().await.unwrap().len(), 1);
}

fn held(trouble: Option<&str>) -> HeldDrill {
    HeldDrill {
        backup: Some((1, name("disk"))),
        lost_ms: Some(60_000),
        took_ms: 1200,
        steps: vec![DrillStep { name: label("restored"), passed: trouble.is_none(), found: label(""), took_ms: 1200 }],
        trouble: trouble.map(label),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_drills_fall_due_are_put_on_record_and_told_of_when_they_fail_or_are_missed() {
    let places = Places::new();
    let house = house_with(&places).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    let engine = house.engine().clone();
    engine.plan_drills(DrillPlan { restore_every: Some(week), rehearse_within: None });
    assert_eq!(house.code(Restore).await, Code::WrongState);
    house.pass(20 * DAY).await;
    let _ = engine.deliver(0).await;
    let told = || -> Vec<NoticeKind> {
        let drills = [NoticeKind::DrillFailed, NoticeKind::DrillOverdue];
        house.posts[0].taken().iter().map(|notice| notice.kind).filter(|kind| drills.contains(kind)).collect()
    };
    assert_eq!(told(), [NoticeKind::DrillOverdue]);
    assert_eq!(engine.drill_due().await.unwrap(), None, "there is no backup yet");
    backup(&house).await;
    assert_eq!(engine.drill_due().await.unwrap(), None);
    assert_eq!(house.ask(Restore).await.number, 1);
    assert_eq!(engine.drill_due().await.unwrap(), Some(1), "somebody asked");
    engine.record_drill(held(None)).await.unwrap();
    assert_eq!(engine.drill_due().await.unwrap(), None);
    house.pass(7 * DAY).await;
    assert_eq!(engine.drill_due().await.unwrap(), Some(2));
    engine.record_drill(held(Some("the destination is empty"))).await.unwrap();
    house.pass(DAY / 2).await;
    assert_eq!(engine.drill_due().await.unwrap(), None);
    house.pass(DAY).await;
    assert_eq!(engine.drill_due().await.unwrap(), Some(3), "one that failed is tried again the next day");
    let _ = engine.deliver(0).await;
    assert_eq!(told(), [NoticeKind::DrillFailed]);

    house.pass(14 * DAY).await;
    let _ = engine.deliver(0).await;
    assert_eq!(told(), [NoticeKind::DrillOverdue]);
    let listed = house.ask(List).await;
    let numbers: Vec<_> = listed.drills.iter().map(|drill| (drill.number, drill.passed, drill.by_itself)).collect();
    assert_eq!(numbers, [(2, false, true), (1, true, true)]);
    let overdue: Vec<_> = listed.standing.iter().filter(|drill| drill.overdue).map(|drill| drill.kind).collect();
    assert_eq!(overdue, [DrillKind::Restore]);
    assert_eq!(engine.drills_standing(), listed.standing);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_put_on_record_is_no_drill_of_the_servers_and_must_fit_together() {
    let house = House::new().await;
    let record = |passed, trouble: Option<&str>, step| Record {
        kind: DrillKind::HsmLoss,
        passed,
        took_ms: 5000,
        lost_ms: None,
        backup: None,
        destination: None,
        steps: vec![DrillStep { name: label("token removed"), passed: step, found: label("gone"), took_ms: 1 }],
        trouble: trouble.map(label),
    };
    let done = house.ask(record(true, None, true)).await.0;
    assert!(!done.by_itself && done.by == name("developer"));
    for wrong in [record(true, Some("no"), true), record(true, None, false), record(false, None, true)] {
        assert_eq!(house.code(wrong).await, Code::InvalidRequest);
    }
    let last = house.records().await.pop().unwrap();
    assert_eq!(last.operation, "drill.record");
}
