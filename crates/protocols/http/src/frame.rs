//! The frame around every request: id, rates, time, panics, and the form of what goes wrong.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use keyreeve_engine::ops::requests::Seen;
use keyreeve_engine::{Arrival, Engine, Evidence, Proof};
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::counters::Counters;
use crate::drain::Leftover;
use crate::inbound::{Credential, Facts, Inbound, Peer, Shared, distinctive, evidence, given_request_id};
use crate::limits::Limits;
use crate::outline::{Outline, head_too_large, oversized, routes_only};
use crate::problem::{HttpCode, PROBLEM_JSON, Problem};
use crate::rate::{Asker, Held, Limiter, Shown};
use crate::register::{Noted, Refusal, Register};
use crate::session::{self, FETCH_SITE};
use crate::sources::{Sources, room};
use crate::words::Bare;
use crate::{AUDIT_RECORD, REQUEST_ID};

/// Headers of every answer that does not set them itself: nothing is cached, guessed, framed or passed on.
static HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// A router with everything around it that does not depend on the connection.
pub struct Frame {
    router: Router,
    register: Option<Register>,
    /// The router without its handlers.
    routes: Router,
    shared: Arc<Shared>,
    sources: Arc<Sources>,
    limiter: Limiter,
    counters: Arc<Counters>,
    started: Instant,
    /// Tells the ids of this process from those of others.
    id_prefix: u64,
    next_id: AtomicU64,
}

impl Frame {
    /// A frame around `router`.
    #[must_use]
    pub fn new(router: Router, limits: Limits, counters: Arc<Counters>) -> Self {
        let limiter = Limiter::new(&limits.rates);
        Self {
            register: None,
            routes: routes_only(&router),
            router,
            sources: Sources::new(&limits),
            shared: Arc::new(Shared { room: room(limits.all_bodies), limits }),
            limiter,
            counters,
            started: Instant::now(),
            // Keyed from the operating system's randomness; ids need to be distinct, not secret.
            id_prefix: std::hash::RandomState::new().hash_one(0u8),
            next_id: AtomicU64::new(1),
        }
    }

