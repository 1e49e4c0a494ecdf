//! `[backup]`: where backups go, when they are made, and how many are kept.

use keyreeve_archive_command::Settings;
use keyreeve_archive_s3::{S3Archive, WallClock};
use keyreeve_backup::Keep;
use keyreeve_model::Name;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;
use crate::files;

/// Destinations of one server (count).
const DESTINATIONS_MAX: usize = 8;
const HOUR: u64 = 3600;

/// Backups.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupConfig {
    /// Where backups go, by name.
    pub destinations: BTreeMap<Name, DestinationConfig>,
    /// The server's own copy of the ledgers, and what is on its way; `backup` in the data directory where nothing else
    /// is said.
    pub dir: Option<PathBuf>,
    /// How often one is made (hours); 0 for only when somebody asks.
    #[serde(default = "daily")]
    pub every_hours: u64,
    /// How often the newest is read again and checked (hours); 0 for only when somebody asks.
    #[serde(default = "weekly")]
    pub verify_hours: u64,
    /// How many are kept.
    #[serde(default)]
    pub keep: Keep,
}

const fn daily() -> u64 {
    24
}

const fn weekly() -> u64 {
    7 * 24
}

/// A destination: its kind, and what that kind needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DestinationConfig {
    /// A directory, on a disk of its own or from a file server.
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// A program of the operator's.
    Command(CommandConfig),
    /// A bucket of Amazon S3, or of a service that speaks the same.
    S3(S3Config),
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket.
    bucket: String,
    /// What the names of objects begin with there.
    #[serde(default)]
    prefix: String,
    /// The region.
    region: String,
    /// Another service than Amazon's.
    endpoint: Option<String>,
    /// Credentials, in the form of `~/.aws/credentials`, profile `default`.
    credentials: PathBuf,
    /// The authorities of the endpoint, in PEM, where they are not those of the system.
    ca: Option<PathBuf>,
    /// That a bucket with versions is meant.
    #[serde(default)]
    accept_versions: bool,
}

impl S3Config {
    /// As the driver takes it; `authorities_pem` is what `ca` holds.
    fn settings(&self, authorities_pem: Option<Vec<u8>>) -> keyreeve_archive_s3::Settings {
        keyreeve_archive_s3::Settings {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            credentials_file: self.credentials.clone(),
            authorities_pem,
            accept_versions: self.accept_versions,
        }
    }

    /// The bucket, which nothing is asked of yet.
    pub(crate) fn open(&self, field: &str, clock: WallClock) -> Result<S3Archive, Fault> {
        let read =
            |path: &PathBuf| files::read_public(path).map_err(|trouble| Fault::file(format!("{field}.ca"), trouble));
        let authorities = self.ca.as_ref().map(read).transpose()?;
        let remedy = "docs/operations.md (Backups) has an example";
        S3Archive::new(self.settings(authorities), clock)
            .map_err(|error| Fault::new(field.to_owned(), error.to_string(), remedy))
    }

    fn check(&self, field: &str) -> Result<(), Fault> {
        files::read_private(&self.credentials)
            .map_err(|trouble| Fault::file(format!("{field}.credentials"), trouble))?;
        let remedy = "docs/operations.md (Backups) has an example";
        self.settings(None).check().map_err(|problem| Fault::new(field.to_owned(), problem, remedy))
    }

    fn seen(&self, field: &str) -> String {
        format!("{field}.credentials: {} is for its owner alone", self.credentials.display())
    }
}

/// A program that keeps backups somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program.
    program: PathBuf,
    /// What it gets before the verb; no secrets.
    #[serde(default)]
    arguments: Vec<String>,
    /// Its environment besides `PATH` and `LC_ALL`; no secrets.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// How long it may do nothing before it is killed (seconds).
    #[serde(default = "stall")]
    stall_seconds: u64,
}

const fn stall() -> u64 {
    300
}

