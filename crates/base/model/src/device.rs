//! Keys whose material is inside the device of a root of trust and never was anywhere else (requirements T1, K18).
//!
//! Of such a key nothing is stored that could be unwrapped: a version's record has an [`InDevice`] in place of a row of
//! material. The device and the store cannot change together, so what is about to be made in the device, and what is to
//! be erased there, is filed as [`DeviceWork`]: whatever becomes of a request, nothing stays in the device that nobody
//! knows of.

use keyreeve_crypto::digest::sha256;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

use crate::filed::{FiledRecord, RowId};
use crate::ids::{KeyId, KeyringId};
use crate::metadata::Name;
use crate::record::Table;
use crate::time::UnixMillis;

/// How long a key that was begun in a device may go without being stored before it is taken for lost.
pub const MAKING_LASTS: Duration = Duration::from_secs(15 * 60);
/// How long after an erasure failed it is tried again, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_LONGEST: Duration = Duration::from_secs(3600);

/// Where the material of a key is while it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// In the server's memory; wrapped in the store.
    #[default]
    Software,
    /// Inside a hardware security module, made there, never to leave it.
    Hsm,
}

impl Protection {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Software, Self::Hsm];

    /// The name on wires and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Hsm => "hsm",
        }
    }

    /// True for what records do not mention.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub const fn is_software(&self) -> bool {
        matches!(self, Self::Software)
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key's place in a device. Not secret, and of no use without the device and the right to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InDevice {
    /// The root of trust whose device it is.
    pub root: Name,
    /// By what the device finds it, in hexadecimal.
    reference: String,
}

impl InDevice {
    /// This key of the device behind this root.
    #[must_use]
    pub fn new(root: Name, reference: &[u8]) -> Self {
        Self { root, reference: hex::encode(reference) }
    }

    /// By what the device finds it; nothing if the record is not as this program writes them.
    #[must_use]
    pub fn reference(&self) -> Option<Vec<u8>> {
        hex::decode(&self.reference).ok()
    }

    /// How long it is in a record, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.root.as_str().len() + self.reference.len()
    }
}

/// What is to be done with a key in a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceTask {
    /// It is being made. The change that stores the key takes this away; what is left was lost on the way.
    Making,
    /// It is to be erased.
    Erasing,
}

/// What a key in a device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceUse {
    /// Material of this key.
    Key(KeyId),
    /// A key-encryption key of this keyring.
    Kek(KeyringId),
}

/// A key in a device that no record of a key has yet, or none any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceWork {
    /// Where it is.
    pub place: InDevice,
    /// What it is, or was to become.
    pub of: DeviceUse,
    /// What is to be done.
    pub task: DeviceTask,
    /// Since when.
    pub since: UnixMillis,
    /// When it is done, or tried again.
    pub due: UnixMillis,
    /// How often erasing it failed (count).
    #[serde(default)]
    pub failures: u32,
}

impl DeviceWork {
    /// A key that is about to be made.
    #[must_use]
    pub fn making(place: InDevice, of: DeviceUse, now: UnixMillis) -> Self {
        Self { place, of, task: DeviceTask::Making, since: now, due: now.plus(MAKING_LASTS), failures: 0 }
    }

    /// A key that is to be erased, at once.
    #[must_use]
    pub fn erasing(place: InDevice, of: DeviceUse, now: UnixMillis) -> Self {
        Self { place, of, task: DeviceTask::Erasing, since: now, due: now, failures: 0 }
    }

    /// The same after another try that failed: ever more rarely.
    #[must_use]
    pub fn failed(self, now: UnixMillis) -> Self {
        let pause = PAUSE_LONGEST.min(PAUSE_FIRST * (1 << self.failures.min(16)));
        Self { failures: self.failures.saturating_add(1), due: now.plus(pause), ..self }
    }

    /// Its row, from its place.
    #[must_use]
    pub fn row(place: &InDevice) -> RowId {
        sha256(&[place.root.as_str().as_bytes(), &[0], place.reference.as_bytes()].concat()).into()
    }
}

impl FiledRecord for DeviceWork {
    const TABLE: Table = Table::DeviceWork;

    fn row_id(&self) -> RowId {
        Self::row(&self.place)
    }

    fn parent(&self) -> String {
        match self.of {
            DeviceUse::Key(key) => key.to_string(),
            DeviceUse::Kek(keyring) => keyring.to_string(),
        }
    }

    fn due(&self) -> Option<UnixMillis> {
        Some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> DeviceWork {
        let place = InDevice::new("vault".parse().unwrap(), &[1, 2, 255]);
        DeviceWork::erasing(place, DeviceUse::Key(KeyId::new(UnixMillis(5), [7; 10])), UnixMillis(1000))
    }

    #[test]
    fn a_place_is_its_root_and_its_reference() {
        let place = work().place;
        assert_eq!(place.reference().unwrap(), [1, 2, 255]);
        let elsewhere = InDevice::new("other".parse().unwrap(), &[1, 2, 255]);
        assert_ne!(DeviceWork::row(&place), DeviceWork::row(&elsewhere));
        assert_eq!(work().row_id(), DeviceWork::row(&place));
        assert_eq!(serde_json::to_string(&place).unwrap(), r#"{"root":"vault","reference":"0102ff"}"#);
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_rarely() {
        let mut work = work();
        assert_eq!(work.due(), Some(UnixMillis(1000)));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            work = work.failed(UnixMillis(0));
            pauses.push(work.due.0 / 1000);
        }
        assert_eq!(&pauses[..7], [60, 120, 240, 480, 960, 1920, 3600]);
        assert!(pauses[7..].iter().all(|pause| *pause == 3600));
    }
}
