//! What every anchor must do. A driver's tests call [`run`] with a factory of new places.
#![allow(clippy::missing_panics_doc)]

use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::anchor::{Anchor, AnchorError, Held};

/// Runs the suite. `open` gives the anchor of one place, each time as a new process would; the place is new at first.
pub async fn run(open: impl Fn() -> Arc<dyn Anchor>) {
    let anchor = open();
    assert_eq!(anchor.read().await.unwrap().count, None, "nobody counted yet");
    assert!(!anchor.kind().is_empty() && !anchor.place().is_empty());
    let keeps = anchor.keeps_statements();
    let first = anchor.advance(None, b"first\n").await.unwrap();
    assert!(!keeps || first == 1, "an anchor that keeps statements begins with 1");
    expect(&*anchor, first, b"first\n").await;
    for (step, text) in [(1, b"second\n".as_slice()), (2, b""), (3, &[b'x'; crate::anchor::STATEMENT_MAX])] {
        // As another process, each time.
        let anchor = open();
        assert_eq!(anchor.advance(Some(first + step - 1), text).await, Ok(first + step));
        expect(&*anchor, first + step, text).await;
        expect(&*open(), first + step, text).await;
    }
    let last = first + 3;
    for wrong in [None, Some(first), Some(last + 1), Some(0), Some(u64::MAX)] {
        assert_eq!(anchor.advance(wrong, b"never").await, Err(AnchorError::Moved { found: Some(last) }), "{wrong:?}");
    }
    expect(&*open(), last, &[b'x'; crate::anchor::STATEMENT_MAX]).await;
    let (one, other) = (open(), open());
    let both = futures::join!(one.advance(Some(last), b"one"), one.advance(Some(last), b"two"));
    let done = [&both.0, &both.1].iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(done, 1, "two calls from one count: {both:?}");
    assert_eq!(other.read().await.unwrap().count, Some(last + 1));
}

async fn expect(anchor: &dyn Anchor, count: u64, statement: &[u8]) {
    let held = anchor.read().await.unwrap();
    assert_eq!(held.count, Some(count));
    assert_eq!(held.statement.as_deref(), anchor.keeps_statements().then_some(statement));
}

/// What becomes of the next step of a [`MemoryAnchor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorFault {
    /// It fails, and nothing is done.
    Failed,
    /// It fails, and was done.
    FailedButDone,
}

/// An anchor in memory that fails on demand, for testing what callers do then. Clones are the same anchor: one outlives
/// the server that uses it.
#[derive(Clone)]
pub struct MemoryAnchor {
    keeps: bool,
    first: u64,
    held: Arc<Mutex<Held>>,
    lost: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<AnchorFault>>>,
}

impl MemoryAnchor {
    /// One that keeps statements.
    #[must_use]
    pub fn keeping() -> Self {
        Self { keeps: true, first: 1, held: Arc::default(), lost: Arc::default(), fault: Arc::default() }
    }

    /// One that only counts, and begins with this count.
    #[must_use]
    pub fn counting(first: u64) -> Self {
        Self { keeps: false, first, ..Self::keeping() }
    }

    /// From now on it does not answer, or answers again.
    pub fn lose(&self, lost: bool) {
        self.lost.store(lost, Ordering::SeqCst);
    }

    /// What becomes of the next step.
    pub fn fail_next(&self, fault: AnchorFault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.lock().unwrap().clone()
    }

    /// Puts something else there, as somebody with access to it does.
    pub fn put(&self, held: Held) {
        *self.held.lock().unwrap() = held;
    }

    fn answers(&self) -> Result<(), AnchorError> {
        let lost = self.lost.load(Ordering::SeqCst);
        if lost { Err(AnchorError::Unavailable("injected".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Anchor for MemoryAnchor {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn place(&self) -> String {
        "a test".to_owned()
    }

    fn keeps_statements(&self) -> bool {
        self.keeps
    }

    async fn read(&self) -> Result<Held, AnchorError> {
        self.answers().map(|()| self.held())
    }

    async fn advance(&self, from: Option<u64>, statement: &[u8]) -> Result<u64, AnchorError> {
        self.answers()?;
        let fault = self.fault.lock().unwrap().take();
        if fault == Some(AnchorFault::Failed) {
            return Err(AnchorError::Unavailable("injected".to_owned()));
        }
        let mut held = self.held.lock().unwrap();
        if held.count != from {
            return Err(AnchorError::Moved { found: held.count });
        }
        let next = from.map_or(self.first, |count| count + 1);
        held.count = Some(next);
        held.statement = self.keeps.then(|| statement.to_vec());
        if fault.is_some() { Err(AnchorError::Unavailable("injected".to_owned())) } else { Ok(next) }
    }
}
