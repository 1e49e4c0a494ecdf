//! What the tests need besides a Rust toolchain and a C compiler: found, or installed where that is allowed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::postgres;
use super::tally::Tally;
use crate::{cargo, workspace};

/// A component of the machine that some step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Rustfmt,
    Clippy,
    Cxx,
    Postgres,
    Openssl,
    Curl,
    Python,
    Schemathesis,
    Aiosmtpd,
    Mounts,
    Faketime,
    Cmake,
    Go,
}

/// What the tests need besides cargo.
pub(super) const OF_TESTS: &[Tool] =
    &[Tool::Postgres, Tool::Openssl, Tool::Curl, Tool::Python, Tool::Schemathesis, Tool::Aiosmtpd, Tool::Mounts, Tool::Faketime];

/// What the FIPS build of the cryptographic module needs besides, and the tests that are run on it.
pub(super) const OF_FIPS: &[Tool] =
    &[Tool::Cmake, Tool::Go, Tool::Postgres, Tool::Openssl, Tool::Curl, Tool::Python, Tool::Mounts, Tool::Faketime];

/// The version whose options the tests use.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// The version that the receiver in tests/access/smtp.py was written for.
const AIOSMTPD: &str = "aiosmtpd==1.4.6";

impl Tool {
    pub(super) const ALL: [Self; 13] = [
        Self::Rustfmt,
        Self::Clippy,
        Self::Cxx,
        Self::Postgres,
        Self::Openssl,
        Self::Curl,
        Self::Python,
        Self::Schemathesis,
        Self::Aiosmtpd,
        Self::Mounts,
        Self::Faketime,
        Self::Cmake,
        Self::Go,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rustfmt => "rustfmt",
            Self::Clippy => "clippy",
            Self::Cxx => "C++ compiler",
            Self::Postgres => "PostgreSQL server",
            Self::Openssl => "OpenSSL",
            Self::Curl => "curl",
            Self::Python => "Python",
            Self::Schemathesis => "schemathesis",
            Self::Aiosmtpd => "aiosmtpd",
            Self::Mounts => "mount namespaces",
            Self::Faketime => "faketime",
            Self::Cmake => "cmake",
            Self::Go => "Go",
        }
    }

    /// What the paths of tests contain that need it.
    pub(super) fn in_tests(self) -> Option<&'static str> {
        match self {
            Self::Rustfmt | Self::Clippy | Self::Cxx | Self::Cmake | Self::Go => None,
            Self::Postgres => Some("postgres"),
            Self::Openssl => Some("openssl::"),
            Self::Curl => Some("curl::"),
            Self::Python => Some("python::"),
            Self::Schemathesis => Some("schemathesis::"),
            Self::Aiosmtpd => Some("aiosmtpd::"),
            Self::Mounts => Some("mounted::"),
            Self::Faketime => Some("faketime::"),
        }
    }

    fn needed_for(self) -> &'static str {
        match self {
            Self::Rustfmt => "the formatting check",
            Self::Clippy => "the lints",
            Self::Cxx => "libFuzzer",
            Self::Postgres => "the PostgreSQL driver's tests",
            Self::Openssl => "signatures and keys across programs",
            Self::Curl => "the interface in another program's hands",
            Self::Python => "verifiers written from the specifications",
            Self::Schemathesis => "what the OpenAPI document promises",
            Self::Aiosmtpd => "mail to a server that is not ours",
            Self::Mounts => "full and read-only disks",
            Self::Faketime => "what happens after days",
            Self::Cmake | Self::Go => "the FIPS build of AWS-LC",
        }
    }

    fn find(self, root: &Path) -> Option<String> {
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let asked = |program: &str| cargo::output_of(Command::new(program).arg("--version")).map(first_line);
        match self {
            Self::Rustfmt => asked("cargo-fmt").and(asked("rustfmt")),
            Self::Clippy => asked("cargo-clippy"),
            Self::Cxx => asked(&std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())),
            Self::Postgres => postgres::programs().and_then(|folder| asked(&folder.join("postgres").to_string_lossy())),
            Self::Openssl => cargo::output_of(Command::new("openssl").arg("version")),
            Self::Curl => asked("curl"),
            Self::Python => {
                let imports = Command::new("python3").args(["-c", "import cryptography, venv, ensurepip"]).output();
                imports.ok().filter(|output| output.status.success()).and_then(|_| asked("python3"))
            }
            Self::Faketime => asked("faketime"),
            Self::Cmake => asked("cmake"),
            Self::Go => cargo::output_of(Command::new("go").arg("version")),
            Self::Schemathesis => asked(&environment(root, "schemathesis").join("bin/schemathesis").to_string_lossy()),
            Self::Aiosmtpd => asked(&environment(root, "aiosmtpd").join("bin/aiosmtpd").to_string_lossy()),
            Self::Mounts => {
                let how = if is_root() { "-m" } else { "-rm" };
                let made =
                    cargo::output_of(Command::new("unshare").args([how, "mount", "-t", "tmpfs", "none", "/mnt"]));
                made.and_then(|_| asked("unshare"))
            }
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Rustfmt => Source::Rustup("rustfmt"),
            Self::Clippy => Source::Rustup("clippy"),
            Self::Cxx => Source::Apt(&["g++"]),
            Self::Postgres => Source::Apt(&["postgresql"]),
            Self::Openssl => Source::Apt(&["openssl"]),
            Self::Curl => Source::Apt(&["curl"]),
            Self::Python => Source::Apt(&["python3", "python3-cryptography", "python3-venv"]),
            Self::Schemathesis => Source::Pip { environment: "schemathesis", package: SCHEMATHESIS },
            Self::Aiosmtpd => Source::Pip { environment: "aiosmtpd", package: AIOSMTPD },
            Self::Mounts => Source::Permission,
            Self::Faketime => Source::Apt(&["faketime"]),
            Self::Cmake => Source::Apt(&["cmake"]),
            Self::Go => Source::Apt(&["golang-go"]),
        }
    }

    fn install_command(self) -> String {
        match self.source() {
            Source::Rustup(component) => format!("rustup component add {component}"),
            Source::Apt(packages) => {
                let packages = packages.join(" ");
                format!("apt-get update && apt-get install --no-install-recommends {packages}")
            }
            Source::Pip { environment, package } => {
                format!("python3 -m venv target/{environment}, then its pip installs {package}")
            }
            Source::Permission => "run as root, or where users may make namespaces".to_owned(),
        }
    }
}

