//! Keyrings: what keys are grouped in, each under a key-encryption key of its own.

use clap::{Args, Subcommand};
use keyreeve_wire::keyrings::{CreateKeyring, Keyring};
use keyreeve_wire::names::{Classification, Environment, RootNeed};
use keyreeve_wire::roots::RotateKek as RotateKekRequest;
use keyreeve_wire::system::RootUse;

use super::jobs;
use crate::app::{App, Listing, Outcome};
use crate::out::{facts, rows};
use crate::text::one_of;

/// Make and show keyrings: groups of keys of one environment
///
/// Every key belongs to a keyring. A keyring has its own key-encryption key, belongs to one environment, and bounds how
/// sensitive the data may be that its keys protect. `default` exists from the start.
#[derive(Subcommand)]
#[command(
    after_help = "Example:\n  $ keyreeve keyring create payments --owner 'payments team' --classification confidential"
)]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Show(Show),
    RotateKek(RotateKek),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::RotateKek(command) => command.run(app).await,
        }
    }
}

/// Make a keyring with its own key-encryption key
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve keyring create payments --owner 'payments team' --classification confidential\n  \
        $ keyreeve keyring create sandbox --environment development")]
pub(crate) struct Create {
    /// Its name, unique: letters, digits and -_./:@+
    name: String,
    /// Who answers for it
    #[arg(long, default_value = "", hide_default_value = true)]
    owner: String,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// The most sensitive data its keys may protect [default: internal]
    #[arg(long, value_parser = one_of!(Classification), value_name = "CLASS")]
    classification: Option<Classification>,
    /// The environment all its keys belong to [default: production]
    #[arg(long, value_parser = one_of!(Environment), value_name = "ENVIRONMENT")]
    environment: Option<Environment>,
    /// Allow keys for deterministic encryption, which reveals which plaintexts are equal
    #[arg(long)]
    allow_deterministic: bool,
    /// The root of trust that wraps its key-encryption key; several times, any one of them opens it [default: those of
    /// the server]
    #[arg(long = "root", value_name = "NAME")]
    roots: Vec<String>,
    /// Of several roots of trust, all are needed: nobody opens it who holds one
    #[arg(long, requires = "roots")]
    all_roots: bool,
}

impl Create {
    async fn run(self, app: &App) -> Outcome {
        let need = if self.all_roots { RootNeed::All } else { RootNeed::Any };
        let new = CreateKeyring {
            name: self.name,
            owner: self.owner,
            description: self.description,
            classification: self.classification,
            environment: self.environment,
            allow_deterministic: self.allow_deterministic,
            roots: (!self.roots.is_empty()).then_some(RootUse { need, roots: self.roots }),
        };
        let answer = app.client()?.create_keyring(&new).await?;
        app.note_record("keyring made", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.id, details)
    }
}

/// List keyrings
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve keyring list")]
pub(crate) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page =
            self.listing.collect(async |after, limit| Ok(client.keyrings(after.as_deref(), Some(limit)).await?.value));
        let page = page.await?;
        Listing::show(app, &page, |keyrings| {
            let row = |k: &Keyring| {
                let (class, environment) = (k.classification.to_string(), k.environment.to_string());
                [k.name.clone(), environment, class, jobs::under(&k.roots), k.owner.clone(), k.id.clone()]
            };
            rows(["name", "environment", "class", "root of trust", "owner", "id"], keyrings.iter().map(row))
        })
    }
}

/// Show a keyring
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve keyring show payments")]
pub(crate) struct Show {
    /// The keyring's name or id
    keyring: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.keyring(&self.keyring).await?.value, details)
    }
}

/// Make a new key-encryption key for a keyring, while the server works
///
/// Everything beneath the former ones is brought under it, as a job, and those are taken away then. With `--root` the
/// new one is under another root of trust.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve keyring rotate-kek payments --reason 'once a year'\n  \
        $ keyreeve keyring rotate-kek payments --root hsm --reason 'the new device' --until-done")]
pub(crate) struct RotateKek {
    /// The keyring's name or id
    keyring: String,
    /// The root of trust that wraps the new one; several times, any one of them opens it [default: as before]
    #[arg(long = "root", value_name = "NAME")]
    roots: Vec<String>,
    /// Of several roots of trust, all are needed: nobody opens it who holds one
    #[arg(long, requires = "roots")]
    all_roots: bool,
    /// Epochs (of about 256 keys) in a second at most [default: as fast as it goes]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pace: u32,
    /// Wait for the end
    #[arg(long)]
    until_done: bool,
    /// Why, for the audit log and for those who must agree
    #[arg(long)]
    reason: String,
}

impl RotateKek {
    async fn run(self, app: &App) -> Outcome {
        let need = if self.all_roots { RootNeed::All } else { RootNeed::Any };
        let roots = (!self.roots.is_empty()).then_some(RootUse { need, roots: self.roots });
        let client = app.client()?;
        let rotate = RotateKekRequest { roots, pace: self.pace, reason: self.reason };
        let answer = client.rotate_kek(&self.keyring, &rotate).await?;
        app.note_record("rotation begun", answer.audit_record.as_ref());
        jobs::begun(app, &client, &answer.value, self.until_done).await
    }
}

fn details(keyring: &Keyring) -> String {
    let deterministic = if keyring.allow_deterministic { "allowed" } else { "not allowed" };
    facts(&[
        ("name", keyring.name.clone()),
        ("id", keyring.id.clone()),
        ("environment", keyring.environment.to_string()),
        ("classification", keyring.classification.to_string()),
        ("owner", keyring.owner.clone()),
        ("description", keyring.description.clone()),
        ("deterministic", deterministic.to_owned()),
        ("created", keyring.created.to_string()),
        ("KEK version", keyring.kek_version.to_string()),
        ("roots of trust", jobs::under(&keyring.roots)),
    ])
}
