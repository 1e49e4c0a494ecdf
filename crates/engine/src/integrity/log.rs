//! The audit log, read again from its first entry to the last that is signed: every entry a record, all of them
//! together the tree that the checkpoint signs, and on the way every tree that an earlier checkpoint signed.

use keyreeve_audit::merkle::{Hash, leaf_hash};
use keyreeve_audit::{Checkpoint, Frontier, Record};
use keyreeve_journal::JournalError;
use keyreeve_model::backup::BackupRecord;
use keyreeve_model::job::{Job, JobWork};
use keyreeve_model::quarantine::{Place, Why};
use keyreeve_model::scan::{LogMark, LogPlace, Scan, TreeHash};

use super::scan::Looked;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// Entries of one step (count).
const ENTRIES: u64 = 2048;
/// Entries of one file of the log (count): what cannot be read ends with it.
const BUNDLE: u64 = 256;
/// Earlier checkpoints that the log is compared with (count); the newest of them.
const MARKS: usize = 64;

impl Core {
    /// What earlier checkpoints said of the log, by size: those of backups, and of the last scan that came to its end.
    pub(crate) async fn log_marks(&self, opened: &Opened) -> Result<Vec<LogMark>, Error> {
        let mut marks = Vec::new();
        for (backup, _) in self.filed_sound::<BackupRecord>(opened, None).await? {
            let root = Hash::from_base64(&backup.log_root);
            marks.extend(root.map(|root| LogMark { size: backup.log_size, root: hash(root) }));
        }
        for (job, _) in self.filed_sound::<Job>(opened, None).await? {
            if let JobWork::Scan(scan) = job.work()
                && let Some(log) = &scan.log
                && log.peaks.is_some()
                && log.at == log.signed.size
            {
                marks.push(log.signed);
            }
        }
        marks.sort_by_key(|mark| mark.size);
        marks.dedup();
        Ok(marks.split_off(marks.len().saturating_sub(MARKS)))
    }

    /// The checkpoint that a scan holds the log against: signed now, and checked with the log's own keys.
    async fn signed_log(&self, opened: &Opened) -> Result<Result<LogPlace, Why>, Error> {
        let note = match self.ports.journal.checkpoint().await {
            // The tree in memory is no continuation of what was signed before: nothing is signed then.
            Err(JournalError::Inconsistent(_) | JournalError::Tampered { .. }) => return Ok(Err(Why::Broken)),
            note => note?,
        };
        let keys: Vec<_> = opened.keys.signers.iter().map(|signer| signer.verifier().clone()).collect();
        let Ok(checkpoint) = Checkpoint::open(note.as_bytes(), &keys) else { return Ok(Err(Why::Broken)) };
        let signed = LogMark { size: checkpoint.size, root: hash(checkpoint.root) };
        Ok(Ok(LogPlace { signed, at: 0, peaks: Some(Vec::new()) }))
    }

    /// Reads the next entries of the log.
    pub(super) async fn see_log(&self, opened: &Opened, scan: Scan) -> Result<Looked, Error> {
        let place = match scan.log.clone() {
            Some(place) => place,
            None => match self.signed_log(opened).await? {
                Ok(place) => place,
                Err(why) => {
                    let found = vec![(Place::Log(0, self.ports.journal.size()), why)];
                    let scan = Scan { damaged: scan.damaged + 1, ..scan };
                    return Ok(Looked { scan, ended: true, units: 0, found });
                }
            },
        };
        let mut reading = Reading::begin(place, &scan.marks);
        let until = reading.place.signed.size.min(reading.place.at + ENTRIES);
        let from = reading.place.at;
        while reading.place.at < until {
            // A file at a time: one that cannot be read is passed over alone.
            let end = until.min((reading.place.at / BUNDLE + 1) * BUNDLE);
            match self.ports.journal.read(reading.place.at..end).await {
                Ok(entries) if entries.is_empty() => reading.unreadable(until),
                Ok(entries) => {
                    for (index, bytes) in &entries {
                        reading.entry(*index, bytes);
                    }
                    tokio::task::yield_now().await;
                }
                Err(JournalError::Tampered { place, what }) => {
                    tracing::error!(%place, %what, at = reading.place.at, "the audit log was altered");
                    reading.unreadable(until);
                }
                Err(error) => {
                    return Err(Error::new(Code::AuditUnavailable, "the audit log cannot be read").because(error));
                }
            }
        }
        let units = reading.place.at - from;
        let ended = reading.place.at >= reading.place.signed.size;
        let (place, found) = reading.end(ended);
        let damaged = scan.damaged + found.len() as u64;
        let scan = Scan { entries: scan.entries + units, damaged, log: Some(place), ..scan };
        Ok(Looked { scan, ended, units, found })
    }
}

/// As it is stored.
fn hash(hash: Hash) -> TreeHash {
    TreeHash(*hash.as_bytes())
}

