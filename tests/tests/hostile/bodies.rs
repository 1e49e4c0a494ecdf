//! Bodies, paths, queries and headers that a client library would send.

use keyreeve_tests::{Answer, Method, base64};
use serde_json::{Value, json};

use crate::Target;

const JSON: (&str, &str) = ("content-type", "application/json");
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

impl Target {
    fn raw(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        self.api.send(method, path, headers, body.into()).unwrap()
    }

    /// A body for the encryption route.
    fn encrypt(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.raw(Method::POST, &format!("/v1/keys/{}/encrypt", self.key), &[JSON], body)
    }
}

#[test]
fn malformed_json_is_refused() {
    let target = Target::start();
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let deep_context = format!(r#"{{"plaintext":"aGk=","context":{}}}"#, nested("{\"a\":", "1"));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"{}".to_vec(),
        b"{}{}".to_vec(),
        br#"{"plaintext":"aGk="}x"#.to_vec(),
        br#"{"plaintext":"aGk=","plaintext":"aGk="}"#.to_vec(),
        br#"{"plaintext":"aGk=","context":{"a":"1","a":"2"}}"#.to_vec(),
        br#"{"plaintext":"aGk=","context":{"a":1}}"#.to_vec(),
        br#"{"plaintext":"aGk=","context":{"":"x"}}"#.to_vec(),
        br#"{"plaintext":"aGk=","unknown":1}"#.to_vec(),
        br#"{"plaintext":"aGk=","items":[{"plaintext":"aGk="}]}"#.to_vec(),
        br#"{"items":[]}"#.to_vec(),
        br#"{"items":[{"plaintext":"aGk=","x":1}]}"#.to_vec(),
        br#"{"items":{"plaintext":"aGk="}}"#.to_vec(),
        br#"{"plaintext":null}"#.to_vec(),
        br#"{"plaintext":7}"#.to_vec(),
        br#"{"plaintext":"no base64!"}"#.to_vec(),
        br#"{"plaintext":"aGk"}"#.to_vec(),
        br#"{"plaintext":"aGl="}"#.to_vec(),
        br#"{"plaintext":"_-8="}"#.to_vec(),
        br#"{"plaintext":"aGk=\n"}"#.to_vec(),
        br#"{"plaintext":"\ud800"}"#.to_vec(),
        br#"{"plaintext":1e999}"#.to_vec(),
        b"{\"plaintext\":\"aGk\xff=\"}".to_vec(),
        b"\xef\xbb\xbf{\"plaintext\":\"aGk=\"}".to_vec(),
        b"\x00\x01\x02".to_vec(),
        nested("[", "]").into_bytes(),
        nested("{\"items\":", "1").into_bytes(),
        deep_context.into_bytes(),
        br#"{"plaintext":"aGk=","context":{"a":"x\u0000y"}}"#.to_vec(),
    ];
    for body in bodies {
        let answer = target.encrypt(body.clone());
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-request"), "{shown}: {answer}");
    }
    target.end_unharmed();
}

#[test]
fn too_large_is_refused_before_it_is_read() {
    let target = Target::start();
    let huge = vec![b'a'; 5 << 20];
    target.encrypt(huge).refused(413, "too-large");
    let path = format!("/v1/keys/{}/encrypt", target.key);
    target.raw(Method::POST, &path, &[OCTETS], vec![0u8; (32 << 20) + 1]).refused(413, "too-large");
    let items: Vec<Value> = (0..1001).map(|_| json!({ "plaintext": "aGk=" })).collect();
    assert!(matches!(target.api.post(&path, &json!({ "items": items })).status, 400 | 413));
    let pairs = |count: usize| (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    target.api.post(&path, &json!({ "plaintext": "aGk=", "context": pairs(33) })).refused(400, "invalid-request");
    let long = json!({ "plaintext": "aGk=", "context": { "k": "v".repeat(9000) } });
    target.api.post(&path, &long).refused(400, "invalid-request");
    assert_eq!(target.api.post(&path, &json!({ "plaintext": "aGk=", "context": pairs(32) })).status, 200);
    let policy = json!({ "text": format!("// {}", "x".repeat(70_000)) });
    assert!(matches!(target.api.put("/v1/policies/big", &policy).status, 400 | 413));
    target.api.post("/v1/random", &json!({ "bytes": 65_537 })).refused(400, "invalid-request");
    target.api.post("/v1/random", &json!({ "bytes": 0 })).refused(400, "invalid-request");
    target.api.post("/v1/random", &json!({ "bytes": -1 })).refused(400, "invalid-request");
    target.end_unharmed();
}

#[test]
fn ciphertexts_that_are_none_are_refused() {
    let target = Target::start();
    let path = format!("/v1/keys/{}", target.key);
    let made = target.api.post(&format!("{path}/encrypt"), &json!({ "plaintext": base64("hello") })).ok();
    let good = made["ciphertext"].as_str().unwrap();
    let decrypt = |ciphertext: &str| target.api.post("/v1/decrypt", &json!({ "ciphertext": ciphertext }));
    assert_eq!(decrypt(good).ok()["plaintext"], base64("hello"));
    for bad in ["", "kr1.", "kr1", "KR1.aaaa", "kr2.aaaa", "kr1.a", "kr1.S1Ix=", "kr1.S1I_!", "vault:v1:xyz"] {
        let answer = decrypt(bad);
        assert_eq!(answer.status, 400, "{bad}: {answer}");
        assert!(matches!(answer.problem().as_str(), "invalid-request" | "invalid-ciphertext"), "{bad}: {answer}");
    }
    let bytes = keyreeve_tests::unbase64url(good.strip_prefix("kr1.").unwrap());
    // Every byte of header and body matters, and every length.
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 0x41;
        refused_as_data(&target, &altered, place);
        refused_as_data(&target, &bytes[..place], place);
    }
    let context = json!({ "ciphertext": good, "context": { "other": "context" } });
    target.api.post("/v1/decrypt", &context).refused(400, "decryption-failed");
    target.end_unharmed();
}

