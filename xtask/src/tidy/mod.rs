//! The rules of the house that no compiler checks.
//!
//! Each check is one module with `run(&Context) -> Outcome`, pure over the files and the dependency graph, so that its
//! unit tests show it failing on a small example. A new check is one line in [`CHECKS`].

mod banned;
mod clippy_bans;
mod dependencies;
mod files;
mod functions;
mod fuzz_targets;
mod layers;
mod licences;
mod lints;
mod local_names;
mod migrations;
mod requirements;
mod runbooks;
mod wrappers;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Result;
use crate::source::Tree;
use crate::workspace::{self, Graph};

pub(crate) const USAGE: &str = "\
tidy [--bless] [--only CHECK] [--list]    Checks the rules of the house that no compiler checks

  --bless        records the hashes of new migrations (never changes a recorded one)
  --only CHECK   runs one check
  --list         names the checks

A line may be excused from a banned call with a comment on it or right above it:
  // tidy: allow(RULE): the reason, in words
";

/// What the checks look at.
pub(crate) struct Context {
    pub(crate) tree: Tree,
    pub(crate) graph: Graph,
}

/// What a check found, and figures worth showing either way.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    pub(crate) notes: Vec<String>,
}

/// One broken rule: where, what, and what to do about it.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: Option<usize>,
    message: String,
    remedy: String,
}

impl Finding {
    fn new(path: &str, line: impl Into<Option<usize>>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: line.into(), message: message.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(out, "{}:{line}: {}", self.path, self.message)?,
            None => write!(out, "{}: {}", self.path, self.message)?,
        }
        write!(out, "\n      -> {}", self.remedy)
    }
}

impl From<Vec<Finding>> for Outcome {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings, notes: Vec::new() }
    }
}

/// The names of the fuzz targets a fuzz/Cargo.toml lists.
pub(crate) fn fuzz_targets(manifest: &str) -> Vec<String> {
    fuzz_targets::targets(manifest).into_iter().map(|(name, _)| name).collect()
}

struct Check {
    name: &'static str,
    run: fn(&Context) -> Outcome,
}

const CHECKS: &[Check] = &[
    Check { name: "layers", run: layers::run },
    Check { name: "wrappers", run: wrappers::run },
    Check { name: "licences", run: licences::run },
    Check { name: "lints", run: lints::run },
    Check { name: "clippy-bans", run: clippy_bans::run },
    Check { name: "functions", run: functions::run },
    Check { name: "files", run: files::run },
    Check { name: "banned", run: banned::run },
    Check { name: "requirements", run: requirements::run },
    Check { name: "dependencies", run: dependencies::run },
    Check { name: "migrations", run: migrations::run },
    Check { name: "local-names", run: local_names::run },
    Check { name: "fuzz-targets", run: fuzz_targets::run },
    Check { name: "runbooks", run: runbooks::run },
];

/// How many findings of a check are shown when it is not the only one.
const SHOWN: usize = 12;

/// How many checks passed and failed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Score {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut only = None;
    let mut bless = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--bless" => bless = true,
            "--only" => only = Some(rest.next().ok_or("--only needs the name of a check")?.as_str()),
            "--list" => return Ok(list()),
            other => return Err(format!("tidy knows no argument `{other}`\n\n{USAGE}").into()),
        }
    }
    if bless {
        migrations::bless(&workspace::root())?;
    }
    let score = check(only)?;
    Ok(if score.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list() -> ExitCode {
    for check in CHECKS {
        println!("{}", check.name);
    }
    ExitCode::SUCCESS
}

/// Runs the checks and prints what they find.
pub(crate) fn check(only: Option<&str>) -> Result<Score> {
    let chosen: Vec<&Check> = CHECKS.iter().filter(|check| only.is_none_or(|name| name == check.name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no check `{}`; `cargo xtask tidy --list` names them", only.unwrap_or("")).into());
    }
    let root: PathBuf = workspace::root();
    let context = Context { tree: Tree::read(&root)?, graph: Graph::read(&root)? };
    let mut score = Score::default();
    for check in chosen {
        let outcome = (check.run)(&context);
        report(check.name, &outcome, if only.is_some() { usize::MAX } else { SHOWN });
        *(if outcome.findings.is_empty() { &mut score.passed } else { &mut score.failed }) += 1;
    }
    Ok(score)
}

fn report(name: &str, outcome: &Outcome, at_most: usize) {
    let verdict = match outcome.findings.len() {
        0 => "ok".to_owned(),
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    println!("  {name:<14} {verdict}{}", outcome.notes.iter().map(|note| format!("; {note}")).collect::<String>());
    for finding in outcome.findings.iter().take(at_most) {
        println!("    {finding}");
    }
    if outcome.findings.len() > at_most {
        let rest = outcome.findings.len() - at_most;
        println!("    … and {rest} more: `cargo xtask tidy --only {name}` shows all");
    }
}

/// The value below which `percent` of the sorted values lie (nearest rank).
fn percentile(sorted: &[usize], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Whether a member's folder is meant by a row of a table: itself, or `floor/*` for every room of a floor.
fn matches_folder(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(floor) => folder.starts_with(floor),
        None => folder == pattern,
    }
}

/// The cells of a Markdown table row, `None` for any other line and for the rule under the heading.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    let rule = cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|mark| matches!(mark, '-' | ':')));
    (!rule).then_some(cells)
}

/// What stands between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let values: Vec<usize> = (1..=10).collect();
        assert_eq!([percentile(&values, 50), percentile(&values, 90), percentile(&values, 99)], [5, 9, 10]);
        assert_eq!(percentile(&[], 90), 0);
    }

    #[test]
    fn table_rows_are_split_and_rules_are_not_rows() {
        assert_eq!(cells("| a | b c |"), Some(vec!["a", "b c"]));
        assert_eq!(cells("|---|:--|"), None);
        assert_eq!(cells("text"), None);
        assert_eq!(quoted("see `a::b` and `c`").collect::<Vec<_>>(), ["a::b", "c"]);
    }
}
