//! Profiles: where the server is and who is asking, in a TOML file, so that commands stay short and tokens stay out of
//! command lines.
//!
//! ```toml
//! address = "https://kms.example.com:7433"
//! admin_address = "https://kms.example.com:7434"   # where administration has a listener of its own
//! ca_file = "ca.pem"                # paths are relative to the profile
//! token_file = "token"              # readable by its owner only
//! client_cert = "client.pem"        # instead of a token: mutual TLS
//! client_key = "client.key"
//! log_vkeys = ["log.example+..."]   # the audit log's public keys, to check proofs against
//! ```
//!
//! A profile that nobody named is used as it is or not at all: where the address, the CA or the token is given, none is
//! looked for, so that no token goes to a server, and no plaintext to a key, that somebody else's file chose. One found
//! in the current directory counts only if it is what `keyreeve dev` of the same user writes.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::path::{Component, Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use keyreeve_audit::VerifierKey;
use keyreeve_client::{Client, Options, TlsTrouble};
use keyreeve_secret::{SecretBuffer, SecretString};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::files;

/// The profile that `keyreeve dev` writes.
const DEV_PROFILE: &str = ".keyreeve-dev/client.toml";
/// Where a person's own profile is, below the directory for configuration.
const HOME_PROFILE: &str = "keyreeve/client.toml";
/// The longest token file, in bytes.
const TOKEN_MAX: usize = 4096;
/// The longest certificate, key or profile, in bytes.
const FILE_MAX: usize = 1024 * 1024;

/// What says which server to use and as whom. Given options win over a profile that is named, and leave no room for
/// another.
#[derive(Args, Clone, Debug, Default)]
struct Given {
    /// Profile with address, CA and token [default: ./.keyreeve-dev/client.toml, then ~/.config/keyreeve/client.toml]
    #[arg(long, global = true, value_name = "FILE", env = "KEYREEVE_PROFILE", help_heading = "Connection")]
    profile: Option<PathBuf>,
    /// Address of the server, such as https://localhost:7433; it stands for both listeners of a server
    #[arg(long, global = true, value_name = "URL", env = "KEYREEVE_ADDRESS", help_heading = "Connection")]
    address: Option<String>,
    /// Address of the server's listener for administration, where that is another one
    #[arg(long, global = true, value_name = "URL", env = "KEYREEVE_ADMIN_ADDRESS", help_heading = "Connection")]
    admin_address: Option<String>,
    /// PEM file with the certificate authority that the server's certificate must be from
    #[arg(long, global = true, value_name = "FILE", env = "KEYREEVE_CA_FILE", help_heading = "Connection")]
    ca_file: Option<PathBuf>,
    /// File with the bearer token; `-` asks for it on the terminal
    #[arg(long, global = true, value_name = "FILE", env = "KEYREEVE_TOKEN_FILE", help_heading = "Connection")]
    token_file: Option<PathBuf>,
}

impl Given {
    fn says_something(&self) -> bool {
        let address = self.address.is_some() || self.admin_address.is_some();
        address || self.ca_file.is_some() || self.token_file.is_some()
    }
}

/// What is given, with one address only where two of different origin would send one server's token to the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection(Given);

impl Connection {
    /// Who names a server on the command line means the whole server, whatever the environment says of another.
    fn drop_foreign(mut self, matches: &ArgMatches) -> Self {
        let is_named = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let is_around = |id| matches.value_source(id) == Some(ValueSource::EnvVariable);
        if is_named("profile") && is_around("address") {
            self.0.address = None;
        }
        if (is_named("profile") || is_named("address")) && is_around("admin_address") {
            self.0.admin_address = None;
        }
        self
    }
}

impl Connection {
    /// The options that say the same to another run of this program.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let Given { profile, address, admin_address, ca_file, token_file } = &self.0;
        let paths = [("--profile", profile), ("--ca-file", ca_file), ("--token-file", token_file)];
        let addresses = [("--address", address), ("--admin-address", admin_address)];
        let paths = paths.into_iter().filter_map(|(name, path)| Some([name.into(), path.as_ref()?.into()]));
        let addresses = addresses.into_iter().filter_map(|(name, text)| Some([name.into(), text.as_ref()?.into()]));
        paths.chain(addresses).flatten().collect()
    }
}

