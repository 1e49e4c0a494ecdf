//! Managing through the interface: keyrings, keys and their lives, access, the audit log, the server itself.

use super::support::{RootOf, Server};
use http::StatusCode;
use keyreeve_rest::Side;
use serde_json::{Value, json};

#[tokio::test]
async fn keyrings_are_made_shown_and_listed_page_by_page() {
    let server = Server::new().await;
    server.clock.turn_days(1);
    let body = json!({"name": "team/payments", "owner": "Payments", "classification": "restricted",
        "environment": "staging", "allow_deterministic": true});
    let made = server.post("/keyrings", body).await.ok();
    assert_eq!(made["name"], "team/payments");
    assert_eq!(made["kek_version"], 1);
    assert_eq!(server.get("/keyrings/team%2Fpayments").await.ok(), made);
    assert_eq!(server.get(&format!("/keyrings/{}", made["id"].as_str().unwrap())).await.ok(), made);
    let first = server.get("/keyrings?limit=1").await.ok();
    assert_eq!(first["items"][0]["name"], "default");
    let second = server.get(&format!("/keyrings?limit=1&after={}", first["next"].as_str().unwrap())).await.ok();
    assert_eq!(second["items"], json!([made]));
    assert_eq!(server.get("/keyrings/none").await.code(), "not-found");
    let again = server.post("/keyrings", json!({"name": "team/payments"})).await;
    assert_eq!((again.status, again.code().as_str()), (StatusCode::CONFLICT, "already-exists"));
}

#[tokio::test]
async fn keys_are_made_with_everything_that_is_said_of_them() {
    let server = Server::new().await;
    let said = json!({
        "aliases": ["shop/orders"], "labels": {"tier": "gold"}, "owner": "Shop", "custodians": ["Ann", "Bob"],
        "consumers": ["billing"], "holders": ["escrow"], "classification": "confidential", "description": "orders",
    });
    let mut body = said.clone();
    body["reason"] = json!("ticket 1");
    let key = server.post("/keys", body).await.ok();
    for (field, value) in said.as_object().unwrap() {
        assert_eq!(&key[field], value, "{field}");
    }
    let expected = json!({"keyring": "default", "algorithm": "xaes-256-gcm", "purpose": "encrypt", "scope": "both",
        "state": "active", "primary_version": 1, "version_count": 1, "environment": "development"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&key[field], value, "{field}");
    }
    assert_eq!(key["versions"][0]["provenance"]["reason"], "ticket 1");
    assert_eq!(key["history"][0]["to"], "active");
    assert_eq!(server.get("/keys/shop%2Forders").await.ok(), key);
}

#[tokio::test]
async fn metadata_is_altered_field_by_field() {
    let server = Server::new().await;
    server.key("aes-256-gcm", "a").await;
    let body = json!({"aliases": ["b"], "labels": {"x": "y"}, "owner": "New", "custodians": [], "consumers": ["c"],
        "holders": ["h"], "classification": "public", "description": "d"});
    let key = server.call("PATCH", "/keys/a", body.clone()).await.ok();
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&key[field], value, "{field}");
    }
    let unchanged = server.call("PATCH", "/keys/b", json!({"owner": "Newer"})).await.ok();
    assert_eq!(unchanged["aliases"], json!(["b"]));
    assert_eq!(server.get("/keys/a").await.code(), "not-found");
}

