//! The one pipeline: five stages, each a small function in its own file.

mod approve;
mod arrival;
mod authenticate;
mod authorize;
mod operation;
mod record;
mod run;

pub use approve::Approved;
pub use arrival::{Arrival, Done, Evidence, Idempotency, PeerCertificate, Refused};
pub use authenticate::Principal;
pub use authorize::{Permit, Resource, Target};

pub(crate) use authenticate::join_token;
pub(crate) use authorize::resolve;
pub use operation::{Operation, Outcome, Remember};
