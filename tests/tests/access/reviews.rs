//! Going through who has which right, over the command line.

use keyreeve_tests::{Cli, Dev, Done};
use serde_json::Value;

/// A development server with rights of a program `batch` to go through, and rita who may review.
struct Desk {
    _dev: Dev,
    cli: Cli,
    _home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        let cli = dev.cli();
        let _ = cli.ok(&["key", "create", "--alias", "orders", "--consumer", "shop"]);
        let _ = cli.ok(&["principal", "put", "batch", "--kind", "service", "--role", "report-reader"]);
        let _ = cli.ok(&["token", "create", "batch", "--for", "1h", "-o", "batch.token"]);
        let grant = ["grant", "create", "batch", "--key", "orders", "--operation", "key.encrypt", "--for", "8h"];
        let _ = cli.ok(&[&grant[..], &["--reason", "case 4711"]].concat());
        let policy = "permit (principal == Keyreeve::Principal::\"rita\", action in Keyreeve::Action::\"review\", \
                      resource);";
        std::fs::write(home.path().join("reviewers.cedar"), policy).unwrap();
        let _ = cli.ok(&["policy", "put", "reviewers", "reviewers.cedar"]);
        let _ = cli.ok(&["principal", "put", "rita", "--kind", "person"]);
        let _ = cli.ok(&["token", "create", "rita", "--for", "1h", "-o", "rita.token"]);
        Self { _dev: dev, cli, _home: home }
    }

    fn run_as(&self, who: &str, words: &[&str]) -> Done {
        let token = format!("{who}.token");
        self.cli.run(&[&["--profile", ".keyreeve-dev/client.toml", "--token-file", &token], words].concat())
    }

    fn encrypts(&self) -> i32 {
        let words = ["--profile", ".keyreeve-dev/client.toml", "--token-file", "batch.token"];
        self.cli.run_with(&[&words[..], &["encrypt", "--small", "orders"]].concat(), b"x").code
    }

    fn show(&self, review: &str) -> Vec<Value> {
        self.cli.json(&["review", "show", review])["items"].as_array().unwrap().clone()
    }
}

/// The number of the item that somebody's right of a kind is.
fn number(items: &[Value], subject: &str, who: &str) -> String {
    let found = items.iter().find(|item| item["subject"] == subject && item["who"] == who);
    found.unwrap_or_else(|| panic!("no {subject} of {who}: {items:?}"))["number"].to_string()
}

fn words_of<'a>(review: &'a str, item: &'a str, verdict: &'a str) -> [&'a str; 7] {
    ["review", "decide", review, item, verdict, "--reason", "looked at"]
}

#[test]
fn every_right_is_decided_on_by_somebody_else_and_what_is_revoked_is_gone() {
    let desk = Desk::new();
    assert_eq!(desk.encrypts(), 0);
    let _ = desk.run_as("batch", &["review", "open", "--reason", "mine"]).code(3);
    let opened = desk.cli.json(&["review", "open", "--days", "14", "--reason", "second half-year"]);
    let review = opened["id"].as_str().unwrap();
    let items = desk.show(review);
    assert_eq!(opened["items"].as_u64(), Some(items.len() as u64), "{opened}");
    let (grant, role, consumer) =
        (number(&items, "grants", "batch"), number(&items, "roles", "batch"), number(&items, "consumers", "shop"));

    // The developer gave the grant and made the key: somebody else decides.
    let as_rita = |item: &str, verdict: &str| desk.run_as("rita", &words_of(review, item, verdict));
    let refused = desk.cli.run(&words_of(review, &grant, "revoke"));
    assert!(refused.code != 0 && refused.stderr.contains("somebody else decides"), "{refused}");
    assert_eq!(desk.encrypts(), 0);

    let told = as_rita(&grant, "revoke").code(0).text();
    assert!(told.contains("revoke by rita") && told.contains("not decided yet"), "{told}");
    assert_eq!(desk.encrypts(), 3, "the grant went with the decision");
    let _ = as_rita(&role, "revoke").code(0);
    assert_eq!(desk.cli.json(&["principal", "show", "batch"])["roles"].as_array().map(Vec::len), Some(0));
    let _ = as_rita(&consumer, "revoke").code(0);
    assert_eq!(desk.cli.json(&["key", "show", "orders"])["consumers"].as_array().map_or(0, Vec::len), 0);

    let close = ["review", "close", review, "--text", "three rights were revoked"];
    let _ = desk.run_as("rita", &close).code(5);
    let left = desk.cli.json(&["review", "show", review, "--undecided"]);
    for item in left["items"].as_array().unwrap() {
        let _ = as_rita(&item["number"].to_string(), "keep").code(0);
    }
    let closed = desk.run_as("rita", &close).code(0).text();
    assert!(closed.contains("closed") && closed.contains("by rita"), "{closed}");
    assert!(desk.cli.ok(&["review", "list", "--closed"]).contains(review));
    let shown = desk.cli.ok(&["review", "show", review]);
    assert!(shown.contains("consumer of orders") && shown.contains("keep by rita"), "{shown}");
    let records = desk.cli.ok(&["audit", "search", "--operation", "review.*", "--output", "json"]);
    for operation in ["review.open", "review.decide", "review.close"] {
        assert!(records.contains(operation), "{records}");
    }
}
