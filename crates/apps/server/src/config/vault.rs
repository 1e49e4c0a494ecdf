//! `kind = "vault-transit"`: a root of trust in the transit engine of another server, Vault or OpenBao.

use keyreeve_root_cloud::vault::{Login, VaultOptions, check_path};
use serde::Deserialize;
use std::path::PathBuf;

use super::Fault;
use crate::files;

/// A key of a transit engine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://vault.example.com:8200`.
    pub address: String,
    /// Where the server has namespaces.
    pub namespace: Option<String>,
    /// Where the engine is mounted.
    #[serde(default = "mount")]
    pub mount: String,
    /// The name of the key.
    pub key: String,
    /// How the server logs in.
    pub login: VaultLogin,
    /// The authorities of the server's certificate, in PEM, where they are not those of the system.
    pub ca: Option<PathBuf>,
    /// How long it works on when the other server does not answer, in seconds.
    #[serde(default = "super::root::keep_seconds")]
    pub keep_seconds: u32,
}

/// How the server logs in; each method's mount is its name unless said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum VaultLogin {
    /// A token in a file.
    Token {
        /// The file.
        file: PathBuf,
    },
    /// AppRole.
    #[serde(rename = "approle")]
    AppRole {
        /// Where the method is.
        #[serde(default = "approle")]
        mount: String,
        /// The role's id.
        role_id_file: PathBuf,
        /// The secret id.
        secret_id_file: PathBuf,
        /// Whether that file has a wrapping token instead.
        #[serde(default)]
        wrapped: bool,
    },
    /// The service account of a pod.
    Kubernetes {
        /// Where the method is.
        #[serde(default = "kubernetes")]
        mount: String,
        /// The role.
        role: String,
        /// The pod's token.
        #[serde(default = "jwt_file")]
        jwt_file: PathBuf,
    },
    /// A certificate.
    Certificate {
        /// Where the method is.
        #[serde(default = "cert")]
        mount: String,
        /// The role; the first that fits unless said.
        role: Option<String>,
        /// The certificate with its chain, in PEM.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

fn mount() -> String {
    "transit".to_owned()
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn cert() -> String {
    "cert".to_owned()
}

fn jwt_file() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

impl VaultConfig {
    /// The paths among the fields.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let (one, other) = match &mut self.login {
            VaultLogin::Token { file } => (file, None),
            VaultLogin::AppRole { role_id_file, secret_id_file, .. } => (role_id_file, Some(secret_id_file)),
            VaultLogin::Kubernetes { jwt_file, .. } => (jwt_file, None),
            VaultLogin::Certificate { cert, key, .. } => (cert, Some(key)),
        };
        [one].into_iter().chain(other).chain(&mut self.ca)
    }

    /// What holds for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        let paths = [("mount", Some(&self.mount)), ("key", Some(&self.key)), ("namespace", self.namespace.as_ref())];
        for (name, path) in paths {
            let Some(path) = path else { continue };
            let fault = |error: keyreeve_root_cloud::RemoteError| {
                Fault::new(format!("{field}.{name}"), error.to_string(), "write it as Vault lists it")
            };
            check_path(path).map_err(fault)?;
        }
        let private = |name: &str, path: &PathBuf| {
            let found = files::read_private(path);
            found.map(drop).map_err(|trouble| Fault::file(format!("{field}.login.{name}"), trouble))
        };
        match &self.login {
            VaultLogin::Token { file } => private("file", file),
            VaultLogin::AppRole { secret_id_file, role_id_file, .. } => {
                private("role_id_file", role_id_file).and_then(|()| private("secret_id_file", secret_id_file))
            }
            // Kubernetes gives such files to a group, and replaces them all the time.
            VaultLogin::Kubernetes { .. } => Ok(()),
            VaultLogin::Certificate { key, .. } => private("key", key),
        }
    }

    /// What `keyreeve config check` says about it.
    pub(crate) fn seen(&self, field: &str) -> Vec<String> {
        let (address, mount, key) = (&self.address, &self.mount, &self.key);
        vec![format!("{field}: {mount}/keys/{key} of {address}; it is asked for at the start")]
    }

    /// What the driver takes.
    pub(crate) fn options(&self) -> VaultOptions {
        let login = match self.login.clone() {
            VaultLogin::Token { file } => Login::Token { file },
            VaultLogin::AppRole { mount, role_id_file, secret_id_file, wrapped } => {
                Login::AppRole { mount, role_id_file, secret_id_file, wrapped }
            }
            VaultLogin::Kubernetes { mount, role, jwt_file } => Login::Kubernetes { mount, role, jwt_file },
            VaultLogin::Certificate { mount, role, .. } => Login::Certificate { mount, role },
        };
        VaultOptions {
            address: self.address.clone(),
            namespace: self.namespace.clone(),
            mount: self.mount.clone(),
            key: self.key.clone(),
            login,
        }
    }

    /// Certificate and key of the connection, in one piece.
    pub(crate) fn identity(&self, field: &str) -> Result<Option<keyreeve_secret::SecretBytes>, Fault> {
        let VaultLogin::Certificate { cert, key, .. } = &self.login else { return Ok(None) };
        let fault = |name: &str, trouble| Fault::file(format!("{field}.login.{name}"), trouble);
        let certificate = files::read_public(cert).map_err(|trouble| fault("cert", trouble))?;
        let key = files::read_private(key).map_err(|trouble| fault("key", trouble))?;
        let mut both = keyreeve_secret::SecretBuffer::with_capacity(certificate.len() + key.len() + 1);
        for part in [certificate.as_slice(), b"\n", key.expose()] {
            both.extend_from_slice(part);
        }
        Ok(Some(both.finish()))
    }
}
