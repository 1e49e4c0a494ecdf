//! Rehearsing a restore: by the server, or here with the roots of trust that people hold.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use keyreeve_model::Name;
use keyreeve_model::drill::DrillKind;
use keyreeve_server::{RehearsedRestore, RestoreDrill};
use keyreeve_wire::drills::{Drill, DrillStep, RecordDrill};

use super::{details, report};
use crate::app::{App, Outcome};
use crate::cli::connected;
use crate::commands::restore::{Shares, told};
use crate::commands::server::failure;
use crate::failure::Exit;
use crate::progress::Progress;
use crate::text::Span;

/// How often it is looked whether the server has done it.
const LOOK: Duration = Duration::from_millis(500);

/// Rehearse a restore: a backup into a scratch instance, which is removed afterwards
///
/// Without --config the server does it now, beside its work: the newest backup of one destination after the other,
/// opened with the root of trust that is open. With --config it is done here and with what a lost server would leave:
/// the configuration, a destination, and the holders of shares or the device. Either way every row, every version of
/// every key and the whole audit log are compared with what they were, a key of each kind in each keyring is used, and
/// sample ciphertexts of the configuration are opened. Nothing of the real server changes but its list of drills. Ends
/// with 1 where the drill failed.
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve drill restore\n  \
        $ keyreeve drill restore --config keyreeve.toml --from vault --shares shares.txt")]
pub(crate) struct Restore {
    /// Rehearse here, with this configuration of a server
    #[arg(long, value_name = "FILE", requires = "from")]
    config: Option<PathBuf>,
    /// The destination that has the backup, by its name in the configuration
    #[arg(long, value_name = "DESTINATION", requires = "config")]
    from: Option<Name>,
    /// The number of the backup; the newest unless said
    #[arg(long, value_name = "NUMBER", requires = "config")]
    backup: Option<u64>,
    /// A file with shares, one on each line; asked for on the terminal unless said
    #[arg(long, value_name = "FILE", requires = "config")]
    shares: Option<PathBuf>,
    /// Where the scratch instance is made: it needs room for store and audit log
    #[arg(long, value_name = "DIRECTORY", requires = "config")]
    scratch_dir: Option<PathBuf>,
    /// Put nothing on record: there is no server that could
    #[arg(long, requires = "config")]
    no_record: bool,
}

impl Restore {
    pub(super) fn run(self, app: &App, wait: Option<Span>) -> Outcome {
        match (&self.config, &self.from) {
            (Some(config), Some(from)) => self.here(
                app,
                wait,
                RestoreDrill { config, from: from.clone(), sequence: self.backup, place: PathBuf::new() },
            ),
            _ => connected(app, wait, at_server(app)),
        }
    }

    fn here(&self, app: &App, wait: Option<Span>, drill: RestoreDrill<'_>) -> Outcome {
        let mut named = tempfile::Builder::new();
        let named = named.prefix("keyreeve-drill-");
        let place = match &self.scratch_dir {
            Some(directory) => named.tempdir_in(directory)?,
            None => named.tempdir()?,
        };
        let drill = RestoreDrill { place: place.path().to_owned(), ..drill };
        let mut shares = Shares::of(app, self.shares.as_deref())?;
        let held = keyreeve_server::drill_restore(
            &drill,
            |found| told(app, found),
            |waiting, last| shares.next(waiting, last),
        );
        let held = held.map_err(failure)?;
        place.close()?;
        let request = request(held, &drill.from);
        if self.no_record {
            let passed = request.passed;
            app.out.show(&request, report)?;
            return Ok(if passed { Exit::Done } else { Exit::No });
        }
        connected(app, wait, async {
            let answer = app.client()?.record_drill(&request).await?;
            app.note_record("on record", answer.audit_record.as_ref());
            end(app, &answer.value)
        })
    }
}

fn request(held: RehearsedRestore, from: &Name) -> RecordDrill {
    let step = |step: keyreeve_model::drill::DrillStep| DrillStep {
        name: step.name.to_string(),
        passed: step.passed,
        found: step.found.to_string(),
        took_ms: step.took_ms,
    };
    RecordDrill {
        kind: DrillKind::Restore.to_string(),
        passed: held.trouble.is_none(),
        took_ms: held.took_ms,
        lost_ms: Some(held.lost_ms),
        backup: Some(held.sequence),
        destination: Some(from.to_string()),
        steps: held.steps.into_iter().map(step).collect(),
        trouble: held.trouble,
    }
}

fn end(app: &App, drill: &Drill) -> Outcome {
    app.out.show(drill, details)?;
    Ok(if drill.passed { Exit::Done } else { Exit::No })
}

/// Asks the server, and waits for what comes of it.
async fn at_server(app: &App) -> Outcome {
    let client = app.client()?;
    let asked = client.ask_for_drill().await?.value.number;
    let progress = Progress::waiting(app.out, "the server restores its newest backup into a scratch instance");
    let drill = loop {
        let held = client.drills().await?.value.items;
        let done = held.into_iter().find(|drill| drill.number >= asked && drill.by_itself);
        match done {
            Some(drill) => break drill,
            None => tokio::time::sleep(LOOK).await,
        }
    };
    progress.finish();
    end(app, &drill)
}
