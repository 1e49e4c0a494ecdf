//! The configuration file (TOML). Every field is known, every path is read, every secret is looked at before anything
//! starts; what is wrong is told with file, field and remedy.

mod algorithms;
mod anchor;
mod aws;
mod azure;
mod backup;
mod drills;
mod google;
mod integrity;
mod limits;
mod listeners;
mod notify;
mod pkcs11;
mod postgres;
mod root;
mod tpm;
mod vault;
mod webauthn;

use keyreeve_crypto::Registry;
use keyreeve_model::roots::MAIN;
use keyreeve_model::{Name, Profile};
use keyreeve_secret::SecretString;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{self, Trouble};

pub use algorithms::Dates;
pub use anchor::{AnchorConfig, OtherBinary, StartConfig};
pub use aws::AwsConfig;
pub use azure::{AzureConfig, AzureLoginConfig};
pub use backup::{BackupConfig, DestinationConfig};
pub use drills::DrillsConfig;
pub use google::GoogleConfig;
pub use integrity::IntegrityConfig;
pub use limits::{LimitsConfig, RateConfig, RatesConfig};
pub use listeners::{ClientAuth, ListenerConfig, Listeners, TlsFiles, TlsVersion, Unsure};
pub(crate) use notify::Opened as OpenedChannel;
pub use notify::{ChannelConfig, MailTls, NotifyConfig};
pub use pkcs11::Pkcs11Config;
pub use root::RootConfig;
pub use tpm::TpmConfig;
pub use vault::{VaultConfig, VaultLogin};
pub use webauthn::WebAuthnConfig;

/// What is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
pub struct ConfigError {
    /// The configuration file.
    pub file: PathBuf,
    /// The field, with its section.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// What stands in the place of a field where the file cannot be read at all.
const WHOLE_FILE: &str = "(whole file)";

impl ConfigError {
    /// Whether nothing of the file could be read.
    #[must_use]
    pub fn is_of_whole_file(&self) -> bool {
        self.field == WHOLE_FILE
    }

    fn told(&self) -> String {
        let Self { file, field, problem, remedy } = self;
        let name = file.display().to_string();
        match field.as_str() {
            // What is wrong with a file names it already.
            WHOLE_FILE => format!("{name}: {}; {remedy}", problem.strip_prefix(&name).unwrap_or(problem).trim_start()),
            field => format!("{name}: `{field}`: {problem}; {remedy}"),
        }
    }
}

/// A problem of one field; the file is added at the end.
pub(crate) struct Fault {
    field: String,
    problem: String,
    remedy: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn file(field: impl Into<String>, trouble: Trouble) -> Self {
        Self::new(field, trouble.problem, trouble.remedy)
    }

    /// Field, problem and remedy.
    pub(crate) fn into_parts(self) -> (String, String, String) {
        (self.field, self.problem, self.remedy)
    }

    pub(crate) fn in_file(self, file: &Path) -> ConfigError {
        ConfigError { file: file.to_owned(), field: self.field, problem: self.problem, remedy: self.remedy }
    }
}

/// The configuration of a server. `deploy/keyreeve.toml` shows every field with its meaning.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept that has no path of its own. Relative paths are taken from the configuration file's
    /// directory.
    pub data_dir: PathBuf,
    /// Records and wrapped keys.
    #[serde(default)]
    pub store: StoreConfig,
    /// The root of trust called `main`: what a new deployment is initialised with. It may be missing once the
    /// deployment has moved to others and retired it.
    #[serde(default)]
    pub root: Option<RootConfig>,
    /// More roots of trust, by name.
    #[serde(default)]
    pub roots: BTreeMap<Name, RootConfig>,
    /// Epoch keys, kept apart from the store.
    #[serde(default)]
    pub epochs: EpochsConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// Where requests are taken.
    pub listeners: Listeners,
    /// How much of everything is allowed.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// What is held in memory.
    #[serde(default)]
    pub memory: MemoryConfig,
    /// Log lines.
    #[serde(default)]
    pub log: Log,
    /// The life of keys.
    #[serde(default)]
    pub lifecycle: LifecycleConfig,
    /// The channels on which people are told of what happened.
    #[serde(default)]
    pub notify: NotifyConfig,
    /// Backups; none where there is nothing.
    #[serde(default)]
    pub backup: Option<BackupConfig>,
    /// What remembers elsewhere how far this server had come, by name.
    #[serde(default)]
    pub anchors: BTreeMap<Name, AnchorConfig>,
    /// Which program may be this server.
    #[serde(default)]
    pub start: StartConfig,
    /// Scans for damage.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// Rehearsals.
    #[serde(default)]
    pub drills: DrillsConfig,
    /// Authenticators of people.
    #[serde(default)]
    pub webauthn: WebAuthnConfig,
    /// Dates of algorithms that differ from the shipped ones.
    #[serde(default)]
    pub algorithms: BTreeMap<String, Dates>,
    /// The file as it was read, for backups.
    #[serde(skip)]
    pub(crate) text: Option<Vec<u8>>,
}

