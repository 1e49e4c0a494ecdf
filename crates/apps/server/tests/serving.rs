//! A whole server in this process: what it serves, how it starts again, what it refuses.
#![allow(clippy::unwrap_used)]

use keyreeve_server::{Config, DevOptions, DevReady, Mode, Running, ServerError, dev};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn options(directory: &Path) -> DevOptions {
    DevOptions { data_dir: directory.join("dev"), listen: ([127, 0, 0, 1], 0).into(), verbose: false }
}

async fn text(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// What a path answers over TLS, trusting the authority in `ca_file` only.
async fn get(ca_file: &Path, address: SocketAddr, path: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config =
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    text(&mut stream, path).await
}

async fn start(directory: &Path) -> (Running, DevReady) {
    dev::start(options(directory)).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn development_mode_sets_itself_up_and_survives_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let (running, first) = start(directory.path()).await;
    assert!(first.first);
    let address = running.addresses().get("all").unwrap();
    assert!(get(&first.ca_file, address, "/readyz").await.contains(r#"{"ready":true,"reasons":[]}"#));
    assert!(get(&first.ca_file, address, "/healthz").await.contains(r#"{"alive":true}"#));
    let page = get(&first.ca_file, address, "/").await;
    assert!(page.contains("Development mode.") && page.contains("style-src 'self'"), "{page}");
    let metrics = get(&first.ca_file, address, "/metrics").await;
    for line in
        ["keyreeve_open 1.0", "keyreeve_operations_total", "process_resident_memory_bytes", "keyreeve_audit_records"]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let token = std::fs::read(&first.token_file).unwrap();
    assert_eq!((mode(&first.token_file), mode(&first.data_dir)), (0o600, 0o700));
    assert!(std::fs::read_to_string(&first.profile).unwrap().contains("log_vkeys = [\""));
    running.stop().await;
    let (running, again) = start(directory.path()).await;
    assert!(!again.first);
    assert_eq!(std::fs::read(&again.token_file).unwrap(), token);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_gone_shows_in_readiness() {
    let directory = tempfile::tempdir().unwrap();
    let (running, ready) = start(directory.path()).await;
    let address = running.addresses().get("all").unwrap();
    std::fs::remove_dir_all(ready.data_dir.join("epochs")).unwrap();
    let answer = get(&ready.ca_file, address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(r#"{"ready":false,"reasons":["vault-unavailable"]}"#), "{answer}");
    assert!(get(&ready.ca_file, address, "/healthz").await.contains(r#"{"alive":true}"#));
    let page = get(&ready.ca_file, address, "/").await;
    assert!(page.contains("Epoch vault") && page.contains("Not ready"), "{page}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_uses_a_directory_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (running, _) = start(directory.path()).await;
    let error = dev::start(options(directory.path())).await.err().unwrap();
    assert!(error.to_string().contains("in use by another keyreeve server"), "{error}");
    running.stop().await;
    start(directory.path()).await.0.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn development_mode_stays_on_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let listen = ([0, 0, 0, 0], 0).into();
    let error = dev::start(DevOptions { listen, ..options(directory.path()) }).await.err().unwrap();
    assert!(matches!(error, ServerError::Refused(_)) && error.to_string().contains("loopback"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_foreign_token_is_told_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let (running, ready) = start(directory.path()).await;
    running.stop().await;
    std::fs::write(&ready.token_file, "krt_0").unwrap();
    let error = dev::start(options(directory.path())).await.err().unwrap();
    assert!(error.to_string().contains("delete the directory to begin anew"), "{error}");
    std::fs::remove_file(&ready.token_file).unwrap();
    let error = dev::start(options(directory.path())).await.err().unwrap();
    assert!(error.to_string().contains("delete the directory to begin anew"), "{error}");
}

/// A configuration for production on loopback with a listener for each purpose, over the certificates of `dev`.
fn production(directory: &Path) -> Config {
    let text = r#"
        data_dir = "data"
        [root]
        kind = "shamir"
        [audit]
        origin = "kms.example.com/audit"
        [listeners.data]
        address = "127.0.0.1:0"
        tls = { cert = "dev/server.pem", key = "dev/server-key.pem" }
        [listeners.admin]
        address = "127.0.0.1:0"
        tls = { cert = "dev/server.pem", key = "dev/server-key.pem" }
        [listeners.metrics]
        address = "127.0.0.1:0"
        plain_http = true
    "#;
    let path = directory.join("keyreeve.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn production_starts_uninitialised_with_its_listeners_apart() {
    let directory = tempfile::tempdir().unwrap();
    let (running, ready) = start(directory.path()).await;
    running.stop().await;
    let running = Running::start(production(directory.path()), Mode::Production).await.unwrap();
    let address = |name: &str| running.addresses().get(name).unwrap();
    for listener in ["data", "admin"] {
        let answer = get(&ready.ca_file, address(listener), "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(r#"["not-initialised"]"#), "{answer}");
    }
    assert!(get(&ready.ca_file, address("admin"), "/").await.contains("not initialised"));
    assert!(get(&ready.ca_file, address("data"), "/").await.contains("unknown-route"));
    assert!(get(&ready.ca_file, address("data"), "/metrics").await.contains("unknown-route"));
    let mut plain = TcpStream::connect(address("metrics")).await.unwrap();
    let metrics = text(&mut plain, "/metrics").await;
    assert!(metrics.contains(r#"keyreeve_http_requests_total{listener="data"} 3"#), "{metrics}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_file_is_refused_outside_of_development_mode() {
    let directory = tempfile::tempdir().unwrap();
    let (running, _) = start(directory.path()).await;
    running.stop().await;
    let mut config = production(directory.path());
    config.root = Some(keyreeve_server::config::RootConfig::SealedFile {});
    let error = Running::start(config, Mode::Production).await.err().unwrap();
    assert!(error.to_string().contains("keyreeve dev"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_anew_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let (running, ready) = start(directory.path()).await;
    running.stop().await;
    let running = Running::start(production(directory.path()), Mode::Production).await.unwrap();
    let address = running.addresses().get("data").unwrap();
    // Another authority's certificates in the same place.
    let other = tempfile::tempdir().unwrap();
    let (stranger, strange) = start(other.path()).await;
    stranger.stop().await;
    for name in ["server.pem", "server-key.pem"] {
        std::fs::copy(strange.data_dir.join(name), ready.data_dir.join(name)).unwrap();
    }
    assert!(get(&ready.ca_file, address, "/healthz").await.contains("alive"));
    running.reload();
    assert!(get(&strange.ca_file, address, "/healthz").await.contains("alive"));
    running.stop().await;
}
