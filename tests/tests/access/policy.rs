//! Policies as files over the command line: checked, applied, fetched, compared, put back, tried on the past.

use keyreeve_tests::{Cli, Dev};
use std::path::PathBuf;

const NOBODY: &str = "forbid (principal in Keyreeve::Role::\"nobody\", action, resource);\n";
const SIGNERS: &str =
    "permit (principal in Keyreeve::Role::\"signer\", action == Keyreeve::Action::\"key.sign\", resource);\n";

/// A development server, and a directory of policies beside it.
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
        std::fs::create_dir(home.path().join("policies")).unwrap();
        Self { _dev: dev, cli, home }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("policies").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Uses the key `orders`.
    fn encrypt(&self) {
        let words = ["--profile", ".keyreeve-dev/client.toml", "encrypt", "--small", "orders"];
        let _ = self.cli.run_with(&words, b"x").code(0);
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

#[test]
fn a_directory_is_checked_applied_compared_and_rolled_back() {
    let desk = Desk::new();
    desk.write("none.cedar", NOBODY);
    desk.write("notes.txt", "not a policy");
    let checked = desk.cli.ok(&["policy", "check", "policies"]);
    assert!(checked.contains("nothing was changed") && checked.contains("+forbid"), "{checked}");
    assert!(!desk.cli.ok(&["policy", "list", "--all"]).contains("none"), "nothing was changed");

    let applied = desk.cli.json(&["policy", "apply", "policies", "--comment", "first"]);
    assert_eq!((applied["from"].as_u64(), applied["to"].as_u64()), (Some(0), Some(1)));
    assert_eq!(desk.read(".policy-version"), "1\n");
    desk.write("signers.cedar", SIGNERS);
    let applied = desk.cli.ok(&["policy", "apply", "policies", "--comment", "signers"]);
    assert!(applied.contains("version 1 is now version 2"), "{applied}");
    assert!(applied.contains("signer") && applied.contains("key.sign") && applied.contains("allowed"), "{applied}");

    let log = desk.cli.ok(&["policy", "log"]);
    assert!(log.contains("+signers") && log.contains("first") && log.contains("developer"), "{log}");
    let diff = desk.cli.json(&["policy", "diff", "1", "2"]);
    assert_eq!(diff["documents"][0]["change"], "added");
    assert!(diff["documents"][0]["unified"].as_str().unwrap().contains("+permit"));

    let back = desk.cli.json(&["policy", "rollback", "1", "--comment", "as it was"]);
    assert_eq!((back["from"].as_u64(), back["to"].as_u64()), (Some(2), Some(3)));
    assert!(desk.cli.ok(&["policy", "diff", "1", "3"]).contains("nothing differs"));
    // The directory builds on version 2 and is told.
    let refused = desk.cli.run(&["policy", "apply", "policies"]).code(5);
    assert!(refused.stderr.contains("version 3 applies now"));
    let _ = desk.cli.ok(&["policy", "apply", "policies", "--force"]);
    assert_eq!(desk.read(".policy-version"), "4\n");
}

#[test]
fn what_is_wrong_is_told_with_file_and_line_and_changes_nothing() {
    let desk = Desk::new();
    desk.write("good.cedar", NOBODY);
    desk.write("bad.cedar", "// one\npermit (principal, action == Keyreeve::Action::\"key.singe\", resource);\n");
    for command in [&["policy", "check", "policies"][..], &["policy", "apply", "policies"]] {
        let refused = desk.cli.run(command).code(2);
        let said = &refused.stderr;
        assert!(said.contains("policy `bad`, line 2") && said.contains("key.sign"), "{said}");
    }
    assert!(!desk.cli.ok(&["policy", "list", "--all"]).contains("good"));
    let empty = desk.home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let _ = desk.cli.run(&["policy", "apply", "empty"]).code(2);
    let lock = "forbid (principal, action in Keyreeve::Action::\"access\", resource);\n";
    desk.write("bad.cedar", lock);
    let refused = desk.cli.run(&["policy", "apply", "policies"]).code(2);
    assert!(refused.stderr.contains("lock people out"));
}

#[test]
fn what_is_fetched_can_be_applied_again() {
    let desk = Desk::new();
    std::fs::write(desk.home.path().join("p.cedar"), SIGNERS).unwrap();
    for name in ["signers", "team-billing"] {
        let _ = desk.cli.ok(&["policy", "put", name, "p.cedar"]);
    }
    let pulled = desk.cli.ok(&["policy", "pull", "policies"]);
    assert!(pulled.contains("2 policies of version 2"), "{pulled}");
    assert_eq!((desk.read("signers.cedar"), desk.read("team-billing.cedar")), (SIGNERS.to_owned(), SIGNERS.to_owned()));
    let again = desk.cli.ok(&["policy", "apply", "policies", "--delete-others"]);
    assert!(again.contains("nothing differs"), "{again}");
    std::fs::remove_file(desk.file("team-billing.cedar")).unwrap();
    let _ = desk.cli.ok(&["policy", "apply", "policies", "--delete-others"]);
    assert!(!desk.cli.ok(&["policy", "list", "--all"]).contains("team-billing"));
}

#[test]
fn a_draft_is_tried_on_the_past_and_ends_with_1_where_it_matters() {
    let desk = Desk::new();
    let _ = desk.cli.ok(&["key", "create", "--alias", "orders"]);
    for _ in 0..3 {
        desk.encrypt();
    }
    desk.write("none.cedar", NOBODY);
    let same = desk.cli.run(&["policy", "simulate", "policies", "--days", "1"]).code(0).text();
    assert!(same.contains("changed") && !same.contains("would be"), "{same}");
    desk.write("stop.cedar", "forbid (principal, action in Keyreeve::Action::\"encrypt-side\", resource);\n");
    let changed = desk.cli.run(&["policy", "simulate", "policies"]).code(1).text();
    assert!(
        changed.contains("key.encrypt") && changed.contains("refused (stop)") && changed.contains(" 3 "),
        "{changed}"
    );
    let _ = desk.cli.run(&["policy", "simulate", "policies", "--days", "91"]).code(2);
    assert!(!desk.cli.ok(&["policy", "list", "--all"]).contains("stop"), "nothing was applied");
}

#[test]
fn a_draft_is_tried_beside_the_policies_and_changes_nothing() {
    let desk = Desk::new();
    let _ = desk.cli.ok(&["key", "create", "--alias", "orders"]);
    let _ = desk.cli.run(&["policy", "shadow", "report"]).code(4);
    desk.write("stop.cedar", "forbid (principal, action in Keyreeve::Action::\"encrypt-side\", resource);\n");
    let started = desk.cli.ok(&["policy", "shadow", "start", "policies", "--comment", "no more writing"]);
    assert!(started.contains("stop") && started.contains("no more writing"), "{started}");
    assert!(!desk.cli.ok(&["policy", "list", "--all"]).contains("stop"), "nothing was applied");
    assert!(desk.cli.run(&["policy", "shadow", "report"]).code(0).text().contains("differing"));
    for _ in 0..2 {
        desk.encrypt();
    }
    let report = desk.cli.run(&["policy", "shadow", "report"]).code(1).text();
    assert!(report.contains("key.encrypt") && report.contains("refused") && report.contains("developer"), "{report}");
    let report = desk.cli.run(&["policy", "shadow", "report", "--output", "json"]).code(1).json();
    assert_eq!((report["differing"].as_u64(), report["groups"][0]["count"].as_u64()), (Some(2), Some(2)));
    let record = report["groups"][0]["record"].as_str().unwrap().to_owned();
    let found = desk.cli.ok(&["audit", "search", "--operation", "key.encrypt", "--output", "json"]);
    assert!(found.contains(&record) && found.contains("\"shadow\""), "{found}");
    let _ = desk.cli.ok(&["policy", "shadow", "stop"]);
    let _ = desk.cli.run(&["policy", "shadow", "report"]).code(4);
    let _ = desk.cli.run(&["policy", "shadow", "stop"]).code(4);
    desk.encrypt();
    desk.write("wrong.cedar", "permit (");
    let refused = desk.cli.run(&["policy", "shadow", "start", "policies"]).code(2);
    assert!(refused.stderr.contains("policy `wrong`"), "{}", refused.stderr);
}

#[test]
fn an_explanation_takes_the_age_of_the_second_factor() {
    let desk = Desk::new();
    let _ = desk.cli.ok(&["key", "create", "--alias", "orders"]);
    let text = "forbid (principal, action == Keyreeve::Action::\"key.rotate\", resource)
        unless { context has mfa_age_seconds && context.mfa_age_seconds <= 900 };\n";
    desk.write("fresh.cedar", text);
    let _ = desk.cli.ok(&["policy", "apply", "policies"]);
    let explain = ["policy", "explain", "developer", "key.rotate", "orders"];
    let _ = desk.cli.run(&explain).code(1);
    let _ = desk.cli.run(&[&explain[..], &["--mfa-age", "901"]].concat()).code(1);
    let _ = desk.cli.run(&[&explain[..], &["--mfa-age", "900"]].concat()).code(0);
    let _ = desk.cli.run(&["key", "rotate", "orders"]).code(3);
}
