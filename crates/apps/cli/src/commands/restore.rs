//! Restoring a backup, without a server.

use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_model::Name;
use keyreeve_secret::SecretString;
use keyreeve_server::{FoundBackup, Restore as Order, RestoreOptions, SealStatus, ServerError, Taken};
use serde_json::json;
use std::io::IsTerminal as _;

use super::server::failure;
use super::system::shares_in;
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink};

/// Restore a backup into a server that has nothing yet
///
/// Reads and checks the whole backup first, asks for shares where the root of trust wants them, then writes the log,
/// the epoch keys and the store. Keys that were destroyed after the backup stay destroyed. Tokens and service
/// credentials of the backup are valid no more: --token-for makes one for an administrator. Start the server
/// afterwards, and see docs/operations.md (Restoring) for what to look at.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve restore --config keyreeve.toml --from vault --token-for operator --token-out operator.token\n  \
        $ keyreeve restore --config keyreeve.toml --from vault --backup 7 --shares shares.txt")]
pub(crate) struct Restore {
    /// The configuration of the new server
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The destination that has the backup, by its name in the configuration
    #[arg(long, value_name = "DESTINATION")]
    from: Name,
    /// The number of the backup; the newest unless said
    #[arg(long, value_name = "NUMBER")]
    backup: Option<u64>,
    /// A file with shares, one on each line, in any order and of whatever roots of trust; asked for on the terminal
    /// unless said
    #[arg(long, value_name = "FILE")]
    shares: Option<PathBuf>,
    /// Make a token of one day for this principal
    #[arg(long, value_name = "PRINCIPAL", requires = "token_out")]
    token_for: Option<Name>,
    /// Where the token is written
    #[arg(long, value_name = "FILE", requires = "token_for")]
    token_out: Option<PathBuf>,
    /// Let tokens and service credentials be as the backup has them, those that were revoked since as well
    #[arg(long)]
    keep_tokens: bool,
}

impl Restore {
    pub(crate) fn run(self, app: &App) -> Outcome {
        let mut shares = Shares::of(app, self.shares.as_deref())?;
        let options =
            RestoreOptions { sequence: self.backup, keep_tokens: self.keep_tokens, token_for: self.token_for };
        let order = Order { config: &self.config, from: self.from.clone(), options };
        let found = |found: &FoundBackup| told(app, found);
        let share = |waiting: &[(Name, SealStatus)], last: Taken| shares.next(waiting, last);
        let restored = keyreeve_server::restore(&order, found, share).map_err(failure)?;
        if let (Some(token), Some(path)) = (&restored.token, &self.token_out) {
            Sink::new_file(path).write(token.expose().as_bytes(), Readers::Owner)?;
        }
        let value = json!({
            "backup": restored.restored.sequence,
            "rows": restored.rows,
            "key_versions": restored.materials,
            "kept_destroyed": restored.restored.kept_destroyed,
            "log_entries": restored.entries,
            "log_size_of_backup": restored.restored.log_size,
            "credentials_dropped": restored.credentials_dropped,
            "keys_in_devices": restored.in_devices,
            "unasked": restored.restored.unasked,
        });
        for name in &restored.restored.unasked {
            app.out.note(&format!(
                "`{name}` could not be asked for newer ledgers: keys that were destroyed while `{}` was away may be \
                 back",
                self.from
            ));
        }
        let in_devices: String = restored.in_devices.iter().map(|(root, keys)| inside(root, *keys)).collect();
        app.out.show(&value, |_| {
            format!(
                "restored backup {}: {} rows, {} key versions, {} destroyed since and kept so, {} log entries\n\
                 {} tokens and credentials are valid no more.\n\
                 Next: start the server; somebody who may (role `key-auditor`) looks at `keyreeve audit search` from \
                 entry {} on,\nthen an operator takes note of the restore: `keyreeve backup acknowledge --reason \
                 TEXT`. `keyreeve status` reminds of it.\n\
                 {in_devices}",
                restored.restored.sequence,
                restored.rows,
                restored.materials,
                restored.restored.kept_destroyed,
                restored.entries,
                restored.credentials_dropped,
                restored.restored.log_size,
            )
        })?;
        Ok(Exit::Done)
    }
}

/// What people have to know of keys that no backup has anything of.
fn inside(root: &Name, keys: u64) -> String {
    format!(
        "{keys} keys are inside the device of the root of trust `{root}` and in no backup: they work with that device, \
         or one that its maker's tools cloned from it, and with no other.\n"
    )
}

/// Tells which backup was found.
pub(crate) fn told(app: &App, found: &FoundBackup) {
    app.out.note(&format!("backup {} of {}", found.sequence, found.made));
}

/// Where shares come from.
pub(crate) struct Shares<'a> {
    app: &'a App,
    /// Those of a file.
    file: Option<std::vec::IntoIter<SecretString>>,
}

impl<'a> Shares<'a> {
    pub(crate) fn of(app: &'a App, file: Option<&Path>) -> Result<Self, Failure> {
        let file = file.map(|path| shares_in(path).map(Vec::into_iter)).transpose()?;
        Ok(Self { app, file })
    }

    /// The next share, after a word on the one before.
    pub(crate) fn next(&mut self, waiting: &[(Name, SealStatus)], last: Taken) -> Result<SecretString, ServerError> {
        let out = self.app.out;
        match last {
            Taken::None => {}
            Taken::Counts(name, status) => out.note(&format!("root of trust `{name}`: {}", stands(&status))),
            Taken::NotNeeded(why) => out.note(&why),
            // A person tries again, and a file may hold shares of other deployments too; a program is told once.
            Taken::Refused(why) if self.file.is_none() && !std::io::stdin().is_terminal() => {
                return Err(ServerError::Refused(format!("{why} (`--shares FILE` reads shares from a file)")));
            }
            Taken::Refused(why) => out.warn(&why),
        }
        let missing: Vec<String> =
            waiting.iter().map(|(name, status)| format!("root of trust `{name}`: {}", stands(status))).collect();
        let missing = missing.join("; ");
        match &mut self.file {
            Some(shares) => shares.next().ok_or_else(|| {
                ServerError::Refused(format!("the file has not enough shares to open what the backup needs: {missing}"))
            }),
            None => {
                if matches!(waiting, [_, _, ..]) {
                    out.note(&missing);
                }
                let share = files::ask_secret("Share: ").map_err(|failure| ServerError::Refused(failure.what))?;
                if share.is_empty() {
                    return Err(ServerError::Refused(format!("no share was given, and some are missing: {missing}")));
                }
                Ok(share)
            }
        }
    }
}

fn stands(status: &SealStatus) -> String {
    match status {
        SealStatus::Open => "open".to_owned(),
        SealStatus::NotInitialised { .. } => "not initialised".to_owned(),
        SealStatus::Sealed { given, threshold, .. } => format!("{given} of {threshold} shares given"),
    }
}