impl FromArgMatches for Connection {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Given::from_arg_matches(matches).map(|given| Self(given).drop_foreign(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Connection {
    fn augment_args(command: Command) -> Command {
        Given::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Given::augment_args_for_update(command)
    }
}

/// A profile file as written.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    address: Option<String>,
    admin_address: Option<String>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    #[serde(default)]
    log_vkeys: Vec<String>,
}

/// What a profile and the options over it say.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// The file it came from.
    pub(crate) path: Option<PathBuf>,
    pub(crate) address: Option<String>,
    /// Of the listener for administration; without it `address` is that, too.
    pub(crate) admin_address: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    /// The audit log's public keys, as the person who wrote the profile knows them.
    pub(crate) log_vkeys: Vec<VerifierKey>,
}

impl Profile {
    /// The profile that counts: the one asked for, under the options; without either the first of the usual places.
    pub(crate) fn load(connection: &Connection) -> Result<Self, Failure> {
        Self::under(&connection.0)
    }

    fn under(connection: &Given) -> Result<Self, Failure> {
        let mut profile = match &connection.profile {
            Some(path) => Self::read(path)?,
            None if connection.says_something() => Self::default(),
            None => Self::usual(Path::new(DEV_PROFILE), home_profile())?,
        };
        let connection = connection.clone();
        // An address that is given is that of the whole server: nothing goes to another one of the profile.
        if connection.address.is_some() {
            profile.admin_address = None;
        }
        profile.address = connection.address.or(profile.address);
        profile.admin_address = connection.admin_address.or(profile.admin_address);
        profile.ca_file = connection.ca_file.or(profile.ca_file);
        profile.token_file = connection.token_file.or(profile.token_file);
        Ok(profile)
    }

    /// A profile that somebody named.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        Self::read(path)
    }

    /// The profile of development mode if there is one, else a person's own.
    fn usual(dev: &Path, own: Option<PathBuf>) -> Result<Self, Failure> {
        if dev.symlink_metadata().is_ok() {
            return Self::read_dev(dev);
        }
        own.filter(|path| path.is_file()).map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        Self::of(Self::written(&files::read_all(path, FILE_MAX)?, path)?, path)
    }

    /// Whoever may write into the current directory could have put this profile there: it must show that it is ours.
    fn read_dev(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io(path.display(), &error);
        let folder = path.parent().unwrap_or(Path::new("."));
        let us = rustix::process::geteuid().as_raw();
        check_ours(path, &path.symlink_metadata().map_err(failed)?, Metadata::is_file, us)?;
        check_ours(path, &folder.symlink_metadata().map_err(failed)?, Metadata::is_dir, us)?;
        let opened = File::open(path).map_err(failed)?;
        // What is read is what was looked at, even if another file has taken its name by now.
        check_ours(path, &opened.metadata().map_err(failed)?, Metadata::is_file, us)?;
        let bytes = files::read_limited(opened, &path.display().to_string(), FILE_MAX)?;
        let bytes = bytes.declassify("a profile names secrets and holds none");
        let file = Self::written(&bytes, path)?;
        file.check_is_of_dev(path)?;
        Self::of(file, path)
    }

