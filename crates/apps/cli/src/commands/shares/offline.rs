//! What a holder does with a share, without a server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyreeve_crypto::shamir::Share;
use keyreeve_model::holders::{Challenge, ShareProof, ShareSetId};
use keyreeve_secret::SecretString;
use serde_json::json;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{self, Source};
use crate::out::facts;

/// The longest text of a share, in bytes.
const SHARE_MAX: usize = 16 * 1024;

/// Look at your share, or prove that you have it; no server is asked
///
/// A share is read from the terminal, standard input or a file, never from the command line. It is best decrypted right
/// into this program: `age -d -i KEY share-1-alice.age | keyreeve share show -`.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
        $ keyreeve share show\n  \
        $ gpg -d share-2-bob.asc | keyreeve share prove --challenge krc1.AAEC - > proof")]
pub(crate) enum Command {
    Show(Show),
    Prove(Prove),
}

impl Command {
    pub(crate) fn run(self, app: &App) -> Outcome {
        match self {
            Self::Show(command) => command.run(app),
            Self::Prove(command) => command.run(app),
        }
    }
}

/// Show what of a share is no secret: its number, its set and version
#[derive(Args)]
#[command(after_help = "Example:\n  $ age -d -i alice.key share-1-alice.age | keyreeve share show -")]
pub(crate) struct Show {
    /// A file with the share (`-`: standard input); asked for when missing
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Prove that you have your share: sign a challenge of the server, without showing the share
///
/// Prints a proof for whoever asked; it is no secret, and `keyreeve root verify-share` hands it in.
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ age -d -i alice.key share-1-alice.age | keyreeve share prove --challenge krc1.AAEC -")]
pub(crate) struct Prove {
    /// The challenge, as `keyreeve root challenge` or `root reshare show` prints it
    #[arg(long)]
    challenge: String,
    /// A file with the share (`-`: standard input); asked for when missing
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A share from a file, standard input or the terminal.
pub(crate) fn read_share(file: Option<&Path>) -> Result<SecretString, Failure> {
    let Some(path) = file else { return files::ask_secret("Share: ") };
    let source = Source::of(Some(path));
    if let Some(path) = source.path() {
        files::check_private(path)?;
    }
    SecretString::from_utf8(source.read(SHARE_MAX)?)
        .map_err(|_| Failure::usage(format!("{} is not text: is it still encrypted?", source.name())))
}

fn share(file: Option<&Path>) -> Result<Share, Failure> {
    let text = read_share(file)?;
    if text.expose().trim_start().starts_with("-----BEGIN ") {
        let next = "decrypt it first: `age -d -i KEY FILE`, or `gpg -d FILE`";
        return Err(Failure::usage("the share is still encrypted").next(next));
    }
    Share::from_text(text.expose()).map_err(|error| Failure::usage(error.to_string()))
}

fn set_of(share: &Share) -> String {
    ShareSetId(share.set_id()).to_string()
}

impl Show {
    fn run(self, app: &App) -> Outcome {
        let share = share(self.file.as_deref())?;
        let key = share.verification_key().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        let shown = json!({
            "share": share.index(),
            "shares": share.count(),
            "threshold": share.threshold(),
            "set": set_of(&share),
            "version": share.set_version(),
            "check": hex::encode(share.set_check()),
            "verification_key": hex::encode(key),
        });
        app.show(&shown, |_| {
            facts(&[
                ("share", format!("{} of {}; {} are needed", share.index(), share.count(), share.threshold())),
                ("set", set_of(&share)),
                ("version", share.set_version().to_string()),
                ("check", hex::encode(share.set_check())),
                ("proofs verify with", hex::encode(key)),
            ])
        })
    }
}

impl Prove {
    fn run(self, app: &App) -> Outcome {
        let challenge: Challenge = self.challenge.parse().map_err(|error| Failure::usage(format!("{error}")))?;
        let share = share(self.file.as_deref())?;
        if share.set_id() != challenge.set.0 {
            let (ours, theirs) = (share.set_version(), challenge.version);
            let text = format!(
                "the challenge is to set {} (version {theirs}), the share is of version {ours} of set {}",
                challenge.set,
                set_of(&share)
            );
            return Err(Failure::new(Exit::No, text).next("take the share of that set, or ask for another challenge"));
        }
        let failed = || Failure::new(Exit::Internal, "the proof could not be made");
        let signature = share.prove(&challenge.bytes()).map_err(|_| failed())?;
        let signature = signature.try_into().map_err(|_| failed())?;
        let proof = ShareProof { set: challenge.set, share: share.index(), signature }.to_string();
        app.out.note(&format!("proof for share {}, challenge of {}", share.index(), challenge.asked));
        app.show(&json!({ "share": share.index(), "proof": proof }), |_| proof.clone())
    }
}
