//! What is known of an installation: from its server, as far as whoever asks may know it, and from its configuration.

use std::collections::BTreeMap;
use std::path::Path;

use keyreeve_client::Client;
use keyreeve_model::UnixMillis;
use keyreeve_server::Config;
use keyreeve_server::config::StoreConfig;
use keyreeve_wire::backups::{Backup, Backups};
use keyreeve_wire::names::PrincipalKind;
use keyreeve_wire::shares::{RootShares, ShareHolder};

use super::book::Place;
use crate::app::App;
use crate::failure::Failure;
use crate::out::printable;

/// People that are listed (count).
const PEOPLE_MAX: u32 = 200;
/// A root of trust that people open.
const SHAMIR: &str = "shamir";

/// What belongs in each place, or why it is not known.
pub(crate) struct Facts {
    made: UnixMillis,
    known: BTreeMap<Place, Result<String, String>>,
}

impl Facts {
    /// Asks a server and reads a configuration. What cannot be had is noted with the reason: a runbook is wanted most
    /// where something is broken.
    pub(crate) async fn gather(app: &App, config: Option<&Path>, now: UnixMillis) -> Self {
        let mut facts = Self { made: now, known: BTreeMap::new() };
        facts.of_config(config);
        match app.client() {
            Ok(client) => facts.of_server(app, &client).await,
            Err(failure) => facts.without_server(&failure.what),
        }
        facts
    }

    fn put(&mut self, place: Place, known: Result<String, Failure>) {
        self.known.insert(place, known.map_err(|failure| failure.what));
    }

    fn without_server(&mut self, why: &str) {
        let of_server = [
            Place::Server,
            Place::Roots,
            Place::Holders,
            Place::Destinations,
            Place::Newest,
            Place::People,
            Place::Channels,
            Place::Drills,
        ];
        for place in of_server {
            self.known.entry(place).or_insert_with(|| Err(why.to_owned()));
        }
    }

    async fn of_server(&mut self, app: &App, client: &Client) {
        self.put(Place::Server, server(app, client).await);
        match client.roots().await {
            Ok(roots) => {
                let roots = roots.value.roots;
                let line = |root: &keyreeve_wire::roots::Root| {
                    let own = if root.own_secret { "; the server's own secret is under it" } else { "" };
                    let state = root.status.as_ref().map_or("not configured", |status| status.state.name());
                    let (name, kind, count) = (printable(&root.name), &root.kind, root.keyrings);
                    format!("- root of trust `{name}` of kind `{kind}`: {state}, {count} keyrings under it{own}")
                };
                self.put(Place::Roots, Ok(roots.iter().map(line).collect::<Vec<_>>().join("\n")));
                let people = roots.iter().filter(|root| root.kind == SHAMIR && root.joined.is_some());
                let people: Vec<&str> = people.map(|root| root.name.as_str()).collect();
                self.put(Place::Holders, holders(client, &people).await);
            }
            Err(error) => {
                let failure = Failure::from(error);
                self.known.insert(Place::Roots, Err(failure.what.clone()));
                self.known.insert(Place::Holders, Err(failure.what));
            }
        }
        match client.backups().await {
            Ok(found) => {
                self.put(Place::Destinations, Ok(destinations(&found.value)));
                self.put(Place::Newest, Ok(newest(found.value.items.first())));
            }
            Err(error) => {
                let failure = Failure::from(error);
                // The configuration may know where they are.
                self.known.entry(Place::Destinations).or_insert_with(|| Err(failure.what.clone()));
                self.known.insert(Place::Newest, Err(failure.what));
            }
        }
        self.put(Place::People, people(client).await);
        self.put(Place::Channels, channels(client).await);
        self.put(Place::Drills, drills(client).await);
    }

    fn of_config(&mut self, path: Option<&Path>) {
        let Some(path) = path else {
            let why = "no configuration was named: `--config FILE` on the server's machine".to_owned();
            self.known.insert(Place::Paths, Err(why));
            self.put(Place::Config, Ok("of the server".to_owned()));
            return;
        };
        self.put(Place::Config, Ok(format!("`{}`", printable(&path.display().to_string()))));
        match Config::load(path) {
            Ok(config) => {
                self.put(Place::Paths, Ok(paths(path, &config)));
                if let Some(backup) = &config.backup {
                    let line =
                        |name: &keyreeve_model::Name| format!("- destination `{name}`, named by the configuration");
                    let lines: Vec<String> = backup.destinations.keys().map(line).collect();
                    self.put(Place::Destinations, Ok(lines.join("\n")));
                }
            }
            Err(error) => {
                self.known.insert(Place::Paths, Err(error.to_string()));
            }
        }
    }

    /// What stands in a place.
    pub(crate) fn fill(&self, place: Place) -> String {
        match self.known.get(&place) {
            Some(Ok(text)) => text.clone(),
            Some(Err(why)) => self.unknown(place, &printable(why)),
            None => self.unknown(place, "nobody was asked"),
        }
    }

    fn unknown(&self, place: Place, why: &str) -> String {
        match place {
            Place::Newest | Place::Config => format!("not known when this was printed ({why})"),
            _ => format!("- not known when this was printed: {why}"),
        }
    }

