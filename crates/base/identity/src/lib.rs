//! Who somebody is, as pure code: evidence in, facts or an error out.
//!
//! Everything here is a function of its arguments. Time is a value, documents and answers of others are handed in as
//! bytes, nothing is fetched or stored. The engine asks this crate what a token, an assertion or a code proves, and
//! decides what follows.
//!
//! - [`jws`], [`jwks`], [`claims`]: signed tokens, the keys of their issuers, what they say; [`oidc`]: logging in at a
//!   provider; [`ldap`]: at a directory; [`certificate`]: names of client certificates
//! - [`binding`]: from what evidence says to a principal; [`throttle`]: how often one may try
//! - [`webauthn`]: registrations and assertions of authenticators; [`totp`]: one-time codes; [`recovery`]: codes for
//!   the day on which the telephone is lost
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod binding;
pub mod certificate;
pub mod claims;
pub mod error;
mod json;
pub mod jwks;
pub mod jws;
pub mod ldap;
pub mod oidc;
pub mod recovery;
pub mod throttle;
pub mod totp;
pub mod webauthn;

pub use binding::{Facts, Outcome, bind};
pub use claims::{Claims, Expect, ExpectId, verify_jwt};
pub use error::IdentityError;
pub use jwks::KeySet;
pub use keyreeve_model::login::JwsAlgorithm;
