//! Service credentials: secrets with which programs log in.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_secret::SecretBuffer;
use keyreeve_wire::SecretText;
use keyreeve_wire::login::{Credential, IssueCredential, IssuedCredential, UnwrapCredential};
use serde_json::json;

use crate::app::{App, Listing, Outcome, blocking};
use crate::emit::OutArgs;
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers};
use crate::out::{facts, rows};
use crate::text::Span;

/// The longest wrapping token, in bytes.
const TOKEN_MAX: usize = 4096;

/// Issue, list and revoke service credentials, with which programs log in
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve credential issue billing --uses 1 --network 10.0.0.0/8 -o secret-id")]
pub(crate) enum Command {
    Issue(Issue),
    List(List),
    Revoke(Revoke),
    Unwrap(Unwrap),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Issue(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
            Self::Unwrap(command) => command.run(app).await,
        }
    }
}

/// Issue a service credential; its secret is shown this once
///
/// With --wrap the answer holds a token instead, with which the secret can be had once: whoever carries it to the
/// program cannot have used it unnoticed.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve credential issue billing --for 90d --network 10.0.0.0/8 -o secret-id\n  \
        $ keyreeve credential issue build --uses 1 --wrap 10m -o wrapping-token")]
pub(crate) struct Issue {
    /// Whom it proves
    principal: String,
    /// How long it lasts: at least 60s, at most 366d
    #[arg(long = "for", value_name = "SPAN", default_value = "30d")]
    span: Span,
    /// How often it may be used [default: as often as wanted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// A network it may be used from (CIDR), to which its tokens are bound too; may be repeated
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// How long each of its tokens lasts: at least 60s, at most 12h
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    token_for: Span,
    /// Wrap the secret: it can be had once, within this time
    #[arg(long, value_name = "SPAN")]
    wrap: Option<Span>,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    to: OutArgs,
}

impl Issue {
    async fn run(self, app: &App) -> Outcome {
        // What is shown once must not be lost because it cannot be written.
        let output = self.to.sink().map(|sink| sink.create(Readers::Owner).map(|output| (sink, output))).transpose()?;
        let issue = IssueCredential {
            description: self.description,
            seconds: Some(self.span.seconds),
            uses: self.uses,
            networks: self.networks,
            token_seconds: Some(token_seconds(self.token_for)?),
            wrap_seconds: self.wrap.map(|span| span.seconds),
        };
        let issued = app.client()?.issue_credential(&self.principal, &issue).await?.value;
        let Some((sink, mut output)) = output else {
            app.out.show_secret(&issued, issued_text)?;
            return Ok(Exit::Done);
        };
        if let Some(secret) = issued.secret_id.as_ref().or(issued.wrapping_token.as_ref()) {
            writeln!(output, "{}", secret.expose())?;
        }
        output.finish()?;
        if sink.is_file() {
            let shown = json!({ "id": issued.info.id, "expires": issued.info.expires, "out": sink.name() });
            app.out.show(&shown, |_| credential_facts(&issued.info))?;
        }
        Ok(Exit::Done)
    }
}

fn token_seconds(span: Span) -> Result<u32, Failure> {
    u32::try_from(span.seconds).map_err(|_| Failure::usage("`--token-for` is at most 12h"))
}

/// The one time that a secret is shown.
fn issued_text(issued: &IssuedCredential, out: &mut SecretBuffer) -> std::io::Result<()> {
    for (name, secret) in [("secret id", &issued.secret_id), ("wrapping token", &issued.wrapping_token)] {
        if let Some(secret) = secret {
            writeln!(out, "{name}  {}", secret.expose())?;
        }
    }
    out.write_all(credential_facts(&issued.info).as_bytes())
}

fn credential_facts(credential: &Credential) -> String {
    let uses =
        credential.uses_left.map_or_else(|| "as often as wanted".to_owned(), |left| format!("{left} more times"));
    facts(&[
        ("id", credential.id.clone()),
        ("principal", credential.principal.clone()),
        ("description", credential.description.clone()),
        ("may be used", uses),
        ("networks", credential.networks.join(", ")),
        ("created", format!("{} by {}", credential.created, credential.created_by)),
        ("expires", credential.expires.to_string()),
        ("last used", credential.last_used.as_ref().map_or_else(String::new, ToString::to_string)),
        ("revoked", credential.revoked.as_ref().map_or_else(String::new, ToString::to_string)),
    ])
}

/// List the service credentials of a principal, without their secrets
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve credential list billing")]
pub(crate) struct List {
    /// Whose
    principal: String,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self.listing.collect(async |after, limit| {
            Ok(client.credentials(&self.principal, after.as_deref(), Some(limit)).await?.value)
        });
        Listing::show(app, &page.await?, |credentials| {
            let row = |credential: &Credential| {
                let state = match (&credential.revoked, credential.valid) {
                    (Some(_), _) => "revoked",
                    (None, true) => "valid",
                    (None, false) => "used up or expired",
                };
                let expires = credential.expires.to_string();
                [credential.id.clone(), state.to_owned(), expires, credential.description.clone()]
            };
            rows(["id", "state", "expires", "description"], credentials.iter().map(row))
        })
    }
}

/// Revoke a service credential at once
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve credential revoke billing crd_01jd...")]
pub(crate) struct Revoke {
    /// Whose
    principal: String,
    /// Its id, as `keyreeve credential list` shows it
    credential: String,
}

impl Revoke {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.revoke_credential(&self.principal, &self.credential).await?;
        app.note_record("revoked", answer.audit_record.as_ref());
        app.show(&answer.value, credential_facts)
    }
}

/// Take a wrapped secret out, once
///
/// If somebody else was faster this fails, and the credential is revoked: tell whoever issued it.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve credential unwrap wrapping-token -o secret-id")]
pub(crate) struct Unwrap {
    /// File with the wrapping token; `-` asks for it on the terminal
    file: PathBuf,
    #[command(flatten)]
    to: OutArgs,
}

impl Unwrap {
    async fn run(self, app: &App) -> Outcome {
        let output = self.to.sink().map(|sink| sink.create(Readers::Owner).map(|output| (sink, output))).transpose()?;
        let path = self.file;
        let read = blocking(move || {
            if path.as_os_str() == "-" {
                return files::ask_secret("Wrapping token: ");
            }
            files::read_secret_text(&path, TOKEN_MAX)
        });
        let wrapping_token = SecretText(read.await?);
        let client = app.profile()?.anonymous_client()?;
        let unwrapped = client.unwrap_credential(&UnwrapCredential { wrapping_token }).await?.value;
        match output {
            Some((sink, mut output)) => {
                writeln!(output, "{}", unwrapped.secret_id.expose())?;
                output.finish()?;
                if sink.is_file() {
                    let (credential, principal) = (&unwrapped.credential, &unwrapped.principal);
                    let shown = json!({ "credential": credential, "principal": principal, "out": sink.name() });
                    app.out.show(&shown, |_| {
                        facts(&[("credential", credential.clone()), ("principal", principal.clone())])
                    })?;
                }
            }
            None => app.out.show_secret(&unwrapped, |unwrapped, out| {
                writeln!(out, "secret id   {}", unwrapped.secret_id.expose())?;
                writeln!(out, "credential  {}", unwrapped.credential)?;
                writeln!(out, "principal   {}", unwrapped.principal)
            })?,
        }
        Ok(Exit::Done)
    }
}
