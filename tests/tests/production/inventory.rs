//! Keys as somebody who keeps an inventory of them sees them: what each is for, where it came from, whose it is.

use keyreeve_tests::{Api, Cli, Layout, Production, Up, base64};
use serde_json::{Value, json};

struct Firm {
    production: Production,
    up: Up,
    keeper: Api,
    user: Api,
    _home: tempfile::TempDir,
}

impl Firm {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut production = Production::prepare(home.path(), &Layout::default());
        let up = production.start_new();
        let keeper = up.api("all", &production.people.keeper);
        let user = up.api("all", &production.people.user);
        Self { production, up, keeper, user, _home: home }
    }

    fn make(&self, body: &Value) -> String {
        self.keeper.post("/v1/keys", body).ok()["id"].as_str().unwrap().to_owned()
    }

    /// The code of the refusal, or `ok`.
    fn tried(&self, key: &str, verb: &str, body: &Value) -> String {
        let answer = self.user.post(&format!("/v1/keys/{key}/{verb}"), body);
        if answer.status < 300 { "ok".to_owned() } else { answer.problem() }
    }

    /// Aliases of the keys that a search finds.
    fn found(&self, query: &str) -> Vec<String> {
        let page = self.keeper.get(&format!("/v1/keys?{query}")).ok();
        let aliases = page["items"].as_array().unwrap().iter().map(|key| key["aliases"][0].as_str().unwrap());
        let mut found: Vec<String> = aliases.map(str::to_owned).collect();
        found.sort();
        found
    }
}

/// Everything a key could be asked for, with a body that would do for a key of the right purpose.
fn uses() -> Vec<(&'static str, &'static str, Value)> {
    let text = base64("text");
    vec![
        ("encrypt", "encrypt", json!({ "plaintext": text })),
        ("encrypt", "generate-data-key", json!({})),
        ("sign", "sign", json!({ "message": text })),
        ("mac", "mac", json!({ "message": text })),
        ("wrap", "wrap", json!({ "key": base64([7; 32]) })),
        ("derive", "derive", json!({ "hkdf": { "hash": "sha256", "info": text } })),
        ("encapsulate", "encapsulate", json!({})),
    ]
}

/// Each key does what it was made for and nothing else (K3).
#[test]
fn a_key_serves_its_one_purpose() {
    let firm = Firm::new();
    let kinds = [
        ("xaes-256-gcm", "encrypt"),
        ("rsa-2048", "sign"),
        ("ed25519", "sign"),
        ("hmac-sha256", "mac"),
        ("aes-256-kw", "wrap"),
        ("kdk-256", "derive"),
        ("ml-kem-768", "encapsulate"),
    ];
    for (algorithm, purpose) in kinds {
        let key = firm.make(&json!({ "algorithm": algorithm, "purpose": purpose }));
        for (needed, verb, body) in uses() {
            let expected = if needed == purpose { "ok" } else { "wrong-key-use" };
            assert_eq!(firm.tried(&key, verb, &body), expected, "{verb} with {algorithm} for {purpose}");
        }
    }
    // What an algorithm cannot do it is not made for.
    for (algorithm, purpose) in [("xaes-256-gcm", "sign"), ("ed25519", "encrypt"), ("x25519", "sign")] {
        let refused = firm.keeper.post("/v1/keys", &json!({ "algorithm": algorithm, "purpose": purpose }));
        assert!((400..500).contains(&refused.status), "{refused}");
    }
}

