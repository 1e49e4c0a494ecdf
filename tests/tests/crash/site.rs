//! The two places that are crashed: development mode on SQLite, production on PostgreSQL.

use keyreeve_tests::{Dev, Endpoint, Layout, Production, Server, Up};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Who may do what, ready to be used.
pub(crate) struct Callers {
    /// Manages access.
    pub(crate) operator: Endpoint,
    /// Manages keys.
    pub(crate) keeper: Endpoint,
    /// Uses keys.
    pub(crate) user: Endpoint,
    /// Reads the log.
    pub(crate) auditor: Endpoint,
}

/// A server that is open.
pub(crate) struct Started {
    pub(crate) server: Server,
    pub(crate) people: Callers,
}

impl Started {
    /// A server in production whose people are known.
    pub(crate) fn new(production: &Production, up: Up) -> Self {
        let named = |token: &str| up.endpoint("all").with_token(token);
        let people = &production.people;
        let people = Callers {
            operator: named(&people.operator),
            keeper: named(&people.keeper),
            user: named(&people.user),
            auditor: named(&people.auditor),
        };
        Self { server: up.server, people }
    }

    pub(crate) fn kill(self) {
        self.server.kill();
    }

    pub(crate) fn stop(self) -> ExitStatus {
        self.server.terminate()
    }
}

/// A deployment that outlives its servers.
pub(crate) trait Site {
    /// Starts a server and opens it.
    fn start(&mut self) -> Started;

    /// What is done beside the callers, until the server is gone.
    fn besides<'a>(&'a mut self, _people: &Callers) -> Box<dyn FnOnce() + Send + 'a> {
        Box::new(|| {})
    }

    fn home(&self) -> &Path;
    fn log_dir(&self) -> PathBuf;
    fn log_keys(&self) -> Vec<String>;
}

pub(crate) struct DevSite {
    home: PathBuf,
    log_keys: Vec<String>,
}

impl DevSite {
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), log_keys: Vec::new() }
    }
}

impl Site for DevSite {
    fn start(&mut self) -> Started {
        let dev = Dev::start(&self.home);
        let keys = dev.log_keys();
        assert!(self.log_keys.is_empty() || self.log_keys == keys, "the keys of the log are others after a crash");
        self.log_keys = keys;
        let all = || dev.endpoint.clone();
        let people = Callers { operator: all(), keeper: all(), user: all(), auditor: all() };
        Started { server: dev.server, people }
    }

    fn home(&self) -> &Path {
        &self.home
    }

    fn log_dir(&self) -> PathBuf {
        self.home.join(".keyreeve-dev/audit/log")
    }

    fn log_keys(&self) -> Vec<String> {
        self.log_keys.clone()
    }
}

pub(crate) struct ProductionSite(Production);

impl ProductionSite {
    pub(crate) fn new(home: &Path, database: &str) -> Self {
        let layout = Layout { postgres: Some(database.to_owned()), ..Layout::default() };
        Self(Production::prepare(home, &layout))
    }
}

impl Site for ProductionSite {
    fn start(&mut self) -> Started {
        let up = if self.0.shares.is_empty() { self.0.start_new() } else { self.0.start_open() };
        Started::new(&self.0, up)
    }

    fn home(&self) -> &Path {
        &self.0.home
    }

    fn log_dir(&self) -> PathBuf {
        self.0.log_dir()
    }

    fn log_keys(&self) -> Vec<String> {
        self.0.log_keys.clone()
    }
}
