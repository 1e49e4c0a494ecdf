//! The port of OpenID providers over HTTPS.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod form;
mod trouble;

use std::collections::HashMap;

use async_trait::async_trait;
use keyreeve_identity::oidc::{discovery_url, parse_token_error};
use keyreeve_identity_port::{ANSWER_MAX, CONNECT, ClientProof, Exchange, OidcProvider, OutsideError, TOTAL, Trust};
use keyreeve_secret::{SecretBuffer, SecretBytes, SecretString};
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url};

use form::Form;

/// Clients that are kept, one for each set of authorities; more than any deployment has providers.
const CLIENTS_KEPT: usize = 32;

/// Asks OpenID providers.
#[derive(Debug, Default)]
pub struct HttpsProvider {
    plain_loopback: bool,
    clients: Mutex<HashMap<Trust, Client>>,
}

impl HttpsProvider {
    /// Over `https` only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Besides, over `http` with a literal address of this machine (127.0.0.0/8, `[::1]`): for development, where a
    /// provider runs beside the server.
    #[must_use]
    pub fn with_plain_loopback() -> Self {
        Self { plain_loopback: true, ..Self::default() }
    }

    fn address(&self, text: &str) -> Result<Url, OutsideError> {
        let wrong = |why: &str| OutsideError::Untrusted(format!("its address {why}"));
        let url: Url = text.parse().map_err(|_| wrong("is no URL such as https://login.example.com"))?;
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

    fn client(&self, trust: &Trust) -> Result<Client, OutsideError> {
        if let Some(client) = self.clients.lock().get(trust) {
            return Ok(client.clone());
        }
        let client = build(trust)?;
        let mut clients = self.clients.lock();
        if clients.len() >= CLIENTS_KEPT {
            clients.clear();
        }
        clients.insert(trust.clone(), client.clone());
        Ok(client)
    }

    async fn get(&self, url: Url, trust: &Trust, bearer: Option<&SecretString>) -> Result<Vec<u8>, OutsideError> {
        let mut request = self.client(trust)?.get(url).header(ACCEPT, "application/json");
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, secret_header("Bearer ", bearer.expose())?);
        }
        let answer = send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(read(answer).await?.declassify("a published document")),
            status => Err(refusal(status, None)),
        }
    }
}

#[async_trait]
impl OidcProvider for HttpsProvider {
    async fn discover(&self, issuer: &str, trust: &Trust) -> Result<Vec<u8>, OutsideError> {
        let url = self.address(issuer)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(OutsideError::Untrusted("the issuer has a query or a fragment".to_owned()));
        }
        self.get(self.address(&discovery_url(issuer))?, trust, None).await
    }

    async fn keys(&self, url: &str, trust: &Trust, bearer: Option<&SecretString>) -> Result<Vec<u8>, OutsideError> {
        self.get(self.address(url)?, trust, bearer).await
    }

    async fn exchange(&self, exchange: &Exchange<'_>, trust: &Trust) -> Result<SecretBytes, OutsideError> {
        let url = self.address(exchange.token_endpoint)?;
        let mut form = Form::new();
        form.pair("grant_type", "authorization_code");
        form.pair("code", exchange.code.expose());
        form.pair("redirect_uri", exchange.redirect_uri);
        form.pair("code_verifier", exchange.verifier.expose());
        let mut request = self.client(trust)?.post(url).header(ACCEPT, "application/json");
        match exchange.proof {
            ClientProof::Public => form.pair("client_id", exchange.client_id),
            ClientProof::Post(secret) => {
                form.pair("client_id", exchange.client_id);
                form.pair("client_secret", secret.expose());
            }
            ClientProof::Basic(secret) => request = request.header(AUTHORIZATION, basic(exchange.client_id, secret)?),
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.body());
        let answer = send(request).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return read(answer).await;
        }
        let said = if status.is_client_error() { Some(parse_token_error(read(answer).await?.expose())) } else { None };
        Err(refusal(status, said))
    }
}

