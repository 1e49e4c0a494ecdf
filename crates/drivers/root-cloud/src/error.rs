//! What goes wrong with a service, sorted by what is to be done.

use std::time::Duration;

use keyreeve_root::RootError;
use thiserror::Error;

/// Why a service did not do what it was asked. The texts say what an operator needs and hold nothing that is secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// No answer, or one that says that the service is failing (5xx). Tried again.
    #[error("{0}")]
    Unreachable(String),
    /// Too many requests for it. Tried again, not before the time it names.
    #[error("it is asked too often: {said}")]
    Throttled {
        /// What it said.
        said: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// It knows what we want and does not do it: credentials, permission, a key that is disabled or gone. Not tried
    /// again, and what was kept of it is wiped.
    #[error("{0}")]
    Refused(String),
    /// Not something it wrapped, or bound to something else.
    #[error("it was altered, or wrapped by another key")]
    Unwrap,
    /// An answer that cannot be understood, or an address that cannot be trusted. Not tried again.
    #[error("{0}")]
    Malformed(String),
}

impl RemoteError {
    /// Whether asking again may help.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Throttled { .. } => true,
            Self::Refused(_) | Self::Unwrap | Self::Malformed(_) => false,
        }
    }

    /// As the port says it.
    #[must_use]
    pub fn of(self, kind: &str) -> RootError {
        match self {
            Self::Unwrap => RootError::Unwrap,
            other => RootError::Unavailable(format!("{kind}: {other}")),
        }
    }
}
