//! Roots of trust: those of a deployment, who holds their shares, and what is done beside a server.

use clap::Subcommand;

use super::{root_check, root_tpm, roots, shares};
use crate::app::{App, Outcome};

/// Look after roots of trust: those of a deployment, devices beside a server, and people who hold shares
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root list\n  \
        $ keyreeve root migrate --from main --to hsm --reason 'the new device' --wait\n  \
        $ keyreeve root check --config /etc/keyreeve/keyreeve.toml\n  \
        $ keyreeve root tpm pcrs --pcrs 4,7,11\n  \
        $ keyreeve root holders")]
pub(crate) enum Command {
    #[command(flatten)]
    Beside(Beside),
    #[command(flatten)]
    Deployment(roots::Command),
    #[command(flatten)]
    Shares(shares::Command),
}

/// What is done without asking a server.
#[derive(Subcommand)]
pub(crate) enum Beside {
    Check(root_check::Check),
    #[command(subcommand)]
    Tpm(root_tpm::Command),
}

impl Beside {
    pub(crate) fn run(self, app: &App) -> Outcome {
        match self {
            Self::Check(command) => command.run(app),
            Self::Tpm(command) => command.run(app),
        }
    }
}