/// A key may be limited to one half of its purpose: encrypt-only, decrypt-only, sign-only (K3).
#[test]
fn a_key_keeps_to_its_half() {
    let firm = Firm::new();
    let made = |purpose: &str, algorithm: &str, scope: &str| {
        firm.make(&json!({ "algorithm": algorithm, "purpose": purpose, "scope": scope }))
    };
    let text = base64("text");
    let both = made("encrypt", "xaes-256-gcm", "both");
    let sealed = firm.user.post(&format!("/v1/keys/{both}/encrypt"), &json!({ "plaintext": text })).ok();
    let encrypt_only = made("encrypt", "xaes-256-gcm", "apply-only");
    let own = firm.user.post(&format!("/v1/keys/{encrypt_only}/encrypt"), &json!({ "plaintext": text })).ok();
    assert_eq!(firm.tried(&encrypt_only, "decrypt", &json!({ "ciphertext": own["ciphertext"] })), "wrong-key-use");
    let decrypt_only = made("encrypt", "xaes-256-gcm", "process-only");
    assert_eq!(firm.tried(&decrypt_only, "encrypt", &json!({ "plaintext": text })), "wrong-key-use");
    assert_eq!(firm.tried(&both, "decrypt", &json!({ "ciphertext": sealed["ciphertext"] })), "ok");
    let sign_only = made("sign", "ed25519", "apply-only");
    let signed = firm.user.post(&format!("/v1/keys/{sign_only}/sign"), &json!({ "message": text })).ok();
    let checked = json!({ "message": text, "signature": signed["signature"] });
    assert_eq!(firm.tried(&sign_only, "verify", &checked), "wrong-key-use");
    let verify_only = made("sign", "ed25519", "process-only");
    assert_eq!(firm.tried(&verify_only, "sign", &json!({ "message": text })), "wrong-key-use");
}

fn catalogue(firm: &Firm) {
    let rings = [("payments", "production", "confidential"), ("payments-test", "development", "internal")];
    for (name, environment, class) in rings {
        let body = json!({ "name": name, "environment": environment, "classification": class });
        let _ = firm.keeper.post("/v1/keyrings", &body).ok();
    }
    let _ = firm.make(&json!({
        "keyring": "payments", "environment": "production", "aliases": ["cards", "pan"],
        "labels": { "system": "shop", "tier": "1" }, "owner": "Paula", "custodians": ["Carl", "Cora"],
        "consumers": ["shop", "refunds"], "holders": ["Escrow Ltd"], "classification": "confidential",
        "description": "card numbers at rest", "reason": "ticket 17",
    }));
    let _ = firm.make(&json!({
        "keyring": "payments-test", "environment": "development", "aliases": ["cards-test"],
        "labels": { "system": "shop", "tier": "3" }, "owner": "Tom", "consumers": ["shop-test"],
    }));
    let _ = firm.make(&json!({
        "keyring": "payments", "aliases": ["receipts"], "algorithm": "ed25519", "owner": "Paula",
        "consumers": ["shop"], "description": "signs receipts",
    }));
}

