//! Tests of the policy crate through its public interface. One binary, because linking Cedar is what takes the time.
#![allow(clippy::unwrap_used)]

mod cache;
mod compile;
mod diff;
mod explain;
mod hostile;
mod roles;
mod rules;
mod sample;
mod simulate;
