//! Disks that are full, read-only or broken: typed refusals, nothing acknowledged lost, recovery by itself.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use keyreeve_journal::conformance::{record, signers};
use keyreeve_journal::{Health, Journal, JournalError};

use super::{ORIGIN, check, entries, open, open_with, options, verify};
use crate::Options;
use crate::simulated::{Effect, Operation, SimDisk};

fn numbered(range: std::ops::Range<u64>) -> BTreeMap<u64, u64> {
    range.map(|n| (n, n)).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    let mut size = 0;
    disk.fail(|operation, _| (operation == Operation::Grow).then_some((ErrorKind::StorageFull, Effect::Part)));
    let refusal = loop {
        match journal.append(entries(size..size + 50)).await {
            Ok(receipt) => size = receipt.tree_size,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, JournalError::NoSpace(_)), "{refusal}");
    assert!(size > 50, "the segment at hand is used up first");
    assert!(matches!(journal.health(), Health::ReadOnly { .. }));
    assert!(journal.append(entries(size..size + 1)).await.is_err());
    assert_eq!(journal.size(), size);
    assert_eq!(journal.find(&record(size).id).await, Ok(None));
    disk.heal();
    assert_eq!(journal.append(entries(size..size + 300)).await.unwrap().first_index, size);
    assert_eq!(journal.health(), Health::Ok);
    drop(journal);
    assert_eq!(check(&disk, &numbered(0..size + 300)).await, size + 300);
}

#[tokio::test]
async fn a_failed_sync_costs_the_batch_and_nothing_else() {
    for effect in [Effect::Nothing, Effect::Part, Effect::All] {
        let disk = SimDisk::default();
        let journal = open(&disk).unwrap();
        journal.append(entries(0..10)).await.unwrap();
        disk.fail(move |operation, _| (operation == Operation::Sync).then_some((ErrorKind::Other, effect)));
        assert!(matches!(journal.append(entries(100..105)).await, Err(JournalError::Io(_))));
        let at_once = disk.copy();
        disk.heal();
        assert_eq!(journal.append(entries(10..20)).await.unwrap().first_index, 10);
        assert_eq!(check(&disk.after_power_cut(7), &numbered(0..20)).await, 20);
        drop(journal);
        assert_eq!(check(&disk, &numbered(0..20)).await, 20);
        // Had the process died right after the failure, the refused entries may be there; what was acknowledged is.
        assert!(check(&at_once, &numbered(0..10)).await >= 10);
    }
}

#[tokio::test]
async fn every_way_a_write_can_fail_is_typed() {
    let cases = [
        (Operation::Overwrite, ErrorKind::StorageFull, JournalError::NoSpace(String::new())),
        (Operation::Overwrite, ErrorKind::ReadOnlyFilesystem, JournalError::ReadOnly(String::new())),
        (Operation::Overwrite, ErrorKind::PermissionDenied, JournalError::ReadOnly(String::new())),
        (Operation::Sync, ErrorKind::Other, JournalError::Io(String::new())),
    ];
    for (operation, kind, wanted) in cases {
        let disk = SimDisk::default();
        let journal = open(&disk).unwrap();
        journal.append(entries(0..3)).await.unwrap();
        disk.fail(move |at, _| (at == operation).then_some((kind, Effect::Part)));
        let error = journal.append(entries(3..4)).await.unwrap_err();
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&wanted), "{error}");
        assert!(error.is_temporary());
        // The next segment cannot be begun either.
        assert!(journal.append(entries(3..4)).await.is_err());
        disk.heal();
        assert_eq!(journal.append(entries(3..4)).await.unwrap().first_index, 3);
        assert_eq!(check(&disk.after_power_cut(3), &numbered(0..4)).await, 4);
    }
}

