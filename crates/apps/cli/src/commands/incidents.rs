//! Incidents.

use clap::{Args, Subcommand};
use keyreeve_wire::cases::{ConfirmIncident, Confirmation, Incident, IncidentEvent, IncidentText, OpenIncident};
use keyreeve_wire::names::IncidentKind;

use crate::app::{App, Listing, Outcome};
use crate::out::{facts, rows};
use crate::text::one_of;

/// Follow what went wrong until it is put right
///
/// Naming a key as compromised, or suspending it, opens an incident by itself where the rules of approval say so. What
/// was done on one person's authority is then confirmed by a second one, and the incident stays open until it is.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve incident open --kind compromise --key orders --reason 'laptop stolen'")]
pub(crate) enum Command {
    Open(Open),
    List(List),
    Show(Show),
    Note(Note),
    Confirm(Confirm),
    Close(Close),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Open(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Note(command) => command.run(app).await,
            Self::Confirm(command) => command.run(app).await,
            Self::Close(command) => command.run(app).await,
        }
    }
}

/// Open an incident
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve incident open --kind compromise --key orders --ticket INC-7 --reason 'laptop stolen'\n  \
        $ keyreeve incident open --kind other --reason 'the vendor cannot be reached'")]
pub(crate) struct Open {
    /// What it is about
    #[arg(long, value_parser = one_of!(IncidentKind))]
    kind: IncidentKind,
    /// A key it touches, by id or alias; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// The ticket in your own system
    #[arg(long)]
    ticket: Option<String>,
    /// What happened
    #[arg(long)]
    reason: String,
}

impl Open {
    async fn run(self, app: &App) -> Outcome {
        let new = OpenIncident { kind: self.kind, keys: self.keys, ticket: self.ticket, reason: self.reason };
        let answer = app.client()?.open_incident(&new).await?;
        app.note_record("incident opened", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.id, details)
    }
}

/// List incidents
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve incident list --open\n  $ keyreeve incident list --closed --all")]
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

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let open = (self.open || self.closed).then_some(self.open);
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.incidents(open, (after.as_deref(), Some(limit))).await?.value));
        let page = page.await?;
        Listing::show(app, &page, |incidents| {
            let row = |incident: &Incident| {
                let owed = incident.confirmations.iter().filter(|one| one.confirmed.is_none()).count();
                let state = if incident.closed.is_some() { "closed" } else { "open" };
                let (kind, opened) = (incident.kind.to_string(), incident.opened.to_string());
                [incident.id.clone(), state.to_owned(), kind, owed.to_string(), opened, incident.reason.clone()]
            };
            rows(["id", "state", "kind", "owed", "opened", "reason"], incidents.iter().map(row))
        })
    }
}

/// Show an incident with its history and what it owes
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve incident show inc_0190a7b2c3d4e5f60718293a4b5c6d7e")]
pub(crate) struct Show {
    /// The incident's id
    incident: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.incident(&self.incident).await?.value, details)
    }
}

/// Write something down in an incident
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve incident note inc_0190a7b2c3d4e5f60718293a4b5c6d7e 'backups checked, nothing there'")]
pub(crate) struct Note {
    /// The incident's id
    incident: String,
    /// The text
    text: String,
}

impl Note {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.note_incident(&self.incident, &IncidentText { text: self.text }).await?;
        app.show(&answer.value, details)
    }
}

/// Confirm, as a second person, what was done in an incident
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve incident confirm inc_0190a7b2c3d4e5f60718293a4b5c6d7e 1")]
pub(crate) struct Confirm {
    /// The incident's id
    incident: String,
    /// The number of the confirmation, as `incident show` lists it
    number: u32,
}

impl Confirm {
    async fn run(self, app: &App) -> Outcome {
        let confirm = ConfirmIncident { number: self.number };
        let answer = app.client()?.confirm_incident(&self.incident, &confirm).await?;
        app.note_record("confirmed", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

/// Close an incident that owes nothing
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve incident close inc_0190a7b2c3d4e5f60718293a4b5c6d7e --text 'replaced everywhere'")]
pub(crate) struct Close {
    /// The incident's id
    incident: String,
    /// What came of it
    #[arg(long)]
    text: String,
}

impl Close {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.close_incident(&self.incident, &IncidentText { text: self.text }).await?;
        app.note_record("incident closed", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

fn details(incident: &Incident) -> String {
    let closed = match (&incident.closed, &incident.closed_by) {
        (Some(at), Some(by)) => format!("{at} by {by}"),
        _ => String::new(),
    };
    let mut text = facts(&[
        ("id", incident.id.clone()),
        ("kind", incident.kind.to_string()),
        ("reason", incident.reason.clone()),
        ("ticket", incident.ticket.clone().unwrap_or_default()),
        ("keys", incident.keys.join(", ")),
        ("opened", format!("{} by {}", incident.opened, incident.opened_by)),
        ("closed", closed),
        ("conclusion", incident.conclusion.clone().unwrap_or_default()),
    ]);
    if !incident.confirmations.is_empty() {
        let row = |one: &Confirmation| {
            let state = match (&one.confirmed, &one.confirmed_by) {
                (Some(at), Some(by)) => format!("confirmed {at} by {by}"),
                _ if one.overdue => format!("overdue since {}", one.due),
                _ => format!("owed until {}", one.due),
            };
            [one.number.to_string(), one.operation.clone(), one.by.clone(), one.roles.join(" or "), state]
        };
        text.push('\n');
        text.push_str(&rows(["confirm", "done", "by", "needs", "state"], incident.confirmations.iter().map(row)));
    }
    if !incident.events.is_empty() {
        let row = |event: &IncidentEvent| [event.at.to_string(), event.by.clone(), event.what.clone()];
        text.push('\n');
        text.push_str(&rows(["at", "by", "what"], incident.events.iter().map(row)));
    }
    text
}
