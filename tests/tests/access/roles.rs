//! The role matrix from outside: every operation of the catalogue, tried by every shipped role over HTTPS and with the
//! command line, is allowed exactly where the table says (A1, A9).
//!
//! The table is that of the engine's own test; the operations are those that the running server names. An operation
//! without a route, without a command or without a place in the table fails here.

mod cli;
mod rest;
mod table;

use keyreeve_tests::{Answer, Api, Factor, Layout, Production, Up, base64};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

use self::table::Row;

/// Operations that nobody asks for: the server's own, those that are decided together with another, and what is no
/// operation.
const NOBODY_ASKS: [&str; 13] = [
    "system.health",
    "system.metrics",
    "request.refuse",
    "key.verify-destruction",
    "key.end-material",
    "key.re-encrypt-to",
    "emergency.look-after",
    "job.step",
    "backup.restored",
    "backup.record",
    "system.started",
    "system.rolled-back",
    "integrity.quarantine",
];
/// What ends the means to ask for more comes last, in this order.
const LAST: [&str; 3] = ["token.renew", "token.revoke-self", "system.seal"];
/// The services that the keys name.
const CONSUMERS: [&str; 2] = ["ci", "shop"];

/// A deployment with keys that name the services.
struct Stage {
    production: Production,
    up: Up,
    operator: Api,
    keeper: Api,
    auditor: Api,
    ciphertext: String,
    /// Routes by operation: `POST /v1/keys/{key}/encrypt`.
    operations: BTreeMap<String, Vec<String>>,
    /// The description that the server gives of itself (OpenAPI).
    description: Value,
    home: tempfile::TempDir,
}

/// Somebody in a role.
struct Actor<'a> {
    stage: &'a Stage,
    name: String,
    token: String,
}

impl Stage {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut production = Production::prepare(home.path(), &Layout::default());
        let up = production.start_new();
        let [operator, keeper, auditor] =
            [&production.people.operator, &production.people.keeper, &production.people.auditor]
                .map(|token| up.api("all", token));
        for alias in ["orders", "archive"] {
            let _ = keeper.post("/v1/keys", &json!({ "aliases": [alias], "consumers": CONSUMERS })).ok();
        }
        let body = json!({ "plaintext": base64("secret"), "context": { "tenant": "acme" } });
        let user = up.api("all", &production.people.user);
        let ciphertext = user.post("/v1/keys/orders/encrypt", &body).ok()["ciphertext"].as_str().unwrap().to_owned();
        let actions = operator.get("/v1/actions").ok();
        let actions = actions.as_array().or_else(|| actions["items"].as_array()).unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let routes = |action: &Value| action["routes"].as_array().unwrap().iter().map(text).collect();
        let operations = actions.iter().map(|action| (text(&action["name"]), routes(action))).collect();
        let description = operator.get("/v1/openapi.json").ok();
        Self { production, up, operator, keeper, auditor, ciphertext, operations, description, home }
    }

    /// Every operation that somebody asks for, those that end something last.
    fn asked_for(&self) -> Vec<&str> {
        let asked = |name: &&str| !NOBODY_ASKS.contains(name);
        let mut names: Vec<&str> = self.operations.keys().map(String::as_str).filter(asked).collect();
        names.sort_by_key(|name| LAST.iter().position(|last| last == name).map_or(0, |place| place + 1));
        names
    }

    /// Somebody in a role of the table, fresh.
    fn actor(&self, row: &Row, n: usize) -> Actor<'_> {
        let name = match (row.role.as_str(), row.kind.as_str()) {
            ("pipeline", "service") => CONSUMERS[0].to_owned(),
            ("application", "service") => CONSUMERS[1].to_owned(),
            (role, kind) => format!("{role}-{kind}-{n}"),
        };
        let principal = json!({ "kind": row.kind, "roles": [row.role], "networks": ["127.0.0.0/8"] });
        let _ = self.operator.put(&format!("/v1/principals/{name}"), &principal).ok();
        let token = self.token(&name);
        if row.kind == "person" {
            let _ = Factor::invited(&self.operator, &self.up.api("all", &token), &name);
        }
        Actor { stage: self, name, token }
    }

    fn token(&self, name: &str) -> String {
        let issued = self.operator.post("/v1/tokens", &json!({ "principal": name, "seconds": 86_400 })).ok();
        issued["token"].as_str().unwrap().to_owned()
    }

    /// A key that may be brought to any state.
    fn doomed(&self) -> String {
        let body = json!({ "consumers": CONSUMERS });
        self.keeper.post("/v1/keys", &body).ok()["id"].as_str().unwrap().to_owned()
    }

    /// What the audit log says somebody tried.
    fn recorded(&self, name: &str) -> BTreeSet<String> {
        let (mut seen, mut before) = (BTreeSet::new(), String::new());
        loop {
            let page = self.auditor.get(&format!("/v1/audit?principal={name}&limit=1000{before}")).ok();
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["operation"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return seen,
            }
        }
    }

    /// Opens the server again.
    fn reopen(&self) {
        self.production.unseal(&self.up);
    }
}

