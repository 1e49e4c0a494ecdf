//! What every journal driver must do. A driver's tests call [`run`] with a factory of empty places.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use async_trait::async_trait;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

use keyreeve_audit::tile::{LogPath, TileId, decode_hashes, split_entries};
use keyreeve_audit::{
    Actor, Checkpoint, Class, Ed25519Signer, Frontier, Method, MlDsa44Cosigner, NoteSigner, Outcome, Record, TlogProof,
    VerifierKey,
};
use keyreeve_model::RecordId;
use keyreeve_model::time::UnixMillis;

use crate::faulty::{Fault, FaultyJournal};
use crate::{Entry, Health, Journal, JournalError, Scan};

/// One place a journal lives in.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens the journal there: an empty one the first time, later the same again. The suite has dropped the one
    /// before.
    async fn open(&self) -> Arc<dyn Journal>;
}

/// Runs the whole suite; panics at the first rule that is broken. `place` makes a new empty place each time.
pub async fn run<P: Place>(place: impl Fn() -> P) {
    appends_are_contiguous_and_readable(&place()).await;
    concurrent_appends_are_each_whole(&place()).await;
    everything_is_there_after_reopening(&place()).await;
    checkpoints_need_a_signer(&place()).await;
    proofs_prove(&place()).await;
    tiles_are_those_of_the_checkpoint(&place()).await;
    roots_are_those_of_every_size(&place()).await;
    scans_run_backwards(&place()).await;
    another_key_or_log_is_not_continued(&place()).await;
    closing_ends_appends_only(&place()).await;
    faults_are_what_they_say(&place()).await;
}

