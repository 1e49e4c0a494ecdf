//! A real OpenID provider: npm's `oidc-provider` on Node, as a child process, and the browser that logs in there.

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

use crate::{Chance, Pki, Server};

/// The client of Keyreeve there, and its secret.
const CLIENT: (&str, &str) = ("keyreeve", "the secret of : keyreeve & 100%");
/// A client that gets tokens for itself, and its secret.
const ROBOT: (&str, &str) = ("build-robot", "the secret of the robot");

/// A running provider. Ended when it is dropped.
///
/// It knows `alice` (groups `staff` and `keys`), `bob` (`staff`) and `mallory`, whose e-mail address was not verified.
#[derive(Debug)]
pub struct Idp {
    issuer: String,
    pki: Pki,
    _server: Server,
    _home: TempDir,
}

/// What a browser brings back from a login.
#[derive(Debug)]
pub struct Callback {
    /// The whole address.
    pub url: String,
    /// The fields of its query.
    pub fields: BTreeMap<String, String>,
}

/// Where `cargo xtask test` has npm install the provider.
fn library() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("oidc-provider")
}

impl Idp {
    /// Starts one; none, said aloud, where Node or the package is missing.
    ///
    /// # Panics
    /// When it is missing and everything must run, or does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let library = library();
        let node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
        if !node || !library.join("node_modules/oidc-provider/package.json").is_file() {
            crate::not_run("Node or npm's oidc-provider is missing: `cargo xtask test` installs it");
            return None;
        }
        let (home, pki) = (tempfile::tempdir().unwrap(), Pki::new("of the provider"));
        let (certificate, key) = pki.server();
        let (at, of) = (home.path().join("certificate.pem"), home.path().join("key.pem"));
        std::fs::write(&at, certificate).unwrap();
        std::fs::write(&of, key).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts/idp.mjs");
        let mut command = Command::new("node");
        crate::tidy_environment(&mut command, home.path());
        // The script ends with its standard input, even where this process cannot end it.
        command.arg(script).arg(library).arg(at).arg(of).stdin(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let issuer = server.wait_line(|line| line.strip_prefix("ready ").map(str::to_owned));
        Some(Self { issuer, pki, _server: server, _home: home })
    }

