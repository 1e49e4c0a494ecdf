//! The console: a page that shows what anybody may know, rendered here without scripts, and those on which people sign
//! in, enrol second factors and show them, and vote on what waits for their consent.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod oidc;
mod page;
mod pages;
mod session;

use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use keyreeve_engine::Engine;
use keyreeve_engine::ops::system::Status;
use keyreeve_http::{PlainCall, Problem};

/// Nothing but the page itself and its one stylesheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What the page says about the program.
#[derive(Clone, Debug)]
pub struct About {
    /// The program's version.
    pub version: &'static str,
    /// The cryptographic module and its version.
    pub module: String,
    /// Whether that runs in FIPS mode.
    pub fips: bool,
    /// Whether this is development mode.
    pub development: bool,
}

#[derive(Clone)]
struct Console {
    engine: Engine,
    about: About,
}

/// The console's routes: its pages with their style and scripts, signing in and out.
pub fn router(engine: Engine, about: About) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/console", get(show))
        .route("/console/style.css", get(style))
        .route("/console/security", get(pages::security))
        .route("/console/approvals", get(pages::approvals))
        .route("/console/common.js", get(pages::common_script))
        .route("/console/security.js", get(pages::security_script))
        .route("/console/approvals.js", get(pages::approvals_script))
        .route("/console/api/sign-in", post(session::with_token))
        .route("/console/api/sign-out", post(session::sign_out))
        .route("/console/api/login/methods", get(oidc::ways))
        .route("/console/api/login/ldap", post(session::with_password))
        .route("/console/api/login/oidc", post(oidc::begin))
        .route(oidc::CALLBACKS, get(oidc::callback))
        .with_state(Console { engine, about })
}

async fn show(State(console): State<Console>, call: PlainCall) -> Result<Response, Problem> {
    let status = console.engine.call(call.arrival, Status).await?.reply;
    let readiness = console.engine.readiness().await;
    let html = page::render(&console.about, &status, &readiness);
    Ok(([(CONTENT_SECURITY_POLICY, POLICY)], Html(html)).into_response())
}

async fn style(State(console): State<Console>, call: PlainCall) -> Result<Response, Problem> {
    // Public as it is, it takes the way of everything else.
    console.engine.call(call.arrival, keyreeve_engine::ops::system::Health).await?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"))], page::STYLE).into_response())
}
