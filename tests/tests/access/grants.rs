//! Rights for a time, over the command line.

use keyreeve_tests::{Cli, Dev};

/// A development server, and a program `batch` without any right.
struct Desk {
    _dev: Dev,
    cli: Cli,
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        let cli = dev.cli();
        for alias in ["orders", "others"] {
            let _ = cli.ok(&["key", "create", "--alias", alias]);
        }
        let _ = cli.ok(&["principal", "put", "batch", "--kind", "service"]);
        let _ = cli.ok(&["token", "create", "batch", "--for", "1h", "-o", "batch.token"]);
        Self { _dev: dev, cli, home }
    }

    fn as_batch<'a>(words: &[&'a str]) -> Vec<&'a str> {
        [&["--profile", ".keyreeve-dev/client.toml", "--token-file", "batch.token"], words].concat()
    }

    fn encrypts(&self, more: &[&str]) -> i32 {
        self.cli.run_with(&Self::as_batch(&[&["encrypt", "--small"], more].concat()), b"x").code
    }

    fn grant(&self, words: &[&str]) -> String {
        let rest = ["--for", "1h", "--reason", "case 4711"];
        let made = self.cli.json(&[&["grant", "create", "batch"], words, &rest].concat());
        assert_eq!((made["state"].as_str(), made["reason"].as_str()), (Some("active"), Some("case 4711")));
        made["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_grant_gives_what_it_says_until_it_is_taken_back() {
    let desk = Desk::new();
    assert_eq!(desk.encrypts(&["orders"]), 3);
    let id = desk.grant(&["--key", "orders", "--operation", "key.encrypt", "--context", "tenant=a"]);
    assert_eq!(desk.encrypts(&["orders"]), 3, "without the context");
    assert_eq!(desk.encrypts(&["orders", "--context", "tenant=a"]), 0);
    assert_eq!(desk.encrypts(&["others", "--context", "tenant=a"]), 3);
    let mine = desk.cli.run(&Desk::as_batch(&["grant", "mine"])).code(0).text();
    assert!(mine.contains(&id) && mine.contains("key.encrypt"), "{mine}");
    assert!(desk.cli.ok(&["grant", "list", "--key", "orders", "--standing"]).contains(&id));
    let shown = desk.cli.ok(&["grant", "show", &id]);
    assert!(shown.contains("tenant=a") && shown.contains("by developer"), "{shown}");
    let _ = desk.cli.run(&Desk::as_batch(&["grant", "list"])).code(3);
    let revoked = desk.cli.json(&["grant", "revoke", &id, "--reason", "closed"]);
    assert_eq!((revoked["state"].as_str(), revoked["revoked_because"].as_str()), (Some("revoked"), Some("closed")));
    assert_eq!(desk.encrypts(&["orders", "--context", "tenant=a"]), 3);
    let _ = desk.cli.run(&["grant", "revoke", &id]).code(5);
    assert!(!desk.cli.ok(&["grant", "list", "--standing"]).contains(&id));
    let records = desk.cli.ok(&["audit", "search", "--operation", "grant.*", "--output", "json"]);
    assert!(records.contains("grant.create") && records.contains("grant.revoke"), "{records}");
}

#[test]
fn a_grant_of_decryption_opens_files_and_what_opens_none_is_told() {
    let desk = Desk::new();
    std::fs::write(desk.home.path().join("plans.txt"), "the plans").unwrap();
    let _ = desk.cli.ok(&["encrypt", "orders", "plans.txt"]);
    let decrypt = || desk.cli.run(&Desk::as_batch(&["decrypt", "plans.txt.krv", "-o", "-"]));
    let give = |operation| {
        let grant = ["grant", "create", "batch", "--key", "orders", "--operation", operation, "--for", "1h"];
        desk.cli.run(&[&grant[..], &["--reason", "case 4711"]].concat())
    };
    let given = give("key.decrypt").code(0);
    assert!(given.stderr.contains("key.unwrap-data-key"), "{given:?}");
    let _ = decrypt().code(3);
    let given = give("decrypt").code(0);
    assert!(given.text().contains("key.unwrap-data-key") && !given.stderr.contains("unwrap"), "{given:?}");
    assert_eq!(decrypt().code(0).text(), "the plans");
    let _ = give("key.decypt").code(2);
    let _ = give("lifecycle").code(2);
}

#[test]
fn a_role_comes_for_a_time_and_a_forbid_wins() {
    let desk = Desk::new();
    let id = desk.grant(&["--role", "key-user-encrypt"]);
    assert_eq!(desk.encrypts(&["orders"]), 0);
    let who = desk.cli.run(&Desk::as_batch(&["token", "self"])).code(0).text();
    assert!(who.contains("key-user-encrypt"), "{who}");
    let _ = desk.cli.ok(&["grant", "revoke", &id]);
    assert_eq!(desk.encrypts(&["orders"]), 3);
    let _ =
        desk.cli.run(&["grant", "create", "developer", "--role", "operator", "--for", "1h", "--reason", "me"]).code(5);
    let _ =
        desk.cli.run(&["grant", "create", "batch", "--role", "operator", "--for", "25h", "--reason", "long"]).code(2);
    let _ = desk.cli.run(&["grant", "create", "batch", "--for", "1h", "--reason", "nothing"]).code(2);

    let _ = desk.grant(&["--keyring", "default", "--operation", "key.encrypt"]);
    assert_eq!(desk.encrypts(&["others"]), 0);
    let forbid = "forbid (principal == Keyreeve::Principal::\"batch\", action, resource is Keyreeve::Key);";
    std::fs::write(desk.home.path().join("stop.cedar"), forbid).unwrap();
    let _ = desk.cli.ok(&["policy", "put", "stop", "stop.cedar"]);
    assert_eq!(desk.encrypts(&["others"]), 3);
}

#[test]
fn the_report_tells_what_adds_up_and_a_request_needs_others() {
    let desk = Desk::new();
    let id = desk.grant(&["--key", "orders", "--operation", "key.encrypt"]);
    assert_eq!(desk.encrypts(&["orders"]), 0);
    let report = desk.cli.json(&["access", "report", "--principal", "batch"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{report}");
    let right = &rows[0]["rights"][0];
    assert_eq!(right["through"][0].as_str(), Some(format!("grant:{id}").as_str()));
    assert!(right["last_used"].as_str().unwrap().ends_with("T00:00:00Z"), "{right}");
    let kinds: Vec<_> = report["findings"].as_array().unwrap().iter().map(|found| found["kind"].clone()).collect();
    assert_eq!(kinds, ["governance-founding"]);
    let csv = desk.cli.ok(&["access", "report", "--key", "orders", "--csv"]);
    assert!(csv.starts_with("principal,kind,key,alias,") && csv.contains("batch,service,key_"), "{csv}");
    let _ = desk.cli.run(&Desk::as_batch(&["access", "report"])).code(3);
    // Nobody could agree yet.
    let asked = desk.cli.run(&Desk::as_batch(&["elevate", "key-auditor", "--for", "1h", "--reason", "audit"]));
    assert!(asked.code(5).stderr.contains("rules of approval"));
}
