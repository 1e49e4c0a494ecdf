//! Roots of trust without a device.
//!
//! - [`ShamirRoot`]: the root key exists in memory only, and only while enough holders have given their shares. For
//!   production where there is no HSM (requirement T4).
//! - [`SealedFileRoot`]: the root key lies in a file. **Whoever reads the file holds everything.** For development
//!   only; the server refuses it otherwise.
//!
//! What both do with the root key once they have it is in [`keyreeve_root::root_key`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod parameters;
mod sealed_file;
mod shamir;

pub use sealed_file::SealedFileRoot;
pub use shamir::ShamirRoot;
