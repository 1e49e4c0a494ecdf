//! Opens the parts in the order in which they depend on one another, and puts the engine on top.

use keyreeve_anchor_file::FileAnchor;
use keyreeve_archive::Archive;
use keyreeve_archive_command::CommandArchive;
use keyreeve_archive_directory::DirectoryArchive;
use keyreeve_audit::Record;
use keyreeve_crypto::{Random, selftest};
use keyreeve_engine::{AnchorAt, Backups, CLOCK_TOLERANCE_MS, Channel, Clock, Engine, Plan, Ports, Roots, Settings};
use keyreeve_epochs_file::FileEpochVault;
use keyreeve_journal::{Journal, Scan};
use keyreeve_journal_file::{FileJournal, Options};
use keyreeve_login_ldap::LdapDirectory;
use keyreeve_login_oidc::HttpsProvider;
use keyreeve_model::{Name, UnixMillis};
use keyreeve_root::{Anchor, Root};
use keyreeve_root_pkcs11::Pkcs11Root;
use keyreeve_root_software::{SealedFileRoot, ShamirRoot};
use keyreeve_root_tpm::{TpmCounter, TpmRoot};
use keyreeve_secret::SecretString;
use keyreeve_store::Store;
use keyreeve_store_postgres::{PostgresOptions, PostgresStore};
use keyreeve_store_sqlite::SqliteStore;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clouds;
use crate::config::{
    AnchorConfig, BackupConfig, Config, DestinationConfig, Fault, OpenedChannel, RootConfig, StoreConfig,
};
use crate::error::ServerError;
use crate::files;
use crate::machine::{SystemClock, SystemEntropy, host_name};
use crate::metrics::Operations;
use crate::moves::Moves;
use crate::running::Mode;

/// Everything that was opened.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) moves: Arc<Moves>,
    /// Who holds the lease on the store.
    pub(crate) holder: String,
    /// One process for each data directory.
    pub(crate) lock: File,
}

/// Opens everything but the listeners.
pub(crate) async fn assemble(config: &Config, mode: Mode) -> Result<Parts, ServerError> {
    files::private_directory(&config.data_dir).map_err(|trouble| ServerError::part("data directory", trouble))?;
    let lock = lock(&config.data_dir)?;
    let random =
        Random::start(Box::new(SystemEntropy)).map_err(|error| ServerError::part("random generator", error))?;
    let tested = selftest::run(&random).map_err(|error| ServerError::part("cryptographic module", error))?;
    tracing::info!(module = %tested.module, tests = tested.passed.len(), "the cryptographic module passed its tests");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let journal = open_journal(config, &clock).await?;
    check_clock(&*journal, clock.now()).await?;
    let store = open_store(config).await?;
    let vault = FileEpochVault::open(&config.epochs_dir(), random.clone());
    let vault = vault.map_err(|error| ServerError::part("epoch vault", error))?;
    let roots = open_roots(config, mode, &random, &clock)?;
    let anchored = anchors(config, &random)?;
    let holder = format!("{}@{}", instance(&config.data_dir, &random)?, host_name());
    let operations = Arc::new(Operations::new());
    let moves = Arc::new(Moves::new(Arc::clone(&operations)));
    let ports = Ports {
        store: Arc::clone(&store),
        roots: Arc::new(roots),
        vault: Arc::new(vault),
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock),
        random: Arc::new(random),
        observer: Arc::clone(&moves) as _,
        oidc: Arc::new(provider(mode)),
        directory: Arc::new(LdapDirectory::new()),
        notifiers: channels(config)?,
    };
    let engine = Engine::new(ports, settings(config, mode)?).map_err(|error| ServerError::part("engine", error))?;
    engine.plan_drills(config.drills.plan());
    if let Some(backup) = &config.backup {
        engine.keep_backups(backups(config, backup)?);
    }
    engine.anchor_to(anchored);
    Ok(Parts { engine, store, journal, clock, operations, moves, holder, lock })
}

fn backups(config: &Config, backup: &BackupConfig) -> Result<Backups, ServerError> {
    let local = DirectoryArchive::open(&config.backup_dir()).map_err(|error| ServerError::part("backups", error))?;
    let each = backup.destinations.iter().map(|(name, at)| Ok((name.clone(), open_destination(config, name, at)?)));
    Ok(Backups {
        local: Arc::new(local),
        destinations: each.collect::<Result<_, ServerError>>()?,
        configuration: config.text.clone(),
        plan: Plan { every: backup.every(), verify_every: backup.verify_every(), keep: backup.keep },
    })
}

