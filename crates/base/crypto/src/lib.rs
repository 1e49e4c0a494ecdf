//! The cryptography of Keyreeve: which algorithms there are and how long they may be used, keys and what can be done
//! with them, random values under watch, self-tests.
//!
//! Everything is done by AWS-LC through aws-lc-rs where it has it. This crate decides what is offered, gives each
//! operation a typed form, and keeps every secret in a type of [`keyreeve_secret`]. It does no input or output and has
//! no clock.
//!
//! * [`algorithm`]: the closed lists with their names on the wire;
//! * [`registry`]: strength, status and dates of each algorithm;
//! * [`material`]: making, importing and serialising keys; [`key`]: using them; [`public`]: public keys;
//! * [`remote`]: keys inside a device;
//! * [`password`]: keys from passphrases;
//! * [`recipients`]: texts for one person, to a public key of age or OpenPGP;
//! * [`transport`]: key material wrapped for whoever has a private key;
//! * [`random`] and [`health`]: random values and the tests on the entropy behind them;
//! * [`selftest`]: known answers at start-up; [`shamir`]: secrets in shares;
//! * [`digest`], [`mac`], [`kdf`], [`aead`], [`wrap`], [`signature`]: the parts, where they are used without a stored
//!   key.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod aead;
mod agreement;
pub mod algorithm;
pub mod digest;
pub mod error;
pub mod escrow;
pub mod fips;
pub mod health;
pub mod kdf;
mod kem;
pub mod key;
pub mod mac;
pub mod material;
pub mod password;
pub mod pem;
pub mod public;
pub mod random;
pub mod recipients;
pub mod registry;
pub mod remote;
mod rsa_oaep;
pub mod seeded;
pub mod selftest;
pub mod shamir;
pub mod signature;
mod spki;
pub mod transport;
#[cfg(test)]
mod vectors;
pub mod wrap;
mod xaes;

pub use algorithm::{HashAlgorithm, KeyAlgorithm, Purpose, SignatureScheme, WrappingMethod};
pub use error::{CryptoError, KeyError, UnknownName};
pub use fips::FipsStatus;
pub use kdf::DeriveParams;
pub use key::LoadedKey;
pub use material::Material;
pub use public::{Fingerprint, PublicKey, verify_with_public_key};
pub use random::{EntropySource, EntropyUnavailable, Random, RandomError};
pub use registry::{AlgorithmEntry, Registry, Schedule, ScheduleError, Status};
pub use remote::{RemoteFault, RemoteKey};
pub use signature::Message;
pub use transport::{TransportPrivate, TransportPublic};
pub use wrap::WrapMode;
