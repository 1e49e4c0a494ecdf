//! Roots of trust that are services: a cloud's key management, or another server's.
//!
//! A service is an implementation of [`RemoteWrap`], a file of its own here: it wraps and unwraps 32 bytes and names
//! its key. [`CloudRoot`] makes a [`keyreeve_root::Root`] of it, the same way for all:
//!
//! - Each wrap draws a fresh 256-bit key, seals the secret under it (XAES-256-GCM; place, deployment and what the
//!   service returned are bound) and lets the service wrap that key. The service never sees what Keyreeve protects.
//! - What the service unwrapped is kept in memory for a stated time ([`Limits::keep`]) and then wiped: within it an
//!   outage is not noticed, after it everything is refused. When the service refuses us it is wiped at once.
//! - One request at a time for one wrapped key, however many callers wait; so many requests at once in all; a time
//!   limit for each; retries with full jitter within a budget of seconds; no request at all for a while when the
//!   service is out, so that callers fail at once.
//!
//! What an implementation must do and may leave: [`RemoteWrap`] does one request, once. Retries, time limits, breaker,
//! cache are done here; it only sorts what went wrong into a [`RemoteError`]. For services over REST [`http`] has the
//! client and [`token`] keeps access tokens and renews them before their end. Time comes from tokio's clock, which
//! tests pause, and where a date is needed from a [`WallClock`] that the server passes in.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod aws;
pub mod azure;
mod cache;
mod error;
mod files;
pub mod google;
mod guard;
pub mod http;
mod root;
pub mod token;
pub mod vault;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use keyreeve_secret::SecretArray;

pub use error::RemoteError;
pub use files::read_secret;
pub use root::CloudRoot;

/// The time of day, for services whose requests are dated. The server passes its clock.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What is bound to a wrapped key: SHA-256 over a label, the deployment's root and the place. Not secret; a service
/// with additional data (encryption context, associated data) is given it, and it may appear in that service's log.
pub type Bound = [u8; 32];

/// A service that wraps keys.
///
/// Each method makes its requests once and gives up by being dropped: time limits and retries are the caller's. Errors
/// hold no token, secret, key or body.
#[async_trait]
pub trait RemoteWrap: Send + Sync + 'static {
    /// The kind of root, as in the configuration: `aws-kms`.
    fn kind(&self) -> &'static str;

    /// Asks the service which key the configuration means, and returns its lasting name (an ARN, a URL with version).
    /// It is recorded at initialisation.
    async fn resolve(&self) -> Result<String, RemoteError>;

    /// Whether the configuration still means the recorded key. Overridden where the lasting name says more than the
    /// configuration has to (a version).
    async fn means(&self, recorded: &str) -> Result<bool, RemoteError> {
        Ok(self.resolve().await? == recorded)
    }

    /// Wraps a key under the recorded one. What is returned is at most [`REMOTE_MAX`] bytes.
    async fn wrap(&self, recorded: &str, bound: &Bound, key: &SecretArray<32>) -> Result<Vec<u8>, RemoteError>;

    /// Unwraps what [`wrap`](Self::wrap) returned. [`RemoteError::Unwrap`] when the service says that it is no such
    /// thing, or of another key, or bound to something else.
    async fn unwrap(&self, recorded: &str, bound: &Bound, wrapped: &[u8]) -> Result<SecretArray<32>, RemoteError>;
}

/// Longest wrapped key of any service, in bytes.
pub const REMOTE_MAX: usize = 8192;

/// How long and how often a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long what the service unwrapped is kept in memory. Asked for again from half of it on, so that an outage of
    /// half of it is not noticed.
    pub keep: Duration,
    /// Time for one request.
    pub request: Duration,
    /// Time for a call with all its retries.
    pub budget: Duration,
    /// Requests at once.
    pub at_once: usize,
    /// How long an answer of [`check`](keyreeve_root::Root::check) is given again.
    pub check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(15 * 60),
            request: Duration::from_secs(3),
            budget: Duration::from_secs(8),
            at_once: 16,
            check: Duration::from_secs(30),
        }
    }
}
