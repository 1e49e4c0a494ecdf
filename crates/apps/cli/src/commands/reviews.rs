//! Reviews: going through who has which right.

use clap::{Args, Subcommand};
use keyreeve_wire::names::{ReviewSubject, ReviewVerdict};
use keyreeve_wire::reviews::{CloseReview, DecideReview, OpenReview, Review, ReviewItem, ReviewWithItems};

use crate::app::{App, Listing, Outcome};
use crate::out::{facts, rows};
use crate::text::one_of;

/// Items fetched at a time.
const ITEMS: u32 = 1000;

/// Go through who has which right, and take away what is not needed
///
/// A review freezes the roles, grants and consumers that there are. Somebody decides on each: it stays, or it goes at
/// once. Nobody decides on their own rights, nor on what they made.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve review open --reason 'second half-year'")]
pub(crate) enum Command {
    Open(Open),
    List(List),
    Show(Show),
    Decide(Decide),
    Close(Close),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Open(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Decide(command) => command.run(app).await,
            Self::Close(command) => command.run(app).await,
        }
    }
}

/// Open a review of the rights that there are now
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve review open --reason 'second half-year'\n  \
        $ keyreeve review open --subject roles --reviewer carla --days 14 --reason 'after the reorganisation'")]
pub(crate) struct Open {
    /// What it goes through; may be repeated; everything unless said
    #[arg(long = "subject", value_name = "SUBJECT", value_parser = one_of!(ReviewSubject))]
    subjects: Vec<ReviewSubject>,
    /// Only the rights of this principal
    #[arg(long)]
    principal: Option<String>,
    /// Somebody who decides; may be repeated; everybody who may unless said
    #[arg(long = "reviewer", value_name = "NAME")]
    reviewers: Vec<String>,
    /// Within how many days it is due: 1 to 366; 30 unless said
    #[arg(long)]
    days: Option<u32>,
    /// What it is for
    #[arg(long)]
    reason: String,
}

impl Open {
    async fn run(self, app: &App) -> Outcome {
        let new = OpenReview {
            subjects: self.subjects,
            principal: self.principal,
            reviewers: self.reviewers,
            days: self.days,
            reason: self.reason,
        };
        let answer = app.client()?.open_review(&new).await?;
        app.note_record("review opened", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.id, details)
    }
}

/// List reviews
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve review list --open\n  $ keyreeve review list --closed --all")]
pub(crate) struct List {
    /// Only those that are open
    #[arg(long)]
    open: bool,
    /// Only those that are closed
    #[arg(long, conflicts_with = "open")]
    closed: bool,
    #[command(flatten)]
    listing: Listing,
}

fn state(review: &Review) -> &'static str {
    match (&review.closed, review.overdue) {
        (Some(_), _) => "closed",
        (None, true) => "overdue",
        (None, false) => "open",
    }
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let open = (self.open || self.closed).then_some(self.open);
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.reviews(open, (after.as_deref(), Some(limit))).await?.value));
        let page = page.await?;
        Listing::show(app, &page, |reviews| {
            let row = |review: &Review| {
                let decided = format!("{} of {}", review.decided, review.items);
                let (state, due) = (state(review).to_owned(), review.due.to_string());
                [review.id.clone(), state, decided, due, review.reason.clone()]
            };
            rows(["id", "state", "decided", "due", "reason"], reviews.iter().map(row))
        })
    }
}

/// Show a review with its items
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve review show rvw_0190a7b2c3d4e5f60718293a4b5c6d7e --undecided")]
pub(crate) struct Show {
    /// The review's id
    review: String,
    /// Only items that nobody has decided on yet
    #[arg(long)]
    undecided: bool,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let mut whole = client.review(&self.review, self.undecided, (None, Some(ITEMS))).await?.value;
        while let Some(after) = whole.next {
            let page = client.review(&self.review, self.undecided, (Some(after), Some(ITEMS))).await?.value;
            whole.items.extend(page.items);
            whole.next = page.next;
        }
        app.show(&whole, with_items)
    }
}

