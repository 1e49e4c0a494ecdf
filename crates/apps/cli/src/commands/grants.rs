//! Grants: rights for a time.

use clap::{Args, Subcommand};
use keyreeve_client::GrantFilter;
use keyreeve_wire::grants::{CreateGrant, Grant, GrantConstraints};
use keyreeve_wire::{Pairs, Timestamp};

use crate::app::{App, Listing, Outcome};
use crate::failure::Failure;
use crate::out::{facts, rows};
use crate::text::{self, Pair, Span};

/// Give rights for a time, list them, take them back
///
/// A grant gives a principal operations on a key or keyring, or a role, and ends by itself. What a policy forbids, no
/// grant allows.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  \
        $ keyreeve grant create alice --key orders --operation decrypt --for 8h --reason 'case 4711'")]
pub(crate) enum Command {
    Create(Box<Create>),
    Request(Box<Request>),
    List(List),
    Show(Show),
    Revoke(Revoke),
    Mine(Mine),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::Request(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
            Self::Mine(command) => command.run(app).await,
        }
    }
}

/// What a grant is on.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct On {
    /// A key, by id or alias
    #[arg(long, requires = "operations")]
    key: Option<String>,
    /// A keyring: every key in it, those that come later included
    #[arg(long, requires = "operations")]
    keyring: Option<String>,
    /// A role, for at most 24 hours
    #[arg(long, conflicts_with_all = ["operations", "context", "exact_context"])]
    role: Option<String>,
}

/// Under which circumstances a grant holds.
#[derive(Args)]
pub(crate) struct Circumstances {
    /// The request's encryption context holds at least this pair; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<Pair>,
    /// The request's encryption context is this pair and no other; may be repeated
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "context")]
    exact_context: Vec<Pair>,
    /// The request comes from this network; may be repeated; any unless said
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// A second factor was shown at most so many minutes ago; 720 for people unless said
    #[arg(long, value_name = "MINUTES")]
    mfa_minutes: Option<u32>,
}

impl Circumstances {
    fn constraints(&self) -> Result<GrantConstraints, Failure> {
        let exact = text::map(&self.exact_context)?;
        let exact = Some(Pairs(exact)).filter(|pairs| !pairs.is_empty());
        Ok(GrantConstraints {
            context_equals: exact,
            context_includes: Pairs(text::map(&self.context)?),
            networks: self.networks.clone(),
            mfa_minutes: self.mfa_minutes,
        })
    }
}

/// Give a principal operations on a key or keyring, or a role, for a time
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve grant create alice --key orders --operation decrypt --for 8h --reason 'case 4711'\n  \
        $ keyreeve grant create batch --keyring payroll --operation key.encrypt --for 30d --reason run\n  \
        $ keyreeve grant create bob --role key-auditor --for 4h --reason 'yearly audit'")]
pub(crate) struct Create {
    /// Whose it will be
    principal: String,
    #[command(flatten)]
    wanted: Wished,
}

/// What is given, for how long and why.
#[derive(Args)]
pub(crate) struct Wished {
    #[command(flatten)]
    on: On,
    /// An operation such as key.decrypt, which `keyreeve policy actions` lists, or all of a side: encrypt, decrypt,
    /// sign, verify, derive, read; may be repeated
    #[arg(long = "operation", value_name = "NAME")]
    operations: Vec<String>,
    /// How long it lasts: at most 366d, of a role 24h
    #[arg(long = "for", value_name = "SPAN")]
    span: Span,
    /// From when on; at once unless said
    #[arg(long, value_name = "INSTANT", value_parser = text::instant)]
    from: Option<String>,
    /// What it is for
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    circumstances: Circumstances,
}

impl Wished {
    fn wish(self, principal: String) -> Result<CreateGrant, Failure> {
        Ok(CreateGrant {
            principal,
            key: self.on.key,
            keyring: self.on.keyring,
            role: self.on.role,
            operations: self.operations,
            not_before: self.from.map(Timestamp),
            seconds: self.span.seconds,
            reason: self.reason,
            constraints: self.circumstances.constraints()?,
        })
    }
}

/// Files are encrypted under data keys of their own: whoever may only decrypt opens none.
pub(super) fn tell_of_files(app: &App, operations: &[String]) {
    let named = |name: &str| operations.iter().any(|operation| operation == name);
    if named("key.decrypt") && !["key.unwrap-data-key", "decrypt", "decrypt-side"].into_iter().any(named) {
        app.out.warn(
            "key.decrypt opens what `keyreeve encrypt --small` made; for files it takes key.unwrap-data-key: \
             `--operation decrypt` gives both",
        );
    }
}

impl Create {
    fn wish(self) -> Result<CreateGrant, Failure> {
        self.wanted.wish(self.principal)
    }

    async fn run(self, app: &App) -> Outcome {
        tell_of_files(app, &self.wanted.operations);
        let answer = app.client()?.create_grant(&self.wish()?).await?;
        app.note_record("granted", answer.audit_record.as_ref());
        app.show(&answer.value, grant_facts)
    }
}

