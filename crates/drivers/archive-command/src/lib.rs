//! A destination of backups that is a program of the operator's: for whatever has no driver of its own.
//!
//! # Contract with the program
//!
//! It is started once for each thing to do, without a shell, with the configured arguments and then a verb:
//!
//! | Arguments | Standard input | Standard output | What it does |
//! |---|---|---|---|
//! | `put NAME SIZE` | the object | - | stores a new object; SIZE is `-` where it is not known |
//! | `replace NAME SIZE` | the object | - | stores an object in the place of the one of that name, if there is one |
//! | `get NAME` | - | the object | |
//! | `list` | - | lines `SIZE NAME` | every object, in any order |
//! | `delete NAME` | - | - | removes an object; one that is not there is no error |
//!
//! - It ends with 0 when that is done and lasts; with 3 when there is no object NAME; with 4 when `put` found one and
//!   left it as it is; with anything else when it failed. The last line on standard error says why, and is shown to
//!   operators: no secrets there.
//! - An object is there under its name whole or not at all. Bytes that fail to come end in SIGKILL for the program and
//!   all it started, before its input ends: an input that ends is whole.
//! - Names are lower-case letters, digits, `-` and `.`, with no `/` and no leading `-` or `.`; at most 96 bytes.
//! - Of a replaced object nothing is kept that can be done without: on a ledger that is kept hangs a destroyed key.
//! - Its environment is empty but for `PATH`, `LC_ALL=C` and what the configuration names; its directory is `/`.
//! - It may take as long as bytes move. When none did for the configured time it is killed, and all it started.
//! - Several run at once.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod process;

use async_trait::async_trait;
use keyreeve_archive::{Archive, ArchiveError, Content, REPLACED_MAX, Stored};
use keyreeve_backup::ObjectName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Semaphore;

use process::{Ended, Failed, Running};

/// Programs that run at once (count).
const AT_ONCE: usize = 4;
/// Longest listing (bytes).
const LISTING_MAX: usize = 64 * 1024 * 1024;
/// What a program ends with when there is no such object, and when there is one already.
const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;

/// Which program, and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Arguments before the verb. Every user of the machine can read them: no secrets.
    pub arguments: Vec<String>,
    /// Variables of its environment; no secrets either, but names of files that have them.
    pub environment: BTreeMap<String, String>,
    /// How long it may do nothing before it is killed.
    pub stall: Duration,
}

/// A destination that is a program.
pub struct CommandArchive {
    settings: Settings,
    places: Semaphore,
}

impl CommandArchive {
    /// Nothing is started before the first request.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, places: Semaphore::new(AT_ONCE) }
    }

    /// Stores what a content gives.
    async fn store(
        &self,
        verb: &str,
        name: &ObjectName,
        mut content: Content,
        size: Option<u64>,
    ) -> Result<u64, ArchiveError> {
        let _place = self.places.acquire().await.map_err(|_| unavailable("no more programs are started"))?;
        let told = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        let mut running = Running::start(&self.settings, &[verb, name.as_str(), &told]).map_err(|f| sort(name, f))?;
        let done = running.feed(&mut content, size).await.map_err(|failed| sort(name, failed))?;
        let ended = running.end().await.map_err(|failed| sort(name, failed))?;
        done_by(name, ended)?;
        Ok(done)
    }
}

fn unavailable(text: impl Into<String>) -> ArchiveError {
    ArchiveError::Unavailable(text.into())
}

fn sort(name: &ObjectName, failed: Failed) -> ArchiveError {
    match failed {
        Failed::Source(error) => ArchiveError::Source(error),
        Failed::Ended(ended) => match done_by(name, ended) {
            Ok(()) => unavailable("the program ended well before it had read everything"),
            Err(error) => error,
        },
        Failed::Broken(text) => unavailable(text),
    }
}

/// What the end of a program says.
fn done_by(name: &ObjectName, ended: Ended) -> Result<(), ArchiveError> {
    match ended.code {
        Some(0) => Ok(()),
        Some(NOT_FOUND) => Err(ArchiveError::NotFound(name.clone())),
        Some(EXISTS) => Err(ArchiveError::Exists(name.clone())),
        Some(code) => Err(unavailable(format!("the program ended with {code}: {}", ended.said))),
        None => Err(unavailable(format!("the program was killed: {}", ended.said))),
    }
}

