//! A real Vault server in a child process, with storage in memory: built from Vault's own modules, see
//! `counterparts/vault/main.go`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use http::Method;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Pki, Server};

/// A running server: initialised, open, with a transit engine. Ended when it is dropped.
pub struct Vault {
    address: String,
    pki: Pki,
    client: Client,
    root: String,
    unseal: String,
    _server: Server,
    _home: TempDir,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.address)
    }
}

/// Where `cargo xtask test` builds the program.
fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("vault/vault")
}

impl Vault {
    /// Starts one; none, said aloud, where it was not built.
    ///
    /// # Panics
    /// When it is missing and everything must run, or does not start.
    pub async fn start() -> Option<Self> {
        if !program().is_file() {
            crate::not_run("Vault is missing: `cargo xtask test` builds it");
            return None;
        }
        let (home, pki) = (tempfile::tempdir().unwrap(), Pki::new("of Vault"));
        let (certificate, key) = pki.server();
        let (at, of) = (home.path().join("certificate.pem"), home.path().join("key.pem"));
        std::fs::write(&at, certificate).unwrap();
        std::fs::write(&of, key).unwrap();
        let mut command = Command::new(program());
        crate::tidy_environment(&mut command, home.path());
        // The program ends with its standard input, even where this process cannot end it.
        command.arg(at).arg(of).arg("0").stdin(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let address: String = server.wait_line(|line| line.strip_prefix("ready ").map(str::to_owned));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(pki.pem().as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        let (root, unseal) = (String::new(), String::new());
        let mut vault = Self { address, pki, client, root, unseal, _server: server, _home: home };
        vault.initialise().await;
        Some(vault)
    }

    async fn initialise(&mut self) {
        let made = self.call(Method::PUT, "sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 })).await;
        self.root = made["root_token"].as_str().unwrap().to_owned();
        self.unseal = made["keys"][0].as_str().unwrap().to_owned();
        self.unseal().await;
        self.post("sys/mounts/transit", json!({ "type": "transit" })).await;
    }

    /// `https://localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The authority of its certificate; for certificates of clients too, if it is told so.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Closes it.
    pub async fn seal(&self) {
        self.post("sys/seal", json!({})).await;
    }

    /// Opens it.
    ///
    /// # Panics
    /// When it stays closed.
    pub async fn unseal(&self) {
        let opened = self.call(Method::PUT, "sys/unseal", &json!({ "key": self.unseal })).await;
        assert_eq!(opened["sealed"], false, "{opened}");
    }

    /// A request with all rights.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, &body).await
    }

    /// The same; the answer stays in Vault, and what is returned is the token that opens it once.
    ///
    /// # Panics
    /// When it is no success.
    pub async fn call_wrapped(&self, path: &str, body: &Value) -> String {
        let url = format!("{}/v1/{path}", self.address);
        let request = self.client.post(url).header("x-vault-token", &self.root).header("x-vault-wrap-ttl", "300");
        let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["wrap_info"]["token"].as_str().unwrap().to_owned()
    }

    /// A token with these policies that lives for so long (`1h`), and as long again after each renewal.
    ///
    /// # Panics
    /// When Vault gives none.
    pub async fn token(&self, policies: &[&str], ttl: &str) -> String {
        let made = self.post("auth/token/create", json!({ "policies": policies, "ttl": ttl })).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Any request with all rights; the answer, which must be a success.
    ///
    /// # Panics
    /// When it is not.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}/v1/{path}", self.address);
        let request = self.client.request(method, url).header("x-vault-token", &self.root);
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }
}
