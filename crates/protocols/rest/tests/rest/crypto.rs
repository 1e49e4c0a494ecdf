//! Using keys through the interface, in the single, the batch and the binary form.

use super::support::Server;
use base64_simd::STANDARD;
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, PublicKey, Random};
use serde_json::{Value, json};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode_to_string(bytes)
}

fn unb64(value: &Value) -> Vec<u8> {
    STANDARD.decode_to_vec(value.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_encrypted_decrypts_under_its_context_only() {
    let server = Server::new().await;
    for algorithm in ["xaes-256-gcm", "aes-256-gcm", "chacha20-poly1305", "rsa-3072"] {
        let alias = format!("k/{algorithm}");
        server.key_for(algorithm, &alias, json!("encrypt")).await;
        let path = format!("/keys/k%2F{algorithm}");
        let body = json!({"plaintext": b64("hello"), "context": {"tenant": "acme"}});
        let sealed = server.post(&format!("{path}/encrypt"), body).await.ok();
        assert_eq!(sealed["version"], 1);
        let ciphertext = sealed["ciphertext"].as_str().unwrap();
        assert!(ciphertext.starts_with("kr1.S1Ix"), "{ciphertext}");
        let right = json!({"ciphertext": ciphertext, "context": {"tenant": "acme"}});
        let expected = json!({"plaintext": b64("hello"), "version": 1});
        assert_eq!(server.post(&format!("{path}/decrypt"), right.clone()).await.ok(), expected);
        assert_eq!(server.post("/decrypt", right).await.ok(), expected);
        for wrong in [json!({}), json!({"tenant": "other"}), json!({"tenant": "acme", "x": "y"})] {
            let body = json!({"ciphertext": ciphertext, "context": wrong});
            assert_eq!(server.post(&format!("{path}/decrypt"), body).await.code(), "decryption-failed");
        }
    }
}

#[tokio::test]
async fn a_ciphertext_of_another_key_is_refused() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "a").await;
    server.key("xaes-256-gcm", "b").await;
    let sealed = server.post("/keys/a/encrypt", json!({"plaintext": b64("x")})).await.ok();
    let refused = server.post("/keys/b/decrypt", json!({"ciphertext": sealed["ciphertext"]})).await;
    assert_eq!(refused.code(), "invalid-ciphertext");
    let data_key = server.post("/keys/a/generate-data-key", json!({})).await.ok();
    let refused = server.post("/keys/a/decrypt", json!({"ciphertext": data_key["ciphertext"]})).await;
    assert_eq!(refused.code(), "invalid-ciphertext");
}

#[tokio::test]
async fn batches_answer_item_by_item() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "a").await;
    server.key("xaes-256-gcm", "b").await;
    let items: Vec<_> = ["one", "", "three"].iter().map(|text| json!({"plaintext": b64(text)})).collect();
    let sealed = server.post("/keys/a/encrypt", json!({"items": items, "context": {"t": "1"}})).await.ok();
    assert_eq!(sealed["version"], 1);
    let mut sealed = sealed["items"].as_array().unwrap().clone();
    let foreign = server.post("/keys/b/encrypt", json!({"plaintext": b64("x")})).await.ok();
    sealed.insert(1, json!({"ciphertext": foreign["ciphertext"]}));
    let opened = server.post("/keys/a/decrypt", json!({"items": sealed, "context": {"t": "1"}})).await.ok();
    let opened = opened["items"].as_array().unwrap();
    let texts: Vec<_> = [0, 2, 3].iter().map(|place| unb64(&opened[*place]["plaintext"])).collect();
    assert_eq!(texts, [&b"one"[..], b"", b"three"]);
    assert_eq!(opened[1]["error"]["code"], "invalid-ciphertext");
    assert!(opened[1].get("plaintext").is_none());
    assert_eq!(
        server.post("/decrypt", json!({"items": sealed, "context": {"t": "1"}})).await.ok()["items"],
        json!(opened)
    );
    let both = json!({"plaintext": "", "items": []});
    assert_eq!(server.post("/keys/a/encrypt", both).await.code(), "invalid-request");
    assert_eq!(server.post("/keys/a/encrypt", json!({})).await.code(), "invalid-request");
    assert_eq!(server.post("/keys/a/encrypt", json!({"items": []})).await.code(), "invalid-request");
    let many = vec![json!({"plaintext": ""}); 1001];
    assert_eq!(server.post("/keys/a/encrypt", json!({"items": many})).await.code(), "too-large");
}

