//! Reading bodies: limited in size and time, wiped afterwards, with errors that repeat no value of the caller.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use keyreeve_engine::Arrival;
use keyreeve_secret::{SecretBuffer, SecretBytes};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use std::pin::pin;
use std::sync::Arc;

use crate::inbound::Inbound;
use crate::problem::{HttpCode, Problem};

/// Room for bodies is counted in units of so many bytes.
pub(crate) const UNIT: usize = 4 << 10;
/// Room taken at once because a length was announced, in bytes; more only as it arrives. With every byte more that
/// costs nothing to announce, fewer idle connections could take all the room there is.
const TRUSTED_LENGTH: usize = 16 << 10;

/// The longest form, in bytes.
const FORM_MAX: usize = 4 << 10;

/// A request with a JSON body. No body at all counts as `{}`.
#[derive(Debug)]
pub struct JsonCall<T> {
    /// For the engine.
    pub arrival: Arrival,
    /// The body.
    pub body: T,
}

/// A request with an `application/octet-stream` body.
#[derive(Debug)]
pub struct OctetCall {
    /// For the engine.
    pub arrival: Arrival,
    /// The body; wiped when the last handle is dropped.
    pub bytes: Bytes,
}

/// A request with the small body of a page's form (`application/x-www-form-urlencoded`).
#[derive(Debug)]
pub struct FormCall {
    /// For the engine.
    pub arrival: Arrival,
    /// The body; wiped when the last handle is dropped.
    pub bytes: Bytes,
}

/// A request whose body, if any, does not matter.
#[derive(Debug)]
pub struct PlainCall {
    /// For the engine.
    pub arrival: Arrival,
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonCall<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let inbound = Inbound::take(&mut parts)?;
        let body = read(&inbound, body, inbound.limits().json_body).await?;
        let bytes = body.as_slice();
        let absent = bytes.is_empty() && !parts.headers.contains_key(CONTENT_TYPE);
        if !absent {
            expect_type(&parts.headers, "application/json")?;
        }
        let arrival = inbound.arrival(&parts, bytes)?;
        Ok(Self { arrival, body: parse(if absent { b"{}" } else { bytes })? })
    }
}

impl<S: Sync> FromRequest<S> for OctetCall {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let inbound = Inbound::take(&mut parts)?;
        expect_type(&parts.headers, "application/octet-stream")?;
        let body = read(&inbound, body, inbound.limits().octet_body).await?;
        let arrival = inbound.arrival(&parts, body.as_slice())?;
        Ok(Self { arrival, bytes: body.into_bytes() })
    }
}

impl<S: Sync> FromRequest<S> for FormCall {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let inbound = Inbound::take(&mut parts)?;
        expect_type(&parts.headers, "application/x-www-form-urlencoded")?;
        let body = read(&inbound, body, inbound.limits().json_body.min(FORM_MAX)).await?;
        let arrival = inbound.arrival(&parts, body.as_slice())?;
        Ok(Self { arrival, bytes: body.into_bytes() })
    }
}

impl<S: Sync> FromRequest<S> for PlainCall {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (mut parts, _) = request.into_parts();
        let inbound = Inbound::take(&mut parts)?;
        Ok(Self { arrival: inbound.arrival(&parts, &[])? })
    }
}

fn expect_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Problem::new(HttpCode::UnsupportedMediaType, format!("send the body with `Content-Type: {wanted}`")))
}

/// A body that has arrived.
enum Arrived {
    /// In one piece, still in the connection's buffer.
    Whole(Bytes),
    /// In pieces, put together.
    Gathered(Held),
}

/// A body with the room it takes.
struct Held {
    bytes: SecretBytes,
    _room: Room,
}

/// The room that a body takes: of all bodies, and of those of its source.
#[derive(Default)]
struct Room([Option<OwnedSemaphorePermit>; 2]);

impl Room {
    /// Extends it to cover `bytes`.
    fn extend(&mut self, places: [&Arc<Semaphore>; 2], bytes: usize) -> Result<(), Problem> {
        for (held, place) in self.0.iter_mut().zip(places) {
            let more = bytes.div_ceil(UNIT).saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
            if more == 0 {
                continue;
            }
            let full = |_| Problem::new(HttpCode::Overloaded, "too many large requests at once: try again in a moment");
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            let permit = Arc::clone(place).try_acquire_many_owned(more).map_err(full)?;
            match held {
                Some(held) => held.merge(permit),
                None => *held = Some(permit),
            }
        }
        Ok(())
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.bytes.expose()
    }
}

impl Arrived {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Gathered(held) => held.as_ref(),
        }
    }

    /// Bytes that are wiped at the end: not those of the connection's buffer.
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => {
                Bytes::from_owner(Held { bytes: SecretBytes::copy_from(&bytes), _room: Room::default() })
            }
            Self::Gathered(held) => Bytes::from_owner(held),
        }
    }
}

async fn read(inbound: &Inbound, body: Body, limit: usize) -> Result<Arrived, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut gathering = pin!(gather(body, limit, [&inbound.shared.room, &inbound.peer.room]));
    // Most bodies are there already, and need no timer.
    if let Some(result) = gathering.as_mut().now_or_never() {
        return result;
    }
    match tokio::time::timeout(inbound.limits().body_time, gathering).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(HttpCode::RequestTimeout, "the body took too long to arrive")),
    }
}

