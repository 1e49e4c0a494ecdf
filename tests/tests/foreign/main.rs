//! Other people's tools on what Keyreeve makes, and Keyreeve on what they make.
#![allow(clippy::unwrap_used)]

mod curl;
mod openssl;
mod python;
mod schemathesis;
mod transport;

use keyreeve_tests::{Api, Cli, Dev};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A development server, and a directory in which other programs run.
struct Bench {
    dev: Dev,
    api: Api,
    cli: Cli,
    home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        let (api, cli) = (dev.api(), dev.cli());
        Self { dev, api, cli, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The public half of a key, as PEM in a file.
    fn public(&self, key: &str, name: &str) {
        let found = self.api.get(&format!("/v1/keys/{key}/public-key")).ok();
        self.write(name, found["pem"].as_str().unwrap());
    }

    fn output(&self, program: &str, words: &[&str]) -> Output {
        Command::new(program).args(words).current_dir(self.home.path()).output().unwrap()
    }

    /// Runs a program that must succeed; what it wrote.
    #[track_caller]
    fn run(&self, program: &str, words: &[&str]) -> Vec<u8> {
        let output = self.output(program, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let wrote = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} {words:?}\n{wrote}\n{said}");
        output.stdout
    }
}

/// Whether a program is there; said aloud where it is not.
fn have(program: &str, asking: &[&str]) -> bool {
    let found = Command::new(program).args(asking).output().is_ok_and(|output| output.status.success());
    if !found {
        keyreeve_tests::not_run(&format!("`{program} {}` does not work", asking.join(" ")));
    }
    found
}
