//! A look at everything that is stored, a page at a time.
//!
//! A scan reads while others write. What one row says can be wrong only if it was damaged; what two rows say together
//! can also have changed between the two readings, so a finding about several rows counts once it was seen twice of the
//! same rows.
//!
//! What is not looked at: the deployment's row, without which the server does not open; remembered answers and audit
//! records on their way, which are checked when they are used and live for a day or a moment; roles of the columns that
//! say which state a key was in, which are of the moment when the row was written.

use keyreeve_epochs::EpochId;
use keyreeve_model::change::{KeyRow, NamedRow};
use keyreeve_model::policy_version::PolicyText;
use keyreeve_model::quarantine::{Place, Why};
use keyreeve_model::record::{Table, open};
use keyreeve_model::scan::{Scan, Stage};
use keyreeve_model::{KeyId, KeyRecord, KeyringId, MaterialRow, Name, PolicyRecord, RowId, TokenId};
use keyreeve_store::{KeyFilter, Page, StoreError};
use std::collections::BTreeSet;

use super::rows;
use super::shard::Tried;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// Rows of one step (count).
const ROWS: u32 = 500;
/// Keys of one step (count): the material of each is opened.
const KEYS: u32 = 100;
/// Rows between two of which others get their turn (count).
const TURN: usize = 32;
/// How often what several rows say together is read again while it keeps changing.
const AGAIN: usize = 5;

/// What came of one step.
pub(crate) struct Looked {
    /// Where the scan stands then.
    pub(crate) scan: Scan,
    /// It has come to its end.
    pub(crate) ended: bool,
    /// Rows and entries that were looked at (count).
    pub(crate) units: u64,
    /// What is damaged.
    pub(crate) found: Vec<(Place, Why)>,
}

/// A page of rows that was looked at.
struct Seen {
    rows: usize,
    /// The last one, where there may be more.
    last: Option<Vec<u8>>,
    found: Vec<(Place, Why)>,
    materials: u64,
    untried: u64,
}

impl Seen {
    fn new(rows: usize, limit: u32, last: Option<Vec<u8>>, found: Vec<(Place, Why)>) -> Self {
        let last = last.filter(|_| rows == limit as usize);
        Self { rows, last, found, materials: 0, untried: 0 }
    }
}

/// A key as it was looked at.
#[derive(Default)]
pub(super) struct KeyLook {
    pub(super) found: Vec<(Place, Why)>,
    materials: u64,
    untried: u64,
}

/// The bytes of the last row that was looked at.
fn after(scan: &Scan) -> Option<Vec<u8>> {
    scan.after.as_deref().and_then(|digits| hex::decode(digits).ok())
}

fn id_after<T>(scan: &Scan, id: impl Fn([u8; 16]) -> T) -> Option<T> {
    after(scan).and_then(|bytes| bytes.try_into().ok()).map(id)
}

fn name_after(scan: &Scan) -> Option<Name> {
    after(scan).and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|name| name.parse().ok())
}

/// Looks at each row, and lets others have their turn in between.
async fn each<T>(rows: &[T], look: impl Fn(&T) -> (Place, Result<(), Why>)) -> Vec<(Place, Why)> {
    let mut found = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        if let (place, Err(why)) = look(row) {
            found.push((place, why));
        }
        if n % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    found
}

impl Core {
    /// One step of a scan.
    pub(crate) async fn look(&self, opened: &Opened, scan: Scan) -> Result<Looked, Error> {
        let seen = match scan.stage {
            Stage::Keyrings => self.see_keyrings(opened, &scan).await,
            Stage::Keys => self.see_keys(opened, &scan).await,
            Stage::Destructions => self.see_destructions(opened, &scan).await,
            Stage::Tokens => self.see_tokens(opened, &scan).await,
            Stage::Principals => self.see_principals(opened, &scan).await,
            Stage::Policies => self.see_policies(opened, &scan).await,
            Stage::Filed => return self.see_filed(opened, scan).await,
            Stage::Epochs => self.see_epochs().await,
            Stage::Log => return self.see_log(opened, scan).await,
        };
        let table = match scan.stage {
            Stage::Keyrings => Table::Keyrings,
            Stage::Destructions => Table::Destructions,
            Stage::Tokens => Table::Tokens,
            Stage::Principals => Table::Principals,
            Stage::Policies => Table::Policies,
            Stage::Keys | Stage::Filed | Stage::Epochs | Stage::Log => Table::Keys,
        };
        let seen = readable(seen, table)?;
        Ok(counted(scan, seen, Scan::at_next_stage))
    }