async fn gather(mut body: Body, limit: usize, places: [&Arc<Semaphore>; 2]) -> Result<Arrived, Problem> {
    let Some(first) = next(&mut body).await? else { return Ok(Arrived::Whole(Bytes::new())) };
    if first.len() > limit {
        return Err(too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(Arrived::Whole(first));
    }
    let rest = body.size_hint();
    let whole = |rest: u64| first.len().saturating_add(usize::try_from(rest).unwrap_or(usize::MAX));
    let most = rest.upper().map_or(limit, |rest| whole(rest).min(limit));
    let mut capacity = whole(rest.lower()).min(TRUSTED_LENGTH).max(first.len());
    let mut held = Room::default();
    held.extend(places, capacity)?;
    let mut buffer = SecretBuffer::with_capacity(capacity);
    buffer.extend_from_slice(&first);
    while let Some(piece) = next(&mut body).await? {
        let needed = buffer.len().saturating_add(piece.len());
        if needed > limit {
            return Err(too_large(limit));
        }
        if needed > capacity {
            capacity = needed.max((capacity * 2).min(most));
            held.extend(places, capacity)?;
            buffer.reserve(capacity - buffer.len());
        }
        buffer.extend_from_slice(&piece);
    }
    Ok(Arrived::Gathered(Held { bytes: buffer.finish(), _room: held }))
}

/// The next piece that is not empty.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("the body ended before its announced length"))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        HttpCode::TooLarge,
        format!("the body is larger than {limit} bytes: split the work, or stream it in envelope form"),
    )
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|_| explain::<T>(bytes))
}

/// Reads once more to say where the body is wrong: only for refusals, so that good requests do not pay for it.
#[cold]
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> Problem {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Ok(_) => Problem::invalid("the body goes on after the end of the JSON document"),
        Err(error) => {
            let path = error.path().to_string();
            let message = redact(&error.inner().to_string());
            match path.as_str() {
                "." => Problem::invalid(format!("the body is not what is expected: {message}")),
                _ => Problem::invalid(format!("the body is not what is expected: at `{path}`: {message}")),
            }
        }
    }
}

/// Serde repeats offending values in double quotes; they may be secret.
fn redact(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(from), Some(to)) if from < to => format!("{}…{}", &message[..=from], &message[to..]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::{Frame, SizeHint};
    use serde::Deserialize;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read by the derive")]
    struct Wanted {
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read by the derive")]
    struct Item {
        bits: u32,
    }

    fn text(body: &str) -> String {
        let problem = parse::<Wanted>(body.as_bytes()).unwrap_err();
        String::from_utf8(axum_free_text(problem)).unwrap()
    }

    fn axum_free_text(problem: Problem) -> Vec<u8> {
        format!("{problem:?}").into_bytes()
    }

    #[test]
    fn errors_say_where_and_repeat_no_value() {
        let told = text(r#"{"items":[{"bits":1},{"bits":"CANARY \" quoted"}]}"#);
        assert!(told.contains("items[1].bits"), "{told}");
        assert!(told.contains("expected u32"), "{told}");
        assert!(!told.contains("CANARY") && !told.contains("quoted"), "{told}");
        assert!(text(r#"{"items":[]} x"#).contains("goes on after the end"));
        assert!(text(r#"{"itmes":[]}"#).contains("unknown field"));
        assert!(text("").contains("EOF"));
    }

    #[test]
    fn what_is_only_announced_takes_little_room() {
        let all = Arc::new(Semaphore::new(1000));
        let taken = |pieces: &[usize]| {
            let pieces = pieces.iter().map(|length| vec![b'x'; *length].into()).collect();
            let announced = Announced { pieces, left: 1 << 20 };
            let mut gathering = pin!(gather(Body::new(announced), 2 << 20, [&all, &all]));
            assert!(gathering.as_mut().now_or_never().is_none(), "the rest does not come");
            (1000 - all.available_permits()) * UNIT / 2
        };
        assert_eq!(taken(&[1]), 16 << 10);
        assert_eq!(taken(&[1, 16 << 10]), 32 << 10);
        assert_eq!(taken(&[100 << 10, 1]), 200 << 10);
        assert_eq!(taken(&[900 << 10, 1]), 1 << 20, "never more than the whole");
    }

    /// A body of 1 MiB by its announcement, of which some pieces come.
    struct Announced {
        pieces: VecDeque<Bytes>,
        left: u64,
    }

    impl hyper::body::Body for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(piece) = self.pieces.pop_front() else { return Poll::Pending };
            self.left -= piece.len() as u64;
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.left)
        }
    }

    #[test]
    fn room_is_taken_as_a_body_grows_and_given_back() {
        let (all, own) = (Arc::new(Semaphore::new(6)), Arc::new(Semaphore::new(4)));
        let mut held = Room::default();
        held.extend([&all, &own], 1).unwrap();
        held.extend([&all, &own], 2 * UNIT).unwrap();
        held.extend([&all, &own], 4 * UNIT).unwrap();
        assert_eq!((all.available_permits(), own.available_permits()), (2, 0));
        assert_eq!(
            Room::default().extend([&all, &own], 1).unwrap_err().code(),
            "overloaded",
            "its source has its share"
        );
        let other = Arc::new(Semaphore::new(4));
        assert_eq!(Room::default().extend([&all, &other], 3 * UNIT).unwrap_err().code(), "overloaded");
        Room::default().extend([&all, &other], 2 * UNIT).unwrap();
        drop(held);
        assert_eq!((all.available_permits(), own.available_permits()), (6, 4));
    }
}