enum Source {
    Rustup(&'static str),
    Apt(&'static [&'static str]),
    /// Into an environment of its own.
    Pip {
        environment: &'static str,
        package: &'static str,
    },
    /// Nothing that can be installed.
    Permission,
}

/// Where what comes from Python's package index lives.
fn environment(root: &Path, name: &str) -> PathBuf {
    workspace::target_folder(root).join(name)
}

/// Finds the tools, installs what is missing where it may; what is missing still.
pub(super) fn find_or_install(root: &Path, needs: &BTreeSet<Tool>) -> BTreeSet<Tool> {
    let absent: Vec<Tool> = needs.iter().copied().filter(|tool| tool.find(root).is_none()).collect();
    install(root, &absent);
    let mut missing = BTreeSet::new();
    for tool in needs {
        match tool.find(root) {
            Some(version) => println!("  {:<18} {version}", tool.name()),
            None => {
                println!("  {:<18} MISSING, needed for {}: {}", tool.name(), tool.needed_for(), tool.install_command());
                missing.insert(*tool);
            }
        }
    }
    missing
}

fn install(root: &Path, absent: &[Tool]) {
    let (mut packages, mut from_index) = (Vec::new(), Vec::new());
    for tool in absent {
        match tool.source() {
            Source::Rustup(component) => {
                ran(Command::new("rustup").args(["component", "add", component]));
            }
            Source::Apt(names) => packages.extend(names),
            Source::Pip { environment, package } => from_index.push((environment, package)),
            Source::Permission => {}
        }
    }
    install_packages(&packages);
    for (name, package) in from_index {
        let environment = environment(root, name);
        println!("  installing {package} in {}", environment.display());
        if ran(Command::new("python3").args(["-m", "venv"]).arg(&environment)) {
            ran(Command::new(environment.join("bin/pip")).args(["install", "--quiet", package]));
        }
    }
}

fn install_packages(packages: &[&str]) {
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
