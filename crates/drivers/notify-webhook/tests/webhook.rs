//! The webhook against a receiver in another language.
#![allow(clippy::unwrap_used)]

mod python;
