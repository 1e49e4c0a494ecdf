//! Between callers and a service: so many requests at once, a time limit for each, retries, and none at all while the
//! service is out.

use std::future::Future;
use std::time::Duration;

use keyreeve_crypto::random::Random;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{Limits, RemoteError};

/// The first pause between two attempts is up to this long, each following one up to twice the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// For how long nothing is asked after a call failed with all its retries; twice as long each further time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Guard {
    limits: Limits,
    random: Random,
    places: Semaphore,
    breaker: Mutex<Breaker>,
}

/// Open between `since_failure` and its end: nothing is asked. Then one call tries, and the others are refused until it
/// is known how that went.
#[derive(Default)]
struct Breaker {
    rest: Option<Duration>,
    until: Option<Instant>,
    trying: bool,
}

/// How a call may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// With retries.
    Normal,
    /// Once, to see whether the service is back.
    Trial,
}

impl Guard {
    pub(crate) fn new(limits: Limits, random: Random) -> Self {
        let places = Semaphore::new(limits.at_once.max(1));
        Self { limits, random, places, breaker: Mutex::new(Breaker::default()) }
    }

    /// Asks, as often as it takes and the limits allow.
    pub(crate) async fn call<T, F>(&self, ask: impl Fn() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let leave = self.breaker.lock().leave()?;
        // A caller that goes away in the middle of a trial must not leave the breaker waiting for it.
        let mut trial = Trial { guard: self, over: leave == Leave::Normal };
        let outcome = self.attempts(leave, ask).await;
        trial.over = true;
        match &outcome {
            Err(RemoteError::Unreachable(_)) => self.breaker.lock().failed(),
            // Whoever answers, be it with a refusal, is there.
            _ => self.breaker.lock().answered(),
        }
        outcome
    }

