//! An epoch vault that fails on command: what a crash or a full disk leaves between the store and the vault.

use async_trait::async_trait;
use keyreeve_epochs::{EpochId, EpochVault, VaultError};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VaultFault {
    /// Nothing is put.
    Put,
    /// Nothing is erased, as when the process dies before.
    Erase,
    /// It says that it cannot work.
    Check,
}

/// Holds up one read until told otherwise.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) reached: Notify,
    pub(crate) open: Notify,
}

pub(crate) struct FaultyVault {
    inner: Arc<dyn EpochVault>,
    fault: Mutex<Option<VaultFault>>,
    gate: Mutex<Option<Arc<Gate>>>,
    put_gate: Mutex<Option<Arc<Gate>>>,
}

impl FaultyVault {
    pub(crate) fn new(inner: Arc<dyn EpochVault>) -> Self {
        Self { inner, fault: Mutex::default(), gate: Mutex::default(), put_gate: Mutex::default() }
    }

    /// Fails like this from now on, or not at all.
    pub(crate) fn set(&self, fault: Option<VaultFault>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Holds up the next read.
    pub(crate) fn hold_next_read(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    /// Holds up the next epoch on its way to the medium, where it goes on whether or not anybody waits for it.
    pub(crate) fn hold_next_put(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        *self.put_gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
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
        let gate = self.put_gate.lock().unwrap().take();
        let (inner, wrapped) = (Arc::clone(&self.inner), wrapped.to_vec());
        let putting = async move {
            if let Some(gate) = gate {
                gate.reached.notify_one();
                gate.open.notified().await;
            }
            inner.put(id, &wrapped).await
        };
        tokio::spawn(putting).await.unwrap()
    }

    async fn get(&self, id: EpochId) -> Result<Option<Vec<u8>>, VaultError> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.reached.notify_one();
            gate.open.notified().await;
        }
        self.inner.get(id).await
    }

    async fn replace(&self, id: EpochId, wrapped: &[u8]) -> Result<bool, VaultError> {
        self.fails(VaultFault::Put)?;
        self.inner.replace(id, wrapped).await
    }

    async fn erase(&self, id: EpochId) -> Result<(), VaultError> {
        self.fails(VaultFault::Erase)?;
        self.inner.erase(id).await
    }

    async fn list(&self) -> Result<Vec<EpochId>, VaultError> {
        self.inner.list().await
    }

    async fn check(&self) -> Result<(), VaultError> {
        self.fails(VaultFault::Check)?;
        self.inner.check().await
    }
}
