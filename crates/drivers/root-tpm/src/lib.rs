//! A root of trust that the machine's TPM 2.0 opens, without a person (requirement T2).
//!
//! The root key is 256 random bits, made here and sealed to the TPM: it comes out again only on this TPM, and only
//! while the platform configuration registers (PCRs) say that the machine started what the operator approved. What is
//! approved is not fixed when the key is sealed. The policy of the sealed key is `TPM2_PolicyAuthorize`: any set of PCR
//! values which the operator's policy key has signed. So the PCRs of the next kernel are approved before its first
//! start, by a file beside the others; nothing is sealed anew. See [`Approval`].
//!
//! Where the TPM refuses, because the PCRs are none of those, or is broken, cleared or replaced, the root stands sealed
//! and opens with recovery shares, if some were made at initialisation. Then it is sealed anew to the TPM that is
//! there, unless what lies in the file is good for that TPM already. To another TPM than before it is sealed only if an
//! operator consents, by its name: shares alone do not say whose TPM it is that answers.
//!
//! All that passes between the TPM and this process and is secret is encrypted: the sessions are salted to a key inside
//! the TPM, whose name is remembered, so that whoever reads along on the bus learns nothing, and whoever stands in
//! between is noticed.
//!
//! [`TpmCounter`] is a counter of the TPM that never goes back, whatever becomes of the disks: an anchor (requirement
//! T8).
//!
//! Commands are put together with the structures of the crate `tpm2-protocol`; what is done inside of sessions, and
//! every computation, is ours, with `keyreeve-crypto`. No C library takes part. Names and numbers are those of the
//! Trusted Platform Module Library, revision 1.59, of which the parts are cited as "part 1" to "part 3".
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod approval;
mod bench;
mod commands;
mod counter;
mod pcrs;
mod root;
mod sealed;
mod session;
mod transport;
mod wire;

pub use approval::{Approval, ApprovalError, POLICY_REF, PolicyKey};
pub use bench::{Options, Survey, Trouble};
pub use counter::{CounterOptions, TpmCounter};
pub use pcrs::{Bank, PcrValues, read_pcrs};
pub use root::TpmRoot;
pub use transport::Device;