#[tokio::test]
async fn listings_are_narrowed_and_paged() {
    let server = Server::new().await;
    let orders = json!({"aliases": ["orders"], "labels": {"tier": "gold", "zone": "eu"}, "owner": "Shop & Co"});
    server.post("/keys", orders).await.ok();
    server.key("ed25519", "release").await;
    let hidden =
        json!({"aliases": ["late"], "activation": "on-request", "consumers": ["x"], "classification": "public"});
    server.post("/keys", hidden).await.ok();
    let names = |page: &Value| -> Vec<String> {
        let alias = |item: &Value| item["aliases"][0].as_str().unwrap().to_owned();
        // Keys of the same millisecond stand in any order.
        let mut names: Vec<String> = page["items"].as_array().unwrap().iter().map(alias).collect();
        names.sort();
        names
    };
    for (query, expected) in [
        ("", vec!["late", "orders", "release"]),
        ("?keyring=default&algorithm=ed25519", vec!["release"]),
        ("?purpose=sign", vec!["release"]),
        ("?state=pre-activation", vec!["late"]),
        ("?label=tier%3Dgold&label=zone%3Deu", vec!["orders"]),
        ("?label=tier%3Dsilver", vec![]),
        ("?owner=Shop+%26+Co", vec!["orders"]),
        ("?consumer=x&classification=public", vec!["late"]),
        ("?text=ELEAS", vec!["release"]),
    ] {
        assert_eq!(names(&server.get(&format!("/keys{query}")).await.ok()), expected, "{query}");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/keys?limit=2{after}")).await.ok();
        seen.extend(names(&page));
        assert!(page["items"][0].get("versions").is_none(), "listings stay small");
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.sort();
    assert_eq!(seen, ["late", "orders", "release"]);
}

#[tokio::test]
async fn public_halves_come_in_three_forms() {
    let server = Server::new().await;
    server.key("ec-p256", "p").await;
    server.post("/keys/p/rotate", json!({})).await.ok();
    let told = server.get("/keys/p/public-key?version=1").await.ok();
    assert_eq!((&told["version"], &told["algorithm"]), (&json!(1), &json!("ec-p256")));
    let newest = server.get("/keys/p/public-key").await.ok();
    assert_eq!(newest["version"], 2);
    assert_ne!(newest["der"], told["der"]);
    let der = server.get("/keys/p/public-key?format=der&version=1").await;
    assert_eq!(der.header("keyreeve-key-version"), "1");
    assert_eq!(base64_simd::STANDARD.encode_to_string(&der.bytes), told["der"]);
    let pem = String::from_utf8(server.get("/keys/p/public-key?format=pem&version=1").await.bytes).unwrap();
    assert_eq!(pem, told["pem"]);
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("\n-----END PUBLIC KEY-----\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));
    server.key("aes-256-gcm", "a").await;
    assert_eq!(server.get("/keys/a/public-key").await.code(), "wrong-key-use");
    assert_eq!(server.get("/keys/p/public-key?version=3").await.code(), "not-found");
    assert_eq!(server.get("/keys/p/public-key?format=xml").await.code(), "invalid-request");
}

#[tokio::test]
async fn algorithms_are_listed_with_strength_and_dates() {
    let server = Server::new().await;
    let page = server.get("/algorithms").await.ok();
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 22);
    let rsa = items.iter().find(|item| item["algorithm"] == "rsa-2048").unwrap();
    assert_eq!((&rsa["strength_bits"], &rsa["quantum_safe"]), (&json!(112), &json!(false)));
    assert_eq!(rsa["no_new_keys_from"], "2031-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_key_goes_through_its_states() {
    let server = Server::new().await;
    let body = json!({"aliases": ["k"], "activation": "on-request"});
    assert_eq!(server.post("/keys", body).await.ok()["state"], "pre-activation");
    let encrypt = json!({"plaintext": "aGVsbG8="});
    assert_eq!(server.post("/keys/k/encrypt", encrypt.clone()).await.code(), "wrong-state");
    for (action, body, state) in [
        ("activate", json!({"reason": "go"}), "active"),
        ("suspend", json!({"risk_accepted": true, "reason": "look"}), "suspended"),
        ("activate", json!({}), "active"),
        ("rotate", json!({"reason": "yearly"}), "active"),
        ("deactivate", json!({"reason": "end"}), "deactivated"),
        ("compromise", json!({"version": 1, "reason": "leak"}), "deactivated"),
        ("compromise", json!({"reason": "leak"}), "compromised"),
    ] {
        let key = server.post(&format!("/keys/k/{action}"), body).await.ok();
        assert_eq!(key["state"], state, "{action}");
    }
    let key = server.get("/keys/k").await.ok();
    assert_eq!(key["versions"][0]["state"], "compromised");
    assert!(key["history"].as_array().unwrap().iter().any(|step| step["reason"] == "yearly"));
    assert_eq!(server.post("/keys/k/activate", json!({})).await.code(), "wrong-state");
}

#[tokio::test]
async fn a_body_may_be_left_out_where_nothing_need_be_said() {
    let server = Server::new().await;
    server.key("aes-256-gcm", "k").await;
    assert_eq!(server.with("POST", "/keys/k/rotate", &[], Vec::new()).await.ok()["primary_version"], 2);
}

#[tokio::test]
async fn destruction_waits_can_be_cancelled_and_leaves_a_record() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "k").await;
    let sealed = server.post("/keys/k/encrypt", json!({"plaintext": "aGVsbG8="})).await.ok();
    assert_eq!(server.post("/keys/k/schedule-destruction", json!({"days": 6})).await.code(), "invalid-request");
    let waiting = server.post("/keys/k/schedule-destruction", json!({"reason": "over"})).await.ok();
    assert_eq!(waiting["destruction"]["reason"], "over");
    assert_eq!(server.post("/decrypt", json!({"ciphertext": sealed["ciphertext"]})).await.code(), "wrong-state");
    let back = server.post("/keys/k/cancel-destruction", json!({"reason": "no"})).await.ok();
    assert!(back.get("destruction").is_none());
    server.post("/keys/k/schedule-destruction", json!({"days": 7})).await.ok();
    assert_eq!(server.with("POST", "/keys/k/destroy", &[], Vec::new()).await.code(), "wrong-state");
    assert_eq!(server.get("/keys/k/destruction").await.code(), "not-found");
    server.clock.turn_days(8);
    assert_eq!(server.with("POST", "/keys/k/destroy", &[], Vec::new()).await.ok()["state"], "destroyed");
    let record = server.get("/keys/k/destruction").await.ok();
    assert_eq!(record["versions"].as_array().unwrap().len(), 1);
    assert_eq!(record["verification_hash"].as_str().unwrap().len(), 64);
    assert_eq!(server.post("/decrypt", json!({"ciphertext": sealed["ciphertext"]})).await.code(), "wrong-state");
}