/// Where records and wrapped keys are.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StoreConfig {
    /// In one file, for a single server.
    Sqlite {
        /// The file; `store/keyreeve.db` in the data directory where nothing else is said.
        path: Option<PathBuf>,
    },
    /// In PostgreSQL.
    Postgres {
        /// Host, user and database, as `postgres://user@host:5432/database`; without password.
        url: String,
        /// A file that holds the password.
        password_file: Option<PathBuf>,
    },
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self::Sqlite { path: None }
    }
}

/// Epoch keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochsConfig {
    /// The directory; `epochs` in the data directory where nothing else is said.
    pub dir: Option<PathBuf>,
    /// Open even though the store refers to epoch keys that the vault does not hold. For recovery only, after a person
    /// has made sure that they are lost: keys under them stay unusable.
    #[serde(default)]
    pub accept_missing: bool,
}

/// The audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// The log's name in its checkpoints, such as `kms.example.com/audit`: different for every deployment, and for
    /// ever.
    pub origin: String,
    /// The directory; `audit` in the data directory where nothing else is said.
    pub dir: Option<PathBuf>,
}

/// What is held in memory.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// Keys (count).
    pub keys: usize,
    /// Tokens (count).
    pub tokens: usize,
    /// Decisions of policy (count); roughly 500 bytes each.
    pub decisions: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { keys: 16 * 1024, tokens: 16 * 1024, decisions: 64 * 1024 }
    }
}

/// Log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Their form.
    pub format: LogFormat,
    /// The least important ones that are written.
    pub level: LogLevel,
}

/// Forms of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs an operator.
    Error,
    /// What may need one.
    Warn,
    /// What happens seldom.
    #[default]
    Info,
    /// Every request.
    Debug,
}

/// The life of keys.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifecycleConfig {
    /// The revision of SP 800-57 part 1 that rules new deployments: `rev5` or `rev6`.
    pub profile: Profile,
}

