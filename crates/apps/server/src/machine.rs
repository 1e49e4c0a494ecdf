//! What the server takes from the machine: time, entropy, a name, its own use of memory and processor.

use keyreeve_crypto::EntropySource;
use keyreeve_crypto::random::EntropyUnavailable;
use keyreeve_engine::Clock;
use keyreeve_model::UnixMillis;
use rustix::rand::{GetRandomFlags, getrandom};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The machine's clock: the only place where the server reads the time of day.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The clock.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        // A clock set before 1970 reads as 1970, which the check against the audit log refuses.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The operating system's random source.
pub(crate) struct SystemEntropy;

impl EntropySource for SystemEntropy {
    fn sample(&self, out: &mut [u8]) -> Result<(), EntropyUnavailable> {
        let mut filled = 0;
        while filled < out.len() {
            match getrandom(&mut out[filled..], GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(EntropyUnavailable),
            }
        }
        Ok(())
    }
}

/// The machine's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Memory in use, in bytes.
    pub(crate) resident: u64,
    /// Processor time, in seconds.
    pub(crate) cpu_seconds: f64,
}

/// Reads `/proc`; zeros where there is none.
pub(crate) fn usage() -> Usage {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    // proc(5): fields 14 and 15; the second one, the name, is in parentheses and may contain spaces.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Usage {
        resident: pages * rustix::param::page_size() as u64,
        cpu_seconds: (ticks(11) + ticks(12)) as f64 / per_second as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_answers() {
        let clock = SystemClock::new();
        assert!(clock.now() > UnixMillis(1_700_000_000_000));
        assert!(clock.elapsed() <= clock.elapsed());
        assert!(usage().resident > 1 << 20);
        assert!(!host_name().is_empty());
        let mut samples = [0; 300];
        SystemEntropy.sample(&mut samples).unwrap();
        assert!(samples.iter().any(|&byte| byte != 0));
    }
}
