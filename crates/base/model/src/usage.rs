//! When a right was last used, to the day (requirement A8): what nobody uses can be taken back.

use serde::{Deserialize, Serialize};

use crate::filed::{FiledRecord, RowId};
use crate::ids::{GrantId, KeyId};
use crate::metadata::Name;
use crate::record::Table;
use crate::time::{DAY_MS, UnixMillis};

/// Whole days since 1970.
#[must_use]
pub const fn day_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Used {
    /// A key, in one of the ways that the groups of actions are about.
    Key {
        /// The key.
        key: KeyId,
        /// The group.
        group: Name,
    },
    /// A grant.
    Grant {
        /// Which.
        grant: GrantId,
    },
}

/// The last day on which somebody used something. Written at most once a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastUse {
    /// Who.
    pub principal: Name,
    /// What.
    pub used: Used,
    /// Whole days since 1970.
    pub day: i64,
}

impl LastUse {
    /// The row of a principal's use of something.
    #[must_use]
    pub fn row(principal: &Name, used: &Used) -> RowId {
        let (kind, what, how) = match used {
            Used::Key { key, group } => (b'k', *key.as_bytes(), group.as_str()),
            Used::Grant { grant } => (b'g', *grant.as_bytes(), ""),
        };
        // Of fixed length but for the last two, and no name holds a zero byte.
        let place = [&[kind][..], &what, how.as_bytes(), &[0], principal.as_str().as_bytes()].concat();
        keyreeve_crypto::digest::sha256(&place).into()
    }
}

impl FiledRecord for LastUse {
    const TABLE: Table = Table::Uses;

    fn row_id(&self) -> RowId {
        Self::row(&self.principal, &self.used)
    }

    fn parent(&self) -> String {
        self.principal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_end_at_midnight_utc_before_1970_too() {
        let days = [(-1, -1), (0, 0), (DAY_MS - 1, 0), (DAY_MS, 1)];
        for (at, day) in days {
            assert_eq!(day_of(UnixMillis(at)), day, "{at}");
        }
    }

    #[test]
    fn each_use_has_a_row_of_its_own_whatever_the_day() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let key = |byte, group| Used::Key { key: KeyId::from_bytes([byte; 16]), group: name(group) };
        let uses = [
            ("a", key(1, "encrypt-side")),
            ("b", key(1, "encrypt-side")),
            ("a", key(2, "encrypt-side")),
            ("a", key(1, "decrypt-side")),
            ("a", Used::Grant { grant: GrantId::from_bytes([1; 16]) }),
        ];
        let rows: std::collections::BTreeSet<_> =
            uses.iter().map(|(who, used)| LastUse::row(&name(who), used)).collect();
        assert_eq!(rows.len(), uses.len());
        let last = |day| LastUse { principal: name("a"), used: key(1, "encrypt-side"), day };
        assert_eq!(last(1).row_id(), last(2).row_id());
    }
}
