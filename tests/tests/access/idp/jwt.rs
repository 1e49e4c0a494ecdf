//! Workloads log in with tokens of their platform, made by programs that are not ours.

use keyreeve_tests::{Answer, Idp};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::site::{Site, not_let_in, not_let_in_at_cli};

const AUDIENCE: &str = "https://keyreeve.test";

struct House {
    site: Site,
    idp: Idp,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl House {
    fn new() -> Option<Self> {
        let idp = Idp::start()?;
        let house = Self { site: Site::new(), idp };
        house.site.method("ci", &house.method(&json!({"keys": "discovery"})));
        house.site.principal("builder", "service", &["application"]);
        Some(house)
    }

    fn method(&self, besides: &Value) -> Value {
        let mut issuer = json!({
            "issuer": self.idp.issuer(),
            "algorithms": ["ES256"],
            "ca_pem": self.idp.ca_pem(),
        });
        for (name, value) in besides.as_object().unwrap() {
            issuer[name] = value.clone();
        }
        json!({
            "kind": {"jwt": issuer},
            "bindings": [{
                "name": "main",
                "subject": {"exact": "build-robot"},
                "audiences": [AUDIENCE],
                "claims": {"repository": ["acme/app"]},
                "principal": {"fixed": "builder"},
            }],
        })
    }

    fn show(&self, jwt: &str) -> Answer {
        self.site.anybody.post("/v1/login/jwt/ci", &json!({"jwt": jwt}))
    }

    /// What the provider's own token says, altered.
    fn claims(&self, alter: impl FnOnce(&mut Value)) -> Value {
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "build-robot", "aud": AUDIENCE, "repository": "acme/app",
            "iat": now(), "exp": now() + 300, "jti": format!("{}", now()),
        });
        alter(&mut claims);
        claims
    }
}

#[test]
fn a_token_of_the_platform_counts_once() {
    let Some(house) = House::new() else { return };
    let jwt = house.idp.workload_token(AUDIENCE);
    let login = house.show(&jwt).ok();
    assert_eq!(house.site.with(&login).get("/v1/tokens/self").ok()["principal"], "builder");
    not_let_in(&house.show(&jwt));
    assert_eq!(house.site.reason(), "replayed");
    not_let_in(&house.show(&house.idp.workload_token("https://elsewhere.test")));
}

#[test]
fn a_key_that_is_not_known_is_looked_for_once() {
    let Some(house) = House::new() else { return };
    let old = house.idp.workload_token(AUDIENCE);
    house.idp.rotate();
    // The first look at the keys is after the change: the old key is gone, the new one is there.
    let _ = house.show(&house.idp.workload_token(AUDIENCE)).ok();
    not_let_in(&house.show(&old));
    assert_eq!(house.site.reason(), "unknown-key");
}

#[test]
fn tokens_that_prove_nothing_are_refused() {
    let Some(house) = House::new() else { return };
    let es = json!({"alg": "ES256"});
    let good = house.idp.sign(&es, &house.claims(|_| ()));
    let _ = house.show(&good).ok();
    let public = house.idp.jwks()["keys"][1].to_string();
    let wrong = [
        ("expired", house.idp.sign(&es, &house.claims(|claims| claims["exp"] = json!(now() - 61)))),
        ("not yet", house.idp.sign(&es, &house.claims(|claims| claims["nbf"] = json!(now() + 120)))),
        ("no end", house.idp.sign(&es, &house.claims(|claims| claims["exp"] = Value::Null))),
        ("too long", house.idp.sign(&es, &house.claims(|claims| claims["exp"] = json!(now() + 86_400)))),
        ("issuer", house.idp.sign(&es, &house.claims(|claims| claims["iss"] = json!("https://elsewhere.test")))),
        ("subject", house.idp.sign(&es, &house.claims(|claims| claims["sub"] = json!("build-robot2")))),
        ("claim", house.idp.sign(&es, &house.claims(|claims| claims["repository"] = json!("acme/other")))),
        ("algorithm", house.idp.sign(&json!({"alg": "RS256"}), &house.claims(|_| ()))),
        ("none", house.idp.sign(&json!({"alg": "none"}), &house.claims(|_| ()))),
        ("secret", house.idp.sign_with_secret(&json!({"alg": "HS256"}), &house.claims(|_| ()), &public)),
        ("altered", format!("{}A", good.rsplit_once('.').unwrap().0.to_owned() + ".AAAA")),
        ("nothing", "not a token".to_owned()),
    ];
    for (what, jwt) in wrong {
        let answer = house.show(&jwt);
        assert_eq!(answer.status, 401, "{what}: {answer}");
        not_let_in(&answer);
    }
}

#[test]
fn tokens_of_kubernetes_are_read_again_where_that_is_allowed() {
    let Some(house) = House::new() else { return };
    let keys = house.idp.jwks().to_string();
    let es_only = json!({"keys": [house.idp.jwks()["keys"].as_array().unwrap().iter()
        .find(|key| key["kty"] == "EC").unwrap()]});
    assert!(keys.contains("kid"));
    let method = json!({
        "kind": {"jwt": {
            "issuer": "https://kubernetes.default.svc.cluster.local",
            "keys": {"static": es_only.to_string()},
            "algorithms": ["ES256"],
            "reuse": "allowed",
        }},
        "bindings": [{
            "name": "pods",
            "subject": {"glob": "system:serviceaccount:payments:*"},
            "audiences": ["keyreeve"],
            "claims": {"/kubernetes.io/namespace": ["payments"]},
            "principal": {"from-claim": {"claim": "/kubernetes.io/serviceaccount/name", "prefix": "k8s-"}},
        }],
        "provision": "create",
    });
    house.site.method("k8s", &method);
    // In the form of a projected service account token.
    let claims = json!({
        "aud": ["keyreeve"], "iss": "https://kubernetes.default.svc.cluster.local", "iat": now(), "nbf": now(),
        "exp": now() + 3000, "jti": "0a1b", "sub": "system:serviceaccount:payments:billing",
        "kubernetes.io": {
            "namespace": "payments",
            "serviceaccount": {"name": "billing", "uid": "u"},
            "pod": {"name": "p", "uid": "u"},
        },
    });
    let jwt = house.idp.sign(&json!({"alg": "ES256"}), &claims);
    house.site.write("sa.jwt", &jwt);
    for _ in 0..2 {
        let words = ["login", "--method", "k8s", "--jwt-file", "sa.jwt", "-o", "pod.token"];
        let _ = house.site.cli.run(&words).code(0);
        let words = ["token", "self", "--profile", ".keyreeve-dev/client.toml", "--token-file", "pod.token"];
        assert_eq!(house.site.cli.json(&words)["principal"], "k8s-billing");
    }
    let mut other = claims;
    other["sub"] = json!("system:serviceaccount:other:billing");
    house.site.write("sa.jwt", house.idp.sign(&json!({"alg": "ES256"}), &other));
    not_let_in_at_cli(&house.site.cli.run(&["login", "--method", "k8s", "--jwt-file", "sa.jwt", "-o", "x"]));
    assert!(!house.site.exists("x"));
}
