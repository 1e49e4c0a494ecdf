//! Material that comes from elsewhere or goes there (requirement K10): keys that wait to be imported, how long imported
//! material lasts, and which material is known to exist outside.

use keyreeve_crypto::{KeyAlgorithm, Purpose, WrappingMethod};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::filed::{FiledRecord, RowId};
use crate::ids::{ImportId, KeyId, KeyringId};
use crate::metadata::{Environment, Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// How long a wrapping key waits for its material unless said otherwise (hours).
pub const IMPORT_HOURS: u32 = 24;
/// The longest it can be told to wait (hours): a week, for material that people carry or have to agree to.
pub const IMPORT_HOURS_MAX: u32 = 7 * 24;
/// So many tries that do not open end an import (count): nobody learns anything of the wrapping key by trying.
pub const IMPORT_TRIES: u32 = 5;
/// How long before the end of imported material people are told (days), and then at the end.
pub const TOLD_BEFORE_DAYS: [u32; 3] = [30, 7, 1];
/// How long a material that could not be erased when it ended waits for the next try.
const ERASED_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// A secret under an epoch key: hexadecimal in storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnderEpoch {
    /// The epoch of the key's shard.
    pub epoch: u64,
    /// What the cipher made, in hexadecimal.
    pub wrapped: String,
}

/// What is to become of the material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportFor {
    /// A key that is not there yet.
    NewKey,
    /// A key that is: another version of it, or one whose material has ended.
    Key,
}

/// A wrapping key that waits for one import. Its row is its token: it is used once, by whoever asked for it, for what
/// was asked, and is forgotten when its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRecord {
    /// Its id, which the import names.
    pub id: ImportId,
    /// What the material is for.
    pub of: ImportFor,
    /// The key: one that is there, or the id that the new one will have.
    pub key: KeyId,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring that holds its material.
    pub shard: u32,
    /// What the material must be.
    pub algorithm: KeyAlgorithm,
    /// What the key is for.
    pub purpose: Purpose,
    /// Who asked, and nobody else may use it.
    pub by: Name,
    /// How the material is wrapped.
    pub method: WrappingMethod,
    /// The wrapping key's size or curve.
    pub wrapping_algorithm: KeyAlgorithm,
    /// The wrapping key's fingerprint.
    pub fingerprint: String,
    /// Its private half, under the epoch that the material will stand under: it goes when that goes.
    pub private: UnderEpoch,
    /// When it was made.
    pub created: UnixMillis,
    /// When it ends.
    pub expires: UnixMillis,
    /// Tries that did not open (count).
    pub failures: u32,
}

impl ImportRecord {
    /// What the private half's encryption is bound to.
    #[must_use]
    pub fn associated_data(&self) -> Vec<u8> {
        let (shard, epoch) = (self.shard.to_be_bytes(), self.private.epoch.to_be_bytes());
        let place = [self.id.as_bytes().as_slice(), self.key.as_bytes(), self.keyring.as_bytes(), &shard, &epoch];
        [b"keyreeve/import/1".as_slice(), &place.concat()].concat()
    }
}

impl FiledRecord for ImportRecord {
    const TABLE: Table = Table::Imports;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.by.to_string()
    }

    fn forget(&self) -> Option<UnixMillis> {
        Some(self.expires)
    }
}

/// Of imported material: how it came, and how long it lasts. Kept with the version for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// How it was wrapped.
    pub method: WrappingMethod,
    /// Where it is from, as the caller says.
    #[serde(default, skip_serializing_if = "Label::is_empty")]
    pub statement: Label,
    /// When it ends: it is erased then, and the key stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMillis>,
    /// When it was erased, unless it was put back since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<UnixMillis>,
}

/// That a version of a key left, wrapped for somebody. Kept with the key for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// The version.
    pub version: u32,
    /// When.
    pub at: UnixMillis,
    /// Who took it.
    pub by: Name,
    /// How it was wrapped.
    pub method: WrappingMethod,
    /// The fingerprint of the key that it was wrapped for.
    pub recipient: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Label::is_empty")]
    pub reason: Label,
}

/// How material comes to exist outside as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// It came from there.
    Imported,
    /// It went there.
    Exported,
}

/// Material that exists outside as well, by a digest that only the server can make: so that no two keys and no two
/// environments have the same (requirement K4). Kept for ever: what is destroyed does not come back under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownMaterial {
    /// The digest, in hexadecimal.
    pub identity: String,
    /// The key that has it.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
    /// Where that key is used.
    pub environment: Environment,
    /// How it comes to exist outside.
    pub outside: Outside,
    /// Since when that is known.
    pub since: UnixMillis,
}

impl FiledRecord for KnownMaterial {
    const TABLE: Table = Table::KnownMaterial;

    fn row_id(&self) -> RowId {
        identity_row(&self.identity)
    }

    fn parent(&self) -> String {
        self.key.to_string()
    }
}

/// The row of material with this identity.
#[must_use]
pub fn identity_row(identity: &str) -> RowId {
    // Identities are 64 hexadecimal digits; a row under anything else is one that nobody looks for.
    RowId::new(identity.as_bytes()).unwrap_or_else(|| RowId::from([0]))
}

