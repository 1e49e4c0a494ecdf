//! Token buckets in a fixed amount of memory.
//!
//! Each bucket is one number, the "theoretical arrival time" of the generic cell rate algorithm (ITU-T I.371), kept in
//! two tables under two halves of a keyed hash; the smaller one counts. Many strangers cannot make the tables grow;
//! two callers share a bucket only when both halves of their hashes meet others. Callers that race for one bucket may
//! pass a few more.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{Rate, Rates};
use crate::sources::source_of;

/// Slots of one table: 128 KiB.
const SLOTS: usize = 16 * 1024;

/// The buckets of one rate.
pub(crate) struct Buckets {
    interval: u64,
    tolerance: u64,
    tables: [Box<[AtomicU64]>; 2],
}

impl Buckets {
    /// No buckets for an unlimited rate.
    pub(crate) fn new(rate: Rate) -> Option<Self> {
        let interval = 1_000_000_000u64.checked_div(rate.per_second.into())?.max(1);
        let table = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Some(Self { interval, tolerance: interval * u64::from(rate.burst.max(1)), tables: [table(), table()] })
    }

    fn slots(&self, hash: u64) -> [&AtomicU64; 2] {
        let [first, second] = &self.tables;
        [&first[hash as usize % SLOTS], &second[(hash >> 32) as usize % SLOTS]]
    }

    /// The arrival time after one more request at `now`, or how long to wait.
    fn next(&self, hash: u64, now: u64) -> Result<u64, Duration> {
        let arrival = self.slots(hash).map(|slot| slot.load(Ordering::Relaxed)).into_iter().min().unwrap_or(0);
        let next = arrival.max(now) + self.interval;
        match (next - now).checked_sub(self.tolerance) {
            Some(early) if early > 0 => Err(Duration::from_nanos(early)),
            _ => Ok(next),
        }
    }

