//! Which library, which token, and where the PIN comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use keyreeve_root::RootError;
use keyreeve_secret::SecretBytes;

/// Longest PIN, in bytes.
const PIN_MAX: usize = 255;

/// Where the user's PIN is read. Never an argument or a variable of the environment: other processes see those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A descriptor that was open when the process began; read to its end, once.
    Descriptor(u32),
    /// A credential that systemd puts into `$CREDENTIALS_DIRECTORY`, by its name.
    Credential(String),
}

/// How the worker is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program; `/proc/self/exe` is the one that is running, even if its file was replaced meanwhile.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables that the library reads. Of those of this process the worker gets `PATH`, `HOME`, `TZ`, and those of
    /// the language: the others may hold credentials of other services.
    pub environment: BTreeMap<String, String>,
}

/// A token and how it is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the worker is started.
    pub launch: Launch,
    /// Path of the maker's library.
    pub library: PathBuf,
    /// Label of the token, or empty if the serial number is enough.
    pub token: String,
    /// Serial number of the token, or empty if the label is enough.
    pub serial: String,
    /// Label of the root key: two deployments on one token need different ones.
    pub key_label: String,
    /// Where the PIN comes from.
    pub pin: PinSource,
    /// How long one call may take. A worker that takes longer is ended and started again.
    pub timeout: Duration,
    /// How long making a key may take.
    pub making: Duration,
    /// Sessions at the token, which is how many calls it gets at once.
    pub sessions: u8,
}

impl PinSource {
    /// Reads the PIN. A line break at its end does not belong to it.
    pub(crate) fn read(&self) -> Result<SecretBytes, RootError> {
        let (path, private) = match self {
            Self::File(path) => (path.clone(), true),
            Self::Descriptor(number) => (PathBuf::from(format!("/proc/self/fd/{number}")), false),
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    let text = "there is no $CREDENTIALS_DIRECTORY: the PIN is a systemd credential, and the service \
                                unit has to load it (LoadCredential= or LoadCredentialEncrypted=)";
                    RootError::Unavailable(text.to_owned())
                })?;
                (PathBuf::from(folder).join(name), false)
            }
        };
        let trouble = |what: &str| RootError::Unavailable(format!("the PIN in {}: {what}", path.display()));
        let mut options = File::options();
        if !matches!(self, Self::Descriptor(_)) {
            // Opening what turns out to be a pipe must not wait for whoever writes.
            options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        }
        let file = options.read(true).open(&path).map_err(|error| trouble(&error.to_string()))?;
        let metadata = file.metadata().map_err(|error| trouble(&error.to_string()))?;
        if private {
            let me = rustix::process::geteuid().as_raw();
            let mode = metadata.permissions().mode() & 0o7777;
            let ours = mode & 0o077 == 0 && (metadata.uid() == me || metadata.uid() == 0);
            // systemd's own: an access list lets us read it, whose mask shows as the permissions of root's group.
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let credential = folder.is_some_and(|folder| path.parent() == Some(&folder));
            let credential = credential && (metadata.uid(), metadata.gid(), mode & 0o7337) == (0, 0, 0);
            if !metadata.is_file() || !(ours || credential) {
                return Err(trouble(&format!(
                    "it must be a file of the server's user that nobody else may read (mode 0600, not {mode:04o})"
                )));
            }
        }
        read_pin(file).map_err(|what| trouble(&what))
    }
}

fn read_pin(file: impl Read) -> Result<SecretBytes, String> {
    let mut pin = SecretBytes::init_with(PIN_MAX + 2, |_| ());
    let (mut filled, mut file) = (0, file);
    while filled < pin.len() {
        match file.read(&mut pin.expose_mut()[filled..]).map_err(|error| error.to_string())? {
            0 => break,
            read => filled += read,
        }
    }
    let text = &pin.expose()[..filled];
    let end = text.strip_suffix(b"\n").map_or(filled, |line| line.strip_suffix(b"\r").unwrap_or(line).len());
    pin.truncate(end);
    match end {
        0 => Err("it is empty".to_owned()),
        len if len > PIN_MAX => Err(format!("it has more than {PIN_MAX} bytes")),
        _ if pin.expose().iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) => {
            Err("it has several lines".to_owned())
        }
        _ => Ok(pin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_pin_is_one_line() {
        for (text, pin) in [("1234", "1234"), ("1234\n", "1234"), ("12 34\r\n", "12 34"), (" x ", " x ")] {
            assert!(read_pin(text.as_bytes()).unwrap().ct_eq(pin.as_bytes()), "{text:?}");
        }
        let long = "7".repeat(PIN_MAX + 1);
        for text in ["", "\n", "12\n34\n", "a\n\n", "a\0b", &long] {
            assert!(read_pin(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read_pin("7".repeat(PIN_MAX).as_bytes()).is_ok());
    }

    #[test]
    fn a_pin_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, "1234\n").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(PinSource::File(path.clone()).read().is_ok(), fine, "{mode:o}");
        }
        let pipe = folder.path().join("pipe");
        let private = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, private).unwrap();
        assert!(PinSource::File(pipe).read().is_err(), "and nothing waits for whoever writes into it");
        assert!(PinSource::File(folder.path().join("none")).read().is_err());
        assert!(PinSource::File(folder.path().to_owned()).read().is_err());
    }

    #[test]
    fn a_pin_is_read_from_a_descriptor() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"1234").unwrap();
        let open = File::open(file.path()).unwrap();
        let source = PinSource::Descriptor(u32::try_from(open.as_raw_fd()).unwrap());
        assert!(source.read().unwrap().ct_eq(b"1234"));
        assert!(PinSource::Descriptor(9999).read().is_err());
    }
}