/// When the material of one version ends, who has been told, and which epoch went with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaterialEnd {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: u32,
    /// Its keyring.
    pub keyring: KeyringId,
    /// The shard of the keyring.
    pub shard: u32,
    /// When it ends; never, if somebody thought better of it.
    pub expires: Option<UnixMillis>,
    /// How many of the warnings of [`TOLD_BEFORE_DAYS`] were given or are past.
    pub told: u32,
    /// When erasing it is tried again after it failed or was not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<UnixMillis>,
    /// When it was last erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<UnixMillis>,
    /// All epochs of the shard up to this one were erased with it; 0 before.
    #[serde(default)]
    pub erased_epoch: u64,
}

impl MaterialEnd {
    /// The id of a version's row.
    #[must_use]
    pub fn row(key: KeyId, version: u32) -> RowId {
        let mut id = [0; 20];
        id[..16].copy_from_slice(key.as_bytes());
        id[16..].copy_from_slice(&version.to_be_bytes());
        RowId::from(id)
    }

    /// What all rows of a shard have as their parent.
    #[must_use]
    pub fn place(keyring: KeyringId, shard: u32) -> String {
        format!("{keyring}/{shard}")
    }

    /// When people are told next, or when it ends. None once it is erased.
    fn next(&self) -> Option<UnixMillis> {
        let expires = self.expires?;
        let warning = TOLD_BEFORE_DAYS.get(self.told as usize).map(|days| before(expires, *days));
        Some(self.again.unwrap_or(warning.unwrap_or(expires)))
    }

    /// Ends at another instant from now on, or not any more.
    #[must_use]
    pub fn ending(self, expires: Option<UnixMillis>, now: UnixMillis) -> Self {
        let past = |expires| TOLD_BEFORE_DAYS.iter().take_while(|days| before(expires, **days) <= now).count();
        // Warnings whose time is past when the end is set are not given afterwards.
        let told = expires.map_or(0, |expires| past(expires) as u32);
        Self { expires, told, again: None, ..self }
    }

    /// The record after the warning that is due now, and how many days are left; none if none is due.
    #[must_use]
    pub fn warned(&self, now: UnixMillis) -> Option<(Self, u32)> {
        let expires = self.expires.filter(|expires| now < *expires)?;
        let due = |days: &&u32| before(expires, **days) <= now;
        let days = *TOLD_BEFORE_DAYS.iter().skip(self.told as usize).rfind(due)?;
        Some((self.clone().ending(Some(expires), now), days))
    }

    /// Whether the material is over.
    #[must_use]
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Tried again later: erasing failed, or a hold forbids it.
    #[must_use]
    pub fn later(self, now: UnixMillis) -> Self {
        Self { again: Some(now.plus(ERASED_AGAIN_AFTER)), ..self }
    }

    /// Erased, with all epochs up to one.
    #[must_use]
    pub fn erased(self, now: UnixMillis, epoch: u64) -> Self {
        Self { expires: None, again: None, erased: Some(now), erased_epoch: epoch, ..self }
    }
}

fn before(expires: UnixMillis, days: u32) -> UnixMillis {
    UnixMillis(expires.0.saturating_sub(i64::from(days) * 24 * 3_600_000))
}

impl FiledRecord for MaterialEnd {
    const TABLE: Table = Table::MaterialEnds;

    fn row_id(&self) -> RowId {
        Self::row(self.key, self.version)
    }

    fn parent(&self) -> String {
        Self::place(self.keyring, self.shard)
    }

    fn due(&self) -> Option<UnixMillis> {
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn end() -> MaterialEnd {
        MaterialEnd {
            key: KeyId::from_bytes([1; 16]),
            version: 3,
            keyring: KeyringId::from_bytes([2; 16]),
            shard: 4,
            expires: None,
            told: 0,
            again: None,
            erased: None,
            erased_epoch: 0,
        }
    }

    #[test]
    fn people_are_warned_three_times_and_then_it_ends() {
        let mut end = end().ending(Some(UnixMillis(100 * DAY)), UnixMillis(0));
        let mut told = Vec::new();
        for day in 1..=100 {
            let now = UnixMillis(day * DAY);
            assert_eq!(end.due().is_some_and(|due| due <= now), [70, 93, 99, 100].contains(&day), "{day}");
            if let Some((next, left)) = end.warned(now) {
                told.push((day, left));
                end = next;
            }
        }
        assert_eq!(told, [(70, 30), (93, 7), (99, 1)]);
        assert!(end.is_over(UnixMillis(100 * DAY)) && !end.is_over(UnixMillis(100 * DAY - 1)));
        assert_eq!(end.erased(UnixMillis(100 * DAY), 5).due(), None);
    }

    #[test]
    fn warnings_that_were_missed_are_one() {
        let end = end().ending(Some(UnixMillis(100 * DAY)), UnixMillis(0));
        let (next, left) = end.warned(UnixMillis(95 * DAY)).unwrap();
        assert_eq!((left, next.told), (7, 2), "the server was down since before the first");
        assert_eq!(next.warned(UnixMillis(95 * DAY)), None);
    }

    #[test]
    fn what_ends_soon_is_not_warned_of_in_arrears() {
        let end = end().ending(Some(UnixMillis(5 * DAY)), UnixMillis(0));
        assert_eq!((end.told, end.due()), (2, Some(UnixMillis(4 * DAY))));
        assert_eq!(end.clone().ending(None, UnixMillis(0)).due(), None);
        let later = end.later(UnixMillis(6 * DAY));
        assert_eq!(later.due(), Some(UnixMillis(6 * DAY + 600_000)));
    }
}
