//! The engine: a catalogue of operations and the one pipeline that runs them.
//!
//! ```text
//! evidence ─authenticate─▶ Principal ─authorize─▶ Permit ─approve─▶ Approved
//!          ─execute─▶ changes, record ─commit─▶ reply
//! ```
//! [`Engine::call`] is the only public door to an operation; the engine's other methods start, tick and stop it and
//! tell whether it is ready. [`pipeline::Permit`] and [`pipeline::Approved`] have private constructors, so an operation
//! that skipped a stage does not compile. The engine does no HTTP and no SQL, and speaks to devices through the root
//! port only; the texts of refusals name what a caller can do about them, a header or a command among it.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalogue;
pub mod error;
mod escrow;
pub mod keys;
pub mod ops;
pub mod pipeline;

mod access;
mod anchors;
mod backup;
mod cache;
mod clock;
mod commit;
mod core;
mod courier;
mod due;
mod emergencies;
mod filed;
mod integrity;
mod issuers;
mod jobs;
mod readiness;
mod roots;
mod running;
mod sealing;
mod uses;

pub use crate::anchors::{AnchorAt, AnchorState};
pub use crate::backup::{
    Backups, DrillSource, Plan, Rehearsed, RestoreOptions, RestoreSource, RestoredReply, ScratchVault, Verified,
};
pub use crate::clock::{CLOCK_TOLERANCE_MS, Clock};
pub use crate::core::{Core, Engine, Observer, Ports, Settings};
pub use crate::courier::Channel;
pub use crate::due::{DrillStanding, HeldDrill};
pub use catalogue::{AuditClass, Descriptor};
pub use error::{Code, Error, Fault};
pub use escrow::EscrowHealth;
pub use keyreeve_root::SealStatus;
pub use keys::{KeyRef, KeyringRef};
pub use pipeline::{Arrival, Done, Evidence, Idempotency, Operation, PeerCertificate, Principal, Proof, Refused};
pub use readiness::Readiness;
pub use roots::Roots;
