//! Requests to services over REST: HTTPS only, no redirects, no proxies of the environment, answers of a bounded size
//! into memory that is wiped.

use std::error::Error;
use std::io;
use std::time::Duration;

use keyreeve_secret::{SecretBuffer, SecretBytes};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::RemoteError;

/// Longest wait that a service may ask for, in seconds; more counts as this. Calls end long before.
const RETRY_AFTER_MAX: u64 = 3600;
/// Longest answer of a service, in bytes.
pub const ANSWER_MAX: usize = 64 * 1024;

/// Time to connect; a request as a whole has its limit from outside.
const CONNECT: Duration = Duration::from_secs(3);

/// A client for one service.
#[derive(Clone, Debug)]
pub struct Https {
    client: Client,
    plain_loopback: bool,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// When the service wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: SecretBytes,
}

impl Https {
    /// A client that trusts the given authorities (PEM), or those of the system.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]: the authorities cannot be read.
    pub fn new(authorities_pem: Option<&[u8]>) -> Result<Self, RemoteError> {
        Self::with_identity(authorities_pem, None)
    }

    /// The same with a certificate that it shows to servers that ask for one: chain and key (PEM), in one piece.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]: the authorities or the certificate cannot be read.
    pub fn with_identity(
        authorities_pem: Option<&[u8]>,
        identity_pem: Option<&SecretBytes>,
    ) -> Result<Self, RemoteError> {
        // The process may have one already: any of them will do, and there is only this one in our programs.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .user_agent(concat!("keyreeve/", env!("CARGO_PKG_VERSION")))
            .tls_version_min(reqwest::tls::Version::TLS_1_2);
        let none = || RemoteError::Malformed("the file of authorities holds no certificate in PEM form".to_owned());
        if let Some(pem) = authorities_pem {
            let authorities = Certificate::from_pem_bundle(pem).map_err(|_| none())?;
            if authorities.is_empty() {
                return Err(none());
            }
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(pem) = identity_pem {
            let wrong = |_| RemoteError::Malformed("the certificate and its key cannot be read".to_owned());
            builder = builder.identity(Identity::from_pem(pem.expose()).map_err(wrong)?);
        }
        let unusable = |error| RemoteError::Malformed(format!("no authorities can be read: {}", words(&error)));
        Ok(Self { client: builder.build().map_err(unusable)?, plain_loopback: false })
    }

    /// Besides, over `http` with a literal address of this machine: for a service or its agent beside the server.
    #[must_use]
    pub fn with_plain_loopback(self) -> Self {
        Self { plain_loopback: true, ..self }
    }

    /// The client, for requests to an address that [`address`](Self::address) accepted.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads the address of a service.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]: it is no URL, has credentials in it, or is not `https`.
    pub fn address(&self, text: &str) -> Result<Url, RemoteError> {
        let wrong = |why: &str| RemoteError::Malformed(format!("the address {why}"));
        let url: Url = text.parse().map_err(|_| wrong("is no URL such as https://kms.example.com"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user name or a password"));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.plain_loopback && is_loopback(&url) => Ok(url),
            "http" if self.plain_loopback => Err(wrong("is neither https nor http with an address of this machine")),
            _ => Err(wrong("is not https")),
        }
    }
}

/// Sends a request and reads its answer to the end, whatever its status.
///
/// # Errors
/// [`RemoteError::Unreachable`], or [`RemoteError::Malformed`] for a server that is not the one that was meant and for
/// an answer above [`ANSWER_MAX`].
pub async fn send(request: RequestBuilder) -> Result<Answer, RemoteError> {
    Ok(send_whole(request).await?.0)
}

/// As [`send`], with the headers of the answer.
pub(crate) async fn send_whole(request: RequestBuilder) -> Result<(Answer, HeaderMap), RemoteError> {
    let mut answer = request.send().await.map_err(|error| sort(&error))?;
    let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
    let retry_after = headers.get(RETRY_AFTER).and_then(seconds);
    Ok((Answer { status, retry_after, body: read(answer).await? }, headers))
}

impl Answer {
    /// The body as JSON of a closed type.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]; the text holds nothing of the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RemoteError> {
        serde_json::from_slice(self.body.expose()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            RemoteError::Malformed(format!("its answer is not of the documented form (line {line}, column {column})"))
        })
    }

