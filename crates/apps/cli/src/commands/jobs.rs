//! Long work: watching and stopping it.

use clap::{Args, Subcommand};
use keyreeve_client::Client;
use keyreeve_wire::jobs::{CancelJob, Job};
use keyreeve_wire::names::{JobState, RootNeed};
use keyreeve_wire::system::RootUse;
use std::time::Duration;

use crate::app::{App, Listing, Outcome};
use crate::failure::{Exit, Failure};
use crate::out::{facts, printable, rows};
use crate::progress::Progress;

/// How often a job that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Watch and stop long work: backups, rotating key-encryption keys, moving to other roots of trust
///
/// Jobs go on by themselves, also after a crash. A step that fails is tried again.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve job list")]
pub(crate) enum Command {
    List(List),
    Show(Show),
    Wait(Wait),
    Cancel(Cancel),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Wait(command) => app.show(&follow(app, &app.client()?, &command.job, false).await?, details),
            Self::Cancel(command) => command.run(app).await,
        }
    }
}

/// List jobs
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve job list\n  $ keyreeve job list --ended")]
pub(crate) struct List {
    /// Those that ended as well, and not only what is under way
    #[arg(long)]
    ended: bool,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.jobs(self.ended, after.as_deref(), Some(limit)).await?.value));
        let page = page.await?;
        if page.items.is_empty() && !self.ended && !app.out.is_json() {
            app.out.note("nothing is under way; `--ended` lists what has ended as well");
        }
        Listing::show(app, &page, |jobs| {
            let row = |job: &Job| {
                let state = if job.trouble.is_some() { "in trouble".to_owned() } else { job.state.to_string() };
                [job.id.clone(), job.work.clone(), job.scope.clone(), state, far(job), job.begun.to_string()]
            };
            rows(["id", "work", "on", "state", "done", "begun"], jobs.iter().map(row))
        })
    }
}

/// Show a job and how far it has come
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve job show job_0190a7b2c3d4e5f60718293a4b5c6d7e")]
pub(crate) struct Show {
    /// The job
    job: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.job(&self.job).await?.value, details)
    }
}

/// Wait for a job's end
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve job wait job_0190a7b2c3d4e5f60718293a4b5c6d7e")]
pub(crate) struct Wait {
    /// The job
    job: String,
}

/// Stop a job; what it has done stays
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve job cancel job_0190a7b2c3d4e5f60718293a4b5c6d7e --reason 'after the holidays'")]
pub(crate) struct Cancel {
    /// The job
    job: String,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
}

impl Cancel {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.cancel_job(&self.job, &CancelJob { reason: self.reason }).await?;
        app.note_record("job stopped", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.id, details)
    }
}

/// Shows a job that was begun, or waits for its end where that is wanted.
pub(crate) async fn begun(app: &App, client: &Client, job: &Job, wait: bool) -> Outcome {
    if wait {
        return app.show(&follow(app, client, &job.id, false).await?, details);
    }
    app.out.note(&format!("it goes on by itself; `keyreeve job wait {}` waits for its end", job.id));
    app.show_made(job, &job.id, details)
}

/// Waits for the end of a job, or until a step of it failed where nobody waits for another try.
pub(crate) async fn follow(app: &App, client: &Client, id: &str, until_trouble: bool) -> Result<Job, Failure> {
    let progress = Progress::waiting(app.out, "the job goes on");
    loop {
        let job = client.job(id).await?.value;
        match (&job.trouble, job.state) {
            (_, JobState::Done | JobState::Failed) => return Ok(ended(&progress, job)),
            (_, JobState::Cancelled) => {
                let job = ended(&progress, job);
                app.show(&job, details)?;
                return Err(Failure::new(Exit::Refused, "the job was stopped before its end"));
            }
            (Some(_), JobState::Running) if until_trouble => return Ok(ended(&progress, job)),
            (Some(trouble), JobState::Running) => progress.tell(&format!("{}: {}", far(&job), printable(trouble))),
            (None, JobState::Running) => progress.tell(&far(&job)),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn ended(progress: &Progress, job: Job) -> Job {
    progress.finish();
    job
}

/// How far a job has come, in what it counts.
fn far(job: &Job) -> String {
    let unit = if job.work == "rekey" { " epochs" } else { "" };
    format!("{} of {}{unit}", job.done, job.total)
}

/// Roots that wrap something together, in words.
pub(crate) fn under(roots: &RootUse) -> String {
    let joint = match roots.need {
        RootNeed::Any => " or ",
        RootNeed::All => " and ",
    };
    roots.roots.join(joint)
}

pub(crate) fn details(job: &Job) -> String {
    let mut lines = vec![
        ("id", job.id.clone()),
        ("work", job.work.clone()),
        ("on", job.scope.clone()),
        ("to", job.to.as_ref().map(under).unwrap_or_default()),
        ("state", job.state.to_string()),
        ("done", far(job)),
        ("begun", format!("{} by {}", job.begun, job.by)),
        ("reason", job.reason.clone()),
    ];
    if let Some(backup) = &job.backup {
        lines.push(("backup", backup.to_string()));
    }
    if let Some(trouble) = &job.trouble {
        lines.push(("trouble", format!("{trouble} ({} times in a row)", job.failures)));
    }
    if let Some(next) = &job.next {
        lines.push(("next step", next.to_string()));
    }
    if let Some(ended) = &job.ended {
        lines.push(("ended", ended.to_string()));
    }
    facts(&lines)
}
