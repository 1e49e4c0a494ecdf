//! Filed records: many kinds of records that share one table of the store.
//!
//! A kind is a [`Table`] and a type that implements [`FiledRecord`]; a store needs to learn nothing new for it. What
//! the store indexes of a row (parent, due, forget) only helps to find it: what counts is in the sealed record, and
//! [`open_filed`] refuses a row whose place does not fit what the record says of itself.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

use crate::change::Change;
use crate::ids::{
    ApprovalId, CredentialId, EmergencyId, GrantId, HoldId, ImportId, IncidentId, JobId, KeyId, KeyringId, LoginId,
    MfaId, NoticeId, RecordId, RecoveryId, ReviewId, TokenId,
};
use crate::metadata::Name;
use crate::record::{BadRecord, RecordSealer, Revision, SealedRecord, Table, open, seal};
use crate::time::UnixMillis;

/// What names a filed row among those of its kind: 1 to 128 bytes, never secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(Box<[u8]>);

impl RowId {
    /// Bytes at most.
    pub const MAX: usize = 128;

    /// These bytes, unless they are none or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Ids that are made of fixed parts: a digest, a literal, an id followed by a number.
impl<const N: usize> From<[u8; N]> for RowId {
    fn from(bytes: [u8; N]) -> Self {
        const { assert!(N >= 1 && N <= Self::MAX, "a row id has 1 to 128 bytes") };
        Self(bytes.into())
    }
}

impl From<&Name> for RowId {
    fn from(name: &Name) -> Self {
        const { assert!(crate::limits::NAME_MAX <= Self::MAX, "every name fits a row id") };
        Self(name.as_str().as_bytes().into())
    }
}

macro_rules! from_ids {
    ($($id:ident),*) => {
        $(impl From<$id> for RowId {
            fn from(id: $id) -> Self {
                Self::from(*id.as_bytes())
            }
        })*
    };
}

from_ids!(
    ApprovalId,
    CredentialId,
    EmergencyId,
    GrantId,
    HoldId,
    ImportId,
    IncidentId,
    JobId,
    KeyId,
    KeyringId,
    LoginId,
    MfaId,
    NoticeId,
    RecordId,
    RecoveryId,
    ReviewId,
    TokenId
);

/// Hexadecimal.
impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A filed record's row: the sealed record, and what the store indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiledRow {
    /// The kind of record.
    pub table: Table,
    /// Its name among them.
    pub id: RowId,
    /// What it belongs to, for listing; may be empty.
    pub parent: String,
    /// When something must happen with it, for finding it in time.
    pub due: Option<UnixMillis>,
    /// After this instant [`Change::Expire`] removes it.
    pub forget: Option<UnixMillis>,
    /// The record.
    pub record: SealedRecord,
}

/// A record that is filed. Its place is a function of its content, so that neither can be exchanged alone.
pub trait FiledRecord: Serialize + DeserializeOwned {
    /// The kind.
    const TABLE: Table;

    /// Its row.
    fn row_id(&self) -> RowId;

    /// What it belongs to; may be empty.
    fn parent(&self) -> String;

    /// When something must happen with it.
    fn due(&self) -> Option<UnixMillis> {
        None
    }

    /// After which instant it may be removed; never, unless said.
    fn forget(&self) -> Option<UnixMillis> {
        None
    }
}

/// The change that writes a record: [`Revision::FIRST`] inserts it, any other replaces the one before.
pub fn file<R: FiledRecord>(sealer: &dyn RecordSealer, revision: Revision, record: &R) -> Change {
    let id = record.row_id();
    let sealed = seal(sealer, R::TABLE, id.as_bytes(), revision, record);
    Change::File(FiledRow {
        table: R::TABLE,
        id,
        parent: record.parent(),
        due: record.due(),
        forget: record.forget(),
        record: sealed,
    })
}

/// The change that removes a record of this revision.
pub fn unfile<R: FiledRecord>(revision: Revision, record: &R) -> Change {
    Change::Unfile { table: R::TABLE, id: record.row_id(), revision }
}

