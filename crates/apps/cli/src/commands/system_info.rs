//! What runs, how the server stands towards its anchors, and going on with an old copy of it.

use clap::{Args, Subcommand};
use keyreeve_wire::system::{AcceptRollback, AnchorInfo, SystemInfo};

use crate::app::{App, Outcome};
use crate::failure::Exit;
use crate::out::{facts, printable, rows};

/// See what runs and what it was compared with; go on with an old copy
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve system info")]
pub(crate) enum Command {
    Info(Info),
    AcceptRollback(Accept),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Info(command) => command.run(app).await,
            Self::AcceptRollback(command) => command.run(app).await,
        }
    }
}

/// Show which program runs, with which configuration, and its anchors
///
/// The digests are those that stand in the audit log since the last start (operation `system.started`). Anchors
/// remember elsewhere how far this server had come; where one remembers more than the server has, an old copy of it
/// runs, and the command ends with 1.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve system info\n  $ keyreeve system info --output json")]
pub(crate) struct Info {}

impl Info {
    async fn run(self, app: &App) -> Outcome {
        let info = app.client()?.system_info().await?.value;
        app.out.show(&info, table)?;
        Ok(if info.rolled_back.is_empty() { Exit::Done } else { Exit::No })
    }
}

fn table(info: &SystemInfo) -> String {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let program = match (&info.binary_sha256, &info.expected_binary_sha256) {
        (Some(is), Some(wanted)) if is != wanted => format!("{is}, NOT the expected {wanted}"),
        (Some(is), Some(_)) => format!("{is}, as expected"),
        (is, _) => known(is),
    };
    let mut text = facts(&[
        ("version", known(&info.version)),
        ("program", program),
        ("configuration", known(&info.configuration_sha256)),
        ("module", info.module.clone()),
        ("opened", info.last_start.as_ref().map_or_else(|| "not on record".to_owned(), ToString::to_string)),
    ]);
    if info.anchors.is_empty() {
        text += "no anchors: nobody would notice an old copy of this server; docs/operations.md (Anchors)\n";
    } else {
        text += &rows(["anchor", "kind", "where", "step", "moved on", "log", "trouble"], info.anchors.iter().map(row));
    }
    for found in &info.rolled_back {
        text += &format!("OLDER THAN ITS ANCHORS: {}\n", printable(found));
    }
    if !info.rolled_back.is_empty() {
        text += "nothing is done until people decide: `keyreeve system accept-rollback --help`\n";
    }
    if let Some(accepted) = &info.accepted_rollback {
        let rest = if accepted.done { "" } else { "; counters of keys are still jumping ahead" };
        let (at, by, reason) = (&accepted.at, printable(&accepted.by), printable(&accepted.reason));
        text += &format!("an old copy was accepted on {at} by {by}: {reason}{rest}\n");
    }
    text
}

fn row(anchor: &AnchorInfo) -> [String; 7] {
    let some = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        anchor.name.clone(),
        anchor.kind.clone(),
        anchor.place.clone(),
        some(anchor.count.map(|count| count.to_string())),
        some(anchor.at.as_ref().map(ToString::to_string)),
        anchor.log_size.to_string(),
        some(anchor.trouble.clone()),
    ]
}

/// Go on with a server that is older than its anchors remember
///
/// Right after a disk or a database was restored on purpose from a copy, and never before you know why an old copy
/// runs: whoever put it there may want a key back that was destroyed, or access that was taken away. What changed since
/// the copy is lost; tokens and rights that were revoked since are valid again, so revoke them again. Counters of keys
/// jump ahead, so that no number is used twice, and the anchors are taken as they stand. The shipped rules ask for the
/// consent of two others. A restore with `keyreeve restore` needs none of this.
#[derive(Args)]
#[command(
    after_help = "Example:\n  $ keyreeve system accept-rollback --reason 'restored the snapshot of Tuesday, 4711'"
)]
pub(crate) struct Accept {
    /// Why an old copy is right
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Accept {
    async fn run(self, app: &App) -> Outcome {
        app.client()?.accept_rollback(&AcceptRollback { reason: self.reason }).await?;
        app.out.note("the server works again: revoke anew what was revoked since the copy was made");
        Ok(Exit::Done)
    }
}
