//! Backups.

use clap::{Args, Subcommand};
use keyreeve_wire::backups::{AcknowledgeRestore, Backup, PlacedBackup, VerifiedBackup, VerifyBackup};
use keyreeve_wire::jobs::Job;
use keyreeve_wire::names::JobState;

use super::jobs;
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::out::{printable, rows};

/// Make backups, look at them, check them
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve backup create")]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Verify(Verify),
    Acknowledge(Acknowledge),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Verify(command) => command.run(app).await,
            Self::Acknowledge(command) => command.run(app).await,
        }
    }
}

fn standing(placed: &PlacedBackup) -> String {
    let what = match (&placed.trouble, &placed.removed, &placed.verified, &placed.stored) {
        (Some(trouble), ..) => format!("trouble: {trouble}"),
        (None, Some(at), ..) => format!("removed {at}"),
        (None, None, Some(at), _) => format!("verified {at}"),
        (None, None, None, Some(at)) => format!("stored {at}"),
        (None, None, None, None) => "on its way".to_owned(),
    };
    format!("{}: {what}", placed.destination)
}

fn table(backups: &[Backup]) -> String {
    let row = |backup: &Backup| {
        let places: Vec<String> = backup.destinations.iter().map(standing).collect();
        let keys = match backup.unopened {
            0 => backup.materials.to_string(),
            missing => format!("{} ({missing} missing)", backup.materials),
        };
        [backup.sequence.to_string(), backup.created.to_string(), keys, backup.size.to_string(), places.join("; ")]
    };
    rows(["backup", "made", "key versions", "bytes", "where"], backups.iter().map(row))
}

/// Make a backup now and bring it to every destination
///
/// The destinations are those of `[backup]` in the server's configuration. The server does it as a job, which goes on
/// whether or not somebody waits, and tries again where a destination fails. Ends with 1 where one of them could not
/// take it yet.
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve backup create\n  $ keyreeve backup create --no-wait")]
pub(crate) struct Create {
    /// Only begin it, and print the job
    #[arg(long)]
    no_wait: bool,
}

impl Create {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let job = client.create_backup().await?.value;
        if self.no_wait {
            return jobs::begun(app, &client, &job, false).await;
        }
        let job = jobs::follow(app, &client, &job.id, true).await?;
        app.out.show(&job, jobs::details)?;
        match job.state {
            JobState::Done => Ok(Exit::Done),
            JobState::Running => {
                let text =
                    format!("not every destination has it: the server goes on trying (`keyreeve job show {}`)", job.id);
                app.out.note(&text);
                Ok(Exit::No)
            }
            JobState::Failed | JobState::Cancelled => {
                app.out.note("not every destination has it: see `trouble`, and `keyreeve backup list`");
                Ok(Exit::No)
            }
        }
    }
}

/// List the backups, newest first
///
/// Also shows destroyed keys that a destination still has to be told of, and that this server came out of a backup.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve backup list")]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let found = app.client()?.backups().await?.value;
        app.show(&found, |found| {
            let mut text = table(&found.items);
            for cut in &found.pending_cuts {
                let places = cut.destinations.join(", ");
                text += &format!("destroyed key {} is still in the ledger at: {places}\n", cut.key);
            }
            if let Some(restored) = found.restored.as_ref().filter(|restored| restored.acknowledged.is_none()) {
                text += &format!(
                    "this server was restored on {} from backup {} of {}, which is therefore not among its own: nobody \
                     took note of it yet (`keyreeve backup acknowledge --reason TEXT`)\n",
                    restored.restored, restored.sequence, restored.made
                );
            }
            text
        })
    }
}

/// Read a backup again and check everything about it
///
/// Every hash and signature, every row, the material of every key, and the audit log from its first entry on. Ends
/// with 7 where something was altered.
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve backup verify 7 --at vault\n  $ keyreeve backup verify")]
pub(crate) struct Verify {
    /// The number of the backup; the newest unless said
    backup: Option<u64>,
    /// The destination; every one that should have it unless said
    #[arg(long, value_name = "DESTINATION")]
    at: Option<String>,
}

impl Verify {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        // Whoever says which one and where need not be allowed to list them.
        let found = match (self.backup, &self.at) {
            (Some(_), Some(_)) => Vec::new(),
            _ => client.backups().await?.value.items,
        };
        let newest = found.first().map(|backup| backup.sequence);
        let sequence = self.backup.or(newest).ok_or_else(|| Failure::usage("there is no backup yet"))?;
        let known = found.iter().find(|backup| backup.sequence == sequence);
        let held = |placed: &&PlacedBackup| placed.stored.is_some() && placed.removed.is_none();
        let places: Vec<String> = match (self.at, known) {
            (Some(at), _) => vec![at],
            (None, Some(backup)) => {
                backup.destinations.iter().filter(held).map(|placed| placed.destination.clone()).collect()
            }
            (None, None) => return Err(unknown(sequence, &found)),
        };
        let mut all = Vec::new();
        for destination in places {
            let verify = VerifyBackup { sequence, destination: destination.clone() };
            let job = client.verify_backup(&verify).await?.value;
            let job = jobs::follow(app, &client, &job.id, true).await?;
            match job.found {
                Some(found) => all.push((destination, found)),
                None => return Err(unlike(&destination, &job)),
            }
        }
        app.show(&all, |all| {
            let line = |(at, found): &(String, VerifiedBackup)| {
                format!(
                    "{at}: backup {} is whole: {} rows, {} key versions, {} destroyed since, {} log entries\n",
                    found.sequence, found.rows, found.materials, found.destroyed, found.log_size
                )
            };
            all.iter().map(line).collect()
        })
    }
}

/// Why a backup was not found to be whole: damage, or a destination that could not be read.
fn unlike(destination: &str, job: &Job) -> Failure {
    let trouble = printable(job.trouble.as_deref().unwrap_or("nobody knows why"));
    match job.state {
        JobState::Failed => Failure::new(Exit::Integrity, format!("{destination}: {trouble}")),
        JobState::Running | JobState::Done | JobState::Cancelled => {
            let text = format!("{destination}: {trouble} (the server goes on trying: `keyreeve job show {}`)", job.id);
            Failure::new(Exit::Unavailable, text)
        }
    }
}

/// A backup that the server has no record of: one from before a restore, perhaps.
fn unknown(sequence: u64, found: &[Backup]) -> Failure {
    let named = found.iter().flat_map(|backup| &backup.destinations).map(|placed| placed.destination.as_str());
    let named: std::collections::BTreeSet<&str> = named.collect();
    let which = match named.len() {
        0 => "`[backup.destinations]` in the server's configuration names them".to_owned(),
        _ => format!("there are: {}", named.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let next = format!("`keyreeve backup verify {sequence} --at DESTINATION` says where; {which}");
    Failure::usage(format!("this server has no record of backup {sequence}")).next(next)
}

/// Take note that this server came out of a backup
///
/// After somebody went through what changed between the backup and the restore: docs/operations.md (Restoring).
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve backup acknowledge --reason 'went through the log from entry 812'")]
pub(crate) struct Acknowledge {
    /// What was done about it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Acknowledge {
    async fn run(self, app: &App) -> Outcome {
        app.client()?.acknowledge_restore(&AcknowledgeRestore { reason: self.reason }).await?;
        app.out.note("noted");
        Ok(Exit::Done)
    }
}
