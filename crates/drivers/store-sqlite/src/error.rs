//! What SQLite's errors mean to a caller of the store port.

use keyreeve_store::StoreError;
use rusqlite::{ErrorCode, ffi};
use std::sync::Arc;
use thiserror::Error;

/// Why the store does not answer, where SQLite itself is not the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Gone {
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
    /// The writer thread is gone.
    #[error("the writer thread ended")]
    Writer,
    /// A read was aborted with its runtime.
    #[error("the read was cancelled")]
    Cancelled,
    /// Whoever asked for a copy takes no more of it.
    #[error("nobody takes the copy any more")]
    NotTaken,
}

impl From<Gone> for StoreError {
    fn from(gone: Gone) -> Self {
        Self::Unavailable(Box::new(gone))
    }
}

/// When an error happened: during COMMIT it is not known what reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reading.
    Read,
    /// Writing, before COMMIT: nothing is applied.
    Write,
    /// In COMMIT.
    Commit,
}

/// The port's error for an error of SQLite.
pub(crate) fn store_error(error: &Arc<rusqlite::Error>, phase: Phase) -> StoreError {
    let source: Box<dyn std::error::Error + Send + Sync> = Box::new(Arc::clone(error));
    match (error.sqlite_error(), error.as_ref()) {
        (Some(failure), _) => match failure.code {
            // A full disk is reported for the frame that did not fit; the commit frame is the last one, so nothing is
            // applied.
            ErrorCode::DiskFull | ErrorCode::ReadOnly => StoreError::ReadOnly(source),
            // The same holds for a frame that was not written for another reason: one written in part has no valid
            // checksum, and the next commit overwrites it.
            ErrorCode::SystemIoFailure if phase != Phase::Read && is_write_failure(failure.extended_code) => {
                StoreError::ReadOnly(source)
            }
            // Frames that were written but not synced may be found valid after a crash.
            ErrorCode::SystemIoFailure if phase == Phase::Commit => StoreError::InDoubt(source),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Damaged(error.to_string()),
            _ => StoreError::Unavailable(source),
        },
        (
            None,
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..),
        ) => StoreError::Damaged(error.to_string()),
        (None, _) => StoreError::Unavailable(source),
    }
}

/// A write that the file system refused for other reasons than space: quota, or a file system that became read-only.
fn is_write_failure(extended: i32) -> bool {
    matches!(extended, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_TRUNCATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: i32, phase: Phase) -> &'static str {
        let error = Arc::new(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        match store_error(&error, phase) {
            StoreError::ReadOnly(_) => "read-only",
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Damaged(_) => "damaged",
            StoreError::InDoubt(_) => "in doubt",
            StoreError::Conflict { .. } | StoreError::Taken { .. } | StoreError::LeaseLost | StoreError::NotEmpty => {
                "refused"
            }
        }
    }

    #[test]
    fn sqlite_errors_are_told_apart() {
        for phase in [Phase::Read, Phase::Write, Phase::Commit] {
            assert_eq!(class(ffi::SQLITE_FULL, phase), "read-only");
            assert_eq!(class(ffi::SQLITE_READONLY, phase), "read-only");
            assert_eq!(class(ffi::SQLITE_CORRUPT, phase), "damaged");
            assert_eq!(class(ffi::SQLITE_NOTADB, phase), "damaged");
            assert_eq!(class(ffi::SQLITE_BUSY, phase), "unavailable");
        }
        assert_eq!(class(ffi::SQLITE_IOERR_FSYNC, Phase::Write), "unavailable");
        assert_eq!(class(ffi::SQLITE_IOERR_WRITE, Phase::Write), "read-only");
        assert_eq!(class(ffi::SQLITE_IOERR_WRITE, Phase::Commit), "read-only");
        assert_eq!(class(ffi::SQLITE_IOERR_FSYNC, Phase::Commit), "in doubt", "it is not known what was written");
    }
}
