//! The notify port: how people are told of what happened.
//!
//! A channel takes one notice at a time and says whether it has it. Which notices there are, when they are tried again
//! and when they are given up is the engine's business, which keeps them in the store meanwhile.
#![forbid(unsafe_code)]
#![cfg_attr(any(test, feature = "conformance"), allow(clippy::unwrap_used))]

use async_trait::async_trait;
use keyreeve_model::{Name, Notice, UnixMillis};
use thiserror::Error;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod receiver;

/// Why a channel did not take a notice. The texts say what the other side said, as far as it is no secret of ours, and
/// are shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotifyError {
    /// It may take it later: it does not answer, is overloaded, or must be put right by somebody (a certificate, a
    /// credential).
    #[error("{0}")]
    TryAgain(String),
    /// It will never take this one.
    #[error("{0}")]
    GiveUp(String),
}

impl NotifyError {
    /// Whether trying again is of no use.
    #[must_use]
    pub const fn is_for_good(&self) -> bool {
        matches!(self, Self::GiveUp(_))
    }
}

/// A channel to people.
///
/// # Contract
/// - `Ok` means that the other side said that it has the notice, and nothing less.
/// - The receiver can tell a notice that it has seen: its id goes with it at every attempt.
/// - Nothing is sent to somebody who has not shown that he is the receiver that was configured, unless the
///   configuration says that he may be believed.
/// - What a notice says cannot become anything but content: no header, no recipient, no second message.
/// - `send` ends within [`PATIENCE_SECONDS`], with an error if need be, and does not block the thread.
/// - Any number of callers at once.
/// - No error names a secret of the channel: a password, a key.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// The channel's name in the configuration.
    fn channel(&self) -> &Name;

    /// What it is, for records and messages: `webhook`, `smtp`, …
    fn kind(&self) -> &'static str;

    /// Where it leads, for people; no secret.
    fn destination(&self) -> String;

    /// Sends one notice. `now` is the time of the attempt.
    ///
    /// # Errors
    /// [`NotifyError`].
    async fn send(&self, notice: &Notice, now: UnixMillis) -> Result<(), NotifyError>;
}

/// The longest that [`Notifier::send`] takes (seconds).
pub const PATIENCE_SECONDS: u64 = 30;
