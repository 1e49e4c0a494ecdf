//! The transit engine of another server, Vault or OpenBao, as root of trust.
//!
//! Two operations of its interface are called, `encrypt` and `decrypt`, and the key's record is read at start. What a
//! root binds is given along as `associated_data`. Servers older than that parameter ignore it, so it is found out once
//! per process whether the server knows it; which way a key was wrapped is kept with it. In any case what is bound is
//! also wrapped together with the key and compared, so that an older server binds as well.
//!
//! What Vault answers is sorted by what is to be done: sealed (503), standby (307, 472, 473) and failing servers are
//! asked again, rate limits are kept, what is not permitted is refused at once.

mod answer;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use keyreeve_crypto::digest::sha256;
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};
use tokio::sync::OnceCell;

use crate::http::{Answer, Https, secret_header, send};
use crate::{Bound, REMOTE_MAX, RemoteError, RemoteWrap};

use answer::{Ciphertext, Key, Plaintext};
use session::Session;

/// What is asked with to find out what a server can do.
const PROBE: &[u8] = b"keyreeve asks what is bound here";

/// How a wrapped key begins: whether the server was given what is bound.
const PLAIN: u8 = 1;
const ASSOCIATED: u8 = 2;

/// How a server proves to Vault who it is. Mounts are the path of the method, `approle` for `auth/approle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A token in a file; renewed as long as Vault lets it, and read anew when it is not accepted any longer.
    Token {
        /// The file.
        file: PathBuf,
    },
    /// AppRole.
    AppRole {
        /// Where the method is.
        mount: String,
        /// The role's id.
        role_id_file: PathBuf,
        /// The secret id, or the token that it was wrapped in.
        secret_id_file: PathBuf,
        /// Whether it is that token. It is used once per process: a start needs a new one.
        wrapped: bool,
    },
    /// The token of a pod's service account. Methods for other issuers' tokens (`jwt`) are asked in the same way.
    Kubernetes {
        /// Where the method is.
        mount: String,
        /// The role.
        role: String,
        /// The file with the pod's token.
        jwt_file: PathBuf,
    },
    /// The certificate that the connection is made with.
    Certificate {
        /// Where the method is.
        mount: String,
        /// Which role; the first that fits if none is named.
        role: Option<String>,
    },
}

/// Which key, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultOptions {
    /// `https://vault.example.com:8200`.
    pub address: String,
    /// The namespace, where the server has them.
    pub namespace: Option<String>,
    /// Where the engine is mounted, `transit`.
    pub mount: String,
    /// The name of the key.
    pub key: String,
    /// Who asks.
    pub login: Login,
}

/// One key of a transit engine.
pub struct VaultTransit {
    api: Arc<Api>,
    session: Arc<Session>,
    mount: String,
    key: String,
    /// Whether the server knows `associated_data`.
    associates: OnceCell<bool>,
}

/// A server and how requests to it look.
pub(crate) struct Api {
    https: Https,
    base: Url,
    namespace: Option<HeaderValue>,
    place: String,
}

impl Api {
    /// A request to `/v1/PATH`.
    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<SecretBytes>,
    ) -> Result<Answer, RemoteError> {
        let mut url = self.base.clone();
        url.set_path(&format!("/v1/{path}"));
        let mut request: RequestBuilder = self.https.client().request(method, url);
        // Agents of Vault demand it, against requests that somebody tricked a browser or a server into.
        request = request.header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(HeaderName::from_static("x-vault-namespace"), namespace);
        }
        if let Some(token) = token {
            request = request.header(HeaderName::from_static("x-vault-token"), secret_header("", token)?);
        }
        if let Some(body) = body {
            let body = body.declassify("the body of a request over TLS");
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        send(request).await
    }
}

