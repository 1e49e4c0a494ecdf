//! The roots of trust of a deployment: which there are, joining another one, moving to it, retiring one.

use clap::{Args, Subcommand};
use keyreeve_wire::names::{RootNeed, RootState};
use keyreeve_wire::roots::{JoinRoot, JoinedRoot, MigrateRoots, RetireRoot, Root};
use keyreeve_wire::system::RootUse;
use std::io::Write as _;

use super::jobs;
use super::shares::{HolderArgs, texts};
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::out::{facts, printable, rows};

/// What a server does with its roots of trust.
#[derive(Subcommand)]
pub(crate) enum Command {
    List(List),
    Join(Join),
    Migrate(Migrate),
    Retire(Retire),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Join(command) => command.run(app).await,
            Self::Migrate(command) => command.run(app).await,
            Self::Retire(command) => command.run(app).await,
        }
    }
}

/// List the roots of trust and what is under each
///
/// Custody says how well a root keeps its key: `software` in a file of the server's machine (development), `kms` inside
/// of a key management service, or of this server while people with shares or a TPM open it, `hsm` inside of a hardware
/// security module, which it never leaves. Keyrings for confidential data need `kms` or better, for restricted `hsm`.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root list")]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let roots = app.client()?.roots().await?.value;
        app.show(&roots, |roots| {
            let row = |root: &Root| {
                let custody = root.custody.map_or_else(String::new, |custody| custody.to_string());
                let own = if root.own_secret { "yes" } else { "" };
                [root.name.clone(), root.kind.clone(), custody, state(root), root.keyrings.to_string(), own.to_owned()]
            };
            let head = ["name", "kind", "custody", "state", "keyrings", "own secret"];
            rows(head, roots.roots.iter().map(row))
        })
    }
}

fn state(root: &Root) -> String {
    match (&root.status, &root.joined) {
        (None, _) => "not configured".to_owned(),
        (Some(_), None) => "not joined".to_owned(),
        (Some(status), Some(_)) => match (status.state, status.given, status.needed) {
            (RootState::Sealed, Some(given), Some(needed)) if needed > 0 => {
                format!("sealed, {given} of {needed} shares")
            }
            (state, ..) => state.to_string(),
        },
    }
}

/// Make a root of trust that the configuration names one of the deployment's
///
/// First add `[roots.NAME]` to the server's configuration, and start the server anew: it
/// reads its configuration once. Nothing is under the root afterwards: make keyrings with `--root`, give keyrings there
/// are a new key-encryption key under it with `keyring rotate-kek --root`, or move everything with `root migrate`.
///
/// The shares of a root that people open are encrypted to holders by the server: compare the fingerprints of their keys
/// with them first. Nobody sees another's share, and nothing comes under the root before as many holders as open it
/// have proved to have theirs (`share prove`, `root verify-share`).
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root join hsm --reason 'the new device'\n  \
        $ keyreeve root join people --threshold 2 --holders-file holders.toml --reason 'a second root'\n  \
        $ keyreeve root join people --threshold 2 --holder alice=age1... --holder bob=@bob.asc --reason 'no device'")]
pub(crate) struct Join {
    /// Its name in the configuration
    name: String,
    /// How many shares to make, for a root that people open [default: one for each holder]
    #[arg(long, value_name = "N")]
    shares: Option<u8>,
    /// How many of them open it
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threshold: u8,
    #[command(flatten)]
    holders: HolderArgs,
    /// Why, for the audit log and for those who must agree
    #[arg(long)]
    reason: String,
}

impl Join {
    async fn run(self, app: &App) -> Outcome {
        let Self { name, shares, threshold, holders, reason } = self;
        let holders = holders.read()?;
        let each = u8::try_from(holders.len()).map_err(|_| Failure::usage("a root has at most 32 shares"))?;
        let shares = shares.unwrap_or(each);
        let join = JoinRoot { name: name.clone(), shares, threshold, holders, reason };
        let answer = app.client()?.join_root(&join).await?;
        app.note_record("root of trust joined", answer.audit_record.as_ref());
        if !answer.value.handed.is_empty() {
            app.out.note(&format!(
                "next: send each share to its holder (`keyreeve root reshare show --root {name} --out-dir DIR` writes \
                 files); they answer the challenge with `keyreeve share prove`, you hand that in with `keyreeve root \
                 verify-share --root {name}`; then `keyreeve root migrate --to {name}`"
            ));
            return app.show(&answer.value, |joined| texts(&joined.handed, joined.challenge.as_deref()));
        }
        if answer.value.shares.is_empty() {
            app.out.note(&format!(
                "next: `keyreeve keyring create NAME --root {name}`, or `keyreeve root migrate --to {name} \
                 --reason WHY`"
            ));
            return app.show(&answer.value, |joined| facts(&[("name", name.clone()), ("kind", joined.kind.clone())]));
        }
        app.out.show_secret(&answer.value, shares_text)?;
        app.out.note("the shares are shown this once: hand each to another person");
        Ok(Exit::Done)
    }
}

fn shares_text(joined: &JoinedRoot, out: &mut keyreeve_secret::SecretBuffer) -> std::io::Result<()> {
    for (number, share) in (1..).zip(&joined.shares) {
        writeln!(out, "share {number:<2}       {}", share.expose())?;
    }
    writeln!(out, "kind           {}", printable(&joined.kind))
}

/// Take a root of trust that nothing is under out of the deployment
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root retire main --reason 'everything moved to the device'")]
pub(crate) struct Retire {
    /// Its name
    name: String,
    /// Why, for the audit log and for those who must agree
    #[arg(long)]
    reason: String,
}

impl Retire {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.retire_root(&self.name, &RetireRoot { reason: self.reason }).await?;
        app.note_record("root of trust retired", answer.audit_record.as_ref());
        Ok(Exit::Done)
    }
}

/// Move what roots of trust wrap to others, while the server works
///
/// Each keyring gets a new key-encryption key under the new roots, everything beneath comes under new epoch keys, and
/// the old ones are taken away; the server's own secret follows. At the end nothing is under the old root: what it had
/// wrapped opens nothing that is in use, nor what is stored later. The server's own secret stays the same one: keep
/// copies of the database from before as carefully as the old root, and make a backup now.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root migrate --from main --to hsm --reason 'the new device' --until-done\n  \
        $ keyreeve root migrate --to hsm --to cloud --reason 'either opens'\n  \
        $ keyreeve root migrate --to hsm --to people --all-roots --reason 'nobody alone'")]
pub(crate) struct Migrate {
    /// What is under this root [default: everything]
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// The root it comes under; several times, any one of them opens it
    #[arg(long, required = true, value_name = "NAME")]
    to: Vec<String>,
    /// Of several roots, all are needed: nobody opens it who holds one
    #[arg(long)]
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

impl Migrate {
    async fn run(self, app: &App) -> Outcome {
        let need = if self.all_roots { RootNeed::All } else { RootNeed::Any };
        let to = RootUse { need, roots: self.to };
        let migrate = MigrateRoots { from: self.from, to, pace: self.pace, reason: self.reason };
        let client = app.client()?;
        let answer = client.migrate_roots(&migrate).await?;
        app.note_record("migration begun", answer.audit_record.as_ref());
        jobs::begun(app, &client, &answer.value, self.until_done).await
    }
}
