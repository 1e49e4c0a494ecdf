//! `cargo xtask test`: everything that must hold, in one command, with nothing skipped silently.

mod postgres;
mod steps;
mod tally;
mod tools;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use self::tally::Tally;
use self::tools::Tool;
use crate::{Result, workspace};

pub(crate) const USAGE: &str = "\
test [--long] [--fips] [--only STEP] [--list]   Runs every check and test; installs or finds what they need

  --long        200 crash rounds instead of 20, 50 of the other campaigns instead of 5, longer fuzzing
  --fips        also builds the program with AWS-LC's FIPS build and tests that (cmake, Go; some ten minutes more)
  --only STEP   runs one step (may be repeated)
  --list        names the steps

What the tests need and is not there is installed from the distribution's packages when this runs as root and
apt-get works; otherwise the command that installs it is printed, and what could not run counts as skipped. With
CI=true in the environment a missing component is a failure. The last line is always `N passed, N failed`, followed by
`, N skipped` when something was.

For those who write tests:
  PostgreSQL    A test that needs it has `postgres` in its path (module or function name) and reads the URL of a
                superuser on a private, empty server from KEYREEVE_TEST_POSTGRES; it makes its own database there.
                Without that variable it fails when KEYREEVE_TEST_ALL=1 is set (this command sets it), else it
                prints why it does nothing and returns.
  Other tools   Tests with `openssl::`, `curl::`, `python::`, `schemathesis::`, `aiosmtpd::`, `mounted::`,
                `faketime::`, `idp::` (Node and npm's oidc-provider), `slapd::`, `softhsm::`, `swtpm::`, `moto::`,
                `microsoft::`, `cloudkms::` (google-cloud-kms) or `transit::` (Vault) in their path are left out
                where that tool is missing.
  The binary    KEYREEVE_TEST_BINARY is the path of the `keyreeve` built for this run.
  Crashes       tests/tests/crash is a step of its own; KEYREEVE_CRASH_ROUNDS says how many rounds.
  Long runs     KEYREEVE_TEST_LONG=1 is set by --long.
  FIPS          KEYREEVE_TEST_FIPS=1 says that the binary under test is the FIPS build.
";

/// What a step may look at.
struct Run {
    root: PathBuf,
    long: bool,
    /// CI=true: what cannot run is a failure.
    ci: bool,
    missing: BTreeSet<Tool>,
}

impl Run {
    /// The result of something that could not run, and why.
    fn could_not_run(&self, why: impl Into<String>) -> Tally {
        let mut tally = Tally::default();
        *(if self.ci { &mut tally.failed } else { &mut tally.skipped }) += 1;
        tally.reasons.push(why.into());
        tally
    }

    fn is_missing(&self, tool: Tool) -> bool {
        self.missing.contains(&tool)
    }
}

struct Step {
    name: &'static str,
    what: &'static str,
    needs: &'static [Tool],
    run: fn(&mut Run) -> Result<Tally>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", what: "formatting", needs: &[Tool::Rustfmt], run: steps::fmt },
    Step { name: "tidy", what: "the rules of the house", needs: &[], run: steps::tidy },
    Step { name: "clippy", what: "lints, warnings are errors", needs: &[Tool::Clippy], run: steps::clippy },
    Step { name: "tests", what: "unit and integration tests", needs: tools::OF_TESTS, run: steps::tests },
    Step { name: "docs", what: "documentation builds without a warning", needs: &[], run: steps::docs },
    Step { name: "crash", what: "kill -9 under load, nothing lost", needs: tools::OF_CRASHES, run: steps::crash },
    Step { name: "fuzz", what: "every parser, a few seconds each", needs: &[Tool::Cxx], run: steps::fuzz },
];
/// Not among the others: it builds everything a second time.
const FIPS: Step =
    Step { name: "fips", what: "the FIPS build, tested (with --fips)", needs: tools::OF_FIPS, run: steps::fips };
const PREREQUISITES: &str = "prerequisites";

struct Line {
    step: &'static str,
    seconds: f64,
    tally: Tally,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut only = Vec::new();
    let (mut long, mut fips) = (false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--long" => long = true,
            "--fips" => fips = true,
            "--only" => only.push(rest.next().ok_or("--only needs the name of a step")?.as_str()),
            "--list" => return Ok(list()),
            other => return Err(format!("test knows no argument `{other}`\n\n{USAGE}").into()),
        }
    }
    let known = |name: &str| name == PREREQUISITES || all_steps().any(|step| step.name == name);
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        return Err(format!("there is no step `{unknown}`; `cargo xtask test --list` names them").into());
    }
    let chosen = chosen(&only, fips);
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    Ok(run_steps(&chosen, Run { root: workspace::root(), long, ci, missing: BTreeSet::new() }))
}

