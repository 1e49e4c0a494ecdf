//! A destination that nothing is written to through: for whoever only looks, such as a rehearsal.

use async_trait::async_trait;
use keyreeve_backup::ObjectName;
use std::sync::Arc;

use crate::{Archive, ArchiveError, Content, Stored};

/// Reads go through, everything else is refused with [`ArchiveError::ReadOnly`].
pub struct ReadOnly(Arc<dyn Archive>);

impl ReadOnly {
    /// The same destination, to be read.
    #[must_use]
    pub fn new(archive: Arc<dyn Archive>) -> Self {
        Self(archive)
    }
}

fn refused() -> ArchiveError {
    ArchiveError::ReadOnly("it was opened for reading alone".to_owned())
}

#[async_trait]
impl Archive for ReadOnly {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn place(&self) -> String {
        self.0.place()
    }

    async fn put(&self, _name: &ObjectName, _content: Content, _size: Option<u64>) -> Result<u64, ArchiveError> {
        Err(refused())
    }

    async fn replace(&self, _name: &ObjectName, _content: &[u8]) -> Result<(), ArchiveError> {
        Err(refused())
    }

    async fn get(&self, name: &ObjectName) -> Result<Content, ArchiveError> {
        self.0.get(name).await
    }

    async fn list(&self) -> Result<Vec<Stored>, ArchiveError> {
        self.0.list().await
    }

    async fn delete(&self, _name: &ObjectName) -> Result<(), ArchiveError> {
        Err(refused())
    }
}
