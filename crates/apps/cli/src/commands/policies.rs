//! Policies: who may do what, in Cedar.

use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use keyreeve_wire::access::{Action, ExplainRequest, Explanation, Policy, StatementTrace};
use keyreeve_wire::names::{Method, Reach};
use keyreeve_wire::{Pairs, Timestamp};
use serde_json::json;

use super::encrypt::ContextArgs;
use super::{policy_sets, policy_shadow, policy_trials};
use crate::app::{App, Listing, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::Source;
use crate::out::{Style, facts, printable, rows};
use crate::text;

/// The longest policy, in bytes.
pub(super) const POLICY_MAX: usize = 64 * 1024;

/// Write, compare and roll back policies; explain why something is allowed or refused
///
/// Policies are written in Cedar. Nothing is allowed that no policy permits; what one forbids stays forbidden whatever
/// others permit. The shipped policies define the roles.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve policy explain shop-backend key.decrypt orders")]
pub(crate) enum Command {
    Put(Put),
    List(List),
    Show(Show),
    Delete(Delete),
    Explain(Explain),
    Actions(Actions),
    Apply(policy_sets::Apply),
    Check(policy_sets::Check),
    Pull(policy_sets::Pull),
    Log(policy_sets::Log),
    Diff(policy_sets::Diff),
    Rollback(policy_sets::Rollback),
    Simulate(policy_trials::Simulate),
    #[command(subcommand)]
    Shadow(policy_shadow::Shadow),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
            Self::Explain(command) => command.run(app).await,
            Self::Actions(command) => command.run(app).await,
            Self::Apply(command) => command.run(app).await,
            Self::Check(command) => command.run(app).await,
            Self::Pull(command) => command.run(app).await,
            Self::Log(command) => command.run(app).await,
            Self::Diff(command) => command.run(app).await,
            Self::Rollback(command) => command.run(app).await,
            Self::Simulate(command) => command.run(app).await,
            Self::Shadow(command) => command.run(app).await,
        }
    }
}

/// Make or replace a policy; it is checked against the schema before it applies
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy put office-hours office-hours.cedar")]
pub(crate) struct Put {
    /// Its name, unique
    name: String,
    /// File with the policy, in Cedar; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Put {
    async fn run(self, app: &App) -> Outcome {
        let source = Source::of(self.file.as_deref());
        let bytes = source.read(POLICY_MAX)?.declassify("a policy is no secret");
        let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", source.name())))?;
        let answer = app.client()?.put_policy(&self.name, &text).await?;
        app.note_record("policy written; it applies from now on", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

/// List policies
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy list")]
pub(crate) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page =
            self.listing.collect(async |after, limit| Ok(client.policies(after.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, |policies| {
            let row = |policy: &Policy| {
                let origin = if policy.built_in { "shipped" } else { "own" };
                let updated = policy.updated.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                [policy.name.clone(), origin.to_owned(), updated, policy.updated_by.clone().unwrap_or_default()]
            };
            rows(["name", "origin", "updated", "by"], policies.iter().map(row))
        })
    }
}

/// Show a policy's text
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy show application")]
pub(crate) struct Show {
    /// Its name
    name: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.policy(&self.name).await?.value, |policy| {
            policy.text.lines().map(printable).collect::<Vec<_>>().join("\n")
        })
    }
}

/// Remove a policy
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy delete office-hours")]
pub(crate) struct Delete {
    /// Its name
    name: String,
    /// The version of the policies that you looked at: refused when there is another by now
    #[arg(long, value_name = "VERSION")]
    base: Option<u64>,
}

impl Delete {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.delete_policy(&self.name, self.base).await?;
        app.note_record("removed", answer.audit_record.as_ref());
        let shown = json!({ "name": self.name, "deleted": true, "audit_record": answer.audit_record });
        app.show(&shown, |_| format!("removed {}", self.name))
    }
}

/// Say whether a principal may do something, and why; ends with 1 where it may not
///
/// Nothing is done. The answer is the one the server would give to such a request: it names the policy statements that
/// decide, and where it is no, what would have to be there.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve policy explain shop-backend key.decrypt orders\n  \
        $ keyreeve policy explain alice key.create payments --source 10.1.2.3 --time 2026-12-24T20:00:00Z\n  \
        $ keyreeve policy explain mover key.re-encrypt-from orders --to archive\n  \
        $ keyreeve policy explain alice policy.apply --mfa-age 600")]
