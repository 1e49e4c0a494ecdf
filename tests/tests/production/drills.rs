//! Restore drills: beside a running server, and by people with the shares they hold.

use keyreeve_tests::{Api, Cli, Layout, Production, Up};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The command line as the operator.
fn operator(production: &Production, up: &Up) -> Cli {
    let home = &production.home;
    private(&home.join("operator.token"), &production.people.operator);
    std::fs::write(home.join("ca.pem"), production.pki.pem()).unwrap();
    let url = up.endpoint("all").url;
    let text = format!("address = \"{url}\"\nca_file = \"ca.pem\"\ntoken_file = \"operator.token\"\n");
    std::fs::write(home.join("client.toml"), text).unwrap();
    Cli::new(home).with_profile(&home.join("client.toml"))
}

/// A key of each side, and a ciphertext that drills are to open.
fn keys(keeper: &Api, user: &Api, home: &Path) -> (String, String) {
    let mut first = String::new();
    for algorithm in ["xaes-256-gcm", "hmac-sha256", "ed25519", "ml-kem-768"] {
        let made = keeper.post("/v1/keys", &json!({ "algorithm": algorithm })).ok();
        if first.is_empty() {
            first = made["id"].as_str().unwrap().to_owned();
        }
    }
    let body = json!({ "plaintext": "YSBzYW1wbGU=" });
    let encrypted = user.post(&format!("/v1/keys/{first}/encrypt"), &body).ok();
    let text = encrypted["ciphertext"].as_str().unwrap().to_owned();
    std::fs::write(home.join("sample.kr1"), &text).unwrap();
    (first, text)
}

fn layout(vault: &Path) -> Layout {
    let more = format!(
        "[backup]\nevery_hours = 0\nverify_hours = 0\n\
         [backup.destinations.vault]\nkind = \"directory\"\npath = \"{}\"\n\n\
         [drills]\nrestore_hours = 0\nsamples = [\"sample.kr1\"]\n",
        vault.display()
    );
    Layout { more, separate: false, ..Layout::default() }
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn steps_of(drill: &Value) -> Vec<String> {
    drill["steps"].as_array().unwrap().iter().map(|step| step["found"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_server_rehearses_its_restore_and_people_do_with_their_shares() {
    let (home, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = disk.path().join("vault");
    let mut production = Production::prepare(home.path(), &layout(&vault));
    let up = production.start_new();
    let (keeper, user) = (up.api("admin", &production.people.keeper), up.api("data", &production.people.user));
    let (key, text) = keys(&keeper, &user, home.path());
    let cli = operator(&production, &up);
    let _ = cli.run(&["drill", "restore"]).code(5);
    let _ = cli.json(&["backup", "create"]);
    let there = entries(&vault);

    // By the server, beside its work.
    let held = cli.json(&["drill", "restore"]);
    assert_eq!(
        (&held["passed"], &held["by_itself"], &held["backup"]),
        (&json!(true), &json!(true), &json!(1)),
        "{held}"
    );
    let found = steps_of(&held).join("\n");
    assert!(found.contains("4 key versions as their records name them"), "{found}");
    assert!(found.contains("4 keys in 1 keyrings did their work; 1 sample ciphertexts were opened"), "{found}");
    assert!(!home.path().join("data/keyreeve-drill").exists(), "the scratch instance stayed");
    let opened = user.post(&format!("/v1/keys/{key}/decrypt"), &json!({ "ciphertext": text })).ok();
    assert_eq!(opened["plaintext"], "YSBzYW1wbGU=", "the server lost its root to the drill");
    assert_eq!(entries(&vault), there);

    // By people, as if the server were gone; what came of it is put on record there.
    private(&home.path().join("shares.txt"), &production.shares[..2].join("\n"));
    let by_hand = ["drill", "restore", "--config", "keyreeve.toml", "--from", "vault", "--shares", "shares.txt"];
    let held = cli.json(&by_hand);
    assert_eq!(
        (&held["passed"], &held["by_itself"], &held["number"]),
        (&json!(true), &json!(false), &json!(2)),
        "{held}"
    );
    assert_eq!(entries(&vault), there);

    // A destination that lost something is found out, told, and no reason to touch anything.
    let archive = there.iter().find(|name| name.starts_with("log-")).unwrap();
    std::fs::remove_file(vault.join(archive)).unwrap();
    let failed = cli.run(&["drill", "restore", "--output", "json"]).code(1).json();
    assert_eq!((&failed["passed"], &failed["number"]), (&json!(false), &json!(3)), "{failed}");
    assert!(failed["trouble"].as_str().unwrap().contains("pieces"), "{failed}");
    let listed = cli.ok(&["drill", "list"]);
    assert!(listed.contains("failed") && listed.contains("passed"), "{listed}");
    let shown = cli.ok(&["drill", "show", "2"]);
    assert!(shown.contains("open the root of trust"), "{shown}");
    let auditor = up.api("admin", &production.people.auditor);
    let records = auditor.get("/v1/audit?operation=drill.record").ok();
    assert_eq!(records["items"].as_array().map(Vec::len), Some(3), "{records}");
    assert!(up.server.terminate().success());
}

/// What is in it is what there is; and without a server the steps are there all the same.
#[test]
fn runbooks_say_what_this_installation_has_and_work_without_a_server() {
    let (home, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = disk.path().join("vault");
    let mut production = Production::prepare(home.path(), &layout(&vault));
    let up = production.start_new();
    let cli = operator(&production, &up);
    let named = ["root", "name-holder", "1", "alice.baker", "--contact", "+47 555 0100"];
    let _ = cli.run(&named).code(0);
    let _ = cli.json(&["backup", "create"]);
    let listed = cli.ok(&["runbook"]);
    assert!(listed.contains("share-holder") && listed.contains("A holder of a share is gone"), "{listed}");
    let text = cli.ok(&["runbook", "share-holder", "--config", "keyreeve.toml"]);
    for wanted in ["alice.baker", "+47 555 0100", "2 of 3 shares open it", "keyreeve root reshare give", "Printed 20"] {
        assert!(text.contains(wanted), "{wanted}:\n{text}");
    }
    let text = cli.ok(&["runbook", "restore", "--config", "keyreeve.toml"]);
    for wanted in
        ["destination `vault`", "number 1 of", "epoch vault: `", "root of trust `main` of kind `shamir`: open"]
    {
        assert!(text.contains(wanted), "{wanted}:\n{text}");
    }
    let _ = cli.run(&["runbook", "nothing"]).code(4);

    let folder = ["runbook", "--all", "--format", "pdf", "--out-dir", "folder", "--config", "keyreeve.toml"];
    let _ = cli.run(&folder).code(0);
    let pdf = std::fs::read(home.path().join("folder/root-loss.pdf")).unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    assert_eq!(entries(&home.path().join("folder")).len(), 10);

    assert!(up.server.terminate().success());
    let down = cli.run(&["runbook", "restore", "--config", "keyreeve.toml"]).code(0);
    assert!(down.stderr.contains("something is missing"), "{down}");
    let text = down.text();
    for wanted in
        ["destination `vault`", "epoch vault: `", "not known when this was printed", "keyreeve restore --config"]
    {
        assert!(text.contains(wanted), "{wanted}:\n{text}");
    }
}
