//! The steps of `cargo xtask test`.
//!
//! All of them use the development profile, the same features and no flags of their own, so that cargo builds each
//! crate once. Choosing packages (`-p`) would choose other features: steps select targets over the whole workspace
//! instead.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Run;
use super::postgres::Server;
use super::tally::Tally;
use super::tools::Tool;
use crate::fuzz::{self, Depth, Fuzzer};
use crate::workspace::Graph;
use crate::{Result, cargo, tidy as rules, workspace};

const CRASH: &str = "crash";

pub(super) fn fmt(run: &mut Run) -> Result<Tally> {
    if run.is_missing(Tool::Rustfmt) {
        return Ok(run.could_not_run("rustfmt is missing"));
    }
    let clean = cargo::succeeds(cargo::cargo(&run.root).args(["fmt", "--all", "--check"]))?;
    Ok(Tally::verdict_of(clean, "run `cargo fmt --all`"))
}

pub(super) fn clippy(run: &mut Run) -> Result<Tally> {
    if run.is_missing(Tool::Clippy) {
        return Ok(run.could_not_run("clippy is missing"));
    }
    let mut command = cargo::cargo(&run.root);
    command.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
    Ok(Tally::verdict_of(cargo::succeeds(&mut command)?, "see above"))
}

pub(super) fn tidy(_: &mut Run) -> Result<Tally> {
    let score = rules::check(None)?;
    let reasons = if score.failed == 0 { Vec::new() } else { vec!["`cargo xtask tidy` says more".to_owned()] };
    Ok(Tally { passed: score.passed as u64, failed: score.failed as u64, reasons, ..Tally::default() })
}

