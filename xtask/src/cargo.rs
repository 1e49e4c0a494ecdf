//! Starting cargo and other programs from a chore.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// A cargo command line that runs in the workspace root.
///
/// `cargo run` tells the program it starts about the package it was built from. Handed on to a nested cargo these
/// variables reach build scripts, and some of those rebuild when they differ: they are removed.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if describes_a_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn describes_a_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_")
        || matches!(&*name, "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_BIN_NAME" | "CARGO_CRATE_NAME")
        || matches!(&*name, "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

/// Runs a command to its end, showing what it prints; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("cannot start {program}: {error}"))?;
    Ok(status.success())
}

/// Runs a command quietly; its standard output when it succeeded, `None` when it failed or is not installed.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The target triple of this machine, as rustc names it.
pub(crate) fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = output_of(Command::new(rustc).arg("-vV")).ok_or("cannot run `rustc -vV`")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("`rustc -vV` names no host")?.to_owned())
}
