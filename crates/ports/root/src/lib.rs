//! The root port: what stands at the top of the key hierarchy.
//!
//! A root of trust wraps and unwraps small secrets (the system secret and the KEKs of keyrings) and never gives its own
//! key out. It may be closed ("sealed") and need people to open it.
//!
//! Beside it, because the same devices often serve as both: the [`Anchor`], which remembers how far the server had
//! come.
#![forbid(unsafe_code)]
#![cfg_attr(any(test, feature = "conformance"), allow(clippy::unwrap_used))]

use async_trait::async_trait;
use keyreeve_model::{Custody, UnixMillis};
use keyreeve_secret::{SecretBytes, SecretString};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

pub mod anchor;
#[cfg(feature = "conformance")]
pub mod anchor_suite;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod device;
#[cfg(feature = "conformance")]
pub mod faulty;
pub mod root_key;
pub mod shares;
#[cfg(feature = "conformance")]
pub mod soft_device;

pub use anchor::{Anchor, AnchorError, Held};
pub use device::KeyDevice;
pub use shares::{Exchanging, Gathering, NewShares, ShareSet};

/// Longest secret a root wraps, in bytes.
pub const WRAP_MAX: usize = 4096;

/// Why a root of trust did not do what it was asked.
#[derive(Debug, Error)]
pub enum RootError {
    /// It is closed: people must open it first.
    #[error("the root of trust is sealed: unseal it first")]
    Sealed,
    /// It is open or initialised already.
    #[error("the root of trust is {0} already")]
    Already(&'static str),
    /// It was never initialised.
    #[error("the root of trust is not initialised: run `keyreeve init`")]
    NotInitialised,
    /// A share is misspelt or damaged: its checksum does not fit.
    #[error("this is not a share: check it for typing errors")]
    NotAShare,
    /// A share of another set: another deployment, or from before a change of shares.
    #[error("this share belongs to another set than the one that opens this deployment")]
    ForeignShare,
    /// A share of a set that another took the place of.
    #[error(
        "this share is of version {version} of the shares, which was replaced at {at}; version {current} opens this \
         root of trust"
    )]
    ReplacedShare {
        /// Which set it is of.
        version: u32,
        /// Which set opens the root now.
        current: u32,
        /// When its own stopped to.
        at: UnixMillis,
    },
    /// A share that was given before.
    #[error("share number {0} was given already: give a different one")]
    DuplicateShare(u8),
    /// A share that says it is one of the set and was never made with it. It is refused alone: what was given before
    /// still counts.
    #[error("share number {0} is forged: it is not the one that was made; those that were given before still count")]
    ForgedShare(u8),
    /// The shares are of the right set and do not combine to its key: one of them was forged. All were forgotten.
    #[error("these shares do not open this deployment: one of them is forged; all were forgotten, begin anew")]
    WrongShares,
    /// The wanted number of shares is not possible.
    #[error(
        "shares: between 2 and 32 are made and at least 2 of them needed, or 1 of 1; \
         {threshold} of {shares} is not possible"
    )]
    Shares {
        /// How many open it.
        threshold: u8,
        /// How many there are.
        shares: u8,
    },
    /// This kind of root does not take shares.
    #[error("this root of trust is not opened by shares")]
    NoShares,
    /// What it should unwrap was altered, or wrapped by another root.
    #[error("the root of trust cannot unwrap this: it was altered or belongs to another deployment")]
    Unwrap,
    /// More than [`WRAP_MAX`] bytes were to be wrapped.
    #[error("a root of trust wraps at most {WRAP_MAX} bytes")]
    TooLong,
    /// The device or file did not answer.
    #[error("the root of trust is not available: {0}")]
    Unavailable(String),
    /// The device does not do this, or not as it must be done. Asking again does not help.
    #[error("the device refuses, or is refused: {0}")]
    Refused(String),
    /// A key that was made in the device is not in it.
    #[error("the key is not in the device: is it the device it was made in?")]
    Missing,
}

/// How far opening has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealStatus {
    /// Nothing to open yet.
    NotInitialised {
        /// Whether it will be opened by people with shares.
        people: bool,
    },
    /// Closed; so many of the needed shares were given.
    Sealed {
        /// Shares given.
        given: u8,
        /// Shares needed; 0 when it opens without people.
        threshold: u8,
        /// Shares made.
        shares: u8,
    },
    /// Open.
    Open,
}

impl SealStatus {
    /// Whether people with shares open it, now or once it is initialised. False for one that opens by itself: no share
    /// helps, a start does.
    #[must_use]
    pub const fn needs_people(&self) -> bool {
        match self {
            Self::NotInitialised { people } => *people,
            Self::Sealed { threshold, .. } => *threshold > 0,
            Self::Open => false,
        }
    }
}

/// What initialisation hands to people, once.
#[derive(Debug)]
pub struct Initialised {
    /// What is stored in the deployment record and given to [`Root::configure`] at every start; no secret.
    pub public: serde_json::Value,
    /// The shares, each for one holder; empty for roots that open by themselves. Never stored.
    pub shares: Vec<SecretString>,
}

