//! Roots of trust without a device.
//!
//! - [`ShamirRoot`]: the root key exists in memory only, and only while enough holders have given their shares. For
//!   production where there is no HSM (requirement T4).
//! - [`SealedFileRoot`]: the root key lies in a file. **Whoever reads the file holds everything.** For development
//!   only; the server refuses it otherwise.
//!
//! In both the root key is 256 random bits, used for nothing but deriving two keys (HKDF-SHA-256): one that wraps, with
//! XAES-256-GCM, and one whose HMAC over the public parameters is kept as check value, so that a wrong root key never
//! opens.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod root_key;
mod sealed_file;
mod shamir;

pub use sealed_file::SealedFileRoot;
pub use shamir::ShamirRoot;
