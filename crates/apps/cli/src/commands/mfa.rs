//! Second factors.

use clap::{Args, Subcommand};
use keyreeve_secret::SecretBuffer;
use keyreeve_wire::SecretText;
use keyreeve_wire::mfa::{
    Factor, FinishTotp, Invitation, Invite as InviteBody, MfaAnswer, MfaShown, MfaStatus, RecoveryCodes, StartTotp,
    StartedTotp,
};
use keyreeve_wire::names::TotpHash;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink, ask_secret, read_secret_text};
use crate::out::{facts, rows};
use crate::text::Span;

/// The longest file with an invitation, in bytes.
const INVITATION_MAX: usize = 1024;

/// Enrol and show second factors; invite people, reset those that were lost
///
/// Security keys and other authenticators are enrolled and shown in the console, in a browser.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve mfa totp --label phone\n  $ keyreeve mfa verify")]
pub(crate) enum Command {
    Status(Status),
    Totp(Totp),
    Confirm(Confirm),
    Verify(Verify),
    RecoveryCodes(Codes),
    Remove(Remove),
    Invite(Invite),
    Reset(Reset),
    List(List),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Status(command) => command.run(app).await,
            Self::Totp(command) => command.run(app).await,
            Self::Confirm(command) => command.run(app).await,
            Self::Verify(command) => command.run(app).await,
            Self::RecoveryCodes(command) => command.run(app).await,
            Self::Remove(command) => command.run(app).await,
            Self::Invite(command) => command.run(app).await,
            Self::Reset(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
        }
    }
}

/// Show your second factors, and when you last showed one
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa status")]
pub(crate) struct Status {}

impl Status {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.mfa_status().await?.value, status_text)
    }
}

fn status_text(status: &MfaStatus) -> String {
    let shown = match (&status.shown, status.shown_seconds_ago) {
        (Some(kind), Some(seconds)) => format!("{kind}, {seconds} seconds ago"),
        _ => "not with this token".to_owned(),
    };
    let offered = if status.authenticators { "in the console" } else { "not set up on this server" };
    let table = factor_rows(&status.factors);
    format!("{}{table}", facts(&[("shown", shown), ("authenticators", offered.to_owned())]))
}

fn factor_rows(factors: &[Factor]) -> String {
    let row = |factor: &Factor| {
        let state = match (factor.usable, factor.codes_left) {
            (false, _) => "not confirmed".to_owned(),
            (true, Some(left)) => format!("{left} left"),
            (true, None) => "usable".to_owned(),
        };
        let used = factor.last_used.as_ref().map_or_else(String::new, ToString::to_string);
        [factor.kind.to_string(), state, used, factor.label.clone(), factor.id.clone()]
    };
    rows(["kind", "state", "last used", "label", "id"], factors.iter().map(row))
}

/// Enrol one-time codes (an authenticator application on a telephone)
///
/// Shows the seed this once. On a terminal it then asks for a code, which confirms that it works; otherwise
/// `keyreeve mfa confirm` does. A first second factor needs the invitation that an operator made for you; the first
/// operator of a new server needs none.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa totp --label phone --invitation-file invitation.txt")]
pub(crate) struct Totp {
    /// What to call it
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// Codes over SHA-256; not every application can
    #[arg(long)]
    sha256: bool,
    /// A file with the invitation
    #[arg(long, value_name = "FILE")]
    invitation_file: Option<PathBuf>,
}

impl Totp {
    async fn run(self, app: &App) -> Outcome {
        let read = |path: PathBuf| read_secret_text(&path, INVITATION_MAX).map(SecretText);
        let start = StartTotp {
            label: self.label,
            hash: self.sha256.then_some(TotpHash::Sha256),
            invitation: self.invitation_file.map(read).transpose()?,
        };
        let client = app.client()?;
        let started = client.start_totp(&start).await?.value;
        app.out.show_secret(&started, started_text)?;
        if !std::io::stdin().is_terminal() {
            return Ok(Exit::Done);
        }
        let code = SecretText(ask_secret("a code of it: ")?);
        let answer = client.finish_totp(&FinishTotp { id: started.id, code }).await?;
        app.note_record("confirmed", answer.audit_record.as_ref());
        Ok(Exit::Done)
    }
}

fn started_text(started: &StartedTotp, out: &mut SecretBuffer) -> std::io::Result<()> {
    writeln!(out, "id       {}", started.id)?;
    writeln!(out, "seed     {}", started.seed.expose())?;
    writeln!(out, "address  {}", started.address.expose())?;
    writeln!(out, "confirm  by {}", started.expires)
}

/// Confirm one-time codes with one of them, read from standard input
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa confirm mfa_01jd...")]
pub(crate) struct Confirm {
    /// The factor, as `keyreeve mfa totp` shows it
    id: String,
}