    /// Lets one more pass at `now`, or says how long to wait.
    pub(crate) fn take(&self, hash: u64, now: u64) -> Result<(), Duration> {
        let next = self.next(hash, now)?;
        for slot in self.slots(hash) {
            slot.fetch_max(next, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Who asks, as hashes under a key of this process: neither addresses nor credentials can be made to collide on
/// purpose.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    source: u64,
    credential: Option<u64>,
    /// The credential as this source shows it.
    pair: Option<u64>,
}

impl Asker {
    /// The source's hash.
    pub(crate) fn source(self) -> u64 {
        self.source
    }

    /// The hash of its credential, if it shows one.
    pub(crate) fn credential(self) -> Option<u64> {
        self.credential
    }
}

/// What tells one credential from others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'a> {
    /// A token, without the scheme and the spaces before it.
    Token(&'a [u8]),
    /// The fingerprint of a client certificate.
    Certificate(&'a [u8; 32]),
}

/// How a caller stood at the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The engine accepted its credential.
    Accepted,
    /// Its credential, or the lack of one, was refused.
    Refused,
    /// Nobody looked at a credential, and the request went on record all the same.
    Unproven,
}

/// All rates of a listener.
pub(crate) struct Limiter {
    hasher: RandomState,
    per_source: Option<Buckets>,
    per_credential: Option<Buckets>,
    unauthenticated: Option<Buckets>,
    /// Credentials that were accepted lately, each with the source that showed it: one slot for each pair, newest wins.
    accepted: Box<[AtomicU64]>,
}

impl Limiter {
    pub(crate) fn new(rates: &Rates) -> Self {
        Self {
            hasher: RandomState::new(),
            per_source: Buckets::new(rates.per_source),
            per_credential: Buckets::new(rates.per_credential),
            unauthenticated: Buckets::new(rates.unauthenticated),
            accepted: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn asker(&self, source: IpAddr, held: Option<Held<'_>>) -> Asker {
        let source = self.hasher.hash_one(source_of(source));
        let credential = held.map(|held| match held {
            Held::Token(text) => self.hash_token(text),
            Held::Certificate(fingerprint) => self.hasher.hash_one(fingerprint),
        });
        Asker { source, credential, pair: credential.map(|hash| self.hasher.hash_one((source, hash))) }
    }

    /// A token has hexadecimal digits, which are taken in either case: its spellings share one bucket.
    fn hash_token(&self, text: &[u8]) -> u64 {
        let mut state = self.hasher.build_hasher();
        text.iter().for_each(|byte| state.write_u8(byte.to_ascii_lowercase()));
        state.finish()
    }

    fn accepted(&self, pair: u64) -> &AtomicU64 {
        &self.accepted[pair as usize % SLOTS]
    }

    /// Whether the credential was accepted lately from this source.
    pub(crate) fn knows(&self, asker: Asker) -> bool {
        asker.pair.is_some_and(|pair| self.accepted(pair).load(Ordering::Relaxed) == pair)
    }

    /// Lets a request pass at `now` (nanoseconds since any start), or says how long to wait.
    pub(crate) fn admit(&self, asker: Asker, now: u64) -> Result<(), Duration> {
        if let Some(buckets) = self.unauthenticated.as_ref().filter(|_| !self.knows(asker)) {
            buckets.next(asker.source, now)?;
        }
        if let Some(buckets) = &self.per_source {
            buckets.take(asker.source, now)?;
        }
        if let (Some(buckets), Some(hash)) = (&self.per_credential, asker.credential) {
            buckets.take(hash, now)?;
        }
        Ok(())
    }

    /// Learns how a request ended.
    pub(crate) fn learn(&self, asker: Asker, now: u64, shown: Shown) {
        match (shown, asker.pair) {
            (Shown::Accepted, Some(pair)) => {
                let slot = self.accepted(pair);
                if slot.load(Ordering::Relaxed) != pair {
                    slot.store(pair, Ordering::Relaxed);
                }
            }
            (Shown::Accepted, None) => {}
            (Shown::Refused, shown) => {
                if let Some(pair) = shown {
                    let _ = self.accepted(pair).compare_exchange(pair, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
                self.count_stranger(asker, now);
            }
            // A sealed server looks at no credential: one that was accepted before stays what it was.
            (Shown::Unproven, _) if self.knows(asker) => {}
            (Shown::Unproven, _) => self.count_stranger(asker, now),
        }
    }

    fn count_stranger(&self, asker: Asker, now: u64) {
        if let Some(buckets) = &self.unauthenticated {
            let _ = buckets.take(asker.source, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limiter(per_source: Rate, per_credential: Rate, unauthenticated: Rate) -> Limiter {
        Limiter::new(&Rates { per_source, per_credential, unauthenticated, ..Rates::default() })
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let limiter = limiter(Rate { per_second: 10, burst: 5 }, Rate::UNLIMITED, Rate::UNLIMITED);
        let asker = limiter.asker(HOME, None);
        let passed = |at: u64| (0..100).filter(|_| limiter.admit(asker, at).is_ok()).count();
        assert_eq!(passed(SECOND), 5);
        let wait = limiter.admit(asker, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(passed(SECOND + SECOND / 10), 1);
        assert_eq!(passed(SECOND * 100), 5);
    }

    #[test]
    fn sources_and_credentials_do_not_hold_up_one_another() {
        let limiter = limiter(Rate { per_second: 1, burst: 2 }, Rate { per_second: 1, burst: 1 }, Rate::UNLIMITED);
        let first = limiter.asker(HOME, Some(Held::Token(b"one")));
        assert!(limiter.admit(first, SECOND).is_ok());
        assert!(limiter.admit(first, SECOND).is_err());
        let elsewhere = limiter.asker("10.0.0.1".parse().unwrap(), Some(Held::Token(b"two")));
        assert!(limiter.admit(elsewhere, SECOND).is_ok());
    }

    #[test]
    fn one_v6_network_is_one_source() {
        let limiter = limiter(Rate { per_second: 1, burst: 1 }, Rate::UNLIMITED, Rate::UNLIMITED);
        let asker = |text: &str| limiter.asker(text.parse().unwrap(), None);
        assert!(limiter.admit(asker("2001:db8::1"), SECOND).is_ok());
        assert!(limiter.admit(asker("2001:db8::2"), SECOND).is_err());
        assert!(limiter.admit(asker("2001:db8:0:1::2"), SECOND).is_ok());
    }

    #[test]
    fn strangers_are_slowed_down_while_known_credentials_pass() {
        let limiter = limiter(Rate::UNLIMITED, Rate::UNLIMITED, Rate { per_second: 1, burst: 3 });
        let stranger = limiter.asker(HOME, Some(Held::Token(b"guess")));
        let friend = limiter.asker(HOME, Some(Held::Token(b"token")));
        limiter.learn(friend, SECOND, Shown::Accepted);
        for _ in 0..3 {
            limiter.admit(stranger, SECOND).unwrap();
            limiter.learn(stranger, SECOND, Shown::Refused);
        }
        assert!(limiter.admit(stranger, SECOND).is_err());
        assert!(limiter.admit(limiter.asker(HOME, None), SECOND).is_err());
        assert!(limiter.admit(friend, SECOND).is_ok());
        limiter.learn(friend, SECOND, Shown::Unproven);
        assert!(limiter.admit(friend, SECOND).is_ok(), "a sealed server does not make strangers of friends");
        limiter.learn(friend, SECOND, Shown::Refused);
        assert!(limiter.admit(friend, SECOND).is_err(), "a revoked credential is a stranger again");
    }

    #[test]
    fn a_credential_is_known_where_it_was_accepted_and_however_it_is_spelt() {
        let limiter = limiter(Rate::UNLIMITED, Rate { per_second: 1, burst: 1 }, Rate::UNLIMITED);
        let elsewhere: IpAddr = "10.0.0.1".parse().unwrap();
        let friend = limiter.asker(HOME, Some(Held::Token(b"krt_0a")));
        limiter.learn(friend, SECOND, Shown::Accepted);
        let spelt = limiter.asker(HOME, Some(Held::Token(b"krt_0A")));
        assert!(limiter.knows(friend) && limiter.knows(spelt));
        let thief = limiter.asker(elsewhere, Some(Held::Token(b"krt_0a")));
        assert!(!limiter.knows(thief), "another source has nothing to show for it yet");
        assert!(limiter.admit(friend, SECOND).is_ok());
        assert!(limiter.admit(spelt, SECOND).is_err() && limiter.admit(thief, SECOND).is_err(), "one bucket");
        let certificate = limiter.asker(HOME, Some(Held::Certificate(&[b'a'; 32])));
        let other = limiter.asker(HOME, Some(Held::Certificate(&[b'A'; 32])));
        assert!(limiter.admit(certificate, SECOND).is_ok() && limiter.admit(other, SECOND).is_ok());
    }

    #[test]
    fn what_goes_on_record_unproven_counts_as_a_strangers() {
        let limiter = limiter(Rate::UNLIMITED, Rate::UNLIMITED, Rate { per_second: 1, burst: 3 });
        let sealed = limiter.asker(HOME, Some(Held::Token(b"garbage")));
        for _ in 0..3 {
            limiter.admit(sealed, SECOND).unwrap();
            limiter.learn(sealed, SECOND, Shown::Unproven);
        }
        assert!(limiter.admit(sealed, SECOND).is_err());
    }
}