impl CommandConfig {
    /// As the driver takes it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            stall: Duration::from_secs(self.stall_seconds),
        }
    }

    fn check(&self, field: &str) -> Result<(), Fault> {
        if !(1..=86_400).contains(&self.stall_seconds) {
            let problem = format!("{} seconds", self.stall_seconds);
            return Err(Fault::new(format!("{field}.stall_seconds"), problem, "name 1 to 86400"));
        }
        let fits = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        let whole = |text: &String| !text.contains('\0');
        if !self.environment.iter().all(|(name, value)| fits(name) && whole(value)) || !self.arguments.iter().all(whole)
        {
            let problem = "an argument or a variable that no program can be given";
            return Err(Fault::new(field, problem, "leave out NUL, and `=` in names of variables"));
        }
        Ok(())
    }

    /// Looks at the program: it is there, can be run, and nobody but its owner can change it.
    fn seen(&self, field: &str) -> Result<String, Fault> {
        let name = self.program.display();
        let field = format!("{field}.program");
        let metadata = std::fs::metadata(&self.program).map_err(|error| {
            Fault::new(field.clone(), format!("{name} cannot be looked at ({error})"), "name a program that is there")
        })?;
        let mode = metadata.permissions().mode();
        if !metadata.is_file() || mode & 0o111 == 0 {
            return Err(Fault::new(
                field,
                format!("{name} cannot be run"),
                format!("`chmod 755 {name}`, or name another"),
            ));
        }
        if mode & 0o022 != 0 {
            let problem = format!("{name} can be changed by others (mode {:03o})", mode & 0o777);
            return Err(Fault::new(field, problem, format!("`chmod go-w {name}`: it is run as the server's user")));
        }
        Ok(format!("{field}: {name} can be run"))
    }
}

impl BackupConfig {
    pub(crate) fn resolve(&mut self, base: &Path) {
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        self.dir.iter_mut().for_each(absolute);
        for destination in self.destinations.values_mut() {
            destination.paths().for_each(absolute);
        }
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.destinations.is_empty() || self.destinations.len() > DESTINATIONS_MAX {
            let problem = format!("{} destinations", self.destinations.len());
            return Err(Fault::new("backup.destinations", problem, format!("name 1 to {DESTINATIONS_MAX}")));
        }
        let mut places: Vec<String> = self.destinations.values().map(DestinationConfig::place).collect();
        places.sort();
        if places.windows(2).any(|pair| pair[0] == pair[1]) {
            let problem = "two destinations are one place";
            return Err(Fault::new("backup.destinations", problem, "give each a place of its own"));
        }
        for (name, destination) in &self.destinations {
            destination.check(&format!("backup.destinations.{name}"))?;
        }
        Ok(())
    }

    /// How often one is made.
    pub(crate) fn every(&self) -> Option<Duration> {
        hours(self.every_hours)
    }

    /// How often the newest is checked.
    pub(crate) fn verify_every(&self) -> Option<Duration> {
        hours(self.verify_hours)
    }
}

impl DestinationConfig {
    /// What it names on this machine.
    fn paths(&mut self) -> Box<dyn Iterator<Item = &mut PathBuf> + '_> {
        match self {
            Self::Directory { path } => Box::new(std::iter::once(path)),
            Self::Command(command) => Box::new(std::iter::once(&mut command.program)),
            Self::S3(bucket) => Box::new(std::iter::once(&mut bucket.credentials).chain(&mut bucket.ca)),
        }
    }

    /// What no two destinations may have in common.
    fn place(&self) -> String {
        match self {
            Self::Directory { path } => path.display().to_string(),
            Self::S3(bucket) => format!("{:?} {} {}", bucket.endpoint, bucket.bucket, bucket.prefix),
            Self::Command(command) => format!("{:?} {:?}", command.program, (&command.arguments, &command.environment)),
        }
    }

    fn check(&self, field: &str) -> Result<(), Fault> {
        match self {
            Self::Directory { .. } => Ok(()),
            Self::Command(command) => command.check(field),
            Self::S3(bucket) => bucket.check(field),
        }
    }

    /// The directory that it is, for who looks at directories.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory { path } => Some(path),
            Self::Command(_) | Self::S3(_) => None,
        }
    }

    /// Looks at what is no directory; nothing is asked for.
    pub(crate) fn seen(&self, field: &str) -> Result<Option<String>, Fault> {
        match self {
            Self::Directory { .. } => Ok(None),
            Self::Command(command) => command.seen(field).map(Some),
            Self::S3(bucket) => Ok(Some(bucket.seen(field))),
        }
    }
}

fn hours(count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(count.saturating_mul(HOUR)))
}
