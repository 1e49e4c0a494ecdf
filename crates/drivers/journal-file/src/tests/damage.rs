//! Altered bytes: a torn last write is cut and reported, everything else is tampering and named, nothing false is
//! ever read.

use std::path::PathBuf;
use std::sync::Arc;

use keyreeve_audit::verify::verify_log;
use keyreeve_audit::{Ed25519Signer, NoteSigner};
use keyreeve_journal::conformance::{entry, record, signers};
use keyreeve_journal::{Journal, JournalError, Scan};

use super::{DiskLog, ORIGIN, entries, everything, open, options, path, verify};
use crate::FileJournal;
use crate::disk::Disk;
use crate::segment::{BLOCK, FRAME_HEADER, frame_size};
use crate::simulated::SimDisk;
use crate::wal::segment_path;

/// A journal of single entries, not closed: one frame of one block each.
async fn singles(count: u64) -> SimDisk {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    for n in 0..count {
        journal.append(entries(n..n + 1)).await.unwrap();
    }
    drop(journal);
    disk.copy()
}

fn first_segment() -> PathBuf {
    segment_path(1)
}

/// Bytes of the frame of one entry that are not padding.
fn used(n: u64) -> usize {
    FRAME_HEADER + 2 + entry(n).bytes().len()
}

fn is_tampered<T>(result: Result<T, JournalError>) -> bool {
    matches!(result, Err(JournalError::Tampered { .. }))
}

#[tokio::test]
async fn a_last_frame_torn_at_any_byte_is_cut_and_reported() {
    let whole = singles(4).await;
    let start = BLOCK * 4;
    let end = start + used(3);
    for at in (start + 1..end).chain([end, end + 1, start + BLOCK]) {
        for front in [true, false] {
            let disk = whole.copy();
            // Only the part before `at` reached the disk, or only the part after it.
            let lost = if front { at..start + BLOCK } else { start..at };
            disk.alter(&first_segment(), |bytes| bytes[lost].fill(0));
            let journal = open(&disk).unwrap();
            let recovery = journal.recovery().clone();
            if front && at >= end {
                assert_eq!((recovery.size, recovery.torn), (4, None));
                continue;
            }
            assert_eq!((recovery.size, recovery.clean), (3, false), "torn at {at}");
            let torn = recovery.torn;
            assert_eq!(
                torn.as_ref().is_some_and(|torn| torn.offset == start as u64),
                at < end,
                "torn at {at}: {torn:?}"
            );
            if at % 16 == 0 {
                assert_eq!(journal.append(entries(3..5)).await.unwrap().first_index, 3);
                drop(journal);
                let journal = open(&disk).unwrap();
                assert_eq!((journal.recovery().torn.clone(), journal.size()), (None, 5));
            }
        }
    }
}

#[tokio::test]
async fn a_torn_batch_of_several_blocks_is_cut_whole() {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    journal.append(entries(0..2)).await.unwrap();
    journal.append(entries(2..102)).await.unwrap();
    drop(journal);
    let payload: usize = (2..102).map(|n| 2 + entry(n).bytes().len()).sum();
    let blocks = frame_size(payload) / BLOCK;
    assert!(blocks > 5);
    for lost in 0..blocks {
        let disk = disk.copy();
        let start = BLOCK * 2 + lost * BLOCK;
        disk.alter(&first_segment(), |bytes| bytes[start..start + BLOCK].fill(0));
        let journal = open(&disk).unwrap();
        assert_eq!((journal.size(), journal.recovery().torn.is_some()), (2, true), "block {lost}");
    }
}

