//! The practical ceiling: an axum server over TLS that only does the cryptography. No authentication, no policy, no
//! audit, no store.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random, SignatureScheme};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Failure;

struct Ceiling {
    key: LoadedKey,
    signer: LoadedKey,
    random: Random,
}

#[derive(Deserialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    items: Vec<Encrypt<'a>>,
}

#[derive(Deserialize)]
struct Sign<'a> {
    message: &'a str,
}

#[derive(Deserialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
}

/// Serves until killed. Writes `ca.pem` and `address` into the directory once it listens.
pub(crate) fn serve(directory: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(listen(directory))
}

async fn listen(directory: &Path) -> Result<(), Failure> {
    let random = Random::from_module()?;
    let key = LoadedKey::load(&Material::generate(KeyAlgorithm::Xaes256Gcm, &random)?, Purpose::Encrypt)?;
    let signer = LoadedKey::load(&Material::generate(KeyAlgorithm::EcP256, &random)?, Purpose::Sign)?;
    let state = Arc::new(Ceiling { key, signer, random });
    let router = Router::new()
        .route("/encrypt", post(encrypt))
        .route("/decrypt", post(decrypt))
        .route("/octets", post(octets))
        .route("/batch", post(batch))
        .route("/sign", post(sign))
        .layer(axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024))
        .with_state(state);
    let acceptor = tls(directory)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    std::fs::write(directory.join("address"), listener.local_addr()?.to_string())?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn tls(directory: &Path) -> Result<TlsAcceptor, Failure> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    std::fs::write(directory.join("ca.pem"), certified.cert.pem())?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn failed() -> Response {
    axum::http::StatusCode::BAD_REQUEST.into_response()
}

fn json(field: &str, bytes: &[u8]) -> Response {
    let encoded = base64_simd::STANDARD.encode_to_string(bytes);
    ([(CONTENT_TYPE, "application/json")], format!("{{\"{field}\":\"{encoded}\"}}")).into_response()
}

async fn encrypt(State(state): State<Arc<Ceiling>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Encrypt<'_>>(&body) else { return failed() };
    let Ok(plaintext) = base64_simd::STANDARD.decode_to_vec(request.plaintext) else { return failed() };
    match state.key.seal(&state.random, &[], &plaintext) {
        Ok(sealed) => json("ciphertext", &sealed),
        Err(_) => failed(),
    }
}

async fn decrypt(State(state): State<Arc<Ceiling>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Decrypt<'_>>(&body) else { return failed() };
    let Ok(sealed) = base64_simd::STANDARD.decode_to_vec(request.ciphertext) else { return failed() };
    match state.key.open(&[], &sealed) {
        Ok(plaintext) => json("plaintext", plaintext.expose()),
        Err(_) => failed(),
    }
}

async fn octets(State(state): State<Arc<Ceiling>>, body: Bytes) -> Response {
    match state.key.seal(&state.random, &[], &body) {
        Ok(sealed) => ([(CONTENT_TYPE, "application/octet-stream")], sealed).into_response(),
        Err(_) => failed(),
    }
}

async fn batch(State(state): State<Arc<Ceiling>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Batch<'_>>(&body) else { return failed() };
    let mut out = String::with_capacity(body.len() * 2);
    out.push_str("{\"items\":[");
    for (place, item) in request.items.iter().enumerate() {
        let Ok(plaintext) = base64_simd::STANDARD.decode_to_vec(item.plaintext) else { return failed() };
        let Ok(sealed) = state.key.seal(&state.random, &[], &plaintext) else { return failed() };
        out.push_str(if place == 0 { "{\"ciphertext\":\"" } else { ",{\"ciphertext\":\"" });
        base64_simd::STANDARD.encode_append(&sealed, &mut out);
        out.push_str("\"}");
    }
    out.push_str("]}");
    ([(CONTENT_TYPE, "application/json")], out).into_response()
}

async fn sign(State(state): State<Arc<Ceiling>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Sign<'_>>(&body) else { return failed() };
    let Ok(message) = base64_simd::STANDARD.decode_to_vec(request.message) else { return failed() };
    match state.signer.sign(&state.random, SignatureScheme::EcdsaSha256, Message::Raw(&message)) {
        Ok(signature) => json("signature", &signature),
        Err(_) => failed(),
    }
}