impl Confirm {
    async fn run(self, app: &App) -> Outcome {
        let code = SecretText(ask_secret("code: ")?);
        let answer = app.client()?.finish_totp(&FinishTotp { id: self.id, code }).await?;
        app.note_record("confirmed", answer.audit_record.as_ref());
        app.show(&answer.value, |factor| factor_rows(std::slice::from_ref(factor)))
    }
}

/// Show a second factor: the token in use carries the proof from then on
///
/// Asks for a code of six digits, or reads it from standard input.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa verify")]
pub(crate) struct Verify {
    /// The factor that the code is of, where you have several
    #[arg(long, value_name = "ID", conflicts_with = "recovery")]
    factor: Option<String>,
    /// Give one of your recovery codes
    #[arg(long)]
    recovery: bool,
}

impl Verify {
    async fn run(self, app: &App) -> Outcome {
        let code = SecretText(ask_secret(if self.recovery { "recovery code: " } else { "code: " })?);
        let answer = match self.recovery {
            true => MfaAnswer { recovery_code: Some(code), ..MfaAnswer::default() },
            false => MfaAnswer { code: Some(code), credential: self.factor, ..MfaAnswer::default() },
        };
        let answer = app.client()?.verify_mfa(&answer).await?;
        app.note_record("shown", answer.audit_record.as_ref());
        app.show(&answer.value, shown_text)
    }
}

fn shown_text(shown: &MfaShown) -> String {
    facts(&[("shown", shown.kind.to_string()), ("with", shown.credential.clone()), ("at", shown.at.to_string())])
}

/// Make your recovery codes anew; those made before are void
///
/// Each is good once, in place of a factor that is lost. Keep them on paper, apart from the factor.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa recovery-codes")]
pub(crate) struct Codes {}

impl Codes {
    async fn run(self, app: &App) -> Outcome {
        let codes = app.client()?.recovery_codes().await?.value;
        app.out.show_secret(&codes, codes_text)?;
        Ok(Exit::Done)
    }
}

fn codes_text(codes: &RecoveryCodes, out: &mut SecretBuffer) -> std::io::Result<()> {
    codes.codes.iter().try_for_each(|code| writeln!(out, "{}", code.expose()))
}

/// Remove one of your second factors
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa remove mfa_01jd...")]
pub(crate) struct Remove {
    /// The factor, as `keyreeve mfa status` shows it
    id: String,
}

impl Remove {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.remove_factor(&self.id).await?;
        app.note_record("removed", answer.audit_record.as_ref());
        Ok(Exit::Done)
    }
}

/// Make the invitation with which a person enrols a first second factor
///
/// Hand it over on another way than the person's token or password; `keyreeve mfa totp --invitation-file FILE` reads
/// it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve mfa invite alice --for 1d\n  \
        $ keyreeve mfa invite alice -o alice.invitation")]
pub(crate) struct Invite {
    /// Whom
    principal: String,
    /// How long it is good: at least 5m, at most 7d
    #[arg(long = "for", value_name = "SPAN", default_value = "1d")]
    span: Span,
    /// Write the code to this file, readable by you only, in place of showing it
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Invite {
    async fn run(self, app: &App) -> Outcome {
        let body = InviteBody { seconds: Some(self.span.seconds) };
        let client = app.client()?;
        // Begun before it is made: it is shown this once.
        let file = self.out.as_ref().map(|path| Sink::new_file(path).create(Readers::Owner)).transpose()?;
        let invitation = client.invite(&self.principal, &body).await?.value;
        let (Some(mut file), Some(path)) = (file, &self.out) else {
            app.out.show_secret(&invitation, invitation_text)?;
            return Ok(Exit::Done);
        };
        let written = file.write_all(invitation.code.expose().as_bytes()).and_then(|()| file.write_all(b"\n"));
        written.map_err(|error| Failure::io(path.display(), &error))?;
        file.finish()?;
        let shown = serde_json::json!({ "file": path, "expires": invitation.expires });
        app.out.show(&shown, |_| {
            facts(&[("file", path.display().to_string()), ("expires", invitation.expires.to_string())])
        })?;
        Ok(Exit::Done)
    }
}

fn invitation_text(invitation: &Invitation, out: &mut SecretBuffer) -> std::io::Result<()> {
    writeln!(out, "code     {}", invitation.code.expose())?;
    writeln!(out, "expires  {}", invitation.expires)
}

/// Remove all second factors of a person who lost them
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa reset alice")]
pub(crate) struct Reset {
    /// Whose
    principal: String,
}

impl Reset {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.reset_factors(&self.principal).await?;
        app.note_record("reset", answer.audit_record.as_ref());
        Ok(Exit::Done)
    }
}

/// Show the second factors of a person
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve mfa list alice")]
pub(crate) struct List {
    /// Whose
    principal: String,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let factors = app.client()?.factors_of(&self.principal).await?.value;
        app.show(&factors, |factors| factor_rows(&factors.factors))
    }
}
