//! The journal on a real file system: proofs at every tile boundary, the offline verifier, two processes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use keyreeve_audit::verify::{Finding, verify_log};
use keyreeve_audit::{Checkpoint, TlogProof, VerifierKey};
use keyreeve_journal::conformance::{entry, record, signers};
use keyreeve_journal::{Journal, JournalError};
use keyreeve_journal_file::{FileJournal, LogDirectory, Options};
use keyreeve_model::time::UnixMillis;

fn options() -> Options {
    Options { segment_bytes: 1 << 20, ..Options::new(Arc::new(|| UnixMillis(1_795_338_000_000))) }
}

async fn open(dir: &tempfile::TempDir) -> Result<FileJournal, JournalError> {
    FileJournal::open(dir.path(), options()).await
}

async fn fill(journal: &FileJournal, size: u64) {
    while journal.size() < size {
        let start = journal.size();
        let entries = (start..size.min(start + 1000)).map(entry).collect();
        journal.append(entries).await.unwrap();
    }
}

async fn proves(journal: &FileJournal, index: u64, size: u64, keys: &[VerifierKey]) {
    let proof = TlogProof::parse(&journal.prove(index).await.unwrap()).unwrap();
    let checkpoint = proof.verify(entry(index).bytes(), keys).unwrap();
    assert_eq!((proof.index, checkpoint.size), (index, size));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_proved_around_the_first_tile_boundary() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir).await.unwrap();
    let (signers, keys) = signers("log.example/files");
    journal.set_signers(signers[..1].to_vec()).unwrap();
    for size in [1, 2, 255, 256, 257] {
        fill(&journal, size).await;
        for index in 0..size {
            proves(&journal, index, size, &keys).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_and_verifier_around_the_second_level_boundary() {
    let dir = tempfile::tempdir().unwrap();
    let (signers, keys) = signers("log.example/files");
    let mut older: Option<Checkpoint> = None;
    for size in [65_535, 65_536, 65_537] {
        // Opened again each time: the edge of the tree comes from the files.
        let journal = open(&dir).await.unwrap();
        journal.set_signers(signers.clone()).unwrap();
        fill(&journal, size).await;
        for index in (0..size).step_by(4093).chain([255, 256, 65_279, 65_280, size - 2, size - 1]) {
            proves(&journal, index, size, &keys).await;
        }
        drop(journal);
        let mut seen = 0;
        let report = verify_log(&LogDirectory::new(dir.path()), &keys, older.as_ref(), |index, found| {
            assert_eq!(found.id, record(index).id);
            seen += 1;
        });
        assert_eq!(report.problems, []);
        assert_eq!((seen, report.records), (size, size));
        assert_eq!(report.last_time, Some(record(size - 1).time));
        older = report.checkpoint;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_record_is_named_by_the_verifier_and_refused_by_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir).await.unwrap();
    let (signers, keys) = signers("log.example/files");
    journal.set_signers(signers).unwrap();
    fill(&journal, 300).await;
    journal.close().await.unwrap();
    let file = dir.path().join("log/tile/entries/000");
    let mut bytes = std::fs::read(&file).unwrap();
    let edited = bytes.windows(7).position(|window| window == b"req-77\"").unwrap();
    bytes[edited + 4] = b'8';
    std::fs::write(&file, &bytes).unwrap();
    let report = verify_log(&LogDirectory::new(&dir.path().join("log")), &keys, None, |_, _| {});
    let problems: Vec<_> = report.problems.iter().map(|p| (p.finding, p.path.as_str(), p.index)).collect();
    assert_eq!(problems, [(Finding::Tampered, "tile/entries/000", Some(77))]);
    assert!(matches!(journal.read(0..10).await, Err(JournalError::Tampered { .. })));
    assert!(matches!(journal.prove(77).await, Err(JournalError::Tampered { .. })));
}

#[tokio::test]
async fn only_one_process_has_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir).await.unwrap();
    assert!(matches!(open(&dir).await.map(|_| ()), Err(JournalError::InUse(_))));
    drop(journal);
    assert!(open(&dir).await.is_ok());
}

#[tokio::test]
async fn oversized_calls_are_refused_and_the_largest_record_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir).await.unwrap();
    let mut large = record(0);
    large.details.insert("reason".into(), "x".repeat(60_000));
    let large = keyreeve_journal::Entry::of(&large);
    assert!(large.bytes().len() > 60_000);
    journal.append(vec![large.clone()]).await.unwrap();
    let many = vec![large.clone(); 20];
    assert!(matches!(journal.append(many).await, Err(JournalError::TooLarge { .. })));
    let calls = (0..40).map(|_| journal.append(vec![large.clone(); 3]));
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok), "a full queue is waited for");
    assert_eq!(journal.size(), 121);
}
