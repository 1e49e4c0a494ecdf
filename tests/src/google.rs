//! Google Cloud KMS on Google's published libraries, in a child process: see `counterparts/google_kms.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Pki, Server};

/// A running service, with its token services and a metadata server. Ended when it is dropped.
pub struct GoogleCloud {
    address: String,
    metadata: String,
    pki: Pki,
    client: Client,
    home: TempDir,
    _server: Server,
}

impl std::fmt::Debug for GoogleCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GoogleCloud({})", self.address)
    }
}

/// Where `cargo xtask test` installs the libraries.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("google-kms/bin/python")
}

impl GoogleCloud {
    /// Starts one; none, said aloud, where the libraries are missing.
    ///
    /// # Panics
    /// When they are missing and everything must run, or it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !python().is_file() {
            crate::not_run("google-cloud-kms is missing: `cargo xtask test` installs it");
            return None;
        }
        let (home, pki) = (tempfile::tempdir().unwrap(), Pki::new("of Google"));
        let (certificate, key) = pki.server();
        let (at, of) = (home.path().join("certificate.pem"), home.path().join("key.pem"));
        std::fs::write(&at, certificate).unwrap();
        std::fs::write(&of, key).unwrap();
        let mut command = Command::new(python());
        crate::tidy_environment(&mut command, home.path());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts/google_kms.py");
        // The script ends with its standard input, even where this process cannot end it.
        command.arg(script).arg(at).arg(of).arg(home.path()).stdin(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let ready: String = server.wait_line(|line| line.strip_prefix("ready ").map(str::to_owned));
        let (address, metadata) = ready.split_once(' ').unwrap();
        let (address, metadata) = (address.to_owned(), metadata.to_owned());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(pki.pem().as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        Some(Self { address, metadata, pki, client, home, _server: server })
    }

    /// `https://localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The metadata server, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.pki.pem()
    }

    /// The name of a key; there are as many as are asked for.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("projects/keyreeve-test/locations/europe-west3/keyRings/tests/cryptoKeys/{name}")
    }

    /// A file of credentials: `service-account.json`, `federated.json`, `impersonating.json`, and `stranger.json`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Sets what it does from now on, and says how often it was asked for what: `encrypt`, `decrypt`, `/token`, ….
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn control(&self, told: Value) -> Value {
        let request = self.client.post(format!("{}/control", self.address)).body(told.to_string());
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }
}
