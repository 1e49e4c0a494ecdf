//! Each operation over HTTPS, with the example of the description as its body.

use keyreeve_tests::Method;
use serde_json::{Value, json};

use super::Actor;

/// Whether policy refuses an operation on the first of its routes that takes JSON or nothing.
pub(super) fn denied(actor: &Actor<'_>, operation: &str) -> bool {
    let routes = &actor.stage.operations[operation];
    let route = routes.iter().find(|route| !route.contains("{path}")).or(routes.first());
    let (verb, path) = route.unwrap_or_else(|| panic!("{operation} has no route")).split_once(' ').unwrap();
    let body = body(actor, operation, verb, path);
    let api = actor.stage.up.api("all", &actor.token_for(operation));
    let answer = api.call(verb.parse::<Method>().unwrap(), &target(actor, operation, path), &body);
    assert_ne!((answer.status, operation), (401, "key.describe"), "{answer}");
    super::denied(&answer)
}

/// The example, or what does less harm.
fn body(actor: &Actor<'_>, operation: &str, verb: &str, path: &str) -> Value {
    let nothing = "forbid (principal, action, resource) when { 1 == 2 };";
    match operation {
        "policy.put" => return json!({ "text": nothing }),
        "policy.apply" => return json!({ "policies": { "nothing": nothing }, "dry_run": true }),
        "key.generate-data-key" => return json!({ "plaintext": true }),
        "key.generate-data-key-without-plaintext" => return json!({ "plaintext": false }),
        _ => {}
    }
    let content =
        &actor.stage.description["paths"][path][verb.to_lowercase()]["requestBody"]["content"]["application/json"];
    let mut example = content["example"].clone();
    if example.get("ciphertext").is_some_and(|text| text.as_str().is_some_and(|text| text.starts_with("kr1."))) {
        example["ciphertext"] = json!(actor.stage.ciphertext);
    }
    example
}

/// A path with things in the place of names: a key to be brought to any state where one is.
fn target(actor: &Actor<'_>, operation: &str, path: &str) -> String {
    let stage = actor.stage;
    let digits = "0190a7b2c3d4e5f60718293a4b5c6d7e";
    let prefix = match path.split('/').nth(2).unwrap_or_default() {
        "tokens" => "tok",
        "grants" => "grt",
        "approvals" => "apr",
        "imports" => "imp",
        "incidents" => "inc",
        "emergencies" => "emg",
        "holds" => "hld",
        "reviews" => "rvw",
        "jobs" => "job",
        "escrow" => "rcv",
        "mfa" => "mfa",
        "credentials" => "crd",
        _ => "rec",
    };
    let mut target = path.replace("{keyring}", "default").replace("{path}", "checkpoint").replace("{name}", "somebody");
    if target.ends_with("/integrity/quarantine") {
        target.push_str("?place=principals%2Fsomebody");
    }
    if target.contains("{key}") {
        let lives = !operation.starts_with("key.") || path.split('/').nth(4).is_some();
        let key = if lives && changes(operation) { stage.doomed() } else { "orders".to_owned() };
        target = target.replace("{key}", &key);
    }
    if operation == "audit.prove" {
        // Of one's own record, which everybody may prove.
        let api = stage.up.api("all", &actor.token);
        let own = api.post("/v1/random", &json!({ "bytes": 1 }));
        target = target.replace("{id}", own.record().unwrap());
    }
    if path.starts_with("/v1/principals/") {
        target = target.replace("{id}", &format!("crd_{digits}"));
    }
    target = target.replace("{id}", &format!("{prefix}_{digits}"));
    while let Some((before, after)) = target.split_once('{') {
        let (_, after) = after.split_once('}').unwrap();
        target = format!("{before}somebody{after}");
    }
    target
}

/// Whether an operation changes the state of the key that it is on.
pub(super) fn changes(operation: &str) -> bool {
    let verbs =
        ["activate", "suspend", "deactivate", "compromise", "rotate", "destruction", "destroy", "update", "hold"];
    verbs.iter().any(|verb| operation.contains(verb)) && operation != "key.destruction"
}
