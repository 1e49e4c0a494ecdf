//! What the audit log says of each kind of operation (U1), and of a key until after its end (K1, R8).

use keyreeve_tests::{Api, Layout, Method, Production, Up, base64};
use serde_json::{Value, json};

struct Office {
    production: Production,
    up: Up,
    operator: Api,
    keeper: Api,
    user: Api,
    auditor: Api,
    _home: tempfile::TempDir,
}

impl Office {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut production = Production::prepare(home.path(), &Layout::default());
        let up = production.start_new();
        let people = &production.people;
        let [operator, keeper, user, auditor] =
            [&people.operator, &people.keeper, &people.user, &people.auditor].map(|token| up.api("all", token));
        Self { production, up, operator, keeper, user, auditor, _home: home }
    }

    /// The record of an answer, after a look at what every record has.
    #[track_caller]
    fn record(&self, answer: &keyreeve_tests::Answer, operation: &str, by: &str) -> Value {
        let id = answer.record().unwrap_or_else(|| panic!("no record: {answer}"));
        record_in(&self.auditor, id, operation, by)
    }
}

#[track_caller]
fn record_in(auditor: &Api, id: &str, operation: &str, by: &str) -> Value {
    let page = auditor.get(&format!("/v1/audit?operation={operation}&limit=100")).ok();
    let found = page["items"].as_array().unwrap().iter().find(|record| record["id"] == id).cloned();
    let record = found.unwrap_or_else(|| panic!("{operation} {id} is not in the log"));
    assert_eq!(record["principal"], by, "{record}");
    assert!(record["time"].as_str().unwrap().starts_with("20"), "{record}");
    assert!(!record["request"].as_str().unwrap().is_empty(), "{record}");
    record
}

#[test]
fn uses_are_recorded_with_who_what_when_and_where_from() {
    let office = Office::new();
    let key = office.keeper.make_key("xaes-256-gcm", None);
    let path = |verb: &str| format!("/v1/keys/{key}/{verb}");
    let sealing = json!({ "plaintext": base64("text"), "context": { "customer": "42" } });
    let sealed = office.user.post(&path("encrypt"), &sealing);
    let record = office.record(&sealed, "key.encrypt", "user");
    assert_eq!((&record["resource"]["id"], &record["resource"]["version"]), (&json!(key), &json!(1)), "{record}");
    assert_eq!((&record["outcome"], &record["context"]["customer"]), (&json!("ok"), &json!("42")), "{record}");
    assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1"), "{record}");
    assert_eq!(record["method"], "token");
    // What did not go well is there as well, with the reason.
    let denied = office.auditor.post(&path("encrypt"), &sealing);
    let record = office.record(&denied, "key.encrypt", "auditor");
    assert_eq!((&record["outcome"], &record["code"]), (&json!("refused"), &json!("denied")), "{record}");
    assert_eq!(record["resource"]["id"], key.as_str());
    let opening = json!({ "ciphertext": sealed.ok()["ciphertext"], "context": { "customer": "43" } });
    let broken = office.user.post(&path("decrypt"), &opening);
    let record = office.record(&broken, "key.decrypt", "user");
    assert_eq!((&record["outcome"], &record["context"]["customer"]), (&json!("refused"), &json!("43")), "{record}");
    let stranger = office.up.api("all", &format!("krt_{}_{}", "0".repeat(32), "0".repeat(64)));
    let unknown = stranger.post(&path("encrypt"), &sealing);
    let record = office.record(&unknown, "key.encrypt", "unknown");
    assert_eq!((&record["outcome"], &record["code"]), (&json!("refused"), &json!("unauthenticated")), "{record}");
    let batch = json!({ "items": [{ "plaintext": base64("a") }, { "plaintext": base64("b") }] });
    assert_eq!(office.record(&office.user.post(&path("encrypt"), &batch), "key.encrypt", "user")["count"], 2);
}

#[test]
fn changes_are_recorded_with_what_changed_and_why() {
    let office = Office::new();
    let key = office.keeper.make_key("xaes-256-gcm", None);
    let change = |verb: &str, body: &Value| {
        let answer = office.keeper.post(&format!("/v1/keys/{key}/{verb}"), body);
        let _ = answer.ok();
        office.record(&answer, &format!("key.{verb}"), "keeper")["details"].clone()
    };
    let rotated = change("rotate", &json!({ "reason": "yearly" }));
    assert_eq!((&rotated["old_version"], &rotated["new_version"]), (&json!("1"), &json!("2")), "{rotated}");
    assert_eq!(rotated["reason"], "yearly");
    let revoked = change("compromise", &json!({ "version": 1, "reason": "a laptop was lost" }));
    assert_eq!(revoked["reason"], "a laptop was lost");
    assert_eq!(change("suspend", &json!({ "reason": "an audit" }))["reason"], "an audit");
    assert_eq!(change("deactivate", &json!({ "reason": "replaced" }))["reason"], "replaced");
    let scheduled = change("schedule-destruction", &json!({ "days": 7, "reason": "over" }));
    assert_eq!((&scheduled["days"], &scheduled["reason"]), (&json!("7"), &json!("over")), "{scheduled}");
    assert_eq!(change("cancel-destruction", &json!({ "reason": "needed" }))["reason"], "needed");
    let given = json!({ "kind": "person", "roles": ["key-auditor", "key-user-encrypt"] });
    let granted = office.operator.put("/v1/principals/nina", &given);
    let details = office.record(&granted, "principal.put", "operator")["details"].clone();
    assert_eq!(
        (&details["grantee"], &details["permissions"]),
        (&json!("nina"), &json!("key-auditor key-user-encrypt"))
    );
    let token = office.operator.post("/v1/tokens", &json!({ "principal": "nina" }));
    assert_eq!(office.record(&token, "token.create", "operator")["details"]["grantee"], "nina");
    let id = token.ok()["id"].as_str().unwrap().to_owned();
    let revoked = office.operator.call(Method::DELETE, &format!("/v1/tokens/{id}"), &Value::Null);
    assert_eq!(office.record(&revoked, "token.revoke", "operator")["details"]["grantee"], "nina");
}

