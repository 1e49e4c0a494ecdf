//! `[anchors.NAME]`: what remembers elsewhere how far this server had come; and `[start]`: which program may be it.

use keyreeve_root_tpm::{CounterOptions, Device, TpmCounter};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;

/// Anchors of one server (count).
pub(super) const ANCHORS_MAX: usize = 8;
/// The longest time between two steps of an anchor (minutes): a week.
const EVERY_MAX: u64 = 7 * 24 * 60;
/// The shortest between two steps of a counter in a TPM, whose memory wears out (minutes).
const TPM_EVERY_MIN: u64 = 10;
/// How long a TPM may take for all that is asked of it at once.
const LIMIT: Duration = Duration::from_secs(15);

/// An anchor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AnchorConfig {
    /// A file on a disk of its own, or from a file server.
    File {
        /// The file; its directory must be there.
        path: PathBuf,
        /// How often it is moved on while something happens (minutes).
        #[serde(default = "often")]
        every_minutes: u64,
        /// After how many entries of the audit log it is moved on earlier (count).
        #[serde(default = "many")]
        every_entries: u64,
        /// Whether the server stays closed until it was heard from.
        #[serde(default = "yes")]
        required: bool,
    },
    /// A counter in the TPM of this machine.
    TpmCounter {
        /// The TPM: a device file, or `swtpm:HOST:PORT` or `swtpm:/PATH` for a program that plays one.
        #[serde(default = "device")]
        device: String,
        /// Where in its memory the counter is.
        #[serde(default = "index")]
        index: u32,
        /// How often it is moved on while something happens (minutes).
        #[serde(default = "hourly")]
        every_minutes: u64,
        /// Whether the server stays closed until it was heard from.
        #[serde(default = "yes")]
        required: bool,
    },
}

const fn often() -> u64 {
    5
}

const fn hourly() -> u64 {
    60
}

const fn many() -> u64 {
    100_000
}

const fn yes() -> bool {
    true
}

fn device() -> String {
    "/dev/tpmrm0".to_owned()
}

const fn index() -> u32 {
    TpmCounter::INDEX
}

impl AnchorConfig {
    pub(super) fn resolve(&mut self, base: &Path) {
        if let Self::File { path, .. } = self {
            *path = base.join(&*path);
        }
    }

    pub(super) fn check(&self, field: &str, data_dir: &Path) -> Result<(), Fault> {
        let (every, least) = match self {
            Self::File { every_minutes, .. } => (*every_minutes, 1),
            Self::TpmCounter { every_minutes, .. } => (*every_minutes, TPM_EVERY_MIN),
        };
        if every < least || every > EVERY_MAX {
            let (problem, field) = (format!("{every} minutes"), format!("{field}.every_minutes"));
            return Err(Fault::new(field, problem, format!("give {least} to {EVERY_MAX}")));
        }
        match self {
            Self::File { path, every_entries, .. } => {
                if path.starts_with(data_dir) {
                    let problem = "an anchor in the data directory is put back together with it and remembers nothing";
                    return Err(Fault::new(format!("{field}.path"), problem, "name a file on another disk or machine"));
                }
                if *every_entries == 0 {
                    let problem = "an anchor cannot be moved on with each entry";
                    return Err(Fault::new(format!("{field}.every_entries"), problem, "give at least 1"));
                }
                Ok(())
            }
            Self::TpmCounter { index, .. } => {
                if !(0x0180_0000..=0x01bf_ffff).contains(index) {
                    let problem = format!("{index:#010x} is not in the owner's range");
                    return Err(Fault::new(format!("{field}.index"), problem, "give 0x01800000 to 0x01bfffff"));
                }
                self.counter(field).map(drop)
            }
        }
    }

    /// What the driver of a counter in a TPM takes.
    pub(crate) fn counter(&self, field: &str) -> Result<Option<CounterOptions>, Fault> {
        let Self::TpmCounter { device, index, .. } = self else { return Ok(None) };
        let device: Device = device
            .parse()
            .map_err(|problem| Fault::new(format!("{field}.device"), problem, "write `device = \"/dev/tpmrm0\"`"))?;
        Ok(Some(CounterOptions { device, index: *index, limit: LIMIT }))
    }

