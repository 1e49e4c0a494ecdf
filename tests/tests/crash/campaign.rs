//! A campaign: rounds of load, kill and comparison over one site.

use keyreeve_tests::{Chance, Cli, log};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::caller::Caller;
use crate::ledger::Ledger;
use crate::site::{Site, Started};
use crate::tell;

/// Callers at the same time.
const CALLERS: usize = 6;
/// A round is over after so many acknowledgements at most.
const MOST_ACKNOWLEDGED: usize = 400;
/// A round is over after this time at the latest.
const LONGEST_LOAD: Duration = Duration::from_secs(3);
/// Jobs that were interrupted end within this time.
const JOBS_END: Duration = Duration::from_secs(60);
/// Records whose proofs are asked for in each round (count).
const PROOFS: usize = 3;

/// What is known of the log from one round to the next.
#[derive(Default)]
struct Log {
    checkpoint: Option<keyreeve_audit::Checkpoint>,
    kept: Option<PathBuf>,
}

pub(crate) struct Campaign<S> {
    pub(crate) site: S,
    pub(crate) chance: Chance,
    ledgers: Vec<Ledger>,
    log: Log,
}

impl<S: Site> Campaign<S> {
    pub(crate) fn new(site: S, seed: u64) -> Self {
        let ledgers = (0..CALLERS).map(Ledger::new).collect();
        Self { site, chance: Chance::new(seed), ledgers, log: Log::default() }
    }

    pub(crate) fn run(&mut self, rounds: usize) {
        let mut started = self.site.start();
        for round in 0..rounds {
            let began = Instant::now();
            let acknowledged = self.load_and_kill(round, started);
            self.check_what_a_crash_leaves();
            started = self.site.start();
            self.check_callers(&started, round + 1 == rounds);
            self.check_log(&started);
            let records: usize = self.ledgers.iter().map(|ledger| ledger.records.len()).sum();
            let took = began.elapsed().as_millis();
            tell(&format!("round {round}: {acknowledged} acknowledged, {records} records so far, {took} ms"));
        }
        self.check_jobs(&started);
        self.check_command_line(&started);
        assert!(started.stop().success());
    }

    /// Lets all callers work until the chance moment, then kills.
    fn load_and_kill(&mut self, round: usize, started: Started) -> usize {
        let target = 1 + self.chance.below(MOST_ACKNOWLEDGED);
        let (acknowledge, acknowledgements) = mpsc::channel();
        let seeds: Vec<u64> = self.ledgers.iter().map(|_| self.chance.bits()).collect();
        let mut count = 0;
        std::thread::scope(|scope| {
            for (ledger, seed) in self.ledgers.iter_mut().zip(seeds) {
                let caller = Caller::new(&started.people, ledger, Chance::new(seed), round, acknowledge.clone());
                scope.spawn(move || caller.work());
            }
            drop(acknowledge);
            let besides = self.site.besides(&started.people);
            scope.spawn(besides);
            let deadline = Instant::now() + LONGEST_LOAD;
            while count < target {
                let left = deadline.saturating_duration_since(Instant::now());
                match acknowledgements.recv_timeout(left) {
                    Ok(()) => count += 1,
                    // All callers gone before the server was killed: one of them failed, and its panic comes out of the
                    // scope.
                    Err(_) => break,
                }
            }
            started.kill();
        });
        count
    }

    /// Whoever copies the log of a dead server has a log that verifies.
    fn check_what_a_crash_leaves(&self) {
        let directory = self.site.log_dir();
        if directory.join("checkpoint").exists() {
            let _ = log::verify(&directory, &self.site.log_keys(), self.log.checkpoint.as_ref());
        }
    }

    /// In the last round everything is looked at again, in the others the newest and a sample.
    pub(crate) fn check_callers(&mut self, started: &Started, everything: bool) {
        let chance = &mut self.chance;
        for ledger in &mut self.ledgers {
            ledger.check(&started.people, chance, everything);
        }
    }

    pub(crate) fn check_log(&mut self, started: &Started) {
        let auditor = started.people.auditor.api();
        let answer = auditor.get("/v1/audit/checkpoint");
        assert_eq!(answer.status, 200, "{answer}");
        let keys = self.site.log_keys();
        let verified = log::verify(&self.site.log_dir(), &keys, self.log.checkpoint.as_ref());
        let records: Vec<&String> = self.ledgers.iter().flat_map(|ledger| &ledger.records).collect();
        for record in &records {
            assert!(
                verified.places.contains_key(*record),
                "the record {record} of an acknowledged operation is missing"
            );
        }
        for _ in 0..PROOFS.min(records.len()) {
            let record = records[self.chance.below(records.len())];
            let proof = auditor.get(&format!("/v1/audit/records/{record}/proof")).ok();
            let proved = log::check_proof(&proof, &keys);
            assert_eq!(
                (proved["id"].as_str(), proof["index"].as_u64()),
                (Some(record.as_str()), Some(verified.places[record]))
            );
        }
        if self.log.kept.is_none() {
            let kept = self.site.home().join("first.checkpoint");
            std::fs::write(&kept, &answer.body).unwrap();
            self.log.kept = Some(kept);
        }
        self.log.checkpoint = Some(verified.checkpoint);
    }

    /// What crashes interrupted was gone on with: every rotation of key-encryption keys comes to its end.
    pub(crate) fn check_jobs(&self, started: &Started) {
        let keeper = started.people.keeper.api();
        let deadline = Instant::now() + JOBS_END;
        // Nobody tells of it, so it is asked now and then.
        let (_asking, pause) = mpsc::channel::<()>();
        loop {
            let jobs = keeper.get("/v1/jobs?limit=1000").ok();
            if jobs["items"].as_array().unwrap().is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "jobs come to no end: {jobs}");
            let _ = pause.recv_timeout(Duration::from_millis(50));
        }
        let ended = keeper.get("/v1/jobs?ended=true&limit=1000").ok();
        let states = ended["items"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap());
        assert!(states.clone().count() > 0 && states.clone().all(|state| state == "done"), "{ended}");
    }

    /// The same verdict from the program that auditors have.
    fn check_command_line(&self, started: &Started) {
        let cli = Cli::new(self.site.home());
        let directory = self.site.log_dir();
        let mut words = vec!["audit", "verify", directory.to_str().unwrap()];
        let keys = self.site.log_keys();
        words.extend(keys.iter().flat_map(|key| ["--vkey", key.as_str()]));
        let _ = cli.run(&words).code(0);
        let older = self.log.kept.as_ref().unwrap();
        words.extend(["--older", older.to_str().unwrap()]);
        let _ = cli.run(&words).code(0);
        drop(started.people.auditor.api().get("/v1/audit/checkpoint"));
    }
}
