//! What the tests need besides a Rust toolchain and a C compiler: found, or installed where that is allowed.

use std::collections::BTreeSet;
use std::process::Command;

use super::postgres;
use super::tally::Tally;
use crate::cargo;

/// A component of the machine that some step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Rustfmt,
    Clippy,
    Cxx,
    Postgres,
}

impl Tool {
    pub(super) const ALL: [Self; 4] = [Self::Rustfmt, Self::Clippy, Self::Cxx, Self::Postgres];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rustfmt => "rustfmt",
            Self::Clippy => "clippy",
            Self::Cxx => "C++ compiler",
            Self::Postgres => "PostgreSQL server",
        }
    }

    fn needed_for(self) -> &'static str {
        match self {
            Self::Rustfmt => "the formatting check",
            Self::Clippy => "the lints",
            Self::Cxx => "libFuzzer",
            Self::Postgres => "the PostgreSQL driver's tests",
        }
    }

    fn find(self) -> Option<String> {
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let asked = |program: &str| cargo::output_of(Command::new(program).arg("--version")).map(first_line);
        match self {
            Self::Rustfmt => asked("cargo-fmt").and(asked("rustfmt")),
            Self::Clippy => asked("cargo-clippy"),
            Self::Cxx => asked(&std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())),
            Self::Postgres => postgres::programs().and_then(|folder| asked(&folder.join("postgres").to_string_lossy())),
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Rustfmt => Source::Rustup("rustfmt"),
            Self::Clippy => Source::Rustup("clippy"),
            Self::Cxx => Source::Apt("g++"),
            Self::Postgres => Source::Apt("postgresql"),
        }
    }

    fn install_command(self) -> String {
        match self.source() {
            Source::Rustup(component) => format!("rustup component add {component}"),
            Source::Apt(package) => format!("apt-get update && apt-get install --no-install-recommends {package}"),
        }
    }
}

enum Source {
    Rustup(&'static str),
    Apt(&'static str),
}

/// Finds the tools, installs what is missing where it may; what is missing still.
pub(super) fn find_or_install(needs: &BTreeSet<Tool>) -> BTreeSet<Tool> {
    let absent: Vec<Tool> = needs.iter().copied().filter(|tool| tool.find().is_none()).collect();
    install(&absent);
    let mut missing = BTreeSet::new();
    for tool in needs {
        match tool.find() {
            Some(version) => println!("  {:<18} {version}", tool.name()),
            None => {
                println!("  {:<18} MISSING, needed for {}: {}", tool.name(), tool.needed_for(), tool.install_command());
                missing.insert(*tool);
            }
        }
    }
    missing
}

fn install(absent: &[Tool]) {
    let mut packages = Vec::new();
    for tool in absent {
        match tool.source() {
            Source::Rustup(component) => {
                ran(Command::new("rustup").args(["component", "add", component]));
            }
            Source::Apt(package) => packages.push(package),
        }
    }
    if packages.is_empty() {
        return;
    }
    if !is_root() {
        println!("  not root, so nothing is installed from the distribution's packages");
        return;
    }
    println!("  installing {}", packages.join(", "));
    let mut update = Command::new("apt-get");
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    if ran(update.args(["update", "-q"])) {
        ran(&mut install);
    }
}

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    cargo::output_of(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}

fn ran(command: &mut Command) -> bool {
    cargo::succeeds(command).unwrap_or_else(|error| {
        println!("  {error}");
        false
    })
}

/// One passed for what is there. What is missing is counted by the step that cannot run for it.
pub(super) fn tally(needs: &BTreeSet<Tool>, missing: &BTreeSet<Tool>) -> Tally {
    let mut tally = Tally { passed: (needs.len() - missing.len()) as u64, ..Tally::default() };
    tally.reasons.extend(missing.iter().map(|tool| format!("no {} ({})", tool.name(), tool.install_command())));
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let needs = BTreeSet::from([Tool::Cxx, Tool::Postgres]);
        let tally = tally(&needs, &BTreeSet::from([Tool::Postgres]));
        assert_eq!(tally.passed, 1);
        assert!(tally.detail().contains("no PostgreSQL server (apt-get update && apt-get install"));
    }
}
