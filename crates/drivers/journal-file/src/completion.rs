//! Waking the callers of a batch: one hand-off from the writer thread for all of them.
//!
//! The writer finishes a batch and notifies one task; that task wakes the waiters from inside the async runtime,
//! where a wake-up is a push onto a local queue and not a lock and a system call each.

use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keyreeve_journal::JournalError;
use tokio::sync::Notify;

/// Where the entries of a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) first_index: u64,
    pub(crate) tree_size: u64,
}

/// The shared outcome of everything that is flushed together.
#[derive(Default)]
pub(crate) struct Batch {
    state: Mutex<BatchState>,
}

#[derive(Default)]
struct BatchState {
    outcome: Option<Result<Committed, JournalError>>,
    wakers: Vec<Waker>,
}

impl Batch {
    fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.state.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Waits for the outcome of a batch.
pub(crate) struct Wait {
    batch: Arc<Batch>,
    place: Option<usize>,
}

impl Wait {
    pub(crate) const fn new(batch: Arc<Batch>) -> Self {
        Self { batch, place: None }
    }
}

impl Future for Wait {
    type Output = Result<Committed, JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let batch = self.batch.clone();
        let mut state = batch.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        match self.place.and_then(|place| state.wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                self.place = Some(state.wakers.len());
                state.wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Takes finished batches from the writer thread to the async side.
#[derive(Default)]
pub(crate) struct Distributor {
    state: Mutex<DistributorState>,
    notify: Notify,
}

#[derive(Default)]
struct DistributorState {
    finished: Vec<Arc<Batch>>,
    // False before the task runs and once its runtime is gone: then the writer wakes directly.
    alive: bool,
    stopped: bool,
}

impl Distributor {
    /// Starts the waking task on the current runtime.
    pub(crate) fn spawn(self: &Arc<Self>) {
        self.state.lock().alive = true;
        let guard = Guard(self.clone());
        tokio::spawn(async move {
            loop {
                guard.0.notify.notified().await;
                guard.0.wake_finished();
                if guard.0.state.lock().stopped {
                    return;
                }
            }
        });
    }

    /// Sets the outcome of a batch and has its waiters woken.
    pub(crate) fn finish(&self, batch: Arc<Batch>, outcome: Result<Committed, JournalError>) {
        batch.state.lock().outcome = Some(outcome);
        let mut state = self.state.lock();
        if state.alive {
            state.finished.push(batch);
            drop(state);
            self.notify.notify_one();
        } else {
            drop(state);
            batch.wake_all();
        }
    }

    /// Ends the task.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.notify.notify_one();
    }

    fn wake_finished(&self) {
        let finished = std::mem::take(&mut self.state.lock().finished);
        finished.iter().for_each(|batch| batch.wake_all());
    }
}

/// Tells the writer that nobody wakes for it any more, however the task ended.
struct Guard(Arc<Distributor>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state.lock().alive = false;
        self.0.wake_finished();
    }
}
