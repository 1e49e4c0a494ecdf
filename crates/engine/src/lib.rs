//! The engine: a catalogue of operations and the one pipeline that runs them.
//!
//! ```text
//! evidence ─authenticate─▶ Principal ─authorize─▶ Permit ─approve─▶ Approved
//!          ─execute─▶ changes, record ─commit─▶ reply
//! ```
//! [`Engine::call`] is the only public door. [`pipeline::Permit`] and [`pipeline::Approved`] have private constructors,
//! so an operation that skipped a stage does not compile. The engine knows no HTTP, no SQL and no HSM.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalogue;
pub mod error;
pub mod keys;
pub mod ops;
pub mod pipeline;

mod access;
mod cache;
mod clock;
mod commit;
mod core;
mod running;
mod sealing;

pub use crate::clock::{CLOCK_TOLERANCE_MS, Clock};
pub use crate::core::{Core, Engine, Observer, Ports, Settings};
pub use catalogue::{AuditClass, Descriptor};
pub use error::{Code, Error, Fault};
pub use keyreeve_root::SealStatus;
pub use keys::{KeyRef, KeyringRef};
pub use pipeline::{Arrival, Done, Evidence, Idempotency, Operation, PeerCertificate, Principal, Proof, Refused};
pub use running::Readiness;
