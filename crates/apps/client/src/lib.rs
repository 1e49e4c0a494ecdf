//! A client for Keyreeve: every operation as a typed method, and envelope files of any size.
//!
//! ```no_run
//! # async fn example() -> Result<(), keyreeve_client::ClientError> {
//! use keyreeve_client::{Client, Context, Options};
//! use keyreeve_secret::{SecretBytes, SecretString};
//!
//! let token = SecretString::from(std::fs::read_to_string("token").unwrap_or_default());
//! let client = Client::new(&Options::new("https://kms.example.com:7433").with_token(token))?;
//! let secret = SecretBytes::copy_from(b"4111 1111 1111 1111");
//! let context = Context::from([("tenant".to_owned(), "acme".to_owned())]);
//! let ciphertext = client.encrypt("orders", secret, &context).await?.value;
//! # Ok(()) }
//! ```
//!
//! - [`Options`] say where the server is, whom to trust and who is asking; a [`Client`] is cheap to clone. Where the
//!   server has a listener for administration apart, each operation goes to the listener that serves it.
//! - Requests that get no answer, or one that says "not now", are sent again with growing waits; those that change
//!   something carry an idempotency key, so that they are done once.
//! - Each [`Answer`] names the audit record of its operation; each refusal is a [`keyreeve_wire::Problem`] with a
//!   stable code.
//! - [`BrowserLogin`] waits for the browser in which somebody logs in at an OpenID provider.
//! - [`NewEnvelope`] and [`OpenedEnvelope`] encrypt and decrypt streams on this machine with one request each.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod browser;
mod envelope;
mod error;
mod options;
mod pem;
mod side;
mod tls;
mod transport;
mod trust;

pub use api::{AuditFilter, GrantFilter, KeyFilter};
pub use browser::BrowserLogin;
pub use envelope::{Context, NewEnvelope, OpenedEnvelope};
pub use error::ClientError;
pub use keyreeve_envelope::{EnvelopeError, FileHeader, StreamError, read_header};
pub use options::Options;
pub use pem::public_key_from_pem;
pub use tls::TlsTrouble;
pub use transport::{Answer, Client};
