//! Key ceremonies at the terminal, over real servers: led, interrupted, rehearsed, and checked afterwards.

use keyreeve_tests::Cli;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use crate::Desk;

const SCRIPT: &str = r#"
keyreeve_ceremony = 1
name = "look"
title = "A look at a key"
purpose = "To show that ceremonies work."
version = "1"
server = true
organisations_at_least = 2
deviations_accepted_by = ["witness"]

[[roles]]
name = "administrator"
title = "Administrator"
count = 1
may_not_be_same_person_as = ["witness"]

[[roles]]
name = "witness"
title = "Witness"
count = 1

[[before]]
text = "The door is closed."
by = ["witness"]

[[steps]]
id = "which"
title = "Which key"
text = "Name it."
by = ["administrator"]
witnesses = ["witness"]
do = { record = { fields = [{ name = "key", what = "Key" }] } }

[[steps]]
id = "show"
title = "The key"
text = "Look at it."
by = ["administrator"]
witnesses = ["witness"]
do = { command = { key-show = { key = "{key}" } } }

[[steps]]
id = "video"
title = "Recording"
text = "Attach it."
by = ["witness"]
do = { attach = { name = "video-hash", what = "The video" } }
"#;

const PASSPHRASE: &str = "correct horse battery staple";

/// Somebody at the terminal of a ceremony, who answers what is asked.
struct Terminal {
    child: Child,
    stdin: ChildStdin,
    said: String,
}

/// How the process ended: exit code, what it said, its result.
struct Ended {
    code: i32,
    said: String,
    result: Value,
}

impl Terminal {
    fn open(cli: &Cli, words: &[&str]) -> Self {
        let mut command = cli.command(&[&["ceremony", "run"], words, &["--output", "json"]].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        Self { child, stdin, said: String::new() }
    }

    /// The next thing that is asked: the last line, once it ends as questions do. Nothing once it is over.
    fn prompt(&mut self) -> Option<String> {
        let mut piece = [0; 65536];
        loop {
            let count = self.child.stderr.as_mut().unwrap().read(&mut piece).unwrap();
            if count == 0 {
                return None;
            }
            self.said.push_str(&String::from_utf8_lossy(&piece[..count]));
            if self.said.ends_with(": ") || self.said.ends_with("? ") {
                return self.said.lines().last().map(|line| line.trim().to_owned());
            }
        }
    }

    fn answer(&mut self, text: &str) {
        self.said.push_str(&format!("{text}\n"));
        writeln!(self.stdin, "{text}").unwrap();
        self.stdin.flush().unwrap();
    }

    /// Answers until the ceremony is over; `unusual` answers what is asked of this ceremony alone, and `None` ends the
    /// process as a power failure does.
    fn play(mut self, mut unusual: impl FnMut(&str, &str) -> Option<String>) -> Ended {
        while let Some(prompt) = self.prompt() {
            let answer = match prompt.split_once("confirms with the initials ") {
                Some((_, initials)) => Some(initials.trim_end_matches(':').to_owned()),
                None => unusual(&prompt, &self.said),
            };
            match answer {
                Some(answer) => self.answer(&answer),
                None => {
                    self.child.kill().unwrap();
                    break;
                }
            }
        }
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-9);
        Ended { code, said: self.said, result: serde_json::from_str(&stdout).unwrap_or_default() }
    }
}

/// People with keys: Alice of Acme, Walter of Beta.
fn people(desk: &Desk) {
    for (name, organisation, file) in [("Alice Bäcker", "Acme", "alice.p"), ("Walter Xu", "Beta", "walter.p")] {
        let words = ["ceremony", "participant", "new", name, "--organisation", organisation, "-o", file];
        let typed = format!("{PASSPHRASE}\n{PASSPHRASE}\n");
        let made = desk.cli.run_with(&words, typed.as_bytes()).code(0);
        assert!(made.text().contains("fingerprint"), "{made}");
    }
}