fn refused_as_data(target: &Target, bytes: &[u8], place: usize) {
    let answer = target.raw(Method::POST, "/v1/decrypt", &[OCTETS], bytes);
    let code = answer.problem();
    // Another key id leads to no key, another version or kind to no such thing.
    let expected = ["invalid-request", "invalid-ciphertext", "decryption-failed", "not-found", "wrong-key-use"];
    assert!((400..500).contains(&answer.status) && expected.contains(&code.as_str()), "byte {place}: {answer}");
}

#[test]
fn values_out_of_range_are_refused() {
    let target = Target::start();
    let long = "n".repeat(2000);
    let cases: Vec<(&str, Value)> = vec![
        ("/v1/keys", json!({ "algorithm": "aes-128-gcm" })),
        ("/v1/keys", json!({ "algorithm": "AES-256-GCM" })),
        ("/v1/keys", json!({ "algorithm": "xaes-256-gcm", "purpose": "sign" })),
        ("/v1/keys", json!({ "algorithm": "ed25519", "purpose": "encrypt" })),
        ("/v1/keys", json!({ "aliases": [""] })),
        ("/v1/keys", json!({ "aliases": ["key_0123"] })),
        ("/v1/keys", json!({ "aliases": ["a b"] })),
        ("/v1/keys", json!({ "aliases": ["../x"] })),
        ("/v1/keys", json!({ "aliases": [long] })),
        ("/v1/keys", json!({ "aliases": vec!["x"; 2] })),
        ("/v1/keys", json!({ "labels": { "": "x" } })),
        ("/v1/keys", json!({ "owner": "o".repeat(5000) })),
        ("/v1/keys", json!({ "description": "line\u{0000}" })),
        ("/v1/keys", json!({ "activates": "yesterday" })),
        ("/v1/keys", json!({ "activates": "2026-13-01T00:00:00Z" })),
        ("/v1/keys", json!({ "activates": "2027-01-01T00:00:00Z", "activation": "now" })),
        ("/v1/keys", json!({ "algorithm": "aes-256-gcm-siv" })),
        ("/v1/keyrings", json!({ "name": "a/../b c" })),
        ("/v1/tokens", json!({ "principal": "x", "seconds": 1 })),
        ("/v1/tokens", json!({ "principal": "x", "seconds": 99_999_999_999_u64 })),
        ("/v1/system/unseal", json!({ "share": "krs1-nothing" })),
        ("/v1/policies/explain", json!({ "principal": "x", "action": "no.such-action" })),
        ("/v1/random", json!({ "bytes": 1.5 })),
    ];
    for (path, body) in cases {
        let answer = target.api.post(path, &body);
        assert!((400..500).contains(&answer.status), "{path} {body}: {answer}");
        let code = answer.problem();
        assert!(!["internal", "denied"].contains(&code.as_str()), "{path} {body}: {answer}");
    }
    for (name, text) in [("broken", "permit ("), ("unknown", "permit (principal, action == X::\"y\", resource);")] {
        target.api.put(&format!("/v1/policies/{name}"), &json!({ "text": text })).refused(400, "invalid-policy");
    }
    let scheduled = target.api.post(&format!("/v1/keys/{}/schedule-destruction", target.key), &json!({ "days": 1 }));
    scheduled.refused(400, "invalid-request");
    target.end_unharmed();
}

