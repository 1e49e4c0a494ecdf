//! One entry on its way into the log.

use keyreeve_audit::merkle::leaf_hash;
use keyreeve_audit::tile::MAX_ENTRY_BYTES;
use keyreeve_audit::{Hash, Record};
use keyreeve_model::RecordId;
use keyreeve_model::time::UnixMillis;
use thiserror::Error;

/// The bytes are not an encoded audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an encoded audit record of at most 65,535 bytes")]
pub struct InvalidEntry;

/// An encoded audit record with what the log needs to know of it. Making one hashes the bytes, so it is made in the
/// caller's task, outside of any lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
    leaf: Hash,
    id: RecordId,
    time: UnixMillis,
}

impl Entry {
    /// From the bytes of [`Record::encode`].
    ///
    /// # Errors
    /// [`InvalidEntry`] when they are longer than a log entry, or do not begin like a record. The rest is not looked
    /// at.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidEntry> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(InvalidEntry);
        }
        let (id, time) = Record::peek(&bytes).ok_or(InvalidEntry)?;
        Ok(Self { leaf: leaf_hash(&bytes), bytes, id, time })
    }

    /// Of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let bytes = record.encode();
        Self { leaf: leaf_hash(&bytes), bytes, id: record.id, time: record.time }
    }

    /// The encoded record.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded record, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Its leaf hash.
    #[must_use]
    pub const fn leaf(&self) -> &Hash {
        &self.leaf
    }

    /// The record's id.
    #[must_use]
    pub const fn id(&self) -> &RecordId {
        &self.id
    }

    /// The record's time.
    #[must_use]
    pub const fn time(&self) -> UnixMillis {
        self.time
    }
}