/// What is asked at the ceremony `look`.
fn usual(prompt: &str, said: &str, key: &str) -> String {
    let alice = !said.contains("Alice Bäcker, Acme\n");
    match prompt {
        _ if prompt.starts_with("Path of the participant's file") => if alice { "alice.p" } else { "walter.p" }.into(),
        _ if prompt.starts_with("Passphrase of") => PASSPHRASE.into(),
        _ if prompt.starts_with("Role") && said.contains("Walter Xu, Beta\n") => "witness".into(),
        _ if prompt.starts_with("Role") => "administrator".into(),
        _ if prompt.starts_with("How was the identity checked") => "passport, by the other one".into(),
        _ if prompt.starts_with("Initials") || prompt.starts_with("Enter = go on") => String::new(),
        "Key:" => key.into(),
        _ if prompt.starts_with("The video") => "video.mp4".into(),
        _ if prompt.starts_with("What is not as the script says") => "nobody knows this key".into(),
        other => panic!("nobody expects the question `{other}` after\n{said}"),
    }
}

fn prepared() -> Desk {
    let desk = Desk::new();
    desk.key("docs", &[]);
    desk.write("look.toml", SCRIPT);
    desk.write("video.mp4", "moving pictures");
    people(&desk);
    desk
}

const RUN: [&str; 5] = ["look.toml", "--place", "Zürich", "-o", "look.jsonl"];

#[test]
fn people_follow_a_script_together_and_it_is_checked_years_later() {
    let desk = prepared();
    let ended = Terminal::open(&desk.cli, &RUN).play(|prompt, said| Some(usual(prompt, said, "docs")));
    assert_eq!(ended.code, 0, "{}", ended.said);
    for words in ["step 3 of 4", "keyreeve key show docs", "Administrator (Alice Bäcker)", "algorithm: "] {
        assert!(ended.said.contains(words), "no {words}:\n{}", ended.said);
    }
    assert!(!ended.said.contains("DRY RUN"));
    assert_eq!((&ended.result["completed"], &ended.result["deviations"]), (&json!(true), &json!(0)));
    assert!(desk.read("look.pdf").starts_with(b"%PDF-"));
    let paper = String::from_utf8(desk.read("look.md")).unwrap();
    assert!(paper.contains("Alice Bäcker") && paper.contains("Zürich"), "{paper}");
    let record = ended.result["audit_record"].as_str().unwrap();
    let found = desk.cli.json(&["audit", "search", "--operation", "ceremony.record"]);
    assert_eq!(found["items"][0]["id"], record, "{found}");
    let details = &found["items"][0]["details"];
    assert_eq!(details["participants"], "Alice Bäcker (Acme); Walter Xu (Beta)");
    assert_eq!(details["transcript_sha256"], ended.result["transcript_sha256"]);
    verified(&desk);
}

/// With everything that was kept apart it holds; with anything else it does not.
fn verified(desk: &Desk) {
    let log = desk.dev.data().join("audit/log").display().to_string();
    desk.write("log.vkey", desk.dev.log_keys().join("\n"));
    let kept = ["ceremony", "verify", "look.jsonl", "--script", "look.toml", "--attachment", "video.mp4"];
    let people = ["--participant", "alice.p", "--participant", "walter.p"];
    // The proof asks for a checkpoint that covers what was done just now; the files on the disk have it from then on.
    let remote = desk.cli.json(&["ceremony", "verify", "look.jsonl", "--remote", "--vkey", "log.vkey"]);
    assert_eq!(remote["verdict"], "holds", "{remote}");
    let all = [&kept[..], &people, &["--log", &log, "--vkey", "log.vkey"]].concat();
    let report = desk.cli.json(&all);
    let odd: Vec<&Value> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] != "holds").collect();
    assert!(odd.is_empty(), "{odd:?}");
    let table = desk.cli.ok(&["ceremony", "verify", "look.jsonl"]);
    assert!(table.contains("signatures") && table.contains("not checked"), "{table}");
    assert!(table.contains("holds as far as it goes"), "{table}");
    of_another_server(desk);
    desk.write("other.mp4", "other pictures");
    for other in [["--attachment", "other.mp4"], ["--participant", "alice.p"], ["--script", "destruction"]] {
        let _ = desk.cli.run(&[&["ceremony", "verify", "look.jsonl"], &other[..]].concat()).code(7);
    }
    let text = String::from_utf8(desk.read("look.jsonl")).unwrap();
    desk.write("forged.jsonl", text.replace("Alice", "Alina"));
    let forged = desk.cli.run(&["ceremony", "verify", "forged.jsonl"]).code(7);
    assert!(forged.text().contains("line 2"), "{forged}");
    let lines: Vec<&str> = text.lines().collect();
    desk.write("short.jsonl", format!("{}\n", lines[..lines.len() - 1].join("\n")));
    let _ = desk.cli.run(&["ceremony", "verify", "short.jsonl"]).code(9);
    // What the log has no record of.
    let _ = desk.cli.run(&["ceremony", "record", "short.jsonl"]).code(5);
}