pub(super) fn docs(run: &mut Run) -> Result<Tally> {
    let mut command = cargo::cargo(&run.root);
    // Asking for examples too makes cargo choose the features that tests have, so that other people's crates are the
    // same as for the lints and are not checked again.
    command.args(["doc", "--workspace", "--no-deps", "--lib", "--bins", "--examples", "--quiet"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    Ok(Tally::verdict_of(cargo::succeeds(&mut command)?, "see above"))
}

pub(super) fn tests(run: &mut Run) -> Result<Tally> {
    let mut build = cargo::cargo(&run.root);
    if !cargo::succeeds(build.args(["build", "--workspace", "--bins", "--tests"]))? {
        return Ok(Tally::failure("the tests do not build"));
    }
    let server = database(run)?;
    let graph = Graph::read(&run.root)?;
    let mut units = vec!["--lib".to_owned(), "--bins".to_owned()];
    for name in graph.test_targets().into_iter().filter(|name| *name != CRASH) {
        units.extend(["--test".to_owned(), name.to_owned()]);
    }
    let mut tally = cargo_test(run, server.as_ref(), &units)?;
    tally.add(cargo_test(run, server.as_ref(), &["--doc".to_owned()])?);
    explain_skipped(run, &mut tally);
    Ok(tally)
}

/// The private server, unless PostgreSQL is missing.
fn database(run: &Run) -> Result<Option<Server>> {
    if run.is_missing(Tool::Postgres) { Ok(None) } else { Server::start().map(Some) }
}

fn explain_skipped(run: &Run, tally: &mut Tally) {
    let absent: Vec<&str> =
        run.missing.iter().filter(|tool| tool.in_tests().is_some()).map(|tool| tool.name()).collect();
    if absent.is_empty() {
        return;
    }
    tally.reasons.push(format!("missing, so that tests which need it did not run: {}", absent.join(", ")));
    if run.ci {
        tally.failed += std::mem::take(&mut tally.skipped).max(1);
    }
}

pub(super) fn crash(run: &mut Run) -> Result<Tally> {
    if !Graph::read(&run.root)?.test_targets().contains(&CRASH) {
        return Ok(run.could_not_run("there is no test target `crash`"));
    }
    let mut build = cargo::cargo(&run.root);
    if !cargo::succeeds(build.args(["build", "--workspace", "--bins", "--tests"]))? {
        return Ok(Tally::failure("the crash campaign does not build"));
    }
    let server = database(run)?;
    let mut tally = cargo_test(run, server.as_ref(), &["--test".to_owned(), CRASH.to_owned()])?;
    explain_skipped(run, &mut tally);
    tally.reasons.push(format!("{} rounds", rounds(run)));
    Ok(tally)
}

/// The cryptography under AWS-LC's FIPS build, then the whole program with it, from end to end.
///
/// In a folder of its own, so that `target/debug/keyreeve` stays what everybody expects there.
pub(super) fn fips(run: &mut Run) -> Result<Tally> {
    if let Some(tool) = [Tool::Cmake, Tool::Go].into_iter().find(|tool| run.is_missing(*tool)) {
        return Ok(run.could_not_run(format!("{} is missing", tool.name())));
    }
    let folder = workspace::target_folder(&run.root).join("fips");
    let cargo = |arguments: &[&str]| {
        let mut command = cargo::cargo(&run.root);
        command.args(arguments).env("CARGO_TARGET_DIR", &folder);
        command
    };
    let mut tally = counted(&mut cargo(&["test", "--package", "keyreeve-crypto", "--features", "fips"]))?;
    if !cargo::succeeds(&mut cargo(&["build", "--package", "keyreeve", "--features", "fips"]))? {
        return Ok(Tally::failure("the program does not build with the FIPS build of AWS-LC"));
    }
    let server = database(run)?;
    let units = ["cli", "production"].map(|name| ["--test".to_owned(), name.to_owned()]).concat();
    let mut command = tests_of(run, server.as_ref(), &units);
    command.env("KEYREEVE_TEST_FIPS", "1").env("KEYREEVE_TEST_BINARY", folder.join("debug/keyreeve"));
    tally.add(counted(&mut command)?);
    explain_skipped(run, &mut tally);
    Ok(tally)
}

fn rounds(run: &Run) -> &'static str {
    if run.long { "200" } else { "20" }
}

fn cargo_test(run: &Run, server: Option<&Server>, targets: &[String]) -> Result<Tally> {
    counted(&mut tests_of(run, server, targets))
}

fn tests_of(run: &Run, server: Option<&Server>, targets: &[String]) -> Command {
    let mut command = cargo::cargo(&run.root);
    command.args(["test", "--workspace", "--no-fail-fast"]).args(targets);
    command.env("KEYREEVE_TEST_ALL", "1").env("KEYREEVE_CRASH_ROUNDS", rounds(run));
    command.env("KEYREEVE_TEST_BINARY", binary(run));
    if run.long {
        command.env("KEYREEVE_TEST_LONG", "1");
    }
    match server {
        Some(server) => command.env("KEYREEVE_TEST_POSTGRES", server.url()),
        None => command.env_remove("KEYREEVE_TEST_POSTGRES"),
    };
    command.arg("--").args(run.missing.iter().filter_map(|tool| tool.in_tests()).flat_map(|word| ["--skip", word]));
    command
}

fn binary(run: &Run) -> PathBuf {
    workspace::target_folder(&run.root).join("debug/keyreeve")
}

/// Runs `cargo test`, shows what is news, counts the rest.
fn counted(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot start cargo: {error}"))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if tally.read(&line) {
                println!("{line}");
            }
        }
    }
    let status = child.wait()?;
    // A test program that dies (signal, abort) prints no result: its failure must not be lost.
    if !status.success() && tally.failed == 0 {
        tally.add(Tally::failure(format!("cargo test ended with {status} without naming a failed test")));
    }
    Ok(tally)
}

pub(super) fn fuzz(run: &mut Run) -> Result<Tally> {
    if run.is_missing(Tool::Cxx) {
        return Ok(run.could_not_run("no C++ compiler for libFuzzer"));
    }
    let (depth, seconds) = if run.long { (Depth::Everything, 60) } else { (Depth::Ours, 3) };
    let fuzzer = Fuzzer::build(&run.root, depth)?;
    let mut tally = Tally::default();
    for target in fuzz::targets()? {
        let ended = fuzzer.run(&target, seconds)?;
        println!("  {target:<24} {}", ended.detail);
        tally.add(Tally::verdict_of(ended.clean, &format!("{target}: {}", ended.detail)));
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_that_dies_is_a_failure() {
        let tally = counted(Command::new("sh").args(["-c", "echo 'running 3 tests'; kill -SEGV $$"])).unwrap();
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }

    #[test]
    fn counts_come_from_the_output() {
        let line = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let tally = counted(Command::new("echo").arg(line)).unwrap();
        assert_eq!((tally.passed, tally.failed), (4, 0));
    }
}
