//! What can go wrong with a journal.

use thiserror::Error;

/// An error of the journal. Cloneable, since one failed flush answers many callers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// The disk is full. Nothing acknowledged is lost; appends work again once there is space.
    #[error("the audit journal has no space left ({0}): free some space, it recovers by itself")]
    NoSpace(String),
    /// The file system is read-only or permission is missing.
    #[error("the audit journal cannot be written ({0}): make its directory writable, it recovers by itself")]
    ReadOnly(String),
    /// Another failure of storage.
    #[error("the audit journal's storage failed ({0})")]
    Io(String),
    /// One call with more bytes than a batch can hold.
    #[error("{bytes} bytes of audit records in one call, the journal takes {limit}")]
    TooLarge {
        /// In the call.
        bytes: usize,
        /// At most.
        limit: usize,
    },
    /// The journal was closed.
    #[error("the audit journal is closed")]
    Closed,
    /// Another process has the journal open.
    #[error("the audit journal is in use by another process ({0})")]
    InUse(String),
    /// There is no key to sign checkpoints with (yet).
    #[error("checkpoints of the audit journal cannot be signed before the server is unsealed")]
    NoSigner,
    /// The key could not sign.
    #[error("the audit journal's checkpoint could not be signed ({0})")]
    Sign(String),
    /// No entry of that index.
    #[error("the audit journal has no entry {index}, its size is {size}")]
    NotFound {
        /// Asked for.
        index: u64,
        /// Entries there are.
        size: u64,
    },
    /// What is stored is not what was written.
    #[error("the audit journal was altered: {what} in {place}; do not overwrite it, run `keyreeve audit verify`")]
    Tampered {
        /// File and offset or index.
        place: String,
        /// What disagrees.
        what: String,
    },
    /// The tree is not a continuation of what was signed; nothing is signed any more.
    #[error("the audit journal does not continue its last signed checkpoint: {0}")]
    Inconsistent(String),
}

impl JournalError {
    /// True for conditions of the storage that pass by themselves; the same append may be tried again later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::NoSpace(_) | Self::ReadOnly(_) | Self::Io(_))
    }
}