#[tokio::test]
async fn principals_and_tokens_come_and_go() {
    let server = Server::new().await;
    let body = json!({"kind": "service", "roles": ["application"], "labels": {"team": "shop"},
        "networks": ["10.0.0.0/8"], "certificates": [{"dns-name": "billing.example"}]});
    let made = server.call("PUT", "/principals/billing", body.clone()).await.ok();
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!(server.get("/principals/billing").await.ok(), made);
    let first = server.get("/principals?limit=1").await.ok();
    assert_eq!((&first["items"][0]["name"], &first["next"]), (&json!("billing"), &json!("billing")));
    let issued = server.post("/tokens", json!({"principal": "billing", "description": "nightly"})).await.ok();
    let (id, token) = (issued["id"].as_str().unwrap(), issued["token"].as_str().unwrap());
    let own = [("authorization", format!("Bearer {token}"))];
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let request = |headers: &[(&str, &str)]| {
        let mut request = http::Request::builder().uri("/v1/tokens/self");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(axum::body::Body::empty()).unwrap()
    };
    let who = server.send(request(&own)).await.ok();
    assert_eq!((&who["principal"], &who["method"], &who["token"]), (&json!("billing"), &json!("token"), &json!(id)));
    let listed = server.get("/tokens").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(token), "a listing shows no secret");
    assert_eq!(server.call("DELETE", &format!("/tokens/{id}"), Value::Null).await.ok()["valid"], false);
    assert_eq!(server.send(request(&own)).await.code(), "unauthenticated");
    let gone = server.call("DELETE", "/principals/billing", Value::Null).await.ok();
    assert_eq!(gone["warnings"], json!([]));
    assert_eq!(server.get("/principals/billing").await.code(), "not-found");
    assert_eq!(server.post("/tokens", json!({"principal": "billing"})).await.code(), "not-found");
}

