//! The transcript as people read it: the same document in Markdown and in PDF. The signed truth is the transcript
//! itself; both name its hash.

pub mod markdown;
pub mod pdf;

use crate::event::{DeviationKind, Ending, Event, Outcome, Program};
use crate::script::{Asks, Task, TaskKind};
use crate::state::{Ceremony, Standing};
use crate::transcript::{Entry, Transcript};
use crate::verify::transcript_sha256;
use crate::word::{Word, flowed};

/// What stands on every page of a rehearsal.
pub const DRY_RUN: &str = "DRY RUN - a rehearsal with throwaway keys, not a ceremony";

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its title.
    pub title: String,
    /// What stands at the top of every page.
    pub banner: Option<&'static str>,
    /// What stands at the foot of every page.
    pub foot: String,
    /// Its parts.
    pub blocks: Vec<Block>,
}

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading within the document.
    Heading(String),
    /// The heading of a task.
    Task(String),
    /// A paragraph.
    Text(String),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// Points.
    List(Vec<String>),
    /// Who signed and when, in small letters.
    Signed(String),
}

/// The document of a transcript. `bytes` is the transcript as it was read.
#[must_use]
pub fn document(transcript: &Transcript, bytes: &[u8]) -> Document {
    let ceremony = transcript.ceremony();
    let script = ceremony.script();
    let hash = transcript_sha256(bytes);
    let mut writer = Writer { ceremony, blocks: Vec::new() };
    writer.head(transcript, &hash);
    writer.people(transcript);
    writer.entries(transcript);
    writer.conditions();
    writer.end(&hash);
    Document {
        title: script.title.to_string(),
        banner: ceremony.opened().dry_run.then_some(DRY_RUN),
        foot: format!("Transcript SHA-256 {hash}"),
        blocks: writer.blocks,
    }
}

struct Writer<'a> {
    ceremony: &'a Ceremony,
    blocks: Vec<Block>,
}

