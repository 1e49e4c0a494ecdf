//! Writing answers. Secrets go through buffers that are wiped, without a copy of their own in between.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use keyreeve_http::{AUDIT_RECORD, HttpCode, Problem};
use keyreeve_model::RecordId;
use keyreeve_secret::{SecretBuffer, SecretBytes};
use keyreeve_wire::KEY_VERSION_HEADER;
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PEM: HeaderValue = HeaderValue::from_static("application/x-pem-file");
const VERSION: HeaderName = HeaderName::from_static(KEY_VERSION_HEADER);

/// Header fields of an answer, those of the frame included (count): room for all at once.
const FIELDS: usize = 8;

/// Secret bytes on their way out: wiped when the last handle is dropped.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// A secret as a body, not copied.
pub(crate) fn secret_body(secret: SecretBytes) -> Body {
    Body::from(Bytes::from_owner(Wiped(secret)))
}

fn respond(record: Option<RecordId>, media: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().reserve(FIELDS);
    response.headers_mut().insert(CONTENT_TYPE, media);
    with_record(record, response)
}

fn with_record(record: Option<RecordId>, mut response: Response) -> Response {
    if let Some(value) = record.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
        response.headers_mut().insert(AUDIT_RECORD, value);
    }
    response
}

fn unwritable(_: serde_json::Error) -> Problem {
    Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more")
}

/// JSON without secrets.
pub(crate) fn json<T: Serialize>(record: Option<RecordId>, body: &T) -> Result<Response, Problem> {
    let body = serde_json::to_vec(body).map_err(unwritable)?;
    Ok(json_bytes(record, body))
}

/// JSON that is written already and holds no secrets.
pub(crate) fn json_bytes(record: Option<RecordId>, body: Vec<u8>) -> Response {
    respond(record, JSON, Body::from(body))
}

/// JSON with secrets.
pub(crate) fn secret_json<T: Serialize>(record: Option<RecordId>, body: &T) -> Result<Response, Problem> {
    let mut buffer = SecretBuffer::with_capacity(1024);
    serde_json::to_writer(&mut buffer, body).map_err(unwritable)?;
    Ok(secret_json_bytes(record, buffer))
}

/// JSON with secrets that is written already.
pub(crate) fn secret_json_bytes(record: Option<RecordId>, body: SecretBuffer) -> Response {
    respond(record, JSON, secret_body(body.finish()))
}

/// Binary, with the key version.
pub(crate) fn octets(record: Option<RecordId>, version: u32, body: Body) -> Response {
    let mut response = respond(record, BINARY, body);
    response.headers_mut().insert(VERSION, HeaderValue::from(version));
    response
}

/// Binary.
pub(crate) fn binary(record: Option<RecordId>, body: Vec<u8>) -> Response {
    respond(record, BINARY, Body::from(body))
}

/// Text.
pub(crate) fn text(record: Option<RecordId>, body: Vec<u8>) -> Response {
    respond(record, TEXT, Body::from(body))
}

/// PEM (RFC 7468).
pub(crate) fn pem(record: Option<RecordId>, body: String) -> Response {
    respond(record, PEM, Body::from(body))
}

/// Done; there is nothing to say.
pub(crate) fn nothing(record: Option<RecordId>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    with_record(record, response)
}