/// Checks and reads a record of its row.
///
/// # Errors
/// [`BadRecord::Tampered`] when the MAC does not fit, or when the row stands where the record does not belong;
/// [`BadRecord::Unreadable`] when the MAC fits but the form is unknown.
pub fn open_filed<R: FiledRecord>(sealer: &dyn RecordSealer, row: &FiledRow) -> Result<(R, Revision), BadRecord> {
    let record: R = open(sealer, R::TABLE, row.id.as_bytes(), &row.record)?;
    if row.table == R::TABLE && record.row_id() == row.id && record.parent() == row.parent {
        Ok((record, row.record.revision))
    } else {
        Err(BadRecord::Tampered { table: R::TABLE.name() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    struct Sealer;

    impl RecordSealer for Sealer {
        fn mac(&self, table: Table, row: &[u8], revision: Revision, bytes: &[u8]) -> [u8; 32] {
            let place = [table.name().as_bytes(), b"|", row, b"|", &revision.0.to_be_bytes(), b"|", bytes].concat();
            keyreeve_crypto::digest::sha256(&place)
        }

        fn check(&self, table: Table, row: &[u8], record: &SealedRecord) -> bool {
            self.mac(table, row, record.revision, &record.bytes) == record.mac
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        id: GrantId,
        owner: String,
        ends: UnixMillis,
    }

    impl FiledRecord for Thing {
        const TABLE: Table = Table::Grants;

        fn row_id(&self) -> RowId {
            self.id.into()
        }

        fn parent(&self) -> String {
            self.owner.clone()
        }

        fn due(&self) -> Option<UnixMillis> {
            Some(self.ends)
        }
    }

    /// The same form, of another kind.
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Other(Thing);

    impl FiledRecord for Other {
        const TABLE: Table = Table::Holds;

        fn row_id(&self) -> RowId {
            self.0.row_id()
        }

        fn parent(&self) -> String {
            self.0.parent()
        }
    }

    fn thing() -> Thing {
        Thing { id: GrantId::from_bytes([7; 16]), owner: "alice".into(), ends: UnixMillis(9) }
    }

    fn row() -> FiledRow {
        match file(&Sealer, Revision(3), &thing()) {
            Change::File(row) => row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_comes_back_with_its_revision() {
        let row = row();
        assert_eq!((row.parent.as_str(), row.due, row.forget), ("alice", Some(UnixMillis(9)), None));
        assert_eq!(open_filed::<Thing>(&Sealer, &row), Ok((thing(), Revision(3))));
        let gone = Change::Unfile { table: Table::Grants, id: RowId::from([7; 16]), revision: Revision(3) };
        assert_eq!(unfile(Revision(3), &thing()), gone);
    }

    /// Each alteration of a row that somebody with the database could make.
    #[test]
    fn a_row_out_of_its_place_is_tampering() {
        let alterations: [fn(&mut FiledRow); 6] = [
            |row| row.parent = "mallory".into(),
            |row| row.id = RowId::from([8; 16]),
            |row| row.table = Table::Holds,
            |row| row.record.revision = Revision(4),
            |row| row.record.mac[0] ^= 1,
            |row| row.record.bytes.push(b' '),
        ];
        for (n, alter) in alterations.iter().enumerate() {
            let mut row = row();
            alter(&mut row);
            let tampered = BadRecord::Tampered { table: "grants" };
            assert_eq!(open_filed::<Thing>(&Sealer, &row), Err(tampered), "alteration {n}");
        }
        let mut moved = row();
        moved.table = Table::Holds;
        assert!(open_filed::<Other>(&Sealer, &moved).is_err(), "a record of one kind is none of another");
    }

    /// A row under a wrong id whose MAC is right can only come from a mistake of our own; it is refused all the same.
    #[test]
    fn a_row_that_disagrees_with_its_record_is_refused() {
        let mut row = row();
        row.id = RowId::from([8; 16]);
        row.record.mac = Sealer.mac(row.table, row.id.as_bytes(), row.record.revision, &row.record.bytes);
        assert_eq!(open_filed::<Thing>(&Sealer, &row), Err(BadRecord::Tampered { table: "grants" }));
    }

    #[test]
    fn unknown_fields_are_not_guessed_at() {
        let mut row = row();
        row.record.bytes = row.record.bytes.strip_suffix(b"}").map(|start| [start, b",\"new\":1}"].concat()).unwrap();
        row.record.mac = Sealer.mac(row.table, row.id.as_bytes(), row.record.revision, &row.record.bytes);
        assert_eq!(open_filed::<Thing>(&Sealer, &row), Err(BadRecord::Unreadable { table: "grants" }));
    }

    #[test]
    fn row_ids_have_one_to_128_bytes() {
        assert_eq!(RowId::new(&[]), None);
        assert_eq!(RowId::new(&[1; 129]), None);
        assert_eq!(RowId::new(&[1; 128]).map(|id| id.as_bytes().len()), Some(128));
        let name: Name = "n".repeat(crate::limits::NAME_MAX).parse().unwrap();
        assert_eq!(RowId::from(&name).as_bytes(), name.as_str().as_bytes());
        assert_eq!(format!("{:?}", RowId::from([0, 255])), "00ff");
    }
}
