//! What a hardware security module offers.

use std::path::PathBuf;

use clap::Args;
use keyreeve_server::{RootCheck, RootDevice};

use crate::app::{App, Outcome};
use crate::commands::server::failure;
use crate::failure::{Exit, Failure};
use crate::out::{facts, rows};

/// Show what a hardware security module offers, and what Keyreeve can do with it
///
/// Asks the token of a configured root, or with `--library` one that no configuration names yet. Nothing is changed and
/// no server is needed. Ends with 1 if the token cannot be a root of trust.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root check --config /etc/keyreeve/keyreeve.toml\n  \
        $ keyreeve root check --library /usr/lib/softhsm/libsofthsm2.so --token-label keyreeve")]
pub(crate) struct Check {
    /// The configuration
    #[arg(long, value_name = "FILE", required_unless_present = "library", conflicts_with = "library")]
    config: Option<PathBuf>,
    /// Which root of the configuration (`main` is the one under `[root]`); the only one in a token unless said
    #[arg(long, value_name = "NAME", requires = "config")]
    root: Option<String>,
    /// Log in to the token too, with the PIN from where the configuration says
    #[arg(long, requires = "config")]
    login: bool,
    /// The PKCS #11 library of the module's maker
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Label of the token
    #[arg(long, value_name = "LABEL", requires = "library")]
    token_label: Option<String>,
    /// Serial number of the token
    #[arg(long, value_name = "NUMBER", requires = "library")]
    serial: Option<String>,
}

impl Check {
    pub(crate) fn run(self, app: &App) -> Outcome {
        let device = match (self.library, self.config) {
            (Some(library), _) => RootDevice::Token {
                library,
                token: self.token_label.unwrap_or_default(),
                serial: self.serial.unwrap_or_default(),
            },
            (None, Some(file)) => RootDevice::Configured { file, root: self.root },
            (None, None) => return Err(Failure::usage("name a configuration or a library")),
        };
        let found = keyreeve_server::root_check(&device, self.login).map_err(failure)?;
        app.show(&found, |found| screen(found, self.login))?;
        Ok(if found.impossible.is_empty() { Exit::Done } else { Exit::No })
    }
}

fn screen(found: &RootCheck, login: bool) -> String {
    let table = found.offers.iter().map(|offer| {
        let verdict = if offer.works { "yes".to_owned() } else { format!("no: {}", offer.lacks.join(", ")) };
        [offer.what.clone(), offer.mechanisms.join(", "), verdict]
    });
    let warnings: String = found.warnings.iter().map(|line| format!("warning  {line}\n")).collect();
    let logged = if login { "The token took the PIN.\n" } else { "" };
    let verdict = if found.impossible.is_empty() {
        "This token can be a root of trust."
    } else {
        "This token cannot be a root of trust."
    };
    format!("{}\n{}\n\n{warnings}{logged}{verdict}", facts(&found.device), rows(["for", "takes", "works"], table))
}
