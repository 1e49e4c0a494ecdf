//! Quarantine: what was found damaged in the store, the epoch vault or the audit log, and is not used until people
//! release it (requirements T10 and U4).
//!
//! What is damaged does not open, and so is not used anyway. A quarantine is what is known of it besides, and it stays
//! when the row opens again: a row that was put back may be an older one, and that is for people to judge.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::ids::{
    ApprovalId, EmergencyId, GrantId, HoldId, ImportId, IncidentId, JobId, KeyId, KeyringId, MfaId, NoticeId, ReviewId,
    TokenId,
};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// How long a quarantine is kept once it was released (days); its audit records stay for ever.
const KEPT_DAYS: u32 = 400;
/// What begins a row that is neither an id nor a name, in hexadecimal.
const HEX: char = '=';
const MATERIAL: &str = "material";
const EPOCHS: &str = "epochs";
const LOG: &str = "log";
/// The row of a part of a table that cannot be read at all.
const ALL: &str = "*";

/// A text that names nothing that can be damaged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no such place: `keyreeve integrity list` shows those in quarantine, for example `keys/key_…` or `grants/grt_…`"
)]
pub struct InvalidPlace;

/// Something that can be damaged. Text form: its kind and its name there, for example `principals/alice`,
/// `material/key_…/2`, `epochs/krg_…/0/7`, `log/256/512`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    /// A row that has a MAC.
    Row(Table, RowId),
    /// The material of a version of a key.
    Material(KeyId, u32),
    /// The key of an epoch: keyring, shard, number.
    Epoch(KeyringId, u32, u64),
    /// Entries of the audit log: the first one, and the one after the last.
    Log(u64, u64),
    /// Some row of a table that the database itself does not give back in its form.
    Unread(Table),
}

/// What the ids of a table begin with, where its rows are named by ids.
const fn prefix(table: Table) -> Option<&'static str> {
    match table {
        Table::Keys | Table::Destructions => Some(KeyId::PREFIX),
        Table::Keyrings => Some(KeyringId::PREFIX),
        Table::Tokens => Some(TokenId::PREFIX),
        Table::Grants => Some(GrantId::PREFIX),
        Table::Holds => Some(HoldId::PREFIX),
        Table::Incidents => Some(IncidentId::PREFIX),
        Table::Emergencies => Some(EmergencyId::PREFIX),
        Table::Approvals => Some(ApprovalId::PREFIX),
        Table::Reviews => Some(ReviewId::PREFIX),
        Table::Notices => Some(NoticeId::PREFIX),
        Table::Jobs => Some(JobId::PREFIX),
        Table::Imports => Some(ImportId::PREFIX),
        Table::Mfa | Table::MfaChallenges => Some(MfaId::PREFIX),
        _ => None,
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, table: Table, row: &[u8]) -> fmt::Result {
    write!(f, "{}/", table.name())?;
    let name = std::str::from_utf8(row).ok().filter(|text| text.parse::<Name>().is_ok());
    match (prefix(table), name) {
        (Some(prefix), _) if row.len() == 16 => write!(f, "{prefix}{}", hex::encode(row)),
        (None, Some(name)) => f.write_str(name),
        _ => write!(f, "{HEX}{}", hex::encode(row)),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(table, row) => write_row(f, *table, row.as_bytes()),
            Self::Material(key, version) => write!(f, "{MATERIAL}/{key}/{version}"),
            Self::Epoch(keyring, shard, epoch) => write!(f, "{EPOCHS}/{keyring}/{shard}/{epoch}"),
            Self::Log(from, to) => write!(f, "{LOG}/{from}/{to}"),
            Self::Unread(table) => write!(f, "{}/{ALL}", table.name()),
        }
    }
}

