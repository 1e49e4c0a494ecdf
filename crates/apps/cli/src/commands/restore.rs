//! Restoring a backup, without a server.

use std::path::PathBuf;

use clap::Args;
use keyreeve_model::Name;
use keyreeve_secret::SecretString;
use keyreeve_server::{FoundBackup, Restore as Order, RestoreOptions, SealStatus, ServerError};
use serde_json::json;
use std::io::IsTerminal as _;

use super::server::failure;
use super::system::shares_in;
use crate::app::{App, Outcome};
use crate::failure::Exit;
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
    /// A file with shares, one on each line; asked for on the terminal unless said
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
        let mut shares = match &self.shares {
            Some(path) => Some(shares_in(path)?.into_iter()),
            None => None,
        };
        let options =
            RestoreOptions { sequence: self.backup, keep_tokens: self.keep_tokens, token_for: self.token_for };
        let order = Order { config: &self.config, from: self.from.clone(), options };
        let found = |found: &FoundBackup| {
            app.out.note(&format!("backup {} of {}", found.sequence, found.made));
        };
        let share = |_: &SealStatus, refused: Option<String>| -> Result<SecretString, ServerError> {
            if let Some(why) = refused {
                // A person tries again; a program is told once.
                if shares.is_none() && !std::io::stdin().is_terminal() {
                    return Err(ServerError::Refused(format!("{why} (`--shares FILE` reads shares from a file)")));
                }
                app.out.note(&why);
            }
            let none = || ServerError::Refused("there are not enough shares to open the root of trust".to_owned());
            match &mut shares {
                Some(shares) => shares.next().ok_or_else(none),
                None => files::ask_secret("Share: ").map_err(|failure| ServerError::Refused(failure.what)),
            }
        };
        let restored = keyreeve_server::restore(&order, found, share).map_err(failure)?;
        if let (Some(token), Some(path)) = (&restored.token, &self.token_out) {
            Sink::of(path, false).write(token.expose().as_bytes(), Readers::Owner)?;
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
                 {} tokens and credentials are valid no more. Start the server, then `keyreeve backup list`.\n\
                 {in_devices}",
                restored.restored.sequence,
                restored.rows,
                restored.materials,
                restored.restored.kept_destroyed,
                restored.entries,
                restored.credentials_dropped,
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
