//! Total loss: a fresh machine, a backup, and the holders of shares.

use keyreeve_tests::{Api, Cli, Layout, Production};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn layout(destination: &Path) -> Layout {
    let more = format!(
        "[backup]\nevery_hours = 0\nverify_hours = 0\n\
         [backup.destinations.vault]\nkind = \"directory\"\npath = \"{}\"\n\
         [backup.destinations.office]\nkind = \"command\"\nprogram = \"{}\"\narguments = [\"{}-of-a-program\"]\n",
        destination.display(),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/backup-command.sh").display(),
        destination.display()
    );
    Layout { more, ..Layout::default() }
}

/// Follows a job to its end.
fn done(operator: &Api, job: &Value) -> Value {
    let id = job["id"].as_str().unwrap_or_else(|| panic!("no job: {job}"));
    loop {
        let job = operator.get(&format!("/v1/jobs/{id}")).ok();
        match job["state"].as_str() {
            Some("done") => return job,
            Some("running") if job["trouble"].is_null() => std::thread::yield_now(),
            _ => panic!("{job}"),
        }
    }
}

/// What was restored says so until somebody took note, and makes backups in turn.
fn goes_on(operator: &Api) {
    let listed = operator.get("/v1/backups").ok();
    assert_eq!(listed["restored"]["sequence"], 1, "{listed}");
    let _ = operator.post("/v1/backups/acknowledge", &json!({ "reason": "looked" }));
    let next = done(operator, &operator.post("/v1/backups", &Value::Null).ok());
    assert_eq!(next["backup"], 2);
    for destination in ["vault", "office"] {
        let check = json!({ "sequence": 2, "destination": destination });
        let job = done(operator, &operator.post("/v1/backups/verify", &check).ok());
        assert_eq!(job["found"]["materials"], 2, "{job}");
    }
}

/// What is lost: everything but the destination, the shares and the configuration.
#[test]
fn a_fresh_machine_with_a_backup_and_the_shares_has_every_key() {
    let (home, disk, new_home) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let destination = disk.path().join("vault");
    let mut old = Production::prepare(home.path(), &layout(&destination));
    let up = old.start_new();
    let (keeper, user) = (up.api("admin", &old.people.keeper), up.api("data", &old.people.user));
    let mut texts = Vec::new();
    for algorithm in ["xaes-256-gcm", "aes-256-gcm"] {
        let key = keeper.post("/v1/keys", &json!({ "algorithm": algorithm })).ok();
        let id = key["id"].as_str().unwrap().to_owned();
        let body = json!({ "plaintext": "YmVmb3JlIHRoZSBmaXJl" });
        let encrypted = user.post(&format!("/v1/keys/{id}/encrypt"), &body).ok();
        texts.push((id, encrypted["ciphertext"].as_str().unwrap().to_owned()));
    }
    let operator = up.api("admin", &old.people.operator);
    let made = done(&operator, &operator.post("/v1/backups", &Value::Null).ok());
    assert_eq!((&made["backup"], &made["done"]), (&json!(1), &json!(3)), "{made}");
    let made = &operator.get("/v1/backups").ok()["items"][0];
    assert_eq!((&made["sequence"], &made["materials"]), (&json!(1), &json!(2)), "{made}");
    assert!(made["destinations"].as_array().unwrap().iter().all(|placed| placed["stored"].is_string()), "{made}");
    up.server.kill();
    let (shares, people) = (old.shares.clone(), old.people.clone());
    drop(home);

    let mut new = Production::prepare(new_home.path(), &layout(&destination));
    let (cli, shares_file) = (Cli::new(new_home.path()), new_home.path().join("shares.txt"));
    std::fs::write(&shares_file, shares[1..].join("\n")).unwrap();
    std::fs::set_permissions(&shares_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let words = [
        "restore",
        "--config",
        "keyreeve.toml",
        "--from",
        "office",
        "--shares",
        "shares.txt",
        "--keep-tokens",
        "--token-for",
        "operator",
        "--token-out",
        "operator.token",
    ];
    let restored = cli.json(&words);
    assert_eq!((&restored["backup"], &restored["key_versions"]), (&json!(1), &json!(2)), "{restored}");
    assert!(new_home.path().join("operator.token").exists());
    let again = cli.run(&words).code(2);
    assert!(again.stderr.contains("not empty"), "{again}");

    (new.shares, new.people) = (shares, people);
    // Half of a restore is no server.
    let marker = new_home.path().join("data/restoring");
    std::fs::write(&marker, "").unwrap();
    let refused = cli.run(&["serve", "--config", "keyreeve.toml"]);
    let _ = refused.code(2);
    std::fs::remove_file(&marker).unwrap();
    let up = new.start_open();
    let user = up.api("data", &new.people.user);
    for (id, ciphertext) in &texts {
        let opened = user.post(&format!("/v1/keys/{id}/decrypt"), &json!({ "ciphertext": ciphertext })).ok();
        assert_eq!(opened["plaintext"], "YmVmb3JlIHRoZSBmaXJl");
    }
    goes_on(&up.api("admin", &new.people.operator));
    assert!(up.server.terminate().success());
}
