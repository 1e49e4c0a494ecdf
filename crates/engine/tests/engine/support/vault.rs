//! An epoch vault that fails on command: what a crash or a full disk leaves between the store and the vault.

use async_trait::async_trait;
use keyreeve_root::{EpochId, EpochVault, VaultError};
use std::io;
use std::sync::{Arc, Mutex};

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VaultFault {
    /// Nothing is put.
    Put,
    /// Nothing is erased, as when the process dies before.
    Erase,
}

pub(crate) struct FaultyVault {
    inner: Arc<dyn EpochVault>,
    fault: Mutex<Option<VaultFault>>,
}

impl FaultyVault {
    pub(crate) fn new(inner: Arc<dyn EpochVault>) -> Self {
        Self { inner, fault: Mutex::new(None) }
    }

    /// Fails like this from now on, or not at all.
    pub(crate) fn set(&self, fault: Option<VaultFault>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fails(&self, fault: VaultFault) -> Result<(), VaultError> {
        if *self.fault.lock().unwrap() == Some(fault) {
            return Err(VaultError::Unavailable(io::Error::other("injected")));
        }
        Ok(())
    }
}

#[async_trait]
impl EpochVault for FaultyVault {
    async fn put(&self, id: EpochId, wrapped: &[u8]) -> Result<(), VaultError> {
        self.fails(VaultFault::Put)?;
        self.inner.put(id, wrapped).await
    }

    async fn get(&self, id: EpochId) -> Result<Option<Vec<u8>>, VaultError> {
        self.inner.get(id).await
    }

    async fn erase(&self, id: EpochId) -> Result<(), VaultError> {
        self.fails(VaultFault::Erase)?;
        self.inner.erase(id).await
    }

    async fn list(&self) -> Result<Vec<EpochId>, VaultError> {
        self.inner.list().await
    }
}
