//! Lock-out: how often somebody may try, without locking anybody out whom others try to be.
//!
//! Failures are counted three ways. Of one *pair* of name and source: after 5 each costs a longer wait, 1 s to 60 s. Of
//! one *source* over all names: after 20 likewise, so that trying one password with many names is slow as well. Of one
//! *name* over all sources: after 10, whoever failed himself waits 5 s from his own last failure. What others do makes
//! nobody wait who has not failed, for they must not be able to shut somebody out. A pair that has logged in before is
//! only measured by itself. Names count whether they exist or not.
//!
//! Evidence that nobody can guess (signed tokens, certificates, secrets of 256 bits) makes nobody wait: nothing is
//! to be slowed down, and whoever sends rubbish from a shared address would shut out all others there. Its failures
//! count for the alarm only.

use keyreeve_crypto::mac::hmac_sha256;
use keyreeve_model::UnixMillis;
use keyreeve_secret::SecretArray;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Entries that are remembered; beyond them the one not touched for longest is forgotten.
pub const ENTRIES_MAX: usize = 65_536;
/// Failures of one pair that cost nothing.
pub const PAIR_FREE: u32 = 5;
/// Failures of one source that cost nothing.
pub const SOURCE_FREE: u32 = 20;
/// Failures of one name that cost nothing.
pub const NAME_FREE: u32 = 10;
/// More failures than this within [`ALARM_WINDOW`] are worth an alarm.
pub const ALARM_FAILURES: usize = 3;
/// See [`ALARM_FAILURES`].
pub const ALARM_WINDOW: Duration = Duration::from_secs(300);

const WAIT_MAX_S: u64 = 60;
/// What a failure costs with a name that many failed with.
const NAME_PAUSE: Duration = Duration::from_secs(5);
/// After this time without a failure all are forgotten.
const FORGET: Duration = Duration::from_secs(900);
/// Attempts that have not ended after this time count as abandoned.
const PENDING: Duration = Duration::from_secs(30);

/// Who tries.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// As whom: what was typed, whether it exists or not. Empty where only the evidence says it: then the source alone
    /// is measured.
    pub name: &'a str,
    /// From where.
    pub source: Option<IpAddr>,
    /// Whether the evidence can be guessed, as a password can. Otherwise nobody waits, and failures count for the alarm
    /// only.
    pub guessable: bool,
}

/// Whether failures are worth telling somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// Too many for this name.
    pub name: bool,
    /// Too many from this source.
    pub source: bool,
}

impl Alarm {
    /// True when somebody should be told.
    #[must_use]
    pub const fn is_raised(self) -> bool {
        self.name || self.source
    }
}

type Key = [u8; 32];

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    failures: u32,
    last: UnixMillisOrNever,
    /// The last failures, oldest first, for the alarm.
    recent: [i64; ALARM_FAILURES + 1],
    alarmed: UnixMillisOrNever,
    pending: u32,
    pending_until: i64,
    /// It has logged in before.
    proven: bool,
    touched: u64,
}

/// Milliseconds; `i64::MIN` stands for never.
#[derive(Clone, Copy, Debug)]
struct UnixMillisOrNever(i64);

impl Default for UnixMillisOrNever {
    fn default() -> Self {
        Self(i64::MIN)
    }
}

impl Entry {
    fn failures_at(&self, now: UnixMillis) -> u32 {
        let quiet = now.0.saturating_sub(self.last.0) >= millis(FORGET);
        if quiet { 0 } else { self.failures }
    }

