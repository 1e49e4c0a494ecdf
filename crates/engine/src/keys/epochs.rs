//! Which shard takes a new key and which epoch new material: the newest one of its shard, made when there is none.

use keyreeve_crypto::Material;
use keyreeve_epochs::EpochId;
use keyreeve_model::limits::SHARD_KEYS;
use keyreeve_model::{KeyRecord, KeyringId, MaterialRow};
use std::sync::Arc;
use tokio::sync::RwLock;

use super::HeldKeyring;
use crate::core::Core;
use crate::error::Error;
use crate::sealing::{Guard, Opened};

impl Core {
    /// Wraps material under the newest epoch of its shard. The guard must live until the row is committed.
    pub(crate) async fn wrap_material(
        &self,
        opened: &Opened,
        keyring: &HeldKeyring,
        key: &KeyRecord,
        version: u32,
        material: &Material,
    ) -> Result<(MaterialRow, Guard), Error> {
        let (id, guard) = self.current_epoch(opened, keyring, key.shard()).await?;
        let row = opened.hierarchy.wrap(&keyring.record, id, (key.id(), version), &material.serialize()).await?;
        Ok((row, guard))
    }

    /// The newest epoch of a shard, which stays so while the guard lives.
    pub(crate) async fn current_epoch(
        &self,
        opened: &Opened,
        keyring: &HeldKeyring,
        shard: u32,
    ) -> Result<(EpochId, Guard), Error> {
        let id = keyring.record.id;
        let lock = self.shard_lock(id, shard);
        self.ensure_epoch(opened, keyring, shard, &lock).await?;
        let guard = lock.read_owned().await;
        Ok((EpochId { keyring: id, shard, epoch: self.newest_epoch(id, shard) }, Guard::Shared(guard)))
    }

    /// The shard for one more key of a keyring. Counted in memory only: a shard that holds a few keys more or less than
    /// [`SHARD_KEYS`] does no harm, and keys made at the same time do not have to wait for one another.
    pub(crate) async fn next_shard(&self, keyring: KeyringId) -> Result<u32, Error> {
        if !self.shard_fill.lock().contains_key(&keyring) {
            let newest =
                self.newest_epochs.lock().keys().filter(|(id, _)| *id == keyring).map(|(_, shard)| *shard).max();
            let shard = newest.unwrap_or(0);
            let keys = self.ports.store.shard_keys(keyring, shard).await?;
            self.shard_fill.lock().entry(keyring).or_insert((shard, keys));
        }
        let mut fills = self.shard_fill.lock();
        let (shard, fill) = fills.entry(keyring).or_insert((0, 0));
        if *fill >= SHARD_KEYS {
            (*shard, *fill) = (*shard + 1, 0);
        }
        *fill += 1;
        Ok(*shard)
    }

    /// Makes the first epoch of a shard that has none.
    async fn ensure_epoch(
        &self,
        opened: &Opened,
        keyring: &HeldKeyring,
        shard: u32,
        lock: &Arc<RwLock<()>>,
    ) -> Result<(), Error> {
        let id = keyring.record.id;
        if self.newest_epoch(id, shard) > 0 {
            return Ok(());
        }
        let alone = Arc::clone(lock).write_owned().await;
        if self.newest_epoch(id, shard) > 0 {
            return Ok(());
        }
        let mut next = self.next_epoch(EpochId { keyring: id, shard, epoch: 1 }).await?;
        while self.ports.vault.get(next).await?.is_some() {
            // Made by a request that was dropped before it could say so. One that nothing opens would take no keys.
            if opened.hierarchy.opens(&keyring.record, next).await? {
                self.newest_epochs.lock().insert((id, shard), next.epoch);
                return Ok(());
            }
            let epoch = next.epoch;
            tracing::error!(keyring = %id, shard, epoch, "an epoch in the vault does not open: passed over");
            next = self.next_epoch(EpochId { epoch: next.epoch + 1, ..next }).await?;
        }
        opened.hierarchy.make_epoch((id, shard, next.epoch), alone).await?;
        // The lock was given back with it: a destruction may have made a later one since.
        let mut newest = self.newest_epochs.lock();
        let newest = newest.entry((id, shard)).or_default();
        *newest = next.epoch.max(*newest);
        Ok(())
    }

    /// The first epoch from the given one on whose number no destruction record calls erased.
    pub(crate) async fn next_epoch(&self, mut from: EpochId) -> Result<EpochId, Error> {
        while self.ports.store.destruction_of_epoch(from.keyring, from.shard, from.epoch).await?.is_some() {
            from.epoch += 1;
        }
        Ok(from)
    }

    /// The newest epoch of a shard; 0 when it has none.
    pub(crate) fn newest_epoch(&self, keyring: KeyringId, shard: u32) -> u64 {
        self.newest_epochs.lock().get(&(keyring, shard)).copied().unwrap_or(0)
    }
}