#[tokio::test]
async fn rolling_to_the_next_segment_survives_a_failure_at_every_step() {
    for step in 0..6 {
        for effect in [Effect::Nothing, Effect::All] {
            let disk = SimDisk::default();
            let journal = open(&disk).unwrap();
            // Almost fills the first segment.
            let size = 500;
            journal.append(entries(0..size)).await.unwrap();
            let mut steps = 0;
            disk.fail(move |_, path| {
                steps += i32::from(path.starts_with("wal"));
                (steps == step + 1).then_some((ErrorKind::Other, effect))
            });
            let mut acknowledged = numbered(0..size);
            for n in 0..6 {
                let numbers = size + n * 200..size + n * 200 + 200;
                if let Ok(receipt) = journal.append(entries(numbers.clone())).await {
                    acknowledged.extend((receipt.first_index..).zip(numbers));
                }
            }
            assert!(acknowledged.len() as u64 > size, "step {step} {effect:?}");
            check(&disk.after_power_cut(step as u64), &acknowledged).await;
            drop(journal);
            disk.heal();
            check(&disk, &acknowledged).await;
        }
    }
}

#[tokio::test]
async fn readiness_comes_back_without_a_caller() {
    let disk = SimDisk::default();
    let options = Options { checkpoint_interval: Duration::from_millis(1), ..options() };
    let journal = open_with(&disk, &options).unwrap();
    disk.fail(|_, _| Some((ErrorKind::ReadOnlyFilesystem, Effect::Nothing)));
    assert!(journal.append(entries(0..1)).await.is_err());
    assert!(matches!(journal.health(), Health::ReadOnly { .. }));
    disk.heal();
    while journal.health() != Health::Ok {
        tokio::task::yield_now().await;
    }
    assert_eq!(journal.append(entries(0..1)).await.unwrap().first_index, 0);
}

#[tokio::test]
async fn tiles_that_cannot_be_written_hold_appends_back_only_when_memory_is_full() {
    let disk = SimDisk::default();
    let options = Options { max_tail_bytes: 1 << 19, ..options() };
    let journal = open_with(&disk, &options).unwrap();
    journal.set_signers(signers(ORIGIN).0).unwrap();
    disk.fail(|_, path| path.starts_with("log").then_some((ErrorKind::StorageFull, Effect::Part)));
    let mut size = 0;
    let refusal = loop {
        match journal.append(entries(size..size + 100)).await {
            Ok(receipt) => size = receipt.tree_size,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, JournalError::NoSpace(_)), "{refusal}");
    assert!(size >= 600, "{size}");
    assert!(matches!(journal.flush().await, Err(JournalError::NoSpace(_))));
    assert!(journal.checkpoint().await.is_err());
    disk.heal();
    journal.flush().await.unwrap();
    assert_eq!(journal.append(entries(size..size + 1)).await.unwrap().first_index, size);
    journal.checkpoint().await.unwrap();
    assert!(verify(&disk).is_sound());
    drop(journal);
    assert_eq!(check(&disk, &numbered(0..size + 1)).await, size + 1);
}

#[tokio::test]
async fn a_panic_in_a_thread_leaves_nobody_waiting() {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    journal.append(entries(0..3)).await.unwrap();
    disk.fail(|operation, path| {
        assert!(!path.starts_with("log") || operation == Operation::Sync, "planned panic of the tiler");
        None
    });
    journal.set_signers(signers(ORIGIN).0).unwrap();
    assert_eq!(journal.flush().await, Err(JournalError::Closed));
    assert!(journal.append(entries(3..4)).await.is_ok());
    disk.fail(|_, _| panic!("planned panic of the writer"));
    assert_eq!(journal.append(entries(4..5)).await, Err(JournalError::Closed));
    assert!(matches!(journal.health(), Health::ReadOnly { .. }));
    assert_eq!(journal.append(entries(4..5)).await, Err(JournalError::Closed));
    disk.heal();
    drop(journal);
    assert_eq!(check(&disk, &numbered(0..4)).await, 4);
}
