//! Listeners and their TLS.

use keyreeve_http::{MinVersion, Tls, TlsError, TlsMaterial};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Fault;
use crate::files;

/// Where requests are taken: `data` and `admin` apart, or `all` in one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// Administration and data together.
    pub all: Option<ListenerConfig>,
    /// Use of keys.
    pub data: Option<ListenerConfig>,
    /// Administration.
    pub admin: Option<ListenerConfig>,
    /// Metrics and health.
    pub metrics: Option<ListenerConfig>,
}

/// One listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// TLS.
    pub tls: Option<TlsFiles>,
    /// Plain HTTP instead: only for metrics, or on a loopback address.
    #[serde(default)]
    pub plain_http: bool,
}

/// TLS of one listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The server's certificate and its issuers, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM, mode 600.
    pub key: PathBuf,
    /// Issuers of client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// Lists of client certificates that their issuers revoked, PEM or DER.
    #[serde(default)]
    pub client_crl: Vec<PathBuf>,
    /// What becomes of a client certificate whose issuer's list is out of date.
    #[serde(default)]
    pub client_crl_expired: Unsure,
    /// What becomes of a client certificate of whose issuer there is no list, where there are lists.
    #[serde(default)]
    pub client_crl_missing: Unsure,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The oldest version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// What becomes of a client certificate of which nobody can say whether it was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsure {
    /// It is refused.
    #[default]
    Refuse,
    /// It counts.
    Accept,
}

impl From<Unsure> for keyreeve_http::Unsure {
    fn from(unsure: Unsure) -> Self {
        match unsure {
            Unsure::Refuse => Self::Refused,
            Unsure::Accept => Self::Accepted,
        }
    }
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 only.
    #[default]
    #[serde(rename = "1.3")]
    V13,
}

impl Listeners {
    /// All of them with their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &ListenerConfig)> {
        let all = [("all", &self.all), ("data", &self.data), ("admin", &self.admin), ("metrics", &self.metrics)];
        all.into_iter().filter_map(|(name, listener)| Some((name, listener.as_ref()?)))
    }

    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let all = [&mut self.all, &mut self.data, &mut self.admin, &mut self.metrics];
        let files = all.into_iter().flatten().filter_map(|listener| listener.tls.as_mut());
        files.flat_map(|tls| {
            [&mut tls.cert, &mut tls.key].into_iter().chain(&mut tls.client_ca).chain(&mut tls.client_crl)
        })
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let remedy = "configure either `listeners.all`, or both `listeners.data` and `listeners.admin`";
        match (&self.all, &self.data, &self.admin) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => {}
            (None, None, None) => return Err(Fault::new("listeners", "there is no listener", remedy)),
            (None, Some(_), None) => return Err(Fault::new("listeners.admin", "it is missing", remedy)),
            (None, None, Some(_)) => return Err(Fault::new("listeners.data", "it is missing", remedy)),
            (Some(_), _, _) => return Err(Fault::new("listeners.all", "it stands beside `data` or `admin`", remedy)),
        }
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        for (name, listener) in self.named() {
            if let Some((other, _)) =
                taken.iter().find(|(_, address)| *address == listener.address && address.port() != 0)
            {
                let problem = format!("`listeners.{other}` has the same address");
                return Err(Fault::new(format!("listeners.{name}.address"), problem, "give each its own port"));
            }
            taken.push((name, listener.address));
            listener.check(name)?;
        }
        Ok(())
    }
}

impl ListenerConfig {
    fn check(&self, name: &str) -> Result<(), Fault> {
        let field = format!("listeners.{name}");
        match (&self.tls, self.plain_http) {
            (Some(_), true) => {
                Err(Fault::new(format!("{field}.plain_http"), "it stands beside `tls`", "remove one of them"))
            }
            (None, false) => {
                let remedy = "add `tls` with `cert` and `key`";
                Err(Fault::new(format!("{field}.tls"), "it is missing", remedy))
            }
            (None, true) if name != "metrics" && !self.address.ip().is_loopback() => {
                let problem = "plain HTTP would show tokens and keys to the network";
                Err(Fault::new(format!("{field}.plain_http"), problem, "add `tls`, or listen on a loopback address"))
            }
            (None, true) => Ok(()),
            (Some(tls), false) if tls.client_ca.is_some() && tls.client_auth == ClientAuth::None => {
                let problem = "clients are not asked for certificates, so it would do nothing";
                let remedy = "write `client_auth = \"required\"` or `\"optional\"`, or remove it";
                Err(Fault::new(format!("{field}.tls.client_ca"), problem, remedy))
            }
            (Some(tls), false) if !tls.client_crl.is_empty() && tls.client_ca.is_none() => {
                let problem = "there are no issuers whose certificates it could revoke";
                Err(Fault::new(
                    format!("{field}.tls.client_crl"),
                    problem,
                    "name their file in `client_ca`, or remove it",
                ))
            }
            (Some(tls), false) => tls.load(&format!("{field}.tls")).map(|_| ()),
        }
    }
}

impl TlsFiles {
    /// Reads the files.
    pub(crate) fn load(&self, field: &str) -> Result<Tls, Fault> {
        let material = self.material(field)?;
        Tls::new(&material).map_err(|error| blame(field, &error))
    }

    /// Reads the files anew for a listener that runs.
    pub(crate) fn reload(&self, field: &str, tls: &Tls) -> Result<(), Fault> {
        let material = self.material(field)?;
        tls.replace(&material).map_err(|error| blame(field, &error))
    }

    fn material(&self, field: &str) -> Result<TlsMaterial, Fault> {
        let at = |name: &str| format!("{field}.{name}");
        let client_ca_pem = match &self.client_ca {
            Some(path) => Some(files::read_public(path).map_err(|trouble| Fault::file(at("client_ca"), trouble))?),
            None => None,
        };
        let list = |path: &PathBuf| files::read_public(path).map_err(|trouble| Fault::file(at("client_crl"), trouble));
        Ok(TlsMaterial {
            client_crls: self.client_crl.iter().map(list).collect::<Result<_, _>>()?,
            expired_crl: self.client_crl_expired.into(),
            missing_crl: self.client_crl_missing.into(),
            chain_pem: files::read_public(&self.cert).map_err(|trouble| Fault::file(at("cert"), trouble))?,
            key_pem: files::read_private(&self.key).map_err(|trouble| Fault::file(at("key"), trouble))?,
            client_ca_pem,
            client_auth: match self.client_auth {
                ClientAuth::None => keyreeve_http::ClientAuth::None,
                ClientAuth::Optional => keyreeve_http::ClientAuth::Optional,
                ClientAuth::Required => keyreeve_http::ClientAuth::Required,
            },
            min_version: match self.min_version {
                TlsVersion::V12 => MinVersion::Tls12,
                TlsVersion::V13 => MinVersion::Tls13,
            },
        })
    }
}

fn blame(field: &str, error: &TlsError) -> Fault {
    let (name, remedy) = match error {
        TlsError::Chain(_) => ("cert", "name a PEM file with the server's certificate first"),
        TlsError::Key(_) => ("key", "name a PEM file with the private key"),
        TlsError::ClientCa(_) => ("client_ca", "name a PEM file with the issuers of client certificates"),
        TlsError::ClientCrl(_) => ("client_crl", "name files with the revocation lists of `client_ca`, in PEM or DER"),
        TlsError::NoClientCa => ("client_ca", "name the PEM file with their issuers"),
        TlsError::Pair(_) => ("cert", "name the certificate that was made for this key"),
    };
    Fault::new(format!("{field}.{name}"), error.to_string(), remedy)
}
