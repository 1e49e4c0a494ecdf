//! The archive port: a destination of backups.
//!
//! A driver keeps objects under names and knows nothing of what is in them: everything is encrypted before it arrives.
//! Every driver passes the `conformance` suite (feature of that name).
#![forbid(unsafe_code)]
#![cfg_attr(any(test, feature = "conformance"), allow(clippy::unwrap_used))]

use async_trait::async_trait;
use keyreeve_backup::ObjectName;
use thiserror::Error;
use tokio::io::AsyncRead;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod faulty;
mod read_only;

pub use read_only::ReadOnly;

/// Longest object that [`Archive::replace`] takes (bytes).
pub const REPLACED_MAX: usize = 40 * 1024 * 1024;

/// Why a destination did not do what it was asked.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// There is no such object.
    #[error("the destination has no object `{0}`")]
    NotFound(ObjectName),
    /// There is one already, and it is never replaced.
    #[error("the destination has an object `{0}` already")]
    Exists(ObjectName),
    /// What should be stored could not be read, or not all of it came; nothing was stored.
    #[error("what should be stored could not be read")]
    Source(#[source] std::io::Error),
    /// It refuses to write: no room, no permission; nothing was stored.
    #[error("the destination cannot write: {0}")]
    ReadOnly(String),
    /// It does not answer, or not as it should.
    #[error("the destination is not available: {0}")]
    Unavailable(String),
}

/// An object at a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name.
    pub name: ObjectName,
    /// How long it is (bytes).
    pub size: u64,
}

/// Bytes of an object on their way.
pub type Content = Box<dyn AsyncRead + Send + Unpin>;

/// A destination of backups.
///
/// # Contract
/// - **Atomic**: an object is there whole under its name, or not at all, whatever fails in between. A reader sees the
///   old object or the new one.
/// - **Durable**: when `put`, `replace` or `delete` returns, that survives the loss of power, as far as the destination
///   promises such things.
/// - **Immutable**: `put` never replaces. `replace` does, and is for small objects only.
/// - **Private**: what is stored can be read by nobody but the server's user, as far as the destination knows users.
/// - Any number of callers at once; a call that is dropped may still take effect, whole or not at all.
/// - A driver gives up after a time of its own with [`ArchiveError::Unavailable`]; an upload may take as long as bytes
///   move.
#[async_trait]
pub trait Archive: Send + Sync {
    /// The kind, for records and messages: `directory`, `command`, `s3`.
    fn kind(&self) -> &'static str;

    /// Where it leads, for people; no secret.
    fn place(&self) -> String;

    /// Stores a new object and returns its size. `size` is its length where that is known; then exactly that many bytes
    /// must come. A content that fails in the middle is not stored.
    async fn put(&self, name: &ObjectName, content: Content, size: Option<u64>) -> Result<u64, ArchiveError>;

    /// Stores an object of at most [`REPLACED_MAX`] bytes in the place of the one of its name, if there is one. Of the
    /// old one nothing is kept that the destination can do without.
    async fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError>;

    /// The bytes of an object.
    async fn get(&self, name: &ObjectName) -> Result<Content, ArchiveError>;

    /// Every object, by name. What is not ours is not among them.
    async fn list(&self) -> Result<Vec<Stored>, ArchiveError>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, name: &ObjectName) -> Result<(), ArchiveError>;
}
