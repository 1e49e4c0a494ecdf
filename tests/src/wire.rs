//! Raw bytes over TLS, for what no well-behaved client would send.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Answer, Endpoint};

/// How long an answer to anything may take.
const LIMIT: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
    /// Bytes that were read and belong to the next answer.
    ahead: Vec<u8>,
}

impl Wire {
    /// Connects, speaking this protocol (`http/1.1`, `h2`).
    ///
    /// # Errors
    /// Why the handshake failed.
    pub fn connect(endpoint: &Endpoint, protocol: &str) -> io::Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&endpoint.ca_pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(connection, Self::tcp(endpoint)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// A connection without TLS to the same place.
    ///
    /// # Errors
    /// Why it cannot be made.
    ///
    /// # Panics
    /// When the address is none.
    pub fn tcp(endpoint: &Endpoint) -> io::Result<TcpStream> {
        let port: u16 = endpoint.authority().rsplit_once(':').unwrap().1.parse().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The server closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0u8; 16 * 1024];
        let read = self.stream.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    /// Reads until the server closes the connection.
    ///
    /// # Errors
    /// It did not in time, or broke it off.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? > 0 {}
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Reads one HTTP/1.1 answer with a known length.
    ///
    /// # Errors
    /// None came, or not a whole one.
    ///
    /// # Panics
    /// When it is not HTTP.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.more()? == 0 {
                let got = String::from_utf8_lossy(&self.ahead).into_owned();
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed without an answer: {got:?}")));
            }
        };
        let head = String::from_utf8(self.ahead.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        let mut headers = http::HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.trim().parse().unwrap());
        }
        let length = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        while self.ahead.len() < length {
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Answer { status, headers, body: self.ahead.drain(..length).collect() })
    }

    /// Sends a request as bytes and reads its answer.
    ///
    /// # Errors
    /// None came.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        // A refusal may come before everything is sent.
        let sent = self.send(request);
        self.answer().or_else(|error| sent.and(Err(error)))
    }
}

impl Wire {
    /// The name of the group the session keys were agreed in.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn key_exchange(&self) -> String {
        format!("{:?}", self.stream.conn.negotiated_key_exchange_group().unwrap().name())
    }

    /// The server's certificate, DER.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}
