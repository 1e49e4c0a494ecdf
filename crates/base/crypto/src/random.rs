//! Random values, and the watch over the entropy they come from (K20).
//!
//! All random values are drawn from the generator of the cryptographic module (AES-256 CTR_DRBG, SP 800-90A), which
//! seeds itself from the operating system. Beside it the process draws samples from the same entropy source and puts
//! them through the health tests of SP 800-90B ([`crate::health`]): at start-up, on demand, and continuously as random
//! values are used. When a test fails the [`Random`] gives nothing any more, for good: restarting the process is what
//! repeats the start-up tests.
//!
//! Nonces are handed out of a buffer per thread, since one call of the generator costs more than encrypting a small
//! message. The buffer is wiped as it is handed out. Key material does not go through it.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyreeve_secret::{SecretArray, SecretBytes};
use zeroize::Zeroizing;

use crate::health::{HealthFailure, HealthTests, STARTUP_SAMPLES};

/// Bytes drawn at once for the buffer of a thread. A call of the generator costs about 1 µs whatever it gives, so a
/// large buffer makes a nonce cheap.
const POOL: usize = 16 * 1024;

/// Samples drawn and tested whenever a buffer is filled or key material is drawn.
const CONTINUOUS_SAMPLES: usize = 64;

/// Where entropy samples come from: the operating system, in the server.
pub trait EntropySource: Send + Sync {
    /// Fills `out` with fresh samples, one per byte.
    ///
    /// # Errors
    /// [`EntropyUnavailable`] if there are none.
    fn sample(&self, out: &mut [u8]) -> Result<(), EntropyUnavailable>;
}

/// The entropy source gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entropy source gives no samples")]
pub struct EntropyUnavailable;

/// Why there are no random values. Once it has occurred it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RandomError {
    /// A health test failed.
    #[error("{0}; no random values are given any more, restart to test again")]
    Health(HealthFailure),
    /// The source of samples gave none.
    #[error("the entropy source gives no samples; no random values are given any more, restart to test again")]
    Unavailable,
    /// The generator of the cryptographic module failed.
    #[error("the generator of the cryptographic module failed; restart to test again")]
    Generator,
}

impl RandomError {
    const ALL: [Self; 5] = [
        Self::Health(HealthFailure::Repetition),
        Self::Health(HealthFailure::Proportion),
        Self::Health(HealthFailure::RepeatedBlock),
        Self::Unavailable,
        Self::Generator,
    ];

