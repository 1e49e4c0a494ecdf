//! The connection's bytes under hyper: what it says by itself, without asking anybody, is put into our form.
//!
//! A request head that hyper cannot read never becomes a request: it writes a bare status and ends the connection.
//! Such words are told from answers without looking at them: everything written before was flushed, no request is under
//! way, and no answer was handed over since, yet there is something to write.

use axum::response::Response;
use futures::future::BoxFuture;
use http::StatusCode;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::activity::Activity;

/// Longest time of reading what a client still sends after the connection was ended on our side. Closing at once would
/// make the operating system reset the connection, and the answer be lost (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);
/// Most that is read meanwhile, in bytes.
const LINGER_BYTES: usize = 1 << 20;

/// The longest answer that is put in place of hyper's, in bytes.
const BODY: usize = 64 << 10;

/// Finds words for a status that hyper wants to send by itself: a whole answer.
pub(crate) type Speaker = Arc<dyn Fn(Bare) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// What hyper wants to send by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bare {
    /// The status.
    pub(crate) status: StatusCode,
    /// The date it wrote.
    pub(crate) date: Option<String>,
}

impl Bare {
    /// Reads a head of hyper's own making; none if it is something else.
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
        let mut lines = text.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?;
        let status = StatusCode::from_bytes(status.as_bytes()).ok().filter(StatusCode::is_client_error)?;
        let date = lines.find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("date")));
        Some(Self { status, date: date.map(|(_, value)| value.to_owned()) })
    }
}

impl Bare {
    /// The bytes of an answer in its place, after which the connection ends.
    pub(crate) async fn spell(&self, answer: Response) -> Vec<u8> {
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, BODY).await.unwrap_or_default();
        let (code, reason) = (parts.status.as_str(), parts.status.canonical_reason().unwrap_or_default());
        let mut bytes = format!("HTTP/1.1 {code} {reason}\r\nconnection: close\r\n").into_bytes();
        for (name, value) in &parts.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let date = self.date.as_ref().map(|date| format!("date: {date}\r\n")).unwrap_or_default();
        bytes.extend(format!("{date}content-length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }
}

/// Where the connection stands.
enum State {
    /// Bytes pass as they are.
    Passing,
    /// Words are being found.
    Finding(BoxFuture<'static, Vec<u8>>),
    /// They are being written, so far up to here.
    Saying(Vec<u8>, usize),
    /// They are written.
    Said,
    /// Our side is ended; what the client still sends is read, so many bytes at most.
    Lingering(Pin<Box<Sleep>>, usize),
}

/// A connection's bytes.
pub(crate) struct Words<I> {
    io: I,
    activity: Arc<Activity>,
    /// None where hyper has no words of its own: HTTP/2.
    speaker: Option<Speaker>,
    state: State,
    /// Everything written so far was flushed.
    flushed: bool,
    /// Answers handed over until then.
    answered: u64,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Words<I> {
    pub(crate) fn new(io: I, activity: Arc<Activity>, speaker: Option<Speaker>) -> Self {
        Self { io, activity, speaker, state: State::Passing, flushed: true, answered: 0 }
    }

    /// Begins to speak in place of hyper if these are words of its own.
    fn intercept(&mut self, bytes: &[u8]) -> bool {
        let own = self.flushed && !self.activity.is_busy() && self.activity.answered() == self.answered;
        let Some(speaker) = self.speaker.as_ref().filter(|_| own) else { return false };
        let Some(bare) = Bare::read(bytes) else { return false };
        self.state = State::Finding(speaker(bare));
        true
    }

    /// Takes bytes to write: some are hyper's own words, which nobody shall read.
    fn swallows(&mut self, bytes: &[u8]) -> bool {
        match self.state {
            State::Passing => self.intercept(bytes),
            State::Finding(_) | State::Saying(..) | State::Said | State::Lingering(..) => true,
        }
    }

    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.flushed = false;
        if let Poll::Ready(Ok(1..)) = result {
            self.activity.moving();
        }
        result
    }

    /// Gets our own words out.
    fn poll_say(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Passing | State::Said | State::Lingering(..) => return Poll::Ready(Ok(())),
                State::Finding(finding) => self.state = State::Saying(ready!(finding.as_mut().poll(context)), 0),
                State::Saying(words, said) => {
                    let rest = words.get(*said..).unwrap_or_default();
                    if rest.is_empty() {
                        self.state = State::Said;
                        continue;
                    }
                    match ready!(Pin::new(&mut self.io).poll_write(context, rest))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        wrote => *said += wrote,
                    }
                }
            }
        }
    }

    /// Reads what the client still sends, up to its end, for a while.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Lingering(until, left) = &mut self.state else { return Poll::Ready(Ok(())) };
        let mut scratch = [0u8; 4096];
        loop {
            if until.as_mut().poll(context).is_ready() || *left == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *left = left.saturating_sub(buffer.filled().len()),
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Words<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.moving();
        }
        result
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Words<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.swallows(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Hyper's own words are one head without a body.
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        if self.swallows(first) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let result = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_say(context))?;
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        self.flushed = true;
        self.answered = self.activity.answered();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_say(context))?;
        if !matches!(self.state, State::Lingering(..)) {
            ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
        }
        if matches!(self.state, State::Said) {
            self.state = State::Lingering(Box::pin(sleep(LINGER)), LINGER_BYTES);
        }
        self.poll_linger(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::Busy;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const BARE: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Thu, 01 Jan 1970\r\n\r\n";

    fn words(activity: &Arc<Activity>) -> (Words<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (io, client) = tokio::io::duplex(1 << 16);
        let speaker: Speaker =
            Arc::new(|bare| Box::pin(async move { format!("{} {:?}", bare.status, bare.date).into_bytes() }));
        (Words::new(io, Arc::clone(activity), Some(speaker)), client)
    }

    async fn heard(mut client: tokio::io::DuplexStream, words: Words<tokio::io::DuplexStream>) -> String {
        drop(words);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn words_of_hypers_own_are_replaced() {
        let activity = Arc::new(Activity::new());
        let (mut words, client) = words(&activity);
        words.write_all(BARE).await.unwrap();
        words.flush().await.unwrap();
        assert_eq!(heard(client, words).await, "400 Bad Request Some(\"Thu, 01 Jan 1970\")");
    }

    #[tokio::test]
    async fn an_answer_passes_whatever_it_says() {
        let activity = Arc::new(Activity::new());
        let (mut words, client) = words(&activity);
        drop(Busy::new(&activity));
        words.write_all(BARE).await.unwrap();
        words.flush().await.unwrap();
        // A body that is handed over in pieces, each flushed.
        let busy = Busy::new(&activity);
        words.write_all(BARE).await.unwrap();
        words.flush().await.unwrap();
        words.write_all(BARE).await.unwrap();
        drop(busy);
        words.flush().await.unwrap();
        let told = String::from_utf8([BARE, BARE, BARE].concat()).unwrap();
        assert_eq!(heard(client, words).await, told);
    }

    #[tokio::test]
    async fn the_end_of_an_answer_that_waits_to_be_written_passes() {
        let activity = Arc::new(Activity::new());
        let (mut words, client) = words(&activity);
        drop(Busy::new(&activity));
        words.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        words.write_all(BARE).await.unwrap();
        assert!(heard(client, words).await.contains("connection: close"));
    }

    #[test]
    fn only_a_whole_head_of_a_refusal_is_hypers_own() {
        for other in ["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"] {
            assert_eq!(Bare::read(other.as_bytes()), None, "{other}");
        }
    }
}
