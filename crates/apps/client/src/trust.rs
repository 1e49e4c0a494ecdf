//! Whom connections trust and what they show: one configuration of TLS, for requests and for looking again at why a
//! server closes connections.

use std::sync::Arc;
use std::time::Duration;

use keyreeve_secret::SecretBytes;
use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, client::WantsClientCert};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::ClientError;
use crate::tls::{self, TlsTrouble};

/// How long a look may take: a server that refuses does so at once.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// TLS 1.2 at least, with these authorities and this certificate of one's own.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The system's authorities where none are given.
    pub(crate) fn new(ca_pem: Option<&[u8]>, identity_pem: Option<&SecretBytes>) -> Result<Self, ClientError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(unusable)?;
        let builder = match ca_pem {
            Some(pem) => trusting(builder, pem)?,
            None => builder.with_platform_verifier().map_err(unusable)?,
        };
        let mut config = match identity_pem {
            Some(pem) => showing(builder, pem)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig::clone(&self.0)
    }

    /// What TLS has against a connection to this place, if it has anything; no request is sent.
    ///
    /// In TLS 1.3 the client is done before the server has looked at its certificate (RFC 8446 figure 1), so a refusal
    /// comes as an alert on a connection that stands. HTTP in between may find it before there is a request to tell of
    /// it, and all that is left to say is that the connection was closed.
    pub(crate) async fn look(&self, url: &Url) -> Option<(TlsTrouble, String)> {
        tokio::time::timeout(LOOK_TIMEOUT, self.refusal(url)).await.ok().flatten()
    }

    async fn refusal(&self, url: &Url) -> Option<(TlsTrouble, String)> {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let socket = TcpStream::connect((host, url.port_or_known_default()?)).await.ok()?;
        let error = match TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await {
            // The alert, or the first frame of a server that is content.
            Ok(mut stream) => stream.read(&mut [0; 1]).await.err()?,
            Err(error) => error,
        };
        tls::trouble(&error, "").map(|trouble| (trouble, error.to_string()))
    }
}

fn unusable(error: rustls::Error) -> ClientError {
    ClientError::Setup(format!("the client cannot be set up: {error}"))
}

fn trusting(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    pem: &[u8],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, ClientError> {
    let bad = || ClientError::Setup("the CA file holds no certificate in PEM form".to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| bad())?).map_err(|_| bad())?;
    }
    if roots.is_empty() {
        return Err(bad());
    }
    Ok(builder.with_root_certificates(roots))
}

fn showing(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    pem: &SecretBytes,
) -> Result<ClientConfig, ClientError> {
    let bad = || ClientError::Setup("the client certificate and its key cannot be read as PEM".to_owned());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(bad)?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|_| bad())?;
    builder.with_client_auth_cert(chain, key).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

    /// A server for one connection that wants a certificate of its own authority, and that authority in PEM form.
    async fn demanding() -> (Url, String, tokio::task::JoinHandle<()>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serving = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            assert!(tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(socket).await.is_err());
        });
        (url, authority.pem(), serving)
    }

    #[tokio::test]
    async fn a_refusal_after_the_handshake_is_seen_without_a_request() {
        let (url, authority, serving) = demanding().await;
        let trust = Trust::new(Some(authority.as_bytes()), None).unwrap();
        let (trouble, reason) = trust.look(&url).await.unwrap();
        assert_eq!(trouble, TlsTrouble::ClientCertificateMissing, "{reason}");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_made_up_where_nobody_answers() {
        let (url, authority, serving) = demanding().await;
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        let trust = Trust::new(Some(authority.as_bytes()), None).unwrap();
        assert_eq!(trust.look(&url).await, None);
    }
}