/// A destination of backups.
pub(crate) fn open_destination(
    config: &Config,
    name: &Name,
    at: &DestinationConfig,
) -> Result<Arc<dyn Archive>, ServerError> {
    match at {
        DestinationConfig::Directory { path } => {
            let opened = DirectoryArchive::open(path).map_err(|error| ServerError::part("backups", error))?;
            Ok(Arc::new(opened))
        }
        DestinationConfig::Command(command) => Ok(Arc::new(CommandArchive::new(command.settings()))),
        DestinationConfig::S3(bucket) => {
            let opened = bucket.open(&format!("backup.destinations.{name}"), Arc::new(SystemTime::now));
            Ok(Arc::new(opened.map_err(|fault| refuse(config, fault))?))
        }
    }
}

/// Whoever tries out a copy of a server leaves these out: anchors know one server only.
fn anchors(config: &Config, random: &Random) -> Result<BTreeMap<Name, AnchorAt>, ServerError> {
    let open = |(name, anchor): (&Name, &AnchorConfig)| {
        let opened = open_anchor(name, anchor, random).map_err(|fault| refuse(config, fault))?;
        let (every, entries, required) = (anchor.every(), anchor.entries(), anchor.required());
        Ok((name.clone(), AnchorAt { anchor: opened, every, entries, required }))
    };
    config.anchors.iter().map(open).collect()
}

/// An anchor of a server.
pub(crate) fn open_anchor(name: &Name, config: &AnchorConfig, random: &Random) -> Result<Arc<dyn Anchor>, Fault> {
    Ok(match (config, config.counter(&format!("anchors.{name}"))?) {
        (_, Some(options)) => Arc::new(TpmCounter::new(options, random.clone())),
        (AnchorConfig::File { path, .. }, None) => Arc::new(FileAnchor::new(path)),
        (AnchorConfig::TpmCounter { .. }, None) => return Err(Fault::new("anchors", "no counter", "name its device")),
    })
}

fn channels(config: &Config) -> Result<Vec<Channel>, ServerError> {
    let opened = config.notify.open().map_err(|fault| refuse(config, fault))?;
    let channel = |OpenedChannel { notifier, only }| Channel { notifier, only };
    Ok(opened.into_iter().map(channel).collect())
}

/// In development a provider may run beside the server, without TLS.
fn provider(mode: Mode) -> HttpsProvider {
    match mode {
        Mode::Production => HttpsProvider::new(),
        Mode::Development => HttpsProvider::with_plain_loopback(),
    }
}

pub(crate) fn settings(config: &Config, mode: Mode) -> Result<Settings, ServerError> {
    let algorithms = config.registry().map_err(|fault| refuse(config, fault))?;
    let of_mode = match mode {
        Mode::Production => Settings::default(),
        Mode::Development => Settings::development(),
    };
    Ok(Settings {
        algorithms,
        profile: config.lifecycle.profile,
        keys_kept: config.memory.keys,
        tokens_kept: config.memory.tokens,
        decisions_kept: config.memory.decisions,
        batch_max: config.limits.batch_items,
        log_origin: config.audit.origin.clone(),
        accept_missing_epochs: config.epochs.accept_missing,
        relying: config.webauthn.id.clone(),
        origins: config.webauthn.origins.clone(),
        scan_every: config.integrity.every(),
        scan_pace: config.integrity.pace,
        ..of_mode
    })
}

/// A configuration was checked when it was read; what is wrong only now is told without its file.
pub(crate) fn refuse(config: &Config, fault: Fault) -> ServerError {
    fault.in_file(&config.data_dir).into()
}

fn lock(data_dir: &Path) -> Result<File, ServerError> {
    let path = data_dir.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(|error| ServerError::part("data directory", format!("{}: {error}", path.display())))?;
    let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|_| {
        let directory = data_dir.display();
        ServerError::Refused(format!(
            "{directory} is in use by another keyreeve server: stop it, or use another directory"
        ))
    })?;
    Ok(file)
}

/// A name for this data directory that survives restarts: a server that was killed takes its own lease over at once.
fn instance(data_dir: &Path, random: &Random) -> Result<String, ServerError> {
    let path = data_dir.join("instance");
    if path.exists() {
        let bytes = files::read_private(&path).map_err(|trouble| ServerError::part("data directory", trouble))?;
        let text = String::from_utf8_lossy(bytes.expose()).trim().to_owned();
        if !text.is_empty() {
            return Ok(text);
        }
    }
    let bytes = random.nonce_array::<16>().map_err(|error| ServerError::part("random generator", error))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    files::write_private(&path, text.as_bytes()).map_err(|trouble| ServerError::part("data directory", trouble))?;
    Ok(text)
}