/// With the program `faketime`, which moves the clock of the server that it starts.
mod faketime {
    use super::*;
    use keyreeve_tests::{Server, clock_mover, not_run, wait_until};
    use std::time::Duration;

    impl Office {
        /// A token that outlives the time travelled.
        fn lasting(&self, principal: &str) -> String {
            let body = json!({ "principal": principal, "seconds": 60 * 86_400 });
            self.operator.post("/v1/tokens", &body).ok()["token"].as_str().unwrap().to_owned()
        }
    }

    /// A server of the deployment whose clock is so many days ahead.
    fn days_later(production: &Production, library: &str, days: u32) -> Up {
        let mut command = production.command();
        command.env("LD_PRELOAD", library).env("FAKETIME", format!("+{days}d"));
        let up = production.wait(Server::spawn(&mut command));
        production.unseal(&up);
        up
    }

    const PEOPLE: [&str; 3] = ["keeper", "user", "auditor"];

    /// Somebody who has just shown a second factor to a server whose clock is so many days ahead.
    fn shown(production: &mut Production, up: &Up, name: &str, token: &str, days: u64) -> Api {
        let api = up.api("all", token);
        let ahead = Duration::from_secs(days * 86_400);
        production.factors.get_mut(name).unwrap().show(&api, ahead);
        api
    }

    /// A ciphertext by this key.
    fn seal(user: &Api, key: &str) -> Value {
        user.post(&format!("/v1/keys/{key}/encrypt"), &json!({ "plaintext": base64("text") })).ok()["ciphertext"]
            .clone()
    }

    /// After its waiting period a key is gone; what it was, who ended it and the proof of that stay.
    #[test]
    fn a_key_is_destroyed_when_its_time_has_come() {
        let Some(library) = clock_mover() else { return not_run("there is no faketime") };
        let office = Office::new();
        let tokens = PEOPLE.map(|name| office.lasting(name));
        let body = json!({ "aliases": ["gone"], "reason": "ticket 17" });
        let key = office.keeper.post("/v1/keys", &body).ok()["id"].as_str().unwrap().to_owned();
        let neighbour = office.keeper.make_key("xaes-256-gcm", None);
        let (lost, kept) = (seal(&office.user, &key), seal(&office.user, &neighbour));
        let before = office.keeper.get(&format!("/v1/keys/{key}")).ok()["versions"][0].clone();
        let waiting = json!({ "days": 7, "reason": "the contract ended" });
        let _ = office.keeper.post(&format!("/v1/keys/{key}/schedule-destruction"), &waiting).ok();
        let Office { mut production, up, operator, keeper, user, auditor, _home } = office;
        // A server that ends waits for those who are still connected.
        drop((operator, keeper, user, auditor));
        assert!(up.server.terminate().success());
        // A day early there is nothing to be seen of it yet.
        let early = days_later(&production, &library, 6);
        let keeper = shown(&mut production, &early, "keeper", &tokens[0], 6);
        assert_eq!(keeper.get(&format!("/v1/keys/{key}")).ok()["state"], "active");
        drop(keeper);
        assert!(early.server.terminate().success());
        let up = days_later(&production, &library, 8);
        let [keeper, user, auditor] = [0, 1, 2].map(|n| shown(&mut production, &up, PEOPLE[n], &tokens[n], 8));
        let path = format!("/v1/keys/{key}/destruction");
        assert!(wait_until(Duration::from_secs(60), || keeper.get(&path).status == 200), "the key stays");
        let proof = keeper.get(&path).ok();
        assert_eq!((&proof["requested_by"], &proof["destroyed_by"]), (&json!("keeper"), &json!("system")));
        assert_eq!((&proof["reason"], &proof["versions"][0]["version"]), (&json!("the contract ended"), &json!(1)));
        assert!(!proof["verified"].as_array().unwrap().is_empty(), "{proof}");
        user.post("/v1/decrypt", &json!({ "ciphertext": lost })).refused(409, "wrong-state");
        let back = user.post("/v1/decrypt", &json!({ "ciphertext": kept })).ok();
        assert_eq!(back["plaintext"], base64("text"));
        // Where the key came from is known still.
        let after = keeper.get(&format!("/v1/keys/{key}")).ok();
        assert_eq!(
            (&after["state"], &after["versions"][0]["provenance"]),
            (&json!("destroyed"), &before["provenance"])
        );
        for operation in ["key.destroy", "key.verify-destruction"] {
            let found = || auditor.get(&format!("/v1/audit?operation={operation}")).ok()["items"][0].clone();
            assert!(wait_until(Duration::from_secs(60), || !found().is_null()), "{operation} is not on record");
            let record = found();
            assert_eq!(record["details"]["verification_hash"], proof["verification_hash"], "{record}");
            assert_eq!((&record["principal"], &record["resource"]["id"]), (&json!("system"), &json!(key)), "{record}");
        }
    }
}