    fn written(bytes: &[u8], path: &Path) -> Result<ProfileFile, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
        toml::from_str(text).map_err(|error| wrong(path, &error.to_string()))
    }

    fn of(file: ProfileFile, path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| wrong(path, &what);
        if file.client_cert.is_some() != file.client_key.is_some() {
            return Err(wrong("client_cert and client_key go together".to_owned()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |named: Option<PathBuf>| named.map(|named| folder.join(named));
        let vkeys = file.log_vkeys.iter().map(|key| key.parse::<VerifierKey>());
        let log_vkeys = vkeys.collect::<Result<_, _>>().map_err(|error| wrong(format!("log_vkeys: {error}")))?;
        Ok(Self {
            path: Some(path.to_owned()),
            address: file.address,
            admin_address: file.admin_address,
            ca_file: beside(file.ca_file),
            token_file: beside(file.token_file),
            client_cert: beside(file.client_cert),
            client_key: beside(file.client_key),
            log_vkeys,
        })
    }

    /// A client for the server of this profile, in the name of its bearer.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut options = self.anonymous()?;
        if let Some(path) = &self.token_file {
            options = options.with_token(read_token(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            options = options.with_identity(read_identity(cert, key)?);
        }
        Ok(Client::new(&options)?)
    }

    /// A client that shows its certificate and no token: for logging in with it.
    pub(crate) fn certified_client(&self) -> Result<Client, Failure> {
        let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) else {
            let next = "name `client_cert` and `client_key` in a profile";
            return Err(Failure::usage("there is no client certificate").next(next));
        };
        Ok(Client::new(&self.anonymous()?.with_identity(read_identity(cert, key)?))?)
    }

    /// The file in which the token of a session has its place: not that of development mode, whose only token it is.
    pub(crate) fn own_token_file(&self) -> Option<&Path> {
        let of_dev = self.path.as_ref().is_some_and(|path| path.ends_with(DEV_PROFILE));
        self.token_file.as_deref().filter(|path| !of_dev && *path != Path::new("-"))
    }

    /// A client in nobody's name: for what a server answers before it knows anybody.
    pub(crate) fn anonymous_client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.anonymous()?)?)
    }

    /// The authorities that count, if they are named.
    pub(crate) fn ca_pem(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.ca_file.as_deref().map(|path| files::read_all(path, FILE_MAX)).transpose()
    }

    /// A profile for the same server, whose files stand beside it.
    pub(crate) fn text_for(&self, ca: Option<&str>, token: &str, vkeys: &[String]) -> Result<String, Failure> {
        let file = ProfileFile {
            address: self.address.clone(),
            admin_address: self.admin_address.clone(),
            ca_file: ca.map(PathBuf::from),
            token_file: Some(token.into()),
            log_vkeys: vkeys.to_vec(),
            ..ProfileFile::default()
        };
        let text = toml::to_string(&file).map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        Ok(format!("# Written by `keyreeve init`. The files it names are in the same directory.\n{text}"))
    }

    fn anonymous(&self) -> Result<Options, Failure> {
        let address = self.address.as_deref().or(self.admin_address.as_deref()).ok_or_else(no_address)?;
        let mut options = Options::new(address);
        if let Some(admin) = &self.admin_address {
            options = options.with_admin_address(admin);
        }
        Ok(match self.ca_pem()? {
            Some(pem) => options.with_ca(pem),
            None => options,
        })
    }
}

fn wrong(path: &Path, what: &str) -> Failure {
    Failure::usage(format!("the profile {}: {what}", path.display()))
}

/// A profile found in the current directory that somebody else may have put there.
fn untrusted(path: &Path, why: &str) -> Failure {
    let shown = path.display();
    Failure::usage(format!("the profile {shown} was found here and is not used: {why}"))
        .next(format!("give `--profile {shown}` if you trust it, or run this in another directory"))
}

