//! Consent of several people, over HTTPS and with the command line: a request waits, people vote with a code each, it
//! runs once, also when the server was killed in between (requirements A6 and A9).

use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::UnixMillis;
use keyreeve_tests::{Cli, Layout, Production, Up};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Those whom the shipped rules ask, one each; `otto` is the operator's peer.
const PEOPLE: [(&str, &str); 6] = [
    ("sue", "security-lead"),
    ("carl", "ciso"),
    ("lea", "legal"),
    ("owen", "system-owner"),
    ("otto", "operator"),
    ("ann", "key-admin"),
];

/// A deployment whose rules are in force.
struct House {
    deployment: Production,
    up: Up,
    tokens: BTreeMap<&'static str, String>,
    seeds: BTreeMap<&'static str, Vec<u8>>,
}

fn step() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    totp::step(UnixMillis(now.try_into().unwrap())).unwrap()
}

fn unbase32(text: &str) -> Vec<u8> {
    let digit = |c: u8| if c.is_ascii_digit() { c - b'2' + 26 } else { c - b'A' };
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for c in text.bytes() {
        held = held << 5 | u32::from(digit(c));
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

impl House {
    fn open(home: &Path) -> Self {
        let mut deployment = Production::prepare(home, &Layout::default());
        let up = deployment.start_new();
        let (mut tokens, mut seeds) = (BTreeMap::new(), BTreeMap::new());
        let operator = up.api("admin", &deployment.people.operator);
        for (name, role) in PEOPLE {
            let who = json!({ "kind": "person", "roles": [role] });
            let _ = operator.put(&format!("/v1/principals/{name}"), &who).ok();
            let issued = operator.post("/v1/tokens", &json!({ "principal": name, "seconds": 86_400 })).ok();
            let token = issued["token"].as_str().unwrap().to_owned();
            let invited =
                operator.post(&format!("/v1/principals/{name}/mfa/invitation"), &json!({ "seconds": 600 })).ok();
            let own = up.api("admin", &token);
            let begin = json!({ "label": "phone", "invitation": invited["code"] });
            let started = own.post("/v1/mfa/totp", &begin).ok();
            let seed = unbase32(started["seed"].as_str().unwrap());
            let code = totp::code(&seed, TotpHash::Sha1, step());
            let _ = own.post("/v1/mfa/totp/finish", &json!({ "id": started["id"], "code": code.expose() })).ok();
            tokens.insert(name, token);
            seeds.insert(name, seed);
        }
        let _ = up.api("admin", &tokens["otto"]).post("/v1/governance/enact", &json!({})).ok();
        Self { deployment, up, tokens, seeds }
    }

    /// The code after the one that enrolment used; each works once, so everybody votes once.
    fn next_code(&self, name: &str) -> String {
        totp::code(&self.seeds[name], TotpHash::Sha1, step() + 1).expose().to_owned()
    }

    /// The command line of somebody.
    fn cli(&self, name: &str) -> Cli {
        let home = &self.deployment.home;
        let (profile, token) = (home.join(format!("{name}.toml")), home.join(format!("{name}.token")));
        std::fs::write(&token, &self.tokens[name]).unwrap();
        let endpoint = self.up.endpoint("admin");
        let ca = home.join("issuer.pem");
        std::fs::write(&ca, &endpoint.ca_pem).unwrap();
        let text = format!(
            "address = \"{0}\"\nadmin_address = \"{0}\"\nca_file = \"{1}\"\ntoken_file = \"{2}\"\n",
            endpoint.url,
            ca.display(),
            token.display()
        );
        std::fs::write(&profile, text).unwrap();
        for file in [&profile, &token] {
            std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        Cli::new(home).with_profile(&profile)
    }

    /// A key encryption key, made by the way it takes now.
    fn rotated(&self, key: &str) -> usize {
        let shown = self.up.api("admin", &self.tokens["ann"]).get(&format!("/v1/keys/{key}")).ok();
        shown["versions"].as_array().unwrap().len()
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

#[test]
fn a_request_waits_is_voted_on_with_codes_and_runs_once_over_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let mut house = House::open(home.path());
    let ann = house.up.api("admin", &house.tokens["ann"]);
    let wrapping = json!({ "keyring": "default", "algorithm": "aes-256-kw", "aliases": ["kek"], "reason": "first" });

    // Over HTTPS: 202, where it waits, and that nothing was done.
    let answer = ann.post("/v1/keys", &wrapping);
    assert_eq!(answer.status, 202, "{answer:?}");
    let waiting = answer.json();
    let id = waiting["approval"]["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"], format!("/v1/approvals/{id}"));
    assert_eq!(answer.headers["keyreeve-approval"], id.as_str());
    assert_eq!(waiting["approval"]["missing"], json!(["ciso", "security-lead"]));
    assert_eq!(text(&waiting, "code"), "approval-needed");
    assert!(answer.headers.contains_key("keyreeve-audit-record"));

    // On the command line: exit code 11, and the same proposal.
    let create = ["key", "create", "--algorithm", "aes-256-kw", "--alias", "kek", "--reason", "first"];
    let done = house.cli("ann").run(&create).code(11);
    assert!(done.stderr.contains("approval") && done.stderr.contains("ciso"), "{done:?}");

    // Each of the two sees it in full and agrees with a code.
    for name in ["carl", "sue"] {
        let cli = house.cli(name);
        let shown = cli.ok(&["approval", "show", &id]);
        assert!(shown.contains("aes-256-kw") && shown.contains("digest"), "{shown}");
        let code = house.next_code(name);
        let voted = cli.run_with(&["approval", "approve", &id, "--reason", "agreed"], code.as_bytes()).code(0);
        assert!(voted.text().contains(&format!("approve by {name} with totp")), "{voted:?}");
        let again = cli.run_with(&["approval", "approve", &id], code.as_bytes());
        assert_ne!(again.code, 0, "a code works once");
    }

    // The consent outlives the server's death; then it runs, once.
    drop(house.up);
    house.up = house.deployment.start_open();
    let ran = house.cli("ann").ok(&["approval", "run", &id]);
    assert!(ran.contains("key.create"), "{ran}");
    let _ = house.cli("ann").run(&["approval", "run", &id]).code(5);
    let listed = house.cli("carl").json(&["approval", "list", "--state", "executed"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(house.rotated("kek"), 1);
}

#[test]
fn rules_are_shown_checked_and_put_under_the_rules() {
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path());
    let cli = house.cli("otto");
    let book = cli.json(&["rules", "show"]);
    assert!(text(&book, "text").contains("name = \"destroy\"") && book["enacted_by"] == "otto", "{book}");
    let file = home.path().join("rules.toml");
    std::fs::write(&file, text(&book, "text")).unwrap();
    let path = file.to_str().unwrap();
    let _ = cli.run(&["rules", "check", path]).code(0);
    let _ = cli.run(&["rules", "put", path]).code(11);
    std::fs::write(&file, "[[rule]]\nname = \"x\"\n").unwrap();
    let _ = cli.run(&["rules", "check", path]).code(2);
    let _ = cli.run(&["governance", "enact", "--yes"]).code(5);
    let _ = cli.run(&["governance", "enact"]).code(2);
}

#[test]
fn a_proposal_is_withdrawn_by_who_made_it_and_rejected_by_who_could_agree() {
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path());
    let asked = |reason: &str| {
        let put = json!({ "text": format!("// {reason}\nforbid (principal, action, resource is Keyreeve::Token);") });
        let answer = house.up.api("admin", &house.tokens["otto"]).put("/v1/policies/none", &put);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["approval"]["id"].as_str().unwrap().to_owned()
    };
    let id = asked("one");
    let _ = house.cli("ann").run(&["approval", "withdraw", &id]).code(4);
    assert!(house.cli("otto").ok(&["approval", "withdraw", &id]).contains("withdrawn"));
    let other = asked("two");
    assert_ne!(id, other);
    let no = house.cli("lea").run_with(&["approval", "reject", &other], house.next_code("lea").as_bytes());
    assert_eq!(no.code, 3, "Legal has no seat here: {no:?}");
    let rejected = house.cli("carl").run_with(&["approval", "reject", &other], house.next_code("carl").as_bytes());
    assert!(rejected.code(0).text().contains("rejected"));
    assert!(house.cli("otto").ok(&["policy", "list"]).lines().all(|line| !line.starts_with("none")));
}
