//! Damage: rows that do not open, and what becomes of them (requirements T10 and U4).
//!
//! Whoever can write to the database cannot make up a row, but can spoil any. What is spoilt is not used, the rest is
//! served, people are told, and it takes people to bring it back into use. Each sort of thing is left out in the way
//! that gives nobody more than they had: docs/threat-model.md (Damage) has the table.
//!
//! - [`rows`]: whether a row is as it was sealed; [`shard`]: whether material opens
//! - [`scan`], [`log`]: a look at everything, page by page
//! - [`examine`]: a second look at one place; [`Quarantined`]: what is in quarantine, in memory

mod examine;
mod log;
pub(crate) mod rows;
mod scan;
mod shard;

use keyreeve_model::filed::{FiledRecord, open_filed};
use keyreeve_model::ids::JobId;
use keyreeve_model::quarantine::{Place, Quarantine, Why};
use keyreeve_model::record::{BadRecord, RecordSealer, Revision, Table};
use keyreeve_model::{Change, FiledRow, KeyId, KeyringId, RowId, UnixMillis, filed};
use keyreeve_store::{Page, Store};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

pub(crate) use examine::{Told, from_history};
pub(crate) use scan::Looked;

/// Rows read at a time.
const PAGE: u32 = 1000;
/// Places in quarantine at most (count). What is beyond does not open either; it is only not told one by one.
pub(crate) const QUARANTINES_MAX: usize = 1000;

/// The refusal of what is in quarantine.
pub(crate) fn refusal(place: &Place) -> Error {
    let text = format!(
        "`{place}` was found damaged and is in quarantine, so nothing is done with it: `keyreeve integrity show \
         {place}` tells what is wrong with it and how it comes back"
    );
    Error::new(Code::Quarantined, text)
}

/// What is in quarantine and kept from use, in memory.
#[derive(Default)]
pub(crate) struct Quarantined {
    rows: HashSet<(Table, RowId)>,
    materials: HashSet<(KeyId, u32)>,
    open: usize,
}

impl Quarantined {
    /// Reads what is in quarantine. A record of it that does not open keeps in quarantine what its row is named after.
    pub(crate) async fn load(store: &dyn Store, sealer: &dyn RecordSealer) -> Result<Self, Error> {
        let (mut known, mut after) = (Self::default(), None);
        loop {
            let rows = store.filed_page(Table::Quarantines, None, Page { after, limit: PAGE }).await?;
            for row in &rows {
                match open_filed::<Quarantine>(sealer, row) {
                    Ok((quarantine, _)) if quarantine.is_open() => known.add(quarantine.place, quarantine.why),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(row = ?row.id, %error, "a record of a quarantine is damaged: it stands");
                        if let Some(place) = Place::of_row(&row.id) {
                            known.add(place, Why::Altered);
                        }
                    }
                }
            }
            after = rows.last().filter(|_| rows.len() == PAGE as usize).map(|row| row.id.clone());
            if after.is_none() {
                return Ok(known);
            }
        }
    }

    fn add(&mut self, place: Place, why: Why) {
        self.open += 1;
        match place {
            _ if !why.blocks() => {}
            Place::Row(table, row) => drop(self.rows.insert((table, row))),
            Place::Material(key, version) => drop(self.materials.insert((key, version))),
            Place::Epoch(..) | Place::Log(..) | Place::Unread(_) => {}
        }
    }

    /// Whether a row is kept from use.
    pub(crate) fn holds(&self, table: Table, row: &[u8]) -> bool {
        !self.rows.is_empty() && RowId::new(row).is_some_and(|row| self.rows.contains(&(table, row)))
    }

    /// The rows of a table that are kept from use.
    pub(crate) fn of_table(&self, table: Table) -> impl Iterator<Item = &RowId> {
        self.rows.iter().filter(move |(of, _)| *of == table).map(|(_, row)| row)
    }

    /// Refuses a row that is kept from use.
    pub(crate) fn refuse(&self, table: Table, row: &[u8]) -> Result<(), Error> {
        if self.holds(table, row) { Err(refusal(&Place::row(table, row))) } else { Ok(()) }
    }

    /// Refuses a key that is kept from use, or whose keyring is.
    pub(crate) fn refuse_key(&self, key: KeyId, keyring: KeyringId) -> Result<(), Error> {
        self.refuse(Table::Keys, key.as_bytes())?;
        self.refuse(Table::Keyrings, keyring.as_bytes())
    }

    /// Refuses material that is kept from use.
    pub(crate) fn refuse_material(&self, key: KeyId, version: u32) -> Result<(), Error> {
        let held = !self.materials.is_empty() && self.materials.contains(&(key, version));
        if held { Err(refusal(&Place::Material(key, version))) } else { Ok(()) }
    }

    /// Places in quarantine (count).
    pub(crate) fn open(&self) -> usize {
        self.open
    }
}

/// Damage that was met in other work and is not in quarantine yet.
#[derive(Default)]
pub(crate) struct Noted(Mutex<HashMap<Place, Why>>);

