//! Profiles: where the server is and who is asking, in a TOML file, so that commands stay short and tokens stay out of
//! command lines.
//!
//! ```toml
//! address = "https://kms.example.com:8443"
//! ca_file = "ca.pem"                # paths are relative to the profile
//! token_file = "token"              # readable by its owner only
//! client_cert = "client.pem"        # instead of a token: mutual TLS
//! client_key = "client.key"
//! log_vkeys = ["log.example+..."]   # the audit log's public keys, to check proofs against
//! ```

use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_audit::VerifierKey;
use keyreeve_client::{Client, Options};
use keyreeve_secret::{SecretBuffer, SecretString};
use serde::Deserialize;

use crate::failure::Failure;
use crate::files;

/// The profile that `keyreeve dev` writes.
const DEV_PROFILE: &str = ".keyreeve-dev/client.toml";
/// Where a person's own profile is, below the directory for configuration.
const HOME_PROFILE: &str = "keyreeve/client.toml";
/// The longest token file, in bytes.
const TOKEN_MAX: usize = 4096;
/// The longest certificate, key or profile, in bytes.
const FILE_MAX: usize = 1024 * 1024;

/// What says which server to use and as whom. Given options win over the profile.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Connection {
    /// Profile with address, CA and token [default: ./.keyreeve-dev/client.toml, then ~/.config/keyreeve/client.toml]
    #[arg(long, global = true, value_name = "FILE", env = "KEYREEVE_PROFILE", help_heading = "Connection")]
    pub(crate) profile: Option<PathBuf>,
    /// Address of the server, such as https://localhost:8443
    #[arg(long, global = true, value_name = "URL", env = "KEYREEVE_ADDRESS", help_heading = "Connection")]
    pub(crate) address: Option<String>,
    /// PEM file with the certificate authority that the server's certificate must be from
    #[arg(long, global = true, value_name = "FILE", env = "KEYREEVE_CA_FILE", help_heading = "Connection")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File with the bearer token; `-` asks for it on the terminal
    #[arg(long, global = true, value_name = "FILE", env = "KEYREEVE_TOKEN_FILE", help_heading = "Connection")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A profile file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    address: Option<String>,
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
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    /// The audit log's public keys, as the person who wrote the profile knows them.
    pub(crate) log_vkeys: Vec<VerifierKey>,
}

impl Profile {
    /// The profile that counts: the one asked for, else the first of the usual places, else none; under the options.
    pub(crate) fn load(connection: &Connection) -> Result<Self, Failure> {
        let mut profile = match &connection.profile {
            Some(path) => Self::read(path)?,
            None => match usual_places().into_iter().find(|path| path.is_file()) {
                Some(path) => Self::read(&path)?,
                None => Self::default(),
            },
        };
        let connection = connection.clone();
        profile.address = connection.address.or(profile.address);
        profile.ca_file = connection.ca_file.or(profile.ca_file);
        profile.token_file = connection.token_file.or(profile.token_file);
        Ok(profile)
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read_all(path, FILE_MAX)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("{} is not text", path.display())))?;
        Self::parse(text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::usage(format!("the profile {}: {what}", path.display()));
        let file: ProfileFile = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
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

    /// A client in nobody's name: for what a server answers before it knows anybody.
    pub(crate) fn anonymous_client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.anonymous()?)?)
    }

    fn anonymous(&self) -> Result<Options, Failure> {
        let address = self.address.as_deref().ok_or_else(no_address)?;
        let options = Options::new(address);
        match &self.ca_file {
            Some(path) => Ok(options.with_ca(files::read_all(path, FILE_MAX)?)),
            None => Ok(options),
        }
    }
}

fn no_address() -> Failure {
    Failure::usage("no server is named").next(
        "start one with `keyreeve dev` and run this in the same directory, or give `--profile FILE`, or `--address URL`, \
         `--ca-file FILE` and `--token-file FILE`",
    )
}

fn usual_places() -> Vec<PathBuf> {
    let configuration = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let configuration = configuration.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let own = configuration.map(|dir| dir.join(HOME_PROFILE));
    [Some(PathBuf::from(DEV_PROFILE)), own].into_iter().flatten().collect()
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
    use crate::failure::Exit;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn parse(text: &str) -> Result<Profile, Failure> {
        Profile::parse(text, Path::new("/etc/keyreeve/client.toml"))
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
        let connection = Connection { profile: Some(path), address, ..Connection::default() };
        let profile = Profile::load(&connection).unwrap();
        assert_eq!(profile.address.as_deref(), Some("https://b"));
        assert_eq!(profile.ca_file.unwrap(), dir.path().join("ca.pem"));
    }

    #[test]
    fn without_an_address_the_next_step_is_told() {
        let failure = Profile::default().client().err().unwrap();
        assert!(failure.next.unwrap().contains("keyreeve dev"));
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