fn row_of(table: Table, text: &str) -> Option<RowId> {
    let bytes = match (text.strip_prefix(HEX), prefix(table).and_then(|prefix| text.strip_prefix(prefix))) {
        (Some(digits), _) => hex::decode(digits).ok()?,
        (None, Some(digits)) => hex::decode(digits).ok().filter(|bytes| bytes.len() == 16)?,
        (None, None) => text.parse::<Name>().ok()?.as_str().as_bytes().to_vec(),
    };
    RowId::new(&bytes)
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let parts: Vec<&str> = text.split('/').collect();
        let place = match parts.as_slice() {
            [MATERIAL, key, version] => key.parse().ok().zip(version.parse().ok()).map(|(k, v)| Self::Material(k, v)),
            [EPOCHS, keyring, shard, epoch] => {
                let numbers = shard.parse().ok().zip(epoch.parse().ok());
                keyring.parse().ok().zip(numbers).map(|(ring, (shard, epoch))| Self::Epoch(ring, shard, epoch))
            }
            [LOG, from, to] => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| Self::Log(from, to)),
            [table, ALL] => Table::from_name(table).map(Self::Unread),
            [table, row] => {
                let table = Table::from_name(table).ok_or(InvalidPlace)?;
                row_of(table, row).map(|row| Self::Row(table, row))
            }
            _ => None,
        };
        // One place has one text.
        place.filter(|place| place.to_string() == text).ok_or(InvalidPlace)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = InvalidPlace;

    fn try_from(text: String) -> Result<Self, InvalidPlace> {
        text.parse()
    }
}

impl Place {
    /// The row of a table that is named so.
    #[must_use]
    pub fn row(table: Table, row: &[u8]) -> Self {
        RowId::new(row).map_or(Self::Unread(table), |row| Self::Row(table, row))
    }

    /// What is under quarantine in a row whose record does not open. Rows that are named by more than fits are not in
    /// this form.
    #[must_use]
    pub fn of_row(row: &RowId) -> Option<Self> {
        std::str::from_utf8(row.as_bytes()).ok()?.parse().ok()
    }
}

macro_rules! whys {
    ($($(#[$doc:meta])+ $why:ident = $name:literal, $text:literal;)+) => {
        /// What is wrong with something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Why {
            $($(#[$doc])+ $why,)+
        }

        impl Why {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$why,)+];

            /// The name on wires and in records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$why => $name,)+
                }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$why => $text,)+
                }
            }
        }
    };
}

whys! {
    /// The MAC does not fit.
    Altered = "altered", "its MAC does not fit: it was altered, moved or made up outside Keyreeve";
    /// The MAC fits, the form is unknown.
    Unreadable = "unreadable", "it cannot be read: a newer version wrote it, or the database lost its form";
    /// What the database indexes disagrees with the record.
    Columns = "columns", "the columns that it is found by do not say what the sealed record says";
    /// Something refers to it, and it is not there.
    Missing = "missing", "it is gone, and what refers to it is not";
    /// Material that does not open.
    Closed = "closed", "it does not open under its epoch key: it was altered, moved or put back outside Keyreeve";
    /// An epoch key that the vault lacks.
    NoEpoch = "no-epoch", "the epoch vault lacks this epoch key, and stored material is under it";
    /// What should have been erased, or belongs to nothing.
    Unexpected = "unexpected", "it is there and should not be: nothing refers to it, or it was erased";
    /// Other records say that it is not the newest.
    Older = "older", "it is not the newest: other records say more, so an older row was put back, or it was made up";
    /// The audit log.
    Broken = "broken", "the audit log is not what was signed";
}

impl Why {
    /// Whether what it is about is kept from use. Columns only help to find a row; nothing is decided by them.
    #[must_use]
    pub const fn blocks(self) -> bool {
        !matches!(self, Self::Columns)
    }
}

/// How something came out of quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cure {
    /// It was looked at again, and nothing is wrong with it any more.
    Sound,
    /// The damaged row was removed.
    Discarded,
    /// It was written anew from what the server had of it besides.
    Rewritten,
}

impl Cure {
    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Discarded => "discarded",
            Self::Rewritten => "rewritten",
        }
    }
}

