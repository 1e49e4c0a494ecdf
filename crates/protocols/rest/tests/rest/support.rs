//! A server without sockets: the routers in their frame, over an engine on real drivers in a directory of its own.

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use keyreeve_crypto::Random;
use keyreeve_engine::ops::system::Init;
use keyreeve_engine::{Arrival, Clock, Code, Descriptor, Engine, Evidence, Observer, Ports, Settings};
use keyreeve_epochs_file::FileEpochVault;
use keyreeve_http::{Counters, Frame, Limits, Peer};
use keyreeve_journal_file::{FileJournal, Options};
use keyreeve_model::UnixMillis;
use keyreeve_rest::{Side, router};
use keyreeve_root::Root;
use keyreeve_root_software::{SealedFileRoot, ShamirRoot};
use keyreeve_store_sqlite::SqliteStore;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A clock that stands still until it is turned.
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn turn_days(&self, days: i64) {
        self.0.fetch_add(days * 86_400_000, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().0.unsigned_abs())
    }
}

/// What the engine told of each operation, in order.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<(&'static str, Option<Code>)>>);

impl Observer for Seen {
    fn observed(&self, operation: &'static Descriptor, code: Option<Code>, _items: usize, _took: Duration) {
        self.0.lock().unwrap().push((operation.name, code));
    }
}

impl Seen {
    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Vec<(&'static str, Option<Code>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, String::from_utf8_lossy(&self.bytes));
        assert!(self.header("keyreeve-audit-record").starts_with("rec_"), "no audit record is named");
        self.json()
    }

    /// The code of an answer that must be a problem.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let problem = self.json();
        assert!(!self.status.is_success(), "{}", String::from_utf8_lossy(&self.bytes));
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert_eq!(problem["audit_record"].as_str().unwrap_or(""), self.header("keyreeve-audit-record"));
        problem["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) struct Server {
    pub(crate) frame: Frame,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) token: String,
    peer: Arc<Peer>,
    _directory: TempDir,
}

/// Which root of trust.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootOf {
    File,
    Shares,
}

impl Server {
    /// An open server and its developer's token.
    pub(crate) async fn new() -> Self {
        let mut server = Self::bare(RootOf::File, Side::Both).await;
        let nobody = Arrival {
            evidence: Evidence::None,
            source: None,
            request: "init".to_owned(),
            idempotency: None,
            proof: Default::default(),
        };
        let done = server.engine.call(nobody, Init { shares: 0, threshold: 0, holders: Vec::new() }).await.unwrap();
        server.token = done.reply.token.expose().to_owned();
        server.seen.take();
        server
    }

    /// A server that nobody initialised.
    pub(crate) async fn bare(root: RootOf, side: Side) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let path = directory.path();
        let random = Random::from_module().unwrap();
        let clock = Arc::new(HandClock(AtomicI64::new(1_800_000_000_000)));
        let told = Arc::clone(&clock);
        let options = Options { segment_bytes: 256 * 1024, ..Options::new(Arc::new(move || Clock::now(&*told))) };
        let seen = Arc::new(Seen::default());
        let root: Arc<dyn Root> = match root {
            RootOf::File => Arc::new(SealedFileRoot::new(path.join("root.key"), random.clone())),
            RootOf::Shares => Arc::new(ShamirRoot::new(random.clone())),
        };
        let ports = Ports {
            store: Arc::new(SqliteStore::open(&path.join("store").join("keyreeve.db")).unwrap()),
            roots: Arc::new(keyreeve_engine::Roots::single(root, Arc::clone(&clock) as Arc<dyn Clock>)),
            vault: Arc::new(FileEpochVault::open(&path.join("epochs"), random.clone()).unwrap()),
            journal: Arc::new(FileJournal::open(&path.join("journal"), options).await.unwrap()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(random),
            observer: Arc::clone(&seen) as Arc<dyn Observer>,
            oidc: Arc::new(keyreeve_login_oidc::HttpsProvider::new()),
            directory: Arc::new(keyreeve_login_ldap::LdapDirectory::new()),
            notifiers: Vec::new(),
        };
        let engine = Engine::new(ports, Settings::development()).unwrap();
        engine.start().await.unwrap();
        let limits = Limits { json_body: 1 << 20, octet_body: 2 << 20, all_bodies: 3 << 19, ..Limits::default() };
        let frame = Frame::new(router(engine.clone(), side), limits, Arc::new(Counters::default()));
        let frame = frame.on_record(engine.clone());
        let peer = Arc::new(Peer::new(([10, 1, 2, 3], 4000).into(), None));
        Self { frame, engine, clock, seen, token: String::new(), peer, _directory: directory }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.frame.call(&self.peer, request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// A request of the developer, with more headers.
    pub(crate) async fn with(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(verb).uri(format!("/v1{path}"));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// A JSON request of the developer.
    pub(crate) async fn call(&self, verb: &str, path: &str, body: Value) -> Answer {
        self.with(verb, path, &[("content-type", "application/json")], serde_json::to_vec(&body).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.with("GET", path, &[], Vec::new()).await
    }

    /// A binary request of the developer.
    pub(crate) async fn octets(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("content-type", "application/octet-stream")];
        all.extend_from_slice(headers);
        self.with("POST", path, &all, body.to_vec()).await
    }

    /// Makes a key under an alias.
    pub(crate) async fn key(&self, algorithm: &str, alias: &str) -> Value {
        self.key_for(algorithm, alias, Value::Null).await
    }

    pub(crate) async fn key_for(&self, algorithm: &str, alias: &str, purpose: Value) -> Value {
        let body = json!({"algorithm": algorithm, "aliases": [alias], "purpose": purpose, "reason": "test"});
        self.post("/keys", body).await.ok()
    }
}
