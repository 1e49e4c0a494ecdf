//! Starting a server, and checking its configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_server::{DevOptions, ServerError};
use serde_json::json;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};

/// Start a server on this machine to try things out
///
/// It listens on loopback only, initialises itself, and keeps everything in a directory that survives restarts. The
/// keys in it are not protected: the root key lies beside them. Prints what to type next.
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve dev\n  $ keyreeve dev --data-dir /tmp/try --listen 127.0.0.1:9443")]
pub(crate) struct Dev {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = keyreeve_server::dev::DATA_DIR)]
    data_dir: PathBuf,
    /// Where to listen: a loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = keyreeve_server::dev::ADDRESS)]
    listen: SocketAddr,
    /// Log what happens seldom as well
    #[arg(long, short)]
    verbose: bool,
}

impl Dev {
    pub(crate) fn run(self, app: &App) -> Outcome {
        let options = DevOptions { data_dir: self.data_dir, listen: self.listen, verbose: self.verbose };
        let out = app.out;
        let mut shown = Ok(());
        let ended = keyreeve_server::dev(options, |ready| {
            let value = json!({
                "address": ready.url,
                "ca_file": ready.ca_file,
                "token_file": ready.token_file,
                "profile": ready.profile,
                "data_dir": ready.data_dir,
                "first_start": ready.first,
            });
            shown = out.show(&value, |_| ready.screen(&program()));
        });
        ended.map_err(failure)?;
        shown.map(|()| Exit::Done)
    }
}

/// How the person called this program.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "keyreeve".to_owned())
}

/// Run a server as its configuration says
///
/// Runs until SIGTERM or SIGINT and then ends what it has begun; SIGHUP reads certificates anew. A server whose root of
/// trust is in shares starts sealed: `keyreeve unseal` opens it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve serve --config /etc/keyreeve/keyreeve.toml\n  \
        $ keyreeve config check /etc/keyreeve/keyreeve.toml   # first")]
pub(crate) struct Serve {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Serve {
    pub(crate) fn run(self) -> Outcome {
        keyreeve_server::serve(&self.config).map_err(failure)?;
        Ok(Exit::Done)
    }
}

/// Hold the library of a hardware security module for the server that started this
#[derive(Args)]
#[command(after_help = "Example, as the server does it:\n  $ keyreeve pkcs11-worker")]
pub(crate) struct Worker {}

impl Worker {
    pub(crate) fn run(self) -> Outcome {
        keyreeve_server::pkcs11_worker().map_err(failure)?;
        Ok(Exit::Done)
    }
}

/// Look at a server's configuration
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve config check /etc/keyreeve/keyreeve.toml")]
pub(crate) enum Config {
    Check(Check),
}

/// Check a configuration and every file it names, without starting anything
///
/// Ends with 2 if the server would not start. Warns of what would make trouble all the same: a certificate that clients
/// refuse, or that ends soon, a directory that is not there. Run it as the user that runs the server.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve config check /etc/keyreeve/keyreeve.toml")]
pub(crate) struct Check {
    /// The configuration
    file: PathBuf,
}

impl Config {
    pub(crate) fn run(self, app: &App) -> Outcome {
        let Self::Check(check) = self;
        let found = keyreeve_server::check(&check.file).map_err(|error| Failure::usage(error.to_string()))?;
        let name = check.file.display().to_string();
        let value = json!({
            "file": name,
            "ok": true,
            "checked": found.checked,
            "warnings": found.warnings,
            "remarks": found.remarks,
        });
        app.show(&value, |_| {
            let mark = |mark: &str, lines: &[String]| -> String {
                lines.iter().map(|line| format!("{mark:9}{line}\n")).collect()
            };
            let verdict = match found.warnings.len() {
                0 => format!("{name} is in order"),
                1 => format!("the server would start with {name}; there is a warning"),
                count => format!("the server would start with {name}; there are {count} warnings"),
            };
            let checked = if app.out.quiet { String::new() } else { mark("checked", &found.checked) };
            format!("{checked}{}{}{verdict}", mark("note", &found.remarks), mark("warning", &found.warnings))
        })
    }
}

pub(crate) fn failure(error: ServerError) -> Failure {
    let exit = match &error {
        ServerError::Config(_) | ServerError::Refused(_) => Exit::Usage,
        ServerError::Part { .. } => Exit::Internal,
        ServerError::LeaseLost => Exit::Unavailable,
        ServerError::Background => Exit::Internal,
        ServerError::PinRefused(_) => Exit::PinRefused,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        ServerError::Config(error) if !error.is_of_whole_file() => {
            failure.next("`keyreeve config check FILE` checks a configuration")
        }
        ServerError::PinRefused(_) => {
            failure.next("`keyreeve root check` looks at the device without showing it the PIN")
        }
        ServerError::Config(_)
        | ServerError::Refused(_)
        | ServerError::Part { .. }
        | ServerError::LeaseLost
        | ServerError::Background => failure,
    }
}
