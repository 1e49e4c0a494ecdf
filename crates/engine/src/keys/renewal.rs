//! A new epoch for a shard: everything that is under the former ones comes under it, and they are erased. A former copy
//! of the epoch vault, with all that ever opened it, then opens nothing that is stored from there on.

use keyreeve_epochs::EpochId;
use keyreeve_model::filed::file;
use keyreeve_model::imports::ImportRecord;
use keyreeve_model::{Change, KeyringRecord, MaterialRow};
use keyreeve_store::Page;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::commit::Durable;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// A shard that got a new epoch.
pub(crate) struct Renewed {
    /// Epochs that nothing is under any more.
    pub(crate) old: Vec<EpochId>,
    /// What everything is under.
    pub(crate) next: EpochId,
    /// Rows that were brought under it (count).
    pub(crate) rows: usize,
    /// Epochs that stay, because something under them does not open: erasing them would make that final (count).
    pub(crate) kept: usize,
}

impl Core {
    /// The epochs of a shard that are in the vault and not under a version of the keyring's KEK.
    pub(crate) async fn epochs_to_renew(
        &self,
        opened: &Opened,
        epochs: &[EpochId],
        (shard, version): (u32, u32),
    ) -> Result<Vec<EpochId>, Error> {
        let mut old = Vec::new();
        for id in epochs.iter().filter(|id| id.shard == shard) {
            if !opened.hierarchy.is_under(*id, version).await? {
                old.push(*id);
            }
        }
        Ok(old)
    }

    /// Brings everything under `old` epochs of a shard under a new one, which is under the newest KEK, by transactions
    /// of their own: a crash between two leaves some under the former epochs and some under the new one, all of which
    /// are there. Safe to repeat. The caller holds the shard's lock alone, keeps copies from being made and KEKs from
    /// going, and erases what is returned.
    pub(crate) async fn renew_shard(
        &self,
        opened: &Opened,
        keyring: &KeyringRecord,
        old: &[EpochId],
        version: u32,
    ) -> Result<Renewed, Error> {
        let first = *old.first().ok_or_else(|| Error::internal("nothing to renew in a shard"))?;
        let next = self.epoch_to_renew_under(opened, keyring, first, version).await?;
        let (mut rows, mut stays, mut after) = (0, BTreeSet::new(), None);
        loop {
            let page = Page { after, limit: self.settings.rewrap_step };
            let found = self.ports.store.shard_material(keyring.id, next.shard, page).await?;
            let Some(last) = found.last() else { break };
            after = Some((last.epoch, last.key, last.version));
            let mut changes = Vec::new();
            for row in found.iter().filter(|row| row.epoch != next.epoch) {
                match self.renewed(opened, keyring, row, next).await {
                    Ok(change) => changes.push(change),
                    Err(error) if error.code() == Code::Tampered => {
                        let (key, version) = (row.key, row.version);
                        tracing::error!(%key, version, "material does not open: its epoch stays");
                        stays.insert(row.epoch);
                    }
                    Err(error) => return Err(error),
                }
            }
            rows += changes.len();
            self.commit_renewed(opened, changes).await?;
        }
        let imports = self.renewed_imports(opened, keyring, next).await?;
        self.commit_renewed(opened, imports).await?;
        let (kept, old): (Vec<EpochId>, _) = old.iter().partition(|id| stays.contains(&id.epoch));
        for id in &kept {
            opened.hierarchy.rewrap_epoch(keyring, *id, version).await?;
        }
        Ok(Renewed { old, next, rows, kept: kept.len() })
    }

    /// The newest epoch of a shard if it was made under this KEK, as by a try before this one; else another one.
    async fn epoch_to_renew_under(
        &self,
        opened: &Opened,
        keyring: &KeyringRecord,
        of: EpochId,
        version: u32,
    ) -> Result<EpochId, Error> {
        let newest = EpochId { epoch: self.newest_epoch(of.keyring, of.shard).max(of.epoch), ..of };
        let there = self.ports.vault.get(newest).await?.is_some();
        if there && opened.hierarchy.is_under(newest, version).await? {
            return Ok(newest);
        }
        let next = self.next_epoch(EpochId { epoch: newest.epoch + 1, ..newest }).await?;
        opened.hierarchy.make_epoch_of(keyring, next.shard, next.epoch).await?;
        self.newest_epochs.lock().insert((next.keyring, next.shard), next.epoch);
        Ok(next)
    }

    async fn renewed(
        &self,
        opened: &Opened,
        keyring: &KeyringRecord,
        row: &MaterialRow,
        next: EpochId,
    ) -> Result<Change, Error> {
        let material = opened.hierarchy.unwrap(keyring, row).await?;
        let wrapped = opened.hierarchy.wrap(keyring, next, (row.key, row.version), &material).await?;
        Ok(Change::Rewrap { row: wrapped, from_epoch: row.epoch })
    }

    /// Keys that wait for imported material stand beside the material of their shard.
    async fn renewed_imports(
        &self,
        opened: &Opened,
        keyring: &KeyringRecord,
        next: EpochId,
    ) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for (mut import, revision) in self.filed_all::<ImportRecord>(opened, None).await? {
            let here = (import.keyring, import.shard) == (next.keyring, next.shard);
            if !here || import.private.epoch == next.epoch {
                continue;
            }
            let from = EpochId { epoch: import.private.epoch, ..next };
            let Ok(sealed) = hex::decode(&import.private.wrapped) else { continue };
            let opens = opened.hierarchy.open_beside(keyring, from, &import.associated_data(), &sealed).await;
            // One whose epoch went before, or that was altered, is asked for anew by whoever waits for it.
            let private = match opens {
                Ok(Some(private)) => private,
                Ok(None) => continue,
                Err(error) if error.code() == Code::Tampered => continue,
                Err(error) => return Err(error),
            };
            import.private.epoch = next.epoch;
            let sealed = opened.hierarchy.seal_beside(keyring, next, &import.associated_data(), &private).await?;
            import.private.wrapped = hex::encode(sealed);
            changes.push(file(&opened.keys, revision.next(), &import));
        }
        Ok(changes)
    }

    async fn commit_renewed(&self, opened: &Opened, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let sealer = Some(Arc::clone(&opened.keys));
        self.commit(Durable { name: "renew-epoch", changes, entry: None, sealer }).await
    }
}
