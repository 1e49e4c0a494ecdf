//! Keys: making, listing, showing, altering. What moves them through their states is in [`super::lifecycle`].

use clap::{Args, Subcommand};
use keyreeve_client::KeyFilter;
use keyreeve_wire::keys::{CreateKey, Key, KeySummary, KeyVersion, UpdateKey};
use keyreeve_wire::names::{Activation, Algorithm, Classification, Environment, Protection, Purpose, Scope, State};
use keyreeve_wire::{Pairs, Timestamp};

use super::key_transport::{Export, Import, NewRecipient, Parameters, Reimport, UnwrapExport, WrapForImport};
use super::lifecycle::{Activate, Compromise, Deactivate, Destroy, Public, Rotate, Suspend};
use crate::app::{App, Listing, Outcome};
use crate::failure::Failure;
use crate::out::{facts, rows};
use crate::text::{self, Pair, one_of};

/// Make, list, show and alter keys, and move them through their life
///
/// A key is a name for a row of versions. `rotate` adds a version; older versions go on decrypting and verifying. Where
/// a command wants a KEY, its id (`key_...`) or one of its aliases will do.
#[derive(Subcommand)]
#[command(
    after_help = "Example:\n  $ keyreeve key create --alias orders --owner 'shop team'\n  $ keyreeve key show orders"
)]
pub(crate) enum Command {
    Create(Box<Create>),
    List(Box<List>),
    Show(Show),
    Update(Box<Update>),
    Public(Public),
    Activate(Activate),
    Suspend(Suspend),
    Deactivate(Deactivate),
    Compromise(Compromise),
    Rotate(Box<Rotate>),
    #[command(subcommand)]
    Destroy(Destroy),
    ImportParameters(Parameters),
    WrapForImport(WrapForImport),
    Import(Box<Import>),
    Reimport(Reimport),
    Export(Export),
    NewRecipient(NewRecipient),
    UnwrapExport(UnwrapExport),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Update(command) => command.run(app).await,
            Self::Public(command) => command.run(app).await,
            Self::Activate(command) => command.run(app).await,
            Self::Suspend(command) => command.run(app).await,
            Self::Deactivate(command) => command.run(app).await,
            Self::Compromise(command) => command.run(app).await,
            Self::Rotate(command) => command.run(app).await,
            Self::Destroy(command) => command.run(app).await,
            Self::ImportParameters(command) => command.run(app).await,
            Self::WrapForImport(command) => command.run(app),
            Self::Import(command) => command.run(app).await,
            Self::Reimport(command) => command.run(app).await,
            Self::Export(command) => command.run(app).await,
            Self::NewRecipient(command) => command.run(app),
            Self::UnwrapExport(command) => command.run(app),
        }
    }
}

/// Generate a key
///
/// Without options it is an XAES-256-GCM key for encryption in the keyring `default`, active at once. The algorithm
/// decides what the key can be for; `keyreeve algorithms` lists them.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key create --alias orders\n  \
        $ keyreeve key create --alias releases --algorithm ec-p256 --purpose sign --owner 'build team'\n  \
        $ keyreeve key create --alias vault-root --keyring restricted --protection hsm --algorithm aes-256-gcm\n  \
        $ keyreeve key create --alias next-year --activates 2027-01-01 --keyring payments --label team=shop")]
