//! A destination that fails on command.

use async_trait::async_trait;
use keyreeve_backup::ObjectName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

use crate::{Archive, ArchiveError, Content, Stored};

/// A destination that can be cut off; without that it behaves as the one inside.
pub struct FaultyArchive {
    inner: Arc<dyn Archive>,
    down: AtomicBool,
    fails: AtomicU64,
    calls: AtomicU64,
    /// Calls that store anything wait while this is true.
    stuck: watch::Sender<bool>,
}

impl FaultyArchive {
    /// Wraps a destination.
    #[must_use]
    pub fn new(inner: Arc<dyn Archive>) -> Self {
        let (down, numbers) = (AtomicBool::new(false), || AtomicU64::new(0));
        Self { inner, down, fails: numbers(), calls: numbers(), stuck: watch::Sender::new(false) }
    }

    /// Cuts it off, or lets it answer again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
    }

    /// Lets every call that stores anything wait, or go on.
    pub fn set_stuck(&self, stuck: bool) {
        self.stuck.send_replace(stuck);
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

    async fn go_on(&self) {
        // The sender lives as long as this.
        let _ = self.stuck.subscribe().wait_for(|stuck| !stuck).await;
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
        self.go_on().await;
        self.call()?.put(name, content, size).await
    }

    async fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError> {
        self.go_on().await;
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
