//! The time index: for every full bundle of entries the span of times in it, so that searching reads few bundles.
//!
//! A hint and nothing more: it is checked, rebuilt from the entries when it does not fit, and never trusted for proofs.

use std::path::Path;

use keyreeve_audit::record::id_time;
use keyreeve_journal::JournalError;
use keyreeve_model::RecordId;
use keyreeve_model::time::UnixMillis;

use crate::disk::{Disk, io_error};

/// Its file.
pub(crate) const TIMES: &str = "times";
const RECORD: usize = 24;

/// The earliest and the latest of some times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    first: UnixMillis,
    last: UnixMillis,
}

impl Span {
    /// Of no times: overlaps nothing.
    pub(crate) const EMPTY: Self = Self { first: UnixMillis(i64::MAX), last: UnixMillis(i64::MIN) };

    /// Takes in a record: its time and the time in its id.
    pub(crate) fn include(&mut self, id: &RecordId, time: UnixMillis) {
        let made = id_time(id);
        self.first = self.first.min(time).min(made);
        self.last = self.last.max(time).max(made);
    }

    /// True when a time from `from` and before `until` may be in it.
    pub(crate) fn overlaps(&self, from: UnixMillis, until: UnixMillis) -> bool {
        self.first < until && self.last >= from
    }

    /// True when this time may be in it.
    pub(crate) fn contains(&self, time: UnixMillis) -> bool {
        (self.first..=self.last).contains(&time)
    }

    fn encode(self, index: u64) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&self.first.0.to_be_bytes());
        record[8..16].copy_from_slice(&self.last.0.to_be_bytes());
        record[16..20].copy_from_slice(&u32::try_from(index & 0xffff_ffff).unwrap_or(0).to_be_bytes());
        let crc = crc32c::crc32c(&record[..20]);
        record[20..].copy_from_slice(&crc.to_be_bytes());
        record
    }

    fn decode(record: &[u8; RECORD], index: u64) -> Option<Self> {
        let first = i64::from_be_bytes(record[..8].try_into().ok()?);
        let last = i64::from_be_bytes(record[8..16].try_into().ok()?);
        let span = Self { first: UnixMillis(first), last: UnixMillis(last) };
        (span.encode(index) == *record).then_some(span)
    }
}

/// Reads the index up to the first record that is not right.
pub(crate) fn load(disk: &dyn Disk) -> Result<Vec<Span>, JournalError> {
    let path = Path::new(TIMES);
    let bytes = disk.read(path).map_err(|e| io_error(&e, path))?.unwrap_or_default();
    let (records, _) = bytes.as_chunks::<RECORD>();
    Ok((0..).zip(records).map_while(|(index, record)| Span::decode(record, index)).collect())
}

/// Writes the spans of bundles `first…`; durable when it returns.
pub(crate) fn store(disk: &dyn Disk, first: u64, spans: &[Span]) -> Result<(), JournalError> {
    let path = Path::new(TIMES);
    let bytes: Vec<u8> = (first..).zip(spans).flat_map(|(index, span)| span.encode(index)).collect();
    let write = || {
        let mut file = if first == 0 { disk.create(path)? } else { disk.open(path)? };
        file.write_at(&bytes, first * RECORD as u64)?;
        file.sync()?;
        if first == 0 { disk.sync_dir(Path::new("")) } else { Ok(()) }
    };
    write().map_err(|e| io_error(&e, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_know_what_is_in_them() {
        let at = UnixMillis;
        let mut span = Span::EMPTY;
        assert!(!span.overlaps(at(i64::MIN), at(i64::MAX)) && !span.contains(at(0)));
        span.include(&RecordId::new(at(10), [0; 10]), at(20));
        assert!(span.contains(at(10)) && span.contains(at(20)) && !span.contains(at(9)) && !span.contains(at(21)));
        assert!(span.overlaps(at(20), at(21)) && !span.overlaps(at(21), at(30)) && !span.overlaps(at(0), at(10)));
        let record = span.encode(7);
        assert_eq!(Span::decode(&record, 7), Some(span));
        assert_eq!(Span::decode(&record, 8), None);
    }
}
