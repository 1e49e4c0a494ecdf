//! Roots of trust.

use clap::Subcommand;

use super::{root_check, root_tpm, roots, shares};
use crate::app::{App, Outcome};

/// Look after the roots of trust: what wraps every key
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root list\n  \
        $ keyreeve root migrate --from main --to hsm --reason 'the new device' --wait\n  \
        $ keyreeve root check --config /etc/keyreeve/keyreeve.toml\n  \
        $ keyreeve root holders")]
pub(crate) enum Command {
    Check(root_check::Check),
    List(roots::List),
    Join(roots::Join),
    Migrate(roots::Migrate),
    Retire(roots::Retire),
    #[command(subcommand)]
    Tpm(root_tpm::Command),
    #[command(flatten)]
    Shares(shares::Command),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Shares(command) => command.run(app).await,
            Self::Check(command) => command.run(app),
            Self::List(command) => command.run(app).await,
            Self::Join(command) => command.run(app).await,
            Self::Migrate(command) => command.run(app).await,
            Self::Retire(command) => command.run(app).await,
            Self::Tpm(command) => command.run(app),
        }
    }
}
