//! The vocabulary and the rules of key management, as pure code.
//!
//! Everything here is a function of its arguments: time is a value ([`UnixMillis`]), randomness is handed in, nothing
//! is read or written. The engine loads records, calls the rules of this crate, and gets [`Change`]s that a store
//! applies.
//!
//! - [`ids`]: typed identifiers; [`time`]: instants and durations; [`limits`]: sizes every floor agrees on
//! - [`lifecycle`]: the states and transitions of SP 800-57 part 1 and what each state may do
//! - [`deployment`], [`keyring`], [`key`], [`material`]: the records; [`metadata`]: what people say about a key
//! - [`roots`]: roots of trust by name, and what they wrap together
//! - [`record`]: the sealed form in which records are stored; [`filed`]: those that share one table
//! - [`destruction`]: waiting periods and destruction records; [`access`]: tokens, principals, policies
//! - [`field`]: secrets inside of records
//! - [`mfa`]: second factors and the challenges they answer
//! - [`notice`]: what people are told without having asked
//! - [`approval`]: requests that wait for consent; [`rules`]: which do, and for whose; [`canonical`]: JSON in one form
//! - [`grant`]: rights for a time; [`policy_version`]: the history of the policies
//! - [`usage`]: when rights were last used; [`review`]: campaigns in which people decide on them
//! - [`context`]: encryption context in canonical form; [`ciphertext`]: what leaves the server
//! - [`imports`]: material that comes from elsewhere or goes there; [`device`]: material that is inside a device
//! - [`job`]: long work by steps
//! - [`escrow`]: which keys are deposited, under what, and how they come back
//! - [`hold`], [`incident`], [`emergency`]: what is out of the ordinary; [`actor`]: the person behind a principal
//! - [`anchor`]: what remembers elsewhere how far a server had come
//! - [`backup`]: backups that were made; [`stored`]: all rows of a store, for copying it whole
//! - [`quarantine`]: what was found damaged; [`scan`]: looking for it
//! - [`drill`]: rehearsals of what is done in trouble
//! - [`change`]: the only way to alter what is stored
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod actor;
pub mod anchor;
pub mod approval;
pub mod backup;
pub mod canonical;
pub mod change;
pub mod ciphertext;
pub mod context;
pub mod deployment;
pub mod destruction;
pub mod device;
pub mod drill;
pub mod emergency;
pub mod escrow;
pub mod field;
pub mod filed;
pub mod grant;
pub mod hold;
pub mod holders;
pub mod ids;
pub mod imports;
pub mod incident;
pub mod job;
pub mod key;
pub mod keyring;
pub mod lifecycle;
pub mod limits;
pub mod login;
pub mod material;
pub mod metadata;
pub mod mfa;
pub mod notice;
pub mod policy_version;
pub mod quarantine;
pub mod record;
pub mod review;
pub mod roots;
pub mod rules;
pub mod scan;
pub mod stored;
pub mod time;
pub mod usage;

pub use access::{PolicyRecord, PrincipalKind, PrincipalRecord, TokenRecord};
pub use actor::Actor;
pub use change::{Change, Outbox, Transaction};
pub use context::EncryptionContext;
pub use deployment::DeploymentRecord;
pub use destruction::DestructionRecord;
pub use device::{InDevice, Protection};
pub use field::SealedField;
pub use filed::{FiledRecord, FiledRow, RowId};
pub use ids::{KeyId, KeyringId, RecordId, TokenId};
pub use key::{KeyRecord, NewKey, VersionRecord};
pub use keyring::KeyringRecord;
pub use lifecycle::{Event, Profile, Refusal, State, Usage};
pub use material::MaterialRow;
pub use metadata::{Classification, Environment, KeyMetadata, Label, Name};
pub use notice::{Facts, Notice, NoticeKind};
pub use record::{RecordSealer, Revision, SealedRecord};
pub use roots::{Custody, RootUse, Wrapped};
pub use stored::{DestructionRow, StoredRow};
pub use time::UnixMillis;
