//! The webhook, with a receiver in Python.

use keyreeve_notify::receiver::Program;
use keyreeve_tests::wait_until;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{about, certify, deployment, private, put_policy, script};

const SECRET: &str = "a shared secret of more than 32 bytes";

fn receiver(home: &Path, port: u16) -> Program {
    let mut command = Command::new("python3");
    let port = port.to_string();
    command.arg(script("webhook.py")).args(["receiver.pem", "receiver.key", "oncall.secret", &port]);
    Program::start(command.current_dir(home))
}

fn channel(port: u16) -> String {
    format!(
        "[[notify.channels]]\nkind = \"webhook\"\nname = \"oncall\"\nurl = \"https://127.0.0.1:{port}/keyreeve\"\n\
         secret_file = \"oncall.secret\"\nca = \"receivers.pem\"\ntimeout_seconds = 3\n"
    )
}

fn prepare(home: &Path) -> Program {
    certify(home);
    private(&home.join("oncall.secret"), SECRET);
    receiver(home, 0)
}

#[test]
fn changes_of_access_are_told_signed_and_with_their_record() {
    let home = tempfile::tempdir().unwrap();
    let receiver = prepare(home.path());
    let (production, up) = deployment(home.path(), channel(receiver.port()));
    // What the people of the deployment came with.
    let keeper = about(&receiver, "principal keeper");
    assert_eq!(keeper["body"]["kind"], "access-changed");
    let token = about(&receiver, "token.create");
    assert!(!token.to_string().contains(&production.people.keeper[4..]), "no token is told");
    let operator = production.cli(&up, &production.people.operator);
    let nothing_waits = || operator.json(&["notice", "list"]) == json!({ "items": [] });
    assert!(wait_until(Duration::from_secs(30), nothing_waits));
    // Refused at first, and told all the same.
    receiver.order("status 500");
    let record = put_policy(&production, &up, "first");
    let told = about(&receiver, "policy first");
    assert_eq!((&told["body"]["record"], &told["body"]["facts"]["operation"]), (&json!(record), &json!("policy.put")));
    assert_eq!(told["body"]["facts"]["source"], "127.0.0.1");
    let tried = operator.json(&["notice", "test", "oncall"]);
    assert_eq!(tried[0]["taken"], true, "{tried}");
    assert_eq!(about(&receiver, "tries whether")["body"]["kind"], "test");
    assert!(wait_until(Duration::from_secs(30), nothing_waits));
    let _ = production.cli(&up, &production.people.keeper).run(&["notice", "test"]).code(3);
}

#[test]
fn what_was_not_delivered_survives_a_kill_and_is_delivered_once_opened() {
    let home = tempfile::tempdir().unwrap();
    let first = prepare(home.path());
    let port = first.port();
    let (production, up) = deployment(home.path(), channel(port));
    let _ = about(&first, "principal auditor");
    drop(first);
    let record = put_policy(&production, &up, "while-away");
    up.server.kill();
    let second = receiver(home.path(), port);
    let up = production.start();
    second.nothing();
    production.unseal(&up);
    let told = about(&second, "policy while-away");
    assert_eq!(told["body"]["record"], json!(record));
    assert!(up.server.terminate().success());
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody() {
    let home = tempfile::tempdir().unwrap();
    let receiver = prepare(home.path());
    let (production, up) = deployment(home.path(), channel(receiver.port()));
    let _ = about(&receiver, "principal auditor");
    for _ in 0..3 {
        receiver.order("hang");
    }
    let began = Instant::now();
    for n in 0..5 {
        let _ = put_policy(&production, &up, &format!("p{n}"));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let _ = about(&receiver, "policy p4");
    assert!(up.server.terminate().success(), "nor the end of the server");
}
