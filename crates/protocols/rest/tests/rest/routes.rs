//! Every route reaches the pipeline, and every operation of the catalogue has a route.

use super::support::{RootOf, Server};
use axum::body::Body;
use http::{Request, StatusCode};
use keyreeve_engine::catalogue;
use keyreeve_rest::{Route, Side, routes};
use std::collections::BTreeSet;

/// A target for a route.
fn target(route: &Route) -> String {
    let id = match route.path.split('/').nth(1) {
        Some("approvals") => "apr_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("grants") => "grt_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("principals") => "crd_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("tokens") => "tok_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("mfa") => "mfa_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("holds") => "hld_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("emergencies") => "emg_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("imports") => "imp_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("incidents") => "inc_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("escrow") => "rcv_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("jobs") => "job_0190a7b2c3d4e5f60718293a4b5c6d7e",
        Some("reviews") => "rvw_0190a7b2c3d4e5f60718293a4b5c6d7e",
        _ => "rec_0190a7b2c3d4e5f60718293a4b5c6d7e",
    };
    let path = route.path.replace("{key}", "orders").replace("{keyring}", "default").replace("{id}", id);
    let path = path.replace("{method}", "corp").replace("{root}", "main");
    // The one route that is asked for nothing without saying what.
    let query = if route.path == "/integrity/quarantine" { "?place=principals%2Fsomebody" } else { "" };
    format!("/v1{}{query}", path.replace("{name}", "somebody").replace("{*path}", "checkpoint"))
}

fn anonymous(route: &Route) -> Request<Body> {
    let request = Request::builder().method(route.verb.name()).uri(target(route));
    match route.example() {
        Some(example) => request.header("content-type", "application/json").body(Body::from(example)).unwrap(),
        None => request.body(Body::empty()).unwrap(),
    }
}

#[tokio::test]
async fn every_route_leads_to_its_operation_and_no_other() {
    let server = Server::new().await;
    for route in routes() {
        server.seen.take();
        let answer = server.send(anonymous(route)).await;
        let seen = server.seen.take();
        assert_eq!(seen.len(), 1, "{route:?} {}: {seen:?} {}", answer.status, String::from_utf8_lossy(&answer.bytes));
        assert_eq!(seen[0].0, route.operations().next().unwrap().name, "{route:?}");
    }
}

#[tokio::test]
async fn the_body_chooses_between_the_two_ways_of_generating_data_keys() {
    let server = Server::new().await;
    for (body, operation) in [
        (r#"{"plaintext":true}"#, "key.generate-data-key"),
        (r#"{"plaintext":false}"#, "key.generate-data-key-without-plaintext"),
    ] {
        let request = Request::builder().method("POST").uri("/v1/keys/orders/generate-data-key");
        let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
        server.seen.take();
        assert_eq!(server.send(request).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(server.seen.take()[0].0, operation);
    }
}

#[tokio::test]
async fn strangers_get_nothing_but_what_anybody_may_have() {
    let server = Server::new().await;
    let mut allowed = BTreeSet::new();
    for route in routes() {
        let answer = server.send(anonymous(route)).await;
        if answer.status.is_success() {
            allowed.insert(route.path);
        } else if answer.status != StatusCode::UNAUTHORIZED {
            let known = ["/system/init", "/system/unseal"];
            // Which login methods there are is told to everybody.
            let login = route.path.contains("{method}") && answer.status == StatusCode::NOT_FOUND;
            assert!(login || known.contains(&route.path), "{route:?} {}", answer.status);
        }
    }
    assert_eq!(allowed, BTreeSet::from(["/login/methods", "/system/status"]));
}

#[test]
fn every_operation_has_a_route() {
    // Health and metrics have paths of their own; the checks after a destruction and an emergency, the steps of jobs
    // and what a restored server says of itself are the server's alone; what becomes no operation is refused on every
    // route.
    let servers_own = [
        "key.verify-destruction",
        "key.end-material",
        "emergency.look-after",
        "job.step",
        "backup.restored",
        "backup.record",
        "system.started",
        "system.rolled-back",
        "integrity.quarantine",
    ];
    let without = ["system.health", "system.metrics", "request.refuse"].into_iter().chain(servers_own);
    let without: BTreeSet<_> = without.collect();
    let served: BTreeSet<_> = routes().flat_map(Route::operations).map(|row| row.name).collect();
    for row in catalogue::ALL {
        assert_ne!(served.contains(row.name), without.contains(row.name), "{}", row.name);
    }
}

#[tokio::test]
async fn each_listener_serves_its_side_only() {
    for (side, other) in [(Side::Data, Side::Admin), (Side::Admin, Side::Data)] {
        let server = Server::bare(RootOf::File, side).await;
        for route in routes() {
            server.seen.take();
            let answer = server.send(anonymous(route)).await;
            let reached = server.seen.take().iter().any(|(operation, _)| *operation != "request.refuse");
            assert_eq!(reached, route.side != other, "{route:?} on {side:?}");
            if !reached {
                assert!([404, 405].contains(&answer.status.as_u16()), "{route:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let server = Server::bare(RootOf::File, Side::Data).await;
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), serde_json::to_value(keyreeve_rest::document()).unwrap());
}
