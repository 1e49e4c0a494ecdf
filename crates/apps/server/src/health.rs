//! `/healthz` and `/readyz`: alive, and able to work. Both go through the pipeline as the operation `system.health`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use keyreeve_engine::{Engine, Readiness, ops::system::Health};
use keyreeve_http::{PlainCall, Problem};
use keyreeve_root::SealStatus;
use serde::Serialize;

/// The routes.
pub(crate) fn routes(engine: Engine) -> Router {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).with_state(engine)
}

#[derive(Serialize)]
struct Alive {
    alive: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    /// What stands in the way, as stable codes: details are for the log, not for strangers.
    reasons: Vec<&'static str>,
}

async fn alive(State(engine): State<Engine>, call: PlainCall) -> Result<Json<Alive>, Problem> {
    engine.call(call.arrival, Health).await?;
    Ok(Json(Alive { alive: true }))
}

async fn ready(State(engine): State<Engine>, call: PlainCall) -> Result<Response, Problem> {
    engine.call(call.arrival, Health).await?;
    let reasons = reasons(&engine.readiness().await);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Ready { ready, reasons })).into_response())
}

/// Why requests would be refused.
pub(crate) fn reasons(readiness: &Readiness) -> Vec<&'static str> {
    let root = match readiness.root {
        SealStatus::Open => None,
        SealStatus::NotInitialised => Some("not-initialised"),
        SealStatus::Sealed { .. } => Some("sealed"),
    };
    let store = readiness.store.as_ref().map(|_| "store-unavailable");
    let journal = readiness.journal.as_ref().map(|_| "audit-unavailable");
    let random = readiness.random.as_ref().map(|_| "entropy-failed");
    [root, store, journal, random].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_is_not_well_is_a_reason() {
        let well = Readiness { root: SealStatus::Open, store: None, journal: None, random: None };
        assert!(reasons(&well).is_empty());
        let ill = Some(String::from("disk"));
        let sealed = SealStatus::Sealed { given: 0, threshold: 3, shares: 5 };
        let all = Readiness { root: sealed, store: ill.clone(), journal: ill.clone(), random: ill };
        assert_eq!(reasons(&all), ["sealed", "store-unavailable", "audit-unavailable", "entropy-failed"]);
    }
}
