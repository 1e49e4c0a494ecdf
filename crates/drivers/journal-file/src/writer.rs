//! The writer thread: everything that waits becomes one frame, one fdatasync, one hand-off.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyreeve_audit::tile::push_entry;
use keyreeve_audit::{Frontier, Hash};
use keyreeve_journal::{Entry, JournalError};

use crate::completion::{Batch, Committed};
use crate::queue::Work;
use crate::segment::{FRAME_HEADER, FrameHeader, frame_size};
use crate::shared::Shared;
use crate::tail::{Node, append_leaf};
use crate::wal::Wal;

/// Full bundles that are worth waking the tiler for.
const KICK: u64 = 8;
/// Room for a frame that is kept between batches, in bytes.
const KEPT_BUFFER: usize = 1 << 20;

/// Owns the write-ahead log and the head of the tree.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    wal: Wal,
    frontier: Frontier,
    /// Of `frontier`.
    root: Hash,
    buffer: Vec<u8>,
    nodes: Vec<Node>,
    /// The batch being written, to be answered even if this thread panics.
    current: Option<Arc<Batch>>,
}

impl Drop for Writer {
    /// Nobody waits for ever: whatever is left when the thread ends, however it ends, is refused.
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.queue.close();
        if std::thread::panicking() {
            shared.set_failing(Some(&JournalError::Io("the writer thread panicked; restart the server".into())));
        }
        if let Some(batch) = self.current.take() {
            shared.distributor.finish(batch, Err(JournalError::Closed));
        }
        loop {
            match shared.queue.take() {
                Work::Batch(_, batch) => shared.distributor.finish(batch, Err(JournalError::Closed)),
                Work::Probe => {}
                Work::Stop => return,
            }
        }
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, wal: Wal, frontier: Frontier) -> Self {
        let root = frontier.root();
        Self { shared, wal, frontier, root, buffer: Vec::new(), nodes: Vec::new(), current: None }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.queue.take() {
                Work::Batch(entries, batch) => {
                    self.current = Some(batch.clone());
                    let outcome = self.commit(entries);
                    self.current = None;
                    self.shared.set_failing(outcome.as_ref().err());
                    self.shared.distributor.finish(batch, outcome);
                }
                Work::Probe => self.probe(),
                Work::Stop => break,
            }
        }
        if self.shared.mark_closed.load(Ordering::Acquire) {
            self.write_close_mark();
        }
    }

    /// Makes a batch durable, then visible.
    fn commit(&mut self, entries: Vec<Entry>) -> Result<Committed, JournalError> {
        self.shared.wait_for_tiler()?;
        let first_index = self.frontier.size();
        let mut frontier = self.frontier.clone();
        self.nodes.clear();
        self.start_frame();
        for entry in &entries {
            append_leaf(&mut frontier, *entry.leaf(), &mut self.nodes);
            if !push_entry(&mut self.buffer, entry.bytes()) {
                let limit = keyreeve_audit::tile::MAX_ENTRY_BYTES;
                return Err(JournalError::TooLarge { bytes: entry.bytes().len(), limit });
            }
        }
        let root = frontier.root();
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        self.write_frame(count, root)?;
        let tree_size = frontier.size();
        (self.frontier, self.root) = (frontier, root);
        let waiting = {
            let mut tail = self.shared.log.tail.write();
            tail.commit(entries, &self.nodes, tree_size, root);
            tail.waiting()
        };
        self.shared.size.store(tree_size, Ordering::Release);
        if waiting >= KICK {
            self.shared.tiler.kick();
        }
        Ok(Committed { first_index, tree_size })
    }

    fn start_frame(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        self.buffer.resize(FRAME_HEADER, 0);
    }

    /// Writes the frame in the buffer, which leads to the tree with this root.
    fn write_frame(&mut self, count: u32, root: Hash) -> Result<(), JournalError> {
        let size = frame_size(self.buffer.len() - FRAME_HEADER);
        let first_index = self.frontier.size();
        let sequence = self.wal.make_room(size, first_index, self.root)?;
        let header = FrameHeader { first_index, sequence, count, root };
        self.wal.write(&mut self.buffer, &header)
    }

    /// Tries to get a failed log going again, so that readiness does not have to wait for the next caller.
    fn probe(&mut self) {
        if self.wal.is_failed() {
            let opened = self.wal.make_room(0, self.frontier.size(), self.root);
            self.shared.set_failing(opened.err().as_ref());
        } else {
            self.shared.set_failing(self.shared.wait_for_tiler().err().as_ref());
        }
    }

    /// An empty frame that says the log was closed properly; damage before it is then no torn tail.
    fn write_close_mark(&mut self) {
        self.start_frame();
        if let Err(error) = self.write_frame(0, self.root) {
            tracing::warn!(%error, "the audit journal could not be marked as closed");
        }
    }
}
