//! Break-glass from the incident to the signed review, over HTTPS and with the command line, told to a real receiver.

mod python;

use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::UnixMillis;
use keyreeve_tests::{Api, Production, Up};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Somebody with a second factor.
struct Person {
    api: Api,
    seed: Vec<u8>,
    /// The step of the last code that was used: one works once.
    step: u64,
}

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// RFC 4648 §6, without padding.
fn base32(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == c).unwrap();
        (held, bits) = (held << 5 | value as u32, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}`: {value}"))
}

impl Person {
    fn code(&self) -> String {
        totp::code(&self.seed, TotpHash::Sha1, self.step).expose().to_owned()
    }

    fn enrol(operator: &Api, api: Api, name: &str) -> Self {
        let invitation = operator.post(&format!("/v1/principals/{name}/mfa/invitation"), &json!({})).ok();
        let start = json!({ "label": "phone", "invitation": text(&invitation, "code") });
        let started = api.post("/v1/mfa/totp", &start).ok();
        // A step back, so that the next code is the present one and the one after is not far away.
        let step = totp::step(now()).unwrap() - 1;
        let person = Self { api, seed: base32(text(&started, "seed")), step };
        let finish = json!({ "id": text(&started, "id"), "code": person.code() });
        let _ = person.api.post("/v1/mfa/totp/finish", &finish).ok();
        person
    }

    fn join(operator: &Api, up: &Up, name: &str, roles: &[&str]) -> Self {
        let _ = operator.put(&format!("/v1/principals/{name}"), &json!({ "kind": "person", "roles": roles })).ok();
        let issued = operator.post("/v1/tokens", &json!({ "principal": name, "seconds": 86_400 })).ok();
        Self::enrol(operator, up.api("all", text(&issued, "token")), name)
    }

    fn approve(&mut self, approval: &str) {
        let shown = self.api.get(&format!("/v1/approvals/{approval}")).ok();
        self.step += 1;
        let vote = json!({ "decision": "approve", "digest": text(&shown, "digest"), "proof": { "code": self.code() } });
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
        let _others = [join("owen", &["system-owner"]), join("olga", &["operator"]), join("ann", &["key-admin"])];
        let first = Person::enrol(&operator, up.api("all", &production.people.operator), "operator");
        let key = up.api("all", &production.people.keeper).make_key("xaes-256-gcm", None);
        let sealed = json!({ "plaintext": "bGVkZ2Vy" });
        let user = up.api("all", &production.people.user);
        let ciphertext = user.post(&format!("/v1/keys/{key}/encrypt"), &sealed).ok();
        let _ = first.api.post("/v1/governance/enact", &json!({})).ok();
        let open = json!({ "kind": "other", "keys": [key], "reason": "the vendor is gone" });
        let incident = text(&sue.api.post("/v1/incidents", &open).ok(), "id").to_owned();
        let ciphertext = text(&ciphertext, "ciphertext").to_owned();
        Self { sue, carl, lea, dora, pat, key, ciphertext, incident, operator }
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