/// What people say about a key is kept, shown, altered, and found again (K4).
#[test]
fn the_inventory_is_searched_by_everything_it_holds() {
    let firm = Firm::new();
    catalogue(&firm);
    let shown = firm.keeper.get("/v1/keys/pan").ok();
    let kept = [
        ("keyring", json!("payments")),
        ("environment", json!("production")),
        ("aliases", json!(["cards", "pan"])),
        ("labels", json!({ "system": "shop", "tier": "1" })),
        ("owner", json!("Paula")),
        ("custodians", json!(["Carl", "Cora"])),
        ("consumers", json!(["refunds", "shop"])),
        ("holders", json!(["Escrow Ltd"])),
        ("classification", json!("confidential")),
        ("description", json!("card numbers at rest")),
        ("purpose", json!("encrypt")),
    ];
    for (name, value) in kept {
        assert_eq!(shown[name], value, "{name}");
    }
    let searches: [(&str, &[&str]); 12] = [
        ("keyring=payments", &["cards", "receipts"]),
        ("keyring=payments-test", &["cards-test"]),
        ("owner=Paula", &["cards", "receipts"]),
        ("consumer=refunds", &["cards"]),
        ("consumer=shop", &["cards", "receipts"]),
        ("label=system%3Dshop", &["cards", "cards-test"]),
        ("label=system%3Dshop&label=tier%3D3", &["cards-test"]),
        ("classification=confidential", &["cards"]),
        ("algorithm=ed25519", &["receipts"]),
        ("purpose=encrypt", &["cards", "cards-test"]),
        ("text=card", &["cards", "cards-test"]),
        ("owner=nobody", &[]),
    ];
    for (query, expected) in searches {
        assert_eq!(firm.found(query), expected, "{query}");
    }
    let changed = firm.keeper.call(keyreeve_tests::Method::PATCH, "/v1/keys/pan", &json!({ "owner": "Petra" }));
    assert_eq!((&changed.ok()["owner"], &changed.ok()["custodians"]), (&json!("Petra"), &json!(["Carl", "Cora"])));
    assert_eq!((firm.found("owner=Petra"), firm.found("owner=Paula")), (vec!["cards".into()], vec!["receipts".into()]));
    let _ = firm.keeper.post("/v1/keys/cards/suspend", &json!({ "reason": "an audit" })).ok();
    assert_eq!(firm.found("state=suspended"), ["cards"]);
    let first = firm.keeper.get("/v1/keys?limit=2").ok();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = firm.keeper.get(&format!("/v1/keys?limit=2&after={}", first["next"].as_str().unwrap())).ok();
    assert_eq!((next["items"].as_array().unwrap().len(), &next["next"]), (1, &Value::Null), "{next}");
}

/// Production and test keys never share a keyring, and one key's ciphertext is nothing to another (K4).
#[test]
fn environments_are_kept_apart() {
    let firm = Firm::new();
    catalogue(&firm);
    for (keyring, environment) in
        [("payments", "development"), ("payments", "staging"), ("payments-test", "production")]
    {
        let refused = firm.keeper.post("/v1/keys", &json!({ "keyring": keyring, "environment": environment }));
        assert!((400..500).contains(&refused.status), "{refused}");
    }
    let sealed = firm.user.post("/v1/keys/cards/encrypt", &json!({ "plaintext": base64("4111") })).ok();
    assert_ne!(firm.tried("cards-test", "decrypt", &json!({ "ciphertext": sealed["ciphertext"] })), "ok");
    // An alias leads to one key of the whole deployment: a test key cannot take the name of a production key.
    let taken = firm.keeper.post("/v1/keys", &json!({ "keyring": "payments-test", "aliases": ["cards"] }));
    assert_eq!(taken.status, 409, "{taken}");
}

/// The cryptographic module of the program under test: the one that was asked for, in the mode that was asked for.
fn module() -> String {
    let home = tempfile::tempdir().unwrap();
    let version = Cli::new(home.path()).json(&["version"]);
    let fips = std::env::var("KEYREEVE_TEST_FIPS").as_deref() == Ok("1");
    assert_eq!(version["fips"], json!({ "compiled": fips, "active": fips }), "{version}");
    assert_eq!(version["module"], if fips { "AWS-LC-FIPS" } else { "AWS-LC" }, "{version}");
    format!("{} {}", version["module"].as_str().unwrap(), version["module_version"].as_str().unwrap())
}

/// It is tested before anything else happens, and the status page names it.
#[test]
fn the_module_is_the_one_that_was_built() {
    let firm = Firm::new();
    let log = firm.up.server.log();
    let tested = log.lines().find(|line| line.contains("passed its tests")).unwrap_or_else(|| panic!("{log}"));
    assert!(tested.contains(&module()), "{tested}");
    let page = firm.up.endpoint("all").api().get("/console");
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains(&format!(">{}<", module())), "{text}");
}

