//! Break-glass: emergencies.

use clap::{Args, Subcommand};
use keyreeve_client::Client;
use keyreeve_wire::Pairs;
use keyreeve_wire::cases::{
    DeclareEmergency, Emergency, EmergencyOwed, EmergencyRevoked, EmergencyUse, ReviewEmergency,
};
use keyreeve_wire::names::EmergencyState;

use super::grants::tell_of_files;
use crate::app::{App, Listing, Outcome};
use crate::failure::Failure;
use crate::out::{facts, rows};
use crate::text::{Pair, map, one_of};

/// Break glass: let some people act with some keys for a time
///
/// An emergency belongs to an open incident and takes the consent of at least two people besides the one who declares
/// it. Everybody is told at once of its beginning, of each new use, and of its end. Afterwards every key that was used
/// is rotated, every participant gets new credentials, and somebody who had no part in it signs the review.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  \
        $ keyreeve emergency declare inc_0190a7b2c3d4e5f60718293a4b5c6d7e --key orders --operation decrypt \
        --participant pat --minutes 30 --why 'the restore must run tonight'")]
pub(crate) enum Command {
    Declare(Declare),
    List(List),
    Show(Show),
    End(End),
    Review(Review),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Declare(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::End(command) => command.run(app).await,
            Self::Review(command) => command.run(app).await,
        }
    }
}

/// Ask for an emergency; it waits for the consent of the others
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve emergency declare inc_0190a7b2c3d4e5f60718293a4b5c6d7e --key orders --operation decrypt \
        --participant pat --minutes 30 --why 'the restore must run tonight'")]
pub(crate) struct Declare {
    /// The open incident it belongs to
    incident: String,
    /// A key, by id or alias; may be repeated
    #[arg(long = "key", value_name = "KEY", required_unless_present = "keyrings")]
    keys: Vec<String>,
    /// A keyring, by id or name, all of whose keys are meant; may be repeated
    #[arg(long = "keyring", value_name = "KEYRING")]
    keyrings: Vec<String>,
    /// What may be done with them, as key.decrypt, or all of a side: encrypt, decrypt, sign, verify, derive; may be
    /// repeated
    #[arg(long = "operation", value_name = "OPERATION", required = true)]
    operations: Vec<String>,
    /// Who may do it; may be repeated
    #[arg(long = "participant", value_name = "NAME", required = true)]
    participants: Vec<String>,
    /// For how many minutes from the moment it is in force: at most 240
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=240))]
    minutes: u16,
    /// Why nothing less will do
    #[arg(long)]
    why: String,
}

/// People consent to ids: an alias could lead elsewhere by the time it is done.
async fn ids(client: &Client, keys: &[String], keyrings: &[String]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut key_ids, mut keyring_ids) = (Vec::new(), Vec::new());
    for key in keys {
        let id = if key.starts_with("key_") { key.clone() } else { client.key(key).await?.value.summary.id };
        key_ids.push(id);
    }
    for keyring in keyrings {
        let id = if keyring.starts_with("krg_") { keyring.clone() } else { client.keyring(keyring).await?.value.id };
        keyring_ids.push(id);
    }
    Ok((key_ids, keyring_ids))
}

impl Declare {
    async fn run(self, app: &App) -> Outcome {
        tell_of_files(app, &self.operations);
        let client = app.client()?;
        let (keys, keyrings) = ids(&client, &self.keys, &self.keyrings).await?;
        let new = DeclareEmergency {
            incident: self.incident,
            keys,
            keyrings,
            operations: self.operations,
            participants: self.participants,
            minutes: self.minutes,
            why: self.why,
        };
        let answer = client.declare_emergency(&new).await?;
        app.note_record("emergency in force", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.id, details)
    }
}

/// List emergencies
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve emergency list --state under-review")]
pub(crate) struct List {
    /// Only those in this state
    #[arg(long, value_parser = one_of!(EmergencyState))]
    state: Option<EmergencyState>,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self.listing.collect(async |after, limit| {
            Ok(client.emergencies(self.state, (after.as_deref(), Some(limit))).await?.value)
        });
        let page = page.await?;
        Listing::show(app, &page, |emergencies| {
            let row = |one: &Emergency| {
                let owed = one.owed.iter().filter(|item| item.done.is_none()).count();
                let until = one.until.as_ref().map_or_else(String::new, ToString::to_string);
                [one.id.clone(), one.state.to_string(), one.participants.join(", "), until, owed.to_string()]
            };
            rows(["id", "state", "participants", "until", "owed"], emergencies.iter().map(row))
        })
    }
}

