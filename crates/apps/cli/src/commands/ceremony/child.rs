//! What the program does itself in a step: it runs itself with the words that are shown, so that a ceremony does what
//! the command line does and nothing else. Of the answer only what the action names is kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use keyreeve_ceremony::action::Action;
use keyreeve_ceremony::word::{Line, Text};
use keyreeve_secret::{SecretBuffer, SecretBytes, SecretString};
use serde_json::Value;

use crate::failure::Failure;

/// This program as it runs: also when another file has taken its name meanwhile.
const SELF: &str = "/proc/self/exe";
/// What the environment may say of a server.
const SERVER_VARIABLES: [&str; 5] =
    ["KEYREEVE_PROFILE", "KEYREEVE_ADDRESS", "KEYREEVE_ADMIN_ADDRESS", "KEYREEVE_CA_FILE", "KEYREEVE_TOKEN_FILE"];
/// How much is written down of why a command failed (characters).
const SAID_MAX: usize = 4000;
/// Longest line in which a command may say why it failed (bytes).
const FAILURE_MAX: usize = 64 * 1024;

/// This program's own file.
pub(super) fn own_file() -> Result<PathBuf, Failure> {
    let link = Path::new(SELF);
    if link.exists() {
        return Ok(link.to_owned());
    }
    std::env::current_exe().map_err(|error| Failure::io("this program's own file", &error))
}

/// Where commands are run, and as whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// Options that say which server is meant.
    pub(super) connection: Vec<OsString>,
    /// The directory, where it is not this one.
    pub(super) directory: Option<PathBuf>,
    /// Whether what the environment says of a server counts for nothing.
    alone: bool,
}

/// What came of a command.
#[derive(Debug)]
pub(super) enum Ran {
    Well(Value),
    Badly(String),
}

impl Surroundings {
    /// Commands with a profile, from a directory.
    pub(super) fn with_profile(profile: &Path, directory: Option<PathBuf>) -> Self {
        Self { connection: vec!["--profile".into(), profile.into()], directory, alone: true }
    }

    /// Commands with these options.
    pub(super) fn with_options(connection: Vec<OsString>) -> Self {
        Self { connection, ..Self::default() }
    }

    /// Commands in a directory that name their server themselves.
    pub(super) fn inside(directory: &Path) -> Self {
        Self { connection: Vec::new(), directory: Some(directory.to_owned()), alone: true }
    }

