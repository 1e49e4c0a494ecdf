//! One caller: does all kinds of things until there is no answer, and writes down what was acknowledged.

use keyreeve_tests::{Answer, Api, Chance, Method, NoAnswer, base64};
use serde_json::{Value, json};
use std::sync::mpsc::Sender;

use crate::ledger::{ALGORITHMS, Doubt, KeyEntry, Kind, Ledger, Made, TokenEntry};
use crate::site::Callers;

/// Keys one caller makes at most: checks look at all of them in every round.
const MOST_KEYS: usize = 24;
/// Policies one caller writes.
const POLICIES: usize = 2;

pub(crate) struct Caller<'a> {
    operator: Api,
    keeper: Api,
    user: Api,
    ledger: &'a mut Ledger,
    chance: Chance,
    round: usize,
    done: usize,
    acknowledge: Sender<()>,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(
        people: &Callers,
        ledger: &'a mut Ledger,
        chance: Chance,
        round: usize,
        acknowledge: Sender<()>,
    ) -> Self {
        let (operator, keeper, user) = (people.operator.api(), people.keeper.api(), people.user.api());
        Self { operator, keeper, user, ledger, chance, round, done: 0, acknowledge }
    }

    /// Works until the server is gone.
    pub(crate) fn work(mut self) {
        loop {
            let done = match self.chance.below(20) {
                _ if self.ledger.keys.is_empty() => self.make_key(),
                0 => self.make_key(),
                1 => self.rotate(),
                2 => self.describe(),
                3 => self.doom(),
                4 => self.issue_token(),
                5 => self.revoke_token(),
                6 => self.write_policy(),
                7 => self.rotate_kek(),
                _ => self.use_key(),
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Notes an acknowledgement; anything but a success is a failure of the test.
    fn noted(&mut self, answer: &Answer) -> Value {
        let value = answer.ok();
        let record = answer.record().unwrap_or_else(|| panic!("an answer without its audit record: {answer}"));
        self.ledger.records.push(record.to_owned());
        self.done += 1;
        // Nobody listens any more once the server is being killed.
        let _ = self.acknowledge.send(());
        value
    }

    fn unique(&self, what: &str) -> String {
        format!("{what}-{}-{}-{}", self.ledger.number, self.round, self.done)
    }

    fn make_key(&mut self) -> Result<(), NoAnswer> {
        if self.ledger.keys.len() >= MOST_KEYS {
            return self.use_key();
        }
        let (algorithm, kind) = *self.chance.pick(&ALGORITHMS).unwrap();
        let name = self.unique("key");
        let body = json!({ "algorithm": algorithm, "aliases": [name] });
        let headers = [("content-type", "application/json"), ("idempotency-key", name.as_str())];
        match self.keeper.send(Method::POST, "/v1/keys", &headers, serde_json::to_vec(&body).unwrap()) {
            Ok(answer) => {
                let made = self.noted(&answer);
                self.ledger.keys.push(KeyEntry::new(made["id"].as_str().unwrap().to_owned(), kind));
                Ok(())
            }
            Err(error) => {
                self.ledger.unanswered.push((name, kind, body));
                Err(error)
            }
        }
    }

    fn any_key(&mut self) -> usize {
        self.chance.below(self.ledger.keys.len())
    }

    fn rotate(&mut self) -> Result<(), NoAnswer> {
        let key = self.any_key();
        let path = format!("/v1/keys/{}/rotate", self.ledger.keys[key].id);
        let answer = self.keeper.try_call(Method::POST, &path, &json!({ "reason": "campaign" }))?;
        let rotated = self.noted(&answer);
        self.ledger.keys[key].versions = rotated["primary_version"].as_u64().unwrap();
        Ok(())
    }

    /// A new key-encryption key for all keys; one job does it at a time.
    fn rotate_kek(&mut self) -> Result<(), NoAnswer> {
        let path = "/v1/keyrings/default/rotate-kek";
        let answer = self.keeper.try_call(Method::POST, path, &json!({ "reason": "campaign" }))?;
        if answer.status == 409 {
            assert_eq!(answer.json()["code"], "wrong-state", "{answer}");
            return Ok(());
        }
        let _ = self.noted(&answer);
        Ok(())
    }

    fn describe(&mut self) -> Result<(), NoAnswer> {
        let key = self.any_key();
        let description = self.unique("description");
        let path = format!("/v1/keys/{}", self.ledger.keys[key].id);
        self.ledger.keys[key].description.sent = Some(description.clone());
        let answer = self.keeper.try_call(Method::PATCH, &path, &json!({ "description": description }))?;
        let _ = self.noted(&answer);
        self.ledger.keys[key].description.acknowledge();
        Ok(())
    }

    /// A key whose destruction is scheduled; it is used for nothing else.
    fn doom(&mut self) -> Result<(), NoAnswer> {
        if self.ledger.doomed.len() >= MOST_KEYS {
            return self.use_key();
        }
        let answer = self.keeper.try_call(Method::POST, "/v1/keys", &json!({ "algorithm": "hmac-sha512" }))?;
        let id = self.noted(&answer)["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/keys/{id}/schedule-destruction");
        let answer = self.keeper.try_call(Method::POST, &path, &json!({ "days": 7, "reason": "campaign" }))?;
        let _ = self.noted(&answer);
        self.ledger.doomed.push(id);
        Ok(())
    }

    fn issue_token(&mut self) -> Result<(), NoAnswer> {
        let name = format!("caller-{}", self.ledger.number);
        if self.ledger.tokens.is_empty() {
            let body = json!({ "kind": "service", "roles": ["application"] });
            let answer = self.operator.try_call(Method::PUT, &format!("/v1/principals/{name}"), &body)?;
            let _ = self.noted(&answer);
        }
        let body = json!({ "principal": name, "seconds": 86_400 });
        let answer = self.operator.try_call(Method::POST, "/v1/tokens", &body)?;
        let issued = self.noted(&answer);
        let text = |name: &str| issued[name].as_str().unwrap().to_owned();
        self.ledger.tokens.push(TokenEntry { id: text("id"), secret: text("token"), revoked: false });
        Ok(())
    }

    fn revoke_token(&mut self) -> Result<(), NoAnswer> {
        // Some stay valid, so that both kinds can be looked at.
        let candidates = self.ledger.tokens.len() / 2;
        let Some(place) = self.ledger.tokens[..candidates].iter().position(|token| !token.revoked) else {
            return self.use_key();
        };
        // Without an answer nobody knows, so it is looked at no more.
        let mut token = self.ledger.tokens.remove(place);
        let answer = self.operator.try_call(Method::DELETE, &format!("/v1/tokens/{}", token.id), &Value::Null)?;
        let _ = self.noted(&answer);
        token.revoked = true;
        self.ledger.tokens.insert(0, token);
        Ok(())
    }

    fn write_policy(&mut self) -> Result<(), NoAnswer> {
        let name = format!("policy-{}-{}", self.ledger.number, self.chance.below(POLICIES));
        let role = self.unique("role");
        let text = format!(
            "permit (principal in Keyreeve::Role::\"{role}\", action in Keyreeve::Action::\"encrypt-side\", resource);"
        );
        let entry: &mut Doubt<String> = self.ledger.policies.entry(name.clone()).or_default();
        entry.sent = Some(text.clone());
        let answer = self.operator.try_call(Method::PUT, &format!("/v1/policies/{name}"), &json!({ "text": text }))?;
        let _ = self.noted(&answer);
        if let Some(entry) = self.ledger.policies.get_mut(&name) {
            entry.acknowledge();
        }
        Ok(())
    }

    fn use_key(&mut self) -> Result<(), NoAnswer> {
        let place = self.any_key();
        let length = 1 + self.chance.below(300);
        let input = self.chance.bytes(length);
        let key = &self.ledger.keys[place];
        let (verb, result, body) = match key.kind {
            Kind::Cipher => {
                ("encrypt", "ciphertext", json!({ "plaintext": base64(&input), "context": { "key": key.id } }))
            }
            Kind::Signature => ("sign", "signature", json!({ "message": base64(&input) })),
            Kind::Mac => ("mac", "mac", json!({ "message": base64(&input) })),
        };
        let answer = self.user.try_call(Method::POST, &format!("/v1/keys/{}/{verb}", key.id), &body)?;
        let made = self.noted(&answer);
        let (output, version) = (made[result].as_str().unwrap().to_owned(), made["version"].as_u64().unwrap());
        self.ledger.keys[place].made.push(Made { input, output, version });
        Ok(())
    }
}
