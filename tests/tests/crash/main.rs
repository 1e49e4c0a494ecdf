//! kill -9 in the middle of a mixed load, again and again: nothing that was acknowledged is missing afterwards.
//!
//! Each round starts the server on the same data, lets several callers work, kills it at a chance moment, starts it
//! again and compares what it has with the ledgers of the callers. `KEYREEVE_CRASH_ROUNDS` says how many rounds; a
//! failure prints the seed, and `KEYREEVE_TEST_SEED` repeats its choices.
#![allow(clippy::unwrap_used)]

mod backups;
mod caller;
mod campaign;
mod ledger;
mod moving;
mod shares;
mod site;

use keyreeve_tests::{Chance, Database};

use campaign::Campaign;
use site::{DevSite, ProductionSite};

/// Rounds of the mixed load, on both stores together; the other campaigns have a quarter of it each.
fn rounds() -> usize {
    std::env::var("KEYREEVE_CRASH_ROUNDS").map_or(20, |text| text.parse().unwrap())
}

/// Progress, shown when a test fails or `--nocapture` is given.
#[allow(clippy::print_stderr)]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[test]
fn nothing_acknowledged_is_lost() {
    let seed = Chance::seed();
    tell(&format!("KEYREEVE_TEST_SEED={seed}"));
    let home = tempfile::tempdir().unwrap();
    let share = rounds() - rounds() / 4;
    Campaign::new(DevSite::new(home.path()), seed).run(share);
}

#[test]
fn nothing_acknowledged_is_lost_on_postgres() {
    let Some(database) = Database::make() else { return };
    let seed = Chance::seed();
    tell(&format!("KEYREEVE_TEST_SEED={seed}"));
    let home = tempfile::tempdir().unwrap();
    let site = ProductionSite::new(home.path(), &database.url());
    Campaign::new(site, seed).run((rounds() / 4).max(1));
}
