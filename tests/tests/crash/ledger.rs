//! What one caller was told is done, and how that is held against a server.

use keyreeve_tests::{Api, Chance, base64};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::site::Callers;

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cipher,
    Signature,
    Mac,
}

/// The algorithms in the load.
pub(crate) const ALGORITHMS: [(&str, Kind); 6] = [
    ("xaes-256-gcm", Kind::Cipher),
    ("aes-256-gcm", Kind::Cipher),
    ("chacha20-poly1305", Kind::Cipher),
    ("ec-p256", Kind::Signature),
    ("ed25519", Kind::Signature),
    ("hmac-sha256", Kind::Mac),
];

/// A value that was acknowledged, and one that was sent and not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Doubt<T> {
    pub(crate) known: T,
    pub(crate) sent: Option<T>,
}

impl<T: PartialEq + std::fmt::Debug> Doubt<T> {
    pub(crate) fn acknowledge(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.known = sent;
        }
    }

    /// What the server has must be one of the two; from now on it is known.
    fn settle(&mut self, found: T, what: &str) {
        let sent = self.sent.take();
        assert!(
            found == self.known || Some(&found) == sent.as_ref(),
            "{what}: {found:?} is neither {self:?} nor {sent:?}"
        );
        self.known = found;
    }
}

/// A plaintext or message, and what the server made of it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) input: Vec<u8>,
    pub(crate) output: String,
    pub(crate) version: u64,
}

/// An acknowledged key.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) versions: u64,
    pub(crate) description: Doubt<String>,
    pub(crate) made: Vec<Made>,
    checked: usize,
}

impl KeyEntry {
    pub(crate) fn new(id: String, kind: Kind) -> Self {
        Self { id, kind, versions: 1, description: Doubt::default(), made: Vec::new(), checked: 0 }
    }
}

/// An acknowledged token.
#[derive(Debug)]
pub(crate) struct TokenEntry {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) revoked: bool,
}

/// Everything one caller was told.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) number: usize,
    pub(crate) keys: Vec<KeyEntry>,
    /// Keys whose destruction was scheduled.
    pub(crate) doomed: Vec<String>,
    pub(crate) tokens: Vec<TokenEntry>,
    pub(crate) policies: BTreeMap<String, Doubt<String>>,
    pub(crate) records: Vec<String>,
    /// Requests for keys that got no answer: their idempotency keys and bodies.
    pub(crate) unanswered: Vec<(String, Kind, Value)>,
}

/// Older things that are looked at again in each round (count).
const SAMPLE: usize = 10;
/// Revoked tokens that are tried in each round: refusals are limited per source.
const REVOKED: usize = 2;

impl Ledger {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            keys: Vec::new(),
            doomed: Vec::new(),
            tokens: Vec::new(),
            policies: BTreeMap::new(),
            records: Vec::new(),
            unanswered: Vec::new(),
        }
    }

    /// Compares a server with this ledger, after a crash.
    pub(crate) fn check(&mut self, people: &Callers, chance: &mut Chance, everything: bool) {
        let (keeper, user, operator) = (people.keeper.api(), people.user.api(), people.operator.api());
        self.check_unanswered(&keeper);
        for key in &mut self.keys {
            check_key(key, &keeper);
            check_made(key, &user, chance, everything);
        }
        for id in &self.doomed {
            let key = keeper.get(&format!("/v1/keys/{id}")).ok();
            assert!(key["destruction"]["due"].is_string(), "the scheduled destruction is lost: {key}");
        }
        self.check_policies(&operator);
        self.check_tokens(people, chance, everything);
    }

    /// A retry under the same idempotency key finds the key that was made, or makes it: there is one in the end.
    fn check_unanswered(&mut self, keeper: &Api) {
        for (idempotency, kind, body) in std::mem::take(&mut self.unanswered) {
            let headers = [("content-type", "application/json"), ("idempotency-key", idempotency.as_str())];
            let bytes = serde_json::to_vec(&body).unwrap();
            let answer = keeper.send(keyreeve_tests::Method::POST, "/v1/keys", &headers, bytes).unwrap();
            let made = answer.ok();
            let alias = body["aliases"][0].as_str().unwrap();
            let found = keeper.get(&format!("/v1/keys/{alias}")).ok();
            assert_eq!(made["id"], found["id"], "two keys for one request");
            self.records.extend(answer.record().map(str::to_owned));
            self.keys.push(KeyEntry::new(made["id"].as_str().unwrap().to_owned(), kind));
        }
    }

    fn check_policies(&mut self, operator: &Api) {
        for (name, text) in &mut self.policies {
            let answer = operator.get(&format!("/v1/policies/{name}"));
            let found = match answer.status {
                // It may never have been made if its only request got no answer.
                404 if text.known.is_empty() => String::new(),
                _ => answer.ok()["text"].as_str().unwrap().to_owned(),
            };
            text.settle(found, name);
        }
    }

    fn check_tokens(&self, people: &Callers, chance: &mut Chance, everything: bool) {
        let (revoked, valid): (Vec<_>, Vec<_>) = self.tokens.iter().partition(|token| token.revoked);
        let some = |from: Vec<_>, count: usize, chance: &mut Chance| -> Vec<&TokenEntry> {
            if everything && count > REVOKED {
                return from;
            }
            (0..count).filter_map(|_| chance.pick(&from).copied()).collect()
        };
        for token in some(valid, SAMPLE, chance) {
            let who = people.user.with_token(&token.secret).api().get("/v1/tokens/self").ok();
            assert_eq!(who["token"], token.id.as_str());
        }
        for token in some(revoked, REVOKED, chance) {
            people.user.with_token(&token.secret).api().get("/v1/tokens/self").refused(401, "unauthenticated");
        }
    }
}

