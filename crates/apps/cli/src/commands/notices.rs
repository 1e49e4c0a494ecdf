//! Notices to people.

use clap::{Args, Subcommand};
use keyreeve_wire::Page;
use keyreeve_wire::notices::{Channel, FiledNotice, Notice, TestNotices};
use serde::Serialize;
use std::time::{Duration, Instant};

use crate::app::{App, Listing, Outcome};
use crate::failure::{Exit, Failure};
use crate::out::{printable, rows};
use crate::progress::Progress;

/// How long a test waits for its notices to be taken: as long as one attempt may take, and a little more.
const PATIENCE: Duration = Duration::from_secs(35);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Show and try the channels on which people are told
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve notice test")]
pub(crate) enum Command {
    List(List),
    Channels(Channels),
    Test(Test),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Channels(command) => command.run(app).await,
            Self::Test(command) => command.run(app).await,
        }
    }
}

/// List the notices that wait or were given up
///
/// What was delivered is not kept. A notice is tried for three days, and shown for thirty more when it was given up.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve notice list --all")]
pub(crate) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self.listing.collect(async |after, limit| {
            let found = client.notices(after.as_deref(), Some(limit)).await?.value;
            Ok(Page { items: found.items, next: found.next })
        });
        Listing::show(app, &page.await?, |notices| {
            let row = |notice: &Notice| {
                let next = match (&notice.given_up, &notice.next) {
                    (Some(at), _) => format!("given up {at}"),
                    (None, next) => next.as_ref().map(ToString::to_string).unwrap_or_default(),
                };
                let trouble = notice.trouble.clone().unwrap_or_default();
                [notice.channel.clone(), notice.kind.clone(), notice.created.to_string(), next, trouble]
            };
            rows(["channel", "kind", "created", "next attempt", "trouble"], notices.iter().map(row))
        })
    }
}

/// List the channels
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve notice channels")]
pub(crate) struct Channels {}

impl Channels {
    async fn run(self, app: &App) -> Outcome {
        let found = app.client()?.notices(None, Some(1)).await?.value;
        app.show(&found.channels, |channels| {
            let row = |channel: &Channel| {
                let only = channel.only.as_ref().map_or_else(|| "all".to_owned(), |only| only.join(", "));
                [channel.name.clone(), channel.kind.clone(), channel.destination.clone(), only]
            };
            rows(["channel", "kind", "leads to", "for"], channels.iter().map(row))
        })
    }
}

/// Send a notice that says nothing, and see whether it is taken
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve notice test\n  $ keyreeve notice test oncall")]
pub(crate) struct Test {
    /// The channel; all of them unless said
    channel: Option<String>,
}

impl Test {
    async fn run(self, app: &App) -> Outcome {
        let filed = app.client()?.test_notices(&TestNotices { channel: self.channel }).await?.value.notices;
        let progress = Progress::waiting(app.out, "waiting for the delivery");
        let left = undelivered(app, &filed).await?;
        progress.finish();
        let tried: Vec<Tried> = filed.iter().map(|notice| Tried::of(notice, &left)).collect();
        app.out.show(&tried, |tried| tried.iter().map(Tried::line).collect())?;
        Ok(if left.is_empty() { Exit::Done } else { Exit::No })
    }
}

/// How a channel took its notice.
#[derive(Serialize)]
struct Tried {
    channel: String,
    taken: bool,
    trouble: Option<String>,
}

impl Tried {
    fn of(notice: &FiledNotice, left: &[(String, String)]) -> Self {
        let trouble = left.iter().find(|(id, _)| *id == notice.id).map(|(_, trouble)| trouble.clone());
        Self { channel: notice.channel.clone(), taken: trouble.is_none(), trouble }
    }

    fn line(&self) -> String {
        let why = |trouble: &String| format!("not taken: {trouble}");
        printable(&format!("{}: {}", self.channel, self.trouble.as_ref().map_or_else(|| "taken".to_owned(), why)))
            + "\n"
    }
}

/// The notices that were not taken, with why not.
async fn undelivered(app: &App, filed: &[FiledNotice]) -> Result<Vec<(String, String)>, Failure> {
    let client = app.client()?;
    let began = Instant::now();
    loop {
        let (mut left, mut after) = (Vec::new(), None);
        loop {
            let page = client.notices(after.as_deref(), Some(1000)).await?.value;
            left.extend(page.items.into_iter().filter(|notice| filed.iter().any(|filed| filed.id == notice.id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let tried = left.iter().all(|notice| notice.trouble.is_some());
        if tried || began.elapsed() >= PATIENCE {
            let why = |notice: Notice| (notice.id, notice.trouble.unwrap_or_else(|| "no answer yet".to_owned()));
            return Ok(left.into_iter().map(why).collect());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
