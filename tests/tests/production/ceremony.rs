//! The root of trust in shares: made once, opened by people at each start, closed on request.

use keyreeve_tests::{Api, Cli, Done, Layout, Production, Up, base64};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A profile for the command line.
fn profile(production: &Production, up: &Up, token: &str) -> Cli {
    let home = &production.home;
    let token_file = home.join("who.token");
    std::fs::write(&token_file, token).unwrap();
    std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(home.join("ca.pem"), production.pki.pem()).unwrap();
    let text = format!("address = \"{}\"\nca_file = \"ca.pem\"\ntoken_file = \"who.token\"\n", up.endpoint("all").url);
    std::fs::write(home.join("client.toml"), text).unwrap();
    Cli::new(home).with_profile(&home.join("client.toml"))
}

fn private(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode().trailing_zeros() >= 6
}

#[test]
fn the_ceremony_is_done_with_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let up = production.start();
    let cli = profile(&production, &up, "");
    let _ = cli.run(&["status"]).code(1);
    let _ = cli.run(&["unseal", "none"]).code(5);
    let made = cli.json(&["init", "--shares", "5", "--threshold", "3", "--out-dir", "ceremony"]);
    assert_eq!(made["files"].as_array().unwrap().len(), 6);
    let share = |number: usize| home.path().join(format!("ceremony/share-{number}"));
    assert!((1..=5).all(|number| private(&share(number))) && private(&home.path().join("ceremony/token")));
    let _ = cli.run(&["init", "--shares", "5", "--threshold", "3", "--out-dir", "again"]).code(5);
    let _ = cli.run(&["status"]).code(0);
    production.people.operator = std::fs::read_to_string(home.path().join("ceremony/token")).unwrap().trim().to_owned();
    production.populate(&up);
    let cli = profile(&production, &up, &production.people.keeper);
    let key = cli.json(&["key", "create", "--alias", "kept"])["id"].as_str().unwrap().to_owned();
    assert!(up.server.terminate().success());
    restart_and_open(&production, &key);
}

/// Three of five shares, one after the other, and not the same one twice.
fn restart_and_open(production: &Production, key: &str) {
    let up = production.start();
    let cli = profile(production, &up, &production.people.keeper);
    let sealed = cli.run(&["key", "show", key]).code(6);
    assert!(sealed.stderr.contains("unseal"), "{sealed}");
    let _ = cli.run(&["status"]).code(1);
    let _ = cli.run(&["unseal", "ceremony/share-4"]).code(0);
    let _ = cli.run(&["status"]).code(1);
    let twice = cli.run(&["unseal", "ceremony/share-4"]);
    assert!(twice.code == 2 && twice.stderr.contains("already"), "{twice}");
    let one = std::fs::read_to_string(production.home.join("ceremony/share-1")).unwrap();
    let misspelt = one.replacen(one.chars().nth(8).unwrap(), "z", 1);
    let wrong = cli.run_with(&["unseal", "-"], misspelt.as_bytes()).code(2);
    assert!(!wrong.stderr.contains(one.trim()), "{wrong}");
    let status = cli.run(&["status", "--output", "json"]).code(1).json();
    assert_eq!((&status["root"]["given"], &status["root"]["needed"]), (&json!(1), &json!(3)), "{status}");
    let _ = cli.run(&["unseal", "ceremony/share-1", "ceremony/share-5"]).code(0);
    let _ = cli.run(&["status"]).code(0);
    assert_eq!(cli.json(&["key", "show", "kept"])["id"], key);
    assert!(up.server.terminate().success());
}

/// Somebody types at a terminal: `script` makes one.
fn typed(cli: &Cli, lines: &[&str]) -> Option<Done> {
    let plain = cli.command(&["unseal"]);
    let mut command = Command::new("script");
    let line = format!("{} unseal", plain.get_program().to_string_lossy());
    command.args(["-qec", &line, "/dev/null"]).current_dir(cli.home()).env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TERM", "dumb").env("SHELL", "/bin/sh");
    Done::of(&mut command, format!("{}\n", lines.join("\n")).as_bytes()).ok()
}

