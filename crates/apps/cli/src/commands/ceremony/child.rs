//! What the program does itself in a step: it runs itself with the words that are shown, so that a ceremony does what
//! the command line does and nothing else. Of the answer only what the action names is kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyreeve_ceremony::action::Action;
use keyreeve_ceremony::word::{Line, Text};
use keyreeve_secret::SecretString;
use serde_json::Value;

use crate::failure::Failure;

/// This program as it runs: also when another file has taken its name meanwhile.
const SELF: &str = "/proc/self/exe";
/// What the environment may say of a server.
const SERVER_VARIABLES: [&str; 5] =
    ["KEYREEVE_PROFILE", "KEYREEVE_ADDRESS", "KEYREEVE_ADMIN_ADDRESS", "KEYREEVE_CA_FILE", "KEYREEVE_TOKEN_FILE"];
/// How much is said of a failed command (bytes).
const SAID_MAX: usize = 4000;

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
        let output = child.wait_with_output().map_err(failed)?;
        if action.accepts(output.status.code().unwrap_or(-1))
            && let Ok(value) = serde_json::from_slice(&output.stdout)
        {
            return Ok(Ran::Well(value));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // A command that was asked for JSON tells of its failure as JSON, too.
        let failure: Option<Value> = serde_json::from_str(said.trim()).ok();
        let words = failure.as_ref().and_then(|failure| failure.get("error")).and_then(Value::as_str);
        let said: String = words.unwrap_or(said.trim()).chars().take(SAID_MAX).collect();
        Ok(Ran::Badly(if said.is_empty() { format!("it ended with {}", output.status) } else { said }))
    }
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
}
