//! With a webhook receiver in Python.

use http::Method;
use keyreeve_notify::receiver::Program;
use keyreeve_tests::{Cli, Layout, Production};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{House, text};
use crate::notices::{certify, private, script};

fn receiver(home: &Path) -> Program {
    certify(home);
    private(&home.join("oncall.secret"), "a shared secret of more than 32 bytes");
    let mut command = Command::new("python3");
    command.arg(script("webhook.py")).args(["receiver.pem", "receiver.key", "oncall.secret", "0"]);
    Program::start(command.current_dir(home))
}

fn channel(port: u16) -> String {
    format!(
        "[[notify.channels]]\nkind = \"webhook\"\nname = \"oncall\"\nurl = \"https://127.0.0.1:{port}/keyreeve\"\n\
         secret_file = \"oncall.secret\"\nca = \"receivers.pem\"\ntimeout_seconds = 3\nonly = [\"test\"]\n"
    )
}

fn kind<'a>(receiver: &'a Program, wanted: &'a str) -> serde_json::Value {
    receiver.next_that(|told| told["body"]["kind"] == wanted)
}

#[test]
fn too_few_people_do_nothing_everybody_is_told_and_the_review_cannot_be_skipped() {
    let home = tempfile::tempdir().unwrap();
    let receiver = receiver(home.path());
    let layout = Layout { more: channel(receiver.port()), ..Layout::default() };
    let mut production = Production::prepare(home.path(), &layout);
    let up = production.start_new();
    let mut house = House::build(&production, &up);

    // One consent is not enough, and consent alone gives nothing.
    let approval = house.waiting();
    house.decrypt().refused(403, "denied");
    house.carl.approve(&approval);
    assert_eq!(house.waiting(), approval);
    house.decrypt().refused(403, "denied");
    house.lea.approve(&approval);
    house.decrypt().refused(403, "denied");

    // The answer waits for the receiver: one that hangs keeps it waiting until the attempt is given up.
    receiver.order("hang");
    let asked = Instant::now();
    let emergency = house.declare().ok();
    assert!(asked.elapsed() >= Duration::from_secs(2), "{:?}", asked.elapsed());
    let id = text(&emergency, "id").to_owned();
    assert_eq!(kind(&receiver, "emergency-active")["body"]["facts"]["participants"], "pat");

    // Pat decrypts, which is told with its audit record.
    let decrypted = house.decrypt();
    assert_eq!(decrypted.ok()["plaintext"], "bGVkZ2Vy");
    let used = kind(&receiver, "emergency-used");
    assert_eq!(used["body"]["record"].as_str(), decrypted.record());
    let encrypt = format!("/v1/keys/{}/encrypt", house.key);
    house.pat.api.post(&encrypt, &json!({ "plaintext": "YQ==" })).refused(403, "denied");

    // Over: Pat's token is worth nothing, and something is owed.
    let end = format!("/v1/emergencies/{id}/end");
    let ended = house.carl.api.post(&end, &json!({})).ok();
    assert_eq!((text(&ended, "state"), ended["owed"].as_array().unwrap().len()), ("under-review", 2));
    let _ = kind(&receiver, "emergency-ended");
    house.decrypt().refused(401, "unauthenticated");
    let path = format!("/v1/emergencies/{id}/review");
    let review = json!({ "text": "as announced", "dispositions": { &house.key: "rotated" } });
    house.sue.api.post(&path, &review).refused(409, "other-person-needed");
    house.dora.api.post(&path, &review).refused(409, "wrong-state");
    let _ = house.sue.api.post(&format!("/v1/keys/{}/rotate", house.key), &json!({ "reason": "was used" })).ok();
    house.dora.api.post(&path, &review).refused(409, "wrong-state");
    let _ = house.operator.call(Method::PATCH, "/v1/principals/pat", &json!({ "disabled": true })).ok();

    // Dora, who had no part in it, signs with the command line.
    let cli = command_line(&production, &up, &house);
    let disposition = format!("{}=rotated", house.key);
    let closed = cli.json(&["emergency", "review", &id, "--text", "as announced", "--disposition", &disposition]);
    assert_eq!((text(&closed, "state"), text(&closed, "reviewed_by")), ("closed", "dora"));
    assert_eq!(cli.json(&["emergency", "list", "--state", "closed"])["items"][0]["id"], json!(id));
    assert!(up.server.terminate().success());
}

/// Dora's.
fn command_line(production: &Production, up: &keyreeve_tests::Up, house: &House) -> Cli {
    let token = house.dora.api.endpoint().token.clone().unwrap_or_default();
    production.cli(up, &token)
}