/// Somebody at a terminal who mistypes is asked again; what was given before still counts.
#[test]
fn a_mistyped_share_is_asked_for_again() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    drop(production.start_new());
    let mut up = production.start();
    let cli = profile(&production, &up, "");
    let shares = production.shares.clone();
    let (last, rest) = (shares[1].chars().last().unwrap(), &shares[1][..shares[1].len() - 1]);
    let misspelt = format!("{rest}{}", if last == 'q' { 'p' } else { 'q' });
    let lines = [&*shares[0], &misspelt, "", &shares[0], &shares[1]];
    let Some(done) = typed(&cli, &lines) else { return keyreeve_tests::not_run("there is no script(1)") };
    let said = done.text();
    assert_eq!(done.code, 0, "{done}");
    assert!(said.contains("Share 1 of 2:") && said.contains("1 of 2 shares given, 1 to go"), "{said}");
    assert_eq!(said.matches("try again").count(), 3, "{said}");
    assert_eq!(said.matches("Share 2 of 2:").count(), 4, "{said}");
    assert_eq!(up.endpoint("all").api().get("/v1/system/status").ok()["open"], true);
    // What happened to the root of trust stands in the server's own log.
    up.server.wait_line(|line| line.contains("the server is open").then_some(()));
    for words in ["sealed: `keyreeve unseal` opens it", "a share of the root of trust was given", "was refused"] {
        assert!(up.server.log().contains(words), "no `{words}`:\n{}", up.server.log());
    }
}

fn give(api: &Api, share: &str) -> (u16, Value) {
    let answer = api.post("/v1/system/unseal", &json!({ "share": share }));
    (answer.status, answer.json())
}

/// A share of another deployment is told from a forged set, and neither opens anything.
#[test]
fn wrong_shares_are_told_apart() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut production = Production::prepare(home.path(), &Layout::default());
    let mut foreign = Production::prepare(other.path(), &Layout::default());
    drop((production.start_new(), foreign.start_new()));
    let up = production.start();
    let api = up.endpoint("all").api();
    let (status, problem) = give(&api, "krs1-not-a-share");
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-share")));
    assert_eq!(give(&api, &production.shares[0]).0, 200);
    let (status, problem) = give(&api, &foreign.shares[1]);
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-share")), "{problem}");
    let (_, twice) = give(&api, &production.shares[0]);
    assert_ne!(twice["detail"], problem["detail"]);
    assert_eq!(api.get("/v1/system/status").ok()["root"]["given"], 1);
    // Capitals and spaces are no mistake.
    let spoken = production.shares[2].to_uppercase().replace('-', " ").replacen("KRS2 ", "krs2-", 1);
    assert_eq!(give(&api, &spoken).0, 200);
    assert_eq!(api.get("/v1/system/status").ok()["open"], true);
    let (status, problem) = give(&api, &production.shares[1]);
    assert_eq!((status, &problem["code"]), (409, &json!("wrong-state")));
}

/// Sealed is sealed: health and status, unsealing, and nothing else.
#[test]
fn a_sealed_server_does_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let up = production.start();
    let nobody = up.endpoint("all").api();
    assert_eq!(nobody.get("/healthz").status, 200);
    let ready = nobody.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"]), (503, &json!(["not-initialised"])));
    nobody.get("/v1/keys").refused(503, "not-initialised");
    production.initialise(&up);
    assert_eq!(nobody.get("/readyz").status, 200);
    let (keeper, user) = (up.api("all", &production.people.keeper), up.api("all", &production.people.user));
    let key = keeper.make_key("xaes-256-gcm", None);
    let path = format!("/v1/keys/{key}/encrypt");
    let sealed = user.post(&path, &json!({ "plaintext": base64("x") })).ok();
    keeper.post("/v1/system/seal", &json!({})).refused(403, "denied");
    assert_eq!(up.api("all", &production.people.operator).post("/v1/system/seal", &json!({})).status, 204);
    for answer in
        [user.post(&path, &json!({ "plaintext": base64("x") })), keeper.get("/v1/keys"), nobody.get("/v1/keys")]
    {
        answer.refused(503, "sealed");
        assert!(answer.header("retry-after").is_some());
    }
    let ready = nobody.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"]), (503, &json!(["sealed"])));
    assert_eq!(nobody.get("/healthz").status, 200);
    production.unseal(&up);
    let back = user.post("/v1/decrypt", &json!({ "ciphertext": sealed["ciphertext"] })).ok();
    assert_eq!(back["plaintext"], base64("x"));
}