impl VaultTransit {
    /// Nothing is asked before it is needed.
    ///
    /// # Errors
    /// [`RemoteError::Malformed`]: the address, a mount, a name or the namespace is none.
    pub fn new(options: VaultOptions, https: Https) -> Result<Self, RemoteError> {
        let base = https.address(&options.address)?;
        if !matches!(base.path(), "" | "/") || base.query().is_some() || base.fragment().is_some() {
            return Err(RemoteError::Malformed("the address is more than https://NAME:PORT".to_owned()));
        }
        let namespace = options.namespace.as_deref().map(|name| name.trim_matches('/'));
        for path in [Some(options.mount.as_str()), Some(options.key.as_str()), namespace].into_iter().flatten() {
            check_path(path)?;
        }
        let prefix = namespace.map(|name| format!("{name}/")).unwrap_or_default();
        let place = format!("{prefix}{}/keys/{}", options.mount, options.key);
        let namespace = namespace.map(HeaderValue::from_str).transpose();
        let namespace = namespace.map_err(|_| RemoteError::Malformed("the namespace fits in no header".to_owned()))?;
        let api = Arc::new(Api { https, base, namespace, place });
        let session = Session::new(api.clone(), options.login)?;
        Ok(Self { api, session, mount: options.mount, key: options.key, associates: OnceCell::new() })
    }

    /// One request with a token; once more with a fresh one if Vault does not know the one at hand any longer.
    async fn ask(&self, method: Method, path: &str, body: Option<&SecretBytes>) -> Result<Answer, RemoteError> {
        let token = self.session.token().await?;
        let once = |token: Arc<keyreeve_secret::SecretString>| {
            let (method, body) = (method.clone(), body.map(SecretBytes::duplicate));
            async move { self.api.call(method, path, Some(token.expose()), body).await }
        };
        let answer = once(token.clone()).await?;
        // The status is the same for a token that is none any longer and for what it does not permit.
        if answer.status.as_u16() != 403 || self.session.still_knows(&token).await? {
            return Ok(answer);
        }
        self.session.forget(&token).await;
        once(self.session.token().await?).await
    }

    async fn read_key(&self) -> Result<Key, RemoteError> {
        let answer = self.ask(Method::GET, &format!("{}/keys/{}", self.mount, self.key), None).await?;
        Key::read(&answer)
    }

    async fn encrypt(&self, plain: &SecretBytes, associated: Option<&[u8]>) -> Result<String, RemoteError> {
        let text = SecretBytes::from_vec(base64_simd::STANDARD.encode_to_string(plain.expose()).into_bytes());
        let path = format!("{}/encrypt/{}", self.mount, self.key);
        let answer = self.ask(Method::POST, &path, Some(&body("plaintext", text.expose(), associated))).await?;
        Ciphertext::read(&answer).map(|read| read.0)
    }

    async fn decrypt(&self, ciphertext: &str, associated: Option<&[u8]>) -> Result<SecretBytes, RemoteError> {
        let path = format!("{}/decrypt/{}", self.mount, self.key);
        let body = body("ciphertext", ciphertext.as_bytes(), associated);
        let answer = self.ask(Method::POST, &path, Some(&body)).await?;
        Plaintext::read(&answer).map(|read| read.0)
    }

    /// Whether something that was encrypted with associated data stays closed without.
    async fn finds_out(&self) -> Result<bool, RemoteError> {
        let sealed = self.encrypt(&SecretBytes::copy_from(PROBE), Some(PROBE)).await?;
        match self.decrypt(&sealed, None).await {
            Ok(_) => Ok(false),
            Err(RemoteError::Unwrap) => Ok(true),
            Err(other) => Err(other),
        }
    }
}

