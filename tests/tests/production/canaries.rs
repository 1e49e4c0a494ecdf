//! Secrets that can be recognised go through everything; then every file, log line and answer is searched for them.

use keyreeve_tests::{Answer, Api, Canaries, Layout, Method, Production, base64};
use serde_json::{Value, json};
use std::path::Path;

/// What was learned on the way: secrets, and answers that must not hold those of others.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) canaries: Canaries,
    answers: Vec<(String, Vec<u8>)>,
}

impl Findings {
    pub(crate) fn canary(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        self.canaries.add(name, secret);
    }

    /// Tokens, seeds of second factors, and shares.
    pub(crate) fn credentials(&mut self, production: &Production) {
        let people = &production.people;
        for (name, token) in [("operator", &people.operator), ("keeper", &people.keeper), ("user", &people.user)] {
            self.canary(&format!("the token of {name}"), token.rsplit('_').next().unwrap());
        }
        for (name, factor) in &production.factors {
            self.canary(&format!("the seed of {name}"), &factor.seed);
        }
        for (number, share) in production.shares.iter().enumerate() {
            self.canary(&format!("share {number}"), share);
        }
    }

    /// Keeps an answer that shall hold no secret, headers included.
    fn keep(&mut self, what: &str, answer: &Answer) {
        let headers = format!("{:?}", answer.headers).into_bytes();
        self.answers.push((what.to_owned(), [headers, answer.body.clone()].concat()));
    }

    pub(crate) fn search(&self, place: &str, text: &[u8]) {
        assert_eq!(self.canaries.found_in(text), None, "is in {place}");
    }
}

fn secret_of(answer: &Answer, field: &str) -> Vec<u8> {
    keyreeve_tests::unbase64(answer.ok()[field].as_str().unwrap())
}

/// Every operation that takes or gives a secret.
pub(crate) fn use_everything(found: &mut Findings, keeper: &Api, user: &Api) {
    let cipher = keeper.make_key("xaes-256-gcm", None);
    let sealing = |verb: &str| format!("/v1/keys/{cipher}/{verb}");
    let plaintext = "canary-plaintext-4f1d77";
    found.canary("a plaintext", plaintext);
    let sealed = user.post(&sealing("encrypt"), &json!({ "plaintext": base64(plaintext), "context": { "c": "d" } }));
    found.keep("encrypt", &sealed);
    let ciphertext = sealed.ok()["ciphertext"].clone();
    let _ = user.post("/v1/decrypt", &json!({ "ciphertext": ciphertext, "context": { "c": "d" } })).ok();
    found.keep("rewrap", &user.post("/v1/rewrap", &json!({ "ciphertext": ciphertext, "context": { "c": "d" } })));
    let octets = [("content-type", "application/octet-stream")];
    let binary = user.send(Method::POST, &sealing("encrypt"), &octets, plaintext.into()).unwrap();
    found.keep("encrypt binary", &binary);
    let data_key = user.post(&sealing("generate-data-key"), &json!({}));
    found.canary("a data key", secret_of(&data_key, "plaintext"));
    let derivation = keeper.make_key("kdk-256", None);
    let info = json!({ "hkdf": { "hash": "sha256", "info": base64("i") } });
    let derived = user.post(&format!("/v1/keys/{derivation}/derive"), &info);
    found.canary("a derived key", secret_of(&derived, "secret"));
    let wrapping = keeper.make_key("aes-256-kw", None);
    let wrapped = "canary-wrapped-key-0123456789abcdef-0123";
    found.canary("a wrapped key", wrapped);
    found.keep("wrap", &user.post(&format!("/v1/keys/{wrapping}/wrap"), &json!({ "key": base64(wrapped) })));
    let kem = keeper.make_key("ml-kem-768", None);
    found.canary(
        "a shared secret",
        secret_of(&user.post(&format!("/v1/keys/{kem}/encapsulate"), &Value::Null), "secret"),
    );
    let signer = keeper.make_key("ec-p256", Some("sign"));
    let message = "canary-message-to-sign-9d21";
    found.canary("a message", message);
    found.keep("sign", &user.post(&format!("/v1/keys/{signer}/sign"), &json!({ "message": base64(message) })));
    let mac = keeper.make_key("hmac-sha256", None);
    let tagged = user.post(&format!("/v1/keys/{mac}/mac"), &json!({ "message": base64(message) }));
    found.keep("mac", &tagged);
    let random = user.post("/v1/random", &json!({ "bytes": 32 }));
    found.canary("random bytes", secret_of(&random, "random"));
}

