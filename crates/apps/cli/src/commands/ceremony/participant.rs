//! The keys with which participants sign.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_ceremony::participant::{CeremonyKey, FILE_MAX, ParticipantError, ParticipantFile};
use keyreeve_ceremony::word::Line;
use keyreeve_crypto::Random;
use keyreeve_secret::SecretString;
use serde_json::json;

use super::defect;
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink};
use crate::out::facts;

/// Make and look at the keys with which participants of ceremonies sign
#[derive(Subcommand)]
#[command(after_help = "Example:\n  \
        $ keyreeve ceremony participant new 'Alice Baker' --organisation Acme -o alice.participant")]
pub(crate) enum Command {
    New(New),
    Show(Show),
}

impl Command {
    pub(super) fn run(self, app: &App) -> Outcome {
        match self {
            Self::New(command) => command.run(app),
            Self::Show(command) => command.run(app),
        }
    }
}

/// Make a key for somebody who takes part in ceremonies
///
/// The file holds the key under a passphrase of at least 12 characters, which is asked for twice. Give the fingerprint
/// to the others before the ceremony, by another way than the file travels: they compare it when you are enrolled.
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve ceremony participant new 'Alice Baker' --organisation Acme -o alice.participant")]
pub(crate) struct New {
    /// The participant's name, as it stands in the transcript
    name: Line,
    /// The organisation that the participant is from
    #[arg(long, value_name = "NAME")]
    organisation: Line,
    /// The new file
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

impl New {
    fn run(self, app: &App) -> Outcome {
        let output = Sink::of(&self.out, self.force).create(Readers::Owner)?;
        let passphrase = files::ask_secret("Passphrase for the key: ")?;
        if !files::ask_secret("The same again: ")?.ct_eq(passphrase.expose()) {
            return Err(Failure::usage("the two passphrases are not the same"));
        }
        let random = Random::from_module().map_err(defect)?;
        let key = CeremonyKey::generate(&random).map_err(failure)?;
        let file = ParticipantFile::seal(&key, self.name, self.organisation, &passphrase, &random).map_err(failure)?;
        let mut output = output;
        let text = file.text().map_err(failure)?;
        std::io::Write::write_all(&mut output, text.as_bytes())
            .map_err(|error| Failure::io(self.out.display(), &error))?;
        output.finish()?;
        show(app, &file, &self.out)
    }
}

/// Show name, organisation and fingerprint of a participant's file
///
/// Needs no passphrase.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve ceremony participant show alice.participant")]
pub(crate) struct Show {
    /// The participant's file
    file: PathBuf,
}

impl Show {
    fn run(self, app: &App) -> Outcome {
        show(app, &read(&self.file)?, &self.file)
    }
}

fn show(app: &App, file: &ParticipantFile, path: &std::path::Path) -> Outcome {
    let value = json!({
        "file": path,
        "name": file.name,
        "organisation": file.organisation,
        "public_key": file.key,
        "fingerprint": file.key.fingerprint(),
    });
    app.show(&value, |_| {
        facts(&[
            ("name", file.name.to_string()),
            ("organisation", file.organisation.to_string()),
            ("fingerprint", file.key.fingerprint()),
            ("file", path.display().to_string()),
        ])
    })
}

/// A participant's file. That others can read it is no reason to refuse it: the key in it is under a passphrase.
pub(super) fn read(path: &std::path::Path) -> Result<ParticipantFile, Failure> {
    let bytes = files::read_all(path, FILE_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
    ParticipantFile::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Opens a participant's key.
pub(super) fn open(file: &ParticipantFile, passphrase: &SecretString) -> Result<CeremonyKey, Failure> {
    file.open(passphrase).map_err(failure)
}

pub(super) fn failure(error: ParticipantError) -> Failure {
    let exit = match &error {
        ParticipantError::Form(_) | ParticipantError::Short | ParticipantError::Iterations(_) => Exit::Usage,
        ParticipantError::Passphrase => Exit::Refused,
        ParticipantError::Mismatch => Exit::Integrity,
        ParticipantError::Crypto(_) => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}
