//! Key ceremonies: a script that is prepared, people from different roles or organisations who follow it together, and
//! a transcript that each of them signs, step by step (requirement T6).
//!
//! * [`script`]: what a script says; [`lint`]: what it cannot mean; [`shipped`]: scripts that come with the program;
//! * [`state`]: what may happen next, and who has to sign it; [`event`]: what happened;
//! * [`transcript`]: the chain of signed entries; [`verify`]: checking it years later;
//! * [`participant`]: the keys that people sign with; [`action`]: what the program does itself in a step;
//! * [`paper`]: the transcript as people read it, in Markdown and PDF.
//!
//! The crate is pure: files, terminal and clock belong to whoever leads through a ceremony.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod action;
pub mod event;
pub mod lint;
pub mod paper;
pub mod participant;
pub mod script;
pub mod shipped;
pub mod state;
pub mod transcript;
pub mod verify;
pub mod word;