/// What is sent is gone from here when it is sent; what the HTTP library copies of it cannot be wiped from outside.
fn secret_header(scheme: &str, secret: &str) -> Result<HeaderValue, OutsideError> {
    let mut text = SecretBuffer::with_capacity(scheme.len() + secret.len());
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(secret.as_bytes());
    let unfit = |_| OutsideError::Refused("the credential has characters that fit in no header".to_owned());
    let mut value = HeaderValue::from_bytes(text.expose()).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Both halves are form-encoded before they are put together (RFC 6749, section 2.3.1), so that a colon in the name
/// does not move the boundary.
fn basic(id: &str, secret: &SecretString) -> Result<HeaderValue, OutsideError> {
    let mut pair = SecretBuffer::with_capacity(256);
    form::encode(&mut pair, id);
    pair.push(b':');
    form::encode(&mut pair, secret.expose());
    let text = SecretString::from(base64_simd::STANDARD.encode_to_string(pair.expose()));
    secret_header("Basic ", text.expose())
}

fn build(trust: &Trust) -> Result<Client, OutsideError> {
    // The process may have one already: any of them will do, and there is only this one in our programs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .user_agent(concat!("keyreeve/", env!("CARGO_PKG_VERSION")))
        .tls_version_min(reqwest::tls::Version::TLS_1_2);
    let no_certificate = || OutsideError::Untrusted("`ca_pem` holds no certificate in PEM form".to_owned());
    if let Some(pem) = &trust.ca_pem {
        let authorities = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| no_certificate())?;
        if authorities.is_empty() {
            return Err(no_certificate());
        }
        builder = builder.tls_certs_only(authorities);
    }
    let unusable = |error| OutsideError::Untrusted(format!("no authorities can be read: {}", trouble::words(&error)));
    builder.build().map_err(unusable)
}

async fn send(request: RequestBuilder) -> Result<Response, OutsideError> {
    request.send().await.map_err(|error| trouble::sort(&error))
}

/// Reads an answer to its end, unless that is too far away.
async fn read(mut answer: Response) -> Result<SecretBytes, OutsideError> {
    let too_long = || OutsideError::Malformed(format!("it is longer than {ANSWER_MAX} bytes"));
    if answer.content_length().is_some_and(|length| length > ANSWER_MAX as u64) {
        return Err(too_long());
    }
    let mut read = SecretBuffer::with_capacity(4096);
    while let Some(chunk) = answer.chunk().await.map_err(|error| trouble::sort(&error))? {
        if read.len() + chunk.len() > ANSWER_MAX {
            return Err(too_long());
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.finish())
}

fn refusal(status: StatusCode, said: Option<&str>) -> OutsideError {
    let what =
        said.map_or_else(|| format!("status {}", status.as_u16()), |code| format!("{code} ({})", status.as_u16()));
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        OutsideError::Unreachable(what)
    } else if status.is_client_error() {
        OutsideError::Refused(what)
    } else if status.is_redirection() {
        OutsideError::Malformed(format!("it sends elsewhere ({what}), and is not followed"))
    } else {
        OutsideError::Malformed(what)
    }
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
    fn plain_addresses_are_of_this_machine_and_allowed_on_purpose() {
        let (strict, lenient) = (HttpsProvider::new(), HttpsProvider::with_plain_loopback());
        assert!(strict.address("https://login.example.com/tenant").is_ok());
        for plain in ["http://127.0.0.1:3000", "http://[::1]:3000"] {
            assert!(matches!(strict.address(plain), Err(OutsideError::Untrusted(_))), "{plain}");
            assert!(lenient.address(plain).is_ok(), "{plain}");
        }
        for never in [
            "http://localhost:3000",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
            "file:///etc/passwd",
            "https://user:word@login.example.com",
            "login.example.com",
        ] {
            assert!(matches!(lenient.address(never), Err(OutsideError::Untrusted(_))), "{never}");
        }
    }

    #[test]
    fn both_halves_of_basic_are_encoded_first() {
        let secret = SecretString::copy_from("a b:c%");
        let value = basic("key:reeve", &secret).unwrap();
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = base64_simd::STANDARD.decode_to_vec(text).unwrap();
        assert_eq!(pair, b"key%3Areeve:a+b%3Ac%25");
    }

    #[test]
    fn statuses_are_sorted_by_what_is_to_be_done() {
        let sorted = |status: u16| refusal(StatusCode::from_u16(status).unwrap(), None);
        assert!(matches!(sorted(503), OutsideError::Unreachable(_)));
        assert!(matches!(sorted(429), OutsideError::Unreachable(_)));
        assert!(matches!(sorted(401), OutsideError::Refused(_)));
        assert!(matches!(sorted(302), OutsideError::Malformed(_)));
        assert!(matches!(sorted(204), OutsideError::Malformed(_)));
    }
}
