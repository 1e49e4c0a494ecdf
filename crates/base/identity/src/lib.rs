//! Who somebody is, as pure code: evidence in, facts or an error out.
//!
//! Everything here is a function of its arguments. Time is a value, documents and answers of others are handed in as
//! bytes, nothing is fetched or stored. The engine asks this crate what a token, an assertion or a code proves, and
//! decides what follows.
//!
//! - [`webauthn`]: registrations and assertions of authenticators; [`totp`]: one-time codes; [`recovery`]: codes for
//!   the day on which the telephone is lost
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod recovery;
pub mod totp;
pub mod webauthn;
