//! Versions, key exchange, client certificates, certificates read anew.

use keyreeve_http::{ClientAuth, Limits, MinVersion};
use rustls::NamedGroup;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;

use crate::bench::{Answer, Authority, Bench, Identity, material};

const WHO: &[u8] = b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn who(bench: &Bench, identity: Option<&Identity>) -> Result<Answer, std::io::Error> {
    let mut stream = bench.connect(bench.authority.client(identity, &[&TLS13])).await?;
    stream.write_all(WHO).await?;
    Ok(Answer::read(&mut stream).await)
}

#[tokio::test]
async fn tls_1_3_only_unless_configured_otherwise() {
    let strict = Bench::start(Limits::default(), |_| {});
    assert!(strict.connect(strict.authority.client(None, &[&TLS12])).await.is_err());
    assert_eq!(strict.get("/who", "").await.status, 200);
    let lenient = Bench::start(Limits::default(), |material| material.min_version = MinVersion::Tls12);
    let stream = lenient.connect(lenient.authority.client(None, &[&TLS12])).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let stream = lenient.connect(lenient.authority.client(None, &[&TLS12, &TLS13])).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn the_key_exchange_is_hybrid_post_quantum() {
    let bench = Bench::start(Limits::default(), |_| {});
    let stream = bench.open().await;
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn an_optional_certificate_is_shown_to_the_pipeline() {
    let clients = Authority::new("clients");
    let bench = Bench::start(Limits::default(), |material| {
        material.client_auth = ClientAuth::Optional;
        material.client_ca_pem = Some(clients.pem.clone().into_bytes());
    });
    let identity = clients.issue("billing.example", Some("spiffe://example/billing"));
    let fingerprint = keyreeve_crypto::digest::sha256(&identity.der);
    let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = who(&bench, Some(&identity)).await.unwrap();
    assert_eq!(answer.body, format!("certificate {hex} [\"billing.example\"] [\"spiffe://example/billing\"]"));
    assert_eq!(who(&bench, None).await.unwrap().body, "none");
    // Signed by somebody else: whether the client learns of it at the handshake or at the first read, it gets no
    // answer.
    let stranger = Authority::new("strangers").issue("billing.example", None);
    assert!(who(&bench, Some(&stranger)).await.map_or(true, |answer| answer.status == 0));
}

#[tokio::test]
async fn a_required_certificate_is_required() {
    let clients = Authority::new("clients");
    let bench = Bench::start(Limits::default(), |material| {
        material.client_auth = ClientAuth::Required;
        material.client_ca_pem = Some(clients.pem.clone().into_bytes());
    });
    assert!(who(&bench, None).await.map_or(true, |answer| answer.status == 0));
    let identity = clients.issue("billing.example", None);
    assert!(who(&bench, Some(&identity)).await.unwrap().body.starts_with("certificate "));
    assert_eq!(bench.counters.totals().handshakes_failed, 1);
}

#[tokio::test]
async fn certificate_and_token_together_are_ambiguous() {
    let clients = Authority::new("clients");
    let bench = Bench::start(Limits::default(), |material| {
        material.client_auth = ClientAuth::Optional;
        material.client_ca_pem = Some(clients.pem.clone().into_bytes());
    });
    let identity = clients.issue("billing.example", None);
    let mut stream = bench.connect(bench.authority.client(Some(&identity), &[&TLS13])).await.unwrap();
    let request = "GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer krt_x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-request"));
}

#[tokio::test]
async fn a_certificate_is_replaced_while_connections_go_on() {
    let bench = Bench::start(Limits::default(), |_| {});
    let mut old = bench.open().await;
    let shown =
        |stream: &tokio_rustls::client::TlsStream<_>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let before = shown(&old);
    let renewed = bench.authority.issue("localhost", None);
    bench.tls.as_ref().unwrap().replace(&material(&renewed)).unwrap();
    assert_eq!(shown(&bench.open().await), renewed.der);
    assert_ne!(before, renewed.der);
    old.write_all(WHO).await.unwrap();
    assert_eq!(Answer::read(&mut old).await.status, 200);
    // What cannot be used changes nothing.
    let mut wrong = material(&renewed);
    wrong.chain_pem = bench.authority.issue("localhost", None).chain_pem.into_bytes();
    assert!(bench.tls.as_ref().unwrap().replace(&wrong).is_err());
    assert_eq!(shown(&bench.open().await), renewed.der);
}
