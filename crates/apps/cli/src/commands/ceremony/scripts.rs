//! Scripts: those that come with the program, and looking at one.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyreeve_ceremony::lint::lint;
use keyreeve_ceremony::script::{SCRIPT_MAX, Script as Parsed};
use keyreeve_ceremony::shipped::{SCRIPTS, find};
use serde_json::json;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files;
use crate::out::rows;

/// Look at a script before anybody travels to its ceremony
///
/// Finds what is not written as a script is written, what a script cannot mean (roles that are not there, values that
/// are used before they are written down), and gives advice. Ends with 2 if the script cannot be followed.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve ceremony check our-root.toml")]
pub(crate) struct Check {
    /// The script: a file, or the name of one that comes with the program
    script: PathBuf,
}

impl Check {
    pub(super) fn run(self, app: &App) -> Outcome {
        let (_, script) = load(&self.script)?;
        let findings = lint(&script);
        let wrong = findings.iter().any(|found| found.wrong);
        let listed: Vec<_> = findings
            .iter()
            .map(|found| json!({ "wrong": found.wrong, "place": found.place, "what": found.what }))
            .collect();
        let value = json!({
            "name": script.name,
            "title": script.title,
            "version": script.version,
            "steps": script.tasks().len(),
            "ok": !wrong,
            "findings": listed,
        });
        app.out.show(&value, |_| {
            let kind = |wrong| if wrong { "wrong" } else { "advice" }.to_owned();
            let row =
                |found: &keyreeve_ceremony::lint::Finding| [kind(found.wrong), found.place.clone(), found.what.clone()];
            let verdict = if wrong { "cannot be followed" } else { "can be followed" };
            let verdict = format!("{}: {} things to do; it {verdict}", script.title, script.tasks().len());
            match findings.is_empty() {
                true => verdict,
                false => format!("{verdict}\n\n{}", rows(["kind", "place", "what"], findings.iter().map(row))),
            }
        })?;
        Ok(if wrong { Exit::Usage } else { Exit::Done })
    }
}

/// List the scripts that come with the program
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve ceremony scripts")]
pub(crate) struct Scripts {}

impl Scripts {
    pub(super) fn run(self, app: &App) -> Outcome {
        let parsed = SCRIPTS.iter().filter_map(|shipped| Parsed::parse(shipped.text).ok());
        let scripts: Vec<Parsed> = parsed.collect();
        let people = |script: &Parsed| -> u32 { script.roles.iter().map(|role| u32::from(role.count)).sum() };
        let value: Vec<_> = scripts
            .iter()
            .map(|script| {
                json!({
                    "name": script.name,
                    "title": script.title,
                    "version": script.version,
                    "people": people(script),
                    "things": script.tasks().len(),
                    "server": script.server,
                })
            })
            .collect();
        app.show(&value, |_| {
            let row = |script: &Parsed| {
                let (people, things) = (people(script).to_string(), script.tasks().len().to_string());
                [script.name.to_string(), script.title.to_string(), people, things]
            };
            rows(["name", "title", "people", "steps"], scripts.iter().map(row))
        })
    }
}

/// Look at the scripts that come with the program
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve ceremony script show destruction > our-destruction.toml")]
pub(crate) enum Script {
    Show(Show),
}

/// Print a script that comes with the program, to copy and change
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve ceremony script show destruction > our-destruction.toml")]
pub(crate) struct Show {
    /// Its name
    name: String,
}

impl Script {
    pub(super) fn run(self, app: &App) -> Outcome {
        let Self::Show(Show { name }) = self;
        let shipped = find(&name).ok_or_else(|| unknown(&name))?;
        app.out.bytes(shipped.text.as_bytes())?;
        Ok(Exit::Done)
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(Exit::Absent, format!("no script `{name}` comes with this program"))
        .next("`keyreeve ceremony scripts` lists them")
}

/// A script, from a file or by the name of one that comes with the program; with its text.
pub(super) fn load(named: &Path) -> Result<(String, Parsed), Failure> {
    let shipped = named.to_str().and_then(find);
    let text = match shipped {
        Some(shipped) if !named.exists() => shipped.text.to_owned(),
        _ if !named.exists() && named.components().count() == 1 && named.extension().is_none() => {
            return Err(unknown(&named.display().to_string()));
        }
        _ => {
            let bytes = files::read_all(named, SCRIPT_MAX)?;
            String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", named.display())))?
        }
    };
    let script = Parsed::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", named.display())))?;
    Ok((text, script))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use keyreeve_ceremony::word::Line;
    use std::collections::BTreeMap;

    /// What a script has the program do is a command that exists, with options that exist.
    #[test]
    fn every_command_of_a_script_is_one_of_this_program() {
        let mut count = 0;
        for shipped in SCRIPTS {
            let script = Parsed::parse(shipped.text).unwrap();
            let value = |name| (name, "value".parse::<Line>().unwrap());
            let tasks = script.tasks();
            let values: BTreeMap<_, _> = tasks.iter().flat_map(|task| task.leaves()).cloned().map(value).collect();
            for action in tasks.iter().filter_map(|task| task.action()) {
                let words = action.words(&values).unwrap();
                let parsed =
                    crate::cli::Cli::try_parse_from(std::iter::once("keyreeve".to_owned()).chain(words.clone()));
                let error = parsed.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.is_empty(), "{}: {words:?}: {error}", shipped.name);
                count += 1;
            }
        }
        assert!(count >= 10, "{count} commands");
    }
}