async fn open_journal(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Journal>, ServerError> {
    let clock = Arc::clone(clock);
    let directory = config.audit_dir();
    files::private_directory(&directory).map_err(|trouble| ServerError::part("audit log", trouble))?;
    let opened = FileJournal::open(&directory, Options::new(Arc::new(move || clock.now()))).await;
    Ok(Arc::new(opened.map_err(|error| ServerError::part("audit log", error))?))
}

/// Refuses a clock that went back since the last record, by more than the engine tolerates while running: keys would
/// live longer than they should.
async fn check_clock(journal: &dyn Journal, now: UnixMillis) -> Result<(), ServerError> {
    let page = journal.scan(Scan::newest(1)).await.map_err(|error| ServerError::part("audit log", error))?;
    let last = page.entries.first().and_then(|(_, bytes)| Record::peek(bytes)).map(|(_, time)| time);
    match last {
        Some(last) if last.since(now) > CLOCK_TOLERANCE_MS => {
            let text = format!(
                "the clock went back: it says {now}, the last audit record is of {last}; set it right, then start"
            );
            Err(ServerError::Refused(text))
        }
        _ => Ok(()),
    }
}

pub(crate) fn open_roots(
    config: &Config,
    mode: Mode,
    random: &Random,
    clock: &Arc<dyn Clock>,
) -> Result<Roots, ServerError> {
    let open = |(_, name, root): (String, Name, &RootConfig)| Ok((name, open_root(config, root, mode, random)?));
    let roots = config.named_roots().map(open).collect::<Result<_, ServerError>>()?;
    Roots::new(roots, Arc::clone(clock)).map_err(|error| ServerError::part("roots of trust", error))
}

fn open_root(config: &Config, root: &RootConfig, mode: Mode, random: &Random) -> Result<Arc<dyn Root>, ServerError> {
    match (root, mode) {
        (RootConfig::Shamir {}, _) => Ok(Arc::new(ShamirRoot::new(random.clone()))),
        (RootConfig::Pkcs11(token), _) => Ok(Arc::new(Pkcs11Root::new(token.settings(), random.clone()))),
        (RootConfig::AwsKms(aws), _) => clouds::aws(aws, "root", random).map_err(|fault| refuse(config, fault)),
        (RootConfig::AzureKeyVault(azure), _) => {
            clouds::azure(azure, "root", random).map_err(|fault| refuse(config, fault))
        }
        (RootConfig::GoogleKms(google), _) => {
            clouds::google(google, "root", random).map_err(|fault| refuse(config, fault))
        }
        (RootConfig::VaultTransit(vault), _) => {
            clouds::vault(vault, "root", random).map_err(|fault| refuse(config, fault))
        }
        (RootConfig::Tpm(tpm), _) => {
            let options = tpm.options("root", &config.data_dir).map_err(|fault| refuse(config, fault))?;
            Ok(Arc::new(TpmRoot::new(options, random.clone())))
        }
        (RootConfig::SealedFile {}, Mode::Development) => {
            Ok(Arc::new(SealedFileRoot::new(config.data_dir.join("root.dev-key"), random.clone())))
        }
        (RootConfig::SealedFile {}, Mode::Production) => {
            let text =
                "a sealed file protects nothing and is for `keyreeve dev` only: configure `root.kind = \"shamir\"`";
            Err(ServerError::Refused(text.to_owned()))
        }
    }
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, ServerError> {
    match &config.store {
        StoreConfig::Sqlite { path } => {
            let path = config.sqlite_path(path.as_deref());
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
            let opened = opened.map_err(|error| ServerError::part("store", error))?;
            Ok(Arc::new(opened.map_err(|error| ServerError::part("store", error))?))
        }
        StoreConfig::Postgres { url, .. } => {
            let password = config.store_password().map_err(|fault| refuse(config, fault))?;
            let url = password.map_or_else(|| url.clone(), |password| with_password(url, &password));
            let opened = PostgresStore::connect(&url, PostgresOptions::default()).await;
            Ok(Arc::new(opened.map_err(|error| ServerError::part("store", error))?))
        }
    }
}

/// Puts the password between user and host. Every byte is escaped, so that none means anything in a URL.
fn with_password(url: &str, password: &SecretString) -> String {
    let escaped: String = password.expose().bytes().map(|byte| format!("%{byte:02X}")).collect();
    match url.split_once('@') {
        Some((user, rest)) => format!("{user}:{escaped}@{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_only_a_password_in_the_url() {
        let url = with_password("postgres://kms@db:5432/keys?sslmode=verify-full", &SecretString::copy_from("a@/é"));
        assert_eq!(url, "postgres://kms:%61%40%2F%C3%A9@db:5432/keys?sslmode=verify-full");
    }
}