/// A record in the log of a server that took no part makes nothing better: the ceremony was led with another one.
fn of_another_server(desk: &Desk) {
    let real = Desk::new();
    real.write("look.jsonl", desk.read("look.jsonl"));
    real.write("log.vkey", real.dev.log_keys().join("\n"));
    let _ = real.cli.ok(&["ceremony", "record", "look.jsonl"]);
    let words = ["ceremony", "verify", "look.jsonl", "--remote", "--vkey", "log.vkey"];
    let refused = real.cli.run(&words).code(7);
    assert!(refused.text().contains("another server took part"), "{refused}");
    let log = real.dev.data().join("audit/log").display().to_string();
    let copy = real.cli.run(&["ceremony", "verify", "look.jsonl", "--log", &log, "--vkey", "log.vkey"]).code(7);
    assert!(copy.text().contains("another server took part"), "{copy}");
}

/// A command that fails is written down, and the step is skipped with a reason that the witness accepts.
#[test]
fn what_is_not_as_the_script_says_is_written_down() {
    let desk = prepared();
    let ended = Terminal::open(&desk.cli, &RUN).play(|prompt, said| {
        let failed = said.contains("NO:") && !said.contains("nobody knows this key");
        let answer = usual(prompt, said, "nowhere");
        Some(if failed && prompt.starts_with("Enter = go on") { "s".to_owned() } else { answer })
    });
    assert_eq!((ended.code, &ended.result["deviations"]), (0, &json!(1)), "{}", ended.said);
    let report = desk.cli.json(&["ceremony", "verify", "look.jsonl"]);
    let said = report.to_string();
    assert!(said.contains("show skipped: nobody knows this key") && said.contains("failed once"), "{said}");
    let paper = String::from_utf8(desk.read("look.md")).unwrap();
    assert!(paper.contains("SKIPPED") && paper.contains("COMMAND FAILED"), "{paper}");
}

/// The machine loses power in the middle; everything that was confirmed is there, and the ceremony goes on.
#[test]
fn a_ceremony_goes_on_after_kill_9() {
    let desk = prepared();
    let ended = Terminal::open(&desk.cli, &RUN).play(|prompt, said| {
        let there = said.contains("step 3 of 4") && prompt.starts_with("Enter = go on");
        (!there).then(|| usual(prompt, said, "docs"))
    });
    assert_eq!(ended.code, -9, "{}", ended.said);
    let before = desk.read("look.jsonl");
    let mut torn = before.clone();
    torn.extend_from_slice(b"{\"body\":{\"v\":1,\"n\"");
    desk.write("look.jsonl", &torn);
    let _ = desk.cli.run(&["ceremony", "verify", "look.jsonl"]).code(9);
    let resumed = |ask: fn(&str) -> Option<&'static str>| {
        Terminal::open(&desk.cli, &["--resume", "look.jsonl"]).play(|prompt, said| {
            let key = match prompt {
                _ if prompt.starts_with("AB ") => Some("alice.p"),
                _ if prompt.starts_with("WX ") => Some("walter.p"),
                _ => ask(prompt),
            };
            Some(key.map_or_else(|| usual(prompt, said, "docs"), str::to_owned))
        })
    };
    let ended = resumed(|_| None);
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(desk.read("look.jsonl").starts_with(&before));
    let report = desk.cli.json(&["ceremony", "verify", "look.jsonl"]).to_string();
    assert!(report.contains("the program was started again"), "{report}");
    // A command was begun, and nobody knows what came of it.
    let text = String::from_utf8(desk.read("look.jsonl")).unwrap();
    let begun = text.lines().position(|line| line.contains("\"begun\"")).unwrap();
    let cut: Vec<&str> = text.lines().take(begun + 1).collect();
    desk.write("look.jsonl", format!("{}\n", cut.join("\n")));
    let ended = resumed(|prompt| match prompt {
        "d, f or r:" => Some("d"),
        _ if prompt.starts_with("What was found") => Some("the key was shown"),
        _ => None,
    });
    assert_eq!(ended.code, 0, "{}", ended.said);
    let text = String::from_utf8(desk.read("look.jsonl")).unwrap();
    assert!(text.contains("\"found\":true") && text.contains("the key was shown"), "{text}");
    let over = desk.cli.run(&["ceremony", "run", "--resume", "look.jsonl"]).code(5);
    assert!(over.stderr.contains("over"), "{over}");
}

