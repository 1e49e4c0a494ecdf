//! Keys and keyrings through their whole life.

use serde_json::json;

use crate::Desk;

#[test]
fn keyrings_are_made_and_shown() {
    let desk = Desk::new();
    let words =
        ["keyring", "create", "sandbox", "--environment", "development", "--owner", "us", "--allow-deterministic"];
    let made = desk.cli.json(&words);
    assert_eq!((&made["name"], &made["environment"]), (&json!("sandbox"), &json!("development")));
    assert_eq!(desk.cli.json(&["keyring", "show", "sandbox"]), made);
    let listed = desk.cli.json(&["keyring", "list"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(desk.cli.ok(&["keyring", "list"]).contains("sandbox"));
    let reason = ["--keyring", "sandbox", "--algorithm", "aes-256-gcm-siv"];
    let _ = desk.cli.run(&[&["key", "create"], &reason[..]].concat()).code(2);
    desk.key("same", &[&reason[..], &["--deterministic-reason", "join keys"]].concat());
    let twice: Vec<String> =
        (0..2).map(|_| desk.cli.run_with(&["encrypt", "same", "--small"], b"x").code(0).text()).collect();
    assert_eq!(twice[0], twice[1]);
    let other = ["key", "create", "--keyring", "sandbox", "--environment", "production"];
    assert_ne!(desk.cli.run(&other).code, 0);
}

#[test]
fn keys_are_made_found_and_altered() {
    let desk = Desk::new();
    let algorithms = desk.cli.json(&["algorithms"]);
    assert!(algorithms["items"].as_array().unwrap().len() >= 20);
    let words =
        ["--algorithm", "ec-p256", "--purpose", "sign", "--label", "team=shop", "--owner", "us", "--description", "d"];
    desk.key("releases", &words);
    desk.key("orders", &["--label", "team=shop", "--consumer", "backend"]);
    desk.key("later", &["--inactive"]);
    desk.key("next", &["--activates", "2099-01-01"]);
    let count = |words: &[&str]| desk.cli.json(&[&["key", "list"], words].concat())["items"].as_array().unwrap().len();
    assert_eq!(count(&[]), 4);
    assert_eq!(count(&["--label", "team=shop"]), 2);
    assert_eq!(count(&["--algorithm", "ec-p256"]), 1);
    assert_eq!(count(&["--state", "pre-activation"]), 2);
    assert_eq!(count(&["--text", "order"]), 1);
    let first = desk.cli.json(&["key", "list", "--limit", "3"]);
    assert_eq!(first["items"].as_array().unwrap().len(), 3);
    assert_eq!(count(&["--after", first["next"].as_str().unwrap()]), 1);
    assert_eq!(count(&["--all"]), 4);
    let _ = desk.cli.run_with(&["encrypt", "later", "--small"], b"x").code(5);
    let _ = desk.cli.ok(&["key", "activate", "later"]);
    let _ = desk.cli.run_with(&["encrypt", "later", "--small"], b"x").code(0);
    let _ = desk.cli.ok(&["key", "update", "later", "--description", "in use", "--add-alias", "now"]);
    let shown = desk.cli.json(&["key", "show", "now"]);
    assert_eq!((&shown["description"], &shown["state"]), (&json!("in use"), &json!("active")));
    assert_eq!(shown["history"].as_array().unwrap().len(), 1, "{shown}");
}

#[test]
fn keys_go_through_their_states() {
    let desk = Desk::new();
    desk.key("k", &[]);
    let old = desk.cli.run_with(&["encrypt", "k", "--small"], b"old").code(0).stdout;
    let rotated = desk.cli.json(&["key", "rotate", "k", "--reason", "yearly"]);
    assert_eq!(rotated["primary_version"], 2);
    let new = desk.cli.run_with(&["encrypt", "k", "--small"], b"new").code(0).stdout;
    let opens = |sealed: &[u8]| desk.cli.run_with(&["decrypt"], sealed).code;
    assert_eq!((opens(&old), opens(&new)), (0, 0));
    let _ = desk.cli.ok(&["key", "suspend", "k", "--reason", "why"]);
    assert_eq!((opens(&old), opens(&new)), (5, 5));
    let _ = desk.cli.ok(&["key", "activate", "k"]);
    let _ = desk.cli.ok(&["key", "suspend", "k", "--accept-risk", "--reason", "why"]);
    assert_eq!(opens(&old), 0);
    let _ = desk.cli.ok(&["key", "activate", "k"]);
    let _ = desk.cli.ok(&["key", "compromise", "k", "--key-version", "1", "--reason", "an old backup"]);
    assert_eq!((opens(&old), opens(&new)), (5, 0));
    let _ = desk.cli.ok(&["key", "deactivate", "k", "--reason", "replaced"]);
    assert_eq!(opens(&new), 0);
    let _ = desk.cli.run_with(&["encrypt", "k", "--small"], b"x").code(5);
    let _ = desk.cli.run(&["key", "activate", "k"]).code(5);
}

#[test]
fn destruction_waits_and_can_be_cancelled() {
    let desk = Desk::new();
    desk.key("k", &[]);
    let sealed = desk.cli.run_with(&["encrypt", "k", "--small"], b"x").code(0).stdout;
    let _ = desk.cli.run(&["key", "destroy", "schedule", "k", "--days", "6"]).code(2);
    let _ = desk.cli.run(&["key", "destroy", "schedule", "k", "--days", "31"]).code(2);
    let scheduled = desk.cli.json(&["key", "destroy", "schedule", "k", "--days", "7", "--reason", "over"]);
    assert_eq!(scheduled["destruction"]["reason"], "over");
    let _ = desk.cli.run_with(&["decrypt"], &sealed).code(5);
    let _ = desk.cli.run(&["key", "destroy", "now", "k"]).code(5);
    let _ = desk.cli.run(&["key", "destroy", "record", scheduled["id"].as_str().unwrap()]).code(4);
    let _ = desk.cli.ok(&["key", "destroy", "cancel", "k", "--reason", "needed"]);
    assert_eq!(desk.cli.run_with(&["decrypt"], &sealed).code(0).text(), "x");
}
