//! The journal in files: a write-ahead log with group commit in front, a C2SP tlog-tiles log behind.
//!
//! ```text
//! <directory>/lock                          held while the journal is open
//! <directory>/wal/0000000000000001.wal      zero-filled segments, overwritten in place with frames
//! <directory>/log/checkpoint                the signed tree head
//! <directory>/log/tile/<L>/<N>[.p/<W>]      hashes; log/tile/entries/<N>[.p/<W>]: the records
//! <directory>/times                         for searching: the span of times of every full bundle
//! ```
//!
//! An append puts its entries into a queue. The writer thread takes all that waits, writes one frame, calls fdatasync
//! once, and hands the whole batch back to the async side, which wakes the callers: the flush under way is the
//! batching window. The tiler thread moves what is durable into tiles and publishes checkpoints; a segment goes only
//! when all it holds is in fsynced tiles. Memory holds what is not in full tiles yet, and the right edge of the tree.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod completion;
mod disk;
mod log;
mod queue;
mod recover;
mod segment;
mod shared;
#[cfg(test)]
mod simulated;
mod source;
mod tail;
#[cfg(test)]
mod tests;
mod tiler;
mod times;
mod wal;
mod writer;

use async_trait::async_trait;
use parking_lot::Mutex;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use keyreeve_audit::tile::LogPath;
use keyreeve_audit::{Checkpoint, Hash, NoteSigner};
use keyreeve_journal::{Entry, Health, Journal, JournalError, Receipt, Scan, ScanPage};
use keyreeve_model::RecordId;
use keyreeve_model::time::UnixMillis;

pub use recover::{Recovery, TornTail};
pub use source::LogDirectory;

use completion::Wait;
use disk::{Disk, RealDisk};
use log::{Log, Published};
use queue::Pushed;
use recover::Recovered;
use shared::Shared;
use tiler::Tiler;
use writer::Writer;

/// Tells the time, for the cosignatures on checkpoints.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// How a journal behaves.
#[derive(Clone)]
pub struct Options {
    /// Size of a segment of the write-ahead log in bytes, a multiple of 4096 of at least 256 KiB. Two are there at
    /// least.
    pub segment_bytes: u64,
    /// Memory for entries that are not in tiles yet, in bytes, about; appends wait beyond it.
    pub max_tail_bytes: usize,
    /// How often a checkpoint is published when there is something new.
    pub checkpoint_interval: Duration,
    /// The time.
    pub clock: Clock,
}

impl Options {
    /// Segments of 16 MiB, 16 MiB of memory, a checkpoint every second.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { segment_bytes: 16 << 20, max_tail_bytes: 16 << 20, checkpoint_interval: Duration::from_secs(1), clock }
    }
}

/// A segment has room for the largest entry several times.
const MIN_SEGMENT: u64 = 256 << 10;

/// A journal in a directory of the file system.
pub struct FileJournal {
    shared: Arc<Shared>,
    recovery: Recovery,
    threads: Arc<Mutex<Threads>>,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    tiler: Option<JoinHandle<()>>,
}

impl FileJournal {
    /// Opens the journal in a directory, making it if there is none, and recovers what a crash left. Within a tokio
    /// runtime.
    ///
    /// # Errors [`JournalError::InUse`], [`JournalError::Tampered`] with the place of what cannot be the work of a
    /// crash, and errors of the file system.
    pub async fn open(directory: &Path, options: Options) -> Result<Self, JournalError> {
        let directory = directory.to_owned();
        let segment_bytes = options.segment_bytes.max(MIN_SEGMENT).next_multiple_of(segment::BLOCK as u64);
        let options = Options { segment_bytes, ..options };
        let recovered = blocking(move || {
            let disk: Arc<dyn Disk> = RealDisk::open(&directory)?;
            recover::recover(disk, segment_bytes)
        })
        .await?;
        Self::start(recovered, &options)
    }

    fn start(recovered: Recovered, options: &Options) -> Result<Self, JournalError> {
        let Recovered { log, frontier, wal, report } = recovered;
        if let Some(torn) = &report.torn {
            tracing::warn!(
                file = torn.file,
                offset = torn.offset,
                bytes = torn.bytes,
                "cut a torn, unacknowledged write"
            );
        }
        let shared = Arc::new(Shared::new(log, options));
        shared.distributor.spawn();
        let segments = wal.segments.clone();
        let writer = Writer::new(shared.clone(), wal, frontier);
        let tiler = Tiler { shared: shared.clone(), segments };
        let threads = Arc::new(Mutex::new(Threads::default()));
        let journal = Self { shared, recovery: report, threads: threads.clone() };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            Builder::new().name(name.into()).spawn(run).map_err(|e| JournalError::Io(e.to_string()))
        };
        let mut threads = threads.lock();
        threads.tiler = Some(spawn("journal-tiler", Box::new(|| tiler.run()))?);
        threads.writer = Some(spawn("journal-writer", Box::new(|| writer.run()))?);
        drop(threads);
        Ok(journal)
    }

    /// What opening found.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Runs a read on the log outside of the async threads.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let shared = self.shared.clone();
        blocking(move || read(&shared.log)).await
    }

    /// A published checkpoint of at least the current size.
    async fn published(&self) -> Result<Published, JournalError> {
        let signers = self.shared.signers();
        let Some(own) = signers.first() else { return Err(JournalError::NoSigner) };
        let current = || {
            let published = self.shared.log.published.lock().clone()?;
            let tail = self.shared.log.tail.read();
            let wanted = Checkpoint::new(own.verifier().name(), tail.size(), tail.root());
            tiler::covers(&published, &wanted, &signers).then_some(published)
        };
        if let Some(published) = current() {
            return Ok(published);
        }
        self.flush_tiler().await?;
        self.shared.log.published.lock().clone().ok_or(JournalError::NoSigner)
    }

    async fn flush_tiler(&self) -> Result<(), JournalError> {
        self.shared.tiler.flush()?.await.unwrap_or(Err(JournalError::Closed))
    }
}

