//! What the listeners count, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one listener or of several; cheap enough to count on every request.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_ended: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) panics: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections closed at once because their source has too many; not among those accepted.
    pub turned_away: u64,
    /// TLS handshakes that succeeded.
    pub handshakes: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Requests answered.
    pub requests: u64,
    /// Requests turned away because there were too many.
    pub rate_limited: u64,
    /// Requests answered with another 4xx status.
    pub refused: u64,
    /// Requests answered with a 5xx status.
    pub failed: u64,
    /// Handlers that panicked: each one is a defect.
    pub panics: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The present values.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Ended first: a connection that ends in between shows as open, never as a negative count.
        let ended = read(&self.connections_ended);
        let connections = read(&self.connections);
        Totals {
            connections,
            open: connections.saturating_sub(ended),
            turned_away: read(&self.turned_away),
            handshakes: read(&self.handshakes),
            handshakes_failed: read(&self.handshakes_failed),
            requests: read(&self.requests),
            rate_limited: read(&self.rate_limited),
            refused: read(&self.refused),
            failed: read(&self.failed),
            panics: read(&self.panics),
        }
    }
}
