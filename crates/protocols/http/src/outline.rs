//! What is kept of a request until it is known how it ended, for the record of those that never become an operation.

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{Method, Request, Uri, Version};
use keyreeve_engine::Evidence;
use keyreeve_engine::ops::requests::Seen;
use tower::ServiceExt;

use crate::inbound::{Credential, Peer, evidence};
use crate::limits::Limits;
use crate::problem::{HttpCode, Problem};

/// What a header field takes besides name and value, in bytes (RFC 9113 section 6.5.2).
const FIELD: usize = 32;

/// A request without its body.
pub(crate) struct Outline {
    method: Method,
    target: Uri,
    credential: Credential,
}

impl Outline {
    pub(crate) fn of(request: &Request<Body>) -> Self {
        let credential = Credential::of(request.headers());
        Self { method: request.method().clone(), target: request.uri().clone(), credential }
    }

    /// What it shows to prove who asks; nothing where that cannot be understood.
    pub(crate) fn evidence(&self, peer: &Peer) -> Evidence {
        evidence(&self.credential, peer).unwrap_or(Evidence::None)
    }

    /// Its method and route, which are of our own making: neither path nor query, where anything may stand.
    pub(crate) async fn seen(self, routes: &Router) -> Seen {
        let method = known(&self.method);
        let mut request = Request::new(Body::empty());
        (*request.method_mut(), *request.uri_mut()) = (self.method, self.target);
        let Ok(response) = routes.clone().oneshot(request).await;
        let route = response.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        Seen { method, route }
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

/// A router that only tells which route a request has: no handler of it ever runs.
pub(crate) fn routes_only(router: &Router) -> Router {
    async fn tell(matched: Option<MatchedPath>, _request: Request<Body>, _next: Next) -> Response {
        let mut response = Response::new(Body::empty());
        if let Some(matched) = matched {
            response.extensions_mut().insert(matched);
        }
        response
    }
    router.clone().layer(from_fn(tell))
}

/// What is wrong with the size of a head. Over HTTP/1.1 hyper has counted the bytes; over HTTP/2 nobody else does.
pub(crate) fn oversized(request: &Request<Body>, limits: &Limits) -> Option<Problem> {
    if request.headers().len() > limits.head_fields {
        return Some(head_too_large(limits));
    }
    if request.version() <= Version::HTTP_11 {
        return None;
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    (target + fields.sum::<usize>() > limits.head).then(|| head_too_large(limits))
}

pub(crate) fn head_too_large(limits: &Limits) -> Problem {
    let text = format!("the head of a request has at most {} bytes and {} fields", limits.head, limits.head_fields);
    Problem::new(HttpCode::HeadTooLarge, text)
}
