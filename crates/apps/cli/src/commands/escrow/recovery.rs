//! Taking a key out of escrow.

use std::path::PathBuf;

use clap::Args;
use keyreeve_crypto::TransportPublic;
use keyreeve_wire::escrow::{AbandonRecovery, EscrowRecovery, RecoverKey};
use keyreeve_wire::names::WrappingMethod;

use crate::app::{App, Outcome};
use crate::commands::shares::read_share;
use crate::emit::{self, OutArgs};
use crate::failure::{Exit, Failure};
use crate::files::read_all;
use crate::out::{facts, printable};
use crate::text::one_of;

/// The longest file with a public key in PEM (bytes).
const TEXT_MAX: usize = 32 * 1024;

fn shown(recovery: &EscrowRecovery) -> String {
    let recipient = recovery.recipient.clone().unwrap_or_else(|| "back into the server".to_owned());
    facts(&[
        ("recovery", recovery.id.clone()),
        ("key", format!("{} version {} in {}", recovery.key, recovery.version, printable(&recovery.keyring))),
        ("goes", recipient),
        ("asked", format!("{} by {}: {}", recovery.begun, printable(&recovery.by), printable(&recovery.reason))),
        ("state", recovery.state.clone()),
        ("shares", format!("{} of {} given, until {}", recovery.given, recovery.needed, recovery.expires)),
        ("agents", printable(&recovery.agents.join(", "))),
    ])
}

/// Begin to take a key out of escrow; others have to agree, then agents give their shares
///
/// Without `--to` the material goes back into the server, which lost it. With `--to` it is wrapped for somebody, which
/// only a key that was made exportable can be. What was destroyed does not come back. At least two people besides you
/// agree, whatever the rules say: the first call asks them, the same call once they agreed begins the recovery. Then
/// `keyreeve escrow give` takes the agents' shares, for 24 hours.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve escrow recover orders --key-version 2 --reason 'its row was lost'\n  \
        $ keyreeve escrow recover orders --key-version 2 --to court.pem --method rsa-aes-kwp --reason 'order 17/26'")]
pub(crate) struct Recover {
    /// The key's id or alias
    key: String,
    /// The version
    #[arg(long, value_name = "N")]
    key_version: u32,
    /// File with the public key that it is wrapped for, as PEM; for a hybrid both, the one for ECDH first
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// How it is wrapped
    #[arg(long, value_parser = one_of!(WrappingMethod), default_value = "rsa-aes-kwp", requires = "to")]
    method: WrappingMethod,
    /// Why: others are shown it
    #[arg(long)]
    reason: String,
}

impl Recover {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let recipient = self.to.as_ref().map(|path| {
            let text = String::from_utf8(read_all(path, TEXT_MAX)?)
                .map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
            let method = self.method.name().parse();
            let method = method.map_err(|_| Failure::new(Exit::Internal, "this program does not know the method"))?;
            let key = TransportPublic::from_pem(method, &text)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            app.out.note(&format!("for the key {}", key.fingerprint()));
            Ok::<_, Failure>(key.to_pem())
        });
        let recipient = recipient.transpose()?;
        let method = recipient.as_ref().map(|_| self.method);
        let recover = RecoverKey { version: self.key_version, method, recipient, reason: self.reason };
        let answer = app.client()?.recover_key(&self.key, &recover).await?;
        app.note_record("recovery begun", answer.audit_record.as_ref());
        app.out.note(&format!(
            "next: {} agents give their shares with `keyreeve escrow give {}`",
            answer.value.needed, answer.value.id
        ));
        app.show(&answer.value, shown)
    }
}

/// Give your share towards a recovery; the last one needed brings the key back
///
/// The share goes to the server over the encrypted connection and is kept in memory until enough are there, at most
/// until the recovery is over.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve escrow give rcv_0199a7b2c3d47e5f60718293a4b5c6d7     # asks for the share\n  \
        $ age -d -i alice.key share-1-alice.age | keyreeve escrow give rcv_0199a7b2c3d47e5f60718293a4b5c6d7 -")]
pub(crate) struct Give {
    /// The recovery, as `keyreeve escrow recover` named it
    recovery: String,
    /// A file with the share (`-`: standard input); asked for when missing
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Give {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let share = read_share(self.file.as_deref())?;
        let answer = client.give_escrow_share(&self.recovery, share).await?;
        app.note_record("share given", answer.audit_record.as_ref());
        app.show(&answer.value, |progress| match progress.done {
            true => format!("the key is back: `keyreeve escrow recovery {}` shows what came of it", self.recovery),
            false => format!("{} of {} shares given", progress.given, progress.needed),
        })
    }
}

/// Show a recovery, and take what was wrapped for somebody
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow recovery rcv_0199a7b2c3d47e5f60718293a4b5c6d7 -o orders.wrapped")]
pub(crate) struct Show {
    /// The recovery
    recovery: String,
    #[command(flatten)]
    out: OutArgs,
}

impl Show {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.escrow_recovery(&self.recovery).await?;
        let recovery = &answer.value;
        match (&recovery.wrapped, self.out.sink()) {
            (Some(wrapped), Some(_)) => {
                emit::public(app, &wrapped.0, &self.out, recovery, answer.audit_record.as_ref())
            }
            (None, Some(_)) => {
                Err(Failure::new(Exit::No, "nothing was wrapped for anybody in this recovery, or not yet"))
            }
            (_, None) => app.show(recovery, shown),
        }
    }
}

/// Give a recovery up: shares that were given are forgotten
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve escrow abandon rcv_0199a7b2c3d47e5f60718293a4b5c6d7 --reason 'the material was found'")]
pub(crate) struct Abandon {
    /// The recovery
    recovery: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Abandon {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let why = AbandonRecovery { reason: self.reason };
        let answer = app.client()?.abandon_recovery(&self.recovery, &why).await?;
        app.note_record("recovery given up", answer.audit_record.as_ref());
        app.show(&answer.value, |_| "given up".to_owned())
    }
}