    /// A command of this program that is not started yet.
    pub(super) fn command(&self, words: &[String]) -> Result<Command, Failure> {
        let mut command = Command::new(own_file()?);
        command.args(words).args(&self.connection);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        for name in SERVER_VARIABLES.iter().filter(|_| self.alone) {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Runs a command to its end, with a secret on its standard input where it takes one.
    pub(super) fn run(&self, action: &Action, words: &[String], secret: Option<&SecretString>) -> Result<Ran, Failure> {
        let mut command = self.command(words)?;
        command.args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if secret.is_some() { Stdio::piped() } else { Stdio::null() });
        let failed = |error: std::io::Error| Failure::io("a command of the script", &error);
        let mut child = command.spawn().map_err(failed)?;
        if let (Some(secret), Some(mut pipe)) = (secret, child.stdin.take()) {
            // A command that refuses early does not read its input.
            let _ = pipe.write_all(secret.expose().as_bytes()).and_then(|()| pipe.write_all(b"\n"));
        }
        let errors = child.stderr.take();
        // A secret that has no other place left is told on standard error: it goes to the terminal, and nowhere else.
        let teller = thread::spawn(move || errors.and_then(|pipe| passed_on(pipe, &mut to_terminal)));
        let output = child.wait_with_output().map_err(failed)?;
        let why = teller.join().ok().flatten();
        if action.accepts(output.status.code().unwrap_or(-1))
            && let Ok(value) = serde_json::from_slice(&output.stdout)
        {
            return Ok(Ran::Well(value));
        }
        Ok(Ran::Badly(
            why.unwrap_or_else(|| format!("it ended with {}; what it said was on the screen", output.status)),
        ))
    }
}

fn to_terminal(piece: &[u8]) {
    let mut err = std::io::stderr().lock();
    if err.write_all(piece).and_then(|()| err.flush()).is_err() {
        // It may be the last copy of a secret: wherever it is seen is better than nowhere.
        let _ = std::io::stdout().lock().write_all(piece);
    }
}

/// Hands on what a command says on standard error, line by line and as it comes; why it failed, as it says in its last
/// line, which is JSON and is not handed on. Nothing else of it is known to anybody but the terminal.
fn passed_on(mut pipe: impl Read, show: &mut impl FnMut(&[u8])) -> Option<String> {
    let mut piece = SecretBytes::from_vec(vec![0; 4096]);
    let mut line = SecretBuffer::with_capacity(FAILURE_MAX);
    loop {
        let count = match pipe.read(piece.expose_mut()) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for byte in &piece.expose()[..count] {
            // What was held back is not the last line, or too long to say why.
            if line.expose().last() == Some(&b'\n') || line.len() >= FAILURE_MAX {
                show(line.expose());
                line = SecretBuffer::with_capacity(FAILURE_MAX);
            }
            line.push(*byte);
            let may_say_why = line.expose()[0] == b'{';
            if *byte == b'\n' && !may_say_why {
                show(line.expose());
                line = SecretBuffer::with_capacity(FAILURE_MAX);
            }
        }
    }
    let failure: Option<Value> = serde_json::from_slice(line.expose()).ok();
    let why = failure.as_ref().and_then(|failure| failure.get("error")).and_then(Value::as_str);
    let why: Option<String> =
        why.map(|why| why.chars().take(SAID_MAX).collect()).filter(|why: &String| !why.is_empty());
    if why.is_none() {
        show(line.expose());
    }
    why
}

/// What is kept of an answer.
pub(super) fn facts(action: &Action, answer: &Value) -> BTreeMap<Line, Text> {
    let mut facts = BTreeMap::new();
    for name in action.keeps() {
        let found = name.split('.').try_fold(answer, |value, field| value.get(field));
        let text = match found {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                items.join("\n")
            }
            Some(other) => other.to_string(),
        };
        if !text.is_empty() {
            facts.insert(Line::cleaned(name), Text::cleaned(&text));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_an_action_names_is_kept() {
        let answer = json!({
            "open": true,
            "root": { "state": "open", "secret": "krs1-..." },
            "token": "krt-...",
            "log_vkeys": ["a", "b"],
        });
        let facts = facts(&Action::Status {}, &answer);
        let said: Vec<(&str, &str)> = facts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(said, [("log_vkeys", "a\nb"), ("open", "true"), ("root.state", "open")]);
    }

    /// What the command said on standard error, to the terminal and as the reason.
    fn told(said: &str) -> (String, Option<String>) {
        let mut shown = Vec::new();
        let why = passed_on(said.as_bytes(), &mut |piece: &[u8]| shown.extend_from_slice(piece));
        (String::from_utf8(shown).unwrap(), why)
    }

    /// The rescue of `init`: shares and token that could not be written are on the screen, whole, and nowhere else.
    #[test]
    fn of_what_a_failed_command_says_only_its_error_is_kept() {
        let share = format!("share 1  krs2-{}\n", "a".repeat(300));
        let alarm = format!("\n!!!\nCOULD NOT BE WRITTEN\n{}token  krt-secret\n!!!\n\n", share.repeat(40));
        let failure = "{\"error\":\"share-1: no space left\",\"next\":\"copy what stands above\"}\n";
        let (shown, why) = told(&format!("{alarm}{failure}"));
        assert_eq!((shown.as_str(), why.as_deref()), (alarm.as_str(), Some("share-1: no space left")));
        // What is no such line is no reason, wherever it stands.
        let (shown, why) = told(&alarm);
        assert_eq!((shown.as_str(), why), (alarm.as_str(), None));
        let (shown, why) = told(&format!("{failure}{alarm}"));
        assert_eq!((shown, why), (format!("{failure}{alarm}"), None));
        let long = format!("{{{}", "krs2-".repeat(FAILURE_MAX));
        assert_eq!(told(&long), (long.clone(), None));
        assert_eq!(told("killed: krs2-1"), ("killed: krs2-1".to_owned(), None));
        assert_eq!(told(""), (String::new(), None));
    }
}