/// The log as it is read.
struct Reading<'a> {
    place: LogPlace,
    /// The tree so far; none once it cannot be known any more.
    tree: Option<Frontier>,
    marks: &'a [LogMark],
    found: Vec<(Place, Why)>,
}

impl<'a> Reading<'a> {
    fn begin(place: LogPlace, marks: &'a [LogMark]) -> Self {
        let peaks = place.peaks.as_ref().map(|peaks| peaks.iter().map(|peak| Hash::new(peak.0)).collect());
        let tree = peaks.and_then(|peaks| Frontier::from_peaks(place.at, peaks));
        Self { place, tree, marks, found: Vec::new() }
    }

    fn entry(&mut self, index: u64, bytes: &[u8]) {
        if index != self.place.at {
            return self.broken(self.place.at, self.place.at + 1);
        }
        self.place.at += 1;
        if Record::decode(bytes).is_err() {
            self.found.push((Place::Log(index, index + 1), Why::Broken));
        }
        let Some(tree) = &mut self.tree else { return };
        tree.append(leaf_hash(bytes));
        let (size, root) = (tree.size(), tree.root());
        // What an earlier checkpoint signed is a beginning of the log, or the log is another one.
        if self.marks.iter().any(|mark| mark.size == size && mark.root != hash(root)) {
            self.broken(0, size);
        }
    }

    fn broken(&mut self, from: u64, to: u64) {
        self.found.push((Place::Log(from, to), Why::Broken));
        self.tree = None;
    }

    /// What is here cannot be read: the file that it is in is passed over.
    fn unreadable(&mut self, until: u64) {
        let (from, next) = (self.place.at, (self.place.at / BUNDLE + 1) * BUNDLE);
        self.place.at = next.min(until);
        self.broken(from, self.place.at);
    }

    /// How far it was read, and what was found.
    fn end(mut self, ended: bool) -> (LogPlace, Vec<(Place, Why)>) {
        let signed = self.place.signed;
        if ended && self.tree.as_ref().is_some_and(|tree| hash(tree.root()) != signed.root) {
            self.broken(0, signed.size);
        }
        let longer = self.marks.iter().any(|mark| mark.size > signed.size);
        if ended && longer {
            // An earlier checkpoint knew entries that are not there any more.
            self.broken(signed.size, signed.size + 1);
        }
        let peaks = self.tree.as_ref().map(|tree| tree.peaks().iter().map(|peak| hash(*peak)).collect());
        (LogPlace { peaks, ..self.place }, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(n: u64) -> Vec<Vec<u8>> {
        (0..n).map(|n| format!("entry {n}").into_bytes()).collect()
    }

    fn mark(entries: &[Vec<u8>]) -> LogMark {
        let mut tree = Frontier::new();
        entries.iter().for_each(|entry| tree.append(leaf_hash(entry)));
        LogMark { size: tree.size(), root: hash(tree.root()) }
    }

    /// Reads a log in two sittings, as a scan does that was interrupted, and returns what is wrong with the tree.
    fn read(log: &[Vec<u8>], signed: LogMark, marks: &[LogMark], half: usize) -> Vec<Place> {
        let place = LogPlace { signed, at: 0, peaks: Some(Vec::new()) };
        let mut first = Reading::begin(place, marks);
        (0..half).for_each(|n| first.entry(n as u64, &log[n]));
        let (place, mut found) = first.end(false);
        let mut second = Reading::begin(place, marks);
        (half..log.len()).for_each(|n| second.entry(n as u64, &log[n]));
        found.extend(second.end(true).1);
        // These entries are no records, which is another finding.
        let trees = found.into_iter().filter(|(place, _)| !matches!(place, Place::Log(from, to) if from + 1 == *to));
        trees.map(|(place, _)| place).collect()
    }

    #[test]
    fn a_log_adds_up_to_what_was_signed_however_often_the_reading_is_interrupted() {
        let log = entries(11);
        let marks = [mark(&log[..4]), mark(&log[..9])];
        for half in 0..=log.len() {
            assert_eq!(read(&log, mark(&log), &marks, half), [], "{half}");
        }
    }

    #[test]
    fn an_altered_entry_and_another_past_are_noticed() {
        let log = entries(11);
        let mut other = log.clone();
        other[6][0] ^= 1;
        for half in 0..=log.len() {
            assert_eq!(read(&other, mark(&log), &[], half), [Place::Log(0, 11)], "{half}");
            let marks = [mark(&log[..5]), mark(&log[..8])];
            assert_eq!(read(&other, mark(&other), &marks, half), [Place::Log(0, 8)], "{half}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_to_the_next_file() {
        let place = LogPlace { signed: mark(&entries(3)), at: 700, peaks: None };
        let mut reading = Reading::begin(place, &[]);
        reading.unreadable(2000);
        assert_eq!((reading.place.at, reading.found[0].0.clone()), (768, Place::Log(700, 768)));
        reading.unreadable(800);
        assert_eq!(reading.place.at, 800);
    }
}
