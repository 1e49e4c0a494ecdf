//! Help, completion, exit codes, forms of output, the first minutes of somebody new.

use keyreeve_tests::{Binary, Cli, Dev, Server};
use rustix::process::Signal;
use serde_json::Value;

use crate::Desk;

/// Everything that can be asked for, as the help of each level lists it.
fn commands(cli: &Cli, path: &[&str], found: &mut Vec<Vec<String>>) {
    let help = cli.ok(&[path, &["--help"]].concat());
    let own: Vec<String> = path.iter().map(|&word| word.to_owned()).collect();
    // The help of the program itself has its commands in groups, up to the options.
    let list = match path {
        [] => help.split_once("\nOptions:\n").map(|(groups, _)| groups),
        _ => help.split_once("\nCommands:\n").and_then(|(_, list)| list.split("\n\n").next()),
    };
    let Some(list) = list else {
        assert!(help.contains("Example"), "no example in the help of {path:?}:\n{help}");
        found.push(own);
        return;
    };
    let names: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|&name| name != "help")
        .collect();
    assert!(!names.is_empty(), "{help}");
    for name in names {
        commands(cli, &[path, &[name]].concat(), found);
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let home = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    commands(&Cli::new(home.path()), &[], &mut found);
    assert!(found.len() >= 55, "{found:?}");
    for expected in [&["key", "destroy", "schedule"][..], &["audit", "prove"], &["policy", "explain"], &["dev"]] {
        assert!(found.iter().any(|words| words == expected), "{expected:?} is missing");
    }
}

#[test]
fn completion_is_printed_for_each_shell() {
    let home = tempfile::tempdir().unwrap();
    let cli = Cli::new(home.path());
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.ok(&["completions", shell]);
        assert!(script.contains("rotate") && script.contains("keyreeve"), "{shell}");
    }
    let checked =
        std::process::Command::new("bash").arg("-n").arg("/dev/stdin").stdin(std::process::Stdio::piped()).spawn();
    let Ok(mut bash) = checked else { return keyreeve_tests::not_run("there is no bash to read the completion") };
    let script = cli.ok(&["completions", "bash"]);
    std::io::Write::write_all(bash.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
    drop(bash.stdin.take());
    assert!(bash.wait().unwrap().success());
}

#[test]
fn what_is_wrong_is_told_with_an_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let cli = Cli::new(home.path());
    let version = cli.ok(&["--version"]);
    assert!(version.starts_with("keyreeve "), "{version}");
    let _ = cli.json(&["version"]);
    for words in
        [&["nonsense"][..], &["key"], &["encrypt"], &["key", "create", "--algorithm", "aes-128"], &["random", "-1"]]
    {
        let _ = cli.run(words).code(2);
    }
    let lost = cli.run(&["key", "list"]).code(2);
    assert!(lost.stderr.contains("keyreeve dev"), "{lost}");
    let nobody = cli.run(&["--address", "https://127.0.0.1:1", "status"]).code(6);
    assert!(nobody.stderr.contains("next:"), "{nobody}");
    let clear = cli.run(&["--address", "http://127.0.0.1:1", "status"]).code(2);
    assert!(clear.stderr.contains("https"), "{clear}");
    let programs = cli.run(&["--output", "json", "--address", "https://127.0.0.1:1", "status"]).code(6);
    let error: Value = serde_json::from_str(&programs.stderr).unwrap_or_else(|_| panic!("{programs}"));
    assert_eq!(error["exit"], 6);
}

#[test]
fn refusals_have_their_exit_codes() {
    let desk = Desk::new();
    let cli = &desk.cli;
    desk.key("one", &[]);
    let absent = cli.run(&["key", "show", "none"]).code(4);
    assert!(absent.stderr.contains("next:"), "{absent}");
    let _ = cli.run(&["key", "create", "--alias", "one"]).code(5);
    let _ = cli.run(&["key", "create", "--alias", "with space"]).code(2);
    let _ = cli.run_with(&["decrypt"], b"kr1.S1Ix").code(2);
    let _ = cli.run_with(&["sign", "one"], b"x").code(2);
    let _ = cli.run(&["key", "suspend", "one", "--reason", "a test"]).code(0);
    let refused = cli.run_with(&["encrypt", "one", "--small"], b"x").code(5);
    assert!(refused.stderr.contains("audit record: rec_"), "{refused}");
    let quiet = cli.run_with(&["-q", "encrypt", "one", "--small"], b"x").code(5);
    assert!(quiet.stdout.is_empty() && !quiet.stderr.contains("rec_"), "{quiet}");
    let id = cli.run(&["-q", "key", "create", "--alias", "for-scripts"]).code(0);
    assert!(id.text().starts_with("key_") && id.text().lines().count() == 1 && id.stderr.is_empty(), "{id}");
    assert_eq!(cli.json(&["key", "show", "for-scripts"])["id"], id.text().trim());
    desk.write("wrong.token", format!("krt_{}_{}", "0".repeat(32), "0".repeat(64)));
    let alone = cli.run(&["--token-file", "wrong.token", "key", "list"]).code(2);
    assert!(alone.stderr.contains("--profile"), "{alone}");
    let profile = ".keyreeve-dev/client.toml";
    let open = cli.run(&["--profile", profile, "--token-file", "wrong.token", "key", "list"]).code(2);
    assert!(open.stderr.contains("chmod 600"), "{open}");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(desk.path("wrong.token"), private).unwrap();
    let _ = cli.run(&["--profile", profile, "--token-file", "wrong.token", "key", "list"]).code(3);
}

