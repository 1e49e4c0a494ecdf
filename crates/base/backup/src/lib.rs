//! Backups as bytes: what stands in one, how it is encrypted and signed, and how destroyed keys stay destroyed in it.
//!
//! Three kinds of objects lie at a destination, see docs/formats.md:
//!
//! - **Archives** (`backup-…`): a copy of the store and of the configuration, each of one moment. Immutable.
//! - **Log segments** (`log-…`): entries of the audit log from one index to another. Immutable; each is stored once.
//! - **Ledgers** (`ledger-…`): the cut keys of one shard of a keyring. In an archive the material of a key is sealed
//!   under its cut key, and destroying the key takes the cut key out of the ledger, at every destination. An archive
//!   from before the destruction then has material that nothing opens, while the key's neighbours are as they were
//!   (docs/decisions/0024).
//!
//! Everything is encrypted under the backup key, which the root of trust wraps; its wrapped form travels in the head of
//! each object. Nothing here reads a file, a clock or the network.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod keys;
mod ledger;
mod names;
mod retention;
mod row;

pub use archive::{
    CONFIGURATION_MAX, Counts, FRAME_MAX, HEAD_MAX, Head, Item, Kind, Manifest, Reader, SegmentRange, Writer,
    split_head,
};
pub use keys::{BackupKey, CutKey};
pub use ledger::{LEDGER_MAX, Ledger, SealedLedger, Tombstone};
pub use names::{NAME_MAX, Object, ObjectName, Segment};
pub use retention::{Keep, expendable};
pub use row::{decode_row, encode_row};

use thiserror::Error;

/// What is wrong with a backup.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It is no object of this kind, or was altered. Which, nobody can tell.
    #[error("this is not a {0}, or it was altered")]
    Altered(&'static str),
    /// A newer version of Keyreeve wrote it.
    #[error("a newer version of Keyreeve wrote this {0}: use that version")]
    Newer(&'static str),
    /// It ends early.
    #[error("the object ends early: it was not written whole, or was cut")]
    Cut,
    /// A signature is missing or wrong.
    #[error("the backup is not signed by this deployment's log key")]
    Unsigned,
    /// Something is too large for its place.
    #[error("too large for a backup: {0}")]
    TooLarge(&'static str),
    /// The cryptographic module failed.
    #[error("cryptographic module: {0}")]
    Crypto(#[from] keyreeve_crypto::CryptoError),
    /// The manifest could not be signed.
    #[error("the manifest could not be signed: {0}")]
    Signing(#[from] keyreeve_audit::SignError),
}

impl From<keyreeve_envelope::EnvelopeError> for BackupError {
    fn from(error: keyreeve_envelope::EnvelopeError) -> Self {
        use keyreeve_envelope::EnvelopeError as E;
        match error {
            E::Cut { .. } | E::CutOrAltered { .. } => Self::Cut,
            E::Crypto(error) => Self::Crypto(error),
            _ => Self::Altered("backup object"),
        }
    }
}