#[async_trait]
impl RemoteWrap for VaultTransit {
    fn kind(&self) -> &'static str {
        "vault-transit"
    }

    async fn resolve(&self) -> Result<String, RemoteError> {
        let key = self.read_key().await?;
        key.check()?;
        key.check_protection()?;
        Ok(format!("{}v1/{}", self.api.base, self.api.place))
    }

    /// The server may have moved: namespace, mount and name say which key is meant, and that it is the same one shows
    /// when it unwraps.
    async fn means(&self, recorded: &str) -> Result<bool, RemoteError> {
        let key = self.read_key().await?;
        key.check()?;
        if let Err(changed) = key.check_protection() {
            // Said, not refused: nobody's keys come back by keeping the server closed.
            tracing::warn!("vault-transit: since this deployment was made its root was weakened: {changed}");
        }
        Ok(recorded.split_once("/v1/").is_some_and(|(_, place)| place == self.api.place))
    }

    async fn wrap(&self, _recorded: &str, bound: &Bound, key: &SecretArray<32>) -> Result<Vec<u8>, RemoteError> {
        let associates = *self.associates.get_or_try_init(|| self.finds_out()).await?;
        let mut plain = SecretBuffer::with_capacity(64);
        plain.extend_from_slice(&tag(bound));
        plain.extend_from_slice(key.expose());
        let ciphertext = self.encrypt(&plain.finish(), associates.then_some(bound.as_slice())).await?;
        let form = if associates { ASSOCIATED } else { PLAIN };
        Ok([&[form], ciphertext.as_bytes()].concat())
    }

    async fn unwrap(&self, _recorded: &str, bound: &Bound, wrapped: &[u8]) -> Result<SecretArray<32>, RemoteError> {
        let (form, text) = wrapped.split_first().ok_or(RemoteError::Unwrap)?;
        let associated = match *form {
            PLAIN => None,
            ASSOCIATED => Some(bound.as_slice()),
            _ => return Err(RemoteError::Unwrap),
        };
        let text = std::str::from_utf8(text).ok().filter(|text| is_ciphertext(text)).ok_or(RemoteError::Unwrap)?;
        let plain = self.decrypt(text, associated).await?;
        let (head, key) = plain.expose().split_at_checked(32).ok_or(RemoteError::Unwrap)?;
        if head != tag(bound) {
            return Err(RemoteError::Unwrap);
        }
        SecretArray::copy_from(key).map_err(|_| RemoteError::Unwrap)
    }
}

/// What stands before the key in what is wrapped, so that an older server binds as well.
fn tag(bound: &Bound) -> [u8; 32] {
    sha256(&[b"keyreeve vault transit v1", bound.as_slice()].concat())
}

/// `vault:v1:` and base64, in OpenBao as in Vault: printable, so that it stands in JSON as it is.
fn is_ciphertext(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":+/=".contains(&byte);
    text.starts_with("vault:v") && text.len() < REMOTE_MAX && text.bytes().all(fits)
}

/// The body of both operations. `text` is of an alphabet that needs no escaping.
fn body(name: &str, text: &[u8], associated: Option<&[u8]>) -> SecretBytes {
    let mut body = SecretBuffer::with_capacity(256 + text.len());
    for part in [b"{\"", name.as_bytes(), b"\":\"", text, b"\""] {
        body.extend_from_slice(part);
    }
    if let Some(associated) = associated {
        body.extend_from_slice(b",\"associated_data\":\"");
        body.extend_from_slice(base64_simd::STANDARD.encode_to_string(associated).as_bytes());
        body.push(b'"');
    }
    body.push(b'}');
    body.finish()
}

/// A mount, a name or a namespace: it must stay what it is as part of an address.
///
/// # Errors
/// [`RemoteError::Malformed`].
pub fn check_path(path: &str) -> Result<(), RemoteError> {
    let fits = |part: &str| {
        let fit = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        fit && !matches!(part, "" | "." | "..")
    };
    if path.len() <= 256 && path.split('/').all(fits) {
        Ok(())
    } else {
        let form = "letters, digits, `-`, `_`, `.`, in parts between slashes";
        Err(RemoteError::Malformed(format!("{path:?} is no path in Vault: {form}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_what_they_are_in_an_address() {
        for good in ["transit", "team/transit-1", "root.v2"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/transit", "a//b", "../sys", "a/./b", "a?b", "a%2fb", "a b", "ä"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_server_only() {
        let options = |address: &str| VaultOptions {
            address: address.to_owned(),
            namespace: None,
            mount: "transit".to_owned(),
            key: "root".to_owned(),
            login: Login::Token { file: PathBuf::from("/none") },
        };
        let made = |address: &str| VaultTransit::new(options(address), Https::new(None).unwrap());
        assert!(made("https://vault.example.com:8200").is_ok());
        for bad in
            ["http://vault.example.com", "https://vault.example.com/v1", "https://a:b@vault", "https://v/?x", "v"]
        {
            assert!(made(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_vaults_is_not_sent_there() {
        assert!(is_ciphertext("vault:v12:AAAA+/8="));
        for other in ["", "vault:", "bao:v1:AAAA", "vault:v1:\"}", "vault:v1:\n"] {
            assert!(!is_ciphertext(other), "{other}");
        }
    }
}
