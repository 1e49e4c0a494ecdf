//! The mail channel against somebody else's mail server.
#![allow(clippy::unwrap_used)]

mod aiosmtpd;
