//! Types for values that must not be seen: key material, passphrases, tokens, plaintext.
//!
//! What every type here promises:
//!
//! * its memory is overwritten with zeros when it is dropped, all of its capacity, not only the used part;
//! * it never moves its content to a new heap block without wiping the old one;
//! * `Debug` prints `[secret]` and nothing else, and there is no `Display`, `Clone`, `Serialize` or `PartialEq`;
//! * reading the content takes a call to `expose`, copying it takes a call to `duplicate`, and giving it up as an
//!   ordinary value takes a call to `declassify` with the reason, so a search for these three words finds every place
//!   where a secret can get out.
//!
//! What it does not promise: copies that the compiler leaves in registers or on the stack while a value is in use are
//! outside of its reach. Locking memory and forbidding core dumps are the server's business.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod array;
mod buffer;
mod bytes;
mod text;
mod wipe;

pub use array::SecretArray;
pub use buffer::SecretBuffer;
pub use bytes::SecretBytes;
pub use text::SecretString;

use std::fmt;

/// A secret had another length than its use requires. Carries lengths only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret of {expected} bytes is needed, this one has {actual}")]
pub struct LengthError {
    /// Bytes needed.
    pub expected: usize,
    /// Bytes found.
    pub actual: usize,
}

/// The bytes given for a secret text are not UTF-8. The bytes themselves were wiped, and where the fault lies is not
/// said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret text is not valid UTF-8")]
pub struct NotUtf8;

/// What `Debug` prints for every secret.
fn redacted(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("[secret]")
}

/// Whether two byte strings are equal; the time taken depends on their lengths only.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}