fn fact(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// Longest value that is printed whole (characters): keys of post-quantum algorithms fill a page, and are in the
/// transcript.
const WHOLE: usize = 300;

/// A value as it is printed. Of a long one what names it, and its hash; several stand on lines of their own.
#[must_use]
pub fn printed(value: &str) -> String {
    let line = |line: &str| {
        if line.chars().count() <= WHOLE {
            return line.to_owned();
        }
        let hash = hex::encode(keyreeve_crypto::digest::sha256(line.as_bytes()));
        let begins: String = line.chars().take(60).collect();
        format!("{begins}... ({} characters, SHA-256 {hash}; whole in the transcript)", line.chars().count())
    };
    value.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn program(program: &Program) -> String {
    format!("keyreeve {}, SHA-256 {}", program.version, program.sha256)
}

impl Writer<'_> {
    fn add(&mut self, block: Block) {
        self.blocks.push(block);
    }

    fn heading(&mut self, text: &str) {
        self.add(Block::Heading(text.to_owned()));
    }

    fn head(&mut self, transcript: &Transcript, hash: &str) {
        let (script, opened) = (self.ceremony.script(), self.ceremony.opened());
        let entries = transcript.entries();
        let outcome = match self.ceremony.ending() {
            Some(Ending::Completed {}) => "completed",
            Some(Ending::Aborted { .. }) => "broken off",
            None => "not finished",
        };
        let mut facts = vec![
            fact("Outcome", outcome),
            fact("Deviations", self.ceremony.deviations()),
            fact("Place", &opened.place),
            fact("Begun", entries.first().map_or_else(String::new, |entry| entry.at.to_string())),
            fact("Last entry", entries.last().map_or_else(String::new, |entry| entry.at.to_string())),
            fact("Script", format!("{}, version {}", script.name, script.version)),
            fact("Script SHA-256", &opened.script_sha256),
            fact("Transcript SHA-256", hash),
            fact("Program", program(&opened.program)),
        ];
        if let Some(server) = &opened.server {
            facts.push(fact("Server", format!("{}, root of trust {}", server.address, server.root_kind)));
            facts.extend(server.log_vkeys.iter().map(|key| fact("Log key", printed(key.as_str()))));
            if let Some(checkpoint) = &server.checkpoint {
                let lines: Vec<&str> = checkpoint.lines().take(3).collect();
                facts.push(fact("Log at the beginning", lines.join(" ")));
            }
        }
        self.add(Block::Facts(facts));
        self.heading("Purpose");
        self.add(Block::Text(flowed(script.purpose.as_str())));
    }

    fn people(&mut self, transcript: &Transcript) {
        self.heading("Participants");
        let script = self.ceremony.script();
        for person in self.ceremony.people() {
            let who = &person.enrolled;
            let titles =
                who.roles.iter().map(|name| script.role(name).map_or(name.as_str(), |role| role.title.as_str()));
            let titles: Vec<&str> = titles.collect();
            let enrolled = transcript
                .entries()
                .iter()
                .find(|entry| matches!(&entry.event, Event::Enrolled(enrolled) if enrolled.initials == who.initials));
            self.add(Block::Task(format!("{}  {}", who.initials, who.name)));
            let mut facts = vec![
                fact("Organisation", &who.organisation),
                fact("Roles", titles.join(", ")),
                fact("Identity", &who.identity),
                fact("Key fingerprint", who.key.fingerprint()),
            ];
            if let Some(entry) = enrolled {
                facts.push(fact("Enrolled", entry.at));
            }
            if !person.present {
                facts.push(fact("Left", "before the end, see the deviations"));
            }
            self.add(Block::Facts(facts));
        }
    }

    fn entries(&mut self, transcript: &Transcript) {
        let script = self.ceremony.script();
        let tasks = script.tasks();
        let mut part = None;
        for entry in transcript.entries() {
            let task = task_of(&entry.event).and_then(|id| tasks.iter().position(|task| task.id == id));
            if let Some(place) = task
                && part != Some(tasks[place].kind)
            {
                part = Some(tasks[place].kind);
                self.heading(match tasks[place].kind {
                    TaskKind::Before => "Checklist before",
                    TaskKind::Equipment => "Equipment",
                    TaskKind::Step => "Steps",
                    TaskKind::After => "Checklist after",
                });
            }
            self.entry(entry, task.map(|place| (place, &tasks[place])), tasks.len());
        }
    }

    fn entry(&mut self, entry: &Entry, task: Option<(usize, &Task<'_>)>, total: usize) {
        let name = |suffix: &str| match task {
            Some((place, task)) => format!("{} of {total}  {}{suffix}", place + 1, task.title),
            None => suffix.trim().to_owned(),
        };
        match &entry.event {
            // These are told at the beginning.
            Event::Opened(_) | Event::Enrolled(_) => return,
            Event::Assembled {} => self.add(Block::Text(
                "All of them are present, and each has seen that the others are who they say.".to_owned(),
            )),
            Event::Begun { command, .. } => {
                self.add(Block::Task(name(" - command begun")));
                self.add(Block::Facts(vec![fact("Command", command)]));
            }
            Event::Failed { why, .. } => {
                self.add(Block::Task(name(" - COMMAND FAILED")));
                self.add(Block::Text(why.to_string()));
            }
            Event::Done { outcome, .. } => {
                self.add(Block::Task(name("")));
                if let Some((_, task)) = task {
                    self.add(Block::Text(flowed(task.text)));
                }
                let facts = outcome_facts(outcome, task.map(|(_, task)| task));
                if !facts.is_empty() {
                    self.add(Block::Facts(facts));
                }
            }
            Event::Deviation(deviation) => {
                let what = match &deviation.what {
                    DeviationKind::Noted { .. } => name(" - DEVIATION"),
                    DeviationKind::Skipped { .. } => name(" - SKIPPED"),
                    DeviationKind::Left { who } => format!("DEVIATION - {who} left"),
                };
                self.add(Block::Task(what));
                self.add(Block::Text(deviation.reason.to_string()));
            }
            Event::Resumed { program: resumed } => {
                self.add(Block::Task("The program was started again".to_owned()));
                self.add(Block::Facts(vec![fact("Program", program(resumed))]));
            }
            Event::Closed(ending) => {
                self.heading("End");
                self.add(Block::Text(match ending {
                    Ending::Completed {} => "The ceremony is completed.".to_owned(),
                    Ending::Aborted { reason } => format!("The ceremony was BROKEN OFF: {reason}"),
                }));
            }
        }
        let signed: Vec<&str> = entry.signed_by.iter().map(|initials| initials.as_str()).collect();
        self.add(Block::Signed(format!("{}   signed by {}", entry.at, signed.join(", "))));
    }

    fn conditions(&mut self) {
        let open: Vec<String> = self
            .ceremony
            .script()
            .tasks()
            .iter()
            .zip(self.ceremony.standing())
            .filter(|(_, standing)| matches!(standing, Standing::Open | Standing::Begun { .. }))
            .map(|(task, _)| format!("{}: {}", task.id, task.title))
            .collect();
        if !open.is_empty() {
            self.heading("Not done");
            self.add(Block::List(open));
        }
        let conditions: Vec<String> = self.ceremony.script().abort_if.iter().map(ToString::to_string).collect();
        if !conditions.is_empty() {
            self.heading("It would have been broken off if");
            self.add(Block::List(conditions));
        }
    }

    fn end(&mut self, hash: &str) {
        self.heading("How to check this");
        self.add(Block::Text(format!(
            "This paper is made from the transcript, a file of JSON lines, whose SHA-256 is {hash}. `keyreeve ceremony \
             verify TRANSCRIPT` checks its chain, every signature, roles and steps. What is printed here proves \
             nothing by itself."
        )));
    }
}

fn task_of(event: &Event) -> Option<&str> {
    match event {
        Event::Begun { task, .. } | Event::Failed { task, .. } | Event::Done { task, .. } => Some(task.as_str()),
        Event::Deviation(deviation) => match &deviation.what {
            DeviationKind::Noted { task } | DeviationKind::Skipped { task } => Some(task.as_str()),
            DeviationKind::Left { .. } => None,
        },
        Event::Opened(_) | Event::Enrolled(_) | Event::Assembled {} | Event::Resumed { .. } | Event::Closed(_) => None,
    }
}

fn outcome_facts(outcome: &Outcome, task: Option<&Task<'_>>) -> Vec<(String, String)> {
    let called = |name: &Word| match task.map(|task| task.asks) {
        Some(Asks::Values(fields)) => {
            fields.iter().find(|field| field.name == *name).map(|field| field.what.to_string())
        }
        _ => None,
    };
    match outcome {
        Outcome::Confirmed {} => Vec::new(),
        Outcome::Recorded { values } => {
            let named = |name: &Word| called(name).unwrap_or_else(|| name.to_string());
            values.iter().map(|(name, value)| fact(&named(name), value)).collect()
        }
        Outcome::Ran { facts, found } => {
            let mut facts: Vec<_> =
                facts.iter().map(|(name, value)| fact(name.as_str(), printed(value.as_str()))).collect();
            if *found {
                facts.push(fact("found out", "after an interruption"));
            }
            facts
        }
        Outcome::Attached { file, bytes, sha256 } => {
            vec![fact("File", file), fact("Bytes", bytes), fact("SHA-256", sha256)]
        }
        Outcome::Verified { seen } => vec![fact("Seen, and the same", seen)],
        Outcome::Decided { choice } => vec![fact("Decided", choice)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_named_and_hashed_and_short_ones_printed() {
        let long = format!("log.example+1234abcd+{}", "A".repeat(1800));
        let shown = printed(&format!("log.example+ab+short\n{long}"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!((lines[0], lines.len()), ("log.example+ab+short", 2));
        assert!(lines[1].starts_with("log.example+1234abcd+AAA") && lines[1].len() < 250, "{shown}");
        assert!(lines[1].contains(&hex::encode(keyreeve_crypto::digest::sha256(long.as_bytes()))));
    }
}
