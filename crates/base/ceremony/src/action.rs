//! What the program can do itself in a step: a closed list, each the same as a command of the command line.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::word::{Line, Word};

/// An argument: a text in which `{name}` stands for a value that was written down before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Argument(Line);

/// Why an argument cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A value is not there.
    #[error("the argument needs the value `{0}`, which is not written down")]
    Missing(String),
    /// A brace without its other one, or a name that is none.
    #[error("in `{0}` each brace must stand around the name of a value")]
    Brace(String),
    /// It would be read as an option.
    #[error("`{0}` begins with `-` and would be read as an option")]
    Option(String),
}

impl Argument {
    /// The pieces: texts, and names in braces.
    fn pieces(&self) -> Result<Vec<Result<&str, Word>>, ArgumentError> {
        let text = self.0.as_str();
        let wrong = || ArgumentError::Brace(text.to_owned());
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(open) = rest.find(['{', '}']) {
            let inner = rest[open..].strip_prefix('{').ok_or_else(wrong)?;
            let (name, after) = inner.split_once('}').ok_or_else(wrong)?;
            pieces.push(Ok(&rest[..open]));
            pieces.push(Err(name.parse::<Word>().map_err(|_| wrong())?));
            rest = after;
        }
        pieces.push(Ok(rest));
        Ok(pieces)
    }

    /// The names in it.
    ///
    /// # Errors
    /// [`ArgumentError::Brace`].
    pub fn names(&self) -> Result<Vec<Word>, ArgumentError> {
        Ok(self.pieces()?.into_iter().filter_map(Result::err).collect())
    }

    /// The text with the values in place.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn fill(&self, values: &BTreeMap<Word, Line>) -> Result<String, ArgumentError> {
        let mut filled = String::new();
        for piece in self.pieces()? {
            match piece {
                Ok(text) => filled.push_str(text),
                Err(name) => {
                    let value = values.get(&name).ok_or_else(|| ArgumentError::Missing(name.to_string()))?;
                    filled.push_str(value.as_str());
                }
            }
        }
        if filled.starts_with('-') { Err(ArgumentError::Option(filled)) } else { Ok(filled) }
    }
}

/// What the program does in a step. Each is a command of the command line with these arguments; the words of
/// [`Action::words`] are what is shown, and what is run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Where the server stands.
    Status {},
    /// Makes the root of trust and the first administrator. Shares and token go into files, never into the transcript.
    Init {
        /// How many shares are made (count); 0 where the root of trust has none.
        shares: u8,
        /// How many of them open it (count); 0 where it has none.
        threshold: u8,
        /// A new directory for shares, token and profile.
        out_dir: Argument,
        /// A file that says who gets the shares: each is encrypted to the key of its holder, and nobody sees another's.
        #[serde(default)]
        holders_file: Option<Argument>,
    },
    /// Takes one share after the other, each typed or read without echo, until the server is open.
    Unseal {},
    /// Closes the server.
    Seal {},
    /// The server is stopped and started again by whoever runs it, and shown as it comes up.
    Restart {},
    /// Checks a server's configuration.
    ConfigCheck {
        /// The file.
        file: Argument,
    },
    /// Verifies the whole audit log, as the server hands it out, with the keys of the profile.
    AuditVerify {},
    /// Shows a key.
    KeyShow {
        /// Its id or alias.
        key: Argument,
    },
    /// Makes a key.
    KeyCreate {
        /// Its alias.
        alias: Argument,
        /// Its algorithm.
        algorithm: Argument,
    },
    /// Makes a new version of a key.
    KeyRotate {
        /// Its id or alias.
        key: Argument,
        /// Why.
        reason: Argument,
    },
    /// Makes a new key encryption key for a keyring, brings everything under it, and waits for the end of that.
    KekRotate {
        /// The keyring's name or id.
        keyring: Argument,
        /// Why.
        reason: Argument,
    },
    /// Starts the waiting period after which a key is destroyed.
    KeyDestroySchedule {
        /// Its id or alias.
        key: Argument,
        /// The waiting period (days), 7 to 30.
        days: u32,
        /// Why.
        reason: Argument,
    },
    /// Erases a key whose waiting period is over.
    KeyDestroyNow {
        /// Its id or alias.
        key: Argument,
    },
    /// Shows what remains of a key: the record of its destruction.
    KeyDestroyRecord {
        /// Its id.
        key: Argument,
    },
}

