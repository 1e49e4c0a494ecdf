//! What is left of a body when a request is answered before all of it was read: read on, and thrown away.
//!
//! Over HTTP/1.1 a server that closes a connection while the client still writes makes the operating system reset it,
//! and the client may lose the answer that was already sent (RFC 9112 §9.6). HTTP/2 has no such trouble: it resets the
//! stream.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// Most that is read on, in bytes.
const MOST: u64 = 64 << 20;
/// Longest time of reading on.
const LONGEST: Duration = Duration::from_secs(10);
/// When nothing arrives for so long the client waits for its answer.
const PAUSE: Duration = Duration::from_millis(300);

/// Where a body goes that is dropped before its end.
#[derive(Debug, Default)]
pub(crate) struct Leftover(Arc<Mutex<Option<Body>>>);

impl Leftover {
    /// Keeps an eye on the body of a request. Short ones too: many clients send them apart from the head.
    pub(crate) fn watch(request: Request<Body>) -> (Self, Request<Body>) {
        let leftover = Self::default();
        let none = HttpBody::is_end_stream(request.body());
        // A client that asks first does not send what nobody reads.
        let asks = request.headers().contains_key(header::EXPECT);
        if none || asks || request.version() > Version::HTTP_11 {
            return (leftover, request);
        }
        let place = Arc::clone(&leftover.0);
        let watched = request.map(|body| Body::new(Watched { inner: body, place }));
        (leftover, watched)
    }

    /// Reads on until the body ends, the client pauses, or it is too much.
    pub(crate) async fn drain(self) {
        let Some(mut body) = self.0.lock().take() else { return };
        let reading = async {
            let mut read = 0;
            while let Ok(Some(Ok(frame))) = timeout(PAUSE, body.frame()).await {
                read += frame.data_ref().map_or(0, Bytes::len) as u64;
                if read > MOST {
                    return;
                }
            }
        };
        // In the end the connection is closed, as it would be without this.
        let _ = timeout(LONGEST, reading).await;
    }
}

/// A body that is put aside when it is dropped before its end.
struct Watched {
    inner: Body,
    place: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.inner)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !HttpBody::is_end_stream(&self.inner) {
            *self.place.lock() = Some(std::mem::replace(&mut self.inner, Body::empty()));
        }
    }
}
