//! A root of trust in a hardware security module, through its maker's PKCS #11 library.
//!
//! The root key is an AES-256 key that was made inside the token and cannot be taken out; secrets are wrapped inside
//! with AES-GCM. The same token makes and uses keys whose protection is the device
//! ([`KeyDevice`](keyreeve_root::KeyDevice)).
//!
//! The library never runs in the server: [`worker::run`] is a process of its own, started again when it crashes or
//! hangs.
//! This crate has no `unsafe` code: what loads and calls the library is the crate `cryptoki`, inside the worker only.
//!
//! * [`Pkcs11Root`]: the root; [`Settings`]: which library, which token, which PIN;
//! * [`survey`]: what a token says it does, and [`examine`] asks one;
//! * [`wire`]: what the two processes say to each other.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod device;
mod link;
mod root;
mod settings;
mod signature;
pub mod survey;
pub mod wire;
pub mod worker;

pub use root::{Pkcs11Root, examine};
pub use settings::{Launch, PinSource, Settings};