/// Answers whatever a shipped script asks in a rehearsal. A step that cannot be done there is skipped with the reason.
struct Rehearsal {
    home: std::path::PathBuf,
    roles: Vec<String>,
    enrolled: usize,
    seen: usize,
    share: usize,
}

impl Rehearsal {
    fn answer(&mut self, prompt: &str, said: &str) -> String {
        const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let last = &said[self.seen.min(said.len())..];
        match prompt {
            _ if prompt.starts_with("Enter = go on") => {
                let failed = last.contains("NO:");
                self.seen = said.len();
                if failed { "s".to_owned() } else { String::new() }
            }
            _ if prompt.starts_with("Name:") => {
                self.enrolled += 1;
                format!(
                    "Person Number{}",
                    ["Ax", "Bx", "Cx", "Dx", "Ex", "Fx", "Gx", "Hx", "Ix", "Jx", "Kx"][self.enrolled - 1]
                )
            }
            "Organisation:" => format!("House {}", self.enrolled),
            _ if prompt.starts_with("Role") => self.roles[self.enrolled - 1].clone(),
            _ if prompt.starts_with("How was") => "known to all".to_owned(),
            _ if prompt.starts_with("Initials") => format!("P{}", self.enrolled),
            _ if prompt.starts_with("Share (") => {
                self.share += 1;
                self.shares(said)[self.share - 1].clone()
            }
            _ if prompt.starts_with("Number of the choice") => "1".to_owned(),
            _ if prompt.starts_with("What is not as") => "it cannot be rehearsed here".to_owned(),
            _ if prompt.contains("path of the file") => self.home.join("video.mp4").display().to_string(),
            _ if prompt.contains("configuration file") => "keyreeve.toml".to_owned(),
            _ if prompt.contains("id of the keyring") => "default".to_owned(),
            _ if prompt.starts_with("Id of the key") => "rehearsal".to_owned(),
            _ if prompt.starts_with("Time read") => "2026-11-22T09:00:00Z".to_owned(),
            _ if prompt.contains("SHA-256") || prompt.contains("ingerprint") => DIGEST.to_owned(),
            _ => "as it is".to_owned(),
        }
    }

    /// The shares of the rehearsal's server, from the directory that it named.
    fn shares(&self, said: &str) -> Vec<String> {
        let dir = said.split([' ', ',', '\n']).find(|word| word.contains("/keyreeve-rehearsal-")).unwrap();
        let dir = Path::new(dir);
        let made = ["ceremony-root", "rehearsal-root"].map(|name| dir.join(name));
        let made = made.iter().find(|path| path.exists()).unwrap();
        (1..=5).map(|n| std::fs::read_to_string(made.join(format!("share-{n}"))).unwrap().trim().to_owned()).collect()
    }
}