    async fn see_keyrings(&self, opened: &Opened, scan: &Scan) -> Result<Seen, Error> {
        let page = Page { after: id_after(scan, KeyringId::from_bytes), limit: ROWS };
        let rows = self.ports.store.keyrings(page).await?;
        let look = |row: &_| (place_of_keyring(row), rows::keyring(&opened.keys, row));
        let found = each(&rows, look).await;
        Ok(Seen::new(rows.len(), ROWS, rows.last().map(|row| row.id.as_bytes().to_vec()), found))
    }

    async fn see_keys(&self, opened: &Opened, scan: &Scan) -> Result<Seen, Error> {
        let page = Page { after: id_after(scan, KeyId::from_bytes), limit: KEYS };
        let rows = self.ports.store.keys(&KeyFilter::default(), page).await?;
        let mut seen = Seen::new(rows.len(), KEYS, rows.last().map(|row| row.id.as_bytes().to_vec()), Vec::new());
        for row in rows {
            let look = self.look_at_key(opened, row).await?;
            seen.found.extend(look.found);
            seen.materials += look.materials;
            seen.untried += look.untried;
        }
        Ok(seen)
    }

    /// Looks at a key with its material and its destruction record.
    pub(super) async fn look_at_key(&self, opened: &Opened, mut row: KeyRow) -> Result<KeyLook, Error> {
        let mut before: Option<(KeyRow, Vec<MaterialRow>)> = None;
        for _ in 0..AGAIN {
            let id = row.id;
            let material = match self.ports.store.key_material(id).await {
                Err(StoreError::Damaged(_)) => {
                    return Ok(KeyLook { found: vec![(place_of_key(id), Why::Unreadable)], ..KeyLook::default() });
                }
                material => material?,
            };
            let look = self.look_once(opened, &row, &material).await?;
            let read = (row, material);
            if look.found.is_empty() || before.as_ref() == Some(&read) {
                return Ok(look);
            }
            let Some(next) = self.ports.store.key(id).await? else { return Ok(KeyLook::default()) };
            before = Some(read);
            row = next;
        }
        // It keeps changing: whoever changes it looks at it, and so does the next scan.
        Ok(KeyLook::default())
    }

    async fn look_once(&self, opened: &Opened, row: &KeyRow, material: &[MaterialRow]) -> Result<KeyLook, Error> {
        let (mut look, keys) = (KeyLook::default(), &opened.keys);
        if let Err(why) = rows::key(keys, row) {
            look.found.push((place_of_key(row.id), why));
            if why.blocks() {
                return Ok(look);
            }
        }
        let record: KeyRecord = open(keys, Table::Keys, row.id.as_bytes(), &row.record)?;
        let destruction = self.ports.store.destruction(row.id).await?;
        match (record.state(self.now()?).is_destroyed(), destruction.is_some()) {
            (true, false) => look.found.push((Place::row(Table::Destructions, row.id.as_bytes()), Why::Missing)),
            (false, true) => look.found.push((place_of_key(row.id), Why::Older)),
            (true, true) | (false, false) => {}
        }
        let wanted: BTreeSet<u32> = record.versions().iter().map(|version| version.version()).collect();
        let wanted: BTreeSet<u32> = wanted.into_iter().filter(|version| record.has_material(*version)).collect();
        for row in material.iter().filter(|row| !wanted.contains(&row.version)) {
            look.found.push((Place::Material(row.key, row.version), Why::Unexpected));
        }
        let keyring = match self.keyring(opened, record.keyring()).await {
            Ok(Some(keyring)) => keyring,
            Ok(None) => {
                look.found.push((Place::row(Table::Keyrings, record.keyring().as_bytes()), Why::Missing));
                return Ok(look);
            }
            // It is looked at by itself.
            Err(error) if matches!(error.code(), Code::Tampered | Code::Quarantined) => {
                look.untried += wanted.len() as u64;
                return Ok(look);
            }
            Err(error) => return Err(error),
        };
        for version in wanted {
            let place = Place::Material(row.id, version);
            let Some(row) = material.iter().find(|row| row.version == version) else {
                look.found.push((place, Why::Missing));
                continue;
            };
            if (row.keyring, row.shard) != (record.keyring(), record.shard()) {
                look.found.push((place, Why::Closed));
                continue;
            }
            match self.try_material(opened, (&keyring.record, record.algorithm()), row).await? {
                Tried::Opens => look.materials += 1,
                Tried::Damaged(why) => look.found.push((place, why)),
                // The epoch is told, not everything under it.
                Tried::NoEpoch => {}
                Tried::Untried => look.untried += 1,
            }
        }
        Ok(look)
    }

