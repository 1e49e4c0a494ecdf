//! Time comes in here and nowhere else.

use keyreeve_model::UnixMillis;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::error::Error;

/// How far a clock may step back (for instance at an NTP correction) before the server refuses to work, in
/// milliseconds.
pub const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Where the time comes from. Tests give one that they turn by hand.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> UnixMillis;
    /// Time since an arbitrary start that never goes back, for measuring durations.
    fn elapsed(&self) -> Duration;
}

/// The latest instant seen: time never goes back for an operation.
pub(crate) struct Latest(AtomicI64);

impl Latest {
    pub(crate) const fn new(at: UnixMillis) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// The present according to the clock, but never before what was seen; a clock far behind is refused.
    pub(crate) fn now(&self, clock: &dyn Clock) -> Result<UnixMillis, Error> {
        let now = clock.now();
        let seen = UnixMillis(self.0.fetch_max(now.0, Ordering::Relaxed));
        if seen.since(now) > CLOCK_TOLERANCE_MS { Err(Error::clock_went_back(seen, now)) } else { Ok(seen.max(now)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(i64);
    impl Clock for Fixed {
        fn now(&self) -> UnixMillis {
            UnixMillis(self.0)
        }
        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn small_steps_back_are_hidden_and_large_ones_refused() {
        let latest = Latest::new(UnixMillis(0));
        assert_eq!(latest.now(&Fixed(100_000)).unwrap(), UnixMillis(100_000));
        assert_eq!(latest.now(&Fixed(99_000)).unwrap(), UnixMillis(100_000));
        assert_eq!(latest.now(&Fixed(39_999)).unwrap_err().code(), crate::Code::ClockWentBack);
        assert_eq!(latest.now(&Fixed(100_001)).unwrap(), UnixMillis(100_001));
    }
}