/// Requests that are refused with a secret in every place where a caller might put one by mistake.
fn refuse_everything(found: &mut Findings, keeper: &Api, user: &Api) {
    let misplaced = "canary-misplaced-7a7a7a";
    found.canary("a misplaced secret", misplaced);
    let cipher = keeper.make_key("aes-256-gcm", None);
    let path = format!("/v1/keys/{cipher}/encrypt");
    let json_type = [("content-type", "application/json")];
    let bodies = [
        format!("{{\"plaintext\":\"{misplaced}\"}}"),
        format!("{{\"plaintext\":\"{misplaced}"),
        format!("{{\"plaintext\":[\"{misplaced}\"]}}"),
        format!("{{\"plaintext\":{{\"x\":\"{misplaced}\"}}}}"),
        format!("\"{misplaced}\""),
        format!("{{\"items\":[{{\"plaintext\":\"{misplaced}\"}}]}}"),
    ];
    for body in bodies {
        let answer = user.send(Method::POST, &path, &json_type, body.clone().into_bytes()).unwrap();
        assert_eq!(answer.status, 400, "{body}");
        found.keep(&body, &answer);
    }
    let share = format!("krs1-{misplaced}");
    found.keep("unseal", &user.post("/v1/system/unseal", &json!({ "share": share })));
    let decrypt = user.post("/v1/decrypt", &json!({ "ciphertext": format!("kr1.{misplaced}") }));
    found.keep("decrypt", &decrypt);
    let bearer = format!("Bearer {misplaced}");
    let stranger = user.endpoint().anonymous().api();
    found.keep("token", &stranger.send(Method::GET, "/v1/keys", &[("authorization", &bearer)], Vec::new()).unwrap());
}

/// What was never written need not be searched: segments of the log are laid out in advance.
pub(crate) fn without_blanks(bytes: &[u8]) -> Vec<u8> {
    let blank = [0u8; 4096];
    bytes.chunks(blank.len()).filter(|block| **block != blank[..block.len()]).flatten().copied().collect()
}

fn search_files(found: &Findings, directory: &Path, skip: &[&str]) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files += search_files(found, &path, skip);
        } else if !skip.iter().any(|name| path.ends_with(name)) {
            found.search(&path.display().to_string(), &without_blanks(&std::fs::read(&path).unwrap()));
            files += 1;
        }
    }
    files
}

#[test]
fn secrets_are_nowhere_but_in_the_answers_they_belong_to() {
    let home = tempfile::tempdir().unwrap();
    let layout = Layout { separate: true, more: String::new(), ..Layout::default() };
    let mut production = Production::prepare(home.path(), &layout);
    let config = std::fs::read_to_string(&production.config).unwrap().replace("level = \"info\"", "level = \"debug\"");
    std::fs::write(&production.config, config).unwrap();
    let up = production.start_new();
    let mut found = Findings::default();
    found.credentials(&production);
    let people = production.people.clone();
    let (keeper, user) = (up.api("admin", &people.keeper), up.api("data", &people.user));
    use_everything(&mut found, &keeper, &user);
    refuse_everything(&mut found, &keeper, &user);
    let auditor = up.api("admin", &people.auditor);
    for path in ["/v1/keys?limit=1000", "/v1/audit?limit=1000", "/v1/policies", "/v1/keyrings"] {
        let answer = auditor.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer}");
        found.keep(path, &answer);
    }
    let operator = up.api("admin", &people.operator);
    for path in ["/v1/tokens", "/v1/principals", "/v1/system/status"] {
        found.keep(path, &operator.get(path));
    }
    found.keep("metrics", &up.endpoint("metrics").api().get("/metrics"));
    for (what, text) in &found.answers {
        found.search(&format!("the answer of {what}"), text);
    }
    found.search("the server's log", up.server.log().as_bytes());
    assert!(up.server.log().contains("answered"), "the log of requests was not on");
    drop((keeper, user, auditor, operator));
    assert!(up.server.terminate().success());
    assert!(search_files(&found, home.path(), &[]) > 10);
    assert!(found.canaries.count() > 10 && found.answers.len() > 15);
}
