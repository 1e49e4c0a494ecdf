//! What the callers, the writer thread and the tiler thread share.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use keyreeve_audit::NoteSigner;
use keyreeve_journal::JournalError;
use tokio::sync::oneshot;

use crate::completion::Distributor;
use crate::log::Log;
use crate::queue::Queue;
use crate::{Clock, Options};

/// One open journal.
pub(crate) struct Shared {
    pub(crate) log: Log,
    pub(crate) queue: Queue,
    pub(crate) distributor: Arc<Distributor>,
    pub(crate) tiler: TilerBox,
    pub(crate) size: AtomicU64,
    pub(crate) mark_closed: AtomicBool,
    pub(crate) clock: Clock,
    pub(crate) max_tail_bytes: usize,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) segment_bytes: u64,
    signers: Mutex<Vec<Arc<dyn NoteSigner>>>,
    failing: Mutex<Option<JournalError>>,
}

impl Shared {
    pub(crate) fn new(log: Log, options: &Options) -> Self {
        let size = log.tail.read().size();
        Self {
            log,
            queue: Queue::new(crate::wal::Wal::max_payload(options.segment_bytes)),
            distributor: Arc::default(),
            tiler: TilerBox::default(),
            size: AtomicU64::new(size),
            mark_closed: AtomicBool::new(false),
            clock: options.clock.clone(),
            max_tail_bytes: options.max_tail_bytes,
            checkpoint_interval: options.checkpoint_interval,
            segment_bytes: options.segment_bytes,
            signers: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    pub(crate) fn signers(&self) -> Vec<Arc<dyn NoteSigner>> {
        self.signers.lock().clone()
    }

    pub(crate) fn set_signers(&self, signers: Vec<Arc<dyn NoteSigner>>) {
        *self.signers.lock() = signers;
    }

    /// Why appends fail at the moment, if they do.
    pub(crate) fn failing(&self) -> Option<JournalError> {
        self.failing.lock().clone()
    }

    /// Notes how the last write went.
    pub(crate) fn set_failing(&self, error: Option<&JournalError>) {
        let mut failing = self.failing.lock();
        match (failing.as_ref(), error) {
            (None, Some(error)) => tracing::error!(%error, "the audit journal refuses entries"),
            (Some(_), None) => tracing::info!("the audit journal takes entries again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *failing = error.cloned();
    }

    /// Holds the writer back while more waits for the tiler than memory is meant to hold; fails when the tiler does.
    pub(crate) fn wait_for_tiler(&self) -> Result<(), JournalError> {
        if self.log.tail.read().bytes() <= self.max_tail_bytes {
            return Ok(());
        }
        let mut inbox = self.tiler.inbox.lock();
        let asked = inbox.rounds;
        // The round under way may have begun before the newest entries; the one after it has not.
        while inbox.rounds < asked + 2 && !inbox.stopped && self.log.tail.read().bytes() > self.max_tail_bytes {
            inbox.kick = true;
            self.tiler.ready.notify_all();
            self.tiler.ready.wait(&mut inbox);
        }
        match &inbox.error {
            Some(error) if self.log.tail.read().bytes() > self.max_tail_bytes => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }
}

/// Orders for the tiler thread, and what became of its last round.
#[derive(Default)]
pub(crate) struct TilerBox {
    pub(crate) inbox: Mutex<TilerInbox>,
    pub(crate) ready: Condvar,
}

#[derive(Default)]
pub(crate) struct TilerInbox {
    pub(crate) kick: bool,
    pub(crate) flushes: Vec<oneshot::Sender<Result<(), JournalError>>>,
    pub(crate) stop: bool,
    pub(crate) stopped: bool,
    pub(crate) rounds: u64,
    pub(crate) error: Option<JournalError>,
}

impl TilerBox {
    /// There are bundles to be written.
    pub(crate) fn kick(&self) {
        let mut inbox = self.inbox.lock();
        if !inbox.kick {
            inbox.kick = true;
            self.ready.notify_all();
        }
    }

    /// Asks for tiles and a checkpoint of everything there is now.
    pub(crate) fn flush(&self) -> Result<oneshot::Receiver<Result<(), JournalError>>, JournalError> {
        let (sender, receiver) = oneshot::channel();
        let mut inbox = self.inbox.lock();
        if inbox.stop {
            return Err(JournalError::Closed);
        }
        inbox.flushes.push(sender);
        self.ready.notify_all();
        Ok(receiver)
    }

    /// Ends the thread after what was asked for.
    pub(crate) fn stop(&self) {
        self.inbox.lock().stop = true;
        self.ready.notify_all();
    }
}
