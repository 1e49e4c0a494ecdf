//! Rows of the store as bytes.
//!
//! A row begins with the number of its kind (1 byte). Then its fields: ids as they are (16 bytes), numbers big-endian,
//! texts and bytes behind their length (4 bytes), what may be missing behind 0 or 1. Nothing follows the last field.

use keyreeve_model::change::{IdempotencyRow, KeyRow, KeyringRow, NamedRow, TokenRow};
use keyreeve_model::record::Table;
use keyreeve_model::{
    DestructionRow, FiledRow, KeyId, KeyringId, MaterialRow, Name, Outbox, RecordId, Revision, RowId, SealedRecord,
    State, StoredRow, TokenId, UnixMillis,
};

use crate::BackupError;

const BAD: BackupError = BackupError::Altered("row of a store");

/// A row as bytes.
#[must_use]
pub fn encode_row(row: &StoredRow) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(512));
    match row {
        StoredRow::Deployment(record) => out.kind(1).record(record),
        StoredRow::Keyring(row) => out.kind(2).put(row.id.as_bytes()).text(row.name.as_str()).record(&row.record),
        StoredRow::Destruction(row) => {
            let out = out.kind(3).put(row.key.as_bytes()).put(row.keyring.as_bytes());
            out.put(&row.shard.to_be_bytes()).put(&row.epoch.to_be_bytes()).record(&row.record)
        }
        StoredRow::Key(row) => {
            let out = out.kind(4).put(row.id.as_bytes()).put(row.keyring.as_bytes()).text(row.state.name());
            let out = out.maybe(row.destruction_due).put(&(row.aliases.len() as u32).to_be_bytes());
            row.aliases.iter().fold(out, |out, alias| out.text(alias.as_str())).record(&row.record)
        }
        StoredRow::Material(row) => {
            let out = out.kind(5).put(row.key.as_bytes()).put(&row.version.to_be_bytes()).put(row.keyring.as_bytes());
            out.put(&row.shard.to_be_bytes()).put(&row.epoch.to_be_bytes()).bytes(&row.wrapped)
        }
        StoredRow::Token(row) => {
            let out = out.kind(6).put(row.id.as_bytes()).text(row.principal.as_str());
            out.put(&row.expires.0.to_be_bytes()).record(&row.record)
        }
        StoredRow::Principal(row) => out.kind(7).text(row.name.as_str()).record(&row.record),
        StoredRow::Policy(row) => out.kind(8).text(row.name.as_str()).record(&row.record),
        StoredRow::Filed(row) => {
            let out = out.kind(9).text(row.table.name()).bytes(row.id.as_bytes()).text(&row.parent);
            out.maybe(row.due).maybe(row.forget).record(&row.record)
        }
        StoredRow::Answer(row) => {
            out.kind(10).put(&row.key).put(&row.request).bytes(&row.reply).put(&row.expires.0.to_be_bytes())
        }
        StoredRow::Outbox(row) => out.kind(11).put(row.id.as_bytes()).bytes(&row.bytes),
    };
    out.0
}

/// A row from its bytes.
///
/// # Errors
/// [`BackupError::Altered`].
pub fn decode_row(bytes: &[u8]) -> Result<StoredRow, BackupError> {
    let mut from = In(bytes);
    let row = match from.array::<1>()?[0] {
        1 => StoredRow::Deployment(from.record()?),
        2 => StoredRow::Keyring(KeyringRow { id: from.keyring()?, name: from.name()?, record: from.record()? }),
        3 => StoredRow::Destruction(DestructionRow {
            key: from.key()?,
            keyring: from.keyring()?,
            shard: from.u32()?,
            epoch: from.u64()?,
            record: from.record()?,
        }),
        4 => StoredRow::Key(KeyRow {
            id: from.key()?,
            keyring: from.keyring()?,
            state: State::from_name(from.text()?).ok_or(BAD)?,
            destruction_due: from.maybe()?,
            aliases: from.names()?,
            record: from.record()?,
        }),
        5 => StoredRow::Material(MaterialRow {
            key: from.key()?,
            version: from.u32()?,
            keyring: from.keyring()?,
            shard: from.u32()?,
            epoch: from.u64()?,
            wrapped: from.bytes()?.to_vec(),
        }),
        6 => StoredRow::Token(TokenRow {
            id: TokenId::from_bytes(from.array()?),
            principal: from.name()?,
            expires: from.time()?,
            record: from.record()?,
        }),
        7 => StoredRow::Principal(NamedRow { name: from.name()?, record: from.record()? }),
        8 => StoredRow::Policy(NamedRow { name: from.name()?, record: from.record()? }),
        9 => StoredRow::Filed(FiledRow {
            table: Table::from_name(from.text()?).ok_or(BAD)?,
            id: RowId::new(from.bytes()?).ok_or(BAD)?,
            parent: from.text()?.to_owned(),
            due: from.maybe()?,
            forget: from.maybe()?,
            record: from.record()?,
        }),
        10 => StoredRow::Answer(IdempotencyRow {
            key: from.array()?,
            request: from.array()?,
            reply: from.bytes()?.to_vec(),
            expires: from.time()?,
        }),
        11 => StoredRow::Outbox(Outbox { id: RecordId::from_bytes(from.array()?), bytes: from.bytes()?.to_vec() }),
        _ => return Err(BAD),
    };
    if from.0.is_empty() { Ok(row) } else { Err(BAD) }
}

