//! Principals: persons and programs that may be allowed to do things.

use clap::{Args, Subcommand};
use keyreeve_wire::Pairs;
use keyreeve_wire::access::{CertificateRule, Principal, PutPrincipal};
use keyreeve_wire::names::PrincipalKind;
use serde_json::json;

use crate::app::{App, Listing, Outcome};
use crate::out::{facts, rows};
use crate::text::{self, Pair, one_of};

/// Make, list, show and remove principals: who may be allowed to do things
///
/// A principal proves itself by a token or a client certificate. What it may do follows from its roles and the
/// policies.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve principal put shop-backend --kind service --role application")]
pub(crate) enum Command {
    Put(Put),
    List(List),
    Show(Show),
    Delete(Delete),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make a principal, or replace all that is known of it
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve principal put alice --kind person --role key-admin --network 10.0.0.0/8\n  \
        $ keyreeve principal put shop-backend --kind service --role application --certificate-dns shop.example.com")]
pub(crate) struct Put {
    /// Its name, unique: letters, digits and -_./:@+
    name: String,
    /// Person or program
    #[arg(long, value_parser = one_of!(PrincipalKind), default_value = "service")]
    kind: PrincipalKind,
    /// A role that policies refer to; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A label for policies; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Pair>,
    /// A network it may come from; may be repeated; any unless said
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// A client certificate that proves it: SHA-256 of its DER, in hexadecimal; may be repeated
    #[arg(long = "certificate-fingerprint", value_name = "HEX")]
    fingerprints: Vec<String>,
    /// Any trusted client certificate with this DNS name; may be repeated
    #[arg(long = "certificate-dns", value_name = "NAME")]
    dns_names: Vec<String>,
    /// Any trusted client certificate with this URI; may be repeated
    #[arg(long = "certificate-uri", value_name = "URI")]
    uris: Vec<String>,
    /// It may do nothing for now
    #[arg(long)]
    disabled: bool,
}

impl Put {
    async fn run(self, app: &App) -> Outcome {
        let fingerprints = self.fingerprints.into_iter().map(CertificateRule::Fingerprint);
        let dns_names = self.dns_names.into_iter().map(CertificateRule::DnsName);
        let put = PutPrincipal {
            kind: self.kind,
            roles: self.roles,
            labels: Pairs(text::map(&self.labels)?),
            networks: self.networks,
            certificates: fingerprints
                .chain(dns_names)
                .chain(self.uris.into_iter().map(CertificateRule::Uri))
                .collect(),
            disabled: self.disabled,
        };
        let answer = app.client()?.put_principal(&self.name, &put).await?;
        app.note_record("principal written", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

/// List principals
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve principal list")]
pub(crate) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.principals(after.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, |principals| {
            let row = |p: &Principal| {
                let state = if p.disabled { "disabled" } else { "enabled" };
                [p.name.clone(), p.kind.to_string(), state.to_owned(), p.roles.join(", "), p.networks.join(", ")]
            };
            rows(["name", "kind", "state", "roles", "networks"], principals.iter().map(row))
        })
    }
}

/// Show a principal
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve principal show alice")]
pub(crate) struct Show {
    /// Its name
    name: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.principal(&self.name).await?.value, details)
    }
}

/// Remove a principal; its tokens prove nothing from then on
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve principal delete alice")]
pub(crate) struct Delete {
    /// Its name
    name: String,
}

impl Delete {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.delete_principal(&self.name).await?;
        app.note_record("removed", answer.audit_record.as_ref());
        let shown = json!({ "name": self.name, "deleted": true, "audit_record": answer.audit_record });
        app.show(&shown, |_| format!("removed {}", self.name))
    }
}

fn details(principal: &Principal) -> String {
    let labels: Vec<String> = principal.labels.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let certificates: Vec<String> = principal.certificates.iter().map(certificate).collect();
    facts(&[
        ("name", principal.name.clone()),
        ("kind", principal.kind.to_string()),
        ("state", if principal.disabled { "disabled" } else { "enabled" }.to_owned()),
        ("roles", principal.roles.join(", ")),
        ("labels", labels.join(", ")),
        ("networks", principal.networks.join(", ")),
        ("certificates", certificates.join(", ")),
        ("created", principal.created.to_string()),
    ])
}

fn certificate(rule: &CertificateRule) -> String {
    match rule {
        CertificateRule::Fingerprint(fingerprint) => format!("SHA-256 {fingerprint}"),
        CertificateRule::DnsName(name) => format!("DNS {name}"),
        CertificateRule::Uri(uri) => format!("URI {uri}"),
    }
}
