//! What the steps of the tour share: names, files, and how a step is told.

use std::path::{Path, PathBuf};

use keyreeve_client::{Client, ClientError};
use serde_json::{Value, json};

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink};
use crate::out::{Style, printable, screened};
use crate::profile::Profile;

/// The largest file of the tour, in bytes.
const FILE_MAX: usize = 4 * 1024 * 1024;

/// The tour on its way.
pub(super) struct Tour<'a> {
    pub(super) app: &'a App,
    pub(super) client: Client,
    pub(super) profile: Profile,
    /// Who takes the tour.
    pub(super) principal: String,
    /// The alias of the key that encrypts.
    pub(super) key: String,
    /// The alias of the key that signs.
    pub(super) signer: String,
    dir: PathBuf,
    /// Whether the files stay, and the commands for them work.
    kept: bool,
    told: Vec<Value>,
}

impl<'a> Tour<'a> {
    /// Sees that there is a server and somebody known to it.
    pub(super) async fn begin(app: &'a App, scratch: &Path, kept: Option<PathBuf>) -> Result<Self, Failure> {
        let profile = app.profile()?;
        let client = profile.client()?;
        let principal = client.whoami().await?.value.principal;
        // So that the tour can be taken again: aliases are unique.
        let random = client.random_bytes(3).await?.value.random;
        let suffix = hex::encode(random.expose());
        let (key, signer) = (format!("demo-docs-{suffix}"), format!("demo-sign-{suffix}"));
        let (dir, kept) = kept.map_or_else(|| (scratch.to_owned(), false), |dir| (dir, true));
        Ok(Self { app, client, profile, principal, key, signer, dir, kept, told: Vec::new() })
    }

    /// Tells what comes next.
    pub(super) fn step(&mut self, title: &str, why: &str, commands: &[String]) -> Result<(), Failure> {
        self.told.push(json!({ "step": title, "commands": commands, "results": [] }));
        if self.app.out.is_json() {
            return Ok(());
        }
        let number = self.told.len();
        let title = self.app.out.styled(Style::Bold, &format!("{number}. {title}"), false);
        self.app.out.line(&screened(&format!("\n{title}\n   {}", why.replace('\n', "\n   "))))?;
        for command in commands {
            self.app.out.line(&screened(&format!("   $ {command}")))?;
        }
        Ok(())
    }

    /// Tells what came of it.
    pub(super) fn result(&mut self, text: &str) -> Result<(), Failure> {
        if let Some(Value::Array(results)) = self.told.last_mut().and_then(|step| step.get_mut("results")) {
            results.push(json!(text));
        }
        if self.app.out.is_json() {
            return Ok(());
        }
        let mark = self.app.out.styled(Style::Good, "->", false);
        for line in text.lines() {
            self.app.out.line(&format!("   {mark} {}", printable(line)))?;
        }
        Ok(())
    }

    /// Tells of something that must be refused, with this code. That it is not refused would be a grave defect.
    pub(super) fn refused<T>(&mut self, outcome: Result<T, ClientError>, code: &str) -> Result<(), Failure> {
        match outcome {
            Err(ClientError::Refused(problem)) if problem.code == code => {
                self.result(&format!("refused, as it must be: {} ({code})", problem.detail))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err(wrong(&format!("this must be refused with `{code}`, and was not"))),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file of the tour as it is called in commands.
    pub(super) fn named(&self, name: &str) -> String {
        if self.kept { self.path(name).display().to_string() } else { name.to_owned() }
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        Sink::of(&self.path(name), true).write(bytes, Readers::Owner)
    }

    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        files::read_all(&self.path(name), FILE_MAX)
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        if self.app.out.is_json() {
            return self.app.out.json(&json!({ "steps": self.told, "keys": [self.key, self.signer] }));
        }
        let done = self.app.out.styled(Style::Good, "The tour is over, and everything was as it must be.", false);
        self.app.out.line(&format!(
            "\n{done}\n   It left the keys {} and {}. To remove one for ever:\n   \
             $ keyreeve key destroy schedule {} --days 7",
            self.key, self.signer, self.key
        ))
    }
}

/// A promise that was not kept.
pub(super) fn wrong(what: &str) -> Failure {
    Failure::new(Exit::Integrity, format!("the tour found a defect: {what}"))
}

/// Insists that something is so.
pub(super) fn must(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(wrong(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_an_integrity_failure() {
        assert!(must(true, "x").is_ok());
        let failure = must(false, "the signature is wrong").unwrap_err();
        assert_eq!(failure.exit, Exit::Integrity);
        assert!(failure.what.contains("the signature is wrong"));
    }
}
