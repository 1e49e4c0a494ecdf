//! kill -9 while backups are made under load, and in the middle of restoring one: every backup that was acknowledged
//! can be read, and a restore that was interrupted is done again and has everything.

use keyreeve_tests::{Chance, Cli, Layout, Production, Server};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::campaign::Campaign;
use crate::site::{Callers, Site, Started};
use crate::{rounds, tell};

/// A deployment that makes backups all the time.
struct BackedUp {
    production: Production,
    /// Numbers of the backups that were acknowledged.
    made: Vec<u64>,
    /// Those of them that were read again after a crash.
    verified: usize,
}

fn layout(destination: &Path) -> Layout {
    let more = format!(
        "[backup]\nevery_hours = 0\nverify_hours = 0\n\
         [backup.destinations.vault]\nkind = \"directory\"\npath = \"{}\"\n",
        destination.display()
    );
    Layout { more, ..Layout::default() }
}

impl BackedUp {
    fn new(home: &Path, destination: &Path) -> Self {
        Self { production: Production::prepare(home, &layout(destination)), made: Vec::new(), verified: 0 }
    }

    /// Reads the newest backup that was acknowledged before the crash, from its beginning to its end.
    fn check(&mut self, cli: &Cli) {
        let Some(newest) = self.made.last().filter(|_| self.made.len() > self.verified) else { return };
        let found = cli.json(&["backup", "verify", &newest.to_string(), "--at", "vault"]);
        assert_eq!(found[0][1]["sequence"], *newest, "{found}");
        self.verified = self.made.len();
    }
}

/// Makes a backup; none once the server is gone, and no number while one from before a crash goes on.
fn back_up(cli: &Cli) -> Option<Option<u64>> {
    let done = cli.run(&["backup", "create", "--output", "json"]);
    match done.code {
        0 => Some(Some(done.json()["backup"].as_u64().unwrap())),
        5 => Some(None),
        _ => None,
    }
}

impl Site for BackedUp {
    fn start(&mut self) -> Started {
        let is_new = self.production.shares.is_empty();
        let up = if is_new { self.production.start_new() } else { self.production.start_open() };
        let cli = self.production.cli(&up, &self.production.people.operator);
        self.check(&cli);
        Started::new(&self.production, up)
    }

    fn besides<'a>(&'a mut self, _people: &Callers) -> Box<dyn FnOnce() + Send + 'a> {
        let cli = Cli::new(&self.production.home).with_profile(&self.production.home.join("client.toml"));
        Box::new(move || {
            while let Some(made) = back_up(&cli) {
                self.made.extend(made);
            }
        })
    }

    fn home(&self) -> &Path {
        &self.production.home
    }

    fn log_dir(&self) -> PathBuf {
        self.production.log_dir()
    }

    fn log_keys(&self) -> Vec<String> {
        self.production.log_keys.clone()
    }
}

/// A new machine for the same people.
struct Fresh {
    home: tempfile::TempDir,
    production: Production,
}

impl Fresh {
    fn new(old: &Production, destination: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut production = Production::prepare(home.path(), &layout(destination));
        production.shares.clone_from(&old.shares);
        production.people = old.people.clone();
        production.log_keys.clone_from(&old.log_keys);
        let shares = home.path().join("shares.txt");
        std::fs::write(&shares, old.shares[..2].join("\n")).unwrap();
        std::fs::set_permissions(&shares, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { home, production }
    }

    const WORDS: [&str; 8] =
        ["restore", "--config", "keyreeve.toml", "--from", "vault", "--shares", "shares.txt", "--keep-tokens"];

    /// Restores to the end; how long it took.
    fn restore(&self) -> Duration {
        let began = Instant::now();
        let _ = Cli::new(self.home.path()).run(&Self::WORDS).code(0);
        began.elapsed()
    }

    /// Begins to restore, and is killed after this time.
    fn restore_and_kill(&self, after: Duration) {
        let mut command = Cli::new(self.home.path()).command(&Self::WORDS);
        let server = Server::spawn(&mut command);
        // Nothing tells when; that is the point.
        let (_never, pause) = std::sync::mpsc::channel::<()>();
        let _ = pause.recv_timeout(after);
        server.kill();
    }

    /// A server over half a restore does not start. Whether it was half of one.
    fn is_half_done(&self) -> bool {
        let half = self.home.path().join("data/restoring").exists();
        if half {
            let refused = Cli::new(self.home.path()).run(&["serve", "--config", "keyreeve.toml"]).code(2);
            assert!(refused.stderr.contains("restore") || refused.text().contains("restore"), "{refused}");
        }
        half
    }
}

#[test]
fn backups_and_restores_survive_every_crash() {
    let seed = Chance::seed();
    tell(&format!("KEYREEVE_TEST_SEED={seed}"));
    let (home, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let destination = disk.path().join("vault");
    let rounds = (rounds() / 4).max(1);
    let mut campaign = Campaign::new(BackedUp::new(home.path(), &destination), seed);
    campaign.run(rounds);
    tell(&format!("{} backups were acknowledged", campaign.site.made.len()));
    let started = campaign.site.start();
    let cli = Cli::new(home.path()).with_profile(&home.path().join("client.toml"));
    // One that goes on was begun before what was acknowledged last.
    let last = std::iter::repeat_with(|| back_up(&cli)).find(|made| *made != Some(None));
    assert!(last.flatten().is_some(), "no backup is made");
    started.kill();
    let took = Fresh::new(&campaign.site.production, &destination).restore();
    let mut half_done = 0;
    for round in 0..rounds {
        let fresh = Fresh::new(&campaign.site.production, &destination);
        let after = took.mul_f64(campaign.chance.below(1000) as f64 / 1000.0);
        fresh.restore_and_kill(after);
        half_done += usize::from(fresh.is_half_done());
        // It may have come to its end before it was killed: then there is nothing to do again.
        let again = Cli::new(fresh.home.path()).run(&Fresh::WORDS);
        assert!(again.code == 0 || again.stderr.contains("not empty"), "{again}");
        let started = Started::new(&fresh.production, fresh.production.start_open());
        campaign.check_callers(&started, true);
        assert!(started.stop().success());
        tell(&format!("restore {round}: killed after {} ms of {} ms", after.as_millis(), took.as_millis()));
    }
    tell(&format!("{half_done} of {rounds} restores were interrupted half-way"));
}