impl Config {
    /// Reads and checks a configuration for production.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_public(path).map_err(|trouble| Fault::file(WHOLE_FILE, trouble).in_file(path))?;
        let text = String::from_utf8(text)
            .map_err(|_| Fault::new(WHOLE_FILE, "it is not UTF-8 text", "save it as UTF-8").in_file(path))?;
        let mut config = Self::parse(&text).map_err(|fault| fault.in_file(path))?;
        let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        config.resolve(base);
        config.text = Some(text.into_bytes());
        config.check().map_err(|fault| fault.in_file(path))?;
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let unread = |field: &str, error: &toml::de::Error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = match (field, line) {
                ("", None) => WHOLE_FILE.to_owned(),
                ("", Some(line)) => format!("line {line}"),
                (field, None) => field.to_owned(),
                (field, Some(line)) => format!("{field} (line {line})"),
            };
            // Not the error's own display: it repeats the line, and somebody may have put a password there.
            Fault::new(place, error.message().trim(), "see the commented example deploy/keyreeve.toml")
        };
        let parsed = toml::Deserializer::parse(text).map_err(|error| unread("", &error))?;
        serde_path_to_error::deserialize(parsed).map_err(|error| {
            let field = error.path().to_string();
            unread(field.trim_start_matches(['.', '?']), error.inner())
        })
    }

    /// Takes relative paths from `base`.
    fn resolve(&mut self, base: &Path) {
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        absolute(&mut self.data_dir);
        self.epochs.dir.iter_mut().for_each(absolute);
        self.audit.dir.iter_mut().for_each(absolute);
        match &mut self.store {
            StoreConfig::Sqlite { path } => path.iter_mut().for_each(absolute),
            StoreConfig::Postgres { password_file, .. } => password_file.iter_mut().for_each(absolute),
        }
        let roots = self.root.iter_mut().chain(self.roots.values_mut());
        roots.flat_map(RootConfig::paths).for_each(absolute);
        self.listeners.paths().for_each(absolute);
        self.notify.resolve(base);
        if let Some(backup) = &mut self.backup {
            backup.resolve(base);
        }
        self.anchors.values_mut().for_each(|anchor| anchor.resolve(base));
        self.drills.resolve(base);
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        files::check_directory(&self.data_dir).map_err(|trouble| Fault::file("data_dir", trouble))?;
        if self.roots.keys().any(|name| name.as_str() == MAIN) {
            let problem = "`[root]` is the one called `main`";
            return Err(Fault::new("roots.main", problem, "give this one another name"));
        }
        let mut count = 0;
        for (field, _, root) in self.named_roots() {
            root.check(&field)?;
            count += 1;
        }
        if count == 0 {
            let remedy = "write `[root]` with `kind = \"shamir\"`, or another kind: see the commented example \
                          deploy/keyreeve.toml";
            return Err(Fault::new("root", "there is no root of trust", remedy));
        }
        self.check_parts()
    }

    /// What holds in development mode too.
    pub(crate) fn check_parts(&self) -> Result<(), Fault> {
        check_origin(&self.audit.origin)?;
        self.store_password()?;
        if let StoreConfig::Postgres { url, password_file } = &self.store {
            postgres::check(url, password_file.is_some())?;
            postgres::check_environment(|name| std::env::var_os(name).is_some())?;
        }
        self.listeners.check()?;
        self.limits.check()?;
        self.registry()?;
        self.notify.open()?;
        self.webauthn.check()?;
        self.backup.as_ref().map_or(Ok(()), BackupConfig::check)?;
        self.start.check()?;
        self.check_anchors()?;
        self.drills.check()?;
        if self.memory.keys == 0 || self.memory.tokens == 0 || self.memory.decisions == 0 {
            return Err(Fault::new("memory", "nothing could be held in memory", "give numbers of at least 1"));
        }
        Ok(())
    }

    fn check_anchors(&self) -> Result<(), Fault> {
        if self.anchors.len() > anchor::ANCHORS_MAX {
            let problem = format!("{} anchors", self.anchors.len());
            return Err(Fault::new("anchors", problem, format!("name at most {}", anchor::ANCHORS_MAX)));
        }
        for (name, anchor) in &self.anchors {
            anchor.check(&format!("anchors.{name}"), &self.data_dir)?;
        }
        Ok(())
    }

    /// The roots of trust: where each stands in the file, its name, and what it is.
    pub(crate) fn named_roots(&self) -> impl Iterator<Item = (String, Name, &RootConfig)> {
        let main = self.root.iter().map(|root| ("root".to_owned(), keyreeve_model::roots::main(), root));
        main.chain(self.roots.iter().map(|(name, root)| (format!("roots.{name}"), name.clone(), root)))
    }

    /// The algorithms with their dates.
    pub(crate) fn registry(&self) -> Result<Registry, Fault> {
        algorithms::registry(&self.algorithms)
    }

    /// The password of the store, where it has one.
    pub(crate) fn store_password(&self) -> Result<Option<SecretString>, Fault> {
        let StoreConfig::Postgres { password_file: Some(path), .. } = &self.store else { return Ok(None) };
        let field = "store.password_file";
        let mut bytes = files::read_private(path).map_err(|trouble| Fault::file(field, trouble))?;
        let end = bytes.expose().iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
        bytes.truncate(end);
        let wrong = || Fault::new(field, "the file is empty or not text", "put the password into it, on one line");
        match SecretString::from_utf8(bytes) {
            Ok(password) if !password.is_empty() => Ok(Some(password)),
            _ => Err(wrong()),
        }
    }

    /// The SQLite file.
    pub(crate) fn sqlite_path(&self, path: Option<&Path>) -> PathBuf {
        path.map_or_else(|| self.data_dir.join("store").join("keyreeve.db"), Path::to_owned)
    }

    pub(crate) fn epochs_dir(&self) -> PathBuf {
        self.epochs.dir.clone().unwrap_or_else(|| self.data_dir.join("epochs"))
    }

    /// Where ledgers of backups are kept, and backups on their way.
    pub(crate) fn backup_dir(&self) -> PathBuf {
        let named = self.backup.as_ref().and_then(|backup| backup.dir.clone());
        named.unwrap_or_else(|| self.data_dir.join("backup"))
    }

    /// Where scratch instances are made.
    pub(crate) fn drill_dir(&self) -> PathBuf {
        self.drills.dir.as_ref().unwrap_or(&self.data_dir).join("keyreeve-drill")
    }

    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.audit.dir.clone().unwrap_or_else(|| self.data_dir.join("audit"))
    }

    /// What is no error, but worth a thought.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.listeners.all.is_some() {
            remarks.push(
                "listeners.all: administration and data share one listener; `admin` and `data` keep them apart".into(),
            );
        }
        if self.root.is_none() {
            let text = "root: there is none, which is right for a deployment that has retired `main`; a new one cannot \
                        be initialised with this configuration";
            remarks.push(text.into());
        }
        if self.listeners.metrics.is_none() {
            remarks.push("listeners.metrics: there is none, so nothing can be watched".into());
        }
        if let StoreConfig::Postgres { password_file: None, .. } = self.store {
            remarks.push(
                "store.password_file: there is none, so the database must know this server by other means".into(),
            );
        }
        if self.anchors.is_empty() {
            remarks.push("anchors: there is none, so nobody notices when an old copy of this server is started".into());
        }
        if self.notify.channels.is_empty() {
            remarks
                .push("notify.channels: there is none, so nobody is told of what waits for them or went wrong".into());
        }
        remarks
    }
}

fn check_origin(origin: &str) -> Result<(), Fault> {
    // C2SP signed-note: key names have neither spaces nor a plus sign.
    let fit =
        !origin.is_empty() && origin.len() <= 255 && origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+');
    let problem = "it must be 1 to 255 visible ASCII characters without `+`";
    if fit { Ok(()) } else { Err(Fault::new("audit.origin", problem, "write for instance `kms.example.com/audit`")) }
}

#[cfg(test)]
mod tests;
