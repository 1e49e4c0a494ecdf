//! What a connection is about: whether answers are under way, whether bytes move, how long nothing has happened.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// What happens on one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    started: Instant,
    /// Requests whose answer was not handed over whole.
    busy: AtomicU32,
    /// Answers that were handed over whole.
    answered: AtomicU64,
    last_ms: AtomicU64,
    /// Bytes came or went since somebody looked.
    moved: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            busy: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            moved: AtomicBool::new(false),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long no request was under way.
    pub(crate) fn idle(&self) -> Duration {
        if self.is_busy() {
            return Duration::ZERO;
        }
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Acquire)))
    }

    /// Whether a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    /// How many answers were handed over so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Notes that bytes came or went.
    pub(crate) fn moving(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// Whether no request is under way, and no byte moved since this was asked last.
    pub(crate) fn is_still(&self) -> bool {
        let moved = self.moved.swap(false, Ordering::Relaxed);
        !self.is_busy() && !moved
    }
}

/// Marks a connection as busy while it lives.
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.busy.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.last_ms.store(self.0.elapsed_ms(), Ordering::Release);
        self.0.answered.fetch_add(1, Ordering::AcqRel);
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer: the connection is busy until all of it was handed over.
pub(crate) struct Answering {
    body: Body,
    _busy: Busy,
}

impl Answering {
    pub(crate) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_busy_until_the_body_of_its_answer_is_gone() {
        let activity = Arc::new(Activity::new());
        assert!(activity.is_still());
        let body = Answering::new(Body::from("x"), Busy::new(&activity));
        assert!(activity.is_busy() && !activity.is_still() && activity.answered() == 0);
        drop(body);
        assert!(!activity.is_busy() && activity.answered() == 1);
        activity.moving();
        assert!(!activity.is_still(), "bytes moved");
        assert!(activity.is_still());
    }
}
