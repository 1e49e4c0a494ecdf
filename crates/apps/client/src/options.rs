//! Where the server is, whom to trust, and who is asking.

use std::time::Duration;

use keyreeve_secret::{SecretBytes, SecretString};
use reqwest::Url;

use crate::error::ClientError;
use crate::trust::Trust;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: making an RSA-4096 key on a busy machine takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;

/// What a [`Client`](crate::Client) needs to know.
pub struct Options {
    address: String,
    admin_address: Option<String>,
    ca_pem: Option<Vec<u8>>,
    token: Option<SecretString>,
    identity_pem: Option<SecretBytes>,
    attempts: u32,
    timeout: Duration,
}

impl Options {
    /// For the server at this address, an `https` URL. Without anything else, the system's certificate authorities are
    /// trusted and nobody in particular is asking.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let address = address.to_owned();
        Self {
            address,
            admin_address: None,
            ca_pem: None,
            token: None,
            identity_pem: None,
            attempts: ATTEMPTS,
            timeout: TIMEOUT,
        }
    }

    /// Sends what only a listener for administration serves to this address, an `https` URL of the same server. Without
    /// it everything goes to the one address.
    #[must_use]
    pub fn with_admin_address(mut self, address: &str) -> Self {
        self.admin_address = Some(address.to_owned());
        self
    }

    /// Trusts the certificate authorities in this PEM text, and only those.
    #[must_use]
    pub fn with_ca(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    /// Asks in the name of this bearer token.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Shows this client certificate: PEM text of its chain and its private key, one after the other.
    #[must_use]
    pub fn with_identity(mut self, pem: SecretBytes) -> Self {
        self.identity_pem = Some(pem);
        self
    }

    /// Sends a request at most so often; 1 means never again.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Waits at most so long for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether all addresses are of this machine: `localhost`, in 127.0.0.0/8, or `[::1]`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let admin = self.admin_url().is_ok_and(|url| url.is_none_or(|url| is_loopback(&url)));
        admin && self.url().is_ok_and(|url| is_loopback(&url))
    }

    pub(crate) fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn url(&self) -> Result<Url, ClientError> {
        parse(&self.address)
    }

    pub(crate) fn admin_url(&self) -> Result<Option<Url>, ClientError> {
        self.admin_address.as_deref().map(parse).transpose()
    }

    /// What connections to any of the addresses trust and show.
    pub(crate) fn trust(&self) -> Result<Trust, ClientError> {
        Trust::new(self.ca_pem.as_deref(), self.identity_pem.as_ref())
    }

    pub(crate) fn http(&self, url: &Url, trust: &Trust) -> Result<reqwest::Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.timeout)
            .user_agent(concat!("keyreeve-client/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(trust.config());
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| ClientError::Setup(format!("the client cannot be set up: {error}")))
    }
}

fn parse(address: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| ClientError::Setup(format!("the address `{address}` {why}"));
    let url: Url = address.parse().map_err(|_| wrong("is not a URL such as https://kms.example.com:7433"))?;
    if url.scheme() != "https" {
        return Err(wrong("is not https: write https://HOST:PORT, as keys and tokens do not travel in the clear"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("holds more than host, port and path"));
    }
    Ok(url)
}

/// A proxy has nothing to do with what stays on this machine.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_are_taken() {
        assert!(Options::new("https://kms.example.com:7433").url().is_ok());
        assert!(Options::new("https://kms.example.com/behind/a/prefix").url().is_ok());
        for bad in ["", "kms.example.com", "http://kms.example.com", "https://me:secret@host", "https://host/?a=b"] {
            assert!(matches!(Options::new(bad).url(), Err(ClientError::Setup(_))), "{bad}");
        }
    }

    #[test]
    fn files_that_are_no_certificates_are_refused() {
        let options = Options::new("https://localhost:1").with_ca(b"not a certificate".to_vec());
        assert!(matches!(options.trust(), Err(ClientError::Setup(text)) if text.contains("CA file")));
        let options = Options::new("https://localhost:1").with_identity(SecretBytes::copy_from(b"nothing"));
        assert!(matches!(options.trust(), Err(ClientError::Setup(text)) if text.contains("client certificate")));
    }

    #[test]
    fn loopback_is_known() {
        for (url, expected) in [
            ("https://localhost:1", true),
            ("https://127.0.0.9", true),
            ("https://[::1]:2", true),
            ("https://kms.example.com", false),
            ("https://localhost.example.com", false),
            ("https://localhost@example.com", false),
            ("https://127.0.0.1.example.com", false),
            ("http://localhost", false),
        ] {
            assert_eq!(Options::new(url).is_loopback(), expected, "{url}");
            let admin = Options::new("https://localhost:1").with_admin_address(url);
            assert_eq!(admin.is_loopback(), expected, "{url} for administration");
        }
    }
}
