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
use std::sync::{Arc, Mutex, PoisonError};

/// What the log was told last of the server's readiness; one for all listeners.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<Readiness>>);

impl Told {
    /// Whether the log should be told: whoever asks every second must not fill it, and anybody may ask.
    fn is_news(&self, readiness: &Readiness) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that waits for people is well, and nobody needs to hear of one that was never ill.
        let (well, was_well) = (is_well(readiness), last.as_ref().is_none_or(is_well));
        let news = if well { !was_well } else { last.as_ref() != Some(readiness) };
        *last = Some(readiness.clone());
        news
    }
}

/// Nothing is wrong, though people may have to open the server.
fn is_well(readiness: &Readiness) -> bool {
    Readiness { integrity: None, ..readiness.clone() } == Readiness::well(readiness.seal.clone())
}

/// What is not well and stands in nobody's way.
fn warnings(readiness: &Readiness) -> Vec<&'static str> {
    readiness.integrity.iter().map(|_| "quarantine").collect()
}

/// The routes.
pub(crate) fn routes(engine: Engine, told: Arc<Told>) -> Router {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).with_state((engine, told))
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
    /// While the server is open: roots of trust that are sealed. What is under them alone is refused, the rest is
    /// served, so they do not make the server unready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sealed_roots: Vec<String>,
    /// What an operator should look at although requests are served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
}

async fn alive(State((engine, _)): State<(Engine, Arc<Told>)>, call: PlainCall) -> Result<Json<Alive>, Problem> {
    engine.call(call.arrival, Health).await?;
    Ok(Json(Alive { alive: true }))
}

async fn ready(State((engine, told)): State<(Engine, Arc<Told>)>, call: PlainCall) -> Result<Response, Problem> {
    engine.call(call.arrival, Health).await?;
    let readiness = engine.readiness().await;
    let reasons = reasons(&readiness);
    let ready = reasons.is_empty();
    if told.is_news(&readiness) {
        if is_well(&readiness) {
            tracing::info!("every part works again");
        } else {
            tracing::warn!(?readiness, "not ready");
        }
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sealed = engine.root_states().into_iter().filter(|root| root.is_sealed() && readiness.seal == SealStatus::Open);
    let sealed_roots = sealed.map(|root| root.name.to_string()).collect();
    Ok((status, Json(Ready { ready, reasons, sealed_roots, warnings: warnings(&readiness) })).into_response())
}

/// Why requests would be refused.
pub(crate) fn reasons(readiness: &Readiness) -> Vec<&'static str> {
    // Taken apart by name: a part that is added must be told of here.
    let Readiness { seal, root, store, vault, journal, random, anchor, rolled_back, integrity: _ } = readiness;
    let seal = match seal {
        SealStatus::Open => None,
        SealStatus::NotInitialised { .. } => Some("not-initialised"),
        SealStatus::Sealed { .. } => Some("sealed"),
    };
    let parts = [
        (root, "root-unavailable"),
        (store, "store-unavailable"),
        (vault, "vault-unavailable"),
        (journal, "audit-unavailable"),
        (random, "entropy-failed"),
        (anchor, "anchor-unavailable"),
        (rolled_back, "rolled-back"),
    ];
    let ill = parts.into_iter().filter(|(trouble, _)| trouble.is_some()).map(|(_, reason)| reason);
    seal.into_iter().chain(ill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_of_a_change_and_not_of_each_question() {
        let told = Told::default();
        let well = Readiness::well(SealStatus::Open);
        let ill = |what: &str| Readiness { store: Some(what.to_owned()), ..well.clone() };
        assert!(!told.is_news(&well));
        assert!(
            !told.is_news(&Readiness::well(SealStatus::Sealed { given: 0, threshold: 3, shares: 5 })),
            "waits for people"
        );
        assert!(told.is_news(&ill("disk")));
        assert!(!told.is_news(&ill("disk")));
        assert!(told.is_news(&ill("network")));
        assert!(told.is_news(&well), "over");
        assert!(!told.is_news(&well));
        assert!(told.is_news(&ill("disk")));
    }

    #[test]
    fn every_part_that_is_not_well_is_a_reason() {
        assert!(reasons(&Readiness::well(SealStatus::Open)).is_empty());
        let ill = || Some(String::from("disk"));
        let seal = SealStatus::Sealed { given: 0, threshold: 3, shares: 5 };
        let all = Readiness {
            seal,
            root: ill(),
            store: ill(),
            vault: ill(),
            journal: ill(),
            random: ill(),
            anchor: ill(),
            rolled_back: ill(),
            integrity: ill(),
        };
        assert_eq!(warnings(&all), ["quarantine"]);
        let told = [
            "sealed",
            "root-unavailable",
            "store-unavailable",
            "vault-unavailable",
            "audit-unavailable",
            "entropy-failed",
            "anchor-unavailable",
            "rolled-back",
        ];
        assert_eq!(reasons(&all), told);
    }
}
