//! What shares a shard with a key that is destroyed: checked before anything is erased, then wrapped under a new epoch.

use keyreeve_epochs::EpochId;
use keyreeve_model::record::{Table, open};
use keyreeve_model::{Change, KeyId, KeyRecord, MaterialRow, UnixMillis};
use keyreeve_store::{KeyFilter, MaterialPlace, Page};
use std::collections::{BTreeMap, BTreeSet};

use super::HeldKey;
use crate::commit::Durable;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// Records looked through at a time (count).
const RECORDS: u32 = 200;

/// The shard of a key that goes, as it was found.
pub(crate) struct Shard {
    /// Its epochs, all of which go.
    pub(crate) old: Vec<EpochId>,
    /// Epochs that some row names and the vault lacks: what is under them was lost before.
    dead: BTreeSet<u64>,
    /// Material that does not open and need not: its key is due for destruction itself.
    hopeless: BTreeSet<(KeyId, u32)>,
}

/// What goes: a key, or some of its versions.
pub(crate) struct Going<'a> {
    pub(crate) key: &'a HeldKey,
    /// All of them where nothing is said.
    pub(crate) versions: Option<BTreeSet<u32>>,
}

impl Going<'_> {
    /// Whether the material of a version goes.
    fn takes(&self, key: KeyId, version: u32) -> bool {
        key == self.key.record.id() && self.versions.as_ref().is_none_or(|versions| versions.contains(&version))
    }
}

/// Material that has to survive and cannot be shown to.
type Damage = BTreeMap<(KeyId, u32), &'static str>;

fn place(row: &MaterialRow) -> MaterialPlace {
    (row.epoch, row.key, row.version)
}

impl Core {
    /// Makes sure that every other key of the shard has all its material and that all of it opens. Erasing an epoch is
    /// final: whoever can write to the database must not be able to make it take more than the key that goes. The
    /// caller holds the shard's lock.
    pub(crate) async fn survey(&self, opened: &Opened, going: &Going<'_>, now: UnixMillis) -> Result<Shard, Error> {
        let key = going.key;
        let (ring, shard) = (key.keyring.record.id, key.record.shard());
        let in_shard = |id: &EpochId| (id.keyring, id.shard) == (ring, shard);
        let known: BTreeSet<EpochId> = self.ports.vault.list().await?.into_iter().filter(in_shard).collect();
        let used = self.ports.store.shard_epochs(ring, shard).await?;
        let newest = self.newest_epoch(ring, shard);
        let named: BTreeSet<u64> = used.into_iter().chain([newest]).collect();
        let dead =
            named.iter().copied().filter(|epoch| !known.contains(&EpochId { keyring: ring, shard, epoch: *epoch }));
        let mut found = Shard { old: Vec::new(), dead: dead.collect(), hopeless: BTreeSet::new() };
        let all: BTreeSet<u64> = named.into_iter().chain(known.iter().map(|id| id.epoch)).collect();
        found.old = all.into_iter().map(|epoch| EpochId { keyring: ring, shard, epoch }).collect();

        let (present, mut damage) = self.try_rows(opened, going, &found.dead).await?;
        let due = self.missing_rows(opened, going, now, &present, &mut damage).await?;
        let hopeless = damage.keys().filter(|(key, _)| due.contains(key)).copied().collect();
        damage.retain(|(key, _), _| !due.contains(key));
        found.hopeless = hopeless;
        match damage.first_key_value() {
            None => Ok(found),
            Some(((damaged, version), what)) => Err(refusal(damage.len(), *damaged, *version, what)),
        }
    }

    /// Opens every row of the shard but those of the key that goes. Returns which rows there are and which do not open.
    async fn try_rows(
        &self,
        opened: &Opened,
        going: &Going<'_>,
        dead: &BTreeSet<u64>,
    ) -> Result<(BTreeSet<(KeyId, u32)>, Damage), Error> {
        let key = going.key;
        let (mut present, mut damage, mut after) = (BTreeSet::new(), Damage::new(), None);
        loop {
            let rows = self.shard_page(key, after).await?;
            let Some(last) = rows.last() else { return Ok((present, damage)) };
            after = Some(place(last));
            for row in rows.iter().filter(|row| !going.takes(row.key, row.version)) {
                let at = (row.key, row.version);
                present.insert(at);
                if dead.contains(&row.epoch) {
                    if !self.settings.accept_missing_epochs {
                        damage.insert(at, "is under an epoch key that is not in the epoch vault");
                    }
                    continue;
                }
                if !self.material_opens(opened, &key.keyring.record, row).await? {
                    damage.insert(at, "does not open");
                }
            }
        }
    }

    async fn shard_page(&self, key: &HeldKey, after: Option<MaterialPlace>) -> Result<Vec<MaterialRow>, Error> {
        let page = Page { after, limit: self.settings.rewrap_step };
        Ok(self.ports.store.shard_material(key.keyring.record.id, key.record.shard(), page).await?)
    }