#[tokio::test]
async fn policies_are_written_explained_and_removed() {
    let server = Server::new().await;
    let text = "permit (principal, action == Keyreeve::Action::\"key.encrypt\", resource);";
    let made = server.call("PUT", "/policies/mine", json!({"text": text})).await.ok();
    assert_eq!(
        (&made["text"], &made["built_in"], &made["updated_by"]),
        (&json!(text), &json!(false), &json!("developer"))
    );
    let bare = server.with("PUT", "/policies/mine", &[("content-type", "text/plain")], text.into()).await.ok();
    assert_eq!(bare["text"], text);
    assert_eq!(server.get("/policies/mine").await.ok()["text"], text);
    let all = server.get("/policies").await.ok();
    assert!(all["items"].as_array().unwrap().len() > 6);
    server.key("aes-256-gcm", "k").await;
    server.call("PUT", "/principals/bob", json!({"kind": "person"})).await.ok();
    let ask = |action: &str| {
        json!({"principal": "bob", "action": action, "resource": "k", "source": "10.0.0.1",
        "time": "2026-11-22T09:00:00Z", "context": {"tenant": "acme"}})
    };
    let yes = server.post("/policies/explain", ask("key.encrypt")).await.ok();
    assert_eq!(yes["allowed"], true, "{yes}");
    assert_eq!((&yes["statements"][0]["policy"], &yes["statements"][0]["reach"]), (&json!("mine"), &json!("applies")));
    let no = server.post("/policies/explain", ask("key.decrypt")).await.ok();
    assert_eq!(no["allowed"], false);
    assert!(!no["missing"].as_array().unwrap().is_empty());
    assert_eq!(no["statements"][0]["action"], "key.decrypt");
    let both = json!({"principal": "bob", "action": "key.re-encrypt-from", "resource": "k", "to": "k"});
    let both = server.post("/policies/explain", both).await.ok();
    let actions = both["statements"].as_array().unwrap().iter().map(|trace| trace["action"].as_str().unwrap());
    assert!(
        ["key.re-encrypt-from", "key.re-encrypt-to"].into_iter().all(|half| actions.clone().any(|one| one == half))
    );
    for method in [("mtls", true), ("system", false)] {
        let asked = json!({"principal": "bob", "action": "key.encrypt", "resource": "k", "method": method.0});
        assert_eq!(server.post("/policies/explain", asked).await.status == StatusCode::OK, method.1);
    }
    assert_eq!(server.call("PUT", "/policies/bad", json!({"text": "permit"})).await.code(), "invalid-policy");
    assert_eq!(server.call("DELETE", "/policies/mine", Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get("/policies/mine").await.code(), "not-found");
}

#[tokio::test]
async fn the_list_of_actions_is_the_catalogue_with_its_routes() {
    let server = Server::new().await;
    let page = server.get("/actions").await.ok();
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), keyreeve_engine::catalogue::ALL.len());
    let decrypt = items.iter().find(|item| item["name"] == "key.decrypt").unwrap();
    assert_eq!(decrypt["routes"], json!(["POST /v1/keys/{key}/decrypt", "POST /v1/decrypt"]));
    assert_eq!((&decrypt["resource"], &decrypt["audit"]), (&json!("Key"), &json!("use")));
}

