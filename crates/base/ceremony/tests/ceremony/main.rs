//! Ceremonies from beginning to end, without a terminal: the state machine, the chain, the paper.
#![allow(clippy::unwrap_used)]

mod altered;
mod paper;
mod rules;
mod scripts;
mod stage;