    /// How long to wait yet when failures above `free` cost 1, 2, 4 … up to `longest` seconds.
    fn wait(&self, free: u32, longest_s: u64, now: UnixMillis) -> Option<Duration> {
        let above = self.failures_at(now).checked_sub(free)?;
        let seconds = 1_u64.checked_shl(above).unwrap_or(u64::MAX).min(longest_s);
        let next = self.last.0.saturating_add(millis(Duration::from_secs(seconds)));
        let left = u64::try_from(next.saturating_sub(now.0)).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left.min(seconds * 1000)))
    }

    /// How long to wait for the answers to attempts that, all wrong, would be more than `free`.
    fn crowd(&self, free: u32, now: UnixMillis) -> Option<Duration> {
        let open = self.pending_at(now);
        (open > 0 && self.failures_at(now).saturating_add(open) >= free).then_some(Duration::from_secs(1))
    }

    /// How long to wait yet after one's own last failure with a name that many failed with.
    fn pause(&self, now: UnixMillis) -> Option<Duration> {
        let next = self.last.0.saturating_add(millis(NAME_PAUSE));
        let left = u64::try_from(next.saturating_sub(now.0)).ok().filter(|left| *left > 0)?;
        (self.failures_at(now) > 0).then(|| Duration::from_millis(left).min(NAME_PAUSE))
    }

    fn pending_at(&self, now: UnixMillis) -> u32 {
        if now.0 < self.pending_until { self.pending } else { 0 }
    }

    fn fail(&mut self, now: UnixMillis) {
        self.failures = self.failures_at(now).saturating_add(1);
        self.last = UnixMillisOrNever(now.0);
    }

    /// Notes a failure for the alarm; true when this is the one to tell of.
    fn alarm(&mut self, now: UnixMillis) -> bool {
        self.recent.rotate_left(1);
        if let Some(newest) = self.recent.last_mut() {
            *newest = now.0;
        }
        let oldest = self.recent.first().copied().unwrap_or_default();
        let many = oldest > 0 && now.0.saturating_sub(oldest) <= millis(ALARM_WINDOW);
        let told = now.0.saturating_sub(self.alarmed.0) < millis(ALARM_WINDOW);
        if many && !told {
            self.alarmed = UnixMillisOrNever(now.0);
        }
        many && !told
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What is remembered of failures. In memory only: a restart forgets it.
pub struct Throttle {
    secret: SecretArray<32>,
    entries: HashMap<Key, Entry>,
    order: BTreeMap<u64, Key>,
    counter: u64,
    most: usize,
}

impl Throttle {
    /// An empty one. `secret` is drawn for this process: with it nobody can choose names that fall on one entry.
    #[must_use]
    pub fn new(secret: SecretArray<32>) -> Self {
        Self { secret, entries: HashMap::new(), order: BTreeMap::new(), counter: 0, most: ENTRIES_MAX }
    }

    /// Whether somebody may try now. An attempt that may must end with [`failed`](Self::failed),
    /// [`passed`](Self::passed) or [`gave_up`](Self::gave_up).
    ///
    /// # Errors
    /// How long to wait: at most 60 s.
    pub fn ask(&mut self, who: Asking<'_>, now: UnixMillis) -> Result<(), Duration> {
        if !who.guessable {
            return Ok(());
        }
        let pair = if who.name.is_empty() { Entry::default() } else { self.read(self.pair(who)) };
        let mut waits = vec![pair.wait(PAIR_FREE, WAIT_MAX_S, now)];
        // Guesses that have not been answered yet may all be wrong.
        waits.push(pair.crowd(PAIR_FREE, now));
        if !pair.proven {
            let source = self.read(self.source(who));
            waits.extend([source.wait(SOURCE_FREE, WAIT_MAX_S, now), source.crowd(SOURCE_FREE, now)]);
            if !who.name.is_empty() && self.read(self.name(who)).failures_at(now) >= NAME_FREE {
                waits.push(pair.pause(now));
            }
        }
        if let Some(longest) = waits.into_iter().flatten().max() {
            return Err(longest);
        }
        for key in [self.pair(who), self.source(who)] {
            self.touch(key, |entry| {
                entry.pending = entry.pending_at(now).saturating_add(1);
                entry.pending_until = now.plus(PENDING).0;
            });
        }
        Ok(())
    }

    /// An attempt failed.
    pub fn failed(&mut self, who: Asking<'_>, now: UnixMillis) -> Alarm {
        let mut alarm = Alarm::default();
        let (name_key, source_key) = (self.name(who), self.source(who));
        self.answered(who);
        if who.guessable && !who.name.is_empty() {
            self.touch(self.pair(who), |entry| entry.fail(now));
        }
        let mut note = |key: Key| {
            let mut raised = false;
            self.touch(key, |entry| {
                if who.guessable {
                    entry.fail(now);
                }
                raised = entry.alarm(now);
            });
            raised
        };
        if !who.name.is_empty() {
            alarm.name = note(name_key);
        }
        alarm.source = note(source_key);
        alarm
    }

    /// An attempt succeeded. Only the pair is forgiven: somebody with one good login must not be able to wipe out what
    /// he tried with the names of others.
    pub fn passed(&mut self, who: Asking<'_>) {
        self.answered(who);
        if who.guessable && !who.name.is_empty() {
            self.touch(self.pair(who), |entry| {
                entry.failures = 0;
                entry.proven = true;
            });
        }
    }

    /// An attempt ended without an answer, for which the one who tried is not to blame.
    pub fn gave_up(&mut self, who: Asking<'_>) {
        self.answered(who);
    }

    /// One attempt less that waits for its answer.
    fn answered(&mut self, who: Asking<'_>) {
        if who.guessable {
            for key in [self.pair(who), self.source(who)] {
                self.touch(key, |entry| entry.pending = entry.pending.saturating_sub(1));
            }
        }
    }

    /// Whether people are to be told of an alarm about logins of this kind now: at most once in [`ALARM_WINDOW`]. Then
    /// how many alarms there were since they were last told, this one included.
    pub fn tell(&mut self, about: &str, now: UnixMillis) -> Option<u32> {
        let mut told = None;
        self.touch(self.key(4, about, None), |entry| {
            entry.failures = entry.failures.saturating_add(1);
            if now.0.saturating_sub(entry.alarmed.0) >= millis(ALARM_WINDOW) {
                entry.alarmed = UnixMillisOrNever(now.0);
                told = Some(std::mem::take(&mut entry.failures));
            }
        });
        told
    }

    fn read(&self, key: Key) -> Entry {
        self.entries.get(&key).copied().unwrap_or_default()
    }

    fn touch(&mut self, key: Key, change: impl FnOnce(&mut Entry)) {
        self.counter += 1;
        let entry = self.entries.entry(key).or_default();
        self.order.remove(&entry.touched);
        entry.touched = self.counter;
        change(entry);
        self.order.insert(self.counter, key);
        if self.entries.len() > self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }

    fn key(&self, kind: u8, name: &str, source: Option<IpAddr>) -> Key {
        let mut data = vec![kind];
        data.extend_from_slice(&network(source));
        data.extend_from_slice(name.as_bytes());
        hmac_sha256(self.secret.expose(), &data)
    }

    fn pair(&self, who: Asking<'_>) -> Key {
        self.key(1, who.name, who.source)
    }

    fn source(&self, who: Asking<'_>) -> Key {
        self.key(2, "", who.source)
    }

    fn name(&self, who: Asking<'_>) -> Key {
        self.key(3, who.name, None)
    }
}

/// An IPv4 address, or the /64 of an IPv6 one: within it anybody has as many addresses as he likes.
fn network(source: Option<IpAddr>) -> [u8; 9] {
    let mut out = [0; 9];
    match source.map(|address| address.to_canonical()) {
        None => {}
        Some(IpAddr::V4(address)) => {
            out[0] = 4;
            out[1..5].copy_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            out[0] = 6;
            out[1..9].copy_from_slice(&address.octets()[..8]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn throttle() -> Throttle {
        Throttle::new(SecretArray::copy_from(&[7; 32]).unwrap())
    }

    fn who<'a>(name: &'a str, source: &str) -> Asking<'a> {
        Asking { name, source: Some(source.parse().unwrap()), guessable: true }
    }

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + seconds * 1000)
    }

    fn fail(throttle: &mut Throttle, who: Asking<'_>, times: u32, now: UnixMillis) {
        for _ in 0..times {
            throttle.failed(who, now);
        }
    }

    #[test]
    fn waits_double_up_to_a_minute_and_are_forgotten() {
        let mut throttle = throttle();
        let eve = who("alice", "192.0.2.1");
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..13 {
            if let Err(wait) = throttle.ask(eve, now) {
                waits.push(wait.as_secs());
                now = now.plus(wait);
                assert_eq!(throttle.ask(eve, now), Ok(()), "exactly after the wait");
            }
            throttle.failed(eve, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(throttle.ask(eve, now).is_err());
        assert_eq!(throttle.ask(eve, now.plus(FORGET)), Ok(()));
        throttle.failed(eve, now.plus(FORGET));
        assert_eq!(throttle.ask(eve, now.plus(FORGET)), Ok(()), "counting begins anew");
    }

    #[test]
    fn a_success_forgives_the_pair_only() {
        let mut throttle = throttle();
        let own = who("eve", "192.0.2.1");
        for n in 0..SOURCE_FREE + 4 {
            fail(&mut throttle, who(&format!("victim{n}"), "192.0.2.1"), 1, at(0));
        }
        throttle.passed(own);
        assert_eq!(throttle.ask(own, at(0)), Ok(()), "who has logged in before is measured by himself");
        assert!(throttle.ask(who("somebody", "192.0.2.1"), at(0)).is_err(), "the source is still slow for others");
    }

    #[test]
    fn nobody_is_locked_out_by_others() {
        let mut throttle = throttle();
        let victim = who("alice", "198.51.100.7");
        throttle.passed(victim);
        for n in 0..200 {
            fail(&mut throttle, who("alice", &format!("192.0.2.{n}")), 3, at(1));
        }
        assert_eq!(throttle.ask(victim, at(1)), Ok(()));
        // Whoever comes from a new place is let try, however much others fail.
        let elsewhere = who("alice", "203.0.113.9");
        assert_eq!(throttle.ask(elsewhere, at(1)), Ok(()));
        // A failure of one's own then costs a little, counted from that failure and not from those of others.
        throttle.failed(elsewhere, at(1));
        assert_eq!(throttle.ask(elsewhere, at(2)), Err(Duration::from_secs(4)));
        fail(&mut throttle, who("alice", "192.0.2.1"), 50, at(6));
        assert_eq!(throttle.ask(elsewhere, at(6)), Ok(()));
    }

    #[test]
    fn what_cannot_be_guessed_makes_nobody_wait_and_is_told_all_the_same() {
        let mut throttle = throttle();
        let shared = |name| Asking { guessable: false, ..who(name, "192.0.2.1") };
        let raised = (0..200).filter(|_| throttle.failed(shared(""), at(0)).is_raised()).count();
        assert_eq!(raised, 1);
        fail(&mut throttle, shared("app"), 200, at(0));
        assert_eq!(throttle.ask(shared(""), at(0)), Ok(()));
        assert_eq!(throttle.ask(shared("app"), at(0)), Ok(()));
        assert_eq!(throttle.ask(who("alice", "192.0.2.1"), at(0)), Ok(()), "nor those with passwords");
    }

    #[test]
    fn guesses_of_many_names_at_the_same_time_count_for_their_source() {
        let mut throttle = throttle();
        let names: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
        let admitted = names.iter().filter(|name| throttle.ask(who(name, "192.0.2.1"), at(0)).is_ok()).count();
        assert_eq!(admitted, SOURCE_FREE as usize);
        assert_eq!(throttle.ask(who("u0", "192.0.2.2"), at(0)), Ok(()));
        throttle.gave_up(who("u0", "192.0.2.1"));
        assert_eq!(throttle.ask(who("x", "192.0.2.1"), at(0)), Ok(()), "one place is free again");
    }

    #[test]
    fn guesses_at_the_same_time_count_before_they_are_answered() {
        let mut throttle = throttle();
        let eve = who("alice", "192.0.2.1");
        let admitted = (0..50).filter(|_| throttle.ask(eve, at(0)).is_ok()).count();
        assert_eq!(admitted, PAIR_FREE as usize);
        assert_eq!(throttle.ask(eve, at(31)), Ok(()), "abandoned attempts do not count for ever");
        assert_eq!((0..10).filter(|_| throttle.ask(eve, at(31)).is_ok()).count(), 4);
        throttle.gave_up(eve);
        assert_eq!(throttle.ask(eve, at(31)), Ok(()), "one place is free again");
        let nameless = who("", "192.0.2.9");
        fail(&mut throttle, nameless, SOURCE_FREE, at(0));
        assert!(throttle.ask(nameless, at(0)).is_err(), "without a name the source is measured");
        let workload = Asking { guessable: false, ..who("app", "192.0.2.2") };
        assert_eq!((0..50).filter(|_| throttle.ask(workload, at(0)).is_ok()).count(), 50);
    }

    #[test]
    fn one_source_is_one_network_of_ipv6() {
        let mut throttle = throttle();
        for n in 0..=SOURCE_FREE {
            fail(&mut throttle, who(&format!("u{n}"), &format!("2001:db8::{n:x}")), 1, at(0));
        }
        assert!(throttle.ask(who("x", "2001:db8::ffff"), at(0)).is_err());
        assert_eq!(throttle.ask(who("x", "2001:db8:0:1::1"), at(0)), Ok(()));
        assert_eq!(network(Some("::ffff:10.0.0.1".parse().unwrap())), network(Some("10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn the_fourth_failure_in_five_minutes_raises_one_alarm() {
        let mut throttle = throttle();
        let eve = who("alice", "192.0.2.1");
        let raised: Vec<bool> = (0..6).map(|n| throttle.failed(eve, at(n * 60)).is_raised()).collect();
        assert_eq!(raised, [false, false, false, true, false, false]);
        let slow = who("bob", "192.0.2.2");
        assert!((0..20).all(|n| !throttle.failed(slow, at(n * 101)).is_raised()), "three in five minutes are not more");
        let spread: Vec<Alarm> = (0..4).map(|n| throttle.failed(who("carol", &format!("10.0.{n}.1")), at(0))).collect();
        assert_eq!(spread[3], Alarm { name: true, source: false });
    }

    #[test]
    fn people_are_told_once_in_five_minutes_of_however_many_alarms() {
        let mut throttle = throttle();
        let told: Vec<Option<u32>> = (0..1000).map(|n| throttle.tell("corp", at(n / 4))).collect();
        assert_eq!((told[0], told.iter().flatten().count()), (Some(1), 1));
        assert_eq!(throttle.tell("other", at(1)), Some(1));
        assert_eq!(throttle.tell("corp", at(300)), Some(1000));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut throttle = throttle();
        throttle.most = 30;
        let first = who("first", "192.0.2.1");
        fail(&mut throttle, first, PAIR_FREE + 1, at(0));
        for n in 0..100 {
            fail(&mut throttle, who(&format!("u{n}"), &format!("10.0.0.{n}")), 1, at(0));
        }
        assert_eq!((throttle.entries.len(), throttle.order.len()), (30, 30));
        assert_eq!(throttle.ask(first, at(0)), Ok(()));
    }

    proptest! {
        #[test]
        fn known_and_unknown_names_wait_alike(steps in prop::collection::vec((any::<bool>(), 0_i64..20), 0..60)) {
            // The same history under two names gives the same answers: nothing here knows which of them exists.
            let (mut one, mut other) = (throttle(), throttle());
            let mut now = at(0);
            for (failed, pause) in steps {
                now = now.plus(Duration::from_secs(pause.unsigned_abs()));
                let (a, b) = (who("alice", "192.0.2.1"), who("no-such-name", "192.0.2.1"));
                prop_assert_eq!(one.ask(a, now), other.ask(b, now));
                if failed {
                    prop_assert_eq!(one.failed(a, now), other.failed(b, now));
                } else {
                    one.passed(a);
                    other.passed(b);
                }
            }
        }

        #[test]
        fn a_wait_is_short_and_worth_waiting(fails in 0_u32..200, sources in 1_u32..40, pause in 0_i64..2000) {
            let mut throttle = throttle();
            for n in 0..fails {
                fail(&mut throttle, who("alice", &format!("10.0.0.{}", n % sources)), 1, at(0));
            }
            if let Err(wait) = throttle.ask(who("alice", "10.0.0.0"), at(pause)) {
                prop_assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60));
                prop_assert_eq!(throttle.ask(who("alice", "10.0.0.0"), at(pause).plus(wait)), Ok(()));
            }
        }
    }
}
