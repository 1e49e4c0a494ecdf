//! Requests that wait for the consent of others.

use clap::{Args, Subcommand};
use keyreeve_client::Client;
use keyreeve_wire::SecretText;
use keyreeve_wire::approvals::{Approval, CastVote, Executed};
use keyreeve_wire::mfa::MfaAnswer;
use keyreeve_wire::names::{ApprovalState, VoteDecision};

use super::approval_proof::Verify;
use super::approval_view::{approval_facts, table};
use crate::app::{App, Listing, Outcome};
use crate::files::ask_secret;
use crate::out::facts;

/// See what waits for consent, vote on it, run one's own
///
/// A command that ends with exit code 11 waits: the people whom the rules of approval name agree with `approval
/// approve`, then the command is repeated, or run with `approval run`.
#[derive(Subcommand)]
#[command(
    after_help = "Example:\n  $ keyreeve approval list --state waiting\n  $ keyreeve approval approve apr_01jd..."
)]
pub(crate) enum Command {
    List(List),
    Show(Show),
    /// Agree to a request, with a code of your second factor
    #[command(
        after_help = "Example:\n  $ keyreeve approval approve apr_01jd... --reason 'agreed in the weekly meeting'"
    )]
    Approve(Vote),
    /// Refuse a request, which ends it, with a code of your second factor
    #[command(after_help = "Example:\n  $ keyreeve approval reject apr_01jd... --reason 'not before the audit'")]
    Reject(Vote),
    Withdraw(Withdraw),
    Run(Run),
    Verify(Verify),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Approve(command) => command.run(app, VoteDecision::Approve).await,
            Self::Reject(command) => command.run(app, VoteDecision::Reject).await,
            Self::Withdraw(command) => command.run(app).await,
            Self::Run(command) => command.run(app).await,
            Self::Verify(command) => command.run(app).await,
        }
    }
}

/// List requests that wait or waited: your own, or all if you may consent
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve approval list --state waiting")]
pub(crate) struct List {
    /// Only those in this state: waiting, approved, executed, expired, withdrawn, rejected
    #[arg(long)]
    state: Option<ApprovalState>,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let state = self.state.map(ApprovalState::name);
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.approvals(state, after.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, table)
    }
}

/// Show a request in full: what, why, on what, whose consent is missing
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve approval show apr_01jd...")]
pub(crate) struct Show {
    /// The request's id, as `keyreeve approval list` shows it
    approval: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.approval(&self.approval).await?.value, approval_facts)
    }
}

/// A vote
///
/// Shows the request first, then asks for the code or reads it from standard input. The vote is for what was shown: it
/// names the digest.
#[derive(Args)]
pub(crate) struct Vote {
    /// The request's id, as `keyreeve approval list` shows it
    approval: String,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Vote only if the request has this digest, as it was seen elsewhere
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// The factor that the code is of, where you have several
    #[arg(long, value_name = "ID")]
    factor: Option<String>,
}

impl Vote {
    async fn run(self, app: &App, decision: VoteDecision) -> Outcome {
        let client = app.client()?;
        let digest = match self.digest {
            Some(digest) => digest,
            None => {
                let seen = client.approval(&self.approval).await?.value;
                app.out.note(&approval_facts(&seen));
                seen.digest
            }
        };
        let code = SecretText(ask_secret("code: ")?);
        let proof = MfaAnswer { code: Some(code), credential: self.factor, ..MfaAnswer::default() };
        let vote = CastVote { decision, digest, reason: self.reason, proof };
        let answer = client.vote(&self.approval, &vote).await?;
        app.note_record("voted", answer.audit_record.as_ref());
        app.show(&answer.value, approval_facts)
    }
}

/// Take one's own request back
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve approval withdraw apr_01jd...")]
pub(crate) struct Withdraw {
    /// The request's id
    approval: String,
}

impl Withdraw {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.withdraw_approval(&self.approval).await?;
        app.note_record("withdrawn", answer.audit_record.as_ref());
        app.show(&answer.value, approval_facts)
    }
}

/// Run one's own request that others consented to
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve approval run apr_01jd...")]
pub(crate) struct Run {
    /// The request's id
    approval: String,
}

impl Run {
    async fn run(self, app: &App) -> Outcome {
        run(app, &app.client()?, &self.approval).await
    }
}

/// Runs a request that others consented to, and shows what ran.
pub(super) async fn run(app: &App, client: &Client, approval: &str) -> Outcome {
    let answer = client.execute_approval(approval).await?;
    app.note_record("done", answer.audit_record.as_ref());
    app.show(&answer.value, done)
}

/// Shows a request that was run by somebody else meanwhile.
pub(super) fn executed(app: &App, approval: &Approval) -> Outcome {
    let (target, record) = (approval.target.clone(), approval.executed_as.clone());
    let (approval, operation) = (approval.id.clone(), approval.operation.clone());
    app.show(&Executed { approval, operation, target, record }, done)
}

fn done(done: &Executed) -> String {
    facts(&[
        ("operation", done.operation.clone()),
        ("on", format!("{} {}", done.target.kind, done.target.id)),
        ("approval", done.approval.clone()),
        ("record", done.record.clone().unwrap_or_default()),
    ])
}
