//! What an audit record is, and how a log of them proves itself.
//!
//! Pure code: bytes in, bytes out. Where the log lives is the business of a journal driver; this crate says what its
//! files contain and checks them with nothing but a public key.
//!
//! - [`record`]: one audit record, its canonical JSON form
//! - [`merkle`]: the Merkle tree of RFC 6962 (hashes, accumulator); [`proof`]: inclusion and consistency
//! - [`tile`]: the C2SP tlog-tiles layout; [`note`]: C2SP signed notes, keys and signers; [`checkpoint`]: signed tree
//!   heads
//! - [`tlog_proof`]: a self-contained proof that one record is in the log
//! - [`verify`]: the offline verifier of a whole log
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod checkpoint;
mod fit;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod record;
pub mod signer;
pub mod tile;
pub mod tlog_proof;
pub mod verify;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use merkle::{Frontier, Hash};
pub use note::{NoteError, NoteSignature, SignedNote, VerifierKey};
pub use record::{Actor, Class, Method, Outcome, Record, RecordError, Resource};
pub use signer::{Ed25519Signer, MlDsa44Cosigner, NoteSigner, SignError, sign_note};
pub use tlog_proof::TlogProof;