/// How the input of a command is got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It has none.
    None,
    /// Shares, one after the other, each for a call of its own, until the answer says that no more are needed.
    Shares,
    /// It has none, and the server is started again before it.
    Restart,
}

/// What is kept of a command's answer (the names of fields of its JSON, and of fields within them after a `.`).
/// Whatever is not named is not written down: no secret gets into a transcript because somebody added a field.
pub type Kept = &'static [&'static str];

const STATUS: Kept = &["root_kind", "root.state", "root.needed", "root.made", "open", "log_vkeys"];
const INIT: Kept = &["files", "principal", "expires", "log_vkeys", "challenge"];
const ROOT: Kept = &["state", "given", "needed"];
const KEY: Kept =
    &["id", "aliases", "algorithm", "purpose", "state", "primary_version", "version_count", "destruction.due"];
const DESTROYED: Kept = &["key", "destroyed", "destroyed_by", "reason", "versions", "verified", "verification_hash"];

impl Action {
    /// Every argument that may hold names.
    #[must_use]
    pub fn arguments(&self) -> Vec<&Argument> {
        match self {
            Self::Status {} | Self::Unseal {} | Self::Seal {} | Self::Restart {} | Self::AuditVerify {} => Vec::new(),
            Self::Init { out_dir, holders_file, .. } => std::iter::once(out_dir).chain(holders_file).collect(),
            Self::ConfigCheck { file } => vec![file],
            Self::KeyShow { key } | Self::KeyDestroyNow { key } | Self::KeyDestroyRecord { key } => vec![key],
            Self::KeyCreate { alias, algorithm } => vec![alias, algorithm],
            Self::KeyRotate { key, reason } | Self::KeyDestroySchedule { key, reason, .. } => vec![key, reason],
            Self::KekRotate { keyring, reason } => vec![keyring, reason],
        }
    }