/// Stops the writer after what is queued. Blocks.
fn stop_writer(shared: &Shared, threads: &Mutex<Threads>) {
    shared.queue.close();
    let writer = threads.lock().writer.take();
    if writer.is_some_and(|writer| writer.join().is_err()) {
        tracing::error!("the audit journal's writer panicked");
    }
}

fn stop_tiler(shared: &Shared, threads: &Mutex<Threads>) {
    shared.tiler.stop();
    let tiler = threads.lock().tiler.take();
    if tiler.is_some_and(|tiler| tiler.join().is_err()) {
        tracing::error!("the audit journal's tiler panicked");
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        stop_writer(&self.shared, &self.threads);
        stop_tiler(&self.shared, &self.threads);
        self.shared.distributor.stop();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(JournalError::Io(format!("a read did not finish: {e}"))))
}

#[async_trait]
impl Journal for FileJournal {
    async fn append(&self, mut entries: Vec<Entry>) -> Result<Receipt, JournalError> {
        if entries.is_empty() {
            let size = self.size();
            return Ok(Receipt { first_index: size, tree_size: size });
        }
        loop {
            match self.shared.queue.push(entries)? {
                Pushed::Queued(batch, place) => {
                    let committed = Wait::new(batch).await?;
                    let first_index = committed.first_index + place;
                    return Ok(Receipt { first_index, tree_size: committed.tree_size });
                }
                Pushed::Full(batch, back) => {
                    // How that batch ended is the business of those in it.
                    let _ = Wait::new(batch).await;
                    entries = back;
                }
            }
        }
    }

    fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Acquire)
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        self.reading(move |log| log.read(range)).await
    }

    async fn find(&self, id: &RecordId) -> Result<Option<u64>, JournalError> {
        let id = *id;
        self.reading(move |log| log.find(&id)).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, JournalError> {
        self.reading(move |log| log.scan(&scan)).await
    }

    async fn checkpoint(&self) -> Result<String, JournalError> {
        Ok(self.published().await?.note.to_string())
    }

    async fn prove(&self, index: u64) -> Result<String, JournalError> {
        let size = self.size();
        if index >= size {
            return Err(JournalError::NotFound { index, size });
        }
        let published = self.published().await?;
        self.reading(move |log| log.prove(index, published)).await
    }

    async fn tile(&self, path: LogPath) -> Result<Option<Vec<u8>>, JournalError> {
        self.reading(move |log| log.tile(path)).await
    }

    async fn root(&self, size: u64) -> Result<Option<Hash>, JournalError> {
        self.reading(move |log| log.root(size)).await
    }

    fn set_signers(&self, signers: Vec<Arc<dyn NoteSigner>>) -> Result<(), JournalError> {
        let published = self.shared.log.published.lock().clone();
        if let (Some(published), Some(own)) = (&published, signers.first()) {
            if published.checkpoint.origin != own.verifier().name() {
                let what = format!("it is of the log `{}`", published.checkpoint.origin);
                return Err(JournalError::Inconsistent(what));
            }
            // Whoever makes the server believe another secret has other keys: they do not go on with this log.
            if !published.note.signatures.iter().any(|line| own.verifier().matches(line)) {
                let what =
                    format!("it has no signature of `{}` by the key that this server has", own.verifier().name());
                return Err(JournalError::Inconsistent(what));
            }
            for key in signers.iter().map(|signer| signer.verifier()) {
                let mut lines = published.note.signatures.iter().filter(|line| key.matches(line));
                if lines.any(|line| !key.verify(&published.note.text, &line.bytes)) {
                    let what = format!("the signature of `{}` on it is wrong", key.name());
                    return Err(JournalError::Inconsistent(what));
                }
            }
        }
        self.shared.set_signers(signers);
        Ok(())
    }

    async fn flush(&self) -> Result<(), JournalError> {
        self.flush_tiler().await
    }

    async fn close(&self) -> Result<(), JournalError> {
        self.shared.mark_closed.store(true, Ordering::Release);
        let (shared, threads) = (self.shared.clone(), self.threads.clone());
        blocking(move || {
            stop_writer(&shared, &threads);
            Ok(())
        })
        .await?;
        let flushed = match self.flush_tiler().await {
            // It was closed before.
            Err(JournalError::Closed) => Ok(()),
            other => other,
        };
        let (shared, threads) = (self.shared.clone(), self.threads.clone());
        blocking(move || {
            stop_tiler(&shared, &threads);
            Ok(())
        })
        .await?;
        flushed
    }

    fn health(&self) -> Health {
        match self.shared.failing() {
            None => Health::Ok,
            Some(error) => Health::ReadOnly { why: error.to_string() },
        }
    }
}
