//! The queue between callers and the writer thread. What collects here during one flush is the next batch.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

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
    // The writer sleeps and must be woken; saves a system call per append while it is busy.
    idle: bool,
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
        self.wake(&mut inbox);
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
        if std::mem::take(&mut inbox.idle) {
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
            inbox.idle = true;
            self.ready.wait(&mut inbox);
        }
    }
}
