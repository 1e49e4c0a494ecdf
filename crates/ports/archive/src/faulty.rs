//! A destination that fails on command.

use async_trait::async_trait;
use keyreeve_backup::ObjectName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Archive, ArchiveError, Content, Stored};

/// A destination that can be cut off; without that it behaves as the one inside.
pub struct FaultyArchive {
    inner: Arc<dyn Archive>,
    down: AtomicBool,
    fails: AtomicU64,
    calls: AtomicU64,
}

impl FaultyArchive {
    /// Wraps a destination.
    #[must_use]
    pub fn new(inner: Arc<dyn Archive>) -> Self {
        Self { inner, down: AtomicBool::new(false), fails: AtomicU64::new(0), calls: AtomicU64::new(0) }
    }

    /// Cuts it off, or lets it answer again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
    }

    /// Lets the call of this number (from 1, counted from now) fail, before anything is done.
    pub fn fail_call(&self, number: u64) {
        self.fails.store(self.calls.load(Ordering::Acquire) + number, Ordering::Release);
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }

    fn call(&self) -> Result<&dyn Archive, ArchiveError> {
        let number = self.calls.fetch_add(1, Ordering::AcqRel) + 1;
        if self.down.load(Ordering::Acquire) || self.fails.load(Ordering::Acquire) == number {
            return Err(ArchiveError::Unavailable("injected".to_owned()));
        }
        Ok(&*self.inner)
    }
}

#[async_trait]
impl Archive for FaultyArchive {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn put(&self, name: &ObjectName, content: Content, size: Option<u64>) -> Result<u64, ArchiveError> {
        self.call()?.put(name, content, size).await
    }

    async fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError> {
        self.call()?.replace(name, content).await
    }

    async fn get(&self, name: &ObjectName) -> Result<Content, ArchiveError> {
        self.call()?.get(name).await
    }

    async fn list(&self) -> Result<Vec<Stored>, ArchiveError> {
        self.call()?.list().await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), ArchiveError> {
        self.call()?.delete(name).await
    }
}
