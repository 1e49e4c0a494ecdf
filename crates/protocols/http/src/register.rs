//! Requests that never become an operation go on record too: what cannot be read, is too large, or has no route.
//!
//! Such a record costs a stranger nothing and the log a little. Whoever is known, by a credential that was accepted
//! lately from the same source, has a number of records that no honest mistake comes near. Strangers have a small one,
//! for each source and together. Beyond it refusals are counted, and the counts go on record as one summary for each
//! source and code, now and then.

use keyreeve_engine::ops::requests::{Refuse, Seen};
use keyreeve_engine::{Arrival, Engine, Evidence, Proof};
use keyreeve_model::RecordId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::limits::Rate;
use crate::problem::Problem;
use crate::rate::{Asker, Buckets};
use crate::sources::source_of;

/// How often counts go on record.
pub(crate) const SUMMARY: Duration = Duration::from_secs(10);
/// The most sources and codes that are told apart between two summaries (count).
const ROWS: usize = 256;
/// Single records of one known credential.
const KNOWN: Rate = Rate { per_second: 50, burst: 500 };
/// Single records for all strangers together.
const STRANGERS: Rate = Rate { per_second: 50, burst: 1000 };

/// What was refused: one request.
pub(crate) struct Refusal {
    pub(crate) arrival: Arrival,
    pub(crate) code: &'static str,
    pub(crate) seen: Seen,
}

/// How a refusal was noted.
#[derive(Debug)]
pub(crate) enum Noted {
    /// It has a record, unless the engine could not say.
    Recorded {
        record: Option<RecordId>,
        /// The engine was open and looked at who asks: a credential that it did not accept then is none.
        judged: bool,
    },
    /// It will be part of a summary.
    Counted,
    /// It could not be put on record: so is the answer.
    Unavailable(Problem),
}

/// Puts refusals on record.
pub(crate) struct Register {
    engine: Engine,
    per_source: Option<Buckets>,
    known: Option<Buckets>,
    together: Option<Buckets>,
    tally: Tally,
}

impl Register {
    pub(crate) fn new(engine: Engine, per_source: Rate) -> Self {
        let [per_source, known, together] = [per_source, KNOWN, STRANGERS].map(Buckets::new);
        Self { engine, per_source, known, together, tally: Tally::default() }
    }

    /// Notes one refusal of `asker` at `now` (nanoseconds since any start).
    pub(crate) async fn note(&self, refusal: Refusal, known: bool, asker: Asker, now: u64) -> Noted {
        let Refusal { arrival, code, seen } = refusal;
        if !self.may_record(known, asker, now) {
            self.tally.count(arrival.source, code);
            return Noted::Counted;
        }
        match self.engine.call(arrival, Refuse::one(code, seen)).await {
            Ok(done) => Noted::Recorded { record: done.record, judged: self.engine.is_open() },
            Err(refused) if refused.record.is_some() => Noted::Recorded { record: refused.record, judged: false },
            Err(refused) => Noted::Unavailable(refused.into()),
        }
    }

    fn may_record(&self, known: bool, asker: Asker, now: u64) -> bool {
        let take = |buckets: &Option<Buckets>, hash| buckets.as_ref().is_none_or(|all| all.take(hash, now).is_ok());
        match asker.credential() {
            Some(credential) if known => take(&self.known, credential),
            _ => take(&self.per_source, asker.source()) && take(&self.together, 0),
        }
    }

    /// Puts what was counted on record. What cannot be is kept for the next time.
    pub(crate) async fn summarise(&self, id: impl Fn() -> String) {
        for (row, count) in self.tally.take() {
            let (source, code) = row;
            let arrival =
                Arrival { evidence: Evidence::None, source, request: id(), idempotency: None, proof: Proof::default() };
            if let Err(refused) = self.engine.call(arrival, Refuse::several(code, count)).await
                && refused.record.is_none()
            {
                tracing::warn!(error = %refused.error, "refused requests that were counted are not on record yet");
                self.tally.add(row, count);
            }
        }
    }
}

/// A source, or none for those beyond the limit; and a code.
type Row = (Option<IpAddr>, &'static str);

/// Counts by source and code, in a fixed amount of memory.
#[derive(Debug, Default)]
struct Tally(Mutex<BTreeMap<Row, u32>>);

impl Tally {
    fn count(&self, source: Option<IpAddr>, code: &'static str) {
        self.add((source.map(source_of), code), 1);
    }

    fn add(&self, mut row: Row, count: u32) {
        let mut rows = self.0.lock();
        if rows.len() >= ROWS && !rows.contains_key(&row) {
            row.0 = None;
        }
        let sum = rows.entry(row).or_default();
        *sum = sum.saturating_add(count);
    }

    fn take(&self) -> BTreeMap<Row, u32> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_by_source_and_code_and_bounded() {
        let tally = Tally::default();
        let address = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        for n in 0..1000 {
            tally.count(address(n), "unknown-route");
            tally.count(address(1), "too-large");
        }
        let rows = tally.take();
        assert!(rows.len() <= ROWS + 2, "{}", rows.len());
        assert_eq!((rows[&(address(0), "unknown-route")], rows[&(address(1), "too-large")]), (1, 1000));
        assert_eq!(rows.values().sum::<u32>(), 2000, "none is lost");
        assert!(rows[&(None, "unknown-route")] > 700);
        assert!(tally.take().is_empty());
        tally.count("2001:db8::7".parse().ok(), "x");
        assert_eq!(tally.take().keys().next(), Some(&("2001:db8::".parse().ok(), "x")));
    }
}