fn check_key(key: &mut KeyEntry, keeper: &Api) {
    let found = keeper.get(&format!("/v1/keys/{}", key.id)).ok();
    assert_eq!(found["id"], key.id.as_str());
    let versions = found["version_count"].as_u64().unwrap();
    // A rotation that got no answer may have been done.
    assert!(versions >= key.versions, "version {} of {} is missing: {found}", key.versions, key.id);
    assert_eq!(found["versions"].as_array().unwrap().len() as u64, versions);
    key.versions = versions;
    key.description.settle(found["description"].as_str().unwrap().to_owned(), &key.id);
}

/// What was made since the last crash, and some of what was made before.
fn check_made(key: &mut KeyEntry, user: &Api, chance: &mut Chance, everything: bool) {
    let old = if everything { 0..key.checked } else { 0..0 };
    let mut chosen: Vec<&Made> = key.made[old].iter().chain(&key.made[key.checked..]).collect();
    if !everything {
        chosen.extend((0..SAMPLE).filter_map(|_| chance.pick(&key.made[..key.checked])));
    }
    // Verifying without a version tries the newest ones only.
    let mut versions: BTreeMap<u64, Vec<&Made>> = BTreeMap::new();
    for made in chosen {
        versions.entry(made.version).or_default().push(made);
    }
    for (version, made) in versions {
        made.chunks(500).for_each(|batch| check_batch(key, version, batch, user));
    }
    key.checked = key.made.len();
}

fn check_batch(key: &KeyEntry, version: u64, batch: &[&Made], user: &Api) {
    let items = batch.iter().map(|Made { input, output, .. }| match key.kind {
        Kind::Cipher => json!({ "ciphertext": output }),
        Kind::Signature => json!({ "message": base64(input), "signature": output }),
        Kind::Mac => json!({ "message": base64(input), "mac": output }),
    });
    let items: Vec<Value> = items.collect();
    let (verb, body) = match key.kind {
        Kind::Cipher => ("decrypt", json!({ "items": items, "context": { "key": key.id } })),
        Kind::Signature => ("verify", json!({ "items": items, "version": version })),
        Kind::Mac => ("verify-mac", json!({ "items": items, "version": version })),
    };
    let answer = user.post(&format!("/v1/keys/{}/{verb}", key.id), &body).ok();
    let results = answer["items"].as_array().unwrap();
    assert_eq!(results.len(), batch.len());
    for (result, Made { input, output, .. }) in results.iter().zip(batch) {
        match key.kind {
            Kind::Cipher => assert_eq!(result["plaintext"], base64(input), "{} {output}: {result}", key.id),
            Kind::Signature | Kind::Mac => assert_eq!(result["valid"], true, "{} {output}: {result}", key.id),
        }
    }
}
