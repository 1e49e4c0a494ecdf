//! Backups.

use clap::{Args, Subcommand};
use keyreeve_wire::backups::{AcknowledgeRestore, Backup, PlacedBackup, VerifyBackup};

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::out::rows;
use crate::progress::Progress;

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
        (None, None, None, None) => "nothing".to_owned(),
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
/// The destinations are those of `[backup]` in the server's configuration. Ends with 1 where one of them could not
/// take it.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve backup create")]
pub(crate) struct Create {}

impl Create {
    async fn run(self, app: &App) -> Outcome {
        let progress = Progress::waiting(app.out, "copying the store and bringing it to the destinations");
        let made = app.client()?.create_backup().await;
        progress.finish();
        let made = made?.value;
        let whole = made.unopened == 0 && made.destinations.iter().all(|placed| placed.trouble.is_none());
        app.out.show(&made, |made| table(std::slice::from_ref(made)))?;
        Ok(if whole { Exit::Done } else { Exit::No })
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
                    "this server was restored on {} from backup {} of {}: nobody took note of it yet\n",
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
            (None, None) => return Err(Failure::usage("this server knows no such backup: say where with --at")),
        };
        let mut all = Vec::new();
        for destination in places {
            let progress = Progress::waiting(app.out, "reading the backup and the audit log");
            let verified = client.verify_backup(&VerifyBackup { sequence, destination: destination.clone() }).await;
            progress.finish();
            all.push((destination, verified?.value));
        }
        app.show(&all, |all| {
            let line = |(at, found): &(String, keyreeve_wire::backups::VerifiedBackup)| {
                format!(
                    "{at}: backup {} is whole: {} rows, {} key versions, {} destroyed since, {} log entries\n",
                    found.sequence, found.rows, found.materials, found.destroyed, found.log_size
                )
            };
            all.iter().map(line).collect()
        })
    }
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
