//! Tokens: the published examples, everything that is refused, and properties of both.
#![allow(clippy::unwrap_used)]

mod issuer;
mod properties;
mod refused;
mod vectors;
