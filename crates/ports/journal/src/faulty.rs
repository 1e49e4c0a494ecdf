//! A journal that fails on demand, for testing what callers do then.

use async_trait::async_trait;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use keyreeve_audit::tile::LogPath;
use keyreeve_audit::{Hash, NoteSigner};
use keyreeve_model::RecordId;

use crate::{Entry, Health, Journal, JournalError, Receipt, Scan, ScanPage};

/// How an append fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not written: the caller gets the error and the log does not have the entries.
    Failed(JournalError),
    /// Written, yet the caller gets the error.
    FailedButPersisted(JournalError),
}

/// Wraps a journal; the next appends take their fault from a queue, `None` in it standing for success.
pub struct FaultyJournal {
    inner: Arc<dyn Journal>,
    plan: Mutex<VecDeque<Option<Fault>>>,
}

impl FaultyJournal {
    /// Without faults so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Journal>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Plans what happens to one more append.
    pub fn plan(&self, fault: Option<Fault>) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    fn next_fault(&self) -> Option<Fault> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten()
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn append(&self, entries: Vec<Entry>) -> Result<Receipt, JournalError> {
        match self.next_fault() {
            None => self.inner.append(entries).await,
            Some(Fault::Failed(error)) => Err(error),
            Some(Fault::FailedButPersisted(error)) => self.inner.append(entries).await.and(Err(error)),
        }
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        self.inner.read(range).await
    }

    async fn find(&self, id: &RecordId) -> Result<Option<u64>, JournalError> {
        self.inner.find(id).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, JournalError> {
        self.inner.scan(scan).await
    }

    async fn checkpoint(&self) -> Result<String, JournalError> {
        self.inner.checkpoint().await
    }

    async fn prove(&self, index: u64) -> Result<String, JournalError> {
        self.inner.prove(index).await
    }

    async fn tile(&self, path: LogPath) -> Result<Option<Vec<u8>>, JournalError> {
        self.inner.tile(path).await
    }

    async fn root(&self, size: u64) -> Result<Option<Hash>, JournalError> {
        self.inner.root(size).await
    }

    fn set_signers(&self, signers: Vec<Arc<dyn NoteSigner>>) -> Result<(), JournalError> {
        self.inner.set_signers(signers)
    }

    async fn flush(&self) -> Result<(), JournalError> {
        self.inner.flush().await
    }

    async fn close(&self) -> Result<(), JournalError> {
        self.inner.close().await
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}
