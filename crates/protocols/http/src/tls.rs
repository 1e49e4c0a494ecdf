//! TLS: 1.3 unless configured otherwise, hybrid post-quantum key exchange first, client certificates, reload while
//! running.

use arc_swap::ArcSwap;
use keyreeve_crypto::digest::sha256;
use keyreeve_engine::PeerCertificate;
use keyreeve_model::UnixMillis;
use keyreeve_secret::SecretBytes;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// TLS sessions remembered for resumption (count).
const SESSIONS: usize = 4096;

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They may; one that does not verify ends the handshake.
    Optional,
    /// They must.
    Required,
}

/// The oldest version spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 only.
    #[default]
    Tls13,
}

/// What a TLS listener is made from, as read from files.
#[derive(Debug)]
pub struct TlsMaterial {
    /// The server's certificate, then its issuers, in PEM.
    pub chain_pem: Vec<u8>,
    /// Its private key in PEM (PKCS#8, PKCS#1 or SEC 1).
    pub key_pem: SecretBytes,
    /// Issuers of client certificates, in PEM.
    pub client_ca_pem: Option<Vec<u8>>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// The oldest version spoken.
    pub min_version: MinVersion,
}

/// Why TLS material was refused.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("the certificate chain cannot be used: {0}")]
    Chain(String),
    /// The key file.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// The file of client issuers.
    #[error("the client issuers cannot be used: {0}")]
    ClientCa(String),
    /// Client certificates are wanted, but no issuers are named.
    #[error("client certificates are asked for, but no issuers of them are named")]
    NoClientCa,
    /// The certificate is not of this key, or the like.
    #[error("certificate and key do not go together: {0}")]
    Pair(#[from] rustls::Error),
}

/// The cryptography under TLS: AWS-LC, X25519MLKEM768 first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A TLS configuration that can be replaced while connections use it.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the material.
    ///
    /// # Errors
    /// [`TlsError`] says which part cannot be used.
    pub fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        Ok(Self { config: ArcSwap::from_pointee(build(material)?) })
    }

    /// Replaces certificate, key and client issuers for connections from now on; sessions of before are not resumed.
    ///
    /// # Errors
    /// [`TlsError`]; everything stays as it was.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        self.config.store(Arc::new(build(material)?));
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn build(material: &TlsMaterial) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&material.chain_pem).map_err(TlsError::Chain)?;
    let key =
        PrivateKeyDer::from_pem_slice(material.key_pem.expose()).map_err(|error| TlsError::Key(error.to_string()))?;
    let versions: &[&SupportedProtocolVersion] = match material.min_version {
        MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        MinVersion::Tls13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match client_verifier(material)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

fn client_verifier(material: &TlsMaterial) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if material.client_auth == ClientAuth::None {
        return Ok(None);
    }
    let pem = material.client_ca_pem.as_deref().ok_or(TlsError::NoClientCa)?;
    let mut issuers = RootCertStore::empty();
    for issuer in certificates(pem).map_err(TlsError::ClientCa)? {
        issuers.add(issuer).map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(issuers), provider());
    let builder = match material.client_auth {
        ClientAuth::None | ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map(Some).map_err(|error| TlsError::ClientCa(error.to_string()))
}

/// What the pipeline wants to know of a verified client certificate; none when it cannot be read.
pub(crate) fn peer_certificate(der: &[u8]) -> Option<PeerCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let instant = |seconds: i64| UnixMillis(seconds.saturating_mul(1000));
    // The last second counts whole (RFC 5280 section 4.1.2.5).
    let last = UnixMillis(instant(validity.not_after.timestamp()).0.saturating_add(999));
    let mut peer = PeerCertificate {
        fingerprint: sha256(der),
        dns_names: Vec::new(),
        uris: Vec::new(),
        valid: (instant(validity.not_before.timestamp()), last),
    };
    if let Some(names) = certificate.subject_alternative_name().ok()? {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => peer.dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => peer.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
    }
    Some(peer)
}