/// That something came out of quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// When.
    pub at: UnixMillis,
    /// Who asked for it.
    pub by: Name,
    /// The approval it was done under, where one was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// How.
    pub how: Cure,
    /// Why.
    pub reason: Label,
}

/// Something in quarantine, or that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// What.
    pub place: Place,
    /// What is wrong with it.
    pub why: Why,
    /// When it was found.
    pub found: UnixMillis,
    /// The scan that found it; none where it was met in other work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<JobId>,
    /// That it came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Release>,
}

impl Quarantine {
    /// Where a quarantine of this place is filed: its text, so that it holds even if the record itself is damaged.
    #[must_use]
    pub fn row_of(place: &Place) -> RowId {
        let text = place.to_string();
        RowId::new(text.as_bytes()).unwrap_or_else(|| RowId::from(keyreeve_crypto::digest::sha256(text.as_bytes())))
    }

    /// Whether it was not released yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.released.is_none()
    }
}

impl FiledRecord for Quarantine {
    const TABLE: Table = Table::Quarantines;

    fn row_id(&self) -> RowId {
        Self::row_of(&self.place)
    }

    fn parent(&self) -> String {
        String::new()
    }

    fn forget(&self) -> Option<UnixMillis> {
        self.released.as_ref().map(|released| released.at.plus_days(KEPT_DAYS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> impl Strategy<Value = Table> {
        (0..Table::ALL.len()).prop_map(|n| Table::ALL[n])
    }

    fn place() -> impl Strategy<Value = Place> {
        let row = prop_oneof![
            prop::collection::vec(any::<u8>(), 1..40),
            prop::collection::vec(any::<u8>(), 16..=16),
            "[a-z][a-z0-9-]{0,20}".prop_map(String::into_bytes),
        ];
        prop_oneof![
            (table(), row).prop_map(|(table, row)| Place::row(table, &row)),
            (any::<[u8; 16]>(), any::<u32>()).prop_map(|(key, n)| Place::Material(KeyId::from_bytes(key), n)),
            (any::<[u8; 16]>(), any::<u32>(), any::<u64>()).prop_map(|(ring, shard, epoch)| Place::Epoch(
                KeyringId::from_bytes(ring),
                shard,
                epoch
            )),
            (any::<u64>(), any::<u64>()).prop_map(|(from, to)| Place::Log(from, to)),
            table().prop_map(Place::Unread),
        ]
    }

    proptest! {
        #[test]
        fn a_place_has_one_text(place in place()) {
            prop_assert_eq!(place.to_string().parse(), Ok(place.clone()));
            if place.to_string().len() <= RowId::MAX {
                prop_assert_eq!(Place::of_row(&Quarantine::row_of(&place)), Some(place));
            }
        }

        #[test]
        fn no_text_is_two_places(text in "\\PC{0,60}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string(), text);
            }
        }
    }

    #[test]
    fn texts_are_those_that_people_know() {
        let key = KeyId::from_bytes([0x11; 16]);
        assert_eq!(Place::row(Table::Keys, key.as_bytes()).to_string(), format!("keys/{key}"));
        assert_eq!(Place::row(Table::Principals, b"alice").to_string(), "principals/alice");
        assert_eq!(
            Place::row(Table::PolicyManifests, &1u64.to_be_bytes()).to_string(),
            "policy_manifests/=0000000000000001"
        );
        for text in ["", "keys", "keys/", "keys/alice", "nothing/alice", "log/1", "principals/=616c696365", "log/01/2"]
        {
            assert_eq!(text.parse::<Place>(), Err(InvalidPlace), "{text}");
        }
    }

    #[test]
    fn only_columns_keep_nothing_from_use() {
        let free: Vec<&str> = Why::ALL.iter().filter(|why| !why.blocks()).map(|why| why.name()).collect();
        assert_eq!(free, ["columns"]);
        for why in Why::ALL {
            assert_eq!(serde_json::to_value(why).unwrap(), why.name());
        }
    }
}
