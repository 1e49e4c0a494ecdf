//! The journal port: where audit records become durable and enter the Merkle log, before any answer leaves.
//!
//! A driver implements [`Journal`]; the doc comments of the trait are the contract, and the suite in `conformance`
//! (feature `conformance`) holds every driver to it.
#![forbid(unsafe_code)]

#[cfg(feature = "conformance")]
pub mod conformance;
mod entry;
mod error;
#[cfg(feature = "conformance")]
pub mod faulty;
mod scan;

use async_trait::async_trait;
use std::ops::Range;
use std::sync::Arc;

use keyreeve_audit::tile::LogPath;
use keyreeve_audit::{Hash, NoteSigner};
use keyreeve_model::RecordId;

pub use entry::{Entry, InvalidEntry};
pub use error::JournalError;
pub use scan::{Filter, Scan, ScanPage};

/// Where the entries of one call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The index of the first entry; the others follow without a gap.
    pub first_index: u64,
    /// Entries in the log once these were in it; others of the same batch may be counted.
    pub tree_size: u64,
}

/// Whether the journal takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It refuses them for now; it tries by itself to get well, and everything acknowledged can still be read.
    ReadOnly {
        /// What is wrong, for an operator: full disk, read-only file system, failed device.
        why: String,
    },
}

/// A durable, append-only Merkle log of audit records.
///
/// **Order**: indices are given in the order in which batches become durable, without gaps, and never change.
/// **Concurrency**: every method may be called from any number of tasks at once. **Cancellation**: a call whose
/// future is dropped may still take effect.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends entries: all of one call or none, contiguous, in the order given. When this returns `Ok` they are on
    /// stable storage, in the tree, and found by [`Journal::read`] and [`Journal::find`]; only then may the answer
    /// they are about leave. An empty call returns the current size.
    ///
    /// The journal does not retry: an error means the entries are not in the log as this process sees it, and the
    /// caller refuses its own answer. Should the process die before the next successful append, entries of a failed
    /// call may be found in the log after the restart ("failed but persisted"); a caller that appends again after a
    /// restart asks [`Journal::find`] first.
    ///
    /// # Errors [`JournalError::NoSpace`], [`JournalError::ReadOnly`] and [`JournalError::Io`] pass by themselves
    /// once the cause is gone: the next call tries again. [`JournalError::TooLarge`], [`JournalError::Closed`].
    async fn append(&self, entries: Vec<Entry>) -> Result<Receipt, JournalError>;

    /// Entries in the log: all durable. Never shrinks.
    fn size(&self) -> u64;

    /// The entries of a range, with their indices; cut at the end of the log and at a limit of the driver (at least 256
    /// entries), so a caller asks again from where the answer ends. What is read is checked against the tree's hashes.
    ///
    /// # Errors
    /// [`JournalError::Tampered`] names the place; [`JournalError::Io`].
    async fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, JournalError>;

    /// The index of the record with this id; the lowest, if it was appended twice. Answers for every acknowledged
    /// entry at once.
    ///
    /// # Errors
    /// [`JournalError::Tampered`], [`JournalError::Io`].
    async fn find(&self, id: &RecordId) -> Result<Option<u64>, JournalError>;

    /// Entries in a span of time that pass a filter, newest first, a page at a time.
    ///
    /// # Errors
    /// [`JournalError::Tampered`], [`JournalError::Io`].
    async fn scan(&self, scan: Scan) -> Result<ScanPage, JournalError>;

    /// A signed checkpoint that covers at least every entry acknowledged before the call; written and published if
    /// need be. The text of a signed note.
    ///
    /// # Errors
    /// [`JournalError::NoSigner`] until [`Journal::set_signers`]; [`JournalError::Inconsistent`] when the tree is not a
    /// continuation of what was signed before: nothing is ever signed then; storage errors.
    async fn checkpoint(&self) -> Result<String, JournalError>;

    /// The self-contained proof (c2sp.org/tlog-proof@v1) that entry `index` is in the log, under a checkpoint that
    /// covers it.
    ///
    /// # Errors [`JournalError::NotFound`] when there is no such entry; those of [`Journal::checkpoint`];
    /// [`JournalError::Tampered`].
    async fn prove(&self, index: u64) -> Result<String, JournalError>;

    /// A file of the log as tlog-tiles serves it: the last published checkpoint, a tile, a bundle of entries. `None`
    /// when the log is not (or not yet) that long.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    async fn tile(&self, path: LogPath) -> Result<Option<Vec<u8>>, JournalError>;

    /// The root of the first `size` entries; none when the log is not that long. It is computed from the log's hashes
    /// as they are stored, so a root that differs from one that was known says that the log is another one.
    ///
    /// # Errors
    /// [`JournalError::Tampered`], [`JournalError::Io`].
    async fn root(&self, size: u64) -> Result<Option<Hash>, JournalError>;

    /// Hands over the keys that sign checkpoints, the log's own first: its name is the log's origin. Before this
    /// appends work and checkpoints are refused, because the keys are there only once the server is unsealed. An
    /// empty list takes the keys away again.
    ///
    /// # Errors [`JournalError::Inconsistent`] when the published checkpoint is of another origin, is not signed by
    /// the first of these keys, or carries a wrong signature of one of them.
    fn set_signers(&self, signers: Vec<Arc<dyn NoteSigner>>) -> Result<(), JournalError>;

    /// Publishes a checkpoint of the current size if there is a signer; otherwise only brings tiles up to date.
    ///
    /// # Errors
    /// Those of [`Journal::checkpoint`] but [`JournalError::NoSigner`].
    async fn flush(&self) -> Result<(), JournalError>;

    /// Finishes what is under way, publishes a last checkpoint if it can, and marks the log as cleanly closed. Later
    /// appends are refused with [`JournalError::Closed`]; reading goes on. Dropping without this loses nothing
    /// acknowledged.
    ///
    /// # Errors
    /// Those of [`Journal::flush`]; the journal is closed all the same.
    async fn close(&self) -> Result<(), JournalError>;

    /// Whether entries are taken, for readiness probes. Costs nothing.
    fn health(&self) -> Health;
}