/// Sees that nobody else can have written this.
fn check_ours(path: &Path, metadata: &Metadata, right_kind: fn(&Metadata) -> bool, us: u32) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    if !right_kind(metadata) {
        return Err(untrusted(path, "it is a link or a special file"));
    }
    if metadata.uid() != us {
        return Err(untrusted(path, "it or its directory belongs to somebody else"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(untrusted(path, "others may write to it or to its directory"));
    }
    Ok(())
}

impl ProfileFile {
    /// Sees that this says no more than what `keyreeve dev` writes.
    fn check_is_of_dev(&self, path: &Path) -> Result<(), Failure> {
        let mut addresses = [&self.address, &self.admin_address].into_iter().flatten();
        if self.address.is_none() || !addresses.all(|address| Options::new(address).is_loopback()) {
            return Err(untrusted(path, "its address is not one of this machine"));
        }
        let bare = |named: &PathBuf| {
            let mut parts = named.components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if ![&self.ca_file, &self.token_file].into_iter().flatten().all(bare) {
            return Err(untrusted(path, "it names files outside of its directory"));
        }
        if self.client_cert.is_some() || self.client_key.is_some() {
            return Err(untrusted(path, "it names a client certificate"));
        }
        Ok(())
    }
}

impl Profile {
    /// What to do about a server that is not spoken to, with the files and fields that have a part in it.
    pub(crate) fn advice(&self, trouble: TlsTrouble) -> String {
        let field = |name: &str| match &self.path {
            Some(path) => format!("`{name}` of the profile {}", path.display()),
            None => format!("`{name}` of a profile"),
        };
        match (trouble, &self.ca_file, &self.client_cert) {
            (TlsTrouble::UnknownIssuer, Some(ca), _) => format!(
                "the server's certificate is not from the authority in {}: get the right file from whoever runs the \
                 server, and name it with `--ca-file` or {}",
                ca.display(),
                field("ca_file")
            ),
            (TlsTrouble::UnknownIssuer, None, _) => format!(
                "only the authorities of this system count: name the one of the server with `--ca-file FILE` or {}",
                field("ca_file")
            ),
            (TlsTrouble::WrongName, ..) => format!(
                "use a name of the certificate, with `--address` or {}, or have a certificate made for this name",
                field("address")
            ),
            (TlsTrouble::Expired, ..) => {
                "the server needs a new certificate (`keyreeve config check` there tells which; \
                SIGHUP makes it read it); or the clock of this machine is wrong"
                    .to_owned()
            }
            (TlsTrouble::NotYetValid, ..) => "set the clocks of this machine and of the server right".to_owned(),
            (TlsTrouble::Authority, ..) => "the server needs a certificate of its own (CA:FALSE) from that authority; \
                `keyreeve config check` there tells"
                .to_owned(),
            (TlsTrouble::ClientCertificateMissing, _, None) => {
                format!("name a certificate and its key with {} and `client_key`", field("client_cert"))
            }
            (TlsTrouble::ClientCertificateMissing | TlsTrouble::ClientCertificateRefused, _, cert) => format!(
                "{} must be valid, and from an authority in the `client_ca` of the server's listener; it is {}",
                cert.as_ref().map_or_else(|| "the client certificate".to_owned(), |cert| cert.display().to_string()),
                field("client_cert")
            ),
            (TlsTrouble::NotTls, ..) => format!(
                "is the port right? It is given with `--address` or {}; a listener with `plain_http` is not spoken to",
                field("address")
            ),
            (TlsTrouble::Handshake, ..) => {
                "versions of TLS or algorithms do not fit; the server's log may say more (`level = \"debug\"`)"
                    .to_owned()
            }
        }
    }
}

fn no_address() -> Failure {
    let known = [Some(PathBuf::from(DEV_PROFILE)), home_profile()].into_iter().flatten().find(|file| file.is_file());
    let next = match known {
        Some(file) => format!(
            "a token is sent only where it is said to belong: your profile is not used beside `--address`, `--ca-file` \
             or `--token-file` unless it is named: add `--profile {}`",
            file.display()
        ),
        None => "start one with `keyreeve dev` and run this in the same directory, or give `--profile FILE`, or \
                 `--address URL`, `--ca-file FILE` and `--token-file FILE`"
            .to_owned(),
    };
    Failure::usage("no server is named").next(next)
}

fn home_profile() -> Option<PathBuf> {
    let configuration = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let configuration = configuration.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    configuration.map(|dir| dir.join(HOME_PROFILE))
}

/// The token in a file that nobody else may read, or typed without echo.
fn read_token(path: &Path) -> Result<SecretString, Failure> {
    if path == Path::new("-") {
        return files::ask_secret("Token: ");
    }
    files::check_private(path)?;
    files::read_secret_text(path, TOKEN_MAX)
}

/// Certificate and key, one after the other, in a buffer that is wiped.
fn read_identity(cert: &Path, key: &Path) -> Result<keyreeve_secret::SecretBytes, Failure> {
    files::check_private(key)?;
    let mut pem = SecretBuffer::with_capacity(16 * 1024);
    pem.extend_from_slice(&files::read_all(cert, FILE_MAX)?);
    pem.push(b'\n');
    pem.extend_from_slice(files::read_secret(key, FILE_MAX)?.expose());
    Ok(pem.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Readers, Sink};

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn parse(text: &str) -> Result<Profile, Failure> {
        let path = Path::new("/etc/keyreeve/client.toml");
        Profile::of(Profile::written(text.as_bytes(), path)?, path)
    }

    #[test]
    fn paths_are_relative_to_the_profile() {
        let text =
            format!("address = 'https://h'\nca_file = 'ca.pem'\ntoken_file = '/run/token'\nlog_vkeys = ['{VKEY}']");
        let profile = parse(&text).unwrap();
        assert_eq!(profile.ca_file.unwrap(), Path::new("/etc/keyreeve/ca.pem"));
        assert_eq!(profile.token_file.unwrap(), Path::new("/run/token"));
        assert_eq!(profile.log_vkeys[0].name(), "example.com/foo");
    }

    #[test]
    fn unknown_fields_half_identities_and_wrong_keys_are_refused() {
        for bad in
            ["adress = 'https://h'", "client_cert = 'a.pem'", "log_vkeys = ['x']", "token = 'krt_1'", "address = 1"]
        {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            assert!(failure.what.contains("/etc/keyreeve/client.toml"), "{}", failure.what);
        }
    }

    #[test]
    fn options_win_over_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, "address = 'https://a'\nca_file = 'ca.pem'").unwrap();
        let address = Some("https://b".to_owned());
        let connection = Given { profile: Some(path), address, ..Given::default() };
        let profile = Profile::under(&connection).unwrap();
        assert_eq!(profile.address.as_deref(), Some("https://b"));
        assert_eq!(profile.ca_file.unwrap(), dir.path().join("ca.pem"));
    }

    #[test]
    fn an_address_that_is_given_is_that_of_both_listeners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, "address = 'https://a'\nadmin_address = 'https://b'").unwrap();
        let load = |address: Option<&str>, admin_address: Option<&str>| {
            let (address, admin_address) = (address.map(str::to_owned), admin_address.map(str::to_owned));
            let connection = Given { profile: Some(path.clone()), address, admin_address, ..Given::default() };
            let profile = Profile::under(&connection).unwrap();
            let client = profile.anonymous_client().unwrap();
            (client.address().to_owned(), client.admin_address().map(str::to_owned))
        };
        let pair = |data: &str, admin: Option<&str>| (data.to_owned(), admin.map(str::to_owned));
        assert_eq!(load(None, None), pair("https://a", Some("https://b")));
        assert_eq!(load(Some("https://c"), None), pair("https://c", None));
        assert_eq!(load(None, Some("https://d")), pair("https://a", Some("https://d")));
        assert_eq!(load(Some("https://c"), Some("https://d")), pair("https://c", Some("https://d")));
    }

    #[test]
    fn an_address_on_the_command_line_is_not_joined_with_one_of_the_environment() {
        let admin_after = |words: &[&str]| {
            // Any variable that is set will do.
            let admin = clap::Arg::new("admin_address").long("admin-address").env("PATH");
            let address = clap::Arg::new("address").long("address").env("PATH");
            let command = Command::new("x").arg(address).arg(admin).arg(clap::Arg::new("profile").long("profile"));
            let matches = command.get_matches_from([&["x"], words].concat());
            let admin_address = matches.get_one::<String>("admin_address").cloned();
            Connection(Given { admin_address, ..Given::default() }).drop_foreign(&matches).0.admin_address
        };
        assert_eq!(admin_after(&["--address", "https://b"]), None);
        assert_eq!(admin_after(&["--profile", "client.toml"]), None);
        assert!(admin_after(&[]).is_some(), "both may come from the environment");
        let both = admin_after(&["--address", "https://b", "--admin-address", "https://c"]);
        assert_eq!(both.as_deref(), Some("https://c"));
    }

    #[test]
    fn what_initialisation_writes_is_a_profile() {
        let data = Some("https://kms:7433".to_owned());
        let profile = Profile { address: data, admin_address: Some("https://kms:7434".into()), ..Profile::default() };
        let text = profile.text_for(Some("ca.pem"), "token", &[VKEY.to_owned()]).unwrap();
        let read = parse(&text).unwrap();
        assert_eq!((&read.address, &read.admin_address), (&profile.address, &profile.admin_address));
        assert_eq!(read.ca_file.unwrap(), Path::new("/etc/keyreeve/ca.pem"));
        assert_eq!(read.token_file.unwrap(), Path::new("/etc/keyreeve/token"));
        assert_eq!(read.log_vkeys.len(), 1);
    }

    #[test]
    fn advice_names_the_file_and_the_field() {
        let profile = parse("address = 'https://h'\nca_file = 'ca.pem'").unwrap();
        let advice = profile.advice(TlsTrouble::UnknownIssuer);
        for word in ["/etc/keyreeve/ca.pem", "`ca_file`", "/etc/keyreeve/client.toml"] {
            assert!(advice.contains(word), "{advice}");
        }
        assert!(Profile::default().advice(TlsTrouble::UnknownIssuer).contains("`--ca-file FILE`"));
        assert!(profile.advice(TlsTrouble::ClientCertificateMissing).contains("client_key"));
    }

    /// What is found in a directory where development mode may have run.
    fn found(text: &str, folder_mode: u32, mode: u32) -> Result<Profile, Failure> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(".keyreeve-dev");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("client.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(folder_mode)).unwrap();
        Profile::usual(&path, None)
    }

    const DEV: &str = "address = 'https://localhost:7433'\nca_file = 'ca.pem'\ntoken_file = 'token'";

    #[test]
    fn a_found_profile_counts_if_it_is_what_dev_writes() {
        let profile = found(DEV, 0o700, 0o600).unwrap();
        assert_eq!(profile.address.as_deref(), Some("https://localhost:7433"));
        assert!(profile.token_file.unwrap().ends_with(".keyreeve-dev/token"));
        for address in ["https://127.0.0.7:1", "https://[::1]:7433"] {
            assert!(found(&format!("address = '{address}'"), 0o755, 0o644).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_found_profile_that_others_may_have_written_is_refused() {
        for (folder_mode, mode) in [(0o700, 0o620), (0o700, 0o602), (0o770, 0o600), (0o1777, 0o600)] {
            let failure = found(DEV, folder_mode, mode).unwrap_err();
            assert!(failure.what.contains("others may write"), "{}", failure.what);
            assert!(failure.next.unwrap().contains("`--profile "));
        }
        for bad in [
            "address = 'https://kms.example.com'",
            "address = 'https://localhost.example.com'",
            "ca_file = 'ca.pem'",
            "address = 'https://localhost'\nca_file = '/tmp/ca.pem'",
            "address = 'https://localhost'\ntoken_file = '../token'",
            "address = 'https://localhost'\ntoken_file = '..'",
            "address = 'https://localhost'\nclient_cert = 'a'\nclient_key = 'b'",
        ] {
            let failure = found(bad, 0o700, 0o600).unwrap_err();
            assert!(failure.what.contains("is not used"), "{bad}: {}", failure.what);
        }
    }

    #[test]
    fn a_found_profile_of_somebody_else_or_behind_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.toml"), dir.path().join("client.toml"));
        Sink::of(&real, false).write(DEV.as_bytes(), Readers::Owner).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(Profile::usual(&link, None).unwrap_err().what.contains("a link"));
        let (metadata, us) = (real.metadata().unwrap(), rustix::process::geteuid().as_raw());
        let check = |us| check_ours(&real, &metadata, Metadata::is_file, us);
        assert!(check(us).is_ok());
        assert!(check(us + 1).unwrap_err().what.contains("somebody else"));
    }

    #[test]
    fn options_are_not_completed_from_a_found_profile() {
        let given = [
            Given { address: Some("https://a".to_owned()), ..Given::default() },
            Given { ca_file: Some("ca.pem".into()), ..Given::default() },
            Given { token_file: Some("token".into()), ..Given::default() },
        ];
        for connection in given {
            assert!(connection.says_something());
            let profile = Profile::under(&connection).unwrap();
            assert!(profile.path.is_none() && profile.log_vkeys.is_empty());
        }
        assert!(!Given::default().says_something());
    }

    #[test]
    fn without_an_address_the_next_step_is_told() {
        let failure = Profile::default().client().err().unwrap();
        assert!(failure.next.unwrap().contains("keyreeve dev"));
    }

    #[test]
    fn the_token_of_development_mode_is_nobodys_session() {
        let text = "address = 'https://localhost'\ntoken_file = 'token'";
        let of = |path: &Path| Profile::of(Profile::written(text.as_bytes(), path).unwrap(), path).unwrap();
        let own = of(Path::new("/home/olga/client.toml"));
        assert_eq!(own.own_token_file(), Some(Path::new("/home/olga/token")));
        assert_eq!(of(Path::new("/srv/.keyreeve-dev/client.toml")).own_token_file(), None);
        let asked = Profile { token_file: Some("-".into()), ..Profile::default() };
        assert_eq!(asked.own_token_file(), None);
    }

    #[test]
    fn a_token_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "krt_abc\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read_token(&path).unwrap_err();
        assert!(failure.next.unwrap().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_token(&path).unwrap().ct_eq("krt_abc"));
    }
}
