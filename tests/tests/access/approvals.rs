//! Consent of several people, over HTTPS and with the command line: a request waits, people vote with a code each, it
//! runs once, also when the server was killed in between (requirements A6 and A9).

use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::UnixMillis;
use keyreeve_tests::{Chance, Cli, Layout, Production, Up};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Those whom the shipped rules ask, one each; `otto` is the operator's peer.
const PEOPLE: [(&str, &str); 7] = [
    ("sue", "security-lead"),
    ("carl", "ciso"),
    ("lea", "legal"),
    ("owen", "system-owner"),
    ("otto", "operator"),
    ("ann", "key-admin"),
    ("esther", "escrow-administrator"),
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
        Self::of(home, &PEOPLE)
    }

    /// One with these people, and a key-encryption key that was made before the rules came into force.
    fn of(home: &Path, people: &[(&'static str, &'static str)]) -> Self {
        let mut deployment = Production::prepare(home, &Layout::default());
        let up = deployment.start_new();
        let old = json!({ "keyring": "default", "algorithm": "aes-256-kw", "aliases": ["old-kek"], "reason": "old" });
        let _ = up.api("admin", &deployment.people.keeper).post("/v1/keys", &old).ok();
        let (mut tokens, mut seeds) = (BTreeMap::new(), BTreeMap::new());
        let operator = up.api("admin", &deployment.people.operator);
        for (name, role) in people.iter().copied() {
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

#[test]
fn a_command_waits_until_others_agreed_and_what_they_agreed_to_is_verified() {
    let home = tempfile::tempdir().unwrap();
    let mut house = House::open(home.path());
    house.tokens.insert("auditor", house.deployment.people.auditor.clone());
    let waiting = |state: &str| {
        let listed = house.cli("carl").json(&["approval", "list", "--state", state]);
        listed["items"].as_array().unwrap().first().map(|item| text(item, "id"))
    };
    let found = || {
        let begun = std::time::Instant::now();
        loop {
            match waiting("waiting") {
                Some(id) => return id,
                None => assert!(begun.elapsed().as_secs() < 60, "nothing waits"),
            }
        }
    };
    let create = ["key", "create", "--algorithm", "aes-256-kw", "--alias", "kek", "--reason", "first"];
    let ann = house.cli("ann");
    let soon = ann.run(&[&create[..], &["--wait=1s"]].concat()).code(11);
    assert!(soon.stderr.contains("waiting for the consent of others"), "{soon:?}");
    let id = std::thread::scope(|scope| {
        let command = scope.spawn(|| ann.run(&[&create[..], &["--wait"]].concat()));
        let id = found();
        for name in ["carl", "sue"] {
            let code = house.next_code(name);
            let _ = house.cli(name).run_with(&["approval", "approve", &id], code.as_bytes()).code(0);
        }
        let done = command.join().unwrap().code(0);
        assert!(done.text().contains("key.create") && done.text().contains(&id), "{done:?}");
        id
    });
    assert_eq!(house.rotated("kek"), 1);

    // Whoever consented looks whether that is what ran; an auditor sees everybody's records.
    let verified = |who: &str| -> Vec<(String, String)> {
        let checked = house.cli(who).json(&["approval", "verify", &id]);
        assert_eq!(checked["verified"], true, "{checked}");
        let checks = checked["checks"].as_array().unwrap().iter();
        checks.map(|check| (text(check, "what"), text(check, "verdict"))).collect()
    };
    let told = |own: &str, others: &str| {
        [
            ("request", "right"),
            ("approve by carl: record", own),
            ("approve by carl: factor", "not-here"),
            ("approve by sue: record", others),
            ("approve by sue: factor", "not-here"),
            ("execution: record", others),
        ]
        .map(|(what, verdict)| (what.to_owned(), verdict.to_owned()))
    };
    assert_eq!(verified("carl"), told("right", "not-here"));
    assert_eq!(verified("auditor"), told("right", "right"));
    // The key of another log verifies nothing.
    let other = home.path().join("other.vkey");
    std::fs::write(&other, "other.example/log+9a2a3f4d+AVFuvGdmWqVvfI6FCRlZ1nFCDsTDvM7kJ0tZ2nEvNVFO\n").unwrap();
    let wrong = house.cli("carl").run(&["approval", "verify", &id, "--vkey", other.to_str().unwrap()]);
    assert!([2, 7].contains(&wrong.code), "{wrong:?}");

    // One that is rejected ends the command as what others refused.
    let refused = std::thread::scope(|scope| {
        let command = scope.spawn(|| ann.run(&["key", "rotate", "kek", "--reason", "due", "--wait=60s"]));
        let id = found();
        let code = house.next_code("lea");
        assert_eq!(house.cli("lea").run_with(&["approval", "reject", &id], code.as_bytes()).code, 3, "no seat");
        assert!(house.cli("ann").ok(&["approval", "withdraw", &id]).contains("withdrawn"));
        command.join().unwrap()
    });
    let _ = refused.code(5);
}

/// Two for each seat of each round: each votes with a code once.
const MANY: [(&str, &str); 11] = [
    ("sue", "security-lead"),
    ("sam", "security-lead"),
    ("sid", "security-lead"),
    ("carl", "ciso"),
    ("cora", "ciso"),
    ("cleo", "ciso"),
    ("lea", "legal"),
    ("owen", "system-owner"),
    ("otto", "operator"),
    ("ann", "key-admin"),
    ("esther", "escrow-administrator"),
];

impl House {
    /// Sends a request, kills the server within the next moments, and starts it again. The status that was answered
    /// before it died, if one was.
    fn killed_during(self, chance: &mut Chance, who: &str, path: &str, body: &Value) -> (Self, Option<u16>) {
        let Self { deployment, up, tokens, seeds } = self;
        let own = up.api("admin", &tokens[who]);
        let (answered, answer) = mpsc::channel();
        let moment = Duration::from_micros(chance.below(12_000) as u64);
        let status = std::thread::scope(|scope| {
            let _ = scope.spawn(move || {
                // A server that dies answers nothing.
                let status = own.try_call(reqwest::Method::POST, path, body).ok().map(|answer| answer.status);
                let _ = answered.send(status);
            });
            let early = answer.recv_timeout(moment);
            up.server.signal(rustix::process::Signal::KILL);
            early.ok().or_else(|| answer.recv().ok()).flatten()
        });
        drop(up);
        let up = deployment.start_open();
        (Self { deployment, up, tokens, seeds }, status)
    }
}

#[test]
fn a_kill_around_the_last_vote_and_the_run_loses_no_vote_and_runs_nothing_twice() {
    let home = tempfile::tempdir().unwrap();
    let mut house = House::of(home.path(), &MANY);
    let (seed, rounds) = (Chance::seed(), ["sue carl", "sam cora", "sid cleo"]);
    let mut chance = Chance::new(seed);
    for (round, (lead, ciso)) in rounds.iter().map(|names| names.split_once(' ').unwrap()).enumerate() {
        let told = format!("seed {seed}, round {round}");
        let ask = json!({ "reason": format!("round {round}") });
        let answer = house.up.api("admin", &house.tokens["ann"]).post("/v1/keys/old-kek/rotate", &ask);
        assert_eq!(answer.status, 202, "{told}: {answer:?}");
        let id = text(&answer.json()["approval"], "id");
        let shown =
            |house: &House| house.up.api("admin", &house.tokens["otto"]).get(&format!("/v1/approvals/{id}")).ok();
        let digest = text(&shown(&house), "digest");
        let votes = format!("/v1/approvals/{id}/votes");
        let vote = |code: String| json!({ "decision": "approve", "digest": digest, "proof": { "code": code } });
        let first = vote(house.next_code(lead));
        let _ = house.up.api("admin", &house.tokens[lead]).post(&votes, &first).ok();

        let last = vote(house.next_code(ciso));
        let answered;
        (house, answered) = house.killed_during(&mut chance, ciso, &votes, &last);
        let after = shown(&house);
        let count = after["votes"].as_array().unwrap().len();
        match (answered, count) {
            (_, 2) => assert_eq!(text(&after, "state"), "approved", "{told}"),
            // It was not acknowledged, and left nothing behind: the code still works.
            (None, 1) => {
                let _ = house.up.api("admin", &house.tokens[ciso]).post(&votes, &last).ok();
            }
            lost => panic!("{told}: {lost:?} of {after}"),
        }

        let run = format!("/v1/approvals/{id}/execute");
        let answered;
        (house, answered) = house.killed_during(&mut chance, "ann", &run, &json!({}));
        let again = house.up.api("admin", &house.tokens["ann"]).post(&run, &json!({}));
        match (answered, again.status) {
            (None, 200) => {}
            (_, 409) => again.refused(409, "already-done"),
            twice => panic!("{told}: {twice:?}"),
        }
        assert_eq!(house.rotated("old-kek"), round + 2, "{told}");
        assert_eq!(text(&shown(&house), "state"), "executed", "{told}");
    }
}