    /// Notes what the sealed records say should be in the shard and is not: rows that were deleted, or moved to where
    /// nobody looks. Every record is read, because the columns that could shorten the search are not sealed. Returns
    /// the keys that are due for destruction themselves.
    async fn missing_rows(
        &self,
        opened: &Opened,
        going: &Going<'_>,
        now: UnixMillis,
        present: &BTreeSet<(KeyId, u32)>,
        damage: &mut Damage,
    ) -> Result<BTreeSet<KeyId>, Error> {
        let (key, mut due, mut after) = (going.key, BTreeSet::new(), None);
        let whole = |row: &KeyId| *row == key.record.id() && going.versions.is_none();
        loop {
            let page = Page { after, limit: RECORDS };
            let rows = self.ports.store.keys(&KeyFilter::default(), page).await?;
            let Some(last) = rows.last() else { return Ok(due) };
            after = Some(last.id);
            for row in rows.iter().filter(|row| !whole(&row.id)) {
                let Ok(record) = open::<KeyRecord>(&opened.keys, Table::Keys, row.id.as_bytes(), &row.record) else {
                    damage.insert((row.id, 0), "may be in the shard, but its record was altered");
                    continue;
                };
                if (record.keyring(), record.shard()) != (key.record.keyring(), key.record.shard()) {
                    continue;
                }
                if record.is_due(now) {
                    due.insert(row.id);
                }
                let lives = |version: &u32| record.has_material(*version) && !going.takes(row.id, *version);
                for version in record.versions().iter().map(|version| version.version()).filter(lives) {
                    if !present.contains(&(row.id, version)) {
                        damage.insert((row.id, version), "is missing");
                    }
                }
            }
        }
    }

    /// A new epoch for a shard, above all that were ever used in it.
    pub(crate) async fn new_epoch(&self, opened: &Opened, key: &HeldKey, old: &[EpochId]) -> Result<EpochId, Error> {
        let newest = old.last().ok_or_else(|| Error::internal("a shard without epochs"))?;
        let next = self.next_epoch(EpochId { epoch: newest.epoch + 1, ..*newest }).await?;
        opened.hierarchy.make_epoch((key.keyring.record.id, next.shard, next.epoch), ()).await?;
        // From here on, whatever becomes of the commit: should its answer be lost, nothing new may be wrapped under an
        // epoch that a destruction record already calls erased.
        self.newest_epochs.lock().insert((next.keyring, next.shard), next.epoch);
        Ok(next)
    }

    /// Wraps what else is in the shard under a new epoch, a bounded number of rows at a time. Each step is a
    /// transaction of its own that leaves every key usable: a crash between two of them leaves some rows under the old
    /// epochs and some under the new one, all of which are there. Returns the last step, which belongs to the
    /// transaction that destroys the key.
    pub(crate) async fn rewrap_survivors(
        &self,
        opened: &Opened,
        going: &Going<'_>,
        shard: &Shard,
        next: EpochId,
    ) -> Result<Vec<Change>, Error> {
        let key = going.key;
        let (mut step, mut after) = (Vec::new(), None);
        loop {
            let rows = self.shard_page(key, after).await?;
            after = rows.last().map(place);
            let mut changes = Vec::new();
            let stays = |row: &&MaterialRow| !going.takes(row.key, row.version) && row.epoch != next.epoch;
            for row in rows.iter().filter(stays) {
                if !shard.dead.contains(&row.epoch) {
                    let row = self.under_new_epoch(opened, key, shard, row, next).await?;
                    changes.push(row);
                }
            }
            if rows.is_empty() {
                return Ok(step);
            }
            if changes.is_empty() {
                continue;
            }
            let full = std::mem::replace(&mut step, changes);
            if !full.is_empty() {
                let (name, sealer) = ("rewrap", Some(std::sync::Arc::clone(&opened.keys)));
                self.commit(Durable { name, changes: full, entry: None, sealer }).await?;
            }
        }
    }

    async fn under_new_epoch(
        &self,
        opened: &Opened,
        key: &HeldKey,
        shard: &Shard,
        row: &MaterialRow,
        next: EpochId,
    ) -> Result<Change, Error> {
        let ring = &key.keyring.record;
        let wrapped = if shard.hopeless.contains(&(row.key, row.version)) {
            // Nothing opens it before or after; it only must not keep the old epoch.
            MaterialRow { epoch: next.epoch, ..row.clone() }
        } else {
            let material = opened.hierarchy.unwrap(ring, row).await?;
            opened.hierarchy.wrap(ring, next, (row.key, row.version), &material).await?
        };
        Ok(Change::Rewrap { row: wrapped, from_epoch: row.epoch })
    }
}

fn refusal(count: usize, key: KeyId, version: u32, what: &str) -> Error {
    let others = if count > 1 { format!(" ({count} such rows in all)") } else { String::new() };
    let text = format!(
        "nothing was erased, because another key would be lost with this one: the material of {key}, version \
         {version}, {what}{others}. Restore it from a backup of the database, or let that key be destroyed first"
    );
    tracing::error!(%key, version, count, what, "a destruction would take more than its key: refused");
    Error::new(Code::Tampered, text)
}