pub(crate) struct Create {
    /// A name to call it by, unique; may be repeated
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// Its keyring, by name or id [default: default]
    #[arg(long)]
    keyring: Option<String>,
    /// What it shall be [default: xaes-256-gcm]
    #[arg(long, value_parser = one_of!(Algorithm), hide_possible_values = true)]
    algorithm: Option<Algorithm>,
    /// The one thing it is for [default: the algorithm's usual purpose]
    #[arg(long, value_parser = one_of!(Purpose))]
    purpose: Option<Purpose>,
    /// Which half of its purpose it may serve [default: both]
    #[arg(long, value_parser = one_of!(Scope))]
    scope: Option<Scope>,
    /// Allow its material to leave, wrapped
    #[arg(long)]
    exportable: bool,
    /// Where its material is, for ever: wrapped in the store and used in the server's memory (software), or made and
    /// used inside the device of the keyring's root of trust, from where nobody can take it (hsm) [default: software]
    #[arg(long, value_parser = one_of!(Protection), conflicts_with = "exportable")]
    protection: Option<Protection>,
    /// Leave it inactive until somebody activates it
    #[arg(long, conflicts_with = "activates")]
    inactive: bool,
    /// It starts then: date or RFC 3339 instant
    #[arg(long, value_name = "TIME", value_parser = text::instant)]
    activates: Option<String>,
    /// It stops protecting then
    #[arg(long, value_name = "TIME", value_parser = text::instant)]
    deactivates: Option<String>,
    /// Why deterministic encryption is needed: required for aes-256-gcm-siv
    #[arg(long, value_name = "WHY")]
    deterministic_reason: Option<String>,
    /// Refuse unless its keyring is of this environment
    #[arg(long, value_parser = one_of!(Environment), value_name = "ENVIRONMENT")]
    environment: Option<Environment>,
    #[command(flatten)]
    about: About,
    /// Why it is made: kept with the key and in the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// What people say about a key.
#[derive(Args)]
struct About {
    /// A label for search and policy; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Pair>,
    /// Who answers for the key
    #[arg(long)]
    owner: Option<String>,
    /// Who may hold shares or backups of it; may be repeated
    #[arg(long = "custodian", value_name = "NAME")]
    custodians: Vec<String>,
    /// A system that uses it; may be repeated
    #[arg(long = "consumer", value_name = "NAME")]
    consumers: Vec<String>,
    /// A third party that holds a copy; may be repeated
    #[arg(long = "holder", value_name = "NAME")]
    holders: Vec<String>,
    /// Sensitivity of the protected data [default: internal]
    #[arg(long, value_parser = one_of!(Classification), value_name = "CLASS")]
    classification: Option<Classification>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

impl Create {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.create_key(&self.request()?).await?;
        app.note_record("key made", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.summary.id, details)
    }

    pub(super) fn request(self) -> Result<CreateKey, Failure> {
        let about = self.about;
        Ok(CreateKey {
            keyring: self.keyring,
            algorithm: self.algorithm,
            purpose: self.purpose,
            scope: self.scope,
            exportable: self.exportable,
            protection: self.protection,
            activation: self.inactive.then_some(Activation::OnRequest),
            activates: self.activates.map(Timestamp),
            deactivates: self.deactivates.map(Timestamp),
            deterministic_reason: self.deterministic_reason,
            environment: self.environment,
            aliases: self.aliases,
            labels: Pairs(text::map(&about.labels)?),
            owner: about.owner.unwrap_or_default(),
            custodians: about.custodians,
            consumers: about.consumers,
            holders: about.holders,
            classification: about.classification,
            description: about.description.unwrap_or_default(),
            reason: self.reason,
        })
    }
}

/// List and search keys
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key list --state active --owner 'shop team'\n  \
        $ keyreeve key list --label team=shop --text orders\n  \
        $ keyreeve key list --all --output json | jq -r '.items[].id'")]
pub(crate) struct List {
    /// Only keys of this keyring
    #[arg(long)]
    keyring: Option<String>,
    /// Only keys in this state now
    #[arg(long, value_parser = one_of!(State))]
    state: Option<State>,
    /// Only keys of this algorithm
    #[arg(long, value_parser = one_of!(Algorithm), hide_possible_values = true)]
    algorithm: Option<Algorithm>,
    /// Only keys for this purpose
    #[arg(long, value_parser = one_of!(Purpose))]
    purpose: Option<Purpose>,
    /// Only keys whose material is there: in the server's hands, or inside a device
    #[arg(long, value_parser = one_of!(Protection))]
    protection: Option<Protection>,
    /// Only keys with this label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Pair>,
    /// Only keys of this owner
    #[arg(long)]
    owner: Option<String>,
    /// Only keys that this system uses
    #[arg(long)]
    consumer: Option<String>,
    /// Only keys of this class
    #[arg(long, value_parser = one_of!(Classification), value_name = "CLASS")]
    classification: Option<Classification>,
    /// Only keys in whose id, aliases, description, owner or labels this stands
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self, app: &App) -> Outcome {
        let filter = KeyFilter {
            keyring: self.keyring,
            state: self.state,
            algorithm: self.algorithm,
            purpose: self.purpose,
            protection: self.protection,
            labels: self.labels.iter().map(|Pair(name, value)| format!("{name}={value}")).collect(),
            owner: self.owner,
            consumer: self.consumer,
            classification: self.classification,
            text: self.text,
        };
        let client = app.client()?;
        let page = self
            .listing
            .collect(async |after, limit| Ok(client.keys(&filter, after.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, |keys| rows(HEADINGS, keys.iter().map(row)))
    }
}

const HEADINGS: [&str; 7] = ["alias", "state", "algorithm", "purpose", "versions", "keyring", "id"];

fn row(key: &KeySummary) -> [String; 7] {
    let alias = match key.aliases.as_slice() {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [one, more @ ..] => format!("{one} (+{})", more.len()),
    };
    [
        alias,
        state_text(key),
        key.algorithm.to_string(),
        key.purpose.to_string(),
        key.version_count.to_string(),
        key.keyring.clone(),
        key.id.clone(),
    ]
}

fn state_text(key: &KeySummary) -> String {
    match &key.destruction {
        Some(pending) => format!("{}, due {}", state_of(key, key.state), pending.due),
        None => key.state.to_string(),
    }
}

/// A state as people should take it: a key that waits for its destruction does nothing, whatever state it would go back
/// to.
fn state_of(key: &KeySummary, state: State) -> String {
    match state {
        State::PreActivation | State::Active | State::Suspended | State::Deactivated | State::Compromised
            if key.destruction.is_some() =>
        {
            format!("pending destruction ({state} if cancelled)")
        }
        State::PreActivation
        | State::Active
        | State::Suspended
        | State::Deactivated
        | State::Compromised
        | State::Destroyed
        | State::DestroyedCompromised => state.to_string(),
    }
}

/// Show a key: metadata, versions, states, history
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key show orders")]
pub(crate) struct Show {
    /// The key's id or alias
    key: String,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.key(&self.key).await?.value, details)
    }
}