    async fn attempts<T, F>(&self, leave: Leave, ask: impl Fn() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let end = Instant::now() + self.limits.budget;
        let mut longest = FIRST_PAUSE;
        loop {
            let error = match self.once(end, &ask).await {
                Err(error) if error.is_passing() => error,
                outcome => return outcome,
            };
            if leave == Leave::Trial || self.breaker.lock().is_open() {
                return Err(error);
            }
            let mut pause = self.jitter(longest);
            if let RemoteError::Throttled { after: Some(after), .. } = &error {
                pause = pause.saturating_add(*after);
            }
            longest = (longest * 2).min(LONGEST_PAUSE);
            if pause >= end.saturating_duration_since(Instant::now()) {
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    async fn once<T, F>(&self, end: Instant, ask: impl Fn() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let crowded = || RemoteError::Unreachable("too many requests wait for it".to_owned());
        let place = timeout_at(end, self.places.acquire()).await.map_err(|_| crowded())?;
        let _place = place.map_err(|_| crowded())?;
        let left = end.saturating_duration_since(Instant::now()).min(self.limits.request);
        let late = |_| RemoteError::Unreachable("no answer in time".to_owned());
        timeout(left, ask()).await.map_err(late)?
    }

    /// Between nothing and `longest`, evenly: callers that failed together do not come back together.
    fn jitter(&self, longest: Duration) -> Duration {
        let Ok(drawn) = self.random.nonce_array::<4>() else { return longest };
        longest.mul_f64(f64::from(u32::from_be_bytes(drawn)) / f64::from(u32::MAX))
    }
}

impl Breaker {
    fn leave(&mut self) -> Result<Leave, RemoteError> {
        let Some(until) = self.until else { return Ok(Leave::Normal) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && !self.trying {
            self.trying = true;
            return Ok(Leave::Trial);
        }
        let left = left.as_secs() + 1;
        Err(RemoteError::Unreachable(format!("it did not answer lately, and is asked again within {left} s")))
    }

    fn is_open(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    fn answered(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self) {
        self.trying = false;
        // Calls that were under way when the first of them gave up say nothing new.
        if !self.is_open() {
            let rest = self.rest.map_or(FIRST_REST, |rest| (rest * 2).min(LONGEST_REST));
            *self = Self { rest: Some(rest), until: Some(Instant::now() + rest), trying: false };
        }
    }
}

struct Trial<'a> {
    guard: &'a Guard,
    over: bool,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.guard.breaker.lock().trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn guard(limits: Limits) -> Guard {
        Guard::new(limits, Random::from_module().unwrap())
    }

    fn out() -> RemoteError {
        RemoteError::Unreachable("out".to_owned())
    }

    /// Asks a service that answers with `answer` from the nth request on, and fails with `error` before.
    async fn ask(guard: &Guard, asked: &AtomicUsize, failing: usize, error: RemoteError) -> Result<(), RemoteError> {
        let one = || async {
            let before = asked.fetch_add(1, Ordering::SeqCst);
            if before < failing { Err(error.clone()) } else { Ok(()) }
        };
        guard.call(one).await
    }

    #[tokio::test(start_paused = true)]
    async fn passing_trouble_is_tried_again_within_the_budget() {
        let asked = AtomicUsize::new(0);
        let throttled = RemoteError::Throttled { said: "slow down".to_owned(), after: None };
        for error in [out(), throttled] {
            asked.store(0, Ordering::SeqCst);
            ask(&guard(Limits::default()), &asked, 3, error).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_as_long_as_it_is_told() {
        let throttled = RemoteError::Throttled { said: "slow down".to_owned(), after: Some(Duration::from_secs(2)) };
        let (asked, begun) = (AtomicUsize::new(0), Instant::now());
        ask(&guard(Limits::default()), &asked, 1, throttled.clone()).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(2));
        let begun = Instant::now();
        asked.store(0, Ordering::SeqCst);
        assert_eq!(ask(&guard(Limits::default()), &asked, 99, throttled.clone()).await, Err(throttled));
        assert!(begun.elapsed() <= Limits::default().budget);
        assert!((3..=4).contains(&asked.load(Ordering::SeqCst)));
        let forever = RemoteError::Throttled { said: "slow down".to_owned(), after: Some(Duration::MAX) };
        assert_eq!(ask(&guard(Limits::default()), &asked, usize::MAX, forever.clone()).await, Err(forever));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_not_tried_again() {
        for error in
            [RemoteError::Refused("no".to_owned()), RemoteError::Unwrap, RemoteError::Malformed("what".to_owned())]
        {
            let asked = AtomicUsize::new(0);
            assert_eq!(ask(&guard(Limits::default()), &asked, 9, error.clone()).await, Err(error));
            assert_eq!(asked.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_silent_costs_one_budget_and_then_nothing() {
        let limits = Limits::default();
        let guard = guard(limits);
        let begun = Instant::now();
        let silent = || std::future::pending::<Result<(), RemoteError>>();
        assert!(guard.call(silent).await.is_err());
        assert!(begun.elapsed() <= limits.budget);
        let (asked, begun) = (AtomicUsize::new(0), Instant::now());
        for _ in 0..100 {
            assert!(ask(&guard, &asked, 0, out()).await.unwrap_err().to_string().contains("asked again within"));
        }
        assert_eq!((asked.load(Ordering::SeqCst), begun.elapsed()), (0, Duration::ZERO), "nobody asked, nobody waited");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rest_one_call_tries_once_and_opens_the_way() {
        let (guard, asked) = (guard(Limits::default()), AtomicUsize::new(0));
        assert!(ask(&guard, &asked, usize::MAX, out()).await.is_err());
        tokio::time::advance(FIRST_REST).await;
        asked.store(0, Ordering::SeqCst);
        assert_eq!(ask(&guard, &asked, usize::MAX, out()).await, Err(out()));
        assert_eq!(asked.load(Ordering::SeqCst), 1, "a trial is one request");
        tokio::time::advance(FIRST_REST).await;
        assert!(ask(&guard, &asked, 0, out()).await.is_err(), "the second rest is longer");
        tokio::time::advance(FIRST_REST).await;
        ask(&guard, &asked, 0, out()).await.unwrap();
        ask(&guard, &asked, 0, out()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_abandoned_leaves_the_way_to_the_next() {
        let (guard, asked) = (guard(Limits::default()), AtomicUsize::new(0));
        assert!(ask(&guard, &asked, usize::MAX, out()).await.is_err());
        tokio::time::advance(FIRST_REST).await;
        let silent = || std::future::pending::<Result<(), RemoteError>>();
        assert!(timeout(Duration::from_millis(1), guard.call(silent)).await.is_err());
        asked.store(0, Ordering::SeqCst);
        ask(&guard, &asked, 0, out()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_requests_at_once_than_allowed() {
        let guard = guard(Limits { at_once: 3, ..Limits::default() });
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = || async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        for outcome in futures::future::join_all((0..50).map(|_| guard.call(one))).await {
            outcome.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }
}