/// Decide on a right: it stays, or it goes at once
///
/// Where the rules of approval want the consent of others to what would go, the verdict is written down and the answer
/// names the command that asks them.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve review decide rvw_0190a7b2c3d4e5f60718293a4b5c6d7e 1 keep --reason 'still on the rota'\n  \
        $ keyreeve review decide rvw_0190a7b2c3d4e5f60718293a4b5c6d7e 2 revoke --reason 'changed teams'")]
pub(crate) struct Decide {
    /// The review's id
    review: String,
    /// The number of the item, as `review show` lists it
    item: u32,
    /// What is decided
    #[arg(value_parser = one_of!(ReviewVerdict))]
    verdict: ReviewVerdict,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Decide {
    async fn run(self, app: &App) -> Outcome {
        let decide = DecideReview { item: self.item, verdict: self.verdict, reason: self.reason };
        let answer = app.client()?.decide_review(&self.review, &decide).await?;
        app.note_record("decided", answer.audit_record.as_ref());
        app.show(&answer.value, |decided| {
            let left = match decided.undecided {
                0 => "every item is decided: close the review".to_owned(),
                left => format!("{left} items are not decided yet"),
            };
            let remark = decided.remark.as_ref().map_or_else(String::new, |remark| format!("{remark}\n"));
            format!("{}{remark}{left}\n", items([&decided.item]))
        })
    }
}

/// Close a review whose items are all decided
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve review close rvw_0190a7b2c3d4e5f60718293a4b5c6d7e --text 'three roles were revoked'")]
pub(crate) struct Close {
    /// The review's id
    review: String,
    /// What came of it
    #[arg(long)]
    text: String,
}

impl Close {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.close_review(&self.review, &CloseReview { text: self.text }).await?;
        app.note_record("review closed", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

fn details(review: &Review) -> String {
    let closed = match (&review.closed, &review.closed_by) {
        (Some(at), Some(by)) => format!("{at} by {by}"),
        _ => String::new(),
    };
    let subjects: Vec<&str> = review.subjects.iter().map(|subject| subject.name()).collect();
    facts(&[
        ("id", review.id.clone()),
        ("state", state(review).to_owned()),
        ("reason", review.reason.clone()),
        ("subjects", subjects.join(", ")),
        ("principal", review.principal.clone().unwrap_or_default()),
        ("reviewers", review.reviewers.join(", ")),
        ("opened", format!("{} by {}", review.opened, review.opened_by)),
        ("due", review.due.to_string()),
        ("items", review.items.to_string()),
        ("decided", review.decided.to_string()),
        ("revoked", review.revoked.to_string()),
        ("closed", closed),
        ("conclusion", review.conclusion.clone().unwrap_or_default()),
    ])
}

/// The right of an item, in words.
fn right(item: &ReviewItem) -> String {
    let key = item.alias.as_ref().or(item.key.as_ref());
    match (&item.grant, &item.role, key, &item.keyring) {
        (None, Some(role), _, _) => format!("role {role}"),
        (Some(grant), Some(role), _, _) => format!("{grant}: role {role}"),
        (Some(grant), None, Some(key), _) => format!("{grant}: {} on {key}", item.operations.join(", ")),
        (Some(grant), None, None, Some(keyring)) => format!("{grant}: {} on {keyring}", item.operations.join(", ")),
        (None, None, Some(key), _) => format!("consumer of {key}"),
        (_, None, None, _) => item.subject.to_string(),
    }
}

fn items<'a>(items: impl IntoIterator<Item = &'a ReviewItem>) -> String {
    let row = |item: &ReviewItem| {
        let decision = match (&item.verdict, &item.decided_by) {
            (Some(verdict), Some(by)) => format!("{verdict} by {by}"),
            _ => String::new(),
        };
        let used = match &item.last_used {
            Some(day) => day.0.chars().take(10).collect(),
            // What else a role is used for is in the audit log only.
            None if item.grant.is_none() && item.role.is_some() => "no key used".to_owned(),
            None => String::new(),
        };
        let made_by = item.made_by.clone().unwrap_or_default();
        [item.number.to_string(), item.who.clone(), right(item), used, made_by, decision]
    };
    rows(["item", "who", "right", "last used", "made by", "decision"], items.into_iter().map(row))
}

fn with_items(page: &ReviewWithItems) -> String {
    format!("{}\n{}", details(&page.review), items(&page.items))
}