/// Everything about a key, for people.
pub(super) fn details(key: &Key) -> String {
    let summary = &key.summary;
    let versions = key.versions.iter().map(|version| {
        let mark = if version.version == summary.primary_version { "*" } else { "" };
        let messages =
            if version.reserved_messages == 0 { String::new() } else { version.reserved_messages.to_string() };
        let number = format!("{}{mark}", version.version);
        let state = format!("{}{}{}", state_of(summary, version.state), ended(version), inside(version));
        [number, state, version.created.to_string(), messages, version.fingerprint.clone()]
    });
    let history = key.history.iter().map(|step| {
        let version = step.version.map_or_else(|| "all".to_owned(), |version| version.to_string());
        let states = format!("{} -> {}", step.from, step.to);
        [step.at.to_string(), version, states, step.by.clone(), step.reason.clone()]
    });
    let versions = rows(["version", "state", "created", "messages", "fingerprint"], versions);
    let history = rows(["at", "version", "transition", "by", "reason"], history);
    let text = format!("{}\n{versions}\n\n{}{history}\n", facts(&summary_facts(summary)), origins(key));
    if key.departures.is_empty() { text } else { format!("{text}\n{}\n", departures(key)) }
}

/// Of material inside a device: which.
fn inside(version: &KeyVersion) -> String {
    version.device.as_ref().map(|root| format!(" (in the device of `{root}`)")).unwrap_or_default()
}

/// Of material that was brought: by whom, how, and where it is from.
fn origins(key: &Key) -> String {
    let brought: Vec<[String; 5]> = key
        .versions
        .iter()
        .filter_map(|version| {
            let (imported, from) = (version.imported.as_ref()?, &version.provenance);
            let method = imported.method.to_string();
            Some([
                version.version.to_string(),
                from.by.clone(),
                method,
                imported.statement.clone(),
                from.reason.clone(),
            ])
        })
        .collect();
    if brought.is_empty() {
        return String::new();
    }
    let headings = ["imported version", "by", "wrapped with", "where it is from, as was said", "reason"];
    format!("{}\n\n", rows(headings, brought))
}

/// Of imported material: how long it lasts, or that it is over.
fn ended(version: &KeyVersion) -> String {
    match &version.imported {
        Some(import) => match (&import.expires, &import.erased) {
            (_, Some(at)) => format!(" (imported, erased {at})"),
            (Some(at), None) if import.present => format!(" (imported, ends {at})"),
            (Some(at), None) => format!(" (imported, ended {at})"),
            (None, None) => " (imported)".to_owned(),
        },
        None => String::new(),
    }
}

