//! The rules of approval: showing, checking and replacing them, and bringing them into force.

use clap::{Args, Subcommand};
use keyreeve_wire::approvals::{PutRules, RuleBook, RulesProblems};
use std::path::{Path, PathBuf};

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::Source;
use crate::out::facts;

/// The longest file with rules, in bytes.
const RULES_MAX: usize = 256 * 1024;

/// Show, check and replace the rules of approval: who must agree to what
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve rules show > rules.toml\n  $ keyreeve rules check rules.toml")]
pub(crate) enum Command {
    Show(Show),
    Check(Check),
    Put(Put),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Show(command) => command.run(app).await,
            Self::Check(command) => command.run(app).await,
            Self::Put(command) => command.run(app).await,
        }
    }
}

/// Show the rules as a file that `rules put` takes
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve rules show > rules.toml")]
pub(crate) struct Show {}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        let book = app.client()?.rules().await?.value;
        app.out.note(&book_facts(&book));
        app.show(&book, |book: &RuleBook| book.text.clone())
    }
}

/// Look whether rules could be put, without putting them
///
/// Ends with exit code 1 where there are not the people who could satisfy them. Besides it warns of ways around the
/// rules, each by its name; docs/access.md has the list.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve rules check rules.toml")]
pub(crate) struct Check {
    /// The rules in TOML
    file: PathBuf,
}

impl Check {
    async fn run(self, app: &App) -> Outcome {
        let text = read(&self.file)?;
        let found = app.client()?.check_rules(&PutRules { text }).await?.value;
        app.show(&found, shown)?;
        if found.problems.is_empty() {
            return Ok(Exit::Done);
        }
        Ok(Exit::No)
    }
}

fn shown(found: &RulesProblems) -> String {
    let verdict = match found.problems.as_slice() {
        [] => "the rules are right, and there are people who can satisfy them".to_owned(),
        problems => problems.join("\n"),
    };
    let remarks = found.remarks.iter().map(|remark| format!("\nwarning ({}): {}", remark.name, remark.text));
    std::iter::once(verdict).chain(remarks).collect()
}

/// Replace the rules; once they are in force, under the rules that stand
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve rules put rules.toml")]
pub(crate) struct Put {
    /// The rules in TOML
    file: PathBuf,
}

impl Put {
    async fn run(self, app: &App) -> Outcome {
        let text = read(&self.file)?;
        let answer = app.client()?.put_rules(&PutRules { text }).await?;
        app.note_record("put", answer.audit_record.as_ref());
        app.show(&answer.value, book_facts)
    }
}

/// Bring the rules of approval into force
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve governance enact --yes")]
pub(crate) enum Governance {
    Enact(Enact),
}

impl Governance {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Enact(command) => command.run(app).await,
        }
    }
}

/// Bring the rules into force, for good
///
/// From then on what the rules name waits for the consent that they ask for. Refused while some rule could not be
/// satisfied by the people there are who have a second factor: `keyreeve rules show` tells which.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve governance enact --yes")]
pub(crate) struct Enact {
    /// Do it: it cannot be undone
    #[arg(long)]
    yes: bool,
}

impl Enact {
    async fn run(self, app: &App) -> Outcome {
        if !self.yes {
            return Err(Failure::usage("the rules come into force for good").next("repeat the command with `--yes`"));
        }
        let answer = app.client()?.enact_rules().await?;
        app.note_record("enacted", answer.audit_record.as_ref());
        app.show(&answer.value, book_facts)
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let source = Source::of(Some(file));
    let bytes = source.read(RULES_MAX)?.declassify("rules are no secret");
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", source.name())))
}

fn book_facts(book: &RuleBook) -> String {
    let by = |at: &Option<keyreeve_wire::Timestamp>, by: &Option<String>| match (at, by) {
        (Some(at), Some(by)) => format!("{at} by {by}"),
        _ => String::new(),
    };
    let enacted = by(&book.enacted, &book.enacted_by);
    facts(&[
        ("version", book.version.to_string()),
        ("in force since", if enacted.is_empty() { "not in force".to_owned() } else { enacted }),
        ("put", by(&book.updated, &book.updated_by)),
        ("approval", book.approval.clone().unwrap_or_default()),
        ("problems", book.problems.join("; ")),
    ])
}