#[tokio::test]
async fn binary_bodies_are_encrypted_and_decrypted_as_they_are() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "k").await;
    let context = b64(r#"{"tenant":"acme"}"#);
    let headers = [("keyreeve-context", context.as_str())];
    let plaintext: Vec<u8> = (0..700_000u32).map(|n| n as u8).collect();
    let sealed = server.octets("/keys/k/encrypt", &headers, &plaintext).await;
    sealed.ok();
    assert_eq!(sealed.header("content-type"), "application/octet-stream");
    assert_eq!(sealed.header("keyreeve-key-version"), "1");
    assert!(sealed.bytes.starts_with(b"KR1"));
    for path in ["/keys/k/decrypt", "/decrypt"] {
        let opened = server.octets(path, &headers, &sealed.bytes).await;
        opened.ok();
        assert!(opened.bytes == plaintext);
        assert_eq!(opened.header("keyreeve-key-version"), "1");
    }
    assert_eq!(server.octets("/decrypt", &[], &sealed.bytes).await.code(), "decryption-failed");
    assert_eq!(server.octets("/decrypt", &headers, b"KR1").await.code(), "invalid-ciphertext");
    assert_eq!(server.octets("/keys/k/encrypt", &[("keyreeve-context", "{}")], b"x").await.code(), "invalid-request");
    let twice = [headers[0], headers[0]];
    assert_eq!(server.octets("/keys/k/encrypt", &twice, b"x").await.code(), "invalid-request");
    // The two forms are of one kind.
    let text = keyreeve_wire::Ciphertext(sealed.bytes).to_string();
    let opened = server.post("/decrypt", json!({"ciphertext": text, "context": {"tenant": "acme"}})).await.ok();
    assert_eq!(unb64(&opened["plaintext"]), plaintext);
    let json_with_header = [("content-type", "application/json"), headers[0]];
    let mixed = server.with("POST", "/keys/k/encrypt", &json_with_header, br#"{"plaintext":""}"#.to_vec()).await;
    assert_eq!(mixed.code(), "invalid-request");
}

#[tokio::test]
async fn ciphertexts_move_to_newer_versions_and_other_keys() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "a").await;
    server.key("aes-256-gcm", "b").await;
    let context = json!({"t": "1"});
    let old = server.post("/keys/a/encrypt", json!({"plaintext": b64("x"), "context": context})).await.ok();
    server.post("/keys/a/rotate", json!({})).await.ok();
    for path in ["/keys/a/rewrap", "/rewrap"] {
        let body = json!({"ciphertext": old["ciphertext"], "context": context});
        let new = server.post(path, body).await.ok();
        assert_eq!(new["version"], 2);
        let opened = server.post("/decrypt", json!({"ciphertext": new["ciphertext"], "context": context})).await.ok();
        assert_eq!(opened, json!({"plaintext": b64("x"), "version": 2}));
    }
    let body = json!({"to": "b", "items": [{"ciphertext": old["ciphertext"]}], "context": context,
        "to_context": {"t": "2"}});
    let moved = server.post("/keys/a/re-encrypt", body).await.ok();
    let moved = json!({"ciphertext": moved["items"][0]["ciphertext"], "context": {"t": "2"}});
    assert_eq!(server.post("/keys/b/decrypt", moved).await.ok()["plaintext"], b64("x"));
    let body = json!({"to": "b", "ciphertext": old["ciphertext"], "context": context});
    let same = server.post("/keys/a/re-encrypt", body).await.ok();
    let same = json!({"ciphertext": same["ciphertext"], "context": context});
    assert_eq!(server.post("/decrypt", same).await.ok()["plaintext"], b64("x"));
    assert_eq!(
        server.post("/keys/a/re-encrypt", json!({"ciphertext": old["ciphertext"]})).await.code(),
        "invalid-request"
    );
}

