//! The command line as people and scripts use it, on a server that `keyreeve dev` has just started.
#![allow(clippy::unwrap_used)]

mod access;
mod audit;
mod ceremony;
mod files;
mod keys;
mod stream;
mod usage;
mod uses;

use keyreeve_tests::{Cli, Dev};
use std::path::PathBuf;

/// A development server and somebody in the directory it was started in.
struct Desk {
    dev: Dev,
    cli: Cli,
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        let cli = dev.cli();
        Self { dev, cli, home }
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

    fn key(&self, alias: &str, more: &[&str]) {
        let _ = self.cli.ok(&[&["key", "create", "--alias", alias], more].concat());
    }
}
