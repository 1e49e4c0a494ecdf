//! Key ceremonies: a script, people who follow it together, and a transcript that they sign.

mod child;
mod desk;
mod participant;
mod record;
mod recorded;
mod run;
mod scratch;
mod scripts;
mod steps;
mod verify;

use std::path::Path;

use clap::Subcommand;
use keyreeve_ceremony::transcript::TRANSCRIPT_MAX;
use keyreeve_model::UnixMillis;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files;

/// Lead people through a key ceremony, and check its transcript years later
///
/// A ceremony is a script that is followed step by step by people from different roles or organisations. Each signs
/// what happened with a key of their own; deviations are written down. `scripts` lists those that come with the
/// program, `run --dry-run` rehearses one with throwaway keys and data.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
        $ keyreeve ceremony scripts\n  \
        $ keyreeve ceremony run root-initialisation-shamir --dry-run   # first\n  \
        $ keyreeve ceremony verify transcript.jsonl --script script.toml")]
pub(crate) enum Command {
    Run(run::Run),
    Verify(verify::Verify),
    Record(record::Record),
    Check(scripts::Check),
    Scripts(scripts::Scripts),
    #[command(subcommand)]
    Script(scripts::Script),
    #[command(subcommand)]
    Participant(participant::Command),
}

impl Command {
    pub(crate) fn run(self, app: &App) -> Outcome {
        match self {
            Self::Run(command) => command.run(app),
            Self::Verify(command) => command.run(app),
            Self::Record(command) => command.run(app),
            Self::Check(command) => command.run(app),
            Self::Scripts(command) => command.run(app),
            Self::Script(command) => command.run(app),
            Self::Participant(command) => command.run(app),
        }
    }
}

/// Waits for something that a server answers. A ceremony is led by people at a terminal, and mostly waits for them.
fn waiting<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn now() -> UnixMillis {
    use keyreeve_server::Clock;
    keyreeve_server::SystemClock::new().now()
}

/// A transcript as it lies on the disk.
fn transcript_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read_all(path, TRANSCRIPT_MAX)
}

/// Something that would be a defect.
fn defect(error: impl ToString) -> Failure {
    Failure::new(Exit::Internal, error.to_string())
}
