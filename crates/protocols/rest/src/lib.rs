//! The HTTP interface `/v1`: a table of routes over the engine's catalogue, and its OpenAPI description.
//!
//! ```text
//! ROUTES ─┬─▶ router of each listener ─▶ handler: parse, one Engine::call, write
//!         ├─▶ OpenAPI document (openapi/keyreeve.json, compared by a test)
//!         └─▶ tests: every route reaches the pipeline, every operation has a route
//! ```
//! A handler decides nothing: it turns a body of [`keyreeve_wire`] into an operation of the catalogue, calls the engine
//! once, and writes the reply. Whatever is wrong with a request leaves as problem details (RFC 9457) with a stable
//! code.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod call;
mod convert;
mod forms;
mod handlers;
mod openapi;
mod query;
mod routes;

pub use call::parse_context_header;
pub use openapi::document;
pub use query::check_query;
pub use routes::{Param, Route, Side, Verb, router, routes};