    async fn see_destructions(&self, opened: &Opened, scan: &Scan) -> Result<Seen, Error> {
        let page = Page { after: id_after(scan, KeyId::from_bytes), limit: ROWS };
        let rows = self.ports.store.destructions(page).await?;
        let look = |row: &keyreeve_model::DestructionRow| {
            (Place::row(Table::Destructions, row.key.as_bytes()), rows::destruction(&opened.keys, row))
        };
        let mut found = each(&rows, look).await;
        for row in &rows {
            // Its record stays for ever, and so does the key's.
            if self.ports.store.key(row.key).await?.is_none() {
                found.push((place_of_key(row.key), Why::Missing));
            }
        }
        Ok(Seen::new(rows.len(), ROWS, rows.last().map(|row| row.key.as_bytes().to_vec()), found))
    }

    async fn see_tokens(&self, opened: &Opened, scan: &Scan) -> Result<Seen, Error> {
        let page = Page { after: id_after(scan, TokenId::from_bytes), limit: ROWS };
        let rows = self.ports.store.tokens(page).await?;
        let look = |row: &keyreeve_model::change::TokenRow| {
            (Place::row(Table::Tokens, row.id.as_bytes()), rows::token(&opened.keys, row))
        };
        let found = each(&rows, look).await;
        Ok(Seen::new(rows.len(), ROWS, rows.last().map(|row| row.id.as_bytes().to_vec()), found))
    }

    async fn see_principals(&self, opened: &Opened, scan: &Scan) -> Result<Seen, Error> {
        let rows = self.ports.store.principals(Page { after: name_after(scan), limit: ROWS }).await?;
        let look = |row: &NamedRow| {
            (Place::row(Table::Principals, row.name.as_str().as_bytes()), rows::principal(&opened.keys, row))
        };
        let found = each(&rows, look).await;
        Ok(Seen::new(rows.len(), ROWS, rows.last().map(|row| row.name.as_str().as_bytes().to_vec()), found))
    }

    /// Policies are few, and each version of them says which texts there are: one that was put back is noticed, and one
    /// that is gone.
    async fn see_policies(&self, opened: &Opened, scan: &Scan) -> Result<Seen, Error> {
        let rows = self.ports.store.policies(Page { after: name_after(scan), limit: ROWS }).await?;
        let look = |row: &NamedRow| (place_of_policy(&row.name), rows::policy(&opened.keys, row));
        let mut found = each(&rows, look).await;
        let last = rows.last().map(|row| row.name.clone());
        let (from, whole) = (name_after(scan), rows.len() < ROWS as usize);
        let within =
            |name: &Name| from.as_ref().is_none_or(|from| name > from) && (whole || Some(name) <= last.as_ref());
        if let Some(before) = self.newest_policies(opened).await? {
            let mut other = Vec::new();
            for name in before.entries.keys().filter(|name| within(name)) {
                if !rows.iter().any(|row| row.name == *name) {
                    other.push((place_of_policy(name), Why::Missing));
                }
            }
            for row in &rows {
                let record =
                    open::<PolicyRecord>(&opened.keys, Table::Policies, row.name.as_str().as_bytes(), &row.record);
                let Ok(record) = record else { continue };
                if before.entries.get(&row.name) != Some(&PolicyText::digest_of(&record.text)) {
                    other.push((place_of_policy(&row.name), Why::Older));
                }
            }
            // A version that was made meanwhile looks like damage: the next scan sees it whole.
            if self.newest_policies(opened).await?.is_some_and(|after| after.n == before.n) && !other.is_empty() {
                let again = self.ports.store.policies(Page { after: from.clone(), limit: ROWS }).await?;
                found.extend(other.into_iter().filter(|_| again == rows));
            }
        }
        Ok(Seen::new(rows.len(), ROWS, last.map(|name| name.as_str().as_bytes().to_vec()), found))
    }

