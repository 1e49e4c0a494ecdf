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
    /// Work in the background ended by a defect, and what falls due would not be done any more.
    #[error(
        "work in the background ended by a defect, which the log above names: the server ended too, rather than go on \
         without destructions, checks of roots, jobs and notices; nothing acknowledged is lost, start it again"
    )]
    Background,
    /// A device refused the PIN, or may have used up a try.
    #[error(
        "{0}; nothing was tried again, and a restart would use up another try: look at the device and at the PIN, then \
         start the server"
    )]
    PinRefused(String),
}

impl ServerError {
    pub(crate) fn part(part: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Part { part, why: why.to_string() }
    }
}