/// The pipe's reader goes away, as `head` does.
#[test]
fn a_closed_pipe_is_no_complaint() {
    let desk = Desk::new();
    let mut command = desk.cli.command(&["random", "65536", "-o", "-"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A pipe is large enough for some answers: then nothing is noticed at all.
    assert!(matches!(output.status.code(), Some(0 | 141)) && !said.contains("panicked"), "{said}");
}

/// The screen of `keyreeve dev` tells what it says in the README, and each of its commands works.
#[test]
fn the_first_screen_can_be_copied() {
    let home = tempfile::tempdir().unwrap();
    let dev = Dev::start(home.path());
    let screen = dev.server.log();
    for word in ["NOT protected", "address", "CA file", "token", "console", "keyreeve demo"] {
        assert!(screen.contains(word), "no `{word}` on the screen:\n{screen}");
    }
    std::fs::write(home.path().join("README.md"), "something to read\n").unwrap();
    let binary = Binary::find();
    let lines: Vec<&str> = screen.lines().map(str::trim).filter(|line| line.starts_with("keyreeve ")).collect();
    assert!(lines.len() >= 4, "{screen}");
    for line in lines.iter().filter(|line| !line.starts_with("keyreeve demo")) {
        let mut shell = std::process::Command::new("bash");
        let script = format!("set -e; keyreeve() {{ {} \"$@\"; }}; {line}", binary.path().display());
        let output = shell.env("HOME", home.path()).current_dir(home.path()).arg("-c").arg(script).output().unwrap();
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(
        std::fs::metadata(dev.data())
            .map(|dir| std::os::unix::fs::PermissionsExt::mode(&dir.permissions()) & 0o777)
            .unwrap(),
        0o700
    );
}

#[test]
fn the_tour_runs_to_its_end() {
    let desk = Desk::new();
    let tour = desk.cli.ok(&["demo", "--dir", "tour"]);
    assert!(tour.contains("NOT valid") && tour.contains("proved"), "{tour}");
    assert!(desk.path("tour/letter.txt.krv").exists());
    // A second one does not stumble over the first.
    let _ = desk.cli.ok(&["demo"]);
    let _ = desk.cli.json(&["demo"]);
}

/// Everything is there again after the next start, and a Ctrl-C is no failure.
#[test]
fn data_survives_restarts() {
    let home = tempfile::tempdir().unwrap();
    let dev = Dev::start(home.path());
    let cli = dev.cli();
    let _ = cli.ok(&["key", "create", "--alias", "kept"]);
    let sealed = cli.run_with(&["encrypt", "kept", "--small"], b"still here").code(0).text();
    let keys = dev.log_keys();
    dev.server.signal(Signal::INT);
    assert!(dev.server.wait().success());
    let dev = Dev::start(home.path());
    assert_eq!(cli.run_with(&["decrypt"], sealed.as_bytes()).code(0).text(), "still here");
    assert_eq!(dev.log_keys(), keys);
    assert!(dev.server.terminate().success());
}

/// Two servers on one directory would undo each other's work.
#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let _dev = Dev::start(home.path());
    let second = Cli::new(home.path()).run(&["dev", "--listen", "127.0.0.1:0"]).code(2);
    assert!(second.stderr.contains("in use"), "{second}");
    let open = Cli::new(home.path()).run(&["dev", "--data-dir", "other", "--listen", "0.0.0.0:0"]).code(2);
    assert!(open.stderr.contains("loopback"), "{open}");
    let mut json = Binary::find().command(home.path());
    let mut third =
        Server::spawn(json.args(["dev", "--data-dir", "third", "--listen", "127.0.0.1:0", "--output", "json"]));
    third.wait_line(|line| line.contains("first_start").then_some(()));
}
