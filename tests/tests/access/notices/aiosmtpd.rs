//! Mail, with aiosmtpd: STARTTLS, and a password.

use keyreeve_notify::receiver::Program;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{about, certify, deployment, private, put_policy, script};

pub(crate) const PASSWORD: &str = "open sesame";

/// A Python that has aiosmtpd, where `cargo xtask test` installs it.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("aiosmtpd/bin/python")
}

pub(crate) fn prepare(home: &Path) -> Option<Program> {
    let there = Command::new(python()).args(["-c", "import aiosmtpd"]).status();
    if !there.is_ok_and(|status| status.success()) {
        keyreeve_tests::not_run(&format!("{} has no aiosmtpd", python().display()));
        return None;
    }
    certify(home);
    let mut command = Command::new(python());
    command.arg(script("smtp.py")).args(["starttls", "receiver.pem", "receiver.key", "keyreeve", PASSWORD]);
    Some(Program::start(command.current_dir(home)))
}

pub(crate) fn channel(port: u16, name: &str, more: &str) -> String {
    format!(
        "[[notify.channels]]\nkind = \"smtp\"\nname = \"{name}\"\nhost = \"localhost\"\nport = {port}\n\
         tls = \"starttls\"\nca = \"receivers.pem\"\nuser = \"keyreeve\"\nfrom = \"Keyreeve <keyreeve@example.com>\"\n\
         to = [\"security@example.com\"]\n{more}\n"
    )
}

pub(crate) fn header<'a>(mail: &'a Value, name: &str) -> &'a str {
    let headers = mail["headers"].as_array().unwrap();
    headers.iter().find(|pair| pair[0] == name).unwrap_or_else(|| panic!("no {name}: {mail}"))[1].as_str().unwrap()
}

#[test]
fn changes_of_access_are_mailed_and_a_wrong_password_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let Some(receiver) = prepare(home.path()) else { return };
    private(&home.path().join("mail.password"), PASSWORD);
    private(&home.path().join("wrong.password"), "open barley");
    let right = channel(receiver.port(), "mail", "password_file = \"mail.password\"");
    let wrong = channel(receiver.port(), "lost", "password_file = \"wrong.password\"\nonly = [\"approval-needed\"]");
    let (production, up) = deployment(home.path(), format!("{right}{wrong}"));
    let record = put_policy(&production, &up, "first");
    let mail = about(&receiver, "policy first");
    assert_eq!((mail["encrypted"].as_bool(), mail["authenticated"].as_bool()), (Some(true), Some(true)));
    assert_eq!(mail["to"], serde_json::json!(["security@example.com"]));
    assert!(header(&mail, "subject").contains("did policy.put on policy first"), "{mail}");
    assert_eq!(header(&mail, "keyreeve-kind"), "access-changed");
    assert!(mail["text"].as_str().unwrap().contains(&record), "{mail}");
    let operator = production.cli(&up, &production.people.operator);
    let _ = operator.run(&["notice", "test", "mail"]).code(0);
    let tried = operator.run(&["notice", "test", "--output", "json"]).code(1);
    let lost = tried.json().as_array().unwrap().iter().find(|tried| tried["channel"] == "lost").unwrap().clone();
    assert_eq!(lost["trouble"], "the mail server answered 535", "{tried}");
    assert!(!tried.text().contains("barley"));
    // What goes to no more than the other channel does not wait for this one.
    let waiting = operator.json(&["notice", "list"]);
    let channels: Vec<_> = waiting["items"].as_array().unwrap().iter().map(|item| item["channel"].clone()).collect();
    assert_eq!(channels, ["lost"], "{waiting}");
    let shown = operator.ok(&["notice", "channels"]);
    assert!(shown.contains("security@example.com by localhost") && shown.contains("approval-needed"), "{shown}");
    assert!(!up.server.log().contains("barley"));
}
