//! Damage: looking for it, and what is in quarantine because of it.

use clap::{Args, Subcommand};
use keyreeve_wire::integrity::{BeginScan, Integrity, Quarantine, ReleaseQuarantine, Scan as Scanned};

use super::jobs;
use crate::app::{App, Listing, Outcome};
use crate::failure::Exit;
use crate::out::{facts, rows};

/// Look for damage in what is stored; see what is in quarantine, and release it
///
/// What somebody altered in the database, the epoch vault or the audit log does not open. It is not used, it comes into
/// quarantine and people are told; everything else is served. A scan looks at every row, opens the material of every
/// key and reads the whole audit log; the server begins one every day by itself.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  $ keyreeve integrity status\n  $ keyreeve integrity scan --until-done\n  \
        $ keyreeve integrity list\n  $ keyreeve integrity show principals/alice")]
pub(crate) enum Command {
    Status(Status),
    Scan(Scan),
    List(List),
    Show(Show),
    Release(Release),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Status(command) => command.run(app).await,
            Self::Scan(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Release(command) => command.run(app).await,
        }
    }
}

/// Show how much is in quarantine, and the last scan
///
/// Ends with 1 where something is in quarantine.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve integrity status")]
pub(crate) struct Status {}

impl Status {
    async fn run(self, app: &App) -> Outcome {
        let status = app.client()?.integrity().await?.value;
        app.out.show(&status, standing)?;
        if status.quarantined == 0 {
            return Ok(Exit::Done);
        }
        app.out.note("`keyreeve integrity list` names what is in quarantine");
        Ok(Exit::No)
    }
}

fn scanned(scan: &Scanned) -> String {
    let when = match &scan.ended {
        Some(ended) => format!("{} to {ended}", scan.begun),
        None => format!("since {}, at {}", scan.begun, scan.stage),
    };
    let untried = match scan.untried {
        0 => String::new(),
        untried => format!(" ({untried} could not be tried)"),
    };
    format!(
        "{when}: {} rows, {} key versions{untried}, {} log entries, {} damaged ({})",
        scan.rows, scan.materials, scan.entries, scan.damaged, scan.job
    )
}

fn standing(status: &Integrity) -> String {
    let every = match (status.every_seconds, &status.next) {
        (Some(seconds), Some(next)) => format!("every {} hours, the next after {next}", seconds / 3600),
        _ => "only when somebody asks".to_owned(),
    };
    let running = status.newest.as_ref().filter(|scan| scan.ended.is_none());
    facts(&[
        ("in quarantine", status.quarantined.to_string()),
        ("last scan", status.finished.as_ref().map_or_else(|| "none came to its end".to_owned(), scanned)),
        ("under way", running.map(scanned).unwrap_or_default()),
        ("scans", every),
    ])
}

/// Look through everything for damage
///
/// A job: it goes on by itself, also after a crash, beside everything else.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve integrity scan --until-done --reason 'after the disk was replaced'")]
pub(crate) struct Scan {
    /// Rows and entries in a second at most [default: as fast as it goes]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pace: u32,
    /// Wait for the end
    #[arg(long)]
    until_done: bool,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl Scan {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let answer = client.begin_scan(&BeginScan { pace: self.pace, reason: self.reason }).await?;
        app.note_record("scan begun", answer.audit_record.as_ref());
        let outcome = jobs::begun(app, &client, &answer.value, self.until_done).await?;
        if !self.until_done {
            return Ok(outcome);
        }
        let status = client.integrity().await?.value;
        let found = status.finished.filter(|scan| scan.job == answer.value.id);
        let damaged = found.is_some_and(|scan| scan.damaged > 0);
        if damaged {
            app.out.note("something is damaged: `keyreeve integrity list` names it");
        }
        Ok(if damaged { Exit::No } else { outcome })
    }
}

/// List what is in quarantine
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve integrity list\n  $ keyreeve integrity list --released")]
pub(crate) struct List {
    /// What was released as well
    #[arg(long)]
    released: bool,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self.listing.collect(async |after, limit| {
            Ok(client.quarantines(self.released, after.as_deref(), Some(limit)).await?.value)
        });
        Listing::show(app, &page.await?, |found| {
            let row = |found: &Quarantine| {
                let state = match (&found.released, found.blocks) {
                    (Some(released), _) => format!("released {}", released.at),
                    (None, true) => "kept from use".to_owned(),
                    (None, false) => "told only".to_owned(),
                };
                [found.place.clone(), found.why.clone(), found.found.to_string(), state]
            };
            rows(["place", "what", "found", "state"], found.iter().map(row))
        })
    }
}

/// Show something in quarantine, look at it again, and say what can be done
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve integrity show principals/alice")]
pub(crate) struct Show {
    /// What, as `keyreeve integrity list` names it
    place: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.quarantine(&self.place).await?.value, details)
    }
}

/// Take something out of quarantine
///
/// What was put back, and is sound again, comes back into use: make sure first that it is the newest there was, for the
/// server cannot tell an older row that was sound once. A policy is written anew from the history of policies. What
/// cannot be put back, or was made up by somebody, is removed with `--discard`; keys never are. Under the shipped rules
/// the Security Lead and the CISO consent.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  $ keyreeve integrity release principals/alice --reason 'put back from last night'\n  \
        $ keyreeve integrity release grants/grt_0190a7b2c3d4e5f60718293a4b5c6d7e --discard --reason 'made up'"
)]
pub(crate) struct Release {
    /// What, as `keyreeve integrity list` names it
    place: String,
    /// If it is damaged still, remove its row
    #[arg(long)]
    discard: bool,
    /// Why, and how it was made sure that it is right; for the audit log and for those who must agree
    #[arg(long)]
    reason: String,
}

impl Release {
    async fn run(self, app: &App) -> Outcome {
        let release = ReleaseQuarantine { place: self.place, discard: self.discard, reason: self.reason };
        let answer = app.client()?.release_quarantine(&release).await?;
        app.note_record("released", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.place, details)
    }
}

fn details(found: &Quarantine) -> String {
    let released = found.released.as_ref();
    facts(&[
        ("place", found.place.clone()),
        ("found", format!("{}: {}", found.why, found.explained)),
        ("at", found.found.to_string()),
        ("by", found.job.clone().unwrap_or_else(|| "met in other work".to_owned())),
        ("kept from use", if found.blocks && released.is_none() { "yes" } else { "no" }.to_owned()),
        ("now", found.now.clone().unwrap_or_default()),
        ("what to do", found.advice.clone().unwrap_or_default()),
        ("released", released.map(|how| format!("{} by {}: {}", how.at, how.by, how.how)).unwrap_or_default()),
        ("reason", released.map(|how| how.reason.clone()).unwrap_or_default()),
    ])
}
