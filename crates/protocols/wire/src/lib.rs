//! The bodies of the HTTP interface as types, shared by the server and its clients. No logic, no engine.
//!
//! - [`bytes`]: binary values and secrets as text; [`text`]: instants and maps; [`names`]: the closed lists of names
//! - [`system`], [`keyrings`], [`keys`]: what is managed; [`cipher`], [`signing`], [`derivation`]: what keys are used
//!   for
//! - [`login`]: how people and programs prove who they are; [`mfa`]: second factors
//! - [`shares`]: who holds shares of roots of trust; [`escrow`]: keys deposited with agents
//! - [`cases`]: holds, incidents, emergencies
//! - [`access`], [`policies`], [`grants`], [`reviews`], [`audit`]: who may, and who did; [`problem`], [`page`]: what
//!   answers share
//! - [`roots`]: roots of trust
//! - [`jobs`]: long work; [`integrity`]: damage
//! - [`form`]: forms of pages, and queries of redirections
//!
//! Requests refuse unknown and repeated fields. Replies may gain fields in later versions: clients ignore those they do
//! not know. Every instant is RFC 3339 in UTC, every binary value standard base64 with padding (RFC 4648 §4), every
//! ciphertext of Keyreeve `kr1.` followed by unpadded base64url.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod approvals;
pub mod audit;
pub mod backups;
pub mod bytes;
pub mod cases;
pub mod ceremony;
pub mod cipher;
pub mod derivation;
pub mod drills;
pub mod escrow;
pub mod form;
pub mod grants;
pub mod integrity;
pub mod jobs;
pub mod keyrings;
pub mod keys;
pub mod login;
pub mod mfa;
pub mod names;
pub mod notices;
pub mod page;
pub mod policies;
pub mod problem;
pub mod reviews;
pub mod roots;
pub mod shares;
pub mod signing;
pub mod system;
pub mod text;
pub mod transport;

pub use bytes::{Base64, Ciphertext, SecretBase64, SecretText};
pub use page::Page;
pub use problem::{ItemError, Problem};
pub use text::{Pairs, Timestamp};

/// The path every route of this version stands under.
pub const PREFIX: &str = "/v1";
/// The header that carries the encryption context of requests with a binary body: base64 of a JSON object of texts.
pub const CONTEXT_HEADER: &str = "keyreeve-context";
/// The header that carries the signature or tag of a binary message to verify: base64.
pub const SIGNATURE_HEADER: &str = "keyreeve-signature";
/// The header of binary answers that names the key version.
pub const KEY_VERSION_HEADER: &str = "keyreeve-key-version";
/// The header that carries the id of a request, both ways.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The header that makes a retry harmless: 1 to 128 visible ASCII characters of the caller's choice.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// The header that names the audit record of an answer.
pub const AUDIT_RECORD_HEADER: &str = "keyreeve-audit-record";
/// The header that names what a request waits as, with the status 202.
pub const APPROVAL_HEADER: &str = "keyreeve-approval";
