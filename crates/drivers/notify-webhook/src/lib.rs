//! The webhook channel: a notice is posted as JSON to one address, over TLS, signed with a shared secret.
//!
//! What goes over the wire is described in docs/formats.md (Webhooks), from which receivers in any language are
//! written. The signature covers the time of the attempt, so that a receiver can refuse what somebody recorded and
//! sends again.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod message;

use async_trait::async_trait;
use keyreeve_model::{Name, Notice, UnixMillis};
use keyreeve_notify::{Notifier, NotifyError, PATIENCE_SECONDS};
use keyreeve_secret::SecretBytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, StatusCode, Url};
use std::error::Error;
use std::time::Duration;
use thiserror::Error as ThisError;

pub use message::signature;

/// The shortest shared secret (bytes): as long as the tag that it makes.
pub const SECRET_MIN: usize = 32;
/// The notice's id; the same at every attempt.
pub const ID_HEADER: &str = "keyreeve-notice";
/// When the attempt was made, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "keyreeve-timestamp";
/// `v1=` and the signature in hexadecimal.
pub const SIGNATURE_HEADER: &str = "keyreeve-signature";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel that cannot be set up.
#[derive(Debug, PartialEq, Eq, ThisError)]
pub enum WebhookSetup {
    /// The address is none.
    #[error("the address is not an `https` address without user, password and fragment")]
    Address,
    /// The secret is too short.
    #[error("the secret is shorter than {SECRET_MIN} bytes")]
    Secret,
    /// The authority cannot be read.
    #[error("the CA file holds no certificate in PEM form")]
    Authority,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// What a webhook is made of.
#[derive(Debug)]
pub struct WebhookOptions {
    /// The channel's name.
    pub channel: Name,
    /// Where notices are posted to. It may hold a secret in its path, so it is shown nowhere but for its host.
    pub url: String,
    /// What signs them, at least [`SECRET_MIN`] bytes; the receiver has the same.
    pub secret: SecretBytes,
    /// Certificates of authorities in PEM form; those of the system where there are none.
    pub ca_pem: Option<Vec<u8>>,
    /// How long one attempt may take, at most [`PATIENCE_SECONDS`].
    pub timeout: Duration,
}

/// A webhook.
pub struct Webhook {
    channel: Name,
    url: Url,
    secret: SecretBytes,
    http: Client,
}

impl Webhook {
    /// Sets the channel up. Nothing is sent yet.
    ///
    /// # Errors
    /// [`WebhookSetup`].
    pub fn new(options: WebhookOptions) -> Result<Self, WebhookSetup> {
        let url: Url = options.url.parse().map_err(|_| WebhookSetup::Address)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if url.scheme() != "https" || !url.has_host() || !plain {
            return Err(WebhookSetup::Address);
        }
        if options.secret.len() < SECRET_MIN {
            return Err(WebhookSetup::Secret);
        }
        let http = client(options.ca_pem.as_deref(), options.timeout)?;
        Ok(Self { channel: options.channel, url, secret: options.secret, http })
    }
}

fn client(ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Client, WebhookSetup> {
    // The process may have one already: any of them will do, and there is only this one in our programs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = Client::builder()
        .https_only(true)
        // A notice goes where the configuration says, and to nobody that somebody else names: no redirects, and no
        // proxy of the environment.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout.min(Duration::from_secs(PATIENCE_SECONDS)))
        .user_agent(concat!("keyreeve/", env!("CARGO_PKG_VERSION")))
        .tls_version_min(reqwest::tls::Version::TLS_1_2);
    if let Some(pem) = ca_pem {
        let authorities = Certificate::from_pem_bundle(pem).map_err(|_| WebhookSetup::Authority)?;
        if authorities.is_empty() {
            return Err(WebhookSetup::Authority);
        }
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|error| WebhookSetup::Tls(chain(&error)))
}

#[async_trait]
impl Notifier for Webhook {
    fn channel(&self) -> &Name {
        &self.channel
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn destination(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("https://{}{port}", self.url.host_str().unwrap_or_default())
    }

    async fn send(&self, notice: &Notice, now: UnixMillis) -> Result<(), NotifyError> {
        let body = message::body(notice);
        let timestamp = now.0.div_euclid(1000).to_string();
        let tag = format!("v1={}", signature(&self.secret, &timestamp, &body));
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ID_HEADER, notice.id.to_string())
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, tag)
            .body(body);
        // The address may be a secret, so it is in no error.
        let answer =
            request.send().await.map_err(|error| NotifyError::TryAgain(format!("no answer: {}", chain(&error))))?;
        judge(answer.status())
    }
}

/// What an answer means. Only what is about this notice, and will be so for ever, ends the attempts: a receiver that
/// forbids or does not find may be misconfigured, and somebody puts it right.
fn judge(status: StatusCode) -> Result<(), NotifyError> {
    let text = format!("the receiver answered {}", status.as_u16());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::BAD_REQUEST
        | StatusCode::GONE
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(NotifyError::GiveUp(text)),
        _ => Err(NotifyError::TryAgain(text)),
    }
}

/// An error with its causes, without the address.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(found) = cause {
        causes.push(found.to_string());
        cause = found.source();
    }
    // What reqwest itself says repeats the address; only an error without causes is told by its kind.
    if causes.is_empty() {
        let kind = if error.is_timeout() { "it took too long" } else { "the request failed" };
        causes.push(kind.to_owned());
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> WebhookOptions {
        WebhookOptions {
            channel: "oncall".parse().unwrap(),
            url: url.to_owned(),
            secret: SecretBytes::copy_from(&[7; 32]),
            ca_pem: None,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn only_https_addresses_are_taken() {
        assert!(Webhook::new(options("https://hooks.example.com/T0/B1")).is_ok());
        for bad in ["", "hooks", "http://hooks.example.com", "https://a:b@hooks.example.com", "https://h/#x", "file:/x"]
        {
            assert_eq!(Webhook::new(options(bad)).err(), Some(WebhookSetup::Address), "{bad}");
        }
    }

    #[test]
    fn short_secrets_and_files_without_certificates_are_refused() {
        let short = WebhookOptions { secret: SecretBytes::copy_from(&[7; 31]), ..options("https://h") };
        assert_eq!(Webhook::new(short).err(), Some(WebhookSetup::Secret));
        let none = WebhookOptions { ca_pem: Some(b"no certificate".to_vec()), ..options("https://h") };
        assert_eq!(Webhook::new(none).err(), Some(WebhookSetup::Authority));
    }

    #[test]
    fn what_may_be_secret_in_the_address_is_not_shown() {
        let webhook = Webhook::new(options("https://hooks.example.com:8443/T0/secret?key=more")).unwrap();
        assert_eq!(webhook.destination(), "https://hooks.example.com:8443");
    }

    #[test]
    fn answers_are_sorted_by_whether_trying_again_may_help() {
        for status in [200, 202, 204] {
            assert_eq!(judge(StatusCode::from_u16(status).unwrap()), Ok(()), "{status}");
        }
        for status in [301, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504] {
            let error = judge(StatusCode::from_u16(status).unwrap()).unwrap_err();
            assert!(!error.is_for_good(), "{status}");
        }
        for status in [400, 410, 413, 415, 422] {
            assert!(judge(StatusCode::from_u16(status).unwrap()).unwrap_err().is_for_good(), "{status}");
        }
    }
}