#[tokio::test]
async fn the_audit_log_is_searched_proved_and_read() {
    let server = Server::new().await;
    let key = server.key("xaes-256-gcm", "k").await;
    let body = json!({"plaintext": "aGVsbG8=", "context": {"tenant": "acme"}});
    let headers = [("content-type", "application/json"), ("x-request-id", "req-1")];
    let answer = server.with("POST", "/keys/k/encrypt", &headers, body.to_string().into()).await;
    answer.ok();
    assert_eq!(answer.header("x-request-id"), "req-1");
    let record = answer.header("keyreeve-audit-record");
    let id = key["id"].as_str().unwrap();
    let query = format!("/audit?operation=key.*&resource={id}&outcome=ok&request=req-1&principal=developer&limit=5");
    let found = server.get(&query).await.ok();
    let row = &found["items"][0];
    assert_eq!((&row["id"], &row["operation"], &row["class"]), (&json!(record), &json!("key.encrypt"), &json!("use")));
    assert_eq!(row["resource"], json!({"kind": "key", "id": id, "version": 1, "keyring": "default"}));
    assert_eq!((&row["context"]["tenant"], &row["source"]), (&json!("acme"), &json!("10.1.2.3")));
    let later = server.get("/audit?from=2100-01-01T00:00:00Z").await.ok();
    assert_eq!(later["items"], json!([]));
    let proof = server.get(&format!("/audit/records/{record}/proof")).await.ok();
    assert_eq!(proof["index"], row["index"]);
    assert!(proof["record"].as_str().unwrap().contains("key.encrypt"));
    assert!(proof["proof"].as_str().unwrap().starts_with("c2sp.org/tlog-proof@v1\n"));
    let checkpoint = server.get("/audit/checkpoint").await;
    assert_eq!(checkpoint.header("content-type"), "text/plain; charset=utf-8");
    assert!(checkpoint.bytes.starts_with(b"keyreeve.local/audit\n"));
    let size: u64 = String::from_utf8(checkpoint.bytes).unwrap().lines().nth(1).unwrap().parse().unwrap();
    let tile = server.get(&format!("/audit/log/tile/0/000.p/{size}")).await;
    tile.ok();
    assert_eq!(tile.bytes.len() as u64, size * 32);
    assert_eq!(server.get("/audit/log/tile/0/00").await.code(), "not-found");
    assert_eq!(server.get("/audit/log/..%2Fsecret").await.code(), "not-found");
}

#[tokio::test]
async fn older_records_are_paged_by_index() {
    let server = Server::new().await;
    for _ in 0..5 {
        server.get("/tokens/self").await.ok();
    }
    let (mut indices, mut before) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/audit?operation=token.self&limit=2{before}")).await.ok();
        indices.extend(page["items"].as_array().unwrap().iter().map(|item| item["index"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(indices.len(), 5);
    assert!(indices.windows(2).all(|pair| pair[0] > pair[1]), "{indices:?}");
}

#[tokio::test]
async fn a_server_is_initialised_opened_by_shares_and_sealed() {
    let mut server = Server::bare(RootOf::Shares, Side::Both).await;
    let status = server.get("/system/status").await;
    assert_eq!(status.header("keyreeve-audit-record"), "", "asking for the status is only counted");
    assert_eq!(status.json()["root"]["state"], "not-initialised");
    assert_eq!(server.post("/system/init", json!({"shares": 2, "threshold": 3})).await.code(), "invalid-request");
    let made = server.post("/system/init", json!({"shares": 3, "threshold": 2})).await.ok();
    assert_eq!(made["shares"].as_array().unwrap().len(), 3);
    assert_eq!(server.post("/system/init", json!({"shares": 3, "threshold": 2})).await.code(), "wrong-state");
    server.token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("/tokens/self").await.ok()["principal"], made["principal"]);
    let sealed = server.call("POST", "/system/seal", Value::Null).await;
    assert_eq!(sealed.status, StatusCode::NO_CONTENT);
    let refused = server.get("/keys").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "sealed"));
    assert_eq!(server.post("/system/unseal", json!({"share": "not a share"})).await.code(), "invalid-share");
    let one = server.post("/system/unseal", json!({"share": made["shares"][0]})).await.ok();
    assert_eq!(one, json!({"root": "main", "state": "sealed", "given": 1, "needed": 2, "made": 3}));
    assert_eq!(server.post("/system/unseal", json!({"share": made["shares"][0]})).await.code(), "invalid-share");
    let two = server.post("/system/unseal", json!({"share": made["shares"][2]})).await.ok();
    assert_eq!(two, json!({"root": "main", "state": "open"}));
    let status = server.get("/system/status").await.json();
    assert_eq!((&status["open"], &status["log_vkeys"]), (&json!(true), &made["log_vkeys"]));
    server.get("/keys").await.ok();
}

