//! A draft of the policies on trial beside those that apply.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_wire::policies::{ShadowDraft, ShadowGroup, ShadowReport, StartShadow, StartedShadow};

use super::policy_sets;
use crate::app::{App, Outcome};
use crate::failure::Exit;
use crate::out::{facts, printable, rows};

/// Try a draft of the policies beside those that apply, on every request from now on
///
/// The draft decides nothing. What it would have decided otherwise is counted, and noted in the audit record of the
/// request as `shadow`. There is one draft at most, and it stays on trial until it is stopped.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve policy shadow start policies/")]
pub(crate) enum Shadow {
    Start(Start),
    Stop(Stop),
    Report(Report),
}

impl Shadow {
    pub(super) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Start(command) => command.run(app).await,
            Self::Stop(command) => command.run(app).await,
            Self::Report(command) => command.run(app).await,
        }
    }
}

/// Put the policies of a directory on trial, instead of a draft that is
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy shadow start policies/ --comment 'office hours'")]
pub(crate) struct Start {
    /// The directory: each file NAME.cedar is the policy NAME
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// As if policies that the directory does not have were removed
    #[arg(long)]
    delete_others: bool,
    /// Why, for the report
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

impl Start {
    async fn run(self, app: &App) -> Outcome {
        let Self { directory, delete_others, comment } = self;
        let request = StartShadow { policies: policy_sets::read(&directory)?, delete_others, comment };
        let answer = app.client()?.start_policy_shadow(&request).await?;
        app.note_record("the draft is on trial; it decides nothing", answer.audit_record.as_ref());
        app.show(&answer.value, started)
    }
}

/// End the trial
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy shadow stop")]
pub(crate) struct Stop {}

impl Stop {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.stop_policy_shadow().await?;
        app.note_record("the trial is over", answer.audit_record.as_ref());
        Ok(Exit::Done)
    }
}

/// Show what the draft on trial would have decided otherwise
///
/// Ends with 1 where there is something, or where the draft cannot be asked.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy shadow report")]
pub(crate) struct Report {}

impl Report {
    async fn run(self, app: &App) -> Outcome {
        let report = app.client()?.policy_shadow().await?.value;
        app.out.show(&report, reported)?;
        Ok(if report.differing == 0 && report.problem.is_none() { Exit::Done } else { Exit::No })
    }
}

fn of(draft: &ShadowDraft) -> Vec<(&'static str, String)> {
    let mut told = vec![
        ("policies", draft.policies.to_string()),
        ("began at version", draft.base.to_string()),
        ("on trial since", draft.at.to_string()),
        ("by", printable(&draft.by)),
    ];
    if !draft.comment.is_empty() {
        told.push(("comment", printable(&draft.comment)));
    }
    told.push(("sha256", draft.digest.clone()));
    told
}

fn started(started: &StartedShadow) -> String {
    let mut told = of(&started.draft);
    let lists = [("added", &started.added), ("altered", &started.altered), ("removed", &started.removed)];
    for (list, names) in lists {
        if !names.is_empty() {
            told.push((list, names.join(" ")));
        }
    }
    let mut text = facts(&told);
    for warning in &started.warnings {
        text.push_str(&format!("\nwarning: {}", printable(warning)));
    }
    text
}

fn reported(report: &ShadowReport) -> String {
    let mut told = of(&report.draft);
    told.push(("version now", report.version.to_string()));
    told.push(("counted since", report.since.to_string()));
    told.push(("asked", report.asked.to_string()));
    told.push(("differing", report.differing.to_string()));
    let mut text = facts(&told);
    if let Some(problem) = &report.problem {
        text.push_str(&format!("\nit cannot be asked: {}", printable(problem)));
    }
    if !report.groups.is_empty() {
        let headings = ["principal", "action", "was", "would be", "times", "last", "record"];
        text.push_str(&format!("\n\n{}", rows(headings, report.groups.iter().map(row))));
    }
    if report.ungrouped > 0 {
        text.push_str(&format!("\n({} more differing requests are not listed)", report.ungrouped));
    }
    text
}

fn row(group: &ShadowGroup) -> [String; 7] {
    use keyreeve_wire::names::ShadowVerdict::{Allow, Deny, Error};
    let would = match group.would {
        Allow => "allowed",
        Deny => "refused",
        Error => "not decided",
    };
    [
        group.principal.clone(),
        group.action.clone(),
        if group.allowed { "allowed" } else { "refused" }.to_owned(),
        would.to_owned(),
        group.count.to_string(),
        group.last.to_string(),
        group.record.clone().unwrap_or_default(),
    ]
}