#[tokio::test]
async fn a_flip_before_the_last_frame_is_tampering() {
    let whole = singles(4).await;
    for n in 0..3u64 {
        let start = BLOCK * (n as usize + 1);
        for at in (start..start + used(n)).chain([start + BLOCK - 1]) {
            let disk = whole.copy();
            disk.alter(&first_segment(), |bytes| bytes[at] ^= 1 << (at % 8));
            match open(&disk).map(|_| ()) {
                Err(JournalError::Tampered { place, .. }) => {
                    assert!(place.ends_with(&format!("at {start}")), "{place}")
                }
                other => panic!("flip at {at}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_flip_in_the_last_frame_is_never_overlooked() {
    let unmarked = singles(4).await;
    let closed = {
        let journal = open(&unmarked).unwrap();
        journal.close().await.unwrap();
        drop(journal);
        unmarked.copy()
    };
    let unmarked = singles(4).await;
    let signed = {
        let disk = singles(3).await;
        let journal = open(&disk).unwrap();
        journal.set_signers(signers(ORIGIN).0).unwrap();
        journal.append(entries(3..4)).await.unwrap();
        journal.flush().await.unwrap();
        drop(journal);
        disk.copy()
    };
    assert!(open(&closed).unwrap().recovery().clean);
    let start = BLOCK * 4;
    for at in start..start + used(3) {
        let flip = |disk: &SimDisk| {
            let disk = disk.copy();
            disk.alter(&first_segment(), |bytes| bytes[at] ^= 1 << (at % 8));
            open(&disk)
        };
        let journal = flip(&unmarked).unwrap();
        assert_eq!((journal.size(), journal.recovery().torn.is_some()), (3, true), "flip at {at}");
        assert!(is_tampered(flip(&closed)), "flip at {at} of a closed log");
        assert!(is_tampered(flip(&signed)), "flip at {at} below a checkpoint");
    }
}

/// A log of several segments, tiles and a checkpoint.
async fn long() -> SimDisk {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    journal.set_signers(signers(ORIGIN).0).unwrap();
    for start in (0..3000).step_by(150) {
        journal.append(entries(start..start + 150)).await.unwrap();
    }
    journal.flush().await.unwrap();
    drop(journal);
    disk.copy()
}

/// What a reader gets: the right bytes or an error.
async fn reads_right_or_refuses(journal: &FileJournal) {
    match everything(journal).await {
        Ok(all) => assert!((0..).zip(&all).all(|(n, bytes)| bytes == entry(n).bytes()), "false bytes were read"),
        Err(error) => assert!(matches!(error, JournalError::Tampered { .. }), "{error}"),
    }
    let page = journal.scan(Scan::newest(5000)).await;
    match page {
        Ok(page) => assert!(page.entries.iter().all(|(index, bytes)| bytes == entry(*index).bytes())),
        Err(error) => assert!(matches!(error, JournalError::Tampered { .. }), "{error}"),
    }
}

#[tokio::test]
async fn a_flip_in_any_file_is_found_and_never_read() {
    let whole = long().await;
    assert!(verify(&whole).is_sound());
    let files = whole.files();
    assert!(files.iter().any(|file| file.ends_with("tile/entries/010")), "{files:?}");
    for (n, file) in files.iter().enumerate() {
        let length = whole.read(file).unwrap().unwrap().len();
        for at in [0, length / 3 + n, length / 2, length - 1] {
            let disk = whole.copy();
            disk.alter(file, |bytes| bytes[at.min(length - 1)] ^= 0x10);
            let sound = verify(&disk).is_sound();
            assert!(!(sound && file.starts_with("log")), "{} at {at}: the verifier saw nothing", file.display());
            if let Ok(journal) = open(&disk) {
                assert!(journal.size() == 3000 || journal.recovery().torn.is_some());
                reads_right_or_refuses(&journal).await;
            }
        }
    }
}

#[tokio::test]
async fn a_lost_time_index_is_built_again() {
    for keep in [0, 24, 25, 60] {
        let disk = long().await;
        disk.alter(path("times"), |bytes| bytes.truncate(keep));
        let journal = open(&disk).unwrap();
        assert_eq!(journal.find(&record(5).id).await, Ok(Some(5)));
        assert_eq!(journal.find(&record(2999).id).await, Ok(Some(2999)));
        drop(journal);
        assert!(verify(&disk).is_sound());
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let whole = long().await;
    let segments: Vec<PathBuf> = whole.files().into_iter().filter(|f| f.extension() == Some("wal".as_ref())).collect();
    let disk = whole.copy();
    for segment in &segments {
        disk.remove(segment).unwrap();
    }
    assert!(is_tampered(open(&disk)), "all segments gone");
    let disk = whole.copy();
    disk.remove(path("log/tile/0/010")).unwrap();
    assert!(is_tampered(open(&disk)), "a tile at the edge gone");
    let disk = whole.copy();
    disk.remove(path("log/tile/entries/003")).unwrap();
    let journal = open(&disk).unwrap();
    assert!(is_tampered(journal.read(800..801).await));
    assert_eq!(journal.read(0..1).await.unwrap().len(), 1);
    let report = verify(&disk);
    assert!(!report.is_sound() && !report.is_tampered());
    let disk = whole.copy();
    disk.put(path("wal/notes.txt"), b"hello");
    assert!(is_tampered(open(&disk)));
}

#[tokio::test]
async fn a_log_put_back_to_an_earlier_state_does_not_match_its_checkpoint() {
    let disk = singles(4).await;
    let earlier = disk.copy();
    let journal = open(&disk).unwrap();
    journal.set_signers(signers(ORIGIN).0).unwrap();
    journal.append(entries(4..6)).await.unwrap();
    journal.flush().await.unwrap();
    let checkpoint = disk.read(path("log/checkpoint")).unwrap().unwrap();
    earlier.put(path("log/checkpoint"), &checkpoint);
    assert!(is_tampered(open(&earlier)), "the log is shorter than signed");

    let other = SimDisk::default();
    let journal = open(&other).unwrap();
    journal.append(entries(50..60)).await.unwrap();
    drop(journal);
    other.put(path("log/checkpoint"), &checkpoint);
    assert!(is_tampered(open(&other)), "the log is not the one signed");
}

#[tokio::test]
async fn a_forged_signature_on_the_checkpoint_stops_signing() {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    journal.set_signers(signers(ORIGIN).0).unwrap();
    journal.append(entries(0..3)).await.unwrap();
    let note = journal.checkpoint().await.unwrap();
    drop(journal);
    let line = note.lines().find(|line| line.starts_with('\u{2014}')).unwrap();
    let forged = note.replacen(&line[line.len() - 20..line.len() - 10], "AAAAAAAAAA", 1);
    disk.put(path("log/checkpoint"), forged.as_bytes());
    let journal = open(&disk).unwrap();
    assert!(matches!(journal.set_signers(signers(ORIGIN).0), Err(JournalError::Inconsistent(_))));
}

/// Whoever got the server to take another secret for its own would sign the same log with other keys.
#[tokio::test]
async fn a_server_with_other_keys_does_not_go_on_with_the_log() {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    journal.set_signers(signers(ORIGIN).0).unwrap();
    journal.append(entries(0..3)).await.unwrap();
    drop(journal.checkpoint().await.unwrap());
    drop(journal);
    let journal = open(&disk).unwrap();
    let other: Arc<dyn NoteSigner> = Arc::new(Ed25519Signer::from_seed(ORIGIN, &[0x77; 32]).unwrap());
    assert!(matches!(journal.set_signers(vec![other]), Err(JournalError::Inconsistent(_))));
    journal.set_signers(signers(ORIGIN).0).unwrap();
}

#[tokio::test]
async fn segments_and_memory_are_released() {
    let disk = SimDisk::default();
    let journal = open(&disk).unwrap();
    for start in (0..6000).step_by(100) {
        journal.append(entries(start..start + 100)).await.unwrap();
    }
    journal.flush().await.unwrap();
    let written: usize = (0..6000).map(|n| entry(n).bytes().len()).sum();
    assert!(written as u64 > 4 * options().segment_bytes, "the test writes several segments");
    let segments = disk.files().into_iter().filter(|file| file.starts_with("wal")).count();
    assert!(segments <= 3, "{segments} files of the write-ahead log are left");
    assert!(journal.shared.log.tail.read().bytes() < 256 * 1024);
    let report = verify_log(&DiskLog(disk.clone()), &signers(ORIGIN).1, None, |_, _| {});
    assert!(report.checkpoint.is_none(), "nobody signed");
    drop(journal);
    assert_eq!(everything(&open(&disk).unwrap()).await.unwrap().len(), 6000);
}