impl Actor<'_> {
    /// The token to ask with: one of its own where it will be ended. That one carries no second factor.
    fn token_for(&self, operation: &str) -> String {
        let ends = ["token.renew", "token.revoke-self"].contains(&operation);
        if ends { self.stage.token(&self.name) } else { self.token.clone() }
    }
}

/// Whether a refusal is one of policy.
fn is_denied(status: u16, code: &str) -> bool {
    status == 403 && matches!(code, "denied" | "mfa-needed")
}

fn denied(answer: &Answer) -> bool {
    answer.status >= 400 && is_denied(answer.status, &answer.problem())
}

/// Tries everything in every role; `try_one` says whether it was denied, or that there is no way to ask.
fn matrix(unreached: &[&str], try_one: impl Fn(&Actor<'_>, &str) -> Option<bool>) {
    let stage = Stage::new();
    let table = table::read();
    let mut wrong = Vec::new();
    for (n, row) in table.rows.iter().enumerate() {
        let actor = stage.actor(row, n);
        let mut tried = BTreeSet::new();
        for operation in stage.asked_for() {
            let Some(denied) = try_one(&actor, operation) else { continue };
            tried.insert(operation.to_owned());
            let may = row.may.contains(operation) || table.everybody.contains(operation);
            if denied == may {
                let told = if denied { "was denied" } else { "was not denied" };
                wrong.push(format!("{operation} as {} {} {told}", row.kind, row.role));
            }
            if operation == "system.seal" && !denied {
                stage.reopen();
            }
        }
        // What is only counted leaves no record; the rest must have come so far.
        tried.remove("system.status");
        let recorded = stage.recorded(&actor.name);
        let excused = |name: &&String| of_strangers(name) || unreached.contains(&name.as_str());
        let lost: Vec<_> = tried.difference(&recorded).filter(|name| !excused(name)).collect();
        wrong.extend(lost.iter().map(|name| format!("{name} as {} {} was never reached", row.kind, row.role)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Operations whose record names nobody: they are asked for by who is not known yet.
fn of_strangers(operation: &str) -> bool {
    operation.starts_with("login.") || matches!(operation, "credential.unwrap" | "system.init" | "system.unseal")
}

#[test]
fn every_role_may_do_over_https_exactly_what_its_row_says() {
    matrix(&[], |actor, operation| Some(rest::denied(actor, operation)));
}

#[test]
fn every_role_may_do_with_the_command_line_exactly_what_its_row_says() {
    matrix(&cli::BEHIND_ANOTHER, cli::denied);
}

#[test]
fn every_operation_has_a_route_and_a_command_and_the_table_names_no_other() {
    let stage = Stage::new();
    let table = table::read();
    for name in table.rows.iter().flat_map(|row| &row.may).chain(&table.everybody) {
        assert!(stage.operations.contains_key(name), "the table names `{name}`, which is no operation");
    }
    for name in stage.asked_for() {
        assert!(cli::named().any(|named| named == name), "`{name}` has no row in tests/tests/access/roles/cli.rs");
        assert!(!stage.operations[name].is_empty(), "`{name}` has no route");
    }
}
