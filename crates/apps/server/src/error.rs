//! Why the server did not start, or ended.

use thiserror::Error;

use crate::config::ConfigError;

/// Why the server did not start, or ended.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something on this machine; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// A part of the server did not open.
    #[error("{part}: {why}")]
    Part {
        /// Which.
        part: &'static str,
        /// What it said.
        why: String,
    },
    /// Another server took the store over.
    #[error(
        "another server took over this store, or the store did not answer for too long: this one ended, nothing is lost"
    )]
    LeaseLost,
}

impl ServerError {
    pub(crate) fn part(part: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Part { part, why: why.to_string() }
    }
}
