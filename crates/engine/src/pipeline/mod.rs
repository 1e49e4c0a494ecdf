//! The one pipeline: authenticate, authorize, approve, execute, commit. The stages before an operation have a file each
//! here, `run.rs` joins them, an operation's `execute` stands with its type in `ops/`, and `commit.rs` is beside this
//! folder.
//!
//! This is how everybody asks:
//! ```
//! use keyreeve_engine::{Arrival, Engine, ops::system::Health};
//!
//! async fn is_alive(engine: &Engine, arrival: Arrival) -> bool {
//!     engine.call(arrival, Health).await.is_ok()
//! }
//! ```
//!
//! # What does not compile
//! A permit made without asking policy:
//! ```compile_fail
//! use keyreeve_engine::pipeline::{Operation, Permit};
//!
//! fn forge<O: Operation>() -> Permit<O> {
//!     Permit { operation: std::marker::PhantomData }
//! }
//! ```
//! An approval made from nothing, or by calling the stage that makes them:
//! ```compile_fail
//! use keyreeve_engine::pipeline::{Approved, Operation, Permit};
//!
//! fn forge<O: Operation>(permit: Permit<O>) -> Approved<O> {
//!     Approved { permit }
//! }
//! ```
//! ```compile_fail
//! use keyreeve_engine::pipeline::{Approved, Operation, Permit};
//!
//! fn consent<O: Operation>(permit: Permit<O>) -> Approved<O> {
//!     keyreeve_engine::pipeline::approve::approve(permit)
//! }
//! ```
//! Running an operation with a permit that was not approved, or with an approval of another operation:
//! ```compile_fail
//! use keyreeve_engine::{Core, ops::system::Seal};
//! use keyreeve_engine::pipeline::{Operation, Permit};
//!
//! async fn run(permit: &Permit<Seal>, core: &Core) {
//!     let _ = Seal.execute(permit, core).await;
//! }
//! ```
//! ```compile_fail
//! use keyreeve_engine::{Core, ops::system::{Health, Seal}};
//! use keyreeve_engine::pipeline::{Approved, Operation};
//!
//! async fn run(approved: &Approved<Health>, core: &Core) {
//!     let _ = Seal.execute(approved, core).await;
//! }
//! ```
//! Speaking as the server itself:
//! ```compile_fail
//! use keyreeve_engine::{Engine, ops::system::Seal};
//!
//! async fn run(engine: &Engine) {
//!     let _ = engine.call_as_server("request", Seal).await;
//! }
//! ```

mod aftermath;
mod approve;
mod arrival;
mod authenticate;
mod authorize;
mod named;
mod operation;
mod parked;
mod record;
mod rehearsal;
mod requirement;
mod resource;
mod run;
mod shadow;

pub use approve::Approved;
pub use arrival::{Arrival, Done, Evidence, Idempotency, PeerCertificate, Proof, Refused, Waiting};
pub use authenticate::Principal;
pub use authorize::Permit;

pub(crate) use authenticate::{Reason, elevated, join_token};
pub(crate) use authorize::{Circumstances, granted};
pub(crate) use named::resolve_named;
pub use operation::{Also, Operation, Outcome, Remember};
pub(crate) use parked::closed;
pub use rehearsal::Candidates;
pub(crate) use rehearsal::overtaken;
pub(crate) use requirement::{party, party_of};
pub(crate) use resource::resolve;
pub use resource::{CaseKind, CaseRef, Resource, Target};
