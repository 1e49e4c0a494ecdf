//! Break-glass from the incident to the signed review, over HTTPS and with the command line, told to a real receiver.

mod aiosmtpd;
mod hurried;
mod python;

use keyreeve_tests::{Api, Cli, Factor, Production, Up};
use serde_json::{Value, json};

use crate::notices::private;

/// Somebody with a second factor.
struct Person {
    api: Api,
    factor: Factor,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}`: {value}"))
}

impl Person {
    fn join(operator: &Api, up: &Up, name: &str, roles: &[&str]) -> Self {
        let _ = operator.put(&format!("/v1/principals/{name}"), &json!({ "kind": "person", "roles": roles })).ok();
        let issued = operator.post("/v1/tokens", &json!({ "principal": name, "seconds": 86_400 })).ok();
        let api = up.api("all", text(&issued, "token"));
        let factor = Factor::invited(operator, &api, name);
        Self { api, factor }
    }

    /// The command line in this person's name.
    fn cli(&self, production: &Production, name: &str) -> Cli {
        let (home, endpoint) = (&production.home, self.api.endpoint());
        let file = |end: &str| home.join(format!("{name}.{end}"));
        private(&file("token"), endpoint.token.as_deref().unwrap());
        std::fs::write(file("ca"), &endpoint.ca_pem).unwrap();
        let text = format!(
            "address = \"{0}\"\nadmin_address = \"{0}\"\nca_file = \"{name}.ca\"\ntoken_file = \"{name}.token\"\n",
            endpoint.url
        );
        private(&file("toml"), &text);
        Cli::new(home).with_profile(&file("toml"))
    }

    fn approve(&mut self, approval: &str) {
        let shown = self.api.get(&format!("/v1/approvals/{approval}")).ok();
        let proof = json!({ "code": self.factor.code() });
        let vote = json!({ "decision": "approve", "digest": text(&shown, "digest"), "proof": proof });
        let _ = self.api.post(&format!("/v1/approvals/{approval}/votes"), &vote).ok();
    }
}

/// A deployment with rules in force and one person for each role that matters.
struct House {
    sue: Person,
    carl: Person,
    lea: Person,
    dora: Person,
    pat: Person,
    owen: Person,
    key: String,
    ciphertext: String,
    incident: String,
    operator: Api,
}

impl House {
    fn build(production: &Production, up: &Up) -> Self {
        let operator = up.api("all", &production.people.operator);
        let join = |name, roles: &[&str]| Person::join(&operator, up, name, roles);
        let (sue, carl) = (join("sue", &["security-lead"]), join("carl", &["ciso"]));
        let (lea, dora, pat) = (join("lea", &["legal"]), join("dora", &["dpo"]), join("pat", &[]));
        let (owen, ann) = (join("owen", &["system-owner"]), join("ann", &["key-admin"]));
        let _others = [join("olga", &["operator"]), join("esther", &["escrow-administrator"]), ann];
        let key = up.api("all", &production.people.keeper).make_key("xaes-256-gcm", None);
        let sealed = json!({ "plaintext": "bGVkZ2Vy" });
        let user = up.api("all", &production.people.user);
        let ciphertext = user.post(&format!("/v1/keys/{key}/encrypt"), &sealed).ok();
        let _ = operator.post("/v1/governance/enact", &json!({})).ok();
        let open = json!({ "kind": "other", "keys": [key], "reason": "the vendor is gone" });
        let incident = text(&sue.api.post("/v1/incidents", &open).ok(), "id").to_owned();
        let ciphertext = text(&ciphertext, "ciphertext").to_owned();
        Self { sue, carl, lea, dora, pat, owen, key, ciphertext, incident, operator }
    }

    fn declare(&self) -> keyreeve_tests::Answer {
        let declare = json!({
            "incident": self.incident, "keys": [self.key], "operations": ["key.decrypt"], "participants": ["pat"],
            "minutes": 30, "why": "the restore must run tonight",
        });
        self.sue.api.post("/v1/emergencies", &declare)
    }

    /// Declared, and waiting for consent: the approval.
    fn waiting(&self) -> String {
        let answer = self.declare();
        assert_eq!(answer.status, 202, "{answer}");
        answer.header("keyreeve-approval").unwrap().to_owned()
    }

    fn decrypt(&self) -> keyreeve_tests::Answer {
        self.pat.api.post("/v1/decrypt", &json!({ "ciphertext": self.ciphertext }))
    }
}
