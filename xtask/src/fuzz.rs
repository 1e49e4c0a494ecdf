//! Fuzzing on the stable toolchain: plain sanitizer coverage flags, no cargo-fuzz, no nightly.
//!
//! There are two ways to build the targets. [`Depth::Ours`] gives the flags to our own crates only and takes everything
//! else as the tests have built it: that is quick, and what `cargo xtask test` does. [`Depth::Everything`] has a folder
//! of its own and builds all crates with the flags, so that the fuzzer sees its way through Cedar's parser too.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::{Result, cargo, tidy, workspace};

pub(crate) const USAGE: &str = "\
fuzz TARGET [SECONDS]                     Runs one fuzz target longer (60 s unless said otherwise)

  --list   names the targets; fuzz/PARSERS.md says what each one reads

Needs a C++ compiler (libFuzzer). Inputs found are kept in fuzz/corpus/TARGET, failures in fuzz/artifacts/TARGET; run
a failure again by giving its file to the target's binary. Put a shrunk failure into fuzz/seeds/TARGET for ever.
";

/// What libFuzzer needs to see where an input leads: edge counters, compared values, a table of positions.
const COVERAGE_FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Our crates as [`Depth::Everything`] has them by its profile: quick, and with every check.
const QUICK_FLAGS: &str = "-Copt-level=2 -Cdebug-assertions=on -Coverflow-checks=on";

/// The package, and the feature without which nothing of it is built.
const FEATURE: &str = "keyreeve-fuzz/libfuzzer";

/// Below this a run has not tried anything, whatever it reports.
const FEWEST_EXECUTIONS: u64 = 100;

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let names = targets()?;
    let (target, seconds) = match arguments {
        [flag] if flag == "--list" => {
            names.iter().for_each(|name| println!("{name}"));
            return Ok(ExitCode::SUCCESS);
        }
        [target] => (target, 60),
        [target, seconds] => (target, seconds.parse().map_err(|_| format!("`{seconds}` is not a number of seconds"))?),
        _ => return Err(format!("fuzz takes a target and seconds\n\n{USAGE}").into()),
    };
    if !names.contains(target) {
        return Err(format!("there is no fuzz target `{target}`; there are: {}", names.join(", ")).into());
    }
    let fuzzer = Fuzzer::build(&workspace::root(), Depth::Everything)?;
    let outcome = fuzzer.run(target, seconds)?;
    println!("{target}: {}", outcome.detail);
    Ok(if outcome.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of the fuzz targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    let manifest = std::fs::read_to_string(workspace::root().join("fuzz/Cargo.toml"))?;
    Ok(tidy::fuzz_targets(&manifest))
}

/// How far the fuzzer sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Into our own crates.
    Ours,
    /// Into every crate.
    Everything,
}

/// Built targets.
pub(crate) struct Fuzzer {
    folder: PathBuf,
    binaries: PathBuf,
}

/// How a run of one target ended.
pub(crate) struct Ended {
    pub(crate) clean: bool,
    pub(crate) detail: String,
}

impl Fuzzer {
    pub(crate) fn build(root: &Path, depth: Depth) -> Result<Self> {
        let (mut build, binaries) = match depth {
            Depth::Ours => quick(root)?,
            Depth::Everything => thorough(root)?,
        };
        if !cargo::succeeds(&mut build)? {
            return Err("the fuzz targets do not build".into());
        }
        Ok(Self { binaries, folder: root.join("fuzz") })
    }

    pub(crate) fn run(&self, target: &str, seconds: u64) -> Result<Ended> {
        let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| self.folder.join(kind).join(target));
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(self.binaries.join(target));
        command.arg(&corpus);
        let seeds = self.folder.join("seeds").join(target);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        command.args([
            &format!("-max_total_time={seconds}"),
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ]);
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        let output = command.output().map_err(|error| format!("cannot start fuzz target {target}: {error}"))?;
        let log = String::from_utf8_lossy(&output.stderr);
        let ended = judge(&log, output.status.success());
        if !ended.clean {
            eprintln!("{log}");
        }
        Ok(ended)
    }
}

/// Over the whole workspace, as the tests are built: other packages would choose other features.
fn quick(root: &Path) -> Result<(Command, PathBuf)> {
    let mut build = cargo::cargo(root);
    build.args(["build", "--workspace", "--features", FEATURE]);
    build.args(targets()?.iter().flat_map(|name| ["--bin", name]));
    build.env("RUSTC_WORKSPACE_WRAPPER", root.join("fuzz/rustc"));
    build.env("KEYREEVE_FUZZ_FLAGS", format!("{COVERAGE_FLAGS} {QUICK_FLAGS}"));
    Ok((build, workspace::target_folder(root).join("debug")))
}

/// With `--target` the flags reach all crates and not the build scripts, which have no fuzzer to link with.
fn thorough(root: &Path) -> Result<(Command, PathBuf)> {
    let host = cargo::host_triple()?;
    let mut build = cargo::cargo(root);
    build.args(["build", "--package", "keyreeve-fuzz", "--features", FEATURE, "--bins", "--profile", "fuzz"]);
    build.args(["--target-dir", "fuzz/target", "--target", &host]);
    build.env("RUSTFLAGS", COVERAGE_FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok((build, root.join("fuzz/target").join(host).join("fuzz")))
}

fn judge(log: &str, success: bool) -> Ended {
    let executions = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executions: u64 = executions.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    let ended = |clean: bool, detail: String| Ended { clean, detail };
    if !success {
        return ended(false, "an input was found that fails; its file is named above".to_owned());
    }
    if !log.contains("inline 8-bit counters") {
        return ended(false, "the target carries no coverage counters, so the run was blind".to_owned());
    }
    ended(executions >= FEWEST_EXECUTIONS, format!("{executions} inputs tried"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_tried_nothing_or_saw_nothing_is_not_clean() {
        let counters = "INFO: Loaded 1 modules (912 inline 8-bit counters)\n";
        let tried = "stat::number_of_executed_units: 5000\n";
        assert!(judge(&format!("{counters}{tried}"), true).clean);
        assert!(!judge(&format!("{counters}{tried}"), false).clean);
        assert!(!judge(tried, true).clean);
        assert!(!judge(counters, true).clean);
    }
}
