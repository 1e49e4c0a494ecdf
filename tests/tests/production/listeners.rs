//! Listeners of their own for data, administration and metrics; certificates of clients; versions of TLS.

use keyreeve_tests::{Layout, Method, Production, Wire};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn each_listener_offers_its_own_routes_only() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout { separate: true, ..Layout::default() });
    let up = production.start_new();
    let people = production.people.clone();
    let key = up.api("admin", &people.keeper).make_key("xaes-256-gcm", None);
    let encrypt = format!("/v1/keys/{key}/encrypt");
    let body = json!({ "plaintext": "aGk=" });
    assert_eq!(up.api("data", &people.user).post(&encrypt, &body).status, 200);
    up.api("admin", &people.user).post(&encrypt, &body).refused(404, "unknown-route");
    up.api("metrics", &people.user).post(&encrypt, &body).refused(404, "unknown-route");
    let administration = [
        ("/v1/keys", &people.keeper),
        ("/v1/tokens", &people.operator),
        ("/v1/policies", &people.operator),
        ("/v1/audit", &people.auditor),
        ("/v1/audit/checkpoint", &people.auditor),
    ];
    for (path, who) in administration {
        assert_eq!(up.api("admin", who).get(path).status, 200, "{path}");
        up.api("data", who).get(path).refused(404, "unknown-route");
        up.api("metrics", who).get(path).refused(404, "unknown-route");
    }
    for path in ["/v1/system/init", "/v1/system/unseal", "/v1/system/seal"] {
        up.api("data", &people.operator).post(path, &json!({})).refused(404, "unknown-route");
    }
    for listener in ["data", "admin", "metrics"] {
        assert_eq!(up.endpoint(listener).api().get("/healthz").status, 200);
        assert_eq!(up.endpoint(listener).api().get("/readyz").status, 200);
    }
    up.endpoint("data").api().get("/metrics").refused(404, "unknown-route");
    up.endpoint("admin").api().get("/metrics").refused(404, "unknown-route");
    let metrics = up.endpoint("metrics").api().get("/metrics");
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("keyreeve_operations_total{operation=\"key.encrypt\",code=\"ok\"} 1"), "{text}");
    assert!(text.contains("keyreeve_open 1"));
    let console = up.endpoint("admin").api().get("/");
    assert!(console.status == 200 && console.header("content-type").unwrap().starts_with("text/html"), "{console}");
    up.endpoint("data").api().get("/").refused(404, "unknown-route");
    assert!(up.server.terminate().success());
}

#[test]
fn client_certificates_prove_who_is_asking() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout { client_certificates: true, ..Layout::default() });
    let up = production.start_new();
    let operator = up.api("all", &production.people.operator);
    let put = json!({ "kind": "service", "roles": ["key-admin"], "certificates": [{ "dns-name": "billing.test" }] });
    let _ = operator.put("/v1/principals/billing", &put).ok();
    let (certificate, key) = production.clients.client("billing.test");
    let pem = format!("{certificate}{key}").into_bytes();
    let billing = up.endpoint("all").with_identity(pem.clone()).api();
    let who = billing.get("/v1/tokens/self").ok();
    assert_eq!((&who["principal"], &who["method"]), (&json!("billing"), &json!("mtls")));
    let made = billing.make_key("xaes-256-gcm", None);
    let found = up.api("all", &production.people.auditor).get(&format!("/v1/audit?resource={made}")).ok();
    assert_eq!((&found["items"][0]["principal"], &found["items"][0]["method"]), (&json!("billing"), &json!("mtls")));
    // Two kinds of evidence at once are ambiguous.
    let bearer = format!("Bearer {}", production.people.operator);
    let both = billing.send(Method::GET, "/v1/keys", &[("authorization", &bearer)], Vec::new()).unwrap();
    both.refused(400, "invalid-request");
    // A name nobody has, an issuer nobody trusts.
    let (certificate, key) = production.clients.client("unknown.test");
    let unknown = up.endpoint("all").with_identity(format!("{certificate}{key}").into_bytes()).api();
    unknown.get("/v1/keys").refused(401, "unauthenticated");
    let (certificate, key) = production.pki.client("billing.test");
    let foreign = up.endpoint("all").with_identity(format!("{certificate}{key}").into_bytes()).api();
    assert!(foreign.try_call(Method::GET, "/v1/keys", &Value::Null).is_err());
    // A disabled principal is nobody.
    let mut disabled = put.clone();
    disabled["disabled"] = json!(true);
    let _ = operator.put("/v1/principals/billing", &disabled).ok();
    let refused = up.endpoint("all").with_identity(pem).api().get("/v1/keys");
    assert!(matches!(refused.status, 401 | 403), "{refused}");
    assert_eq!(operator.get("/v1/tokens/self").status, 200);
}

#[test]
fn the_key_exchange_is_hybrid_and_certificates_are_read_anew() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let mut up = production.start_new();
    let endpoint = up.endpoint("all");
    let before = Wire::connect(&endpoint, "http/1.1").unwrap();
    assert_eq!(before.key_exchange(), "X25519MLKEM768");
    let (certificate, key) = production.pki.server();
    std::fs::write(home.path().join("server.pem"), certificate).unwrap();
    std::fs::write(home.path().join("server.key"), key).unwrap();
    up.server.signal(Signal::HUP);
    up.server.wait_line(|line| line.contains("read anew").then_some(()));
    let after = Wire::connect(&endpoint, "http/1.1").unwrap();
    assert_ne!(before.certificate(), after.certificate());
    // A broken file is refused, and what was there stays.
    std::fs::write(home.path().join("server.pem"), "broken").unwrap();
    up.server.signal(Signal::HUP);
    up.server.wait_line(|line| line.contains("stay as they were").then_some(()));
    assert_eq!(Wire::connect(&endpoint, "http/1.1").unwrap().certificate(), after.certificate());
}
