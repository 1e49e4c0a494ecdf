//! Carrying out a task with the people at the terminal: what it asks for is asked, what the program does itself is
//! done.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use keyreeve_ceremony::action::{Action, Input};
use keyreeve_ceremony::event::{Event, Outcome};
use keyreeve_ceremony::lint::check_value;
use keyreeve_ceremony::paper::printed;
use keyreeve_ceremony::script::{Act, Asks, Field, Task};
use keyreeve_ceremony::state::{Standing, command_line};
use keyreeve_ceremony::word::{Line, Text};
use keyreeve_crypto::HashAlgorithm;
use keyreeve_crypto::digest::Digester;
use serde_json::Value;

use super::child::{Ran, facts};
use super::run::Session;
use crate::failure::Failure;

/// What came of asking for a task.
pub(super) enum Came {
    /// This, which is signed next.
    Of(Outcome),
    /// Nothing: it is looked at again.
    Nothing,
}

/// A file's SHA-256 in hexadecimal, and its length.
pub(super) fn sha256_of(path: &Path) -> Result<(Line, u64), Failure> {
    let failed = |error: std::io::Error| Failure::io(path.display(), &error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut digester, mut length) = (Digester::new(HashAlgorithm::Sha256), 0);
    let mut piece = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((Line::hexadecimal(&digester.finish()), length)),
            Ok(count) => {
                digester.update(&piece[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

impl Session<'_> {
    /// Does what a task asks for.
    pub(super) fn carry_out(&mut self, place: usize, task: &Task<'_>) -> Result<Came, Failure> {
        match task.asks {
            Asks::Confirmation => Ok(Came::Of(Outcome::Confirmed {})),
            Asks::Values(fields) => self.values(fields).map(Came::Of),
            Asks::Act(act) => match act {
                Act::Command(action) => self.command(place, task, action),
                Act::Attach { what, .. } => self.attach(what),
                Act::Verify { what, equals } => self.compare(what, equals),
                Act::Decide { choices, .. } => self.decide(choices).map(Came::Of),
                // The task says these in other words.
                Act::Say | Act::Record { .. } => Ok(Came::Nothing),
            },
        }
    }

    fn values(&self, fields: &[Field]) -> Result<Outcome, Failure> {
        let mut values = BTreeMap::new();
        for field in fields {
            let value = self.desk.ask_for(&format!("  {}:", field.what), |text| {
                let line: Line = text.parse().map_err(|error: keyreeve_ceremony::word::WrongText| error.to_string())?;
                check_value(field, line.as_str()).map(|()| line)
            })?;
            values.insert(field.name.clone(), value);
        }
        Ok(Outcome::Recorded { values })
    }

    fn attach(&self, what: &Line) -> Result<Came, Failure> {
        let path = self.desk.ask(&format!("  {what}, path of the file (nothing: not now):"))?;
        if path.is_empty() {
            return Ok(Came::Nothing);
        }
        match sha256_of(Path::new(&path)) {
            Ok((sha256, bytes)) => {
                self.desk.say(&format!("  {bytes} bytes, SHA-256 {sha256}"))?;
                let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
                let file = Line::cleaned(&name.unwrap_or(path));
                Ok(Came::Of(Outcome::Attached { file, bytes, sha256 }))
            }
            Err(failure) => {
                self.desk.complain(&failure.what)?;
                Ok(Came::Nothing)
            }
        }
    }

    fn compare(&self, what: &Line, equals: &keyreeve_ceremony::word::Word) -> Result<Came, Failure> {
        let ceremony = self.ceremony();
        let Some(known) = ceremony.values().get(equals) else {
            self.desk
                .complain(&format!("the value `{equals}` was not written down: skip this step, with the reason"))?;
            return Ok(Came::Nothing);
        };
        let seen: Line = self.desk.ask_text(&format!("  {what}:"))?;
        if seen == *known {
            self.desk.say(&format!("  the same as `{equals}`"))?;
            return Ok(Came::Of(Outcome::Verified { seen }));
        }
        self.desk.complain(&format!("it is NOT the same as `{equals}`, which is\n    {known}"))?;
        Ok(Came::Nothing)
    }

    fn decide(&self, choices: &[Line]) -> Result<Outcome, Failure> {
        for (number, choice) in (1..).zip(choices) {
            self.desk.say(&format!("  {number}  {choice}"))?;
        }
        let choice = self.desk.ask_for("  Number of the choice:", |text| {
            let number = text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let choice = number.and_then(|number| choices.get(number));
            choice.cloned().ok_or_else(|| format!("a number from 1 to {}", choices.len()))
        })?;
        Ok(Outcome::Decided { choice })
    }

    fn command(&mut self, place: usize, task: &Task<'_>, action: &Action) -> Result<Came, Failure> {
        if matches!(self.ceremony().standing().get(place), Some(Standing::Begun { .. }))
            && let Some(came) = self.interrupted(task)?
        {
            return Ok(came);
        }
        let words = match action.words(self.ceremony().values()) {
            Ok(words) => words,
            Err(error) => {
                self.desk.complain(&error.to_string())?;
                return Ok(Came::Nothing);
            }
        };
        let line = command_line(&words);
        self.desk.say(&format!("  $ {line}\n  Those who sign want it to be run now."))?;
        self.write(Event::Begun { task: Line::cleaned(&task.id), command: line })?;
        match self.run_action(action, &words)? {
            Ran::Well(answer) => {
                let facts = facts(action, &answer);
                for (name, value) in &facts {
                    self.desk.say(&format!("  {name}: {}", printed(value.as_str()).replace('\n', "\n    ")))?;
                }
                Ok(Came::Of(Outcome::Ran { facts, found: false }))
            }
            Ran::Badly(said) => {
                self.desk.complain(&said)?;
                self.desk.say("  It is written down that the command failed.")?;
                self.write(Event::Failed { task: Line::cleaned(&task.id), why: Text::cleaned(&said) })?;
                Ok(Came::Nothing)
            }
        }
    }

    /// A command was begun, and the program ended before it could write down what came of it.
    fn interrupted(&mut self, task: &Task<'_>) -> Result<Option<Came>, Failure> {
        self.desk.say(
            "  This command was begun before the program was interrupted, and what came of it is not known.\n  \
             Look, before you decide: d = it was done, f = it failed, r = run it (again).",
        )?;
        let known = |text: &str| match text {
            "d" | "f" | "r" => Ok(text.to_owned()),
            _ => Err("d, f or r".to_owned()),
        };
        match self.desk.ask_for("  d, f or r:", known)?.as_str() {
            "d" => {
                let found: Text = self.desk.ask_text("  What was found, and how:")?;
                let facts = BTreeMap::from([(Line::cleaned("found"), found)]);
                Ok(Some(Came::Of(Outcome::Ran { facts, found: true })))
            }
            "f" => {
                let why: Text = self.desk.ask_text("  What was found, and how:")?;
                self.write(Event::Failed { task: Line::cleaned(&task.id), why })?;
                Ok(Some(Came::Nothing))
            }
            _ => Ok(None),
        }
    }

    fn run_action(&mut self, action: &Action, words: &[String]) -> Result<Ran, Failure> {
        match action.input() {
            Input::None => self.surroundings()?.run(action, words, None),
            Input::Restart => {
                self.restart()?;
                self.surroundings()?.run(action, words, None)
            }
            Input::Shares => self.shares(action, words),
        }
    }

    /// One share after the other, until the server says that it is open.
    fn shares(&mut self, action: &Action, words: &[String]) -> Result<Ran, Failure> {
        loop {
            let share = self.desk.ask_secret("  Share (it is not shown; nothing: give up):")?;
            if share.is_empty() {
                return Ok(Ran::Badly("given up before the server was open".to_owned()));
            }
            match self.surroundings()?.run(action, words, Some(&share))? {
                Ran::Well(answer) if answer.get("state").and_then(Value::as_str) == Some("open") => {
                    return Ok(Ran::Well(answer));
                }
                Ran::Well(answer) => {
                    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
                    self.desk.say(&format!("  taken: {} of {}", number("given"), number("needed")))?;
                }
                Ran::Badly(said) => self.desk.complain(&said)?,
            }
        }
    }
}
