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
fn a_stored_proof_is_verified_without_the_server() {
    let mut desk = Desk::new();
    let keys = desk.dev.log_keys();
    desk.write("log.vkey", keys.join("\n"));
    let record = desk.cli.json(&["audit", "search", "--limit", "1"])["items"][0]["id"].as_str().unwrap().to_owned();
    let _ = desk.cli.ok(&["audit", "prove", &record, "--save", "evidence", "--vkey", "log.vkey"]);
    assert!(desk.dev.server.is_running());
    desk.dev.server.signal(rustix::process::Signal::TERM);
    let verify = |words: &[&str]| desk.cli.run(&[&["audit", "verify-proof"], words].concat());
    let good = verify(&["evidence", "--vkey", "log.vkey"]).code(0);
    assert!(good.text().contains(&record), "{good}");
    // The profile has the keys, too.
    let _ = verify(&["evidence"]).code(0);
    let text = String::from_utf8(desk.read("evidence.record")).unwrap();
    desk.write("altered", text.replacen("\"v\":1", "\"v\":2", 1));
    let altered = verify(&["evidence", "--vkey", "log.vkey", "--record", "altered"]).code(7);
    assert!(altered.stderr.contains("NOT proved"), "{altered}");
    let stranger = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let _ = verify(&["evidence", "--vkey", stranger]).code(7);
    let _ = verify(&["altered", "--vkey", "log.vkey"]).code(2);
    let unnamed = verify(&["evidence", "--vkey", "no-such.vkey"]).code(2);
    assert!(unnamed.stderr.contains("no such file"), "{unnamed}");
    let nobody = desk.cli.run(&["--address", "https://127.0.0.1:1", "audit", "verify-proof", "evidence"]).code(2);
    assert!(nobody.stderr.contains("--vkey"), "{nobody}");
}

#[test]
fn a_log_that_is_not_there_is_no_incomplete_one() {
    let home = tempfile::tempdir().unwrap();
    let stranger = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let missing =
        keyreeve_tests::Cli::new(home.path()).run(&["audit", "verify", "nowhere", "--vkey", stranger]).code(2);
    assert!(missing.stderr.contains("no directory nowhere") && missing.stderr.contains("next:"), "{missing}");
    // Nor is one that the server does not hand out.
    let desk = Desk::new();
    let _ = desk.cli.ok(&["audit", "verify", "--remote"]);
    let _ = desk.cli.ok(&["seal"]);
    let sealed = desk.cli.run(&["audit", "verify", "--remote"]).code(6);
    assert!(sealed.stderr.contains("sealed") && sealed.stdout.is_empty(), "{sealed}");
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
