//! What all protocols over HTTP share: listener, TLS, limits, request ids, the error frame.
//!
//! ```text
//! socket ─▶ [Listener] TLS, timeouts ─▶ [Frame] id, rates, panics ─▶ axum Router ─▶ [JsonCall] … ─▶ Engine::call
//! ```
//! A protocol writes handlers that take one of the extractors [`JsonCall`], [`OctetCall`] or [`PlainCall`], hand the
//! [`Arrival`](keyreeve_engine::Arrival) in it to the engine, and return `Result<_, Problem>`; everything that goes
//! wrong on the way leaves as one kind of answer, [`Problem`] (RFC 9457).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activity;
mod body;
mod clients;
mod counters;
mod drain;
mod frame;
mod inbound;
mod limits;
mod listener;
mod outline;
mod problem;
mod rate;
mod register;
mod session;
mod sources;
mod tls;
mod words;

pub use body::{FormCall, JsonCall, OctetCall, PlainCall};
pub use counters::{Counters, Totals};
pub use frame::Frame;
pub use inbound::{IDEMPOTENCY_KEY_MAX, Inbound, MEANING, Peer};
pub use limits::{Limits, Rate, Rates};
pub use listener::{Listener, bind};
pub use problem::{HttpCode, Problem, status_of};
pub use session::{CONSOLE_API, SESSION_COOKIE, asked_origin, cookie_in, session_cookie};
pub use tls::{ClientAuth, MinVersion, Tls, TlsError, TlsMaterial, Unsure, provider};
pub use tokio_util::sync::CancellationToken;

/// The header that carries the id of a request, both ways.
pub const REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
/// The header that makes a retry harmless.
pub const IDEMPOTENCY_KEY: http::HeaderName = http::HeaderName::from_static("idempotency-key");
/// The header that names the audit record of an answer.
pub const AUDIT_RECORD: http::HeaderName = http::HeaderName::from_static("keyreeve-audit-record");
/// The header that names what a request waits as.
pub const APPROVAL: http::HeaderName = http::HeaderName::from_static("keyreeve-approval");
