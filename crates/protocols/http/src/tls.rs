//! TLS: 1.3 unless configured otherwise, hybrid post-quantum key exchange first, client certificates, reload while
//! running.

use arc_swap::ArcSwap;
use keyreeve_engine::PeerCertificate;
use keyreeve_secret::SecretBytes;
use rustls::crypto::CryptoProvider;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;

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

/// What becomes of a client certificate of which nobody can say whether it was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsure {
    /// It is refused.
    #[default]
    Refused,
    /// It counts.
    Accepted,
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
    /// Lists of revoked certificates of these issuers (RFC 5280 section 5): any number in PEM, or one in DER, each.
    pub client_crls: Vec<Vec<u8>>,
    /// Where the issuer's list is out of date.
    pub expired_crl: Unsure,
    /// Where there are lists, but none of the issuer.
    pub missing_crl: Unsure,
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
    /// A file of revoked client certificates.
    #[error("the revocation lists cannot be used: {0}")]
    ClientCrl(String),
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
    loaded: ArcSwap<Loaded>,
}

/// One that was read.
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    clients: Option<Clients>,
    generation: u64,
    /// Tells when another one stands in its place.
    pub(crate) replaced: CancellationToken,
}

impl Loaded {
    /// The client of a connection whose handshake is done, if it showed a certificate; or why that is of no use.
    pub(crate) fn peer(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Option<PeerCertificate>, String> {
        let (Some(chain), Some(clients)) = (chain.filter(|chain| !chain.is_empty()), &self.clients) else {
            return Ok(None);
        };
        let now = self.config.time_provider.current_time().ok_or("nobody knows the time")?;
        clients.peer(chain, now).map(Some)
    }

    /// Whether no revocation list has run out since it was read.
    fn is_sure(&self) -> bool {
        let now = self.config.time_provider.current_time();
        self.clients.as_ref().is_none_or(|clients| now.is_some_and(|now| clients.are_sure(now)))
    }
}

/// The certificate of a connection, and the files by which it was verified.
pub(crate) struct Standing {
    pub(crate) tls: Arc<Tls>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) replaced: CancellationToken,
}

impl Standing {
    /// Whether it counts: by those files, or where others are in their place, or a list in them has run out, by what
    /// there is now.
    pub(crate) fn holds(&self) -> bool {
        let current = self.tls.current();
        let as_before = !self.replaced.is_cancelled() && current.is_sure();
        as_before || matches!(current.peer(Some(&self.chain)), Ok(Some(_)))
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("replaced", &self.replaced.is_cancelled()).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the material.
    ///
    /// # Errors
    /// [`TlsError`] says which part cannot be used.
    pub fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        Ok(Self { loaded: ArcSwap::from_pointee(build(material)?) })
    }

    /// Replaces certificate, key, client issuers and revocation lists for connections from now on; sessions of before
    /// are not resumed. Connections of clients that showed a certificate are ended in good order: whether it still
    /// counts is looked at when they come anew.
    ///
    /// # Errors
    /// [`TlsError`]; everything stays as it was.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        let next = build(material)?;
        let before = self.loaded.swap(Arc::new(Loaded { generation: self.generation() + 1, ..next }));
        before.replaced.cancel();
        Ok(())
    }

    /// How often it was replaced.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.loaded.load().generation
    }

    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }
}

fn build(material: &TlsMaterial) -> Result<Loaded, TlsError> {
    let chain = certificates(&material.chain_pem).map_err(TlsError::Chain)?;
    let key =
        PrivateKeyDer::from_pem_slice(material.key_pem.expose()).map_err(|error| TlsError::Key(error.to_string()))?;
    let versions: &[&SupportedProtocolVersion] = match material.min_version {
        MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        MinVersion::Tls13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let (builder, clients) = match Clients::of(material)? {
        Some((verifier, clients)) => (builder.with_client_cert_verifier(verifier), Some(clients)),
        None => (builder.with_no_client_auth(), None),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(Loaded { config: Arc::new(config), clients, generation: 0, replaced: CancellationToken::new() })
}

pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
        SerialNumber, date_time_ymd,
    };
    use rustls::time_provider::TimeProvider;
    use rustls_pki_types::UnixTime;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[derive(Debug)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    fn list(issuer: &Issuer<'_, KeyPair>, until: i32) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap().into_bytes()
    }

    /// Whether the certificate of a connection counts before its list runs out and after it.
    fn holds(expired_crl: Unsure) -> [bool; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["client".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let material = TlsMaterial {
            chain_pem: certificate.pem().into_bytes(),
            key_pem: SecretBytes::copy_from(own.serialize_pem().as_bytes()),
            client_ca_pem: Some(ca.into_bytes()),
            client_crls: vec![list(&issuer, 2031)],
            expired_crl,
            missing_crl: Unsure::Refused,
            client_auth: ClientAuth::Required,
            min_version: MinVersion::Tls13,
        };
        let mut loaded = build(&material).unwrap();
        let end = u64::try_from(date_time_ymd(2031, 1, 1).unix_timestamp()).unwrap();
        let clock = Arc::new(Clock(AtomicU64::new(end - 1)));
        Arc::get_mut(&mut loaded.config).unwrap().time_provider = Arc::clone(&clock) as Arc<dyn TimeProvider>;
        let replaced = loaded.replaced.clone();
        let tls = Arc::new(Tls { loaded: ArcSwap::from_pointee(loaded) });
        let standing = Standing { tls, chain: vec![certificate.der().clone()], replaced };
        let before = standing.holds();
        clock.0.store(end + 1, Ordering::Relaxed);
        [before, standing.holds()]
    }

    #[test]
    fn a_list_that_runs_out_counts_on_connections_that_stand() {
        assert_eq!(holds(Unsure::Refused), [true, false]);
        assert_eq!(holds(Unsure::Accepted), [true, true]);
    }
}