impl Noted {
    /// Notes it, and tells the server's log the first time.
    pub(crate) fn add(&self, place: Place, why: Why) {
        let mut noted = self.0.lock();
        if noted.len() < QUARANTINES_MAX && !noted.contains_key(&place) {
            tracing::error!(%place, why = why.name(), "damaged: it is left out, and comes into quarantine");
            noted.insert(place, why);
        }
    }

    /// What was noted.
    pub(crate) fn all(&self) -> Vec<Place> {
        self.0.lock().keys().cloned().collect()
    }

    /// These were looked at.
    pub(crate) fn done(&self, places: &[Place]) {
        self.0.lock().retain(|place, _| !places.contains(place));
    }
}

/// From where records are read that decisions are made from, and where damage is noted.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) sealer: &'a dyn RecordSealer,
    pub(crate) quarantined: &'a Quarantined,
    pub(crate) noted: &'a Noted,
}

impl Source<'_> {
    /// A row that opened and is not in quarantine. Nothing for a damaged one: whoever asks must know what to do without
    /// it. One that a newer version wrote is no damage, and an error.
    pub(crate) fn sound<T>(
        &self,
        (table, row): (Table, &[u8]),
        opened: Result<T, BadRecord>,
    ) -> Result<Option<T>, BadRecord> {
        match opened {
            _ if self.quarantined.holds(table, row) => Ok(None),
            Ok(record) => Ok(Some(record)),
            Err(BadRecord::Tampered { .. }) => {
                self.noted.add(Place::row(table, row), Why::Altered);
                Ok(None)
            }
            Err(unreadable) => Err(unreadable),
        }
    }

    /// One filed row.
    pub(crate) fn sound_filed<R: FiledRecord>(&self, row: &FiledRow) -> Result<Option<(R, Revision)>, BadRecord> {
        self.sound((R::TABLE, row.id.as_bytes()), open_filed(self.sealer, row))
    }

    /// Goes through all records of a kind, or all of one parent. Returns the rows that are damaged.
    pub(crate) async fn each_filed<R: FiledRecord>(
        &self,
        parent: Option<&str>,
        mut each: impl FnMut(R) -> Result<(), BadRecord>,
    ) -> Result<Vec<RowId>, Error> {
        let (mut damaged, mut after) = (Vec::new(), None);
        loop {
            let rows = self.store.filed_page(R::TABLE, parent, Page { after, limit: PAGE }).await?;
            for row in &rows {
                match self.sound_filed::<R>(row)? {
                    Some((record, _)) => each(record)?,
                    None => damaged.push(row.id.clone()),
                }
            }
            after = rows.last().filter(|_| rows.len() == PAGE as usize).map(|row| row.id.clone());
            if after.is_none() {
                return Ok(damaged);
            }
        }
    }
}

/// Findings that become quarantines.
#[derive(Default)]
pub(crate) struct Fresh {
    pub(crate) changes: Vec<Change>,
    /// Those that were not in quarantine before.
    pub(crate) places: Vec<(Place, Why)>,
    /// Findings that are in no quarantine, because there are too many.
    pub(crate) untold: usize,
}

impl Core {
    /// What puts findings into quarantine; nothing for those that are there.
    pub(crate) async fn put_in_quarantine(
        &self,
        opened: &Opened,
        findings: &[(Place, Why)],
        (by, now): (Option<JobId>, UnixMillis),
    ) -> Result<Fresh, Error> {
        let mut fresh = Fresh::default();
        let room = QUARANTINES_MAX.saturating_sub(opened.access().quarantined().open());
        let mut seen = HashSet::new();
        for (place, why) in findings.iter().filter(|(place, _)| seen.insert(place.clone())) {
            let stored = self.ports.store.filed(Table::Quarantines, &Quarantine::row_of(place)).await?;
            let open = stored.as_ref().and_then(|row| open_filed::<Quarantine>(&opened.keys, row).ok());
            if open.is_some_and(|(known, _)| known.is_open() && (known.why.blocks() || !why.blocks())) {
                continue;
            }
            if fresh.places.len() >= room {
                fresh.untold += 1;
                continue;
            }
            let revision = stored.map_or(Revision::FIRST, |row| row.record.revision.next());
            let quarantine = Quarantine { place: place.clone(), why: *why, found: now, by, released: None };
            fresh.changes.push(filed::file(&opened.keys, revision, &quarantine));
            fresh.places.push((place.clone(), *why));
        }
        Ok(fresh)
    }

    /// From where rows are read for decisions.
    pub(crate) fn source<'a>(&'a self, opened: &'a Opened, quarantined: &'a Quarantined) -> Source<'a> {
        Source { store: &*self.ports.store, sealer: &*opened.keys, quarantined, noted: &self.noted }
    }

    /// Notes a row that does not open, where that is what an error says.
    pub(crate) fn note_if_damaged<T>(
        &self,
        place: impl FnOnce() -> Place,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && error.code() == Code::Tampered
        {
            self.noted.add(place(), Why::Altered);
        }
        result
    }
}
