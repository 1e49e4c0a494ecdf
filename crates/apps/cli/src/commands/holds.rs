//! Legal holds.

use clap::{Args, Subcommand};
use keyreeve_wire::cases::{Hold, PlaceHold, ReleaseHold};

use crate::app::{App, Listing, Outcome};
use crate::failure::Failure;
use crate::out::{facts, rows};

/// Keep keys from being destroyed for legal reasons
///
/// While a hold is in force nothing it covers is destroyed without Legal, and a destruction that was scheduled waits.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve hold place orders --matter 2026-cv-1042")]
pub(crate) enum Command {
    Place(Place),
    List(List),
    Release(Release),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Place(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Release(command) => command.run(app).await,
        }
    }
}

/// Place a hold on a key, or on every key of a keyring
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve hold place orders --matter 2026-cv-1042\n  \
        $ keyreeve hold place --keyring payments --matter 2026-cv-1042")]
pub(crate) struct Place {
    /// The key, by id or alias
    #[arg(required_unless_present = "keyring", conflicts_with = "keyring")]
    key: Option<String>,
    /// Every key of this keyring, those made later included
    #[arg(long)]
    keyring: Option<String>,
    /// The case it is for
    #[arg(long)]
    matter: String,
}

impl Place {
    async fn run(self, app: &App) -> Outcome {
        let (client, hold) = (app.client()?, PlaceHold { matter: self.matter });
        let answer = match (&self.key, &self.keyring) {
            (Some(key), None) => client.place_hold(key, &hold).await?,
            (None, Some(keyring)) => client.place_hold_on_keyring(keyring, &hold).await?,
            _ => return Err(Failure::usage("name a key, or a keyring with --keyring")),
        };
        app.note_record("hold placed", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.id, details)
    }
}

/// List holds: those in force, unless said otherwise
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve hold list\n  $ keyreeve hold list --key orders --released")]
pub(crate) struct List {
    /// Only those that cover this key
    #[arg(long)]
    key: Option<String>,
    /// Those that were released as well
    #[arg(long)]
    released: bool,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self.listing.collect(async |after, limit| {
            Ok(client.holds(self.key.as_deref(), self.released, (after.as_deref(), Some(limit))).await?.value)
        });
        let page = page.await?;
        Listing::show(app, &page, |holds| {
            let row = |hold: &Hold| {
                let released = hold.released.as_ref().map_or_else(String::new, ToString::to_string);
                [hold.id.clone(), covered(hold), hold.matter.clone(), hold.placed.to_string(), released]
            };
            rows(["id", "covers", "matter", "placed", "released"], holds.iter().map(row))
        })
    }
}

/// Release a hold
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve hold release hld_0190a7b2c3d4e5f60718293a4b5c6d7e --reason 'case closed'")]
pub(crate) struct Release {
    /// The hold's id
    hold: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Release {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.release_hold(&self.hold, &ReleaseHold { reason: self.reason }).await?;
        app.note_record("hold released", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

fn covered(hold: &Hold) -> String {
    match (&hold.key, &hold.keyring) {
        (Some(key), _) => key.clone(),
        (None, keyring) => keyring.clone().unwrap_or_default(),
    }
}

fn details(hold: &Hold) -> String {
    let released = match (&hold.released, &hold.released_by) {
        (Some(at), Some(by)) => format!("{at} by {by}"),
        _ => String::new(),
    };
    facts(&[
        ("id", hold.id.clone()),
        ("covers", covered(hold)),
        ("matter", hold.matter.clone()),
        ("placed", format!("{} by {}", hold.placed, hold.placed_by)),
        ("released", released),
        ("reason", hold.release_reason.clone().unwrap_or_default()),
    ])
}