/// A root of trust.
///
/// # Contract
/// - `wrap` and `unwrap` are authenticated and bind `context`: what was wrapped for one place does not unwrap for
///   another.
/// - Wrapping is not deterministic and reveals nothing but the length.
/// - While closed, `wrap` and `unwrap` return [`RootError::Sealed`], and no secret of the root is in memory.
/// - Any number of callers at once.
/// - A root on a device or a service may take its time, and must not block the thread meanwhile. The engine sets no
///   time limit: the root gives up after one of its own, of seconds, with [`RootError::Unavailable`]. `kind` and
///   `status` answer at once.
/// - What failed may be asked for again, and leaves the root as it was; given shares are the exception, see `unseal`.
#[async_trait]
pub trait Root: Send + Sync {
    /// The kind, for records and messages: `shamir`, `sealed-file`, …
    fn kind(&self) -> &'static str;

    /// How well it keeps its key, which decides for what data it is enough (requirement K18).
    fn custody(&self) -> Custody;

    /// How long what it unwrapped may be used without hearing from it again. None: for as long as the server is open.
    ///
    /// The engine asks [`Root::check`] well before the time is over; when it fails until then, keys under this root are
    /// wiped and refused until it answers again. So who takes a key in a cloud away from the server ends what the
    /// server does with it within this time.
    fn bound(&self) -> Option<Duration> {
        None
    }

    /// Tells a root what initialisation said about it; once, at start-up, before anything else. A root that needs no
    /// people opens itself here.
    ///
    /// It may fail for a time, when the device does not answer: the server does not start then, and the next start asks
    /// again.
    async fn configure(&self, public: &serde_json::Value) -> Result<(), RootError>;

    /// Makes a new root key and opens it: complete and lasting, or not at all. `shares` and `threshold` are 0 for roots
    /// without shares.
    ///
    /// What follows may fail before the deployment is stored. The engine then seals the root, which refuses to be
    /// initialised twice in one process, and a new process that finds no deployment asks again over the same medium. So
    /// a root whose key stays on a medium takes over a key of its own that it finds there, and never replaces or erases
    /// one: a deployment may stand on it.
    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError>;

    /// What [`Self::initialise`] made was not stored, or nothing is under it any more: a root whose key is in memory
    /// alone forgets it, and can be initialised again in this process. Others keep their medium as it is.
    async fn disown(&self) {}

    /// Whether a device refused what the server shows to be let in, or may have counted it as a wrong try: starting
    /// again may lock the device for good, so a person has to look first.
    fn pin_refused(&self) -> bool {
        false
    }

    /// Where opening stands.
    fn status(&self) -> SealStatus;

    /// Gives one share. When it is the last one needed the root opens, or forgets all given shares and says why not.
    async fn unseal(&self, share: &SecretString) -> Result<SealStatus, RootError>;

    /// Closes the root and wipes what it knows. A root that opens by itself opens again at the next start only.
    async fn seal(&self);

    /// Wraps a secret of at most [`WRAP_MAX`] bytes.
    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError>;

    /// Unwraps what [`Root::wrap`] returned for the same context.
    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError>;

    /// Asks whether the root could wrap and unwrap now, and fails as they would; cheap, for readiness. Anybody may
    /// cause calls, as often as they like: a root on a device or a service gives its last answer again for a while.
    async fn check(&self) -> Result<(), RootError>;

    /// The device behind this root, if it makes keys that never leave it.
    fn device(&self) -> Option<Arc<dyn KeyDevice>> {
        None
    }

    /// The set of shares that opens it; nothing for roots without shares, and before there are any.
    fn share_set(&self) -> Option<ShareSet> {
        None
    }

    /// Takes one share of the present set, towards the new set of an exchange. The root is open, and stays so. When
    /// enough were given the new set is made; the present one goes on opening the root until [`Self::adopt_shares`].
    /// Another exchange than at the last call begins anew.
    async fn exchange_share(&self, exchange: Exchanging, share: &SecretString) -> Result<Gathering, RootError> {
        let _ = (exchange, share);
        Err(RootError::NoShares)
    }

    /// How many shares were given to [`Self::exchange_share`] since a set was made or forgotten.
    fn exchange_given(&self) -> u8 {
        0
    }

    /// Wipes what was given to [`Self::exchange_share`], and the new set.
    async fn forget_shares(&self) {}

    /// What to store as this root's parameters so that a set made by [`Self::exchange_share`] opens it from then on,
    /// after a check that it would. `public` is [`NewShares::public`].
    fn replacement(&self, public: &serde_json::Value, at: UnixMillis) -> Result<serde_json::Value, RootError> {
        let _ = (public, at);
        Err(RootError::NoShares)
    }

    /// Follows what [`Self::replacement`] returned, once that is durable.
    async fn adopt_shares(&self, public: &serde_json::Value) -> Result<(), RootError> {
        let _ = public;
        Err(RootError::NoShares)
    }
}
