//! The epoch vault as a directory: one small file for each epoch of each shard of a keyring.
//!
//! ```text
//! <vault>/                            mode 0700
//!   krg_0199…/                        mode 0700, one for each keyring
//!     <shard>-<epoch>.key             mode 0600, both numbers decimal
//! ```
//!
//! Files appear under their name complete and durable, or not at all. They are replaced only by the same epoch key
//! under another KEK, in one step, and the former content is overwritten then; a crash in between leaves it to the
//! medium. An erased epoch loses its
//! name first, durably, and is then overwritten with random bytes and with zeros, each pass forced to the medium,
//! before the file is removed. Whether overwriting reaches the old bytes is up to the medium: solid-state disks and
//! copy-on-write file systems may keep them for a while. What is kept here is wrapped by the root of trust besides.
//!
//! The directory must stay out of the backups of the store, and out of everything that keeps old versions of files:
//! that an erased epoch cannot be brought back is what it is for.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod frame;
mod medium;
mod names;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use keyreeve_crypto::random::Random;
use keyreeve_epochs::{EpochId, EpochVault, VaultError};

use medium::Medium;

/// Why a directory was not accepted as an epoch vault.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read or made.
    #[error("the epoch vault cannot use {}: {source}", path.display())]
    Io {
        /// Directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other users of the machine may read or change it.
    #[error(
        "{} is open to other users (mode {mode:03o}): run `chmod go-rwx {}` and ask who may have read it",
        path.display(), path.display()
    )]
    Permissions {
        /// Directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something lies in it that Keyreeve did not put there; it might be a copy of a key that must not survive.
    #[error("{} does not belong in the epoch vault: move it away", path.display())]
    Foreign {
        /// What lies there.
        path: PathBuf,
    },
}

/// An epoch vault in a directory of the local file system.
///
/// Several processes may use one directory. Each call runs on the blocking threads of the current tokio runtime.
#[derive(Clone)]
pub struct FileEpochVault {
    medium: Arc<Medium>,
}

impl FileEpochVault {
    /// Opens the vault in `dir` and makes the directory if it is missing (its parent must exist). Looks at every file,
    /// checks permissions, and removes what a process that was killed left unfinished. Blocks; milliseconds for
    /// thousands of epochs.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, random: Random) -> Result<Self, OpenError> {
        Ok(Self { medium: Arc::new(Medium::open(dir, random)?) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Medium) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let medium = Arc::clone(&self.medium);
        // The runtime drops work that was not begun when it shuts down.
        let stopped = |_| VaultError::Unavailable(io::Error::other("the process is shutting down"));
        tokio::task::spawn_blocking(move || work(&medium)).await.map_err(stopped)?
    }
}

#[async_trait]
impl EpochVault for FileEpochVault {
    async fn put(&self, id: EpochId, wrapped: &[u8]) -> Result<(), VaultError> {
        let framed = frame::encode(id, wrapped).map_err(VaultError::Unavailable)?;
        self.run(move |medium| medium.put(id, &framed)).await
    }

    async fn get(&self, id: EpochId) -> Result<Option<Vec<u8>>, VaultError> {
        self.run(move |medium| medium.get(id)).await
    }

    async fn replace(&self, id: EpochId, wrapped: &[u8]) -> Result<bool, VaultError> {
        let framed = frame::encode(id, wrapped).map_err(VaultError::Unavailable)?;
        self.run(move |medium| medium.replace(id, &framed)).await
    }

    async fn erase(&self, id: EpochId) -> Result<(), VaultError> {
        self.run(move |medium| medium.erase(id)).await
    }

    async fn list(&self) -> Result<Vec<EpochId>, VaultError> {
        self.run(Medium::list).await
    }

    async fn check(&self) -> Result<(), VaultError> {
        self.run(Medium::check).await
    }
}