/// Where each version came from is kept with it: who, when, why, from which module (K1).
#[test]
fn each_version_says_where_it_came_from() {
    let firm = Firm::new();
    let key = firm.make(&json!({ "aliases": ["archive"], "reason": "ticket 17" }));
    let _ = firm.keeper.post(&format!("/v1/keys/{key}/rotate"), &json!({ "reason": "yearly" })).ok();
    let look = |keeper: &Api| keeper.get(&format!("/v1/keys/{key}")).ok()["versions"].clone();
    let versions = look(&firm.keeper);
    let reasons = ["ticket 17", "yearly"];
    for (version, reason) in versions.as_array().unwrap().iter().zip(reasons) {
        let provenance = &version["provenance"];
        assert_eq!((&provenance["origin"], &provenance["by"]), (&json!("generated"), &json!("keeper")));
        assert_eq!(provenance["reason"], reason);
        assert_eq!(provenance["module"], module(), "{provenance}");
        assert!(version["created"].as_str().unwrap().starts_with("20"), "{version}");
    }
    assert_eq!(versions.as_array().unwrap().len(), 2);
    assert_ne!(versions[0]["fingerprint"], versions[1]["fingerprint"]);
    // Two keys made in the same breath have nothing in common: material comes from the generator alone.
    let [one, other] = [(); 2].map(|()| firm.make(&json!({ "algorithm": "hmac-sha256" })));
    let print = |key: &str| firm.keeper.get(&format!("/v1/keys/{key}")).ok()["versions"][0]["fingerprint"].clone();
    assert_ne!(print(&one), print(&other));
    // No caller can bring material along.
    for name in ["material", "key", "seed", "passphrase"] {
        let refused = firm.keeper.post("/v1/keys", &json!({ name: base64([7; 32]) }));
        assert_eq!(refused.status, 400, "{refused}");
    }
    let Firm { production, up, keeper, user, _home } = firm;
    // A server that ends waits for those who are still connected.
    drop((keeper, user));
    assert!(up.server.terminate().success());
    let up = production.start_open();
    assert_eq!(look(&up.api("all", &production.people.keeper)), versions);
}

/// Deterministic encryption needs a keyring that allows it and a reason, which stays on the key (K9).
#[test]
fn deterministic_encryption_is_off_unless_it_was_chosen() {
    let firm = Firm::new();
    let siv = |keyring: Option<&str>, reason: Option<&str>| {
        let mut body = json!({ "algorithm": "aes-256-gcm-siv", "aliases": ["same"] });
        for (name, value) in [("keyring", keyring), ("deterministic_reason", reason)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        firm.keeper.post("/v1/keys", &body)
    };
    for (name, allowed) in [("strict", false), ("lookups", true)] {
        let _ = firm.keeper.post("/v1/keyrings", &json!({ "name": name, "allow_deterministic": allowed })).ok();
    }
    for (keyring, reason) in
        [(None, Some("joins")), (Some("strict"), Some("joins")), (Some("lookups"), None), (Some("lookups"), Some(""))]
    {
        let refused = siv(keyring, reason);
        assert!((400..500).contains(&refused.status), "{keyring:?} {reason:?}: {refused}");
    }
    let made = siv(Some("lookups"), Some("joins on the customer number")).ok();
    assert_eq!(made["deterministic_reason"], "joins on the customer number");
    let shown = firm.keeper.get("/v1/keys/same").ok();
    assert_eq!(shown["deterministic_reason"], "joins on the customer number");
    let sealed = |key: &str| {
        let body = json!({ "plaintext": base64("customer 7") });
        firm.user.post(&format!("/v1/keys/{key}/encrypt"), &body).ok()["ciphertext"].as_str().unwrap().to_owned()
    };
    assert_eq!(sealed("same"), sealed("same"));
    // Every other algorithm never repeats itself, in whichever keyring.
    for algorithm in ["xaes-256-gcm", "aes-256-gcm", "chacha20-poly1305"] {
        let key = firm.make(&json!({ "algorithm": algorithm, "keyring": "lookups" }));
        assert_ne!(sealed(&key), sealed(&key), "{algorithm}");
    }
}
