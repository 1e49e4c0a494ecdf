//! Who may do what, with how many people, for how long: access from outside, against the real counterparts of identity
//! providers and directories.
//!
//! A module `idp` holds what needs the OpenID provider, a module `slapd` what needs the directory, so that
//! `cargo xtask test` can leave them out where these are missing.
#![allow(clippy::unwrap_used)]

mod approvals;
mod break_glass;
mod certificates;
mod console;
mod credentials;
mod grants;
mod idp;
mod methods;
mod mfa;
mod notices;
mod papers;
mod policy;
mod reviews;
mod roles;
mod site;
mod slapd;
mod webauthn;