fn departures(key: &Key) -> String {
    let left = key.departures.iter().map(|left| {
        let (version, method) = (left.version.to_string(), left.method.to_string());
        [left.at.to_string(), version, method, left.recipient.clone(), left.by.clone(), left.reason.clone()]
    });
    rows(["left", "version", "method", "wrapped for", "by", "reason"], left)
}

fn summary_facts(key: &KeySummary) -> Vec<(&'static str, String)> {
    let labels: Vec<String> = key.labels.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        ("id", key.id.clone()),
        ("aliases", key.aliases.join(", ")),
        ("state", state_text(key)),
        ("algorithm", key.algorithm.to_string()),
        ("purpose", format!("{} ({})", key.purpose, key.scope)),
        ("keyring", key.keyring.clone()),
        ("environment", key.environment.to_string()),
        ("classification", key.classification.to_string()),
        ("owner", key.owner.clone()),
        ("description", key.description.clone()),
        ("labels", labels.join(", ")),
        ("custodians", key.custodians.join(", ")),
        ("consumers", key.consumers.join(", ")),
        ("holders", key.holders.join(", ")),
        ("protection", if key.protection == Protection::Hsm { "hsm".to_owned() } else { String::new() }),
        ("exportable", if key.exportable { "yes".to_owned() } else { String::new() }),
        ("deterministic", key.deterministic_reason.clone().unwrap_or_default()),
        ("created", key.created.to_string()),
    ]
}

/// Alter what people say about a key: aliases, labels, owner and the like
///
/// What is not given stays as it is. Lists are altered by `--add-...` and `--remove-...`, which leave the rest of the
/// list alone, also where somebody else alters it at the same time; `--replace-...` makes the list anew.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key update orders --owner 'payments team' --classification confidential\n  \
        $ keyreeve key update orders --add-consumer billing --remove-consumer shop\n  \
        $ keyreeve key update orders --add-label tier=gold --remove-label team\n  \
        $ keyreeve key update orders --replace-alias orders --replace-alias orders-2026")]
pub(crate) struct Update {
    /// The key's id or alias
    key: String,
    /// Who answers for the key; '' for nobody
    #[arg(long)]
    owner: Option<String>,
    /// Sensitivity of the protected data
    #[arg(long, value_parser = one_of!(Classification), value_name = "CLASS")]
    classification: Option<Classification>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    lists: Lists,
}

/// How the lists of a key are altered.
#[derive(Args)]
struct Lists {
    /// Add a name to call it by; may be repeated
    #[arg(long = "add-alias", value_name = "NAME")]
    add_aliases: Vec<String>,
    /// Remove a name to call it by; may be repeated
    #[arg(long = "remove-alias", value_name = "NAME")]
    remove_aliases: Vec<String>,
    /// Replace all aliases; may be repeated, '' alone leaves none
    #[arg(long = "replace-alias", value_name = "NAME", conflicts_with_all = ["add_aliases", "remove_aliases"])]
    replace_aliases: Vec<String>,
    /// Add a label, or give one another value; may be repeated
    #[arg(long = "add-label", value_name = "NAME=VALUE")]
    add_labels: Vec<Pair>,
    /// Remove a label; may be repeated
    #[arg(long = "remove-label", value_name = "NAME")]
    remove_labels: Vec<String>,
    /// Replace all labels; may be repeated, '' alone leaves none
    #[arg(long = "replace-label", value_name = "NAME=VALUE", conflicts_with_all = ["add_labels", "remove_labels"])]
    replace_labels: Vec<String>,
    /// Add a system that uses it; may be repeated
    #[arg(long = "add-consumer", value_name = "NAME")]
    add_consumers: Vec<String>,
    /// Remove a system that uses it; may be repeated
    #[arg(long = "remove-consumer", value_name = "NAME")]
    remove_consumers: Vec<String>,
    /// Replace all consumers; may be repeated, '' alone leaves none
    #[arg(long = "replace-consumer", value_name = "NAME", conflicts_with_all = ["add_consumers", "remove_consumers"])]
    replace_consumers: Vec<String>,
    /// Add somebody who may hold shares or backups of it; may be repeated
    #[arg(long = "add-custodian", value_name = "NAME")]
    add_custodians: Vec<String>,
    /// Remove somebody who may hold shares or backups of it; may be repeated
    #[arg(long = "remove-custodian", value_name = "NAME")]
    remove_custodians: Vec<String>,
    /// Replace all custodians; may be repeated, '' alone leaves none
    #[arg(
        long = "replace-custodian",
        value_name = "NAME",
        conflicts_with_all = ["add_custodians", "remove_custodians"]
    )]
    replace_custodians: Vec<String>,
    /// Add a third party that holds a copy; may be repeated
    #[arg(long = "add-holder", value_name = "NAME")]
    add_holders: Vec<String>,
    /// Remove a third party that holds a copy; may be repeated
    #[arg(long = "remove-holder", value_name = "NAME")]
    remove_holders: Vec<String>,
    /// Replace all holders; may be repeated, '' alone leaves none
    #[arg(long = "replace-holder", value_name = "NAME", conflicts_with_all = ["add_holders", "remove_holders"])]
    replace_holders: Vec<String>,
}