pub(crate) struct Explain {
    /// Who would ask
    principal: String,
    /// The action, as `keyreeve policy actions` lists them
    action: String,
    /// On what: a key, keyring, token, principal or policy, as the action needs; for key.create the keyring
    resource: Option<String>,
    /// The key that re-encryption goes to
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    /// From which IP address; unless said, one in the first of the principal's networks
    #[arg(long, value_name = "ADDRESS")]
    source: Option<std::net::IpAddr>,
    /// How it would prove itself [default: token]
    #[arg(long, value_parser = proofs())]
    method: Option<Method>,
    /// At which time; now unless said
    #[arg(long, value_name = "TIME", value_parser = text::instant)]
    time: Option<String>,
    /// How many seconds ago it would have shown a second factor; as if none were shown unless said
    #[arg(long, value_name = "SECONDS")]
    mfa_age: Option<u64>,
    /// By which login method it would have come in
    #[arg(long, value_name = "METHOD")]
    login: Option<String>,
    #[command(flatten)]
    context: ContextArgs,
}

impl Explain {
    async fn run(self, app: &App) -> Outcome {
        let request = ExplainRequest {
            principal: self.principal,
            action: self.action,
            resource: self.resource,
            to: self.to,
            method: self.method,
            source: self.source.map(|source| source.to_string()),
            time: self.time.map(Timestamp),
            mfa_age_seconds: self.mfa_age,
            login: self.login,
            context: Pairs(self.context.map()?),
        };
        let explanation = app.client()?.explain_policy(&request).await?.value;
        app.out.show(&explanation, |explanation| explained(app, explanation))?;
        if self.mfa_age.is_none() && !explanation.allowed {
            app.out.note("this is as if no second factor were shown; `--mfa-age 60` is with one of a minute ago");
        }
        Ok(if explanation.allowed { Exit::Done } else { Exit::No })
    }
}

/// The ways in which a caller proves who it is.
fn proofs() -> impl TypedValueParser<Value = Method> {
    text::parser_of(&[Method::Token, Method::Mtls], Method::name)
}

/// An explanation for people.
fn explained(app: &App, explanation: &Explanation) -> String {
    let style = if explanation.allowed { Style::Good } else { Style::Bad };
    let mut text = format!("{}\n", app.out.styled(style, &printable(&explanation.answer), false));
    if !explanation.missing.is_empty() {
        text.push_str("\nit would be allowed with one of these:\n");
        for missing in &explanation.missing {
            text.push_str(&format!("  - {}\n", printable(missing)));
        }
    }
    let nearest = explanation.statements.iter().map(|statement| {
        let name = format!("{}/{}", statement.policy, statement.statement);
        [statement.action.clone(), statement.effect.to_string(), name, reached(statement)]
    });
    format!("{text}\n{}\n", rows(["action", "effect", "statement", "how far it went"], nearest))
}

fn reached(statement: &StatementTrace) -> String {
    let because = statement.because.as_deref().unwrap_or_default();
    match statement.reach {
        Reach::Applies => "applies".to_owned(),
        Reach::OtherPrincipal => format!("is about other principals: {because}"),
        Reach::OtherResource => format!("is about other resources: {because}"),
        Reach::ConditionFalse => format!("does not hold: {because}"),
        Reach::Failed => format!("could not be evaluated: {because}"),
    }
}

/// List the actions that policies can allow: everything the server can be asked to do
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy actions")]
pub(crate) struct Actions {}

impl Actions {
    async fn run(self, app: &App) -> Outcome {
        let page = app.client()?.actions().await?.value;
        Listing::show(app, &page, |actions| {
            let row = |a: &Action| [a.name.clone(), a.resource.clone(), a.groups.join(", "), a.summary.clone()];
            rows(["action", "acts on", "groups", "what it does"], actions.iter().map(row))
        })
    }
}

fn details(policy: &Policy) -> String {
    facts(&[
        ("name", policy.name.clone()),
        ("origin", if policy.built_in { "shipped" } else { "own" }.to_owned()),
        ("updated", policy.updated.as_ref().map_or_else(String::new, ToString::to_string)),
        ("by", policy.updated_by.clone().unwrap_or_default()),
        ("text", format!("`keyreeve policy show {}` shows it", policy.name)),
    ])
}
