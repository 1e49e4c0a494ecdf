//! Something between a client and a service: it passes requests on, unless a test says otherwise.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::Method;
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Passing {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, the names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It goes on as it is.
    Pass,
    /// It goes on with another body.
    PassWith(Vec<u8>),
    /// Its answer is altered: these bytes, wherever they are, become those.
    AnswerWith(Vec<u8>, Vec<u8>),
    /// It is answered here: status, headers (lines ending with CRLF), body.
    Answer(u16, &'static str, String),
    /// The connection ends.
    Close,
}

type Rule = Box<dyn FnMut(&Passing) -> Fate + Send>;

/// See the module. It serves plain HTTP on this machine and ends when it is dropped.
pub struct Middle {
    address: String,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

struct Inner {
    upstream: Option<(String, Client)>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<String>>,
    closed: AtomicBool,
}

impl std::fmt::Debug for Middle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Middle({})", self.address)
    }
}

impl Middle {
    /// Before a service at `upstream`, whose certificate is of the authority `ca_pem`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn before(upstream: &str, ca_pem: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(ca_pem.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        Self::start(Some((upstream.to_owned(), client))).await
    }

    /// Before nothing: what its rule does not answer gets 404.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn alone() -> Self {
        Self::start(None).await
    }

    async fn start(upstream: Option<(String, Client)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (rule, seen): (Rule, _) = (Box::new(|_| Fate::Pass), Mutex::default());
        let inner = Inner { upstream, rule: Mutex::new(rule), seen, closed: AtomicBool::new(false) };
        let inner = Arc::new(inner);
        let shared = inner.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        Self { address, inner, task }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on.
    ///
    /// # Panics
    /// When an earlier rule did.
    pub fn rule(&self, rule: impl FnMut(&Passing) -> Fate + Send + 'static) {
        *self.inner.rule.lock().unwrap() = Box::new(rule);
    }

    /// Whether it takes connections and ends them at once.
    pub fn out(&self, out: bool) {
        self.inner.closed.store(out, Ordering::SeqCst);
    }

    /// How many requests came whose path has `part` in it.
    ///
    /// # Panics
    /// When a rule did.
    #[must_use]
    pub fn seen(&self, part: &str) -> usize {
        self.inner.seen.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let Some(request) = read(&mut stream).await else { return };
        self.seen.lock().unwrap().push(request.path.clone());
        let fate = (self.rule.lock().unwrap())(&request);
        let (status, headers, body) = match fate {
            Fate::Close => return,
            Fate::Answer(status, headers, body) => (status, headers.to_owned(), body.into_bytes()),
            Fate::Pass => self.pass(&request, request.body.clone()).await,
            Fate::PassWith(body) => self.pass(&request, body).await,
            Fate::AnswerWith(these, those) => {
                let (status, headers, body) = self.pass(&request, request.body.clone()).await;
                (status, headers, replace(&body, &these, &those))
            }
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
        let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    }

    async fn pass(&self, request: &Passing, body: Vec<u8>) -> (u16, String, Vec<u8>) {
        let Some((upstream, client)) = &self.upstream else { return (404, String::new(), Vec::new()) };
        let method: Method = request.method.parse().unwrap();
        let mut onwards = client.request(method, format!("{upstream}{}", request.path)).body(body);
        for (name, value) in &request.headers {
            if !matches!(name.as_str(), "host" | "content-length" | "connection") {
                onwards = onwards.header(name, value);
            }
        }
        match onwards.send().await {
            Err(error) => (502, String::new(), error.to_string().into_bytes()),
            Ok(answer) => {
                let status = answer.status().as_u16();
                // Uploads by parts live by it.
                let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
                let headers = tag.map(|tag| format!("etag: {tag}\r\n")).unwrap_or_default();
                (status, headers, answer.bytes().await.unwrap_or_default().to_vec())
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Passing> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        match stream.read(&mut chunk).await.ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    };
    let mut body = bytes.split_off(head_end + 4);
    let head = String::from_utf8(bytes).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Ok(0), |(_, text)| text.parse());
    let length: usize = length.ok()?;
    while body.len() < length {
        match stream.read(&mut chunk).await.ok()? {
            0 => return None,
            n => body.extend_from_slice(&chunk[..n]),
        }
    }
    Some(Passing { method, path, headers, body })
}

fn replace(body: &[u8], these: &[u8], those: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    text.replace(&*String::from_utf8_lossy(these), &String::from_utf8_lossy(those)).into_bytes()
}
