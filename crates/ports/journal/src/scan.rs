//! Searching the log backwards.

use keyreeve_model::time::UnixMillis;
use std::fmt;
use std::sync::Arc;

/// Decides on the bytes of an encoded record whether it is wanted.
pub type Filter = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What to look for, newest first.
#[derive(Clone)]
pub struct Scan {
    /// Records of this time and later.
    pub from: UnixMillis,
    /// Records before this time.
    pub until: UnixMillis,
    /// Entries below this index; `None` starts at the end of the log.
    pub before: Option<u64>,
    /// Entries wanted at most.
    pub limit: usize,
    /// What else is wanted of a record.
    pub filter: Option<Filter>,
}

impl Scan {
    /// The newest `limit` entries.
    #[must_use]
    pub const fn newest(limit: usize) -> Self {
        Self { from: UnixMillis(i64::MIN), until: UnixMillis(i64::MAX), before: None, limit, filter: None }
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("from", &self.from)
            .field("until", &self.until)
            .field("before", &self.before)
            .field("limit", &self.limit)
            .field("filter", &self.filter.is_some())
            .finish()
    }
}

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Index and bytes, newest first.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Where the next page begins ([`Scan::before`]); `None` when nothing older is left in the span. A page may be
    /// short, even empty, with more to come: a driver looks at a bounded number of entries per call.
    pub next: Option<u64>,
}