#[tokio::test]
async fn a_retry_under_the_same_idempotency_key_is_done_once() {
    let server = Server::new().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "one")];
    let make = |alias: &str| json!({"aliases": [alias]}).to_string().into_bytes();
    let first = server.with("POST", "/keys", &headers, make("a")).await;
    let again = server.with("POST", "/keys", &headers, make("a")).await;
    assert_eq!(first.ok(), again.ok());
    assert_ne!(first.header("keyreeve-audit-record"), again.header("keyreeve-audit-record"), "each is recorded");
    assert_eq!(server.with("POST", "/keys", &headers, make("b")).await.code(), "idempotency-mismatch");
    let token = json!({"principal": "developer"}).to_string().into_bytes();
    let headers = [("content-type", "application/json"), ("idempotency-key", "two")];
    server.with("POST", "/tokens", &headers, token.clone()).await.ok();
    let again = server.with("POST", "/tokens", &headers, token).await;
    assert_eq!((again.status, again.code().as_str()), (StatusCode::CONFLICT, "already-done"));
}

#[tokio::test]
async fn lists_are_altered_in_part_or_replaced_and_not_both() {
    let server = Server::new().await;
    server.key("aes-256-gcm", "k").await;
    let alter = async |path: &str, body: Value| server.call("PATCH", path, body).await;
    let key = alter("/keys/k", json!({"add_consumers": ["a", "b"], "set_labels": {"tier": "gold"}})).await.ok();
    assert_eq!((&key["consumers"], &key["labels"]), (&json!(["a", "b"]), &json!({"tier": "gold"})));
    let key = alter("/keys/k", json!({"remove_consumers": ["a"], "remove_labels": ["tier"]})).await.ok();
    assert_eq!((&key["consumers"], &key["labels"]), (&json!(["b"]), &json!({})));
    assert_eq!(alter("/keys/k", json!({"consumers": ["c"]})).await.ok()["consumers"], json!(["c"]));
    assert_eq!(alter("/keys/k", json!({"consumers": ["c"], "add_consumers": ["d"]})).await.code(), "invalid-request");
    assert_eq!(alter("/keys/k", json!({"remove_consumers": ["z"]})).await.code(), "wrong-state");
    let bob = json!({"kind": "service", "roles": ["application"], "certificates": [{"dns-name": "b.example"}]});
    let made = server.call("PUT", "/principals/bob", bob).await.ok();
    assert_eq!(made["warnings"].as_array().unwrap().len(), 1, "{made}");
    let body = json!({"add_networks": ["10.0.0.0/8"], "add_certificates": [{"uri": "spiffe://b"}], "disabled": true});
    let altered = alter("/principals/bob", body).await.ok();
    assert_eq!((&altered["networks"], &altered["disabled"]), (&json!(["10.0.0.0/8"]), &json!(true)));
    assert_eq!(altered["certificates"], json!([{"dns-name": "b.example"}, {"uri": "spiffe://b"}]));
    assert_eq!((&altered["roles"], altered.get("warnings")), (&json!(["application"]), None));
    let both = json!({"certificates": [], "remove_certificates": [{"uri": "spiffe://b"}]});
    assert_eq!(alter("/principals/bob", both).await.code(), "invalid-request");
    assert_eq!(alter("/principals/nobody", json!({"disabled": true})).await.code(), "not-found");
}
