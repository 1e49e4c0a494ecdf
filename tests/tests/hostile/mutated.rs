//! Good requests, altered by chance: whatever comes of them, it is no defect.

use keyreeve_tests::{Chance, Method, base64, long};
use serde_json::{Value, json};

use crate::Target;

/// Values that have surprised programs before.
fn surprise(chance: &mut Chance) -> Value {
    let texts =
        ["", " ", "\u{0}", "\u{202e}", "../../x", "key_", "kr1.", "-1", "NaN", "1e400", "{{7*7}}", "' or 1=1", "%s%n"];
    match chance.below(9) {
        0 => Value::Null,
        1 => json!(chance.bits()),
        2 => json!(-(chance.below(1000) as i64)),
        3 => json!(f64::from(chance.bits() as u32) / 7.0),
        4 => json!([]),
        5 => json!({}),
        6 => json!("x".repeat(chance.below(5000))),
        7 => json!(chance.bits().is_multiple_of(2)),
        _ => json!(chance.pick(&texts)),
    }
}

/// Alters one place in a document.
fn mutate(value: &mut Value, chance: &mut Chance) {
    match value {
        Value::Object(map) if !map.is_empty() && chance.below(4) > 0 => {
            let place = chance.below(map.len());
            if let Some(inner) = map.values_mut().nth(place) {
                mutate(inner, chance);
            }
        }
        Value::Object(map) if chance.below(2) == 0 => {
            map.insert(format!("extra{}", chance.below(3)), surprise(chance));
        }
        Value::Array(items) if !items.is_empty() && chance.below(3) > 0 => {
            let place = chance.below(items.len());
            mutate(&mut items[place], chance);
        }
        Value::String(text) if chance.below(2) == 0 => {
            let cut =
                text.char_indices().nth(chance.below(text.chars().count() + 1)).map_or(text.len(), |(place, _)| place);
            text.insert(cut, char::from(b' ' + chance.below(95) as u8));
        }
        other => *other = surprise(chance),
    }
}

fn requests(target: &Target) -> Vec<(Method, String, Value)> {
    let (key, signer) = (&target.key, &target.signer);
    let sealed = target.api.post(&format!("/v1/keys/{key}/encrypt"), &json!({ "plaintext": base64("x") })).ok();
    let ciphertext = &sealed["ciphertext"];
    let post = |path: String, body: Value| (Method::POST, path, body);
    vec![
        post(format!("/v1/keys/{key}/encrypt"), json!({ "plaintext": "aGk=", "context": { "a": "b" } })),
        post(format!("/v1/keys/{key}/encrypt"), json!({ "items": [{ "plaintext": "aGk=" }, { "plaintext": "" }] })),
        post(format!("/v1/keys/{key}/decrypt"), json!({ "ciphertext": ciphertext })),
        post("/v1/decrypt".to_owned(), json!({ "items": [{ "ciphertext": ciphertext }] })),
        post("/v1/rewrap".to_owned(), json!({ "ciphertext": ciphertext, "context": {} })),
        post(format!("/v1/keys/{key}/re-encrypt"), json!({ "to": key, "ciphertext": ciphertext })),
        post(format!("/v1/keys/{key}/generate-data-key"), json!({ "bytes": 32, "plaintext": true, "count": 2 })),
        post(
            format!("/v1/keys/{signer}/sign"),
            json!({ "message": "aGk=", "scheme": "ecdsa-sha256", "prehashed": false }),
        ),
        post(format!("/v1/keys/{signer}/verify"), json!({ "message": "aGk=", "signature": "aGk=", "version": 1 })),
        post("/v1/random".to_owned(), json!({ "bytes": 32 })),
        post("/v1/policies/explain".to_owned(), json!({ "principal": "p", "action": "key.encrypt", "resource": key })),
        (
            Method::PATCH,
            "/v1/keys/nothing".to_owned(),
            json!({ "labels": { "a": "b" }, "aliases": ["x"], "owner": "o" }),
        ),
        post("/v1/keys/nothing/rotate".to_owned(), json!({ "reason": "r" })),
        post("/v1/keys/nothing/schedule-destruction".to_owned(), json!({ "days": 7, "reason": "r" })),
        (Method::PUT, "/v1/policies/nothing".to_owned(), json!({ "text": "permit (principal, action, resource" })),
        post("/v1/tokens".to_owned(), json!({ "principal": "nobody", "seconds": 60, "description": "d" })),
    ]
}

#[test]
fn altered_requests_are_answered_or_refused_by_code() {
    let target = Target::start();
    let seed = Chance::seed();
    let mut chance = Chance::new(seed);
    let requests = requests(&target);
    for _ in 0..if long() { 20_000 } else { 1500 } {
        let (method, path, body) = chance.pick(&requests).unwrap();
        let mut body = body.clone();
        for _ in 0..=chance.below(3) {
            mutate(&mut body, &mut chance);
        }
        let mut bytes = serde_json::to_vec(&body).unwrap();
        if chance.below(10) == 0 && !bytes.is_empty() {
            let place = chance.below(bytes.len());
            bytes[place] = chance.bits() as u8;
        }
        let sent = String::from_utf8_lossy(&bytes).into_owned();
        let answer = target.api.send(method.clone(), path, &[("content-type", "application/json")], bytes).unwrap();
        assert!(answer.status < 500, "KEYREEVE_TEST_SEED={seed}\n{method} {path}\n{sent}\n{answer}");
        if answer.status >= 400 {
            let _ = answer.problem();
        }
    }
    target.end_unharmed();
}
