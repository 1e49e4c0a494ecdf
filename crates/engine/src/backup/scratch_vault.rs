//! The epoch vault of a rehearsal: in memory alone. What a rehearsal leaves on a disk when it is removed, a store that
//! may be found in its free blocks, opens nothing: a key that is destroyed afterwards does not come back from there.

use async_trait::async_trait;
use keyreeve_epochs::{EpochId, EpochVault, VaultError};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Epochs that end with the process, or with the rehearsal.
#[derive(Default)]
pub struct ScratchVault(Mutex<BTreeMap<EpochId, Vec<u8>>>);

#[async_trait]
impl EpochVault for ScratchVault {
    async fn put(&self, id: EpochId, wrapped: &[u8]) -> Result<(), VaultError> {
        let mut epochs = self.0.lock();
        if epochs.contains_key(&id) {
            return Err(VaultError::Exists(id));
        }
        epochs.insert(id, wrapped.to_vec());
        Ok(())
    }

    async fn get(&self, id: EpochId) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(self.0.lock().get(&id).cloned())
    }

    async fn replace(&self, id: EpochId, wrapped: &[u8]) -> Result<bool, VaultError> {
        Ok(self.0.lock().get_mut(&id).map(|epoch| *epoch = wrapped.to_vec()).is_some())
    }

    async fn erase(&self, id: EpochId) -> Result<(), VaultError> {
        self.0.lock().remove(&id);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<EpochId>, VaultError> {
        Ok(self.0.lock().keys().copied().collect())
    }

    async fn check(&self) -> Result<(), VaultError> {
        Ok(())
    }
}
