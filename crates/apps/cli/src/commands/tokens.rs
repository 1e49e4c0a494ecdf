//! Bearer tokens.

use clap::{Args, Subcommand};
use keyreeve_secret::SecretBuffer;
use keyreeve_wire::access::{CreateToken, Identity, IssuedToken, Token};
use serde_json::json;
use std::io::Write;

use crate::app::{App, Listing, Outcome};
use crate::emit::OutArgs;
use crate::failure::Exit;
use crate::files::Readers;
use crate::out::{facts, rows};
use crate::text::Span;

/// Issue, list and revoke bearer tokens; show whose token is in use
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve token create shop-backend --for 30d -o shop.token")]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
    Renew(Renew),
    #[command(name = "self")]
    Whoami(Whoami),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
            Self::Renew(command) => command.run(app).await,
            Self::Whoami(command) => command.run(app).await,
        }
    }
}

/// Issue a token for a principal; its secret is shown this once
///
/// The server keeps a hash only. With -o the token goes to a file readable by you only, as `--token-file` and profiles
/// want it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve token create shop-backend --for 30d -o shop.token\n  \
        $ keyreeve token self --profile client.toml --token-file shop.token")]
pub(crate) struct Create {
    /// Whom it proves
    principal: String,
    /// How long it lasts: at least 60s, at most 366d
    #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
    span: Span,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// A network it is good from; may be repeated; any unless said
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    #[command(flatten)]
    to: OutArgs,
}

impl Create {
    async fn run(self, app: &App) -> Outcome {
        // What is shown once must not be lost because it cannot be written.
        let output = self.to.sink().map(|sink| sink.create(Readers::Owner).map(|output| (sink, output))).transpose()?;
        let seconds = Some(self.span.seconds);
        let new =
            CreateToken { principal: self.principal, seconds, description: self.description, networks: self.networks };
        let issued = app.client()?.create_token(&new).await?.value;
        match output {
            Some((sink, mut output)) => {
                writeln!(output, "{}", issued.token.expose())?;
                output.finish()?;
                let shown = json!({ "id": issued.info.id, "expires": issued.info.expires, "out": sink.name() });
                if sink.is_file() {
                    app.out.show(&shown, |_| token_facts(&issued.info))?;
                }
            }
            None => app.out.show_secret(&issued, issued_text)?,
        }
        Ok(Exit::Done)
    }
}

/// The one time that a token is shown.
fn issued_text(issued: &IssuedToken, out: &mut SecretBuffer) -> std::io::Result<()> {
    writeln!(out, "token        {}", issued.token.expose())?;
    out.write_all(token_facts(&issued.info).as_bytes())
}

pub(super) fn token_facts(token: &Token) -> String {
    let revoked = token.revoked.as_ref().map_or_else(String::new, ToString::to_string);
    facts(&[
        ("id", token.id.clone()),
        ("principal", token.principal.clone()),
        ("description", token.description.clone()),
        ("created", format!("{} by {}", token.created, token.created_by)),
        ("expires", token.expires.to_string()),
        ("revoked", revoked),
        ("networks", token.networks.join(", ")),
        ("login", token.login.clone().unwrap_or_default()),
    ])
}

/// List tokens, without their secrets
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve token list --all")]
pub(crate) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page =
            self.listing.collect(async |after, limit| Ok(client.tokens(after.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, |tokens| {
            let row = |token: &Token| {
                let state = match (&token.revoked, token.valid) {
                    (Some(_), _) => "revoked",
                    (None, true) => "valid",
                    (None, false) => "expired",
                };
                let expires = token.expires.to_string();
                [token.principal.clone(), state.to_owned(), expires, token.description.clone(), token.id.clone()]
            };
            rows(["principal", "state", "expires", "description", "id"], tokens.iter().map(row))
        })
    }
}

/// Revoke a token at once
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve token revoke tok_01jd...")]
pub(crate) struct Revoke {
    /// The token's id, as `keyreeve token list` shows it
    token: String,
}

impl Revoke {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.revoke_token(&self.token).await?;
        app.note_record("revoked", answer.audit_record.as_ref());
        app.show(&answer.value, token_facts)
    }
}

/// Lengthen the session of the token in use
///
/// Only tokens from a login can be renewed, until the end that their login method sets.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve token renew")]
pub(crate) struct Renew {}

impl Renew {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.renew_token().await?;
        app.note_record("renewed", answer.audit_record.as_ref());
        app.show(&answer.value, token_facts)
    }
}

/// Show whose token is in use, and until when it lasts
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve token self")]
pub(crate) struct Whoami {}

impl Whoami {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.whoami().await?.value, identity)
    }
}

fn identity(identity: &Identity) -> String {
    facts(&[
        ("principal", identity.principal.clone()),
        ("roles", identity.roles.join(", ")),
        ("proved by", identity.method.to_string()),
        ("token", identity.token.clone().unwrap_or_default()),
        ("login", identity.login.clone().unwrap_or_default()),
        ("expires", identity.expires.as_ref().map_or_else(String::new, ToString::to_string)),
    ])
}