/// The record number `n` of the suite, one per second.
#[must_use]
pub fn record(n: u64) -> Record {
    let time = UnixMillis(1_795_338_000_000 + i64::try_from(n).unwrap() * 1000);
    let mut random = [7; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    Record {
        id: RecordId::new(time, random),
        time,
        request: format!("req-{n}"),
        actor: Actor { principal: "suite".into(), method: Method::System },
        source: None,
        operation: "key.encrypt".into(),
        class: Class::Use,
        resource: None,
        outcome: Outcome::Ok,
        count: 1,
        context: None,
        details: BTreeMap::new(),
    }
}

/// The entry of [`record`].
#[must_use]
pub fn entry(n: u64) -> Entry {
    Entry::of(&record(n))
}

/// The signers of the suite, Ed25519 and ML-DSA-44, and their public keys.
#[must_use]
pub fn signers(origin: &str) -> (Vec<Arc<dyn NoteSigner>>, Vec<VerifierKey>) {
    let ed = Ed25519Signer::from_seed(origin, &[1; 32]).unwrap();
    let ml = MlDsa44Cosigner::from_seed(origin, &[2; 32]).unwrap();
    let keys = vec![ed.verifier().clone(), ml.verifier().clone()];
    (vec![Arc::new(ed), Arc::new(ml)], keys)
}

const ORIGIN: &str = "journal.example/suite";

async fn fill(journal: &dyn Journal, range: std::ops::Range<u64>) {
    for chunk in range.collect::<Vec<_>>().chunks(97) {
        let entries = chunk.iter().map(|n| entry(*n)).collect();
        assert_eq!(journal.append(entries).await.unwrap().first_index, chunk[0]);
    }
}

async fn expect(journal: &dyn Journal, range: std::ops::Range<u64>) {
    let mut at = range.start;
    while at < range.end {
        let read = journal.read(at..range.end).await.unwrap();
        assert!(!read.is_empty(), "nothing to read at {at}");
        for (index, bytes) in read {
            assert_eq!(index, at);
            assert_eq!(bytes, entry(at).bytes(), "entry {at}");
            at += 1;
        }
    }
}

async fn appends_are_contiguous_and_readable(place: &dyn Place) {
    let journal = place.open().await;
    assert_eq!((journal.size(), journal.health()), (0, Health::Ok));
    let empty = journal.append(Vec::new()).await.unwrap();
    assert_eq!((empty.first_index, empty.tree_size), (0, 0));
    let first = journal.append(vec![entry(0), entry(1)]).await.unwrap();
    assert_eq!((first.first_index, first.tree_size), (0, 2));
    assert_eq!(journal.append(vec![entry(2)]).await.unwrap().first_index, 2);
    fill(&*journal, 3..600).await;
    assert_eq!(journal.size(), 600);
    expect(&*journal, 0..600).await;
    assert_eq!(journal.read(600..700).await.unwrap(), []);
    assert_eq!(journal.read(598..700).await.unwrap().len(), 2);
    for n in [0, 1, 255, 256, 257, 599] {
        assert_eq!(journal.find(&record(n).id).await.unwrap(), Some(n));
    }
    assert_eq!(journal.find(&record(600).id).await.unwrap(), None);
}

async fn concurrent_appends_are_each_whole(place: &dyn Place) {
    let journal = place.open().await;
    let calls = (0..64u64).map(|task| {
        let journal = journal.clone();
        async move {
            let mut receipts = Vec::new();
            for round in 0..10u64 {
                let numbers: Vec<u64> = (0..=task % 5).map(|i| task * 1000 + round * 10 + i).collect();
                let entries = numbers.iter().map(|n| entry(*n)).collect();
                receipts.push((journal.append(entries).await.unwrap(), numbers));
            }
            receipts
        }
    });
    let receipts: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
    let mut taken = vec![false; usize::try_from(journal.size()).unwrap()];
    for (receipt, numbers) in receipts {
        assert!(receipt.tree_size >= receipt.first_index + numbers.len() as u64);
        for (index, n) in (receipt.first_index..).zip(numbers) {
            assert!(!std::mem::replace(&mut taken[usize::try_from(index).unwrap()], true), "index {index} given twice");
            assert_eq!(journal.read(index..index + 1).await.unwrap(), [(index, entry(n).into_bytes())]);
        }
    }
    assert!(taken.into_iter().all(|taken| taken), "an index was skipped");
}

async fn everything_is_there_after_reopening(place: &dyn Place) {
    let mut size = 0;
    for step in [1, 254, 1, 1, 255, 300] {
        let journal = place.open().await;
        assert_eq!(journal.size(), size);
        expect(&*journal, 0..size).await;
        fill(&*journal, size..size + step).await;
        size += step;
        if step == 300 {
            journal.close().await.unwrap();
        }
    }
    let journal = place.open().await;
    expect(&*journal, 0..size).await;
    assert_eq!(journal.find(&record(size - 1).id).await.unwrap(), Some(size - 1));
    assert_eq!(journal.find(&record(0).id).await.unwrap(), Some(0));
}

async fn checkpoints_need_a_signer(place: &dyn Place) {
    let journal = place.open().await;
    fill(&*journal, 0..3).await;
    assert_eq!(journal.checkpoint().await, Err(JournalError::NoSigner));
    assert_eq!(journal.prove(0).await, Err(JournalError::NoSigner));
    assert_eq!(journal.flush().await, Ok(()));
    assert_eq!(journal.tile(LogPath::Checkpoint).await, Ok(None));
    let (signers, keys) = signers(ORIGIN);
    journal.set_signers(signers).unwrap();
    for size in 3..6 {
        let note = journal.checkpoint().await.unwrap();
        for key in &keys {
            let checkpoint = Checkpoint::open(note.as_bytes(), std::slice::from_ref(key)).unwrap();
            assert_eq!((checkpoint.origin.as_str(), checkpoint.size), (ORIGIN, size));
        }
        assert_eq!(journal.tile(LogPath::Checkpoint).await.unwrap(), Some(note.into_bytes()));
        fill(&*journal, size..size + 1).await;
    }
    journal.set_signers(Vec::new()).unwrap();
    assert_eq!(journal.checkpoint().await, Err(JournalError::NoSigner));
}

async fn proofs_prove(place: &dyn Place) {
    let journal = place.open().await;
    let (signers, keys) = signers(ORIGIN);
    journal.set_signers(signers).unwrap();
    fill(&*journal, 0..700).await;
    for index in [0, 1, 254, 255, 256, 257, 511, 512, 698, 699] {
        let proof = TlogProof::parse(&journal.prove(index).await.unwrap()).unwrap();
        assert_eq!(proof.index, index);
        assert_eq!(proof.verify(entry(index).bytes(), &keys).unwrap().size, 700);
        assert!(proof.verify(entry(index + 1).bytes(), &keys).is_err());
    }
    assert_eq!(journal.prove(700).await, Err(JournalError::NotFound { index: 700, size: 700 }));
}

async fn tiles_are_those_of_the_checkpoint(place: &dyn Place) {
    let journal = place.open().await;
    journal.set_signers(signers(ORIGIN).0).unwrap();
    fill(&*journal, 0..300).await;
    journal.flush().await.unwrap();
    fill(&*journal, 300..303).await;
    let leaves: Vec<_> = (0..300).map(|n| *entry(n).leaf()).collect();
    for (index, width) in [(0, 256u16), (1, 44)] {
        let tile = LogPath::Tile(TileId { level: 0, index, width });
        let hashes = decode_hashes(&journal.tile(tile).await.unwrap().unwrap()).unwrap();
        let start = usize::try_from(index).unwrap() * 256;
        assert_eq!(hashes, leaves[start..start + usize::from(width)]);
        let bundle = journal.tile(LogPath::Entries { index, width }).await.unwrap().unwrap();
        assert_eq!(split_entries(&bundle).unwrap().len(), usize::from(width));
    }
    let above = LogPath::Tile(TileId { level: 1, index: 0, width: 1 });
    assert_eq!(journal.tile(above).await.unwrap().unwrap().len(), 32);
    for missing in [
        LogPath::Tile(TileId { level: 0, index: 1, width: 256 }),
        LogPath::Tile(TileId { level: 0, index: 2, width: 1 }),
        LogPath::Tile(TileId { level: 2, index: 0, width: 1 }),
        LogPath::Entries { index: 1, width: 256 },
    ] {
        assert_eq!(journal.tile(missing).await, Ok(None), "{missing}");
    }
}

async fn roots_are_those_of_every_size(place: &dyn Place) {
    let journal = place.open().await;
    assert_eq!(journal.root(0).await, Ok(Some(Frontier::new().root())));
    assert_eq!(journal.root(1).await, Ok(None));
    let (mut frontier, mut roots) = (Frontier::new(), vec![Frontier::new().root()]);
    for n in 0..600 {
        frontier.append(*entry(n).leaf());
        roots.push(frontier.root());
    }
    fill(&*journal, 0..600).await;
    let check = async |journal: &dyn Journal| {
        for size in [0, 1, 2, 255, 256, 257, 300, 511, 512, 513, 599, 600] {
            let wanted = roots[usize::try_from(size).unwrap()];
            assert_eq!(journal.root(size).await, Ok(Some(wanted)), "of {size}");
        }
        assert_eq!(journal.root(601).await, Ok(None));
    };
    check(&*journal).await;
    journal.close().await.unwrap();
    drop(journal);
    check(&*place.open().await).await;
}

async fn scans_run_backwards(place: &dyn Place) {
    let journal = place.open().await;
    fill(&*journal, 0..600).await;
    journal.flush().await.unwrap();
    fill(&*journal, 600..620).await;
    let newest = journal.scan(Scan::newest(3)).await.unwrap();
    assert_eq!(newest.entries.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [619, 618, 617]);
    let span = Scan {
        from: record(100).time,
        until: record(610).time,
        filter: Some(Arc::new(|bytes| Record::decode(bytes).is_ok_and(|r| r.request.ends_with('5')))),
        ..Scan::newest(7)
    };
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = journal.scan(Scan { before, ..span.clone() }).await.unwrap();
        assert!(page.entries.len() <= 7);
        found.extend(page.entries.into_iter().map(|(index, _)| index));
        assert!(page.next < before.or(Some(u64::MAX)), "the cursor goes back");
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let wanted: Vec<u64> = (100..610).filter(|n| n % 10 == 5).rev().collect();
    assert_eq!(found, wanted);
}

async fn another_key_or_log_is_not_continued(place: &dyn Place) {
    let journal = place.open().await;
    fill(&*journal, 0..5).await;
    journal.set_signers(signers(ORIGIN).0).unwrap();
    journal.checkpoint().await.unwrap();
    let other = journal.set_signers(signers("journal.example/other").0);
    assert!(matches!(other, Err(JournalError::Inconsistent(_))), "{other:?}");
    drop(journal);
    let journal = place.open().await;
    assert!(matches!(journal.set_signers(signers("journal.example/other").0), Err(JournalError::Inconsistent(_))));
    journal.set_signers(signers(ORIGIN).0).unwrap();
    fill(&*journal, 5..6).await;
    assert!(journal.checkpoint().await.unwrap().contains("\n6\n"));
}

async fn closing_ends_appends_only(place: &dyn Place) {
    let journal = place.open().await;
    let (signers, keys) = signers(ORIGIN);
    journal.set_signers(signers).unwrap();
    fill(&*journal, 0..10).await;
    journal.close().await.unwrap();
    assert_eq!(journal.append(vec![entry(10)]).await, Err(JournalError::Closed));
    expect(&*journal, 0..10).await;
    let note = journal.tile(LogPath::Checkpoint).await.unwrap().unwrap();
    assert_eq!(Checkpoint::open(&note, &keys).unwrap().size, 10);
    assert_eq!(journal.close().await, Ok(()));
    drop(journal);
    let journal = place.open().await;
    fill(&*journal, 10..12).await;
    expect(&*journal, 0..12).await;
}

async fn faults_are_what_they_say(place: &dyn Place) {
    let journal = FaultyJournal::new(place.open().await);
    let full = JournalError::NoSpace("planned".into());
    journal.plan(Some(Fault::Failed(full.clone())));
    journal.plan(None);
    journal.plan(Some(Fault::FailedButPersisted(full.clone())));
    assert_eq!(journal.append(vec![entry(0)]).await, Err(full.clone()));
    assert_eq!(journal.find(&record(0).id).await, Ok(None));
    assert_eq!(journal.append(vec![entry(0)]).await.unwrap().first_index, 0);
    assert_eq!(journal.append(vec![entry(1)]).await, Err(full));
    assert_eq!(journal.find(&record(1).id).await, Ok(Some(1)));
}
