//! Drills: rehearsing what is done in trouble, and what came of it.

mod record;
mod restore;

use clap::{Args, Subcommand};
use keyreeve_wire::drills::{Drill, DrillStanding, DrillStep, RecordDrill};

use crate::app::{App, Outcome};
use crate::cli::connected;
use crate::failure::{Exit, Failure};
use crate::out::{facts, printable, rows};
use crate::text::Span;

/// Rehearse what is done in trouble, and see what came of it
///
/// The server restores its newest backup into a scratch instance by itself, once a week unless its configuration says
/// otherwise. What people have to do is rehearsed by people. Every drill is put on record, and drills that are overdue
/// are told of.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  $ keyreeve drill list\n  $ keyreeve drill restore")]
pub(crate) enum Command {
    Restore(restore::Restore),
    Record(record::Record),
    List(List),
    Show(Show),
}

impl Command {
    pub(crate) fn run(self, app: &App, wait: Option<Span>) -> Outcome {
        match self {
            Self::Restore(command) => command.run(app, wait),
            Self::Record(command) => connected(app, wait, command.run(app)),
            Self::List(command) => connected(app, wait, command.run(app)),
            Self::Show(command) => connected(app, wait, command.run(app)),
        }
    }
}

/// A time for people: to the second, or finer where it is short.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, 0..10) => format!("{:.1} s", ms as f64 / 1000.0),
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

fn outcome(passed: bool) -> String {
    if passed { "passed".to_owned() } else { "failed".to_owned() }
}

/// A drill in full.
fn details(drill: &Drill) -> String {
    let who = if drill.by_itself { "the server by itself" } else { "people" };
    let backup = drill.backup.map(|backup| match &drill.destination {
        Some(at) => format!("{backup} from {at}"),
        None => backup.to_string(),
    });
    let mut text = facts(&[
        ("number", drill.number.to_string()),
        ("drill", drill.kind.clone()),
        ("outcome", outcome(drill.passed)),
        ("trouble", drill.trouble.clone().unwrap_or_default()),
        ("at", drill.at.to_string()),
        ("held by", format!("{who}, on record by {}", drill.by)),
        ("backup", backup.unwrap_or_default()),
        ("took", span(drill.took_ms)),
        ("would be lost", drill.lost_ms.map(span).unwrap_or_default()),
    ]);
    text += &steps(&drill.steps);
    text
}

fn steps(steps: &[DrillStep]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let row = |step: &DrillStep| {
        let (name, found) = (printable(&step.name), printable(&step.found));
        [outcome(step.passed), span(step.took_ms), name, found]
    };
    format!("\n{}", rows(["", "took", "step", "found"], steps.iter().map(row)))
}

/// A drill that is not on record.
fn report(held: &RecordDrill) -> String {
    let mut text = facts(&[
        ("drill", held.kind.clone()),
        ("outcome", outcome(held.passed)),
        ("trouble", held.trouble.clone().unwrap_or_default()),
        ("backup", held.backup.map(|backup| backup.to_string()).unwrap_or_default()),
        ("took", span(held.took_ms)),
        ("would be lost", held.lost_ms.map(span).unwrap_or_default()),
    ]);
    text += &steps(&held.steps);
    text
}

/// List drills, the newest first, and which are overdue
///
/// Ends with 1 where one is overdue.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve drill list")]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let found = app.client()?.drills().await?.value;
        let overdue = found.standing.iter().any(|kind| kind.overdue);
        app.out.show(&found, |found| {
            let row = |drill: &Drill| {
                let lost = drill.lost_ms.map(span).unwrap_or_default();
                let number = drill.number.to_string();
                [number, drill.kind.clone(), outcome(drill.passed), drill.at.to_string(), span(drill.took_ms), lost]
            };
            let mut text = rows(["number", "drill", "outcome", "at", "took", "lost"], found.items.iter().map(row));
            for kind in found.standing.iter().filter(|kind| kind.overdue) {
                text += &line(kind);
            }
            text
        })?;
        Ok(if overdue { Exit::No } else { Exit::Done })
    }
}

fn line(kind: &DrillStanding) -> String {
    let days = kind.within_hours.unwrap_or_default() / 24;
    match &kind.good {
        Some(good) => format!("overdue: {}, the last good one was {good} ({days} days are allowed)\n", kind.kind),
        None => format!("overdue: {}, there was none yet ({days} days are allowed)\n", kind.kind),
    }
}

/// Show a drill, step by step
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve drill show 7\n  $ keyreeve drill show")]
pub(crate) struct Show {
    /// Its number; the newest unless said
    number: Option<u64>,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        let found = app.client()?.drills().await?.value.items;
        let drill = match self.number {
            Some(number) => found.iter().find(|drill| drill.number == number),
            None => found.first(),
        };
        let none = || Failure::new(Exit::Absent, "there is no such drill on record: `keyreeve drill list` shows them");
        app.show(drill.ok_or_else(none)?, details)
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn times_are_as_fine_as_they_need_be() {
        let all = [(400, "0.4 s"), (12_000, "12 s"), (84_000, "1 min 24 s"), (7_260_000, "2 h 1 min")];
        for (ms, text) in all.into_iter().chain([(90_000_000, "1 d 1 h")]) {
            assert_eq!(span(ms), text);
        }
    }
}
