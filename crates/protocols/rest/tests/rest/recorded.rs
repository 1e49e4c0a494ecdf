//! What never became an operation is on record all the same: once, with its code, and without a word of the caller's.

use super::support::{RootOf, Server};
use axum::body::Body;
use http::Request;
use http_body_util::{BodyExt, Full};
use keyreeve_rest::Side;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Server {
    /// All records of refused requests, the newest first.
    async fn refusals(&self) -> Vec<Value> {
        let found = self.get("/audit?operation=request.refuse&limit=1000").await.ok();
        found["items"].as_array().unwrap().clone()
    }

    async fn newest_refusal(&self) -> Value {
        self.refusals().await.remove(0)
    }

    /// Sends a request of nobody, or of somebody with this header.
    async fn anonymous(&self, path: &str, authorization: Option<&str>) -> super::support::Answer {
        let mut request = Request::get(format!("/v1{path}"));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

/// Method, path, headers and body of a request, then the code and the route on record.
type Case = (&'static str, &'static str, Headers, Vec<u8>, &'static str, &'static str);
type Headers = &'static [(&'static str, &'static str)];

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const TEXT: &[(&str, &str)] = &[("content-type", "text/CANARY")];

#[tokio::test]
async fn every_refusal_before_an_operation_leaves_one_record() {
    let server = Server::new().await;
    let cases: Vec<Case> = vec![
        ("POST", "/keys", JSON, b"{\"CANARY\"".to_vec(), "invalid-request", "/v1/keys"),
        ("POST", "/keys", JSON, b"{\"CANARY\":1}".to_vec(), "invalid-request", "/v1/keys"),
        ("POST", "/keys/CANARY/encrypt", TEXT, b"{}".to_vec(), "unsupported-media-type", "/v1/keys/{key}/encrypt"),
        ("POST", "/keys", JSON, vec![b' '; 2 << 20], "too-large", "/v1/keys"),
        ("GET", "/keys/%ff", &[], Vec::new(), "invalid-request", "/v1/keys/{key}"),
        ("GET", "/keys?CANARY=1", &[], Vec::new(), "invalid-request", "/v1/keys"),
        ("GET", "/CANARY/CANARY?CANARY", &[], Vec::new(), "unknown-route", "none"),
        ("DELETE", "/keys", &[], Vec::new(), "method-not-allowed", "/v1/keys"),
        ("CANARY", "/keys", &[], Vec::new(), "method-not-allowed", "/v1/keys"),
        ("POST", "/keys", &[("idempotency-key", "CANARY CANARY")], Vec::new(), "invalid-request", "/v1/keys"),
        ("POST", "/keys", &[("origin", "https://CANARY")], Vec::new(), "denied", "/v1/keys"),
    ];
    for (number, (verb, path, headers, body, code, route)) in cases.into_iter().enumerate() {
        let answer = server.with(verb, path, headers, body).await;
        assert_eq!(answer.code(), code, "{verb} {path}");
        let records = server.refusals().await;
        assert_eq!(records.len(), number + 1, "{verb} {path}");
        let record = &records[0];
        assert_eq!(record["id"], answer.header("keyreeve-audit-record"));
        assert_eq!(record["request"], answer.header("x-request-id"));
        assert_eq!((&record["outcome"], &record["code"]), (&json!("refused"), &json!(code)));
        assert_eq!((&record["principal"], &record["method"]), (&json!("developer"), &json!("token")));
        assert_eq!(record["source"], "10.1.2.3");
        let method = if verb == "CANARY" { "other" } else { verb };
        assert_eq!(record["details"], json!({"method": method, "route": route}), "{verb} {path}");
        assert!(!record.to_string().contains("CANARY"), "{record}");
    }
}

#[tokio::test]
async fn a_credential_that_proves_nothing_does_not_hide_what_was_wrong() {
    let server = Server::new().await;
    for (authorization, refused) in [(None, None), (Some("Bearer krt_nonsense"), Some("malformed-token"))] {
        let answer = server.anonymous("/nowhere", authorization).await;
        assert_eq!(answer.code(), "unknown-route");
        let record = server.newest_refusal().await;
        assert_eq!(
            (&record["id"], &record["code"]),
            (&json!(answer.header("keyreeve-audit-record")), &json!("unknown-route"))
        );
        assert_eq!((&record["principal"], &record["method"]), (&json!("anonymous"), &json!("anonymous")));
        assert_eq!(record["details"]["credential_refused"].as_str(), refused);
    }
    let answer = server.anonymous("/keys", Some("Basic dXNlcjpwYXNz")).await;
    assert_eq!(answer.code(), "unauthenticated");
    let record = server.newest_refusal().await;
    assert_eq!((&record["code"], &record["details"]["route"]), (&json!("unauthenticated"), &json!("/v1/keys")));
}

/// What the pipeline refuses it records itself; that is the only record.
#[tokio::test]
async fn refusals_of_the_pipeline_are_recorded_once() {
    let server = Server::new().await;
    assert_eq!(server.get("/keys/none").await.code(), "not-found");
    assert_eq!(server.anonymous("/keys", None).await.code(), "unauthenticated");
    assert_eq!(server.refusals().await, [] as [Value; 0]);
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let server = Server::new().await;
    // From here on the developer is known.
    server.get("/keys").await.ok();
    let mut refused = 0;
    let mut recorded = 0;
    for _ in 0..400 {
        let answer = server.anonymous("/nowhere", None).await;
        if answer.code() == "rate-limited" {
            continue;
        }
        refused += 1;
        recorded += u64::from(!answer.header("keyreeve-audit-record").is_empty());
    }
    assert!((30..100).contains(&recorded) && refused > recorded && refused < 400, "{recorded} of {refused}");
    assert_eq!(server.refusals().await.len() as u64, recorded);
    server.frame.summarise().await;
    let records = server.refusals().await;
    assert_eq!(records.len() as u64, recorded + 1, "one summary");
    let summary = &records[0];
    assert_eq!(summary["details"], json!({"summary": "true"}));
    assert_eq!((&summary["code"], &summary["source"]), (&json!("unknown-route"), &json!("10.1.2.3")));
    assert_eq!(summary["count"].as_u64().unwrap(), refused - recorded, "none is lost");
    // Whoever is known has records of its own.
    assert!(!server.get("/nowhere").await.header("keyreeve-audit-record").is_empty());
    server.frame.summarise().await;
    assert_eq!(server.refusals().await.len() as u64, recorded + 2);
}

/// A credential that was good once is a stranger's as soon as it proves nothing, also where nothing else would tell.
#[tokio::test]
async fn a_revoked_credential_does_not_fill_the_log() {
    let server = Server::new().await;
    let issued = server.post("/tokens", json!({"principal": "developer", "description": "stolen"})).await.ok();
    let (id, stolen) = (issued["id"].as_str().unwrap(), format!("Bearer {}", issued["token"].as_str().unwrap()));
    server.anonymous("/keys", Some(&stolen)).await.ok();
    assert!(!server.anonymous("/nowhere", Some(&stolen)).await.header("keyreeve-audit-record").is_empty());
    server.call("DELETE", &format!("/tokens/{id}"), Value::Null).await.ok();
    let mut answers = Vec::new();
    for _ in 0..400 {
        answers.push(server.anonymous("/nowhere", Some(&stolen)).await);
    }
    let recorded = answers.iter().filter(|answer| !answer.header("keyreeve-audit-record").is_empty()).count();
    assert!((30..100).contains(&recorded), "{recorded}");
    assert_eq!(answers.last().unwrap().code(), "rate-limited");
    let record = server.newest_refusal().await;
    assert_eq!(
        (&record["principal"], &record["details"]["credential_refused"]),
        (&json!("anonymous"), &json!("revoked"))
    );
}

#[tokio::test]
async fn a_known_credential_does_not_fill_the_log_either() {
    let server = Server::new().await;
    server.get("/keys").await.ok();
    let mut recorded = 0;
    while !server.get("/nowhere").await.header("keyreeve-audit-record").is_empty() {
        recorded += 1;
        assert!(recorded < 5000, "there is no end to it");
    }
    assert!(recorded >= 500, "{recorded}");
    server.get("/keys").await.ok();
    server.frame.summarise().await;
    let summary = server.newest_refusal().await;
    assert_eq!((&summary["details"], &summary["count"]), (&json!({"summary": "true"}), &json!(1)));
}

#[tokio::test]
async fn a_body_there_is_no_room_for_is_on_record() {
    let server = Server::new().await;
    // More follows, so that it counts as one that arrives in pieces.
    let body = Full::from(vec![0; 1_800_000]).with_trailers(async { None });
    let request = Request::post("/v1/keys/CANARY/encrypt")
        .header("authorization", format!("Bearer {}", server.token))
        .header("content-type", "application/octet-stream");
    let answer = server.send(request.body(Body::new(body)).unwrap()).await;
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("overloaded", "1"));
    let record = server.newest_refusal().await;
    assert_eq!(
        (&record["id"], &record["code"]),
        (&json!(answer.header("keyreeve-audit-record")), &json!("overloaded"))
    );
    assert_eq!(
        (&record["principal"], &record["details"]["route"]),
        (&json!("developer"), &json!("/v1/keys/{key}/encrypt"))
    );
}

/// The log is written before there is a root of trust, and while it is closed.
#[tokio::test]
async fn a_server_that_is_not_open_records_too() {
    let server = Server::bare(RootOf::Shares, Side::Both).await;
    let mut records = BTreeSet::new();
    for path in ["/nowhere", "/keys?x=1", "/system/status?x=1"] {
        let answer = server.get(path).await;
        assert!(matches!(answer.code().as_str(), "unknown-route" | "invalid-request"), "{path}");
        records.insert(answer.header("keyreeve-audit-record").to_owned());
    }
    assert!(records.len() == 3 && records.iter().all(|record| record.starts_with("rec_")), "{records:?}");
}