    async fn see_filed(&self, opened: &Opened, scan: Scan) -> Result<Looked, Error> {
        let mut tables = Table::ALL.iter().copied().filter(|table| rows::filed(*table).is_some());
        let table = match scan.table {
            None => tables.next(),
            Some(table) => tables.find(|other| *other == table),
        };
        let Some((table, check)) = table.and_then(|table| Some((table, rows::filed(table)?))) else {
            return Ok(counted(scan, Seen::new(0, ROWS, None, Vec::new()), Scan::at_next_stage));
        };
        let seen = self.see_table(opened, &scan, (table, check)).await;
        let next = tables.next();
        let on = move |scan: Scan| match next {
            Some(table) => (Scan { table: Some(table), after: None, ..scan }, false),
            None => scan.at_next_stage(),
        };
        Ok(counted(Scan { table: Some(table), ..scan }, readable(seen, table)?, on))
    }

    async fn see_table(
        &self,
        opened: &Opened,
        scan: &Scan,
        (table, check): (Table, rows::Check),
    ) -> Result<Seen, Error> {
        let page = Page { after: after(scan).and_then(|bytes| RowId::new(&bytes)), limit: ROWS };
        let rows = self.ports.store.filed_page(table, None, page).await?;
        let look = |row: &keyreeve_model::FiledRow| (Place::row(table, row.id.as_bytes()), check(&*opened.keys, row));
        let found = each(&rows, look).await;
        Ok(Seen::new(rows.len(), ROWS, rows.last().map(|row| row.id.as_bytes().to_vec()), found))
    }

    async fn see_epochs(&self) -> Result<Seen, Error> {
        let used = self.ports.store.epochs_in_use().await?;
        let vault: BTreeSet<EpochId> = self.ports.vault.list().await?.into_iter().collect();
        let (count, mut found) = (used.len(), Vec::new());
        for (keyring, shard, epoch) in used {
            if vault.contains(&EpochId { keyring, shard, epoch }) {
                continue;
            }
            // A destruction may have come between the two readings.
            if self.ports.store.shard_epochs(keyring, shard).await?.contains(&epoch) {
                found.push((Place::Epoch(keyring, shard, epoch), Why::NoEpoch));
            }
        }
        Ok(Seen { rows: count, last: None, found, materials: 0, untried: 0 })
    }
}

/// A page that the database does not give back in its form ends its table: what comes after is not reached.
fn readable(seen: Result<Seen, Error>, table: Table) -> Result<Seen, Error> {
    match seen {
        Err(error) if error.is_damaged_store() => {
            Ok(Seen::new(0, ROWS, None, vec![(Place::Unread(table), Why::Unreadable)]))
        }
        seen => seen,
    }
}

/// The scan after a page: further on in the same place, or where `on` leads.
fn counted(scan: Scan, seen: Seen, on: impl FnOnce(Scan) -> (Scan, bool)) -> Looked {
    let units = seen.rows as u64;
    let scan = Scan {
        rows: scan.rows + units,
        materials: scan.materials + seen.materials,
        untried: scan.untried + seen.untried,
        damaged: scan.damaged + seen.found.len() as u64,
        ..scan
    };
    let (scan, ended) = match seen.last {
        Some(last) => (Scan { after: Some(hex::encode(last)), ..scan }, false),
        None => on(scan),
    };
    Looked { scan, ended, units, found: seen.found }
}

fn place_of_key(id: KeyId) -> Place {
    Place::row(Table::Keys, id.as_bytes())
}

fn place_of_keyring(row: &keyreeve_model::change::KeyringRow) -> Place {
    Place::row(Table::Keyrings, row.id.as_bytes())
}

fn place_of_policy(name: &Name) -> Place {
    Place::row(Table::Policies, name.as_str().as_bytes())
}
