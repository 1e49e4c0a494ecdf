//! Logging in and out: evidence of somebody else's becomes a token of this server's.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::{ArgGroup, Args};
use keyreeve_client::{BrowserLogin, Client};
use keyreeve_wire::SecretText;
use keyreeve_wire::access::Token;
use keyreeve_wire::login::{LoggedIn, LoginCredential, LoginJwt, LoginLdap};
use serde_json::json;

use super::tokens::token_facts;
use crate::app::{App, Outcome, blocking};
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink};
use crate::out::rows;
use crate::profile::Profile;

/// The longest token of a platform, and the longest secret, in bytes.
const EVIDENCE_MAX: usize = 16 * 1024;

/// Log in, and keep the token of the session in a file
///
/// The token goes to the `token_file` of the profile, or to the file of --out. Other commands then use it through the
/// profile until it ends; `keyreeve token renew` lengthens it, `keyreeve logout` ends it.
#[derive(Args)]
#[command(
    group = ArgGroup::new("how").required(true).args(["list", "method", "role_id"]),
    after_help = "Examples:\n  \
        $ keyreeve login --list                                         # the ways that this server offers\n  \
        $ keyreeve login --method corp                                  # in the browser, at an OpenID provider\n  \
        $ keyreeve login --method ad --user olga                        # asks for the password\n  \
        $ keyreeve login --method ci --jwt-file $CI_TOKEN_FILE -o token # a workload\n  \
        $ keyreeve login --role-id billing --secret-id-file secret-id -o token\n  \
        $ keyreeve login --method spiffe --certificate -o token"
)]
pub(crate) struct Login {
    /// Show the ways to log in
    #[arg(long)]
    list: bool,
    /// The method, as `--list` shows it
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// The name in the directory; the password is asked for, or read from standard input
    #[arg(long, value_name = "NAME", requires = "method", conflicts_with_all = ["jwt_file", "no_browser"])]
    user: Option<String>,
    /// File with the token of a workload's platform; `-` is standard input
    #[arg(long, value_name = "FILE", requires = "method", conflicts_with = "no_browser")]
    jwt_file: Option<PathBuf>,
    /// Open no browser here: use one elsewhere, and paste the address at which it ends
    #[arg(long, requires = "method")]
    no_browser: bool,
    /// Log in with the client certificate of the profile
    #[arg(long, requires = "method", conflicts_with_all = ["user", "jwt_file", "no_browser"])]
    certificate: bool,
    /// The principal of a service credential
    #[arg(long, value_name = "PRINCIPAL", requires = "secret_id_file")]
    role_id: Option<String>,
    /// File with the secret of the service credential; `-` asks for it on the terminal
    #[arg(long, value_name = "FILE", requires = "role_id")]
    secret_id_file: Option<PathBuf>,
    /// Write the token to this file, readable by you only; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Login {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let profile = app.profile()?;
        let client = if self.certificate { profile.certified_client()? } else { profile.anonymous_client()? };
        if self.list {
            return list(app, &client).await;
        }
        // What cannot be written is not asked for.
        let sink = place(&profile, self.out.as_deref())?;
        let mut output = sink.create(Readers::Owner)?;
        let issued = self.evidence(app, &client).await?;
        writeln!(output, "{}", issued.token.expose())?;
        output.finish()?;
        if sink.is_file() {
            let shown = json!({
                "principal": issued.info.principal,
                "id": issued.info.id,
                "expires": issued.info.expires,
                "out": sink.name(),
            });
            app.out.show(&shown, |_| token_facts(&issued.info))?;
            app.out.note(&format!("the token is in {}", sink.name()));
        }
        Ok(Exit::Done)
    }

    /// Shows the server what there is to show.
    async fn evidence(&self, app: &App, client: &Client) -> Result<LoggedIn, Failure> {
        if let (Some(role_id), Some(path)) = (&self.role_id, &self.secret_id_file) {
            let secret_id = SecretText(read_secret(path, "Secret: ").await?);
            let login = LoginCredential { role_id: role_id.clone(), secret_id };
            return Ok(client.login_credential(&login).await?.value);
        }
        let method = self.method.as_deref().unwrap_or_default();
        if self.certificate {
            return Ok(client.login_certificate(method).await?.value);
        }
        if let Some(path) = &self.jwt_file {
            let jwt = SecretText(read_secret(path, "Token: ").await?);
            return Ok(client.login_jwt(method, &LoginJwt { jwt }).await?.value);
        }
        if let Some(user) = &self.user {
            let password = SecretText(blocking(|| files::ask_secret("Password: ")).await?);
            return Ok(client.login_ldap(method, &LoginLdap { user: user.clone(), password }).await?.value);
        }
        let login = client.begin_browser_login(method).await?;
        Ok(if self.no_browser { elsewhere(app, client, login).await? } else { here(app, client, login).await? })
    }
}

async fn list(app: &App, client: &Client) -> Outcome {
    let page = client.offered_methods().await?.value;
    app.show(&page, |page| {
        rows(["method", "kind"], page.items.iter().map(|one| [one.name.clone(), one.kind.to_string()]))
    })
}

/// With a browser on this machine.
async fn here(app: &App, client: &Client, login: BrowserLogin) -> Result<LoggedIn, Failure> {
    app.out.note(&format!("log in with a browser on this machine at:\n  {}", login.authorization_url()));
    open_browser(login.authorization_url());
    Ok(login.wait(client).await?.value)
}

/// With a browser on another machine.
async fn elsewhere(app: &App, client: &Client, login: BrowserLogin) -> Result<LoggedIn, Failure> {
    app.out.note(&format!(
        "log in with a browser anywhere at:\n  {}\nit ends at an address that begins with http://127.0.0.1 and shows \
         nothing: paste that address here",
        login.authorization_url()
    ));
    let address = blocking(|| files::ask_secret("Address: ")).await?;
    Ok(login.finish_with(client, address.expose()).await?.value)
}

/// Where there is a screen. Whoever sees no browser has the address.
fn open_browser(url: &str) {
    let screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !screen || !std::io::stderr().is_terminal() {
        return;
    }
    let mut program = Process::new("xdg-open");
    program.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = program.spawn();
}

async fn read_secret(path: &Path, prompt: &'static str) -> Result<keyreeve_secret::SecretString, Failure> {
    let path = path.to_owned();
    blocking(move || {
        if path == Path::new("-") {
            return files::ask_secret(prompt);
        }
        files::read_secret_text(&path, EVIDENCE_MAX)
    })
    .await
}

/// Where the token goes.
fn place(profile: &Profile, out: Option<&Path>) -> Result<Sink, Failure> {
    if let Some(path) = out {
        return Ok(Sink::of(path, true));
    }
    let Some(path) = profile.own_token_file() else {
        let next = "give `--out FILE`, or `token_file` in a profile of your own";
        return Err(Failure::usage("it is not said where the token goes").next(next));
    };
    Ok(Sink::of(path, true))
}

/// End the session: revoke its token, and remove the file it is in
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve logout")]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let profile = app.profile()?;
        let answer = profile.client()?.revoke_own_token().await?;
        if let Some(path) = profile.own_token_file() {
            std::fs::remove_file(path).map_err(|error| Failure::io(path.display(), &error))?;
        }
        app.note_record("logged out", answer.audit_record.as_ref());
        app.show(&answer.value, |token: &Token| token_facts(token))
    }
}
