//! What one person does in a hurry and a second one confirms, what is held, and a right that is asked for, with the
//! command line.

use keyreeve_tests::{Cli, Done, Layout, Production, Up, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

use super::{House, text};

/// A deployment with rules in force, and a key that belongs to owen.
struct Desk {
    production: Production,
    up: Up,
    house: House,
    key: String,
}

impl Desk {
    fn open(home: &std::path::Path) -> Self {
        let mut production = Production::prepare(home, &Layout::default());
        let up = production.start_new();
        let house = House::build(&production, &up);
        let new = json!({ "algorithm": "xaes-256-gcm", "owner": "owen", "aliases": ["orders"] });
        let made = up.api("all", &production.people.keeper).post("/v1/keys", &new).ok();
        let key = text(&made, "id").to_owned();
        Self { production, up, house, key }
    }

    fn cli(&self, name: &str) -> Cli {
        let house = &self.house;
        let people = [
            ("sue", &house.sue),
            ("carl", &house.carl),
            ("lea", &house.lea),
            ("pat", &house.pat),
            ("dora", &house.dora),
        ];
        let (_, person) = people.into_iter().find(|(known, _)| *known == name).unwrap();
        person.cli(&self.production, name)
    }

    fn encrypted(&self) -> u16 {
        let user = self.up.api("all", &self.production.people.user);
        user.post(&format!("/v1/keys/{}/encrypt", self.key), &json!({ "plaintext": "YQ==" })).status
    }
}

/// The approval that a command waits for.
fn waits(done: Done) -> String {
    let done = done.code(11);
    let start = done.stderr.find("apr_").unwrap_or_else(|| panic!("{done:?}"));
    done.stderr[start..].chars().take("apr_".len() + 32).collect()
}

fn one(listed: &Value) -> &Value {
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{listed}");
    &items[0]
}

#[test]
fn one_person_revokes_with_an_incident_and_a_second_one_confirms_the_replacement() {
    let home = tempfile::tempdir().unwrap();
    let desk = Desk::open(home.path());
    let (sue, carl) = (desk.cli("sue"), desk.cli("carl"));
    assert_eq!(desk.encrypted(), 200);
    let _ = sue.ok(&["key", "compromise", "orders", "--reason", "laptop stolen"]);
    assert_ne!(desk.encrypted(), 200);
    let listed = sue.json(&["incident", "list", "--open"]);
    let about = |incident: &&Value| incident["keys"] == json!([desk.key]);
    let incident = listed["items"].as_array().unwrap().iter().find(about).unwrap_or_else(|| panic!("{listed}"));
    assert_eq!((text(incident, "kind"), text(incident, "opened_by")), ("compromise", "sue"));
    let id = text(incident, "id").to_owned();
    let records = desk.up.api("all", &desk.production.people.auditor);
    let records = records.get(&format!("/v1/audit?operation=key.compromise&resource={}", desk.key)).ok();
    assert_eq!(records["items"][0]["details"]["incident"], json!(id), "{records}");

    // The replacement is confirmed by the CISO. Until then it is shown, and the incident stays open.
    let _ = sue.ok(&["key", "rotate", "orders", "--reason", "replaced"]);
    assert_eq!(desk.encrypted(), 200);
    let status = carl.ok(&["status"]);
    let next = format!("for ciso to confirm key.rotate by sue: `keyreeve incident confirm {id} 1`");
    assert!(status.contains(&next), "{status}");
    let _ = desk.cli("pat").run(&["status"]).code(0);
    let _ = sue.run(&["incident", "close", &id, "--text", "replaced"]).code(5);
    let _ = sue.run(&["incident", "confirm", &id, "1"]).code(5);
    let confirmed = carl.json(&["incident", "confirm", &id, "1"]);
    assert_eq!(confirmed["confirmations"][0]["confirmed_by"], "carl", "{confirmed}");
    assert!(!carl.ok(&["status"]).contains("to confirm"));
    let closed = sue.json(&["incident", "close", &id, "--text", "replaced"]);
    assert_eq!((text(&closed, "closed_by"), text(&closed, "conclusion")), ("sue", "replaced"));
}

#[test]
fn what_legal_holds_is_let_go_with_somebody_else() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(home.path());
    let lea = desk.cli("lea");
    let held = lea.json(&["hold", "place", "orders", "--matter", "2026-cv-1042"]);
    let id = text(&held, "id").to_owned();
    assert_eq!(text(one(&lea.json(&["hold", "list", "--key", "orders"])), "matter"), "2026-cv-1042");
    // Destroying it takes Legal besides the two others.
    let keeper = desk.up.api("all", &desk.production.people.keeper);
    let schedule =
        keeper.post(&format!("/v1/keys/{}/schedule-destruction", desk.key), &json!({ "days": 7, "reason": "over" }));
    assert_eq!(schedule.status, 202, "{schedule}");
    assert_eq!(schedule.json()["approval"]["missing"], json!(["ciso", "legal", "security-lead"]));

    let release = ["hold", "release", id.as_str(), "--reason", "case closed"];
    let approval = waits(lea.run(&release));
    desk.house.carl.approve(&approval);
    let released = lea.json(&release);
    assert_eq!(text(&released, "released_by"), "lea", "{released}");
    assert_eq!(lea.json(&["hold", "list"]), json!({ "items": [] }));
    assert_eq!(text(one(&lea.json(&["hold", "list", "--released"])), "id"), id);
}

#[test]
fn a_right_that_was_asked_for_is_there_once_others_agreed_and_ends_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(home.path());
    let pat = desk.cli("pat");
    let encrypt = || pat.run_with(&["encrypt", "--small", "orders"], b"x").code;
    let wished = ["--key", "orders", "--operation", "key.encrypt", "--for", "20s", "--reason", "case 4711"];
    let request = [&["grant", "request"][..], &wished].concat();
    let approval = waits(pat.run(&request));
    assert_eq!(waits(pat.run(&request)), approval, "asking again leads to the same");
    desk.house.sue.approve(&approval);
    assert_eq!(encrypt(), 3, "the key's owner did not agree yet");
    desk.house.owen.approve(&approval);
    assert_eq!(encrypt(), 3, "consent alone gives nothing");
    let given = pat.json(&request);
    assert_eq!((text(&given, "state"), text(&given, "approval")), ("active", approval.as_str()));
    assert_eq!(encrypt(), 0);
    let mine = pat.json(&["grant", "mine"]);
    assert_eq!(text(one(&mine), "id"), text(&given, "id"));
    assert!(wait_until(Duration::from_secs(60), || encrypt() == 3), "it ends");
    assert_eq!(pat.json(&["grant", "mine"]), json!({ "items": [] }));
    let shown = desk.house.operator.get(&format!("/v1/grants/{}", text(&given, "id"))).ok();
    assert_eq!(text(&shown, "state"), "expired");
}
