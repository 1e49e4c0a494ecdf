//! Yesterday's data directory on today's machine: the server does nothing, until somebody says that it is right.

use keyreeve_tests::{Cli, Layout, Production, Swtpm, Up};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    let mut command = std::process::Command::new("cp");
    assert!(command.arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn is_open(up: &Up) -> bool {
    up.endpoint("admin").api().get("/v1/system/status").ok()["open"] == true
}

/// Gives shares, and does not expect the server to open.
fn give_shares(production: &Production, up: &Up) {
    for share in &production.shares[..2] {
        let _ = up.endpoint("admin").api().post("/v1/system/unseal", &json!({ "share": share })).ok();
    }
}

fn encrypt(production: &Production, up: &Up, key: &str) -> String {
    let user = up.api("data", &production.people.user);
    let sealed = user.post(&format!("/v1/keys/{key}/encrypt"), &json!({ "plaintext": "eA==" })).ok();
    sealed["ciphertext"].as_str().unwrap().to_owned()
}

/// Puts yesterday's data directory back, with these anchors in the configuration.
fn an_old_copy_does_nothing(anchors: &str) {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout { more: anchors.to_owned(), ..Layout::default() });
    let up = production.start_new();
    let keeper = up.api("admin", &production.people.keeper);
    let key = keeper.post("/v1/keys", &json!({ "algorithm": "aes-256-gcm" })).ok()["id"].as_str().unwrap().to_owned();
    let text = encrypt(&production, &up, &key);
    assert!(up.server.terminate().success());
    let (data, yesterday, today) = (home.path().join("data"), home.path().join("yesterday"), home.path().join("today"));
    copy(&data, &yesterday);

    let up = production.start_open();
    let _ = encrypt(&production, &up, &key);
    up.server.kill();
    std::fs::rename(&data, &today).unwrap();
    copy(&yesterday, &data);
    let up = production.start();
    give_shares(&production, &up);
    assert!(!is_open(&up), "yesterday's copy opens");
    let (user, operator) = (up.api("data", &production.people.user), up.api("admin", &production.people.operator));
    let refused = user.post(&format!("/v1/keys/{key}/decrypt"), &json!({ "ciphertext": text }));
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("rolled-back")), "{refused}");
    let ready = up.endpoint("admin").api().get("/readyz");
    assert!(ready.json()["reasons"].as_array().unwrap().contains(&json!("rolled-back")), "{ready}");
    let info = operator.get("/v1/system/info").ok();
    assert!(info["rolled_back"][0].as_str().unwrap().contains("the store is older than it"), "{info}");
    assert!(up.server.terminate().success());

    // The right one opens as if nothing had been.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&today, &data).unwrap();
    let up = production.start_open();
    let _ = encrypt(&production, &up, &key);
    assert!(up.server.terminate().success());

    // The old one again, because the disk was lost: somebody who knows that says so.
    std::fs::remove_dir_all(&data).unwrap();
    copy(&yesterday, &data);
    let up = production.start();
    give_shares(&production, &up);
    let operator = up.api("admin", &production.people.operator);
    let _ = operator.post("/v1/system/accept-rollback", &json!({ "reason": "the disk was lost" })).ok();
    assert!(is_open(&up));
    let opened = up.api("data", &production.people.user);
    let opened = opened.post(&format!("/v1/keys/{key}/decrypt"), &json!({ "ciphertext": text })).ok();
    assert_eq!(opened["plaintext"], "eA==");
    let described = up.api("admin", &production.people.keeper).get(&format!("/v1/keys/{key}")).ok();
    assert!(described.to_string().contains(&key));
    assert!(up.server.terminate().success());
    let up = production.start_open();
    assert!(is_open(&up), "the anchor knows this one now");
    assert!(up.server.terminate().success());
}

#[test]
fn an_old_data_directory_is_noticed_by_a_file_on_another_disk() {
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("keyreeve.anchor");
    an_old_copy_does_nothing(&format!("[anchors.stick]\nkind = \"file\"\npath = \"{}\"\n", path.display()));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("keyreeve-anchor 1 ") && text.contains("\"checkpoint\""), "{text}");
}

#[test]
fn an_old_data_directory_is_noticed_by_the_counter_of_the_tpm() {
    let Some(tpm) = Swtpm::start() else { return };
    an_old_copy_does_nothing(&format!("[anchors.tpm]\nkind = \"tpm-counter\"\ndevice = \"{}\"\n", tpm.device()));
}

fn set(production: &Production, lines: &str) {
    let text = std::fs::read_to_string(&production.config).unwrap();
    let (text, _) = text.split_once("[start]").unwrap_or((&text, ""));
    std::fs::write(&production.config, format!("{text}[start]\n{lines}\n")).unwrap();
}

/// The records of starts, oldest first.
fn starts(production: &Production, up: &Up) -> Vec<Value> {
    let auditor = up.api("admin", &production.people.auditor);
    let found = auditor.get("/v1/audit?operation=system.started").ok();
    let mut found = found["items"].as_array().unwrap().clone();
    found.reverse();
    found
}

#[test]
fn the_program_and_the_configuration_are_on_record_and_another_program_does_not_start() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let cli = Cli::new(home.path());
    let binary = std::fs::read(cli.command::<&str>(&[]).get_program()).unwrap();
    let digest: String = Sha256::digest(&binary).iter().map(|byte| format!("{byte:02x}")).collect();
    drop(binary);
    set(&production, &format!("expected_binary_sha256 = \"{digest}\""));
    let up = production.start_new();
    let first = starts(&production, &up);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].to_string().contains(&digest), "{first:?}");
    let info = up.api("admin", &production.people.operator).get("/v1/system/info").ok();
    assert_eq!((&info["binary_sha256"], &info["expected_binary_sha256"]), (&json!(digest), &json!(digest)), "{info}");
    assert!(up.server.terminate().success());

    set(&production, &format!("expected_binary_sha256 = \"{}\"", "0".repeat(64)));
    let refused = cli.run(&["serve", "--config", "keyreeve.toml"]).code(2);
    assert!(refused.stderr.contains("start.expected_binary_sha256") && refused.stderr.contains(&digest), "{refused}");
    let told = format!("expected_binary_sha256 = \"{}\"\non_other_binary = \"tell\"", "0".repeat(64));
    set(&production, &told);
    let up = production.start_open();
    let second = starts(&production, &up);
    let last = second.last().unwrap().to_string();
    assert!(last.contains("former_configuration_sha256") && last.contains("expected_sha256"), "{last}");
    assert!(up.server.terminate().success());
}