struct Out(Vec<u8>);

impl Out {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.put(&[kind])
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // Rows are far shorter than 4 GiB: no store takes longer ones.
        self.put(&(bytes.len() as u32).to_be_bytes()).put(bytes)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn maybe(&mut self, at: Option<UnixMillis>) -> &mut Self {
        match at {
            None => self.put(&[0]),
            Some(at) => self.put(&[1]).put(&at.0.to_be_bytes()),
        }
    }

    fn record(&mut self, record: &SealedRecord) -> &mut Self {
        self.put(&record.revision.0.to_be_bytes()).bytes(&record.bytes).put(&record.mac)
    }
}

/// What is left to read.
pub(crate) struct In<'a>(pub(crate) &'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BackupError> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(BAD)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        self.take(N)?.try_into().map_err(|_| BAD)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BackupError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BackupError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<UnixMillis, BackupError> {
        self.array().map(|bytes| UnixMillis(i64::from_be_bytes(bytes)))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], BackupError> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(crate) fn key(&mut self) -> Result<KeyId, BackupError> {
        self.array().map(KeyId::from_bytes)
    }

    fn keyring(&mut self) -> Result<KeyringId, BackupError> {
        self.array().map(KeyringId::from_bytes)
    }

    fn text(&mut self) -> Result<&'a str, BackupError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| BAD)
    }

    fn name(&mut self) -> Result<Name, BackupError> {
        self.text()?.parse().map_err(|_| BAD)
    }

    fn names(&mut self) -> Result<Vec<Name>, BackupError> {
        let count = self.u32()?;
        (0..count).map(|_| self.name()).collect()
    }

    fn maybe(&mut self) -> Result<Option<UnixMillis>, BackupError> {
        match self.array()? {
            [0] => Ok(None),
            [1] => self.time().map(Some),
            _ => Err(BAD),
        }
    }

    fn record(&mut self) -> Result<SealedRecord, BackupError> {
        let revision = Revision(i64::from_be_bytes(self.array()?));
        Ok(SealedRecord { revision, bytes: self.bytes()?.to_vec(), mac: self.array()? })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn record(text: &str) -> SealedRecord {
        SealedRecord { revision: Revision(7), bytes: text.as_bytes().to_vec(), mac: [9; 32] }
    }

    /// A row of each kind.
    pub(crate) fn samples() -> Vec<StoredRow> {
        let (key, keyring) = (KeyId::from_bytes([1; 16]), KeyringId::from_bytes([2; 16]));
        let name: Name = "alice".parse().unwrap();
        let named = || NamedRow { name: name.clone(), record: record("named") };
        vec![
            StoredRow::Deployment(record("deployment")),
            StoredRow::Keyring(KeyringRow { id: keyring, name: name.clone(), record: record("keyring") }),
            StoredRow::Destruction(DestructionRow { key, keyring, shard: 4, epoch: u64::MAX, record: record("gone") }),
            StoredRow::Key(KeyRow {
                id: key,
                keyring,
                state: State::Active,
                destruction_due: Some(UnixMillis(-5)),
                aliases: vec![name.clone(), "b".parse().unwrap()],
                record: record("key"),
            }),
            StoredRow::Material(MaterialRow {
                key,
                version: 1,
                keyring,
                shard: 0,
                epoch: 3,
                wrapped: b"wrapped".to_vec(),
            }),
            StoredRow::Token(TokenRow {
                id: TokenId::from_bytes([3; 16]),
                principal: name.clone(),
                expires: UnixMillis(8),
                record: record("token"),
            }),
            StoredRow::Principal(named()),
            StoredRow::Policy(named()),
            StoredRow::Filed(FiledRow {
                table: Table::Grants,
                id: RowId::from([5; 3]),
                parent: String::new(),
                due: None,
                forget: Some(UnixMillis(1)),
                record: record("filed"),
            }),
            StoredRow::Answer(IdempotencyRow { key: [6; 32], request: [7; 32], reply: vec![], expires: UnixMillis(2) }),
            StoredRow::Outbox(Outbox { id: RecordId::from_bytes([8; 16]), bytes: b"audit".to_vec() }),
        ]
    }

    #[test]
    fn every_kind_comes_back_and_no_prefix_of_it_does() {
        let samples = samples();
        for row in &samples {
            let bytes = encode_row(row);
            assert_eq!(&decode_row(&bytes).unwrap(), row);
            for cut in 0..bytes.len() {
                assert!(decode_row(&bytes[..cut]).is_err(), "{row:?} cut at {cut}");
            }
            assert!(decode_row(&[bytes, vec![0]].concat()).is_err(), "{row:?} with more behind it");
        }
        let kinds: std::collections::BTreeSet<u8> = samples.iter().map(|row| encode_row(row)[0]).collect();
        assert_eq!(kinds.len(), samples.len());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..13) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(row) = decode_row(&bytes) {
                prop_assert_eq!(encode_row(&row), bytes);
            }
        }
    }
}
