//! Principals: persons and programs that may be allowed to do things.

use clap::{Args, Subcommand};
use keyreeve_wire::Pairs;
use keyreeve_wire::access::{CertificateRule, Principal, PutPrincipal, UpdatePrincipal};
use keyreeve_wire::names::PrincipalKind;
use serde_json::json;

use crate::app::{App, Listing, Outcome};
use crate::out::{facts, rows};
use crate::text::{self, Pair, one_of};

/// Make, list, show, alter and remove principals: who may be allowed to do things
///
/// A principal proves itself by a token or a client certificate. What it may do follows from its roles and the
/// policies.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve principal put shop-backend --kind service --role application")]
pub(crate) enum Command {
    Put(Put),
    Update(Box<Update>),
    List(List),
    Show(Show),
    Delete(Delete),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Update(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make a principal, or replace all that is known of it
///
/// What is not given of a principal that exists is gone; `keyreeve principal update` alters a part and leaves the rest.
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
    /// The human being behind it, where several principals are one: counts once where people decide together
    #[arg(long, value_name = "TEXT")]
    person: Option<String>,
}

impl Put {
    async fn run(self, app: &App) -> Outcome {
        let put = PutPrincipal {
            kind: self.kind,
            roles: self.roles,
            labels: Pairs(text::map(&self.labels)?),
            networks: self.networks,
            certificates: rules(self.fingerprints, self.dns_names, self.uris),
            disabled: self.disabled,
            person: self.person,
        };
        let answer = app.client()?.put_principal(&self.name, &put).await?;
        app.note_record("principal written", answer.audit_record.as_ref());
        written(app, &answer.value)
    }
}

/// Shows a principal that was written, and says what of it is probably not meant.
fn written(app: &App, principal: &Principal) -> Outcome {
    for warning in &principal.warnings {
        app.out.note(&format!("warning: {warning}"));
    }
    app.show(principal, details)
}

/// Alter a principal: roles, networks, labels, certificates; disable it or enable it again
///
/// What is not given stays as it is. It applies from the next request on. Lists are altered by `--add-...` and
/// `--remove-...`, which leave the rest of the list alone, also where somebody else alters it at the same time;
/// `--replace-...` makes the list anew.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve principal update alice --add-role key-auditor --remove-role key-admin\n  \
        $ keyreeve principal update shop-backend --replace-network 10.1.0.0/16 --add-certificate-dns shop.example\n  \
        $ keyreeve principal update shop-backend --disable")]
pub(crate) struct Update {
    /// Its name
    name: String,
    /// It may do nothing from now on
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// It may do again what its roles give it
    #[arg(long)]
    enable: bool,
    /// Say which human being is behind it; an empty text takes that away
    #[arg(long, value_name = "TEXT")]
    person: Option<String>,
    /// Add a role that policies refer to; may be repeated
    #[arg(long = "add-role", value_name = "ROLE")]
    add_roles: Vec<String>,
    /// Remove a role that policies refer to; may be repeated
    #[arg(long = "remove-role", value_name = "ROLE")]
    remove_roles: Vec<String>,
    /// Replace all roles; may be repeated, '' alone leaves none
    #[arg(long = "replace-role", value_name = "ROLE", conflicts_with_all = ["add_roles", "remove_roles"])]
    replace_roles: Vec<String>,
    /// Add a network it may come from; may be repeated
    #[arg(long = "add-network", value_name = "CIDR")]
    add_networks: Vec<String>,
    /// Remove a network it may come from; may be repeated
    #[arg(long = "remove-network", value_name = "CIDR")]
    remove_networks: Vec<String>,
    /// Replace all networks; may be repeated, '' alone leaves none
    #[arg(long = "replace-network", value_name = "CIDR", conflicts_with_all = ["add_networks", "remove_networks"])]
    replace_networks: Vec<String>,
    /// Add a label, or give one another value; may be repeated
    #[arg(long = "add-label", value_name = "NAME=VALUE")]
    add_labels: Vec<Pair>,
    /// Remove a label; may be repeated
    #[arg(long = "remove-label", value_name = "NAME")]
    remove_labels: Vec<String>,
    /// Replace all labels; may be repeated, '' alone leaves none
    #[arg(long = "replace-label", value_name = "NAME=VALUE", conflicts_with_all = ["add_labels", "remove_labels"])]
    replace_labels: Vec<String>,
    #[command(flatten)]
    certificates: Certificates,
}

/// How the client certificates that prove a principal are altered.
#[derive(Args)]
struct Certificates {
    /// Add a client certificate that proves it: SHA-256 of its DER, in hexadecimal; may be repeated
    #[arg(long = "add-certificate-fingerprint", value_name = "HEX")]
    add_fingerprints: Vec<String>,
    /// Add any trusted client certificate with this DNS name; may be repeated
    #[arg(long = "add-certificate-dns", value_name = "NAME")]
    add_dns_names: Vec<String>,
    /// Add any trusted client certificate with this URI; may be repeated
    #[arg(long = "add-certificate-uri", value_name = "URI")]
    add_uris: Vec<String>,
    /// Remove a client certificate; may be repeated
    #[arg(long = "remove-certificate-fingerprint", value_name = "HEX")]
    remove_fingerprints: Vec<String>,
    /// Remove a certificate's DNS name; may be repeated
    #[arg(long = "remove-certificate-dns", value_name = "NAME")]
    remove_dns_names: Vec<String>,
    /// Remove a certificate's URI; may be repeated
    #[arg(long = "remove-certificate-uri", value_name = "URI")]
    remove_uris: Vec<String>,
}

/// The rules of all three kinds.
fn rules(fingerprints: Vec<String>, dns_names: Vec<String>, uris: Vec<String>) -> Vec<CertificateRule> {
    let fingerprints = fingerprints.into_iter().map(CertificateRule::Fingerprint);
    let dns_names = dns_names.into_iter().map(CertificateRule::DnsName);
    fingerprints.chain(dns_names).chain(uris.into_iter().map(CertificateRule::Uri)).collect()
}

impl Update {
    async fn run(self, app: &App) -> Outcome {
        let named = self.certificates;
        let update = UpdatePrincipal {
            roles: text::replaced(self.replace_roles),
            add_roles: self.add_roles,
            remove_roles: self.remove_roles,
            labels: text::replaced_pairs(self.replace_labels)?,
            set_labels: Pairs(text::map(&self.add_labels)?),
            remove_labels: self.remove_labels,
            networks: text::replaced(self.replace_networks),
            add_networks: self.add_networks,
            remove_networks: self.remove_networks,
            certificates: None,
            add_certificates: rules(named.add_fingerprints, named.add_dns_names, named.add_uris),
            remove_certificates: rules(named.remove_fingerprints, named.remove_dns_names, named.remove_uris),
            disabled: match (self.disable, self.enable) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            },
            person: self.person,
        };
        let answer = app.client()?.update_principal(&self.name, &update).await?;
        app.note_record("principal altered; it applies from now on", answer.audit_record.as_ref());
        written(app, &answer.value)
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
        let warnings = &answer.value.warnings;
        warnings.iter().for_each(|warning| app.out.note(&format!("warning: {warning}")));
        let record = &answer.audit_record;
        let shown = json!({ "name": self.name, "deleted": true, "audit_record": record, "warnings": warnings });
        app.show(&shown, |_| format!("removed {}", self.name))
    }
}

fn details(principal: &Principal) -> String {
    let labels: Vec<String> = principal.labels.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let certificates: Vec<String> = principal.certificates.iter().map(certificate).collect();
    facts(&[
        ("name", principal.name.clone()),
        ("kind", principal.kind.to_string()),
        ("person", principal.person.clone().unwrap_or_default()),
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
