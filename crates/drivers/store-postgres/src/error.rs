//! What PostgreSQL's errors mean to a caller of the store port (SQLSTATE codes of the PostgreSQL manual, appendix A).

use keyreeve_store::StoreError;
use std::borrow::Cow;
use thiserror::Error;

/// The store did not answer in time. A commit may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("PostgreSQL did not answer in time")]
pub(crate) struct TimedOut;

/// True for faults after which the database asks to try again: nothing was applied.
///
/// Besides serialisation failure and deadlock that is a unique violation: every insert names its conflict, so one can
/// only come from a race that the next attempt sees.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "23505"))
}

/// True for what two sessions meet that create the same table at once, besides transient faults: duplicate_object (the
/// table's row type), duplicate_table.
pub(crate) fn is_creation_race(error: &sqlx::Error) -> bool {
    is_transient(error) || matches!(code(error).as_deref(), Some("42710" | "42P07"))
}

/// True when a table is not there: undefined_table.
pub(crate) fn is_undefined_table(error: &sqlx::Error) -> bool {
    code(error).as_deref() == Some("42P01")
}

/// The port's error for an error of the database or of the way there.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Damaged(error.to_string()),
        error => match code(&error).as_deref() {
            // disk_full, read_only_sql_transaction, insufficient_privilege
            Some("53100" | "25006" | "42501") => StoreError::ReadOnly(Box::new(error)),
            // data_corrupted, index_corrupted
            Some("XX001" | "XX002") => StoreError::Damaged(error.to_string()),
            _ => StoreError::Unavailable(Box::new(error)),
        },
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}