    /// Sorts a status other than success. `said` is the service's own code for it; take it through [`code`].
    #[must_use]
    pub fn refusal(&self, said: Option<String>) -> RemoteError {
        let status = self.status.as_u16();
        let what = said.map_or_else(|| format!("it answered {status}"), |code| format!("it answered {status} {code}"));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            RemoteError::Throttled { said: what, after: self.retry_after }
        } else if self.status.is_server_error() || self.status == StatusCode::REQUEST_TIMEOUT {
            match self.retry_after {
                Some(after) => RemoteError::Throttled { said: what, after: Some(after) },
                None => RemoteError::Unreachable(what),
            }
        } else if self.status.is_client_error() {
            RemoteError::Refused(what)
        } else {
            RemoteError::Malformed(what)
        }
    }
}

/// A code of an error as a service says it, cut to what is surely only that: what comes from outside does not get into
/// our messages unlooked at.
#[must_use]
pub fn code(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fit = !text.is_empty() && text.len() <= 64 && text.chars().all(fits);
    fit.then(|| text.to_owned())
}

/// A header with a secret in it. What is sent is gone from here when it is sent; what the HTTP library copies of it
/// cannot be wiped from outside.
///
/// # Errors
/// [`RemoteError::Refused`]: the credential has characters that fit in no header.
pub fn secret_header(scheme: &str, secret: &str) -> Result<HeaderValue, RemoteError> {
    let mut text = SecretBuffer::with_capacity(scheme.len() + secret.len());
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(secret.as_bytes());
    let unfit = |_| RemoteError::Refused("the credential has characters that fit in no header".to_owned());
    let mut value = HeaderValue::from_bytes(text.expose()).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A body of pairs (`application/x-www-form-urlencoded`), made in memory that is wiped.
#[derive(Debug)]
pub struct Form(SecretBuffer);

impl Default for Form {
    fn default() -> Self {
        Self(SecretBuffer::with_capacity(2048))
    }
}

impl Form {
    /// Appends a pair.
    #[must_use]
    pub fn pair(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.encode(name);
        self.0.push(b'=');
        self.encode(value);
        self
    }

    /// The HTTP library takes its bodies as they are; what it does with them is its own.
    #[must_use]
    pub fn body(self) -> Vec<u8> {
        self.0.finish().declassify("the body of a request over TLS")
    }

    /// The form's encoding (WHATWG URL, section 5.2).
    fn encode(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => self.0.push(byte),
                b' ' => self.0.push(b'+'),
                other => {
                    self.0.push(b'%');
                    self.0.push(HEX[usize::from(other >> 4)]);
                    self.0.push(HEX[usize::from(other & 15)]);
                }
            }
        }
    }
}

async fn read(mut answer: Response) -> Result<SecretBytes, RemoteError> {
    let too_long = || RemoteError::Malformed(format!("its answer is longer than {ANSWER_MAX} bytes"));
    if answer.content_length().is_some_and(|length| length > ANSWER_MAX as u64) {
        return Err(too_long());
    }
    let mut read = SecretBuffer::with_capacity(4096);
    while let Some(chunk) = answer.chunk().await.map_err(|error| sort(&error))? {
        if read.len() + chunk.len() > ANSWER_MAX {
            return Err(too_long());
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.finish())
}

/// `Retry-After` in seconds; its other form, a date, is not used by these services and is left alone. Whoever answers
/// may say any number, and moments that far away cannot be computed with.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let told: u64 = value.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(told.min(RETRY_AFTER_MAX)))
}

fn sort(error: &reqwest::Error) -> RemoteError {
    let said = words(error);
    if error.is_timeout() {
        RemoteError::Unreachable("no answer in time".to_owned())
    } else if in_tls(error) {
        RemoteError::Malformed(format!("it is not the server that was meant: {said}"))
    } else if error.is_redirect() || error.is_decode() || error.is_builder() {
        RemoteError::Malformed(said)
    } else {
        RemoteError::Unreachable(said)
    }
}

/// The innermost cause, which says most; the outer ones repeat the address.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn in_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        // What an error of I/O was made from is not among its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| in_tls(inner)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A literal address of this machine. A name may be anybody's.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_not_ask_for_any_wait() {
        let told = |value: &'static str| seconds(&HeaderValue::from_static(value));
        assert_eq!(told("3"), Some(Duration::from_secs(3)));
        assert_eq!(told("18446744073709551615"), Some(Duration::from_secs(RETRY_AFTER_MAX)));
        for other in ["18446744073709551616", "-1", "", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(told(other), None, "{other}");
        }
    }
}
