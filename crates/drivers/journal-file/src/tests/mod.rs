//! Tests that need the insides of the driver: power cuts, failing disks, altered bytes.

mod damage;
mod faults;
mod power;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyreeve_audit::tile::LogPath;
use keyreeve_audit::verify::{LogSource, Report, verify_log};
use keyreeve_journal::conformance::{entry, signers};
use keyreeve_journal::{Entry, Journal, JournalError};
use keyreeve_model::time::UnixMillis;

use crate::disk::Disk;
use crate::log::file_of;
use crate::recover::recover;
use crate::simulated::SimDisk;
use crate::{FileJournal, Options};

/// As small as it may be, so that segments roll and are removed often.
const SEGMENT: u64 = 1 << 18;
const ORIGIN: &str = "journal.example/disk";

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        // Tests ask for checkpoints themselves.
        checkpoint_interval: Duration::from_secs(3600),
        ..Options::new(Arc::new(|| UnixMillis(1_795_338_000_000)))
    }
}

fn open_with(disk: &SimDisk, options: &Options) -> Result<FileJournal, JournalError> {
    FileJournal::start(recover(Arc::new(disk.clone()), options.segment_bytes)?, options)
}

fn open(disk: &SimDisk) -> Result<FileJournal, JournalError> {
    open_with(disk, &options())
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(entry).collect()
}

/// Everything the journal has, read back.
async fn everything(journal: &FileJournal) -> Result<Vec<Vec<u8>>, JournalError> {
    let mut all = Vec::new();
    while (all.len() as u64) < journal.size() {
        let at = all.len() as u64;
        all.extend(journal.read(at..journal.size()).await?.into_iter().map(|(_, bytes)| bytes));
    }
    Ok(all)
}

struct DiskLog(SimDisk);

impl LogSource for DiskLog {
    fn read(&self, path: &LogPath) -> Result<Option<Vec<u8>>, String> {
        self.0.read(&file_of(path)).map_err(|e| e.to_string())
    }
}

fn verify(disk: &SimDisk) -> Report {
    verify_log(&DiskLog(disk.clone()), &signers(ORIGIN).1, None, |_, _| {})
}

/// Opens the disk and finds every acknowledged entry in its place, and a log that verifies. Returns the size.
async fn check(disk: &SimDisk, acknowledged: &BTreeMap<u64, u64>) -> u64 {
    let journal = open(disk).unwrap();
    let all = everything(&journal).await.unwrap();
    for (index, n) in acknowledged {
        let found = all.get(usize::try_from(*index).unwrap());
        assert_eq!(found.map(Vec::as_slice), Some(entry(*n).bytes()), "entry {index} of {}", all.len());
    }
    journal.set_signers(signers(ORIGIN).0).unwrap();
    journal.flush().await.unwrap();
    let report = verify(disk);
    assert_eq!(report.problems, []);
    assert_eq!(report.records, all.len() as u64);
    all.len() as u64
}

fn path(name: &str) -> &Path {
    Path::new(name)
}