    /// Its issuer, `https://localhost:PORT`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.pki.pem()
    }

    /// Name and secret of the confidential client. A public one with signatures of ES256 is `keyreeve-cli`.
    #[must_use]
    pub fn client(&self) -> (&'static str, &'static str) {
        CLIENT
    }

    /// A redirect URI of both; on this machine any port will do.
    #[must_use]
    pub fn redirect_uri(&self) -> &'static str {
        "http://127.0.0.1/callback"
    }

    /// A fresh code of the confidential client for `alice`, and the PKCE verifier it was asked for with.
    ///
    /// # Panics
    /// When the provider refuses.
    #[must_use]
    pub fn code(&self) -> (String, String) {
        let mut chance = Chance::new(Chance::seed());
        let verifier = base64_simd::URL_SAFE_NO_PAD.encode_to_string(chance.bytes(32));
        let challenge = base64_simd::URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(&verifier));
        let mut url = self.url("/auth");
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", CLIENT.0)
            .append_pair("redirect_uri", self.redirect_uri())
            .append_pair("scope", "openid groups")
            .append_pair("state", "any")
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let callback = self.login(url.as_str(), "alice", false);
        (callback.fields["code"].clone(), verifier)
    }

    /// What a browser does with an authorization URL: logs somebody in, with or without a second factor.
    ///
    /// # Panics
    /// When it does not end with a redirection to the client.
    #[must_use]
    pub fn login(&self, authorization_url: &str, user: &str, second_factor: bool) -> Callback {
        let password = format!("{user} knows this");
        self.login_as(authorization_url, user, &password, second_factor)
    }

    /// The same with this password.
    ///
    /// # Panics
    /// When it does not end with a redirection to the client.
    #[must_use]
    pub fn login_as(&self, authorization_url: &str, user: &str, password: &str, second_factor: bool) -> Callback {
        let form = [("login", user), ("password", password), ("otp", if second_factor { "123456" } else { "" })];
        let url = web(self.browse(authorization_url, &form));
        let parsed: reqwest::Url = url.parse().unwrap();
        let fields = parsed.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Callback { url, fields }
    }

    /// Follows redirections and fills in forms until it is sent away from the provider.
    async fn browse(&self, start: &str, form: &[(&str, &str)]) -> String {
        let client = self.http();
        let mut cookies = BTreeMap::new();
        let (mut url, mut method) = (start.to_owned(), reqwest::Method::GET);
        for _ in 0..12 {
            let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut request = client.request(method.clone(), &url).header(COOKIE, jar.join("; "));
            if method == reqwest::Method::POST {
                request = request.header("content-type", "application/x-www-form-urlencoded").body(encoded(form));
            }
            let answer = request.send().await.unwrap();
            for cookie in answer.headers().get_all(SET_COOKIE) {
                let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
                cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
            }
            let location = answer.headers().get(LOCATION).map(|value| value.to_str().unwrap().to_owned());
            match location {
                Some(place) if place.starts_with('/') => {
                    (url, method) = (self.url(&place).into(), reqwest::Method::GET)
                }
                Some(place) if place.starts_with(&self.issuer) => (url, method) = (place, reqwest::Method::GET),
                Some(away) => return away,
                None => {
                    let (status, page) = (answer.status(), answer.text().await.unwrap());
                    assert!(page.contains("<form method=\"post\">"), "{status}: {page}");
                    method = reqwest::Method::POST;
                }
            }
        }
        panic!("the provider sends around in circles, last to {url}");
    }

    /// An access token of the provider's that is a JWT, for a workload: `repository` is `acme/app`, the audience as
    /// asked for, the subject `build-robot`.
    ///
    /// # Panics
    /// When the provider refuses.
    #[must_use]
    pub fn workload_token(&self, audience: &str) -> String {
        let body = encoded(&[("grant_type", "client_credentials"), ("resource", audience)]);
        let answer = web(async {
            let basic = format!("{}:{}", encoded_word(ROBOT.0), encoded_word(ROBOT.1));
            let request = self.http().post(self.url("/token")).body(body);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let request = request.header("authorization", format!("Basic {}", crate::base64(basic)));
            request.send().await.unwrap().json::<Value>().await.unwrap()
        });
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// A JWT with any header and claims, signed by the provider's key for `alg`.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.tell("/_test/sign", &json!({"header": header, "claims": claims}))["jwt"].as_str().unwrap().to_owned()
    }

    /// The same under a text as the secret of an HMAC.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn sign_with_secret(&self, header: &Value, claims: &Value, secret: &str) -> String {
        let told = json!({"header": header, "claims": claims, "secret": secret});
        self.tell("/_test/sign", &told)["jwt"].as_str().unwrap().to_owned()
    }

    /// Replaces all of its keys.
    pub fn rotate(&self) {
        self.tell("/_test/rotate", &json!({}));
    }

    /// Makes its clock go wrong by so many seconds.
    pub fn skew(&self, seconds: i64) {
        self.tell("/_test/skew", &json!({"seconds": seconds}));
    }

    /// Where browsers are sent back to by the third client, `keyreeve-console` (its secret is `the secret of the
    /// console`).
    pub fn redirect_console(&self, uri: &str) {
        self.tell("/_test/redirect", &json!({"uri": uri}));
    }

    /// Its keys, as it publishes them.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn jwks(&self) -> Value {
        web(async { self.http().get(self.url("/jwks")).send().await.unwrap().json().await.unwrap() })
    }

    fn tell(&self, path: &str, what: &Value) -> Value {
        web(async { self.http().post(self.url(path)).json(what).send().await.unwrap().json().await.unwrap() })
    }

    fn url(&self, path: &str) -> reqwest::Url {
        format!("{}{path}", self.issuer).parse().unwrap()
    }

    fn http(&self) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(self.pki.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
        builder.tls_certs_only([authority]).build().unwrap()
    }
}

/// Runs to the end in a thread of its own, so that it may be called from anywhere.
fn web<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

fn encoded_word(word: &str) -> String {
    let pair = encoded(&[("", word)]);
    pair.trim_start_matches('=').to_owned()
}

/// `application/x-www-form-urlencoded`.
fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut url: reqwest::Url = "https://form.invalid/".parse().unwrap();
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}
