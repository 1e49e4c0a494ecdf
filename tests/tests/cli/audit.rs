//! The audit log: searched, proved, verified, tampered with.

use std::path::Path;

use crate::Desk;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn operations_are_found_and_proved() {
    let desk = Desk::new();
    desk.key("k", &[]);
    let _ = desk.cli.run_with(&["encrypt", "k", "--small", "--context", "user=42"], b"x").code(0);
    let _ = desk.cli.run_with(&["sign", "k"], b"x").code(2);
    let found =
        |words: &[&str]| desk.cli.json(&[&["audit", "search"], words].concat())["items"].as_array().unwrap().clone();
    let encrypted = found(&["--operation", "key.encrypt"]);
    assert_eq!(encrypted.len(), 1);
    assert_eq!(encrypted[0]["context"]["user"], "42");
    let refused = found(&["--operation", "key.*", "--outcome", "refused"]);
    assert_eq!(refused.iter().map(|record| record["code"].as_str().unwrap()).collect::<Vec<_>>(), ["wrong-key-use"]);
    assert!(found(&["--from", "2099-01-01"]).is_empty());
    assert!(found(&["--until", "2020-01-01"]).is_empty());
    assert_eq!(found(&["--limit", "2"]).len(), 2);
    let id = encrypted[0]["id"].as_str().unwrap();
    assert!(desk.cli.ok(&["audit", "search"]).contains(id));
    let said = desk.cli.ok(&["audit", "prove", id, "--save", "evidence"]);
    assert!(said.contains("proved"), "{said}");
    let record = String::from_utf8(desk.read("evidence.record")).unwrap();
    assert!(
        record.contains(id) && String::from_utf8(desk.read("evidence")).unwrap().starts_with("c2sp.org/tlog-proof@v1")
    );
    let _ = desk.cli.run(&["audit", "prove", &format!("rec_{}", "0".repeat(32))]).code(4);
}

#[test]
fn a_log_is_verified_and_an_altered_one_is_not() {
    let desk = Desk::new();
    desk.key("k", &[]);
    for _ in 0..3 {
        let _ = desk.cli.json(&["audit", "search", "--limit", "1"]);
    }
    let first = desk.dev.api().get("/v1/audit/checkpoint").body;
    desk.write("older", first);
    let api = desk.dev.api();
    for _ in 0..600 {
        let _ = api.get("/v1/algorithms");
    }
    let _ = desk.cli.ok(&["audit", "verify", "--remote", "--older", "older"]);
    let _ = api.get("/v1/audit/checkpoint");
    copy(&desk.dev.data().join("audit/log"), &desk.path("copy"));
    let key = desk.dev.log_keys()[0].clone();
    let verify = || desk.cli.run(&["audit", "verify", "copy", "--vkey", &key, "--older", "older"]);
    let _ = verify().code(0);
    let bundle = "copy/tile/entries/001";
    let good = desk.read(bundle);
    let mut altered = good.clone();
    let place = good.windows(14).position(|window| window == b"algorithm.list").unwrap();
    altered[place] ^= 1;
    desk.write(bundle, &altered);
    let _ = verify().code(7);
    std::fs::remove_file(desk.path(bundle)).unwrap();
    let _ = verify().code(9);
    desk.write(bundle, &good);
    let _ = verify().code(0);
    let checkpoint = desk.read("copy/checkpoint");
    desk.write("copy/checkpoint", desk.read("older"));
    assert_ne!(verify().code, 7, "an older checkpoint is no tampering, but what it covers may be missing");
    let forged = String::from_utf8(checkpoint).unwrap().replacen('\n', "x\n", 1);
    desk.write("copy/checkpoint", forged);
    let _ = verify().code(7);
}
