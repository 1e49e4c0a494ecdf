//! Malformed, oversized and hostile requests get a typed 4xx with a stable code.

use super::support::Server;
use axum::body::Body;
use http::Request;
use keyreeve_rest::routes;
use proptest::prelude::*;
use serde_json::json;

#[tokio::test]
async fn malformed_bodies_are_refused_before_they_reach_the_pipeline() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "k").await;
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"context\":{deep}");
    let long_context = format!(r#"{{"plaintext":"","context":{{"a":"{}"}}}}"#, "x".repeat(9000));
    server.seen.take();
    let mut count = 0;
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{}",
        r#"{"plaintext":"aGVsbG8="} {}"#,
        r#"{"plaintext":"aGVsbG8=","plaintext":"aGVsbG8="}"#,
        r#"{"plaintext":"aGVsbG8=","extra":1}"#,
        r#"{"plaintext":"aGVsbG8"}"#,
        r#"{"plaintext":"aGVs bG8="}"#,
        r#"{"plaintext":"_-8="}"#,
        r#"{"plaintext":17}"#,
        r#"{"plaintext":null}"#,
        r#"{"plaintext":["a"]}"#,
        r#"{"plaintext":"\ud800"}"#,
        r#"{"plaintext":"","context":{"a":"1","a":"2"}}"#,
        r#"{"plaintext":"","context":{"a":1}}"#,
        r#"{"plaintext":"","context":{"":"x"}}"#,
        r#"{"items":[{"plaintext":"","context":{}}]}"#,
        r#"{"items":{"plaintext":""}}"#,
        &deep,
        &nested,
        &long_context,
    ] {
        let headers = [("content-type", "application/json")];
        let answer = server.with("POST", "/keys/k/encrypt", &headers, body.as_bytes().to_vec()).await;
        assert_eq!(answer.code(), "invalid-request", "{}", &body[..body.len().min(80)]);
        count += 1;
    }
    assert_eq!(server.seen.take(), vec![("request.refuse", None); count], "nothing but the record of the refusal");
}

#[tokio::test]
async fn other_things_that_are_wrong_have_codes_of_their_own() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "k").await;
    let json = [("content-type", "application/json")];
    let large = format!(r#"{{"plaintext":"{}"}}"#, "A".repeat(2 << 20));
    assert_eq!(server.with("POST", "/keys/k/encrypt", &json, large.into_bytes()).await.code(), "too-large");
    assert_eq!(server.octets("/keys/k/encrypt", &[], &vec![0; 3 << 20]).await.code(), "too-large");
    let xml = [("content-type", "application/xml")];
    assert_eq!(server.with("POST", "/keys/k/encrypt", &xml, b"<a/>".to_vec()).await.code(), "unsupported-media-type");
    assert_eq!(server.with("POST", "/keys/k/encrypt", &[], b"{}".to_vec()).await.code(), "unsupported-media-type");
    assert_eq!(server.get("/nowhere").await.code(), "unknown-route");
    assert_eq!(server.call("PUT", "/keys", json!({})).await.code(), "method-not-allowed");
    assert_eq!(server.get("/keys?limit=0").await.code(), "invalid-request");
    assert_eq!(server.get("/keys?surprise=1").await.code(), "invalid-request");
    assert_eq!(server.get("/keys/k?surprise=1").await.code(), "invalid-request");
    assert_eq!(server.get("/keys?after=tok_1").await.code(), "invalid-request");
    assert_eq!(server.get("/keys/%ff").await.code(), "invalid-request");
    assert_eq!(server.get("/keys/a%00b").await.code(), "invalid-request");
    assert_eq!(server.get("/keys/%2E%2E%2Fetc").await.code(), "invalid-request");
    assert_eq!(server.get("/audit/records/key_1/proof").await.code(), "invalid-request");
    assert_eq!(server.get("/audit?from=yesterday").await.code(), "invalid-request");
    assert_eq!(server.post("/decrypt", json!({"ciphertext": "kr1.AAAA"})).await.code(), "invalid-ciphertext");
    assert_eq!(server.post("/decrypt", json!({"ciphertext": "AAAA"})).await.code(), "invalid-request");
    let signature = [("keyreeve-signature", "AAEC")];
    assert_eq!(server.octets("/keys/k/encrypt", &signature, b"x").await.code(), "invalid-request");
    let context = [("keyreeve-context", "e30=")];
    assert_eq!(server.octets("/keys/k/sign", &context, b"x").await.code(), "invalid-request");
    assert_eq!(server.octets("/keys/k/encrypt?version=1", &[], b"x").await.code(), "invalid-request");
    let both = json!({"activation": "now", "activates": "2030-01-01T00:00:00Z"});
    assert_eq!(server.post("/keys", both).await.code(), "invalid-request");
    let twice = json!({"aliases": ["a", "a"]});
    assert_eq!(server.post("/keys", twice).await.code(), "invalid-request");
    assert_eq!(server.post("/keys", json!({"algorithm": "des"})).await.code(), "invalid-request");
    let unsuited = json!({"algorithm": "ed25519", "purpose": "encrypt"});
    assert_eq!(server.post("/keys", unsuited).await.code(), "wrong-key-use");
}

#[tokio::test]
async fn refusals_repeat_no_secret_of_the_request() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "k").await;
    for body in [
        r#"{"plaintext":"CANARY!"}"#,
        r#"{"version":"CANARY"}"#,
        r#"{"plaintext":{"CANARY":1}}"#,
        r#"{"context":"CANARY"}"#,
        r#"{"plaintext":"Q0FOQVJZ","context":{"tenant":7}}"#,
        r#"{"plaintext":"Q0FOQVJZ","context":{"tenant":["CANARY"]}}"#,
    ] {
        let headers = [("content-type", "application/json")];
        let answer = server.with("POST", "/keys/k/encrypt", &headers, body.into()).await;
        assert_eq!(answer.code(), "invalid-request");
        let text = String::from_utf8(answer.bytes).unwrap();
        assert!(!text.contains("CANARY") && !text.contains("Q0FOQVJZ"), "{text}");
    }
}

#[tokio::test]
async fn credentials_that_prove_nothing_are_refused_and_recorded() {
    let server = Server::new().await;
    let request = Request::builder().uri("/v1/keys").header("authorization", "Bearer krt_nonsense");
    let answer = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "unauthenticated");
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"keyreeve\"");
    let record = answer.header("keyreeve-audit-record").to_owned();
    let found = server.get("/audit?outcome=refused&code=unauthenticated").await.ok();
    assert_eq!(found["items"][0]["id"], record);
}

proptest! {
    #[test]
    fn no_bytes_make_a_body_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for route in routes() {
            let _ = route.accepts(&bytes);
        }
        let _ = keyreeve_rest::parse_context_header(&bytes);
    }

    #[test]
    fn no_json_makes_a_body_parser_panic(cut in 0usize..400, noise in "[{}\\[\\]\",:0-9a-z_ ]{0,20}") {
        for route in routes() {
            let Some(example) = route.example() else { continue };
            let cut = cut.min(example.len());
            let text = format!("{}{noise}{}", &example[..cut], &example[cut..]);
            let _ = route.accepts(text.as_bytes());
        }
    }

    #[test]
    fn no_query_makes_the_parser_panic(query in "[a-z=&%0-9+;]{0,60}") {
        if let Ok(uri) = format!("/x?{query}").parse() {
            keyreeve_rest::check_query(&uri);
        }
    }
}
