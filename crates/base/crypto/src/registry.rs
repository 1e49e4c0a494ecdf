//! The algorithm registry (K2): how strong each algorithm is, and until when it may be used for what.
//!
//! The registry is data. Moving a date changes what may be created, used, or only used to process what exists, without
//! a change anywhere else. Three sources stand behind the shipped dates:
//!
//! * NIST SP 800-57 part 1 (rev. 5, tables 2 and 3; the same figures in rev. 6): security strengths in bits;
//! * NIST IR 8547 (initial public draft, November 2024): quantum-vulnerable algorithms of 112 bits are deprecated after
//!   2030, all quantum-vulnerable ones disallowed after 2035;
//! * NIST SP 800-131A rev. 2 (2019) and rev. 3 (initial public draft, October 2024): approved algorithms, and the move
//!   from 112 to 128 bits at the end of 2030.
//!
//! "Disallowed" in these documents is about applying protection. What was protected before must remain readable, so the
//! shipped registry lets algorithms sink to processing only and leaves disallowing them altogether to the operator.

use serde::{Deserialize, Serialize};

use crate::algorithm::KeyAlgorithm;

/// 2031-01-01T00:00:00Z, in milliseconds since 1970: the first instant after 2030.
const AFTER_2030: i64 = 1_924_992_000_000;

/// 2036-01-01T00:00:00Z, in milliseconds since 1970: the first instant after 2035.
const AFTER_2035: i64 = 2_082_758_400_000;

/// The dates of an algorithm, each the first instant at which the restriction holds, in milliseconds since 1970.
/// `None`: never. They must not go backwards (see [`Schedule::check`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Still used, but known to be on its way out; reported, not refused.
    pub deprecated_from: Option<i64>,
    /// No new keys.
    pub no_new_keys_from: Option<i64>,
    /// Nothing is encrypted, signed or wrapped any more; decrypting, verifying and unwrapping continue.
    pub process_only_from: Option<i64>,
    /// Nothing at all.
    pub disallowed_from: Option<i64>,
}

impl Schedule {
    /// Checks that the dates come in the order deprecated, no new keys, processing only, disallowed; equal dates are
    /// fine.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn check(&self) -> Result<(), ScheduleError> {
        let dates = [self.deprecated_from, self.no_new_keys_from, self.process_only_from, self.disallowed_from];
        let mut set = dates.into_iter().flatten();
        let Some(mut last) = set.next() else { return Ok(()) };
        for date in set {
            if date < last {
                return Err(ScheduleError);
            }
            last = date;
        }
        Ok(())
    }
}

/// The dates of a schedule are out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dates must come in the order deprecated, no new keys, processing only, disallowed")]
pub struct ScheduleError;

/// What an algorithm's dates say at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// No restriction.
    Acceptable,
    /// Used, on its way out.
    Deprecated {
        /// When applying it ends (milliseconds since 1970), where that is known.
        until: Option<i64>,
    },
    /// Only for decrypting, verifying, unwrapping what exists.
    LegacyProcessOnly,
    /// For nothing.
    Disallowed,
}

/// What is known about one algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AlgorithmEntry {
    /// The algorithm.
    pub algorithm: KeyAlgorithm,
    /// Classical security strength in bits (SP 800-57 part 1, tables 2 and 3); for post-quantum algorithms the strength
    /// of the AES key that their category is defined by (FIPS 203, FIPS 204).
    pub strength_bits: u16,
    /// Whether no attack by a large quantum computer is known that breaks it. Symmetric algorithms of 256 bits keep 128
    /// bits against Grover's algorithm.
    pub quantum_safe: bool,
    /// Whether NIST approves it for protecting US federal data (SP 800-131A and the FIPS and SPs it refers to).
    pub fips_approved: bool,
    /// Whether the whole operation is a service of the AWS-LC FIPS module. What the running process has linked, and
    /// whether that build has a certificate, is another question: see [`FipsStatus`](crate::fips::FipsStatus).
    pub in_module: bool,
    /// The dates.
    pub schedule: Schedule,
}