#[tokio::test]
async fn data_keys_come_with_and_without_their_plaintext() {
    let server = Server::new().await;
    server.key("xaes-256-gcm", "k").await;
    let made = server.post("/keys/k/generate-data-key", json!({"bytes": 64, "context": {"f": "1"}})).await.ok();
    assert_eq!(unb64(&made["plaintext"]).len(), 64);
    let wrapped = json!({"ciphertext": made["ciphertext"], "context": {"f": "1"}});
    for path in ["/keys/k/unwrap-data-key", "/unwrap-data-key"] {
        assert_eq!(server.post(path, wrapped.clone()).await.ok()["plaintext"], made["plaintext"]);
    }
    let rewrapped = server.post("/rewrap", wrapped).await.ok();
    let rewrapped = json!({"ciphertext": rewrapped["ciphertext"], "context": {"f": "1"}});
    assert_eq!(server.post("/unwrap-data-key", rewrapped).await.ok()["plaintext"], made["plaintext"]);
    let bare = server.post("/keys/k/generate-data-key", json!({"plaintext": false, "count": 3})).await.ok();
    let items = bare["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert!(items.iter().all(|item| item.get("plaintext").is_none()));
    let opened = server.post("/keys/k/unwrap-data-key", json!({"items": items})).await.ok();
    assert!(opened["items"].as_array().unwrap().iter().all(|item| unb64(&item["plaintext"]).len() == 32));
    assert_eq!(server.post("/keys/k/generate-data-key", json!({"bytes": 16})).await.code(), "invalid-request");
}

#[tokio::test]
async fn what_others_encrypted_to_the_public_key_is_decrypted() {
    let server = Server::new().await;
    server.key_for("rsa-2048", "r", json!("encrypt")).await;
    let der = unb64(&server.get("/keys/r/public-key").await.ok()["der"]);
    let public = PublicKey::from_spki(KeyAlgorithm::Rsa2048, &der).unwrap();
    let random = Random::from_module().unwrap();
    let sealed = public.oaep_encrypt(&random, HashAlgorithm::Sha384, &[], b"from outside").unwrap();
    let raw = json!({"ciphertext": b64(sealed), "version": 1, "hash": "sha384"});
    let opened = server.post("/keys/r/decrypt", json!({"rsa_oaep": raw})).await.ok();
    assert_eq!(unb64(&opened["plaintext"]), b"from outside");
    assert_eq!(server.post("/decrypt", json!({"rsa_oaep": raw})).await.code(), "invalid-request");
    let mixed = json!({"rsa_oaep": raw, "context": {"a": "b"}});
    assert_eq!(server.post("/keys/r/decrypt", mixed).await.code(), "invalid-request");
}

#[tokio::test]
async fn signatures_verify_in_all_forms() {
    let server = Server::new().await;
    let message = b64("message");
    for algorithm in ["ec-p256", "ed25519", "ml-dsa-65", "rsa-2048"] {
        server.key_for(algorithm, algorithm, json!("sign")).await;
        let path = format!("/keys/{algorithm}");
        let signed = server.post(&format!("{path}/sign"), json!({"message": message})).await.ok();
        let claim = json!({"message": message, "signature": signed["signature"], "scheme": signed["scheme"]});
        let verdict = server.post(&format!("{path}/verify"), claim).await.ok();
        assert_eq!(verdict, json!({"valid": true, "version": 1}), "{algorithm}");
        let bare = server.octets(&format!("{path}/sign"), &[], b"message").await;
        bare.ok();
        assert_eq!(bare.header("keyreeve-key-version"), "1");
        let proof = b64(&bare.bytes);
        let headers = [("keyreeve-signature", proof.as_str())];
        assert_eq!(server.octets(&format!("{path}/verify?version=1"), &headers, b"message").await.ok()["valid"], true);
        assert_eq!(server.octets(&format!("{path}/verify"), &headers, b"massage").await.ok(), json!({"valid": false}));
        assert_eq!(server.octets(&format!("{path}/verify"), &[], b"message").await.code(), "invalid-request");
    }
}

#[tokio::test]
async fn batches_digests_and_schemes_are_signed_as_asked() {
    let server = Server::new().await;
    server.key_for("rsa-2048", "r", json!("sign")).await;
    let items = json!([{"message": b64("a")}, {"message": b64("b")}]);
    let body = json!({"items": items, "scheme": "rsa-pkcs1-sha512"});
    let signed = server.post("/keys/r/sign", body).await.ok();
    assert_eq!(signed["scheme"], "rsa-pkcs1-sha512");
    let claims = json!([
        {"message": b64("a"), "signature": signed["items"][0]["signature"]},
        {"message": b64("a"), "signature": signed["items"][1]["signature"]},
    ]);
    let verdicts = server.post("/keys/r/verify", json!({"items": claims, "scheme": "rsa-pkcs1-sha512"})).await.ok();
    assert_eq!(verdicts, json!({"items": [{"valid": true, "version": 1}, {"valid": false}]}));
    let digest = keyreeve_crypto::digest::sha256(b"message");
    let body = json!({"message": b64(digest), "prehashed": true});
    let signed = server.post("/keys/r/sign", body).await.ok();
    let claim = json!({"message": b64("message"), "signature": signed["signature"]});
    assert_eq!(server.post("/keys/r/verify", claim).await.ok()["valid"], true);
    let bare = server.octets("/keys/r/sign?prehashed=true&scheme=rsa-pss-sha256", &[], &digest).await;
    let claim = json!({"message": b64("message"), "signature": b64(&bare.bytes)});
    assert_eq!(server.post("/keys/r/verify", claim).await.ok()["valid"], true);
    let alone = json!({"message": b64("message")});
    assert_eq!(server.post("/keys/r/verify", alone).await.code(), "invalid-request");
    let other = json!({"message": b64("m"), "scheme": "ed25519"});
    assert_eq!(server.post("/keys/r/sign", other).await.code(), "wrong-key-use");
    let unknown = json!({"message": b64("m"), "scheme": "rsa-pss-sha1"});
    assert_eq!(server.post("/keys/r/sign", unknown).await.code(), "invalid-request");
}

#[tokio::test]
async fn tags_verify_in_all_forms() {
    let server = Server::new().await;
    server.key("hmac-sha384", "h").await;
    let tag = server.post("/keys/h/mac", json!({"message": b64("m")})).await.ok();
    assert_eq!(unb64(&tag["mac"]).len(), 48);
    let claim = json!({"message": b64("m"), "mac": tag["mac"], "version": 1});
    assert_eq!(server.post("/keys/h/verify-mac", claim).await.ok(), json!({"valid": true, "version": 1}));
    let bare = server.octets("/keys/h/mac", &[], b"m").await;
    assert_eq!(bare.bytes, unb64(&tag["mac"]));
    let proof = b64(&bare.bytes);
    let headers = [("keyreeve-signature", proof.as_str())];
    assert_eq!(server.octets("/keys/h/verify-mac", &headers, b"m").await.ok()["valid"], true);
    assert_eq!(server.octets("/keys/h/mac", &headers, b"m").await.code(), "invalid-request");
    let many = server.post("/keys/h/mac", json!({"items": [{"message": ""}, {"message": b64("m")}]})).await.ok();
    assert_eq!(many["items"][1]["mac"], tag["mac"]);
    let claims = json!([{"message": b64("m"), "mac": tag["mac"]}, {"message": "", "mac": tag["mac"]}]);
    let verdicts = server.post("/keys/h/verify-mac", json!({"items": claims})).await.ok();
    assert_eq!(verdicts["items"], json!([{"valid": true, "version": 1}, {"valid": false}]));
}

#[tokio::test]
async fn keys_are_derived_and_wrapped() {
    let server = Server::new().await;
    server.key("kdk-256", "d").await;
    let hkdf = json!({"hkdf": {"hash": "sha256", "salt": b64("s"), "info": b64("i")}, "bytes": 48});
    let one = server.post("/keys/d/derive", hkdf.clone()).await.ok();
    assert_eq!(unb64(&one["secret"]).len(), 48);
    assert_eq!(server.post("/keys/d/derive", hkdf.clone()).await.ok(), one);
    let kbkdf = json!({"kbkdf": {"hash": "sha512", "label": b64("l"), "context": b64("c")}});
    assert_eq!(unb64(&server.post("/keys/d/derive", kbkdf.clone()).await.ok()["secret"]).len(), 32);
    let mut both = hkdf;
    both["kbkdf"] = kbkdf["kbkdf"].clone();
    assert_eq!(server.post("/keys/d/derive", both).await.code(), "invalid-request");
    assert_eq!(server.post("/keys/d/derive", json!({})).await.code(), "invalid-request");

    server.key("aes-256-kw", "w").await;
    for (mode, key) in [("kwp", vec![7; 33]), ("kw", vec![7; 32])] {
        let wrapped = server.post("/keys/w/wrap", json!({"key": b64(&key), "mode": mode})).await.ok();
        let body = json!({"wrapped": wrapped["wrapped"], "mode": mode, "version": wrapped["version"]});
        assert_eq!(unb64(&server.post("/keys/w/unwrap", body).await.ok()["key"]), key);
    }
    let items = json!([{"key": b64([1; 16])}, {"key": b64([2; 5])}]);
    let wrapped = server.post("/keys/w/wrap", json!({"items": items, "mode": "kw"})).await.ok();
    assert_eq!(wrapped["items"][1]["error"]["code"], "invalid-request");
    let items = json!([{"wrapped": wrapped["items"][0]["wrapped"]}, {"wrapped": b64([0; 24])}]);
    let opened = server.post("/keys/w/unwrap", json!({"items": items, "mode": "kw"})).await.ok();
    assert_eq!(unb64(&opened["items"][0]["key"]), [1; 16]);
    assert!(opened["items"][1]["error"]["code"].is_string());
}

#[tokio::test]
async fn secrets_are_shared() {
    let server = Server::new().await;
    server.key("ml-kem-768", "m").await;
    let made = server.with("POST", "/keys/m/encapsulate", &[], Vec::new()).await.ok();
    let body = json!({"ciphertext": made["ciphertext"], "version": made["version"]});
    assert_eq!(server.post("/keys/m/decapsulate", body).await.ok()["secret"], made["secret"]);
    for (algorithm, one, two) in [("x25519", "a", "b"), ("ec-p256", "c", "d")] {
        server.key_for(algorithm, one, json!("agree")).await;
        server.key_for(algorithm, two, json!("agree")).await;
        let mut secrets = Vec::new();
        for (own, peer) in [(one, two), (two, one)] {
            let peer = server.get(&format!("/keys/{peer}/public-key")).await.ok();
            let body = json!({"peer": peer["der"], "hash": "sha256", "info": b64("tunnel"), "bytes": 32});
            secrets.push(server.post(&format!("/keys/{own}/agree"), body).await.ok()["secret"].clone());
        }
        assert_eq!(secrets[0], secrets[1]);
    }
    let random = server.post("/random", json!({"bytes": 32})).await.ok();
    assert_eq!(unb64(&random["random"]).len(), 32);
    assert_ne!(server.post("/random", json!({"bytes": 32})).await.ok(), random);
    assert_eq!(server.post("/random", json!({"bytes": 0})).await.code(), "invalid-request");
}