fn all_steps() -> impl Iterator<Item = &'static Step> {
    STEPS.iter().chain([&FIPS])
}

fn chosen(only: &[&str], fips: bool) -> Vec<&'static Step> {
    let by_default = |step: &Step| only.is_empty() && (fips || step.name != FIPS.name);
    all_steps().filter(|step| by_default(step) || only.contains(&step.name)).collect()
}

fn list() -> ExitCode {
    println!("{PREREQUISITES:<14} finds or installs what the tests need");
    for step in all_steps() {
        println!("{:<14} {}", step.name, step.what);
    }
    ExitCode::SUCCESS
}

fn run_steps(chosen: &[&Step], mut run: Run) -> ExitCode {
    let total = chosen.len() + 1;
    println!("==> [1/{total}] {PREREQUISITES}");
    let started = Instant::now();
    let needs: BTreeSet<Tool> = match chosen {
        [] => Tool::ALL.into_iter().collect(),
        steps => steps.iter().flat_map(|step| step.needs.iter().copied()).collect(),
    };
    run.missing = tools::find_or_install(&run.root, &needs);
    let mut lines = vec![Line {
        step: PREREQUISITES,
        seconds: started.elapsed().as_secs_f64(),
        tally: tools::tally(&needs, &run.missing),
    }];
    for (index, step) in chosen.iter().enumerate() {
        println!("\n==> [{}/{total}] {}: {}", index + 2, step.name, step.what);
        let started = Instant::now();
        let tally = (step.run)(&mut run).unwrap_or_else(|error| Tally::failure(error.to_string()));
        lines.push(Line { step: step.name, seconds: started.elapsed().as_secs_f64(), tally });
    }
    summary(&lines)
}

fn summary(lines: &[Line]) -> ExitCode {
    println!("\n{:<14} {:<8} {:>8}  detail", "step", "result", "seconds");
    for line in lines {
        println!("{:<14} {:<8} {:>8.1}  {}", line.step, line.tally.verdict(), line.seconds, line.tally.detail());
    }
    let mut total = Tally::default();
    for line in lines {
        total.add(line.tally.clone());
    }
    let seconds: f64 = lines.iter().map(|line| line.seconds).sum();
    println!("{:<14} {:<8} {seconds:>8.1}\n", "all", total.verdict());
    println!("{}", total.last_line());
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fips_build_is_tested_when_it_is_asked_for() {
        let names = |only: &[&str], fips| chosen(only, fips).iter().map(|step| step.name).collect::<Vec<_>>();
        assert!(!names(&[], false).contains(&"fips") && names(&[], true).contains(&"fips"));
        assert_eq!((names(&["fips"], false), names(&["fmt"], false)), (vec!["fips"], vec!["fmt"]));
    }

    #[test]
    fn what_cannot_run_is_counted_and_fails_in_ci() {
        let run = |ci| Run { root: PathBuf::new(), long: false, ci, missing: BTreeSet::new() };
        let [here, ci] = [false, true].map(|ci| run(ci).could_not_run("no compiler"));
        assert_eq!((here.failed, here.skipped, ci.failed, ci.skipped), (0, 1, 1, 0));
        assert!(here.detail().contains("no compiler"));
    }
}