    /// Position in [`ALL`](Self::ALL), counted from 1; 0 stands for "healthy".
    fn code(self) -> u8 {
        match self {
            Self::Health(HealthFailure::Repetition) => 1,
            Self::Health(HealthFailure::Proportion) => 2,
            Self::Health(HealthFailure::RepeatedBlock) => 3,
            Self::Unavailable => 4,
            Self::Generator => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// The process's handle to random values. Cloning gives another handle to the same state.
#[derive(Clone)]
pub struct Random {
    shared: Arc<Shared>,
}

struct Shared {
    failure: AtomicU8,
    source: Box<dyn EntropySource>,
    tests: Mutex<HealthTests>,
}

impl Random {
    /// Runs the start-up tests on [`STARTUP_SAMPLES`] samples of `source` and watches it from then on.
    ///
    /// # Errors
    /// [`RandomError`] if a test fails or the source gives nothing.
    pub fn start(source: Box<dyn EntropySource>) -> Result<Self, RandomError> {
        let shared = Shared { failure: AtomicU8::new(0), source, tests: Mutex::new(HealthTests::new()) };
        let random = Self { shared: Arc::new(shared) };
        random.observe(STARTUP_SAMPLES)?;
        Ok(random)
    }

    /// Watches the module's own generator, for programs that have no business with the entropy source: clients and
    /// tests. The server hands in the operating system's source instead.
    ///
    /// # Errors
    /// [`RandomError`] if a test fails.
    pub fn from_module() -> Result<Self, RandomError> {
        Self::start(Box::new(ModuleSource))
    }

    /// Whether random values are still given.
    ///
    /// # Errors
    /// The failure that stopped them.
    #[inline]
    pub fn status(&self) -> Result<(), RandomError> {
        match RandomError::from_code(self.shared.failure.load(Ordering::Acquire)) {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    /// Repeats the start-up tests on fresh samples.
    ///
    /// # Errors
    /// [`RandomError`]; it stays.
    pub fn test_on_demand(&self) -> Result<(), RandomError> {
        self.status()?;
        let samples = self.samples(STARTUP_SAMPLES)?;
        HealthTests::new().feed(&samples).map_err(|failure| self.fail(RandomError::Health(failure)))
    }

    /// How many samples the continuous tests have seen.
    pub fn samples_tested(&self) -> u64 {
        self.shared.tests.lock().unwrap_or_else(PoisonError::into_inner).samples()
    }

    /// Fills `out` from the buffer of this thread: for nonces, identifiers, salts, everything that is not secret.
    ///
    /// # Errors
    /// [`RandomError`]; `out` must not be used then.
    pub fn nonce(&self, out: &mut [u8]) -> Result<(), RandomError> {
        self.status()?;
        if out.len() > POOL / 4 {
            return self.fill(out);
        }
        match THREAD_POOL.try_with(|pool| pool.borrow_mut().take(self, out)) {
            Ok(taken) => taken,
            // The thread is ending and its buffer is gone already.
            Err(_) => self.fill(out),
        }
    }

    /// A public random value of `N` bytes, as [`nonce`](Self::nonce).
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn nonce_array<const N: usize>(&self) -> Result<[u8; N], RandomError> {
        let mut out = [0; N];
        self.nonce(&mut out)?;
        Ok(out)
    }

    /// Fills `out` directly from the generator, past every buffer: for key material.
    ///
    /// # Errors
    /// [`RandomError`]; `out` must not be used then.
    pub fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        self.observe(CONTINUOUS_SAMPLES)?;
        self.draw(out)
    }

    /// A fresh secret of `N` bytes.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn secret_array<const N: usize>(&self) -> Result<SecretArray<N>, RandomError> {
        SecretArray::try_init_with(|out| self.fill(out))
    }

    /// A fresh secret of `len` bytes.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn secret_bytes(&self, len: usize) -> Result<SecretBytes, RandomError> {
        SecretBytes::try_init_with(len, |out| self.fill(out))
    }

    /// The continuous tests, before the module draws random values by itself (key generation, randomised signatures).
    pub(crate) fn observe_continuous(&self) -> Result<(), RandomError> {
        self.observe(CONTINUOUS_SAMPLES)
    }

    fn observe(&self, count: usize) -> Result<(), RandomError> {
        self.status()?;
        let samples = self.samples(count)?;
        let fed = self.shared.tests.lock().unwrap_or_else(PoisonError::into_inner).feed(&samples);
        fed.map_err(|failure| self.fail(RandomError::Health(failure)))
    }

    fn samples(&self, count: usize) -> Result<Zeroizing<Vec<u8>>, RandomError> {
        let mut samples = Zeroizing::new(vec![0; count]);
        match self.shared.source.sample(&mut samples) {
            Ok(()) => Ok(samples),
            Err(EntropyUnavailable) => Err(self.fail(RandomError::Unavailable)),
        }
    }

    fn draw(&self, out: &mut [u8]) -> Result<(), RandomError> {
        aws_lc_rs::rand::fill(out).map_err(|_| self.fail(RandomError::Generator))
    }

    /// Latches the first failure and answers with it.
    fn fail(&self, failure: RandomError) -> RandomError {
        let first = self.shared.failure.compare_exchange(0, failure.code(), Ordering::AcqRel, Ordering::Acquire);
        first.err().and_then(RandomError::from_code).unwrap_or(failure)
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Random values drawn ahead, for this thread only.
struct Pool {
    bytes: SecretBytes,
    used: usize,
}

thread_local! {
    static THREAD_POOL: RefCell<Pool> = RefCell::new(Pool::empty());
}

impl Pool {
    fn empty() -> Self {
        Self { bytes: SecretBytes::init_with(POOL, |_| {}), used: POOL }
    }

    fn take(&mut self, random: &Random, out: &mut [u8]) -> Result<(), RandomError> {
        if self.bytes.len() - self.used < out.len() {
            self.refill(random)?;
        }
        self.bytes.take_into(self.used, out).map_err(|_| RandomError::Generator)?;
        self.used += out.len();
        Ok(())
    }

    fn refill(&mut self, random: &Random) -> Result<(), RandomError> {
        // Until it is filled nothing of it may be given out.
        self.used = POOL;
        random.fill(self.bytes.expose_mut())?;
        self.used = 0;
        Ok(())
    }
}

/// Samples of the module's generator.
struct ModuleSource;

impl EntropySource for ModuleSource {
    fn sample(&self, out: &mut [u8]) -> Result<(), EntropyUnavailable> {
        aws_lc_rs::rand::fill(out).map_err(|_| EntropyUnavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::atomic::AtomicBool;

    /// A source that turns bad on command.
    struct Switchable {
        bad: Arc<AtomicBool>,
        fault: fn(&mut [u8]) -> Result<(), EntropyUnavailable>,
    }

    impl EntropySource for Switchable {
        fn sample(&self, out: &mut [u8]) -> Result<(), EntropyUnavailable> {
            if self.bad.load(Ordering::Relaxed) { (self.fault)(out) } else { ModuleSource.sample(out) }
        }
    }

    fn switchable(fault: fn(&mut [u8]) -> Result<(), EntropyUnavailable>) -> (Random, Arc<AtomicBool>) {
        let bad = Arc::new(AtomicBool::new(false));
        (Random::start(Box::new(Switchable { bad: bad.clone(), fault })).unwrap(), bad)
    }

    fn stuck(out: &mut [u8]) -> Result<(), EntropyUnavailable> {
        out.fill(0x55);
        Ok(())
    }

    #[test]
    fn nonces_differ() {
        let random = Random::from_module().unwrap();
        let drawn: HashSet<[u8; 24]> = (0..10_000).map(|_| random.nonce_array().unwrap()).collect();
        assert_eq!(drawn.len(), 10_000);
        let large: [u8; 5000] = random.nonce_array().unwrap();
        assert!(large.iter().any(|&b| b != 0));
        assert!(!random.secret_array::<32>().unwrap().ct_eq(&[0; 32]));
        assert_eq!(random.secret_bytes(99).unwrap().len(), 99);
    }

    #[test]
    fn threads_do_not_share_values() {
        let random = Random::from_module().unwrap();
        let draw = || (0..1000).map(|_| random.nonce_array().unwrap()).collect::<Vec<[u8; 16]>>();
        let all: HashSet<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.len(), 4000);
    }

    #[test]
    fn what_was_given_is_wiped_from_the_buffer() {
        let random = Random::from_module().unwrap();
        let mut pool = Pool::empty();
        pool.take(&random, &mut [0; 100]).unwrap();
        assert_eq!(pool.used, 100);
        assert!(pool.bytes.expose()[..100].iter().all(|&b| b == 0));
        assert!(pool.bytes.expose()[100..].iter().any(|&b| b != 0));
    }

    #[test]
    fn a_bad_start_is_refused() {
        let source = Switchable { bad: Arc::new(AtomicBool::new(true)), fault: stuck };
        assert_eq!(Random::start(Box::new(source)).unwrap_err(), RandomError::Health(HealthFailure::Repetition));
        let source = Switchable { bad: Arc::new(AtomicBool::new(true)), fault: |_| Err(EntropyUnavailable) };
        assert_eq!(Random::start(Box::new(source)).unwrap_err(), RandomError::Unavailable);
    }

    #[test]
    fn a_failure_stays() {
        let (random, bad) = switchable(stuck);
        assert_eq!(random.samples_tested(), STARTUP_SAMPLES as u64);
        random.secret_array::<32>().unwrap();
        random.test_on_demand().unwrap();
        bad.store(true, Ordering::Relaxed);
        let failure = RandomError::Health(HealthFailure::Repetition);
        assert_eq!(random.secret_array::<32>().unwrap_err(), failure);
        bad.store(false, Ordering::Relaxed);
        assert_eq!(random.status(), Err(failure));
        assert_eq!(random.nonce_array::<24>().unwrap_err(), failure);
        assert_eq!(random.test_on_demand(), Err(failure));
        assert_eq!(random.clone().fill(&mut [0; 4]), Err(failure));
    }

    #[test]
    fn nonces_stop_when_the_buffer_needs_filling() {
        let (random, bad) = switchable(|_| Err(EntropyUnavailable));
        bad.store(true, Ordering::Relaxed);
        let outcome = (0..=POOL / 24).try_for_each(|_| random.nonce_array::<24>().map(|_| ()));
        assert_eq!(outcome, Err(RandomError::Unavailable));
    }

    #[test]
    fn a_test_on_demand_finds_a_bad_source() {
        let (random, bad) = switchable(stuck);
        bad.store(true, Ordering::Relaxed);
        assert!(random.test_on_demand().is_err());
        assert!(random.status().is_err());
    }

    #[test]
    fn codes_and_failures_correspond() {
        for (failure, code) in RandomError::ALL.into_iter().zip(1..) {
            assert_eq!(failure.code(), code);
            assert_eq!(RandomError::from_code(code), Some(failure));
        }
        assert_eq!(RandomError::from_code(0), None);
        assert_eq!(RandomError::from_code(6), None);
    }
}
