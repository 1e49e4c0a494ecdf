//! A clock that stands still until it is turned.

use keyreeve_engine::Clock;
use keyreeve_model::UnixMillis;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// When every house begins.
pub(crate) const START: UnixMillis = UnixMillis(1_800_000_000_000);
/// Milliseconds.
pub(crate) const DAY: i64 = 86_400_000;

pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(START.0))
    }

    /// Turns the clock, forwards or back.
    pub(crate) fn turn(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().0.unsigned_abs())
    }
}