    /// When this was made, and what that means.
    pub(crate) fn dated(&self) -> String {
        format!(
            "Printed {} by keyreeve {}. What is said here of this installation is of that time: print it again after \
             each change, with `keyreeve runbook --all`.",
            self.made,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// What could not be had, for whoever printed it.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.known.values().filter_map(|known| known.as_ref().err().cloned()).collect();
        missing.sort();
        missing.dedup();
        missing
    }
}

async fn server(app: &App, client: &Client) -> Result<String, Failure> {
    let (profile, status) = (app.profile()?, client.status().await?.value);
    let address = profile.address.or(profile.admin_address).unwrap_or_default();
    let open = if status.open { "open" } else { "sealed" };
    let mut text = format!("- server {}: {open} when this was printed", printable(&address));
    for key in &status.log_vkeys {
        text += &format!("\n- the audit log's checkpoints are verified with `{}`", printable(key));
    }
    Ok(text)
}

async fn holders(client: &Client, roots: &[&str]) -> Result<String, Failure> {
    if roots.is_empty() {
        return Ok("- no root of trust of this installation is in shares".to_owned());
    }
    let mut lines = Vec::new();
    for root in roots {
        let shares: RootShares = client.root_holders(root).await?.value;
        let set = &shares.current;
        let (threshold, count, version) = (set.threshold, set.holders.len(), set.version);
        lines.push(format!("- `{root}`: {threshold} of {count} shares open it (version {version}, made {})", set.made));
        lines.extend(set.holders.iter().map(holder));
        if let Some(exchange) = &shares.exchange {
            lines.push(format!("- an exchange of the shares of `{root}` is under way since {}", exchange.begun));
        }
    }
    Ok(lines.join("\n"))
}

fn holder(holder: &ShareHolder) -> String {
    let mut text = format!(
        "- share {}: {}",
        holder.share,
        holder.name.as_deref().map_or("nobody knows who has it".to_owned(), printable)
    );
    if let Some(organisation) = &holder.organisation {
        text += &format!(" ({})", printable(organisation));
    }
    if let Some(contact) = &holder.contact {
        text += &format!(", {}", printable(contact));
    }
    match &holder.proved {
        Some(proved) => text += &format!("; showed it {proved}"),
        None => text += "; never showed it",
    }
    text
}

fn destinations(backups: &Backups) -> String {
    if backups.destinations.is_empty() {
        return "- no destination of backups is configured: **nothing can be restored**".to_owned();
    }
    let line = |at: &keyreeve_wire::backups::BackupDestination| {
        let has = |backup: &&Backup| {
            backup
                .destinations
                .iter()
                .any(|placed| placed.destination == at.name && placed.stored.is_some() && placed.removed.is_none())
        };
        let newest = backups.items.iter().find(has);
        let newest =
            newest.map_or("no backup".to_owned(), |backup| format!("newest {} of {}", backup.sequence, backup.created));
        format!("- destination `{}` ({}, {}): {newest}", printable(&at.name), at.kind, printable(&at.place))
    };
    backups.destinations.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn newest(backup: Option<&Backup>) -> String {
    match backup {
        Some(backup) => {
            format!("number {} of {}, with {} key versions", backup.sequence, backup.created, backup.materials)
        }
        None => "there was none".to_owned(),
    }
}

async fn people(client: &Client) -> Result<String, Failure> {
    let page = client.principals(None, Some(PEOPLE_MAX)).await?.value;
    let people = page.items.iter().filter(|who| who.kind == PrincipalKind::Person && !who.disabled);
    let line = |who: &keyreeve_wire::access::Principal| format!("- {}: {}", printable(&who.name), who.roles.join(", "));
    let mut lines: Vec<String> = people.map(line).collect();
    if page.next.is_some() {
        lines.push("- and more: `keyreeve principal list`".to_owned());
    }
    Ok(lines.join("\n"))
}

async fn channels(client: &Client) -> Result<String, Failure> {
    let found = client.notices(None, Some(1)).await?.value.channels;
    if found.is_empty() {
        return Ok("- no channel is configured: nobody is told of anything".to_owned());
    }
    let line = |channel: &keyreeve_wire::notices::Channel| {
        format!("- channel `{}` ({}): {}", printable(&channel.name), channel.kind, printable(&channel.destination))
    };
    Ok(found.iter().map(line).collect::<Vec<_>>().join("\n"))
}

async fn drills(client: &Client) -> Result<String, Failure> {
    let line = |kind: &keyreeve_wire::drills::DrillStanding| {
        let last = kind.good.as_ref().map_or("never".to_owned(), |good| format!("last {good}"));
        let overdue = if kind.overdue { ", **overdue**" } else { "" };
        format!("- drill `{}`: {last}{overdue}", kind.kind)
    };
    Ok(client.drills().await?.value.standing.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn paths(file: &Path, config: &Config) -> String {
    let within = |path: Option<&std::path::PathBuf>, name: &str| {
        path.cloned().unwrap_or_else(|| config.data_dir.join(name)).display().to_string()
    };
    let store = match &config.store {
        StoreConfig::Sqlite { path } => within(path.as_ref(), "store/keyreeve.db"),
        StoreConfig::Postgres { url, .. } => url.clone(),
    };
    let all = [
        ("configuration", file.display().to_string()),
        ("data directory", config.data_dir.display().to_string()),
        ("store", store),
        ("epoch vault", within(config.epochs.dir.as_ref(), "epochs")),
        ("audit log", within(config.audit.dir.as_ref(), "audit")),
    ];
    all.map(|(what, path)| format!("- {what}: `{}`", printable(&path))).join("\n")
}
