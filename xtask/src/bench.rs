//! `cargo xtask bench`: builds server and benchmark in release and prints ratios.

use std::process::{Command, ExitCode};

use crate::Result;
use crate::cargo::{cargo, succeeds};
use crate::workspace;

pub(crate) const USAGE: &str = "\
bench [--long] [[--only] NAME]   measure Keyreeve beside a bare server and raw library calls

Prints ratios as a table for docs/performance.md. Nothing else should run meanwhile. --long adds a million keys
(about half an hour more). NAME is the beginning of a comparison: encrypt, decrypt, sign, batch, octets, access (500
policies and 10,000 principals beside few), scale.
";

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root();
    let mut build = cargo(&root);
    build.args(["build", "--release", "--package", "keyreeve", "--package", "keyreeve-bench"]);
    if !succeeds(&mut build)? {
        return Err("the release build failed".into());
    }
    let programs = workspace::target_folder(&root).join("release");
    let mut bench = Command::new(programs.join("keyreeve-bench"));
    bench.arg("run").arg(programs.join("keyreeve")).args(arguments);
    Ok(if succeeds(&mut bench)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