/// Every script that comes with the program is rehearsed to its end on a server that is thrown away; what it has the
/// program do is really done.
#[test]
fn every_shipped_script_is_rehearsed_to_its_end() {
    let home = tempfile::tempdir().unwrap();
    let cli = Cli::new(home.path());
    std::fs::write(home.path().join("video.mp4"), "moving pictures").unwrap();
    let scripts = cli.json(&["ceremony", "scripts"]);
    let scripts = scripts.as_array().unwrap();
    assert_eq!(scripts.len(), 8);
    for script in scripts {
        let name = script["name"].as_str().unwrap();
        let text: toml::Table = cli.ok(&["ceremony", "script", "show", name]).parse().unwrap();
        let roles = text["roles"].as_array().unwrap().iter().flat_map(|role| {
            let count = usize::try_from(role["count"].as_integer().unwrap()).unwrap();
            vec![role["name"].as_str().unwrap().to_owned(); count]
        });
        let roles = roles.collect();
        let mut rehearsal = Rehearsal { home: home.path().to_owned(), roles, enrolled: 0, seen: 0, share: 0 };
        let file = format!("{name}.jsonl");
        let words = [name, "--dry-run", "--place", "here", "-o", &file];
        let ended = Terminal::open(&cli, &words).play(|prompt, said| Some(rehearsal.answer(prompt, said)));
        assert_eq!(ended.code, 0, "{name}:\n{}", ended.said);
        rehearsed(&cli, home.path(), name, &ended);
    }
}

fn rehearsed(cli: &Cli, home: &Path, name: &str, ended: &Ended) {
    let pages = ended.said.matches(&"=".repeat(78)).count();
    assert!(pages > 10 && ended.said.matches("DRY RUN").count() >= pages, "{name}:\n{}", ended.said);
    let paper = std::fs::read_to_string(home.join(format!("{name}.md"))).unwrap();
    assert!(paper.matches("DRY RUN").count() > 3, "{name}: {paper}");
    let report = cli.run(&["ceremony", "verify", &format!("{name}.jsonl"), "--output", "json"]).code(1).json();
    assert_eq!(report["verdict"], "is that of a rehearsal", "{name}");
    let expected: &[&str] = match name {
        "root-initialisation-shamir" => &["krs2-", "state\":\"open\"", "keyreeve unseal -"],
        "share-replacement" => &["keyreeve unseal -"],
        "kek-rotation" => &["keyreeve keyring rotate-kek default", "\"state\":\"done\""],
        "destruction" => &["keyreeve key destroy schedule rehearsal", "destruction.due"],
        _ => &[],
    };
    let transcript = std::fs::read_to_string(home.join(format!("{name}.jsonl"))).unwrap();
    for words in expected {
        assert_eq!(transcript.contains(words), *words != "krs2-", "{name}: {words}\n{transcript}");
    }
    let skips = transcript.matches("\"skipped\"").count();
    let possible = matches!(name, "root-initialisation-hsm");
    assert!(skips == 0 || possible, "{name}: {skips} steps could not be rehearsed\n{}", ended.said);
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let directory = ended.said.lines().find(|line| line.contains("/keyreeve-rehearsal-")).map(str::trim);
    let still = directory.is_some_and(|dir| left.into_iter().any(|entry| entry.path() == Path::new(dir)));
    assert!(!still, "{name}: the rehearsal's server is thrown away");
}

#[test]
fn scripts_are_looked_at_before_anybody_travels() {
    let home = tempfile::tempdir().unwrap();
    let cli = Cli::new(home.path());
    let _ = cli.run(&["ceremony", "check", "destruction"]).code(0);
    std::fs::write(home.path().join("bad.toml"), SCRIPT.replace("key = \"{key}\"", "key = \"{other}\"")).unwrap();
    let bad = cli.run(&["ceremony", "check", "bad.toml"]).code(2);
    assert!(bad.text().contains("`other` is not written down before"), "{bad}");
    let _ = cli.run(&["ceremony", "run", "bad.toml"]).code(2);
    let unknown = cli.run(&["ceremony", "script", "show", "nothing"]).code(4);
    assert!(unknown.stderr.contains("ceremony scripts"), "{unknown}");
    let short =
        cli.run_with(&["ceremony", "participant", "new", "Al", "--organisation", "A", "-o", "al.p"], b"short\nshort\n");
    assert!(short.code == 2 && short.stderr.contains("at least 12"), "{short}");
}
