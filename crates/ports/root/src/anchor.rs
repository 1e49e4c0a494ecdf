//! Anchors: what stands apart from the server's disks and remembers how far it had come (requirement T8).
//!
//! The least that an anchor can do is count. One that can keep a text besides gets a statement each time, which the
//! server can tell from any other; the anchor does not look into it. What the two mean, and when a server is older than
//! its anchor, is decided above this port (`keyreeve_model::anchor`).

use async_trait::async_trait;
use std::time::Duration;
use thiserror::Error;

pub use keyreeve_model::anchor::STATEMENT_MAX;

/// Why an anchor did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// It does not answer, or cannot be written.
    #[error("{0}")]
    Unavailable(String),
    /// It stands at another count than the caller thinks: somebody else moved it on. Nothing was done.
    #[error("it stands at {found:?}, and not where it was left: does another server use it?")]
    Moved {
        /// Where it stands.
        found: Option<u64>,
    },
    /// What is there is no anchor as this one is made, or damaged.
    #[error("{0}")]
    Damaged(String),
}

/// What an anchor holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its count; none before it counted the first time.
    pub count: Option<u64>,
    /// The statement that came with that count; none where it keeps none.
    pub statement: Option<Vec<u8>>,
    /// Which device it is, where it can prove that.
    pub device: Option<String>,
}

/// An anchor.
///
/// # Contract
/// - The count never goes back, whatever becomes of the server's disks, and moves only by [`Anchor::advance`].
/// - After `advance(from, …)` returned `Ok` the new count is durable, and with it the statement, both or none: from
///   nothing to 1 where statements are kept, to any count where they are not; from a count to the next one.
/// - What failed may have been done all the same, or will be read later; the caller reads before it tries again.
/// - One server uses an anchor. Two calls at once do one after the other.
/// - It answers within seconds, or gives up with [`AnchorError::Unavailable`], and does not block the thread.
#[async_trait]
pub trait Anchor: Send + Sync {
    /// The kind, for messages: `file`, `tpm-counter`, …
    fn kind(&self) -> &'static str;

    /// Where it is, for messages.
    fn place(&self) -> String;

    /// Whether it keeps statements.
    fn keeps_statements(&self) -> bool;

    /// What it holds.
    async fn read(&self) -> Result<Held, AnchorError>;

    /// Counts one further and keeps `statement`, if it stands at `from`. The count afterwards. The statement has at
    /// most [`STATEMENT_MAX`] bytes, and is about the count that follows.
    async fn advance(&self, from: Option<u64>, statement: &[u8]) -> Result<u64, AnchorError>;
}

/// How long an anchor that lives on this machine, or in a file, may take at most.
pub const ANCHOR_LIMIT: Duration = Duration::from_secs(15);
