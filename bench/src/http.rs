//! A client as light as possible: HTTP/1.1 over one TLS connection that is kept, requests prepared in advance,
//! responses read no further than needed. What it costs, it costs both sides of a comparison.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;

/// Where a server is and how it is trusted.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) token: Option<String>,
    connector: TlsConnector,
}

impl Target {
    pub(crate) fn new(address: &str, ca: &Path, token: Option<String>) -> Result<Self, Failure> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address: address.to_owned(), token, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// The bytes of a request.
    pub(crate) fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        let authorization =
            self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = self.connector.connect(name, stream).await?;
        Ok(Connection { stream, buffer: vec![0; 64 * 1024] })
    }

    /// One request on a connection of its own, for preparations; fails on any status but 2xx.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Failure> {
        let bytes = serde_json::to_vec(body)?;
        let request = self.request(method, path, "application/json", &bytes);
        let mut connection = self.connect().await?;
        let (status, body) = connection.exchange(&request).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if !(200..300).contains(&status) {
            return Err(format!("{method} {path}: {status} {text}").into());
        }
        if body.is_empty() { Ok(serde_json::Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }
}

/// A kept connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

struct Head {
    status: u16,
    header_len: usize,
    body_len: usize,
}

impl Connection {
    /// Sends a prepared request and reads the response to its end. Returns the status only.
    pub(crate) async fn fire(&mut self, request: &[u8]) -> Result<u16, Failure> {
        self.stream.write_all(request).await?;
        let (head, have) = self.head().await?;
        let mut missing = (head.header_len + head.body_len).saturating_sub(have);
        while missing > 0 {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err("the server closed the connection".into()),
                read => missing = missing.saturating_sub(read),
            }
        }
        Ok(head.status)
    }

    /// The same with the body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>), Failure> {
        self.stream.write_all(request).await?;
        let (head, have) = self.head().await?;
        let mut body = self.buffer[head.header_len..have].to_vec();
        while body.len() < head.body_len {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err("the server closed the connection".into()),
                read => body.extend_from_slice(&self.buffer[..read]),
            }
        }
        Ok((head.status, body))
    }

    async fn head(&mut self) -> Result<(Head, usize), Failure> {
        let mut have = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[have..]).await?;
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            have += read;
            if let Some(end) = self.buffer[..have].windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok((parse_head(&self.buffer[..end + 4])?, have));
            }
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, Failure> {
    let text = std::str::from_utf8(bytes)?;
    let status = text.get(9..12).ok_or("no status line")?.parse()?;
    let length = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    let body_len = text.lines().find_map(length).unwrap_or(0);
    Ok(Head { status, header_len: bytes.len(), body_len })
}