    /// The same, with every request that never becomes an operation on record in this engine.
    #[must_use]
    pub fn on_record(mut self, engine: Engine) -> Self {
        self.register = Some(Register::new(engine, self.limits().rates.malformed));
        self
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// Puts refusals that were only counted on record; a [`Listener`](crate::Listener) does so every 10 seconds and at
    /// its end.
    pub async fn summarise(&self) {
        if let Some(register) = &self.register {
            register.summarise(|| self.new_id()).await;
        }
    }

    /// Answers one request.
    pub async fn call(&self, peer: &Arc<Peer>, mut request: Request<Body>) -> Response {
        session::enter(&mut request);
        let now = self.started.elapsed();
        let facts = Arc::new(Facts { id: self.request_id(request.headers()), proof: Proof::default() });
        let line = tracing::enabled!(tracing::Level::DEBUG).then(|| Line::of(&request));
        let (leftover, request) = Leftover::watch(request);
        let response = self.admitted(peer, request, &facts, now).await;
        leftover.drain().await;
        let response = self.finish(response, &facts.id).await;
        self.count(response.status());
        if let Some(line) = line {
            let took = self.started.elapsed().saturating_sub(now);
            line.log(&facts.id, peer, response.status(), took);
        }
        response
    }

    async fn admitted(
        &self,
        peer: &Arc<Peer>,
        mut request: Request<Body>,
        facts: &Arc<Facts>,
        now: Duration,
    ) -> Response {
        let asker = self.asker(peer, request.headers());
        let now = nanoseconds(now);
        if let Err(wait) = self.limiter.admit(asker, now) {
            return rate_limited(wait);
        }
        let outline = self.register.is_some().then(|| Outline::of(&request));
        let mut response = match self.unacceptable(&request) {
            Some(problem) => problem.into_response(),
            None => {
                let (facts, peer, shared) = (Arc::clone(facts), Arc::clone(peer), Arc::clone(&self.shared));
                let id = facts.id.clone();
                request.extensions_mut().insert(Inbound { facts, peer, shared });
                self.run(request, &id).await
            }
        };
        let mut told = None;
        if may_want_record(&response) {
            (response, told) = self.noted((peer, facts), outline, (asker, now), response).await;
        }
        if let Some(shown) = shown(&facts.proof, &response, told) {
            self.limiter.learn(asker, now, shown);
        }
        response
    }

    /// What is wrong with a request whoever sends it.
    fn unacceptable(&self, request: &Request<Body>) -> Option<Problem> {
        if is_of_a_page(request) {
            let text = "requests that a web page sends are not taken: use the command line or a client library";
            return Some(Problem::new(HttpCode::Denied, text));
        }
        oversized(request, self.limits())
    }

    /// Puts a refusal on record, unless the pipeline did; says what that tells of a caller who was not accepted.
    async fn noted(
        &self,
        (peer, facts): (&Peer, &Facts),
        outline: Option<Outline>,
        (asker, now): (Asker, u64),
        mut response: Response,
    ) -> (Response, Option<Shown>) {
        let Some(register) = &self.register else { return (response, None) };
        let problem = match response.extensions_mut().remove::<Problem>() {
            Some(problem) => problem,
            None if is_foreign(&response) => Problem::from_foreign(response).await,
            None => return (response, None),
        };
        if !problem.wants_record() {
            return (problem.into_response(), None);
        }
        let (evidence, seen) = match outline {
            Some(outline) => (outline.evidence(peer), outline.seen(&self.routes).await),
            None => (evidence(&Credential::default(), peer).unwrap_or(Evidence::None), Seen::default()),
        };
        let arrival = Arrival {
            evidence,
            source: Some(peer.address.ip().to_canonical()),
            request: facts.id.clone(),
            idempotency: None,
            proof: facts.proof.clone(),
        };
        let refusal = Refusal { arrival, code: problem.code(), seen };
        let noting = register.note(refusal, self.limiter.knows(asker), asker, now);
        match tokio::time::timeout(self.limits().request_time, noting).await {
            Ok(Noted::Recorded { record, judged }) => {
                (problem.recorded(record).into_response(), judged.then_some(Shown::Refused))
            }
            Ok(Noted::Counted) => (problem.into_response(), Some(Shown::Unproven)),
            Ok(Noted::Unavailable(instead)) => (instead.into_response(), None),
            Err(_) => (Problem::new(HttpCode::Timeout, "the request took too long").into_response(), None),
        }
    }

    /// Answers, with the bytes of a whole response, a request whose head could not be read.
    pub(crate) async fn unreadable(&self, peer: &Peer, bare: Bare) -> Vec<u8> {
        let now = nanoseconds(self.started.elapsed());
        let facts = Facts { id: self.new_id(), proof: Proof::default() };
        let asker = self.asker(peer, &HeaderMap::new());
        let response = match self.limiter.admit(asker, now) {
            Err(wait) => rate_limited(wait),
            Ok(()) => {
                let refused = self.unreadable_as(bare.status).into_response();
                let (response, told) = self.noted((peer, &facts), None, (asker, now), refused).await;
                if let Some(shown) = shown(&facts.proof, &response, told) {
                    self.limiter.learn(asker, now, shown);
                }
                response
            }
        };
        let response = self.finish(response, &facts.id).await;
        self.count(response.status());
        bare.spell(response).await
    }

    fn unreadable_as(&self, status: StatusCode) -> Problem {
        match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => head_too_large(self.limits()),
            StatusCode::URI_TOO_LONG => Problem::new(HttpCode::UriTooLong, "the target of the request is too long"),
            _ => Problem::invalid("the head of the request is not one of HTTP (RFC 9112)"),
        }
    }

    fn asker(&self, peer: &Peer, headers: &HeaderMap) -> Asker {
        let token = headers.get(header::AUTHORIZATION).map(|value| Held::Token(distinctive(value.as_bytes())));
        let certificate = peer.certificate.as_ref().map(|found| Held::Certificate(&found.fingerprint));
        self.limiter.asker(peer.address.ip(), token.or(certificate))
    }

