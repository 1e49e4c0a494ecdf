//! The right to be the one server of a store: taken at the start, renewed while running, given back at the end.

use keyreeve_engine::Clock;
use keyreeve_http::CancellationToken;
use keyreeve_model::UnixMillis;
use keyreeve_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

use crate::error::ServerError;

/// How long a lease lasts without being renewed.
const TERM: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(8);
/// How long before its end the server stops to use it, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(6);
/// How often it is tried again after a failure.
const AGAIN: Duration = Duration::from_secs(2);
/// How often another server's lease is looked at, while waiting for its end.
const LOOK: Duration = Duration::from_millis(500);

/// What a lease needs of a store.
pub(crate) trait Leasing: Send + Sync {
    /// As [`Store::lease`].
    fn lease(
        &self,
        holder: &str,
        now: UnixMillis,
        until: UnixMillis,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

impl Leasing for Arc<dyn Store> {
    async fn lease(&self, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, StoreError> {
        Store::lease(&**self, holder, now, until).await
    }
}

/// A lease that was taken.
pub(crate) struct Lease<S = Arc<dyn Store>> {
    store: S,
    clock: Arc<dyn Clock>,
    holder: String,
    renewed: Duration,
}

impl<S: Leasing> Lease<S> {
    /// Takes the lease. One of a server that ended without giving it back is waited for.
    pub(crate) async fn take(store: S, clock: Arc<dyn Clock>, holder: String) -> Result<Self, ServerError> {
        let mut lease = Self { store, clock, holder, renewed: Duration::ZERO };
        let give_up = lease.clock.elapsed() + TERM + LOOK;
        let mut told = false;
        loop {
            match lease.renew().await {
                Ok(true) => return Ok(lease),
                Ok(false) if lease.clock.elapsed() < give_up => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!("another server uses this store: waiting for its lease to end");
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Ok(false) => {
                    let text = "another server uses this store: stop it first; one server uses a store at a time";
                    return Err(ServerError::Refused(text.to_owned()));
                }
                Err(error) => return Err(ServerError::part("store", error)),
            }
        }
    }

    async fn renew(&mut self) -> Result<bool, StoreError> {
        let (now, at) = (self.clock.now(), self.clock.elapsed());
        let until = UnixMillis(now.0 + i64::try_from(TERM.as_millis()).unwrap_or(0));
        let held = self.store.lease(&self.holder, now, until).await?;
        if held {
            self.renewed = at;
        }
        Ok(held)
    }

    /// How long the lease may be used from now on.
    fn left(&self) -> Duration {
        (self.renewed + TERM).saturating_sub(MARGIN + self.clock.elapsed())
    }

    /// Renews until `stop`. Returns false when the lease was lost: then it is somebody else's, or will be before long,
    /// and whatever keeps the store from answering does not put that off.
    pub(crate) async fn keep(mut self, stop: CancellationToken) -> bool {
        let mut pause = RENEWAL;
        // While nobody can write the lease does not change hands, and no time runs out.
        let mut read_only = false;
        loop {
            let next = if read_only { pause } else { pause.min(self.left()) };
            tokio::select! {
                () = stop.cancelled() => return true,
                () = tokio::time::sleep(next) => {}
            }
            let limit = if read_only { self.left().max(MARGIN) } else { self.left() };
            let Ok(renewed) = timeout(limit, self.renew()).await else {
                tracing::warn!("the store did not answer whether the lease is renewed");
                return false;
            };
            match renewed {
                Ok(true) => (pause, read_only) = (RENEWAL, false),
                Ok(false) => return false,
                // A full or read-only disk: nobody can take the lease there either. Asked often, so that this server is
                // the first to know when that ends.
                Err(error @ StoreError::ReadOnly(_)) => {
                    if !std::mem::replace(&mut read_only, true) {
                        tracing::warn!(%error, "the lease on the store cannot be renewed now");
                    }
                    pause = LOOK;
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease on the store was not renewed");
                    if self.left().is_zero() {
                        return false;
                    }
                    (pause, read_only) = (AGAIN, false);
                }
            }
        }
    }

    /// Gives the lease back, so that the next server need not wait. For who still has it.
    pub(crate) async fn give_back(store: &S, clock: &dyn Clock, holder: &str) {
        let now = clock.now();
        if let Err(error) = store.lease(holder, now, now).await {
            tracing::debug!(%error, "the lease on the store was not given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use tokio::time::Instant;

    /// What a store does when the lease is asked for.
    enum Answer {
        Held,
        Taken,
        Fails,
        ReadOnly,
        /// Fails after this many seconds.
        Late(u64),
        /// Never answers.
        Hangs,
    }

    /// Answers in turn; the last one is repeated.
    struct Script(Mutex<VecDeque<Answer>>);

    impl Leasing for Script {
        async fn lease(&self, _: &str, _: UnixMillis, _: UnixMillis) -> Result<bool, StoreError> {
            let answer = {
                let mut answers = self.0.lock().unwrap();
                let next = answers.pop_front().unwrap();
                if answers.is_empty() {
                    answers.push_back(match next {
                        Answer::Late(seconds) => Answer::Late(seconds),
                        Answer::Hangs => Answer::Hangs,
                        Answer::ReadOnly => Answer::ReadOnly,
                        Answer::Held | Answer::Taken | Answer::Fails => Answer::Fails,
                    });
                }
                next
            };
            let failed = || Err(StoreError::Unavailable("injected".into()));
            match answer {
                Answer::Held => Ok(true),
                Answer::Taken => Ok(false),
                Answer::Fails => failed(),
                Answer::ReadOnly => Err(StoreError::ReadOnly("injected".into())),
                Answer::Late(seconds) => {
                    pass(seconds).await;
                    failed()
                }
                Answer::Hangs => std::future::pending().await,
            }
        }
    }

    /// Lets virtual seconds pass.
    async fn pass(seconds: u64) {
        let never = std::future::pending::<()>();
        timeout(Duration::from_secs(seconds), never).await.unwrap_err();
    }

    struct Virtual(Instant);

    impl Clock for Virtual {
        fn now(&self) -> UnixMillis {
            UnixMillis(1_800_000_000_000).plus(self.elapsed())
        }

        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    /// When the server of a lease that was taken at once stops to use it, in seconds, and whether it says that it has
    /// it; `stop` says when it is asked to end.
    async fn kept(answers: impl IntoIterator<Item = Answer>, stop: u64) -> (u64, bool) {
        let began = Instant::now();
        let script = Script(Mutex::new([Answer::Held].into_iter().chain(answers).collect()));
        let lease = Lease::take(script, Arc::new(Virtual(began)), "a".to_owned()).await.unwrap();
        let token = CancellationToken::new();
        let ends = token.clone();
        tokio::spawn(async move {
            pass(stop).await;
            ends.cancel();
        });
        let held = lease.keep(token).await;
        (began.elapsed().as_secs(), held)
    }

    /// The store says for 30 seconds who has the lease; 6 before that its server stops.
    const END: u64 = 24;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_ends_the_server_before_the_lease_ends() {
        assert_eq!(kept([Answer::Hangs], 600).await, (END, false));
        assert_eq!(kept([Answer::Fails, Answer::Hangs], 600).await, (END, false));
        assert_eq!(kept([Answer::Held, Answer::Hangs], 600).await, (8 + END, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_asked_until_the_time_is_over() {
        assert_eq!(kept([Answer::Fails], 600).await, (END, false));
        assert_eq!(kept([Answer::Late(15)], 600).await, (END, false));
        assert_eq!(kept([Answer::Late(10), Answer::Held, Answer::Fails], 600).await, (20 + END, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_of_somebody_else_is_lost_at_once() {
        assert_eq!(kept([Answer::Held, Answer::Taken], 600).await, (16, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_nobody_can_write_takes_no_lease_away() {
        assert_eq!(kept([Answer::ReadOnly], 600).await, (600, true));
        let (ended, held) = kept([Answer::ReadOnly, Answer::Hangs], 600).await;
        assert_eq!((ended, held), (END, false), "what does not answer may be writable again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_end_still_has_the_lease() {
        assert_eq!(kept([Answer::Held, Answer::Held, Answer::Hangs], 20).await, (20, true));
    }
}