    /// The words of the command, after the program's name.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn words(&self, values: &BTreeMap<Word, Line>) -> Result<Vec<String>, ArgumentError> {
        let fixed = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let with = |words: &[&str], more: &[&Argument]| {
            let filled = more.iter().map(|argument| argument.fill(values)).collect::<Result<Vec<_>, _>>()?;
            Ok([fixed(words), filled].concat())
        };
        match self {
            Self::Status {} | Self::Restart {} => Ok(fixed(&["status"])),
            Self::Init { shares, threshold, out_dir, holders_file } => {
                let (shares, threshold) = (shares.to_string(), threshold.to_string());
                let mut words =
                    with(&["init", "--shares", &shares, "--threshold", &threshold, "--out-dir"], &[out_dir])?;
                if let Some(file) = holders_file {
                    words.extend(["--holders-file".to_owned(), file.fill(values)?]);
                }
                Ok(words)
            }
            Self::Unseal {} => Ok(fixed(&["unseal", "-"])),
            Self::Seal {} => Ok(fixed(&["seal"])),
            Self::ConfigCheck { file } => with(&["config", "check"], &[file]),
            Self::AuditVerify {} => Ok(fixed(&["audit", "verify", "--remote"])),
            Self::KeyShow { key } => with(&["key", "show"], &[key]),
            Self::KeyCreate { alias, algorithm } => {
                let (alias, algorithm) = (alias.fill(values)?, algorithm.fill(values)?);
                Ok(fixed(&["key", "create", "--alias", &alias, "--algorithm", &algorithm]))
            }
            Self::KeyRotate { key, reason } => {
                let (key, reason) = (key.fill(values)?, reason.fill(values)?);
                Ok(fixed(&["key", "rotate", &key, "--reason", &reason]))
            }
            Self::KekRotate { keyring, reason } => {
                let (keyring, reason) = (keyring.fill(values)?, reason.fill(values)?);
                Ok(fixed(&["keyring", "rotate-kek", &keyring, "--reason", &reason, "--until-done"]))
            }
            Self::KeyDestroySchedule { key, days, reason } => {
                let (key, days, reason) = (key.fill(values)?, days.to_string(), reason.fill(values)?);
                Ok(fixed(&["key", "destroy", "schedule", &key, "--days", &days, "--reason", &reason]))
            }
            Self::KeyDestroyNow { key } => with(&["key", "destroy", "now"], &[key]),
            Self::KeyDestroyRecord { key } => with(&["key", "destroy", "record"], &[key]),
        }
    }

    /// What of its answer is written down.
    #[must_use]
    pub fn keeps(&self) -> Kept {
        match self {
            Self::Status {} | Self::Restart {} => STATUS,
            Self::Init { .. } => INIT,
            Self::Unseal {} => ROOT,
            Self::Seal {} => &["sealed", "audit_record"],
            Self::ConfigCheck { .. } => &["file", "ok", "warnings"],
            Self::AuditVerify {} => &["verdict", "origin", "size", "root", "records", "problem_count"],
            Self::KeyShow { .. }
            | Self::KeyCreate { .. }
            | Self::KeyRotate { .. }
            | Self::KeyDestroySchedule { .. } => KEY,
            Self::KekRotate { .. } => &["id", "work", "scope", "state", "done", "total", "begun", "ended"],
            Self::KeyDestroyNow { .. } | Self::KeyDestroyRecord { .. } => DESTROYED,
        }
    }

    /// How its input is got.
    #[must_use]
    pub fn input(&self) -> Input {
        match self {
            Self::Unseal {} => Input::Shares,
            Self::Restart {} => Input::Restart,
            Self::Status {}
            | Self::Init { .. }
            | Self::Seal {}
            | Self::ConfigCheck { .. }
            | Self::AuditVerify {}
            | Self::KeyShow { .. }
            | Self::KeyCreate { .. }
            | Self::KeyRotate { .. }
            | Self::KekRotate { .. }
            | Self::KeyDestroySchedule { .. }
            | Self::KeyDestroyNow { .. }
            | Self::KeyDestroyRecord { .. } => Input::None,
        }
    }

    /// The exit codes with which the command says that all went well: 1 is the answer no, where that is one to write
    /// down.
    #[must_use]
    pub fn accepts(&self, exit: i32) -> bool {
        exit == 0 || (exit == 1 && matches!(self, Self::Status {} | Self::Restart {} | Self::Unseal {}))
    }

    /// Whether it needs a server.
    #[must_use]
    pub fn needs_server(&self) -> bool {
        !matches!(self, Self::ConfigCheck { .. })
    }

    /// The directory with a profile that later commands use, where this one makes one.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn makes_profile(&self, values: &BTreeMap<Word, Line>) -> Result<Option<String>, ArgumentError> {
        match self {
            Self::Init { out_dir, .. } => out_dir.fill(values).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> Argument {
        Argument(text.parse().unwrap())
    }

    #[test]
    fn names_in_braces_are_filled_in() {
        let values = BTreeMap::from([("key".parse().unwrap(), "orders".parse().unwrap())]);
        assert_eq!(argument("a {key} b").fill(&values), Ok("a orders b".to_owned()));
        assert_eq!(argument("{key}").names().unwrap().len(), 1);
        assert_eq!(argument("{other}").fill(&values), Err(ArgumentError::Missing("other".to_owned())));
        for bad in ["{", "}", "a{B}", "{}", "{{key}}", "x}{y"] {
            assert!(matches!(argument(bad).fill(&values), Err(ArgumentError::Brace(_))), "{bad}");
        }
        assert!(matches!(argument("--yes").fill(&values), Err(ArgumentError::Option(_))));
    }

    #[test]
    fn values_cannot_become_options() {
        let values = BTreeMap::from([("key".parse().unwrap(), "--profile=x".parse().unwrap())]);
        let action = Action::KeyDestroyNow { key: argument("{key}") };
        assert!(matches!(action.words(&values), Err(ArgumentError::Option(_))));
    }
}