    async fn run(&self, request: Request<Body>, id: &str) -> Response {
        let handled = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        match tokio::time::timeout(self.limits().request_time, handled).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => refute(never),
            Ok(Err(_panic)) => {
                Counters::add(&self.counters.panics);
                tracing::error!(request = id, "a handler panicked: this is a defect");
                Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more")
                    .into_response()
            }
            Err(_) => {
                tracing::warn!(request = id, "the request took too long");
                let text = "the request took too long, and may have been done: try again with the same idempotency key";
                Problem::new(HttpCode::Timeout, text).into_response()
            }
        }
    }

    async fn finish(&self, mut response: Response, id: &str) -> Response {
        let status = response.status();
        // A request that waits for others is a problem too, although its status is 202.
        if status.is_client_error() || status.is_server_error() || status == StatusCode::ACCEPTED {
            response = match response.extensions_mut().remove::<Problem>() {
                Some(problem) => problem.render(id),
                None if status == StatusCode::ACCEPTED => response,
                None if is_foreign(&response) => Problem::from_foreign(response).await.render(id),
                None => response,
            };
        }
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(REQUEST_ID, value);
        }
        for (name, value) in &HEADERS {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        response
    }

    fn request_id(&self, headers: &HeaderMap) -> String {
        match given_request_id(headers) {
            Some(id) => id.to_owned(),
            None => self.new_id(),
        }
    }

    fn new_id(&self) -> String {
        format!("{:016x}-{:x}", self.id_prefix, self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    fn count(&self, status: StatusCode) {
        let counters = &*self.counters;
        Counters::add(&counters.requests);
        if status == StatusCode::TOO_MANY_REQUESTS {
            Counters::add(&counters.rate_limited);
        } else if status.is_client_error() {
            Counters::add(&counters.refused);
        } else if status.is_server_error() {
            Counters::add(&counters.failed);
        }
    }
}

/// Whether an answer may be a refusal that is not on record.
fn may_want_record(response: &Response) -> bool {
    response.status().is_client_error() || response.extensions().get::<Problem>().is_some_and(Problem::wants_record)
}

/// What the end of a request tells of its caller, where it tells anything; `told` is what the record of its refusal
/// told of a caller who was not accepted.
fn shown(proof: &Proof, response: &Response, told: Option<Shown>) -> Option<Shown> {
    if response.status() == StatusCode::UNAUTHORIZED {
        return Some(Shown::Refused);
    }
    if proof.is_accepted() {
        return Some(Shown::Accepted);
    }
    let refusal = response.extensions().get::<Problem>().is_some_and(Problem::is_recorded);
    told.or_else(|| (refusal || response.headers().contains_key(AUDIT_RECORD)).then_some(Shown::Unproven))
}

/// Whether a browser sends this for a page, and it would change or use something: a page of another site, or one whose
/// name was bound to this address, must not act with what the browser or its machine is trusted with (W3C Fetch
/// Metadata; RFC 6454 section 7). Requests of the console's own pages are none any more, see [`session`].
fn is_of_a_page(request: &Request<Body>) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let mut sites = request.headers().get_all(FETCH_SITE).iter();
    request.headers().contains_key(header::ORIGIN) || sites.any(|site| site != "same-origin" && site != "none")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn rate_limited(wait: Duration) -> Response {
    let text = "too many requests from this address or with this credential: wait as `Retry-After` says";
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    Problem::new(HttpCode::RateLimited, text).retry_after(seconds).into_response()
}

fn refute(never: Infallible) -> Response {
    match never {}
}

/// Error answers of axum itself are plain text or empty; those of handlers have a type of their own.
fn is_foreign(response: &Response) -> bool {
    match response.headers().get(header::CONTENT_TYPE) {
        None => true,
        Some(value) => value != PROBLEM_JSON && value.as_bytes().starts_with(b"text/plain"),
    }
}

/// A line of the access log: never bodies, credentials or query strings.
struct Line {
    method: Method,
    path: String,
}

impl Line {
    fn of(request: &Request<Body>) -> Self {
        Self { method: request.method().clone(), path: request.uri().path().to_owned() }
    }

    fn log(&self, id: &str, peer: &Peer, status: StatusCode, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (method, path, status) = (self.method.as_str(), self.path.as_str(), status.as_u16());
        tracing::debug!(request = id, source = %peer.address.ip(), method, path, status, micros, "answered");
    }
}