#[test]
fn routes_methods_types_and_queries_are_checked() {
    let target = Target::start();
    let key = &target.key;
    for (method, path, status, code) in [
        (Method::GET, "/v2/keys".to_owned(), 404, "unknown-route"),
        (Method::GET, "/v1".to_owned(), 404, "unknown-route"),
        (Method::GET, "/v1/keys/".to_owned(), 404, "unknown-route"),
        (Method::GET, "//v1/keys".to_owned(), 404, "unknown-route"),
        (Method::GET, "/V1/KEYS".to_owned(), 404, "unknown-route"),
        (Method::DELETE, format!("/v1/keys/{key}"), 405, "method-not-allowed"),
        (Method::GET, format!("/v1/keys/{key}/encrypt"), 405, "method-not-allowed"),
        (Method::TRACE, "/v1/keys".to_owned(), 405, "method-not-allowed"),
        (Method::OPTIONS, "/v1/keys".to_owned(), 405, "method-not-allowed"),
        (Method::GET, "/v1/keys?limit=0".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys?limit=1001".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys?limit=1&limit=2".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys?unknown=1".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys?after=nonsense".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys?state=%FF".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys/key_00000000000000000000000000000000".to_owned(), 404, "not-found"),
        (Method::GET, "/v1/keys/no-such-key".to_owned(), 404, "not-found"),
        (Method::GET, "/v1/keys/%00".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys/%FF%FE".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/keys/a%0d%0aSet-Cookie:%20x".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/audit/log/..%2f..%2froot.dev-key".to_owned(), 404, "not-found"),
        (Method::GET, "/v1/audit/log/tile%2f..%2fcheckpoint".to_owned(), 404, "not-found"),
        (Method::GET, "/v1/audit/log/tile/entries/000.p/256".to_owned(), 404, "not-found"),
        (Method::GET, "/v1/audit/records/rec_nonsense/proof".to_owned(), 400, "invalid-request"),
        (Method::GET, "/v1/audit/records/rec_00000000000000000000000000000000/proof".to_owned(), 404, "not-found"),
        (Method::GET, "/v1/audit?from=yesterday".to_owned(), 400, "invalid-request"),
    ] {
        let answer = target.raw(method.clone(), &path, &[], Vec::new());
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{method} {path}: {answer}");
    }
    let path = format!("/v1/keys/{key}/encrypt");
    let body = br#"{"plaintext":"aGk="}"#.to_vec();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json5", "json"]
    {
        target.raw(Method::POST, &path, &[("content-type", kind)], body.clone()).refused(415, "unsupported-media-type");
    }
    target.raw(Method::POST, &path, &[], body).refused(415, "unsupported-media-type");
    target.end_unharmed();
}

#[test]
fn headers_are_checked() {
    let target = Target::start();
    let path = format!("/v1/keys/{}/encrypt", target.key);
    let long = "k".repeat(129);
    let refused: &[(&str, &str)] = &[
        ("idempotency-key", ""),
        ("idempotency-key", "with space"),
        ("idempotency-key", &long),
        ("keyreeve-context", "not base64"),
        ("keyreeve-context", "e30="),
    ];
    for header in &refused[..4] {
        let answer = target.raw(Method::POST, &path, &[OCTETS, *header], b"hi".to_vec());
        assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-request"), "{header:?}: {answer}");
    }
    let both = target.raw(Method::POST, &path, &[JSON, refused[4]], br#"{"plaintext":"aGk="}"#.to_vec());
    both.refused(400, "invalid-request");
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("x-filler-{n}"), "x".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if let Ok(answer) = target.api.send(Method::GET, "/v1/algorithms", &many, Vec::new()) {
        assert!((200..500).contains(&answer.status), "{answer}");
    }
    // An id that is not fit for logs is replaced, one that is fit is kept.
    for (given, kept) in [("good-id.1:a", true), ("bad id", false), ("x\u{7f}y", false), (&"i".repeat(65), false)] {
        let Ok(answer) = target.api.send(Method::GET, "/v1/algorithms", &[("x-request-id", given)], Vec::new()) else {
            continue;
        };
        assert_eq!(answer.header("x-request-id") == Some(given), kept, "{answer}");
    }
    target.end_unharmed();
}

#[test]
fn nobody_gets_in_with_anything_but_a_token() {
    let target = Target::start();
    let stranger = target.dev.endpoint.anonymous().api();
    let good = target.dev.endpoint.token.clone().unwrap();
    let flipped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    let values = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Basic YTpi".to_owned(),
        format!("Token {good}"),
        format!("Bearer {flipped}"),
        format!("Bearer {}", &good[..good.len() - 2]),
        format!("Bearer {good}0"),
        format!("Bearer {good} {good}"),
        "Bearer krt_".to_owned(),
        format!("Bearer {}", "a".repeat(8000)),
        "Bearer ' or 1=1 --".to_owned(),
    ];
    for value in &values {
        let answer = stranger.send(Method::GET, "/v1/keys", &[("authorization", value)], Vec::new()).unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"), "{value}: {answer}");
        assert!(answer.header("www-authenticate").is_some());
        assert!(!String::from_utf8_lossy(&answer.body).contains(&good[..20]), "a refusal repeats the token");
    }
    stranger.get("/v1/keys").refused(401, "unauthenticated");
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    stranger.send(Method::GET, "/v1/keys", &twice, Vec::new()).unwrap().refused(400, "invalid-request");
    drop(stranger);
    target.end_unharmed();
}
