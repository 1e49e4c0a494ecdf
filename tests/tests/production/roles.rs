//! The shipped roles over HTTPS, each with a token of its own: what each may do, and that it may do nothing else (A1).

use keyreeve_tests::{Answer, Api, Endpoint, Factor, Layout, Method, Production, Up, base64};
use serde_json::{Value, json};

/// A deployment with one cipher key and one signing key that name the services `ci` and `shop`, and one of each that
/// name nobody.
struct Stage {
    up: Up,
    operator: Api,
    keeper: Api,
    sealed: Value,
    _home: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut production = Production::prepare(home.path(), &Layout::default());
        let up = production.start_new();
        let operator = up.api("all", &production.people.operator);
        let keeper = up.api("all", &production.people.keeper);
        for (alias, algorithm, consumers) in [
            ("named", "xaes-256-gcm", &["ci", "shop"][..]),
            ("other", "xaes-256-gcm", &[]),
            ("stamp", "ed25519", &["ci", "shop"]),
            ("other-stamp", "ed25519", &[]),
        ] {
            let body = json!({ "aliases": [alias], "algorithm": algorithm, "consumers": consumers });
            let _ = keeper.post("/v1/keys", &body).ok();
        }
        let user = up.api("all", &production.people.user);
        let sealed = ["named", "other"].map(|key| {
            let body = json!({ "plaintext": base64("secret") });
            (key.to_owned(), user.post(&format!("/v1/keys/{key}/encrypt"), &body).ok()["ciphertext"].clone())
        });
        Self { up, operator, keeper, sealed: Value::Object(sealed.into_iter().collect()), _home: home }
    }

    fn put(&self, name: &str, principal: &Value) -> Api {
        let _ = self.operator.put(&format!("/v1/principals/{name}"), principal).ok();
        let issued = self.operator.post("/v1/tokens", &json!({ "principal": name })).ok();
        let endpoint: Endpoint = self.up.endpoint("all");
        let who = endpoint.with_token(issued["token"].as_str().unwrap()).api();
        if principal["kind"] == "person" {
            let _ = Factor::invited(&self.operator, &who, name);
        }
        who
    }

    fn person(&self, role: &str) -> Api {
        self.put(&format!("a-{role}"), &json!({ "kind": "person", "roles": [role] }))
    }

    fn service(&self, name: &str, role: &str, networks: &[&str], operations: Option<&str>) -> Api {
        let mut principal = json!({ "kind": "service", "roles": [role], "networks": networks });
        if let Some(operations) = operations {
            principal["labels"] = json!({ "operations": operations });
        }
        self.put(name, &principal)
    }

    /// Everything that the roles are told apart by, tried by somebody: the names of what was not denied.
    fn may(&self, who: &Api) -> Vec<&'static str> {
        self.attempts(who)
            .into_iter()
            .filter_map(|(name, answer)| {
                if answer.status < 300 {
                    return Some(name);
                }
                answer.refused(403, "denied");
                None
            })
            .collect()
    }

    fn attempts(&self, who: &Api) -> Vec<(&'static str, Answer)> {
        let doomed = self.keeper.make_key("hmac-sha256", None);
        let text = base64("text");
        let encrypt = |key: &str| who.post(&format!("/v1/keys/{key}/encrypt"), &json!({ "plaintext": text }));
        let decrypt = |key: &str| who.post("/v1/decrypt", &json!({ "ciphertext": self.sealed[key] }));
        let sign = |key: &str| who.post(&format!("/v1/keys/{key}/sign"), &json!({ "message": text }));
        let schedule = format!("/v1/keys/{doomed}/schedule-destruction");
        vec![
            ("create", who.post("/v1/keys", &json!({}))),
            ("rotate", who.post("/v1/keys/named/rotate", &json!({ "reason": "yearly" }))),
            ("schedule", who.post(&schedule, &json!({ "days": 7, "reason": "over" }))),
            ("list", who.get("/v1/keys")),
            ("describe", who.get("/v1/keys/named")),
            ("describe other", who.get("/v1/keys/other")),
            ("audit", who.get("/v1/audit?limit=1")),
            ("encrypt", encrypt("named")),
            ("encrypt other", encrypt("other")),
            ("decrypt", decrypt("named")),
            ("decrypt other", decrypt("other")),
            ("sign", sign("stamp")),
            ("sign other", sign("other-stamp")),
            ("grant", who.put("/v1/principals/friend", &json!({ "kind": "person", "roles": ["key-admin"] }))),
            (
                "policy",
                who.put(
                    "/v1/policies/mine",
                    &json!({ "text": "forbid (principal, action, resource) when { 1 == 2 };" }),
                ),
            ),
        ]
    }
}

#[test]
fn people_may_do_what_their_role_says() {
    let stage = Stage::new();
    let roles: [(&str, &[&str]); 9] = [
        ("operator", &["grant", "policy"]),
        ("key-admin", &["create", "rotate", "schedule", "list", "describe", "describe other"]),
        ("escrow-administrator", &["list", "describe", "describe other"]),
        ("key-user-encrypt", &["encrypt", "encrypt other"]),
        ("key-user-decrypt", &["decrypt", "decrypt other"]),
        ("key-auditor", &["list", "describe", "describe other", "audit"]),
        ("security-lead", &["list", "describe", "describe other"]),
        ("legal", &["list", "describe", "describe other"]),
        ("nobody-knows-this-role", &[]),
    ];
    for (role, allowed) in roles {
        assert_eq!(stage.may(&stage.person(role)), allowed, "{role}");
    }
    // Roles of services are nothing in a person's hands.
    for role in ["pipeline", "application"] {
        assert_eq!(stage.may(&stage.person(role)), [""; 0], "{role}");
    }
}

#[test]
fn a_pipeline_encrypts_under_the_keys_that_name_it() {
    let stage = Stage::new();
    assert_eq!(stage.may(&stage.service("ci", "pipeline", &[], None)), ["encrypt"]);
    assert_eq!(stage.may(&stage.service("stranger", "pipeline", &[], None)), [""; 0]);
}

#[test]
fn an_application_is_held_to_its_keys_operations_and_network() {
    let stage = Stage::new();
    let shop = |networks: &[&str], operations| stage.service("shop", "application", networks, operations);
    let loopback = ["127.0.0.0/8"];
    assert_eq!(stage.may(&shop(&loopback, None)), ["describe", "encrypt", "decrypt", "sign"]);
    assert_eq!(stage.may(&shop(&loopback, Some("encrypt verify"))), ["describe", "encrypt"]);
    assert_eq!(stage.may(&shop(&[], None)), [""; 0]);
    // From elsewhere its token is not even a credential.
    let elsewhere = shop(&["10.0.0.0/8"], None);
    for (name, answer) in stage.attempts(&elsewhere) {
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"), "{name}");
    }
    let stranger = stage.service("stranger", "application", &loopback, None);
    assert_eq!(stage.may(&stranger), [""; 0]);
}

/// Whoever manages keys does not use them, whatever else he is given (least privilege holds against mistakes).
#[test]
fn managing_and_using_do_not_meet() {
    let stage = Stage::new();
    let roles = ["key-admin", "key-user-encrypt", "key-user-decrypt"];
    let both = stage.put("both", &json!({ "kind": "person", "roles": roles }));
    let may = stage.may(&both);
    assert!(may.contains(&"create") && !may.contains(&"encrypt") && !may.contains(&"decrypt"), "{may:?}");
    let refused = both.call(Method::GET, "/v1/audit", &Value::Null);
    refused.refused(403, "denied");
}