/// The registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    entries: Vec<AlgorithmEntry>,
}

impl Registry {
    /// The registry as shipped.
    pub fn shipped() -> Self {
        Self { entries: KeyAlgorithm::ALL.iter().map(|&algorithm| shipped_entry(algorithm)).collect() }
    }

    /// Every entry, in the order of the algorithms' codes.
    pub fn entries(&self) -> &[AlgorithmEntry] {
        &self.entries
    }

    /// The entry of an algorithm.
    pub fn entry(&self, algorithm: KeyAlgorithm) -> AlgorithmEntry {
        // Every algorithm has an entry (tested); the shipped one is the answer that is never needed.
        let found = self.entries.iter().find(|entry| entry.algorithm == algorithm);
        found.copied().unwrap_or_else(|| shipped_entry(algorithm))
    }

    /// Moves the dates of an algorithm.
    ///
    /// # Errors
    /// [`ScheduleError`] if they are out of order; nothing changes then.
    pub fn set_schedule(&mut self, algorithm: KeyAlgorithm, schedule: Schedule) -> Result<(), ScheduleError> {
        schedule.check()?;
        for entry in self.entries.iter_mut().filter(|entry| entry.algorithm == algorithm) {
            entry.schedule = schedule;
        }
        Ok(())
    }

    /// What the dates say at `now_ms` (milliseconds since 1970).
    pub fn status(&self, algorithm: KeyAlgorithm, now_ms: i64) -> Status {
        let schedule = self.entry(algorithm).schedule;
        let reached = |date: Option<i64>| date.is_some_and(|date| date <= now_ms);
        if reached(schedule.disallowed_from) {
            Status::Disallowed
        } else if reached(schedule.process_only_from) {
            Status::LegacyProcessOnly
        } else if reached(schedule.deprecated_from) || reached(schedule.no_new_keys_from) {
            Status::Deprecated { until: schedule.process_only_from.or(schedule.disallowed_from) }
        } else {
            Status::Acceptable
        }
    }

    /// Whether new keys may be made or imported.
    pub fn may_create(&self, algorithm: KeyAlgorithm, now_ms: i64) -> bool {
        let stopped = self.entry(algorithm).schedule.no_new_keys_from.is_some_and(|date| date <= now_ms);
        !stopped && self.may_apply(algorithm, now_ms)
    }

    /// Whether existing keys may encrypt, sign, authenticate, wrap, derive, agree or encapsulate.
    pub fn may_apply(&self, algorithm: KeyAlgorithm, now_ms: i64) -> bool {
        match self.status(algorithm, now_ms) {
            Status::Acceptable | Status::Deprecated { .. } => true,
            Status::LegacyProcessOnly | Status::Disallowed => false,
        }
    }

