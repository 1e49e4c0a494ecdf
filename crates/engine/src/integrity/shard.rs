//! Whether wrapped material opens where it stands. What is opened is wiped at once.

use keyreeve_crypto::{KeyAlgorithm, Material};
use keyreeve_epochs::EpochId;
use keyreeve_model::quarantine::Why;
use keyreeve_model::{KeyringRecord, MaterialRow};

use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// What came of opening material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// It opens.
    Opens,
    /// It does not.
    Damaged(Why),
    /// Its epoch key is not in the epoch vault.
    NoEpoch,
    /// Its root of trust does not answer now, so nobody knows.
    Untried,
}

impl Core {
    /// Whether material opens under its epoch.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub(crate) async fn material_opens(
        &self,
        opened: &Opened,
        keyring: &KeyringRecord,
        row: &MaterialRow,
    ) -> Result<bool, Error> {
        match opened.hierarchy.unwrap(keyring, row).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::Tampered => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same with why not, and whether what opens is a key of its algorithm.
    pub(crate) async fn try_material(
        &self,
        opened: &Opened,
        (keyring, algorithm): (&KeyringRecord, KeyAlgorithm),
        row: &MaterialRow,
    ) -> Result<Tried, Error> {
        match opened.hierarchy.unwrap(keyring, row).await {
            Ok(bytes) => match Material::parse(algorithm, bytes) {
                Ok(_) => Ok(Tried::Opens),
                Err(_) => Ok(Tried::Damaged(Why::Closed)),
            },
            Err(error) if error.code() == Code::Tampered => {
                let epoch = EpochId { keyring: row.keyring, shard: row.shard, epoch: row.epoch };
                // A file that is there and damaged closes all that is under it: each is told.
                match self.ports.vault.get(epoch).await {
                    Ok(None) => Ok(Tried::NoEpoch),
                    Ok(Some(_)) | Err(_) => Ok(Tried::Damaged(Why::Closed)),
                }
            }
            Err(error) if matches!(error.code(), Code::RootUnavailable | Code::Sealed) => Ok(Tried::Untried),
            Err(error) => Err(error),
        }
    }
}
