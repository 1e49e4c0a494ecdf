//! Login methods: whom this server believes, and whom that makes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_wire::SecretText;
use keyreeve_wire::login::{LoginMethod, LoginMethodKind, PrincipalRule, PutLoginMethod, SetLoginSecret, SubjectRule};

use crate::app::{App, Outcome, blocking};
use crate::failure::{Exit, Failure};
use crate::files;
use crate::out::{facts, rows};

/// The longest file of a method, in bytes.
const FILE_MAX: usize = 256 * 1024;
/// The longest secret of a method, in bytes.
const SECRET_MAX: usize = 4096;

/// Say how people and programs log in: OpenID providers, tokens of platforms, directories, certificates
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve login-method put corp corp.toml")]
pub(crate) enum Command {
    Put(Put),
    SetSecret(SetSecret),
    List(List),
    Show(Show),
    Delete(Delete),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::SetSecret(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make a login method from a file, or replace it
///
/// The file is TOML: docs/operations.md shows one for each kind. Secrets stay out of it: `keyreeve login-method
/// set-secret` sets them. A method that is replaced keeps its secret as long as the other side is the same.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve login-method put corp corp.toml")]
pub(crate) struct Put {
    /// Its name
    name: String,
    /// The method, in TOML
    file: PathBuf,
}

impl Put {
    async fn run(self, app: &App) -> Outcome {
        let bytes = files::read_all(&self.file, FILE_MAX)?;
        let place = self.file.display();
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("{place} is not text")))?;
        let put: PutLoginMethod = toml::from_str(text).map_err(|error| Failure::usage(format!("{place}: {error}")))?;
        let answer = app.client()?.put_login_method(&self.name, &put).await?;
        app.note_record("written", answer.audit_record.as_ref());
        app.show(&answer.value, method_facts)
    }
}

/// Set the secret that a login method shows to the other side
///
/// The client's secret with an OpenID provider, or the password of the account that searches a directory.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve login-method set-secret corp client-secret   # a file that only you can read\n  \
        $ keyreeve login-method set-secret ad -                 # asks for it\n  \
        $ keyreeve login-method set-secret corp --remove")]
pub(crate) struct SetSecret {
    /// The method's name
    name: String,
    /// File with the secret; `-` asks for it on the terminal
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    file: Option<PathBuf>,
    /// Take the secret away
    #[arg(long)]
    remove: bool,
}

impl SetSecret {
    async fn run(self, app: &App) -> Outcome {
        let secret = match self.file {
            Some(path) => Some(SecretText(read_secret(path).await?)),
            None => None,
        };
        let answer = app.client()?.set_login_secret(&self.name, &SetLoginSecret { secret }).await?;
        app.note_record("set", answer.audit_record.as_ref());
        app.show(&answer.value, method_facts)
    }
}

async fn read_secret(path: PathBuf) -> Result<keyreeve_secret::SecretString, Failure> {
    blocking(move || {
        if path.as_os_str() == "-" {
            return files::ask_secret("Secret: ");
        }
        files::check_private(&path)?;
        files::read_secret_text(&path, SECRET_MAX)
    })
    .await
}

/// List the login methods
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve login-method list")]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.login_methods().await?.value, |page| {
            let row = |method: &LoginMethod| {
                let (kind, place) = kind_of(&method.kind);
                let state = if method.disabled { "disabled" } else { "" };
                [method.name.clone(), kind.to_owned(), place, state.to_owned()]
            };
            rows(["name", "kind", "believes", "state"], page.items.iter().map(row))
        })
    }
}

/// Show a login method, without its secret
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve login-method show corp")]
pub(crate) struct Show {
    /// Its name
    name: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.login_method(&self.name).await?.value, method_facts)
    }
}

/// Remove a login method; no token of it counts any more
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve login-method delete corp")]
pub(crate) struct Delete {
    /// Its name
    name: String,
}

impl Delete {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.delete_login_method(&self.name).await?;
        app.note_record("deleted", answer.audit_record.as_ref());
        Ok(Exit::Done)
    }
}

fn kind_of(kind: &LoginMethodKind) -> (&'static str, String) {
    match kind {
        LoginMethodKind::Oidc(oidc) => ("oidc", oidc.issuer.clone()),
        LoginMethodKind::Jwt(jwt) => ("jwt", jwt.issuer.clone()),
        LoginMethodKind::Ldap(ldap) => ("ldap", ldap.url.clone()),
        LoginMethodKind::Certificate(names) => {
            ("certificate", [names.uri_prefixes.as_slice(), &names.dns_suffixes].concat().join(" "))
        }
    }
}

fn method_facts(method: &LoginMethod) -> String {
    let (kind, place) = kind_of(&method.kind);
    let head = facts(&[
        ("name", method.name.clone()),
        ("kind", kind.to_owned()),
        ("believes", place),
        ("secret", if method.has_secret { "yes" } else { "none" }.to_owned()),
        ("tokens last", format!("{} s, renewable for {} s", method.ttl_s, method.renew_s)),
        ("networks", method.networks.join(", ")),
        ("provision", method.provision.to_string()),
        ("state", if method.disabled { "disabled" } else { "" }.to_owned()),
        ("updated", format!("{} by {}", method.updated, method.updated_by)),
    ]);
    let row = |binding: &keyreeve_wire::login::LoginBinding| {
        let subject = match &binding.subject {
            SubjectRule::Any => "anybody".to_owned(),
            SubjectRule::Exact(text) | SubjectRule::Glob(text) => text.clone(),
        };
        let principal = match &binding.principal {
            PrincipalRule::Fixed(name) => name.clone(),
            PrincipalRule::FromClaim { claim, prefix, .. } => format!("{prefix}<{claim}>"),
        };
        [binding.name.clone(), subject, principal, binding.roles.join(", ")]
    };
    let bindings = rows(["binding", "subject", "principal", "roles"], method.bindings.iter().map(row));
    format!("{}\n\n{bindings}", head.trim_end())
}
