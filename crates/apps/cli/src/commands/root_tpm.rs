//! Roots of trust in a TPM: what an operator does beside the server.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_server::tpm;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink, Source};
use crate::out::rows;

/// Look at a TPM's registers, and approve what they hold
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root tpm pcrs --pcrs 4,7,11 --output json > now.json      # on the server\n  \
        $ keyreeve root tpm approve --key policy.pem --values now.json --out now-approved.json   # elsewhere")]
pub(crate) enum Command {
    Pcrs(Pcrs),
    Approve(Approve),
}

/// Show what the platform configuration registers of this machine hold
///
/// With `--output json` it is what `keyreeve root tpm approve` takes.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root tpm pcrs --pcrs 4,7,11 --output json > now.json")]
pub(crate) struct Pcrs {
    /// Which registers, 0 to 23
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', required = true)]
    pcrs: Vec<u8>,
    /// The bank: sha256 or sha384
    #[arg(long, value_name = "NAME", default_value = "sha256")]
    bank: String,
    /// The TPM
    #[arg(long, value_name = "DEVICE", default_value = "/dev/tpmrm0")]
    device: String,
}

/// Approve registers: the root of trust opens on a machine that has these values
///
/// Signs with the policy key, which is not to lie on the server. The result goes into the directory that the server's
/// configuration names as `approvals`. To approve a kernel before its first start, say with `--set` what a register
/// will hold then, or take the values of a machine that runs it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root tpm approve --key policy.pem --values now.json --note 'as installed' --out installed.json\n  \
        $ keyreeve root tpm approve --key policy.pem --values now.json \
        --set 11=8f3b1c5ad07e6942b1f0c3d5e7a9182736455463728190a1b2c3d4e5f6071829 --out next-kernel.json")]
pub(crate) struct Approve {
    /// The policy key's private half: P-256, PKCS #8 in PEM, readable by its owner only
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The values, as `keyreeve root tpm pcrs --output json` gives them; `-` is standard input
    #[arg(long, value_name = "FILE")]
    values: PathBuf,
    /// Another value for one register, in hexadecimal digits; may be repeated
    #[arg(long, value_name = "PCR=DIGITS", value_parser = register)]
    set: Vec<(u8, String)>,
    /// What people should know about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Where the approval goes; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

fn register(text: &str) -> Result<(u8, String), String> {
    let (pcr, digits) = text.split_once('=').ok_or("write PCR=DIGITS")?;
    let pcr = pcr.parse().map_err(|_| format!("`{pcr}` is no number of a register"))?;
    Ok((pcr, digits.to_owned()))
}

impl Command {
    pub(crate) fn run(self, app: &App) -> Outcome {
        match self {
            Self::Pcrs(command) => command.run(app),
            Self::Approve(command) => command.run(),
        }
    }
}

impl Pcrs {
    fn run(self, app: &App) -> Outcome {
        let value = tpm::pcrs(&self.device, &self.bank, &self.pcrs);
        let value = value.map_err(|what| Failure::new(Exit::Unavailable, what))?;
        app.show(&value, |value| {
            let pcrs = value["pcrs"].as_object().into_iter().flatten();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let mut lines: Vec<_> = pcrs.map(|(pcr, digits)| [pcr.clone(), text(digits)]).collect();
            lines.sort_by_key(|[pcr, _]| pcr.parse::<u8>().unwrap_or_default());
            rows(["PCR", &self.bank.to_uppercase()], lines)
        })
    }
}

impl Approve {
    fn run(self) -> Outcome {
        files::check_private(&self.key)?;
        let key = files::read_secret_text(&self.key, tpm::VALUES_MAX)?;
        let values = Source::of(Some(&self.values)).read(tpm::VALUES_MAX)?;
        let approved = tpm::approve(&key, values.expose(), &self.set, &self.note).map_err(Failure::usage)?;
        Sink::new_file(&self.out).write(approved.as_bytes(), Readers::Anybody)?;
        Ok(Exit::Done)
    }
}
