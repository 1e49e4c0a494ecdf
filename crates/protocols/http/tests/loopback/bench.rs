//! A server to test against, and a client that can misbehave.

use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use http::StatusCode;
use keyreeve_crypto::digest::sha256;
use keyreeve_engine::Evidence;
use keyreeve_http::{
    AUDIT_RECORD, CancellationToken, ClientAuth, Counters, Frame, JsonCall, Limits, Listener, MinVersion, OctetCall,
    PlainCall, Problem, Tls, TlsMaterial, bind, provider,
};
use keyreeve_secret::SecretBytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    /// SHA-256 of its public key.
    pub(crate) key: [u8; 32],
    /// What those whom it certifies send along.
    above: Vec<CertificateDer<'static>>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) serial: SerialNumber,
    /// What it sends along.
    pub(crate) others: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

static SERIALS: AtomicU64 = AtomicU64::new(1);

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    pub(crate) fn new(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name));
        let certificate = params.self_signed(&key).unwrap();
        Self::with(params, key, &certificate, Vec::new())
    }

    /// One that this one certifies.
    pub(crate) fn below(&self, name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), Self::params(name));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let above = [vec![certificate.der().clone()], self.above.clone()].concat();
        Self::with(params, key, &certificate, above)
    }

    fn with(
        params: CertificateParams,
        key: KeyPair,
        certificate: &rcgen::Certificate,
        above: Vec<CertificateDer<'static>>,
    ) -> Self {
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        let public = sha256(&key.subject_public_key_info());
        Self { issuer: Issuer::new(params, key), pem, der, key: public, above }
    }

    /// A list of what it revoked, good until the year `until`.
    pub(crate) fn revokes(&self, identities: &[&Identity], until: i32) -> rcgen::CertificateRevocationList {
        let revoked = |identity: &&Identity| RevokedCertParams {
            serial_number: identity.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: identities.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }

    pub(crate) fn issue(&self, dns: &str, uri: Option<&str>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([dns.to_owned()]).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let serial = SerialNumber::from(SERIALS.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain_pem, key_pem, der) = (certificate.pem(), key.serialize_pem(), certificate.der().clone());
        Identity { chain_pem, key_pem, der, serial, others: self.above.clone(), key }
    }

    /// What a client that trusts this authority brings along.
    pub(crate) fn client(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
                let chain = [vec![identity.der.clone()], identity.others.clone()].concat();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

pub(crate) fn material(identity: &Identity) -> TlsMaterial {
    TlsMaterial {
        chain_pem: identity.chain_pem.clone().into_bytes(),
        key_pem: SecretBytes::copy_from(identity.key_pem.as_bytes()),
        client_ca_pem: None,
        client_crls: Vec::new(),
        expired_crl: Default::default(),
        missing_crl: Default::default(),
        client_auth: ClientAuth::None,
        min_version: MinVersion::Tls13,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    number: u32,
}

/// Lets a test hold up a handler, and know that it has begun.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) begun: Notify,
    pub(crate) open: Notify,
}

fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::None => "none".to_owned(),
        Evidence::Bearer(token) => format!("bearer {}", token.expose()),
        Evidence::Certificate(peer) => {
            let hex: String = peer.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("certificate {hex} {:?} {:?}", peer.dns_names, peer.uris)
        }
    }
}

/// The authorities that vouch for the caller.
fn authorities(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Certificate(peer) => format!("{:?}", peer.authorities),
        Evidence::None | Evidence::Bearer(_) => String::new(),
    }
}

/// What hyper says by itself when a head cannot be read.
const BARE: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";

fn router(gate: Arc<Gate>) -> Router {
    let wait = move || async move {
        gate.begun.notify_one();
        gate.open.notified().await;
        "done"
    };
    Router::new()
        .route("/who", get(|call: PlainCall| async move { evidence(&call.arrival.evidence) }))
        .route("/authorities", get(|call: PlainCall| async move { authorities(&call.arrival.evidence) }))
        .route("/proven", get(|call: PlainCall| async move { call.arrival.proof.accept() }))
        .route("/recorded", post(|_: PlainCall| async { ([(AUDIT_RECORD, "aud_1")], "open to anybody") }))
        .route("/bare", post(|_: PlainCall| async { BARE }))
        .route("/json", post(|call: JsonCall<Body>| async move { call.body.number.to_string() }))
        .route("/octets", post(|call: OctetCall| async move { call.bytes.len().to_string() }))
        .route("/path/{number}", get(|Path(number): Path<u32>| async move { number.to_string() }))
        .route("/query", get(|Query(query): Query<HashMap<String, u32>>| async move { query.len().to_string() }))
        .route("/refuse", get(|_: PlainCall| async { Problem::new(keyreeve_http::HttpCode::Unauthenticated, "who?") }))
        .route(
            "/panic",
            get(|| async {
                if StatusCode::OK.is_success() {
                    panic!("on purpose")
                }
            }),
        )
        .route("/wait", get(wait))
        .route("/never", get(|| async { std::future::pending::<()>().await }))
}

/// A listener under test.
pub(crate) struct Bench {
    pub(crate) authority: Authority,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

impl Bench {
    pub(crate) fn start(limits: Limits, adapt: impl FnOnce(&mut TlsMaterial)) -> Self {
        let authority = Authority::new("server authority");
        let mut material = material(&authority.issue("localhost", None));
        adapt(&mut material);
        Self::listen(limits, authority, Some(Arc::new(Tls::new(&material).unwrap())))
    }

    pub(crate) fn plain(limits: Limits) -> Self {
        Self::listen(limits, Authority::new("unused"), None)
    }

    fn listen(limits: Limits, authority: Authority, tls: Option<Arc<Tls>>) -> Self {
        let socket = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let (counters, gate, stop) =
            (Arc::new(Counters::default()), Arc::new(Gate::default()), CancellationToken::new());
        let frame = Arc::new(Frame::new(router(Arc::clone(&gate)), limits, Arc::clone(&counters)));
        let listener = Listener { socket, tls: tls.clone(), frame };
        let served = tokio::spawn(listener.serve(stop.clone()));
        Self { authority, tls, address, counters, gate, stop, served }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn connect(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await
    }

    /// A connection of a client that behaves.
    pub(crate) async fn open(&self) -> TlsStream<TcpStream> {
        self.connect(self.authority.client(None, &[&rustls::version::TLS13])).await.unwrap()
    }

    /// Sends a whole request over a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.open().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
        self.ask(&format!("{head}{headers}\r\n{body}")).await
    }
}

/// An answer as text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Self {
        let mut bytes = Vec::new();
        // A peer that closes without TLS goodbye is no matter here: what counts is what arrived.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim())
    }

    /// The code, after checking that this is a problem document in every detail.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let code = document["code"].as_str().unwrap().to_owned();
        assert_eq!(document["type"], format!("urn:keyreeve:error:{code}"));
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"));
        assert!(!document["detail"].as_str().unwrap().is_empty());
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        code
    }
}