    /// Whether existing keys may decrypt, verify, unwrap or decapsulate.
    pub fn may_process(&self, algorithm: KeyAlgorithm, now_ms: i64) -> bool {
        match self.status(algorithm, now_ms) {
            Status::Acceptable | Status::Deprecated { .. } | Status::LegacyProcessOnly => true,
            Status::Disallowed => false,
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::shipped()
    }
}

/// No date is set for it.
const OPEN: Schedule =
    Schedule { deprecated_from: None, no_new_keys_from: None, process_only_from: None, disallowed_from: None };

/// Quantum-vulnerable with at least 128 bits: nothing is protected with it after 2035 (IR 8547, tables 2 and 4).
const UNTIL_2035: Schedule = Schedule {
    deprecated_from: None,
    no_new_keys_from: Some(AFTER_2035),
    process_only_from: Some(AFTER_2035),
    disallowed_from: None,
};

/// Quantum-vulnerable with 112 bits: deprecated after 2030, nothing is protected with it after 2035 (IR 8547, tables 2
/// and 4). That no new keys are made while it is deprecated is our choice.
const UNTIL_2030: Schedule = Schedule {
    deprecated_from: Some(AFTER_2030),
    no_new_keys_from: Some(AFTER_2030),
    process_only_from: Some(AFTER_2035),
    disallowed_from: None,
};

/// What is shipped for an algorithm, with the source of each line beside it.
fn shipped_entry(algorithm: KeyAlgorithm) -> AlgorithmEntry {
    use KeyAlgorithm as K;
    let (strength_bits, quantum_safe, fips_approved, in_module, schedule) = match algorithm {
        // SP 800-38D under a key from an SP 800-108r1 KDF with CMAC: approved parts; their composition is done outside
        // of the module. AES-256: SP 800-57-1 table 2.
        K::Xaes256Gcm => (256, true, true, false, OPEN),
        // SP 800-38D. The nonce is drawn by us, from the module's generator, and not inside of the module's own
        // encrypt-with-random-nonce service.
        K::Aes256Gcm => (256, true, true, false, OPEN),
        // RFC 8452; no NIST publication approves it.
        K::Aes256GcmSiv => (256, true, false, false, OPEN),
        // RFC 8439; no NIST publication approves it.
        K::ChaCha20Poly1305 => (256, true, false, false, OPEN),
        // FIPS 198-1; SP 800-57-1 table 3: HMAC with SHA-256 and a 256-bit key has 256 bits.
        K::HmacSha256 | K::HmacSha384 | K::HmacSha512 => (256, true, true, true, OPEN),
        // FIPS 186-5, SP 800-56B; SP 800-57-1 table 2: 2048 bits give 112.
        K::Rsa2048 => (112, false, true, true, UNTIL_2030),
        // SP 800-57-1 table 2: 3072 bits give 128, and 4096 lie below the 192 of 7680 bits, so they count as 128.
        K::Rsa3072 | K::Rsa4096 => (128, false, true, true, UNTIL_2035),
        // FIPS 186-5, SP 800-56A, SP 800-186; SP 800-57-1 table 2.
        K::EcP256 => (128, false, true, true, UNTIL_2035),
        K::EcP384 => (192, false, true, true, UNTIL_2035),
        K::EcP521 => (256, false, true, true, UNTIL_2035),
        // FIPS 186-5, 7; SP 800-186: about 128 bits. aws-lc-rs does not offer it as an approved service.
        K::Ed25519 => (128, false, true, false, UNTIL_2035),
        // RFC 7748; SP 800-56A does not approve Curve25519 for agreement.
        K::X25519 => (128, false, false, false, UNTIL_2035),
        // FIPS 203, table 2 and section 8: categories 3 and 5.
        K::MlKem768 => (192, true, true, true, OPEN),
        K::MlKem1024 => (256, true, true, true, OPEN),
        // FIPS 204, table 1: category 2 (collision search on a 256-bit hash), counted as 128; categories 3 and 5.
        K::MlDsa44 => (128, true, true, true, OPEN),
        K::MlDsa65 => (192, true, true, true, OPEN),
        K::MlDsa87 => (256, true, true, true, OPEN),
        // SP 800-38F.
        K::Aes256Kw => (256, true, true, true, OPEN),
        // SP 800-108r1, SP 800-56C.
        K::Kdk256 => (256, true, true, true, OPEN),
    };
    AlgorithmEntry { algorithm, strength_bits, quantum_safe, fips_approved, in_module, schedule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IN_2026: i64 = 1_795_000_000_000;

    #[test]
    fn every_algorithm_has_one_entry() {
        let registry = Registry::shipped();
        let listed: Vec<_> = registry.entries().iter().map(|entry| entry.algorithm).collect();
        assert_eq!(listed, KeyAlgorithm::ALL);
        for entry in registry.entries() {
            entry.schedule.check().unwrap();
            assert!(entry.strength_bits >= 112);
            assert!(registry.may_create(entry.algorithm, IN_2026), "{}", entry.algorithm);
        }
    }

    #[test]
    fn quantum_vulnerable_algorithms_end_and_the_others_do_not() {
        let registry = Registry::shipped();
        for entry in registry.entries() {
            let ends = !registry.may_apply(entry.algorithm, AFTER_2035);
            assert_eq!(ends, !entry.quantum_safe, "{}", entry.algorithm);
            assert!(registry.may_apply(entry.algorithm, AFTER_2035 - 1));
            assert!(registry.may_process(entry.algorithm, AFTER_2035));
        }
    }

    #[test]
    fn rsa_2048_goes_through_its_dates() {
        let registry = Registry::shipped();
        let rsa = KeyAlgorithm::Rsa2048;
        assert_eq!(registry.status(rsa, AFTER_2030 - 1), Status::Acceptable);
        assert_eq!(registry.status(rsa, AFTER_2030), Status::Deprecated { until: Some(AFTER_2035) });
        assert!(registry.may_create(rsa, AFTER_2030 - 1));
        assert!(!registry.may_create(rsa, AFTER_2030));
        assert!(registry.may_apply(rsa, AFTER_2030));
        assert_eq!(registry.status(rsa, AFTER_2035), Status::LegacyProcessOnly);
        assert!(registry.may_create(KeyAlgorithm::Rsa3072, AFTER_2030));
    }

    #[test]
    fn moving_a_date_changes_what_is_allowed() {
        let mut registry = Registry::shipped();
        let gcm = KeyAlgorithm::Aes256Gcm;
        let schedule = Schedule { disallowed_from: Some(IN_2026), ..Schedule::default() };
        registry.set_schedule(gcm, schedule).unwrap();
        assert_eq!(registry.status(gcm, IN_2026), Status::Disallowed);
        assert!(!registry.may_process(gcm, IN_2026));
        assert!(registry.may_create(gcm, IN_2026 - 1));
        assert!(registry.may_process(KeyAlgorithm::Xaes256Gcm, IN_2026));
        let backwards = Schedule { deprecated_from: Some(2), process_only_from: Some(1), ..Schedule::default() };
        assert_eq!(registry.set_schedule(gcm, backwards), Err(ScheduleError));
        assert_eq!(registry.entry(gcm).schedule, schedule);
    }

    #[test]
    fn the_dates_are_the_turns_of_the_years() {
        // 61 and 66 years after 1970 with 15 and 16 leap days.
        assert_eq!(AFTER_2030, (61 * 365 + 15) * 86_400_000);
        assert_eq!(AFTER_2035, (66 * 365 + 16) * 86_400_000);
    }

    #[test]
    fn unknown_fields_of_a_schedule_are_refused() {
        assert!(serde_json::from_str::<Schedule>(r#"{"deprecated_from": 5}"#).is_ok());
        assert!(serde_json::from_str::<Schedule>(r#"{"depricated_from": 5}"#).is_err());
    }

    proptest! {
        /// What may be created may be applied, what may be applied may be processed, and nothing comes back.
        #[test]
        fn permissions_only_shrink(
            mut dates in proptest::array::uniform4(0i64..1000),
            present in proptest::array::uniform4(any::<bool>()),
            a in 0i64..1000,
            b in 0i64..1000,
        ) {
            dates.sort_unstable();
            let date = |i: usize| present[i].then_some(dates[i]);
            let schedule = Schedule {
                deprecated_from: date(0),
                no_new_keys_from: date(1),
                process_only_from: date(2),
                disallowed_from: date(3),
            };
            let mut registry = Registry::shipped();
            let algorithm = KeyAlgorithm::Ed25519;
            registry.set_schedule(algorithm, schedule).unwrap();
            let at = |now| {
                let all = [
                    registry.may_create(algorithm, now),
                    registry.may_apply(algorithm, now),
                    registry.may_process(algorithm, now),
                ];
                prop_assert!(all[0] <= all[1] && all[1] <= all[2]);
                Ok(all)
            };
            let (early, late) = (at(a.min(b))?, at(a.max(b))?);
            prop_assert!((0..3).all(|i| late[i] <= early[i]));
        }
    }
}