/// Ask for a right for a time, for oneself; others must agree
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve grant request --key orders --operation decrypt --for 2h --reason 'case 4711'")]
pub(crate) struct Request {
    #[command(flatten)]
    wanted: Wished,
}

impl Request {
    async fn run(self, app: &App) -> Outcome {
        tell_of_files(app, &self.wanted.operations);
        let client = app.client()?;
        let wish = self.wanted.wish(client.whoami().await?.value.principal)?;
        let answer = client.request_grant(&wish).await?;
        app.note_record("granted", answer.audit_record.as_ref());
        app.show(&answer.value, grant_facts)
    }
}

/// Ask for a role for a time, for oneself; others must agree
///
/// The request waits until they did. Then the same command gives the role, for as long as was asked.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve elevate key-auditor --for 4h --reason 'yearly audit'")]
pub(crate) struct Elevate {
    /// The role
    role: String,
    /// How long: at most 24h
    #[arg(long = "for", value_name = "SPAN")]
    span: Span,
    /// What it is for
    #[arg(long)]
    reason: String,
}

impl Elevate {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let principal = client.whoami().await?.value.principal;
        let (role, seconds) = (Some(self.role), self.span.seconds);
        let wish = CreateGrant { principal, role, seconds, reason: self.reason, ..CreateGrant::default() };
        let answer = client.request_grant(&wish).await?;
        app.note_record("granted", answer.audit_record.as_ref());
        app.show(&answer.value, grant_facts)
    }
}

/// List grants, ended ones too
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve grant list --key orders --standing")]
pub(crate) struct List {
    /// Grants of this principal
    #[arg(long)]
    principal: Option<String>,
    /// Grants on this key or on its keyring
    #[arg(long)]
    key: Option<String>,
    /// Only those that are in force or will be
    #[arg(long)]
    standing: bool,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let filter = GrantFilter { principal: self.principal, key: self.key, standing: self.standing };
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.grants(&filter, after.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, table)
    }
}

/// Show a grant
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve grant show grt_01jd...")]
pub(crate) struct Show {
    /// The grant's id, as `keyreeve grant list` shows it
    grant: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.grant(&self.grant).await?.value, grant_facts)
    }
}

/// Take a grant back at once
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve grant revoke grt_01jd... --reason 'case closed'")]
pub(crate) struct Revoke {
    /// The grant's id, as `keyreeve grant list` shows it
    grant: String,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl Revoke {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.revoke_grant(&self.grant, &self.reason).await?;
        app.note_record("revoked", answer.audit_record.as_ref());
        app.show(&answer.value, grant_facts)
    }
}

/// Show one's own grants that are in force or will be
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve grant mine")]
pub(crate) struct Mine {}

impl Mine {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.own_grants().await?.value, |page| table(&page.items))
    }
}

/// What a grant is on, in few words.
fn on(grant: &Grant) -> String {
    let [key, keyring, role] = [(&grant.key, "key"), (&grant.keyring, "keyring"), (&grant.role, "role")]
        .map(|(what, kind)| what.as_ref().map(|id| format!("{kind} {id}")));
    key.or(keyring).or(role).unwrap_or_default()
}

fn table(grants: &[Grant]) -> String {
    let row = |grant: &Grant| {
        let operations = grant.operations.join(" ");
        let (state, expires) = (grant.state.to_string(), grant.expires.to_string());
        [grant.principal.clone(), state, on(grant), operations, expires, grant.id.clone()]
    };
    rows(["principal", "state", "on", "operations", "expires", "id"], grants.iter().map(row))
}

fn pairs(pairs: &Pairs) -> String {
    pairs.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn grant_facts(grant: &Grant) -> String {
    let constraints = &grant.constraints;
    let exactly = constraints.context_equals.as_ref().map(|exact| match exact.is_empty() {
        true => "none".to_owned(),
        false => pairs(exact),
    });
    let revoked = grant.revoked.as_ref().map(|at| {
        let by = grant.revoked_by.as_deref().unwrap_or_default();
        format!("{at} by {by} {}", grant.revoked_because.as_deref().unwrap_or_default())
    });
    facts(&[
        ("id", grant.id.clone()),
        ("principal", grant.principal.clone()),
        ("state", grant.state.to_string()),
        ("on", on(grant)),
        ("operations", grant.operations.join(" ")),
        ("from", grant.not_before.to_string()),
        ("expires", grant.expires.to_string()),
        ("context", pairs(&constraints.context_includes)),
        ("exact context", exactly.unwrap_or_default()),
        ("networks", constraints.networks.join(", ")),
        ("mfa minutes", constraints.mfa_minutes.map_or_else(String::new, |minutes| minutes.to_string())),
        ("reason", grant.reason.clone()),
        ("created", format!("{} by {}", grant.created, grant.created_by)),
        ("approval", grant.approval.clone().unwrap_or_default()),
        ("revoked", revoked.unwrap_or_default().trim_end().to_owned()),
    ])
}