    pub(crate) const fn every(&self) -> Duration {
        let (Self::File { every_minutes, .. } | Self::TpmCounter { every_minutes, .. }) = self;
        Duration::from_secs(*every_minutes * 60)
    }

    /// A counter in a TPM is moved on by time alone: its memory wears out.
    pub(crate) const fn entries(&self) -> u64 {
        match self {
            Self::File { every_entries, .. } => *every_entries,
            Self::TpmCounter { .. } => u64::MAX,
        }
    }

    pub(crate) const fn required(&self) -> bool {
        let (Self::File { required, .. } | Self::TpmCounter { required, .. }) = self;
        *required
    }
}

/// Which program may be this server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartConfig {
    /// The SHA-256 of the program's file, in hexadecimal; any program where there is nothing.
    pub expected_binary_sha256: Option<String>,
    /// What happens when another one is started.
    pub on_other_binary: OtherBinary,
}

/// What happens when a program is started that is not the expected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtherBinary {
    /// The server does not start.
    #[default]
    Refuse,
    /// It starts, and people are told.
    Tell,
}

impl StartConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let is_digest =
            |text: &String| text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if self.expected_binary_sha256.as_ref().is_none_or(is_digest) {
            return Ok(());
        }
        let problem = "it is not a SHA-256";
        let remedy = "write the 64 digits that `sha256sum` of the program prints";
        Err(Fault::new("start.expected_binary_sha256", problem, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<AnchorConfig, String> {
        let mut anchor: AnchorConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        anchor.resolve(Path::new("/etc/keyreeve"));
        match anchor.check("anchors.a", Path::new("/var/lib/keyreeve")) {
            Ok(()) => Ok(anchor),
            Err(fault) => Err(fault.in_file(Path::new("k.toml")).to_string()),
        }
    }

    #[test]
    fn an_anchor_needs_little_and_is_moved_as_often_as_its_kind_can_bear() {
        let file = checked("kind = \"file\"\npath = \"../../mnt/stick/a\"").unwrap();
        assert_eq!((file.every(), file.entries(), file.required()), (Duration::from_secs(300), 100_000, true));
        assert!(matches!(&file, AnchorConfig::File { path, .. } if path.is_absolute()));
        assert!(file.counter("x").is_ok_and(|counter| counter.is_none()));
        let tpm = checked("kind = \"tpm-counter\"\nrequired = false").unwrap();
        assert_eq!((tpm.every(), tpm.entries(), tpm.required()), (Duration::from_secs(3600), u64::MAX, false));
        let counter = tpm.counter("x").ok().flatten().unwrap();
        assert_eq!((counter.index, counter.device.to_string().as_str()), (0x0180_4b52, "/dev/tpmrm0"));
    }

    #[test]
    fn mistakes_about_anchors_name_their_field() {
        for (text, says) in [
            ("kind = \"file\"", "missing field"),
            ("kind = \"paper\"", "unknown variant"),
            ("kind = \"file\"\npath = \"/m/a\"\nindex = 7", "unknown field"),
            ("kind = \"file\"\npath = \"/var/lib/keyreeve/a\"", "anchors.a.path"),
            ("kind = \"file\"\npath = \"/m/a\"\nevery_minutes = 0", "anchors.a.every_minutes"),
            ("kind = \"file\"\npath = \"/m/a\"\nevery_minutes = 10081", "anchors.a.every_minutes"),
            ("kind = \"file\"\npath = \"/m/a\"\nevery_entries = 0", "anchors.a.every_entries"),
            ("kind = \"tpm-counter\"\nevery_minutes = 9", "anchors.a.every_minutes"),
            ("kind = \"tpm-counter\"\nindex = 0x01400000", "anchors.a.index"),
            ("kind = \"tpm-counter\"\ndevice = \"tpm\"", "anchors.a.device"),
        ] {
            let told = checked(text).unwrap_err();
            assert!(told.contains(says), "{text}: {told}");
        }
        let start = |text: &str| {
            let start: StartConfig = toml::from_str(text).unwrap();
            start.check().is_ok()
        };
        assert!(start("") && start(&format!("expected_binary_sha256 = \"{}\"", "0a".repeat(32))));
        assert!(
            !start("expected_binary_sha256 = \"0a\"")
                && !start(&format!("expected_binary_sha256 = \"{}\"", "0A".repeat(32)))
        );
    }
}