/// A line `SIZE NAME`; nothing for a name that is not ours.
fn line(line: &str) -> Result<Option<Stored>, ArchiveError> {
    let Some((size, name)) = line.split_once(' ') else { return Ok(None) };
    let Ok(name) = name.parse::<ObjectName>() else { return Ok(None) };
    let size = size.parse().map_err(|_| unavailable(format!("the program lists `{name}` without a size")))?;
    Ok(Some(Stored { name, size }))
}

/// What a program lists.
fn listing(text: &[u8]) -> Result<Vec<Stored>, ArchiveError> {
    let text = std::str::from_utf8(text).map_err(|_| unavailable("what the program lists is no text"))?;
    let found: Result<Vec<_>, _> = text.lines().filter_map(|one| line(one).transpose()).collect();
    let mut found = found?;
    found.sort();
    found.dedup_by(|one, other| one.name == other.name);
    Ok(found)
}

#[async_trait]
impl Archive for CommandArchive {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn place(&self) -> String {
        let program = self.settings.program.display().to_string();
        [program].into_iter().chain(self.settings.arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    async fn put(&self, name: &ObjectName, content: Content, size: Option<u64>) -> Result<u64, ArchiveError> {
        self.store("put", name, content, size).await
    }

    async fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError> {
        if content.len() > REPLACED_MAX {
            return Err(ArchiveError::ReadOnly(format!("an object that is replaced has at most {REPLACED_MAX} bytes")));
        }
        let size = Some(content.len() as u64);
        self.store("replace", name, Box::new(std::io::Cursor::new(content.to_vec())), size).await.map(drop)
    }

    async fn get(&self, name: &ObjectName) -> Result<Content, ArchiveError> {
        let mut running =
            Running::start(&self.settings, &["get", name.as_str()]).map_err(|failed| sort(name, failed))?;
        running.no_input();
        match running.first().await.map_err(|failed| sort(name, failed))? {
            Some(first) => Ok(Box::new(running.rest(first))),
            None => {
                let ended = running.end().await.map_err(|failed| sort(name, failed))?;
                done_by(name, ended)?;
                Ok(Box::new(tokio::io::empty()))
            }
        }
    }

    async fn list(&self) -> Result<Vec<Stored>, ArchiveError> {
        let _place = self.places.acquire().await.map_err(|_| unavailable("no more programs are started"))?;
        let broken = |failed| match failed {
            Failed::Source(error) => unavailable(error.to_string()),
            Failed::Ended(ended) => unavailable(ended.said),
            Failed::Broken(text) => unavailable(text),
        };
        let mut running = Running::start(&self.settings, &["list"]).map_err(broken)?;
        running.no_input();
        let text = running.whole(LISTING_MAX).await.map_err(broken)?;
        let ended = running.end().await.map_err(broken)?;
        match ended.code {
            Some(0) => listing(&text),
            Some(code) => Err(unavailable(format!("the program ended with {code}: {}", ended.said))),
            None => Err(unavailable(format!("the program was killed: {}", ended.said))),
        }
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), ArchiveError> {
        let _place = self.places.acquire().await.map_err(|_| unavailable("no more programs are started"))?;
        let mut running =
            Running::start(&self.settings, &["delete", name.as_str()]).map_err(|failed| sort(name, failed))?;
        running.no_input();
        let ended = running.end().await.map_err(|failed| sort(name, failed))?;
        match done_by(name, ended) {
            Err(ArchiveError::NotFound(_)) => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_what_is_ours() {
        let text = b"7 backup-0000000001.krb\n12 README\nodd\n\n9 ../backup-0000000002.krb\n3 backup-0000000001.krb\n";
        let found = listing(text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].size), ("backup-0000000001.krb", 3));
        assert!(listing(b"many backup-0000000001.krb\n").is_err());
        assert!(listing(b"\xff").is_err());
    }
}
