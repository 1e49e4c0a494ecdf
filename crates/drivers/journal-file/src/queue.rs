//! The queue between callers and the writer thread. What collects here during one flush is the next batch.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyreeve_journal::{Entry, JournalError};

use crate::completion::Batch;

/// Callers push, the writer takes everything at once.
pub(crate) struct Queue {
    inbox: Mutex<Inbox>,
    ready: Condvar,
    max_bytes: usize,
}

#[derive(Default)]
struct Inbox {
    entries: Vec<Entry>,
    bytes: usize,
    batch: Arc<Batch>,
    // The writer sleeps until so many entries are there; none while it is busy, which saves a system call per append.
    awaited: Option<usize>,
    closed: bool,
    probe: bool,
}

/// What became of a push.
pub(crate) enum Pushed {
    /// Part of a batch, from this entry of it on.
    Queued(Arc<Batch>, u64),
    /// The batch is full: wait for it and push again.
    Full(Arc<Batch>, Vec<Entry>),
}

/// What the writer is to do.
pub(crate) enum Work {
    /// Write these.
    Batch(Vec<Entry>, Arc<Batch>),
    /// See whether a failed log can be written again.
    Probe,
    /// Closed, and everything pushed before was taken.
    Stop,
}

impl Queue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { inbox: Mutex::default(), ready: Condvar::new(), max_bytes }
    }

    /// Adds the entries of one call to the batch that is collecting.
    pub(crate) fn push(&self, mut entries: Vec<Entry>) -> Result<Pushed, JournalError> {
        let bytes: usize = entries.iter().map(|entry| entry.bytes().len() + 2).sum();
        if bytes > self.max_bytes {
            return Err(JournalError::TooLarge { bytes, limit: self.max_bytes });
        }
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(JournalError::Closed);
        }
        if inbox.bytes + bytes > self.max_bytes {
            return Ok(Pushed::Full(inbox.batch.clone(), entries));
        }
        let place = inbox.entries.len() as u64;
        inbox.entries.append(&mut entries);
        inbox.bytes += bytes;
        let batch = inbox.batch.clone();
        if inbox.awaited.is_some_and(|awaited| inbox.entries.len() >= awaited) {
            self.wake(&mut inbox);
        }
        Ok(Pushed::Queued(batch, place))
    }

    /// Asks the writer to try again after a failure.
    pub(crate) fn probe(&self) {
        let mut inbox = self.inbox.lock();
        inbox.probe = true;
        self.wake(&mut inbox);
    }

    /// Refuses further pushes; the writer stops after what is queued.
    pub(crate) fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        self.wake(&mut inbox);
    }

    fn wake(&self, inbox: &mut Inbox) {
        if inbox.awaited.take().is_some() {
            self.ready.notify_one();
        }
    }

    /// Waits for something to do.
    pub(crate) fn take(&self) -> Work {
        let mut inbox = self.inbox.lock();
        loop {
            if !inbox.entries.is_empty() {
                inbox.bytes = 0;
                // Likely as many come again, and growing a vector under the lock is what everybody would wait for.
                let next = Vec::with_capacity(inbox.entries.len());
                let entries = std::mem::replace(&mut inbox.entries, next);
                return Work::Batch(entries, std::mem::take(&mut inbox.batch));
            }
            if std::mem::take(&mut inbox.probe) {
                return Work::Probe;
            }
            if inbox.closed {
                return Work::Stop;
            }
            inbox.awaited = Some(1);
            self.ready.wait(&mut inbox);
        }
    }

    /// Waits until so many entries are queued, there is something else to do, or the time is over.
    pub(crate) fn linger(&self, entries: usize, time: Duration) {
        let until = Instant::now() + time;
        let mut inbox = self.inbox.lock();
        while inbox.entries.len() < entries && inbox.bytes < self.max_bytes / 2 && !inbox.probe && !inbox.closed {
            inbox.awaited = Some(entries);
            if self.ready.wait_until(&mut inbox, until).timed_out() {
                break;
            }
        }
        inbox.awaited = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_journal::conformance::entry;

    /// Far beyond what any step here takes; a broken wait fails the test by its time.
    const LONG: Duration = Duration::from_secs(20);

    /// Runs `act` while another thread lingers for three entries; returns once that thread went on.
    fn lingering(queue: &Queue, act: impl FnOnce()) {
        std::thread::scope(|scope| {
            let started = Instant::now();
            let writer = scope.spawn(|| queue.linger(3, LONG));
            act();
            writer.join().unwrap();
            assert!(started.elapsed() < LONG, "lingered to the end of its time");
        });
    }

    #[test]
    fn lingering_ends_with_enough_entries_a_probe_or_the_end() {
        let queue = Queue::new(1 << 20);
        lingering(&queue, || {
            for n in 0..3 {
                queue.push(vec![entry(n)]).unwrap();
            }
        });
        assert!(matches!(queue.take(), Work::Batch(entries, _) if entries.len() == 3));
        lingering(&queue, || queue.probe());
        assert!(matches!(queue.take(), Work::Probe));
        lingering(&queue, || queue.close());
        assert!(matches!(queue.take(), Work::Stop));
    }

    #[test]
    fn lingering_ends_with_its_time() {
        let queue = Queue::new(1 << 20);
        queue.push(vec![entry(1)]).unwrap();
        queue.linger(3, Duration::from_micros(1));
        assert!(matches!(queue.take(), Work::Batch(entries, _) if entries.len() == 1));
    }
}
