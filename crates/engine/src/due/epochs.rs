//! Epochs that nothing needs any more, and whose erasure a crash came before.

use keyreeve_epochs::EpochId;
use keyreeve_model::record::{BadRecord, Table, open};
use keyreeve_model::{DestructionRecord, KeyringId};
use std::collections::BTreeMap;

use crate::core::Engine;
use crate::error::Error;
use crate::sealing::Opened;

impl Engine {
    /// Erases epochs whose key was destroyed but whose file outlived a crash. An epoch nobody refers to is left alone
    /// unless a destruction record names it: the store may be an old copy. A shard with one epoch has none too many.
    pub(super) async fn sweep_epochs(&self) -> Result<(), Error> {
        let mut shards: BTreeMap<(KeyringId, u32), Vec<EpochId>> = BTreeMap::new();
        for id in self.core.ports.vault.list().await? {
            shards.entry((id.keyring, id.shard)).or_default().push(id);
        }
        // A damaged record about one epoch is no reason to keep the others.
        let mut last = Ok(());
        for id in shards.into_values().filter(|epochs| epochs.len() > 1).flatten() {
            if let Err(error) = self.sweep_epoch(id).await {
                last = Err(error);
            }
        }
        last
    }

    async fn sweep_epoch(&self, id: EpochId) -> Result<(), Error> {
        let (core, opened) = (&*self.core, self.core.need_open()?);
        let found = core.ports.store.destruction_of_epoch(id.keyring, id.shard, id.epoch).await?;
        let Some((key, sealed)) = found else { return self.sweep_ended(&opened, id).await };
        // What erases keys must be beyond doubt: the columns that led here are not, the sealed record is.
        let record: DestructionRecord = open(&opened.keys, Table::Destructions, key.as_bytes(), &sealed)?;
        if (record.keyring, record.shard) != (id.keyring, id.shard) || record.erased_epoch < id.epoch {
            return Err(BadRecord::Tampered { table: Table::Destructions.name() }.into());
        }
        let lock = core.shard_lock(id.keyring, id.shard);
        let _alone = lock.write().await;
        if core.ports.store.shard_epochs(id.keyring, id.shard).await?.contains(&id.epoch) {
            return Ok(());
        }
        opened.hierarchy.erase(id).await?;
        core.newest_epochs.lock().retain(|place, newest| *place != (id.keyring, id.shard) || *newest != id.epoch);
        self.verify_destruction(record.key).await
    }

    /// Erases an epoch that went with imported material whose time was over, and whose file outlived a crash.
    async fn sweep_ended(&self, opened: &Opened, id: EpochId) -> Result<(), Error> {
        let core = &*self.core;
        if !core.is_erased_epoch(opened, id).await? {
            return Ok(());
        }
        let lock = core.shard_lock(id.keyring, id.shard);
        let _alone = lock.write().await;
        if core.ports.store.shard_epochs(id.keyring, id.shard).await?.contains(&id.epoch) {
            return Ok(());
        }
        opened.hierarchy.erase(id).await
    }

    /// Erases epochs of one shard, whose lock the caller holds, after making sure that nothing needs them.
    pub(crate) async fn erase_epochs(&self, old: &[EpochId], next: EpochId) -> Result<(), Error> {
        let opened = self.core.need_open()?;
        self.core.newest_epochs.lock().insert((next.keyring, next.shard), next.epoch);
        let used = self.core.ports.store.shard_epochs(next.keyring, next.shard).await?;
        for id in old {
            if used.contains(&id.epoch) && self.core.ports.vault.get(*id).await?.is_some() {
                return Err(Error::internal("an epoch that is in use was about to be erased"));
            }
            opened.hierarchy.erase(*id).await?;
        }
        Ok(())
    }
}