impl Update {
    async fn run(self, app: &App) -> Outcome {
        let answer = app
            .client()?
            .update_key(
                &self.key,
                &self.lists.with(UpdateKey {
                    owner: self.owner,
                    classification: self.classification,
                    description: self.description,
                    ..UpdateKey::default()
                })?,
            )
            .await?;
        app.note_record("key altered", answer.audit_record.as_ref());
        app.show(&answer.value, details)
    }
}

impl Lists {
    fn with(self, update: UpdateKey) -> Result<UpdateKey, Failure> {
        Ok(UpdateKey {
            aliases: text::replaced(self.replace_aliases),
            add_aliases: self.add_aliases,
            remove_aliases: self.remove_aliases,
            labels: text::replaced_pairs(self.replace_labels)?,
            set_labels: Pairs(text::map(&self.add_labels)?),
            remove_labels: self.remove_labels,
            custodians: text::replaced(self.replace_custodians),
            add_custodians: self.add_custodians,
            remove_custodians: self.remove_custodians,
            consumers: text::replaced(self.replace_consumers),
            add_consumers: self.add_consumers,
            remove_consumers: self.remove_consumers,
            holders: text::replaced(self.replace_holders),
            add_holders: self.add_holders,
            remove_holders: self.remove_holders,
            ..update
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_whole() {
        let json = r#"{"id":"key_1","keyring":"default","algorithm":"ec-p256","purpose":"sign","scope":"both",
            "exportable":false,"state":"active","created":"2026-11-22T09:00:00Z","primary_version":2,"version_count":2,
            "destruction":{"requested":"2026-11-22T09:00:00Z","due":"2026-12-22T09:00:00Z",
            "requested_by":"a","reason":""},
            "aliases":["releases","r2"],"labels":{"team":"build"},"owner":"",
            "custodians":[],"consumers":[],"holders":[],
            "classification":"internal","environment":"production","description":"",
            "versions":[{"version":2,"state":"active","created":"2026-11-22T09:00:00Z","fingerprint":"f00d",
                "reserved_messages":0,"provenance":{"origin":"generated","module":"m","by":"a","reason":""}}],
            "history":[{"from":"pre-activation","to":"active","at":"2026-11-22T09:00:00Z","by":"a","reason":"made"}]}"#;
        let key: Key = serde_json::from_str(json).unwrap();
        let text = details(&key);
        for part in [
            "releases, r2",
            "team=build",
            "pending destruction (active if cancelled), due 2026-12-22",
            "2*",
            "f00d",
            "pre-activation -> active",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("owner"), "empty facts are left out");
        assert!(!text.contains("IMPORTED"), "nothing was brought");
        let imported = r#""imported":{"method":"rsa-aes-kwp","statement":"HSM in Bern","present":true},"provenance""#;
        let brought: Key = serde_json::from_str(&json.replace("\"provenance\"", imported)).unwrap();
        let shown = details(&brought);
        assert!(shown.contains("rsa-aes-kwp") && shown.contains("HSM in Bern"), "{shown}");
        let version = text.lines().find(|line| line.starts_with("2*")).unwrap();
        assert!(version.contains("pending destruction"), "{version}");
        assert!(row(&key.summary)[1].starts_with("pending destruction"));
        assert_eq!(row(&key.summary)[0], "releases (+1)");
    }
}
