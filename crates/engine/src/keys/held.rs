//! A key or keyring in memory: its record, checked, and the contexts made from its material.

use keyreeve_crypto::LoadedKey;
use keyreeve_model::change::{KeyRow, KeyringRow};
use keyreeve_model::record::Revision;
use keyreeve_model::record::{BadRecord, RecordSealer, Table, open};
use keyreeve_model::{KeyRecord, KeyringRecord, MaterialRow, State, UnixMillis};
use keyreeve_policy::{KeyAttrs, KeyringAttrs, ResourceAttrs, ResourceDetails, Revision as AttrsRevision};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

use crate::access::Marks;

/// A keyring whose row was checked.
pub struct HeldKeyring {
    /// The record.
    pub record: KeyringRecord,
    pub(crate) revision: Revision,
    attrs: Arc<ResourceAttrs>,
}

impl HeldKeyring {
    pub(crate) fn open(sealer: &dyn RecordSealer, row: &KeyringRow) -> Result<Self, BadRecord> {
        let record: KeyringRecord = open(sealer, Table::Keyrings, row.id.as_bytes(), &row.record)?;
        // The unsealed columns of the row are only good for finding it; what they say must be what the record says.
        if record.id != row.id || record.name != row.name {
            return Err(BadRecord::Tampered { table: Table::Keyrings.name() });
        }
        let details = KeyringAttrs {
            name: record.name.to_string(),
            classification: record.classification.level(),
            environment: record.environment.name().to_owned(),
            owner: record.owner.to_string(),
            labels: std::collections::BTreeMap::new(),
        };
        let attrs = ResourceAttrs {
            id: record.id.to_string(),
            revision: AttrsRevision::At(row.record.revision.0.unsigned_abs()),
            details: ResourceDetails::Keyring(details),
        };
        Ok(Self { record, revision: row.record.revision, attrs: Arc::new(attrs) })
    }

    pub(crate) fn attrs(&self) -> Arc<ResourceAttrs> {
        Arc::clone(&self.attrs)
    }
}

impl fmt::Debug for HeldKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldKeyring({})", self.record.id)
    }
}

/// Versions that were used; mostly one.
type Versions = SmallVec<[(u32, Arc<LoadedKey>); 1]>;

/// A key whose row was checked, with the versions that were used so far ready for use.
pub struct HeldKey {
    /// The record.
    pub record: KeyRecord,
    /// Its keyring.
    pub keyring: Arc<HeldKeyring>,
    pub(crate) revision: Revision,
    /// What policies see, for the state and the marks it was made with.
    attrs: RwLock<(State, Marks, Arc<ResourceAttrs>)>,
    loaded: RwLock<Versions>,
    /// Wrapped material that was read with the record, until it is first used.
    wrapped: Mutex<Option<Box<MaterialRow>>>,
}

impl HeldKey {
    pub(crate) fn open(sealer: &dyn RecordSealer, row: &KeyRow, keyring: Arc<HeldKeyring>) -> Result<Self, BadRecord> {
        let record: KeyRecord = open(sealer, Table::Keys, row.id.as_bytes(), &row.record)?;
        if record.id() != row.id || record.keyring() != keyring.record.id {
            return Err(BadRecord::Tampered { table: Table::Keys.name() });
        }
        let state = record.state(UnixMillis(i64::MIN));
        let marks = Marks::default();
        let attrs = RwLock::new((state, marks, key_attrs(&record, row.record.revision, &keyring, (state, marks))));
        let loaded = RwLock::new(SmallVec::new());
        Ok(Self { record, keyring, revision: row.record.revision, attrs, loaded, wrapped: Mutex::new(None) })
    }

    pub(crate) fn with_wrapped(mut self, material: Option<MaterialRow>) -> Self {
        self.wrapped = Mutex::new(material.map(Box::new));
        self
    }

    /// The wrapped material of a version, if it is at hand; once.
    pub(crate) fn take_wrapped(&self, version: u32) -> Option<MaterialRow> {
        self.wrapped.lock().take_if(|row| row.version == version).map(|row| *row)
    }

    /// What policies see now. The state depends on the time, the marks on rows of their own, so both are checked at
    /// each call and the attributes rebuilt when one of them moved.
    pub(crate) fn attrs(&self, now: UnixMillis, marks: Marks) -> Arc<ResourceAttrs> {
        let state = self.record.state(now);
        {
            let attrs = self.attrs.read();
            if (attrs.0, attrs.1) == (state, marks) {
                return Arc::clone(&attrs.2);
            }
        }
        let fresh = key_attrs(&self.record, self.revision, &self.keyring, (state, marks));
        *self.attrs.write() = (state, marks, Arc::clone(&fresh));
        fresh
    }

    pub(crate) fn loaded(&self, version: u32) -> Option<Arc<LoadedKey>> {
        self.loaded.read().iter().find(|(held, _)| *held == version).map(|(_, key)| Arc::clone(key))
    }

    pub(crate) fn keep_loaded(&self, version: u32, key: &Arc<LoadedKey>) {
        let mut loaded = self.loaded.write();
        if !loaded.iter().any(|(held, _)| *held == version) {
            loaded.push((version, Arc::clone(key)));
        }
    }
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldKey({})", self.record.id())
    }
}

/// The attributes of a key for policies. Their revision changes with the key's row, its keyring's row, its state and
/// its marks.
///
/// Of the keyring's revision only 20 bits fit. That a decision is found again which was made before the keyring changed
/// would take 2^20 changes of the keyring, none of the key, and a decision that stays remembered through all of them.
fn key_attrs(
    record: &KeyRecord,
    revision: Revision,
    keyring: &HeldKeyring,
    (state, marks): (State, Marks),
) -> Arc<ResourceAttrs> {
    let details = KeyAttrs {
        keyring_id: keyring.record.id.to_string(),
        keyring: keyring.record.name.to_string(),
        hold: marks.hold,
        incident: marks.incident,
        exportable: record.exportable(),
        ..super::attrs_of(record.algorithm(), record.purpose(), state, &record.metadata)
    };
    let (own, of_ring) = (revision.0.unsigned_abs(), keyring.revision.0.unsigned_abs());
    let revision = (own << 26) | ((of_ring & 0xf_ffff) << 6) | (marks.bits() << 4) | state as u64;
    Arc::new(ResourceAttrs {
        id: record.id().to_string(),
        revision: AttrsRevision::At(revision),
        details: ResourceDetails::Key(Box::new(details)),
    })
}
