//! `kind = "pkcs11"`: a root of trust in a hardware security module.

use keyreeve_root_pkcs11::{Launch, PinSource, Settings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;
use crate::files;

/// Label of the root key where nothing else is said.
const KEY_LABEL: &str = "keyreeve-root";
/// Longest label of a token or key, in bytes.
const LABEL_MAX: usize = 64;

/// A root of trust behind a PKCS #11 library.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The library of the module's maker.
    pub library: PathBuf,
    /// Label of the token. Slots are not named: their numbers move.
    #[serde(default)]
    pub token: String,
    /// Serial number of the token, instead of the label or with it.
    #[serde(default)]
    pub serial: String,
    /// Label of the root key: two deployments that share a token need different ones.
    #[serde(default = "key_label")]
    pub key_label: String,
    /// A file with the PIN of the token's user.
    pub pin_file: Option<PathBuf>,
    /// A descriptor that is open when the server starts, with the PIN.
    pub pin_descriptor: Option<u32>,
    /// A systemd credential with the PIN, by its name.
    pub pin_credential: Option<String>,
    /// How long one call may take (seconds).
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u16,
    /// How long making a key may take (seconds).
    #[serde(default = "key_seconds")]
    pub key_seconds: u16,
    /// Sessions at the token: so many calls at once.
    #[serde(default = "sessions")]
    pub sessions: u8,
    /// Variables that the library reads.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

fn key_label() -> String {
    KEY_LABEL.to_owned()
}

fn timeout_seconds() -> u16 {
    5
}

fn key_seconds() -> u16 {
    60
}

fn sessions() -> u8 {
    8
}

impl Pkcs11Config {
    /// For looking at a token that no configuration names yet.
    pub(crate) fn to_look_at(library: PathBuf, token: String, serial: String) -> Self {
        Self {
            library,
            token,
            serial,
            key_label: key_label(),
            pin_file: None,
            pin_descriptor: None,
            pin_credential: None,
            timeout_seconds: 20,
            key_seconds: key_seconds(),
            sessions: 1,
            // Those of whoever looks, in which the library may be told where it finds what it needs.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()))
                .collect(),
        }
    }

    /// The paths among the fields.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.library).chain(&mut self.pin_file)
    }

    /// What holds for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        let fault =
            |name: &str, problem: &str, remedy: &str| Err(Fault::new(format!("{field}.{name}"), problem, remedy));
        if self.token.is_empty() && self.serial.is_empty() {
            return fault("token", "it is not said which token", "give its label, or its serial number as `serial`");
        }
        let label = &self.key_label;
        if label.is_empty() || label.len() > LABEL_MAX || !label.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return fault("key_label", "this is no label", "give 1 to 64 printable ASCII characters");
        }
        if !(1..=60).contains(&self.timeout_seconds) {
            return fault("timeout_seconds", "one call takes between 1 and 60 seconds", "write 5");
        }
        if !(1..=600).contains(&self.key_seconds) {
            return fault("key_seconds", "making a key takes between 1 and 600 seconds", "write 60");
        }
        if !(1..=64).contains(&self.sessions) {
            return fault("sessions", "between 1 and 64 sessions are opened", "write 8");
        }
        files::read_public(&self.library).map(drop).or_else(|trouble| match self.library.is_file() {
            // Larger than what is read otherwise.
            true => Ok(()),
            false => Err(Fault::file(format!("{field}.library"), trouble)),
        })?;
        self.pin(field).map(drop)
    }

    /// Where the PIN comes from; exactly one place.
    fn pin(&self, field: &str) -> Result<PinSource, Fault> {
        let one = [
            self.pin_file.clone().map(PinSource::File),
            self.pin_descriptor.map(PinSource::Descriptor),
            self.pin_credential.clone().map(PinSource::Credential),
        ];
        let mut one = one.into_iter().flatten();
        let (Some(source), None) = (one.next(), one.next()) else {
            let problem = "it is not said where the PIN is, or in several places";
            let remedy = "give one of `pin_credential`, `pin_file` and `pin_descriptor`";
            return Err(Fault::new(format!("{field}.pin_credential"), problem, remedy));
        };
        match &source {
            PinSource::File(path) => {
                files::read_private(path).map_err(|trouble| Fault::file(format!("{field}.pin_file"), trouble))?;
            }
            PinSource::Credential(name) if name.is_empty() || name.contains('/') => {
                let problem = "this is no name of a credential";
                let remedy = "write what stands before the colon in LoadCredential=";
                return Err(Fault::new(format!("{field}.pin_credential"), problem, remedy));
            }
            PinSource::Credential(_) | PinSource::Descriptor(_) => {}
        }
        Ok(source)
    }

    /// What `keyreeve config check` says about it.
    pub(crate) fn seen(&self, field: &str) -> Vec<String> {
        let mut seen = vec![format!("{field}.library: {} is there", self.library.display())];
        if let Some(path) = &self.pin_file {
            seen.push(format!("{field}.pin_file: {} is for its owner alone", path.display()));
        }
        seen
    }

    /// What the driver takes.
    pub(crate) fn settings(&self) -> Settings {
        let pin = self.pin("root").unwrap_or(PinSource::Descriptor(0));
        Settings {
            launch: Launch {
                program: Path::new("/proc/self/exe").to_owned(),
                arguments: vec![crate::PKCS11_WORKER.into()],
                environment: self.environment.clone(),
            },
            library: self.library.clone(),
            token: self.token.clone(),
            serial: self.serial.clone(),
            key_label: self.key_label.clone(),
            pin,
            timeout: Duration::from_secs(u64::from(self.timeout_seconds)),
            making: Duration::from_secs(u64::from(self.key_seconds)),
            sessions: self.sessions,
        }
    }
}