/// Show an emergency, what was done in it and what is owed
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve emergency show emg_0190a7b2c3d4e5f60718293a4b5c6d7e")]
pub(crate) struct Show {
    /// The emergency's id
    emergency: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.emergency(&self.emergency).await?.value, details)
    }
}

/// End an emergency before its time
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve emergency end emg_0190a7b2c3d4e5f60718293a4b5c6d7e")]
pub(crate) struct End {
    /// The emergency's id
    emergency: String,
}

impl End {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.end_emergency(&self.emergency).await?;
        app.note_record("emergency ended", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

/// Sign the review of an emergency, as somebody who had no part in it
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve emergency review emg_0190a7b2c3d4e5f60718293a4b5c6d7e --text 'as announced, nothing else was read' \
        --disposition key_0190a7b2c3d4e5f60718293a4b5c6d7e='rotated, old version off'")]
pub(crate) struct Review {
    /// The emergency's id
    emergency: String,
    /// What was found
    #[arg(long)]
    text: String,
    /// What becomes of a key that was used, by id or alias, for each of them
    #[arg(long = "disposition", value_name = "KEY=TEXT")]
    dispositions: Vec<Pair>,
}

impl Review {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let (keys, texts): (Vec<String>, Vec<String>) = map(&self.dispositions)?.into_iter().unzip();
        let (keys, _) = ids(&client, &keys, &[]).await?;
        let dispositions: Vec<Pair> = keys.into_iter().zip(texts).map(|(key, text)| Pair(key, text)).collect();
        let review = ReviewEmergency { text: self.text, dispositions: Pairs(map(&dispositions)?) };
        let answer = client.review_emergency(&self.emergency, &review).await?;
        app.note_record("review signed", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

fn by(at: Option<&impl ToString>, who: Option<&String>) -> String {
    match (at, who) {
        (Some(at), Some(who)) => format!("{} by {who}", at.to_string()),
        _ => String::new(),
    }
}

fn details(one: &Emergency) -> String {
    let due = one.review_due.as_ref().map_or_else(String::new, ToString::to_string);
    let due = if one.overdue { format!("{due} (overdue)") } else { due };
    let mut text = facts(&[
        ("id", one.id.clone()),
        ("state", one.state.to_string()),
        ("incident", one.incident.clone()),
        ("why", one.why.clone()),
        ("keys", one.keys.join(", ")),
        ("keyrings", one.keyrings.join(", ")),
        ("operations", one.operations.join(", ")),
        ("participants", one.participants.join(", ")),
        ("declared", format!("{} by {}", one.declared, one.declared_by)),
        ("voters", one.voters.join(", ")),
        ("until", one.until.as_ref().map_or_else(String::new, ToString::to_string)),
        ("ended", by(one.ended.as_ref(), one.ended_by.as_ref())),
        ("review due", due),
        ("reviewed", by(one.reviewed.as_ref(), one.reviewed_by.as_ref())),
        ("review", one.review.clone().unwrap_or_default()),
    ]);
    if !one.uses.is_empty() {
        let row =
            |use_: &EmergencyUse| [use_.at.to_string(), use_.by.clone(), use_.operation.clone(), use_.key.clone()];
        text.push('\n');
        text.push_str(&rows(["first used", "by", "operation", "key"], one.uses.iter().map(row)));
    }
    if !one.revoked.is_empty() {
        let row = |gone: &EmergencyRevoked| [gone.what.clone(), gone.of.clone(), gone.id.clone()];
        text.push('\n');
        text.push_str(&rows(["ended", "of", "id"], one.revoked.iter().map(row)));
    }
    if !one.owed.is_empty() {
        let row = |owed: &EmergencyOwed| {
            let what = match (&owed.key, &owed.credentials_of) {
                (Some(key), _) => format!("rotate {key}"),
                (None, who) => format!("new credentials for {}", who.as_deref().unwrap_or_default()),
            };
            [what, by(owed.done.as_ref(), owed.how.as_ref()).replace(" by ", ": ")]
        };
        text.push('\n');
        text.push_str(&rows(["owed", "done"], one.owed.iter().map(row)));
    }
    if !one.dispositions.0.is_empty() {
        text.push('\n');
        text.push_str(&rows(
            ["key", "what becomes of it"],
            one.dispositions.0.clone().into_iter().map(<[String; 2]>::from),
        ));
    }
    text
}
