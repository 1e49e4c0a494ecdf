//! Backups.

use keyreeve_wire::backups::{AcknowledgeRestore, Backups, VerifyBackup};
use keyreeve_wire::jobs::Job;
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// The backups that were made, and what destinations still have to be told.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backups(&self) -> Result<Answer<Backups>, ClientError> {
        self.get(&["backups"], &[]).await
    }

    /// Begins to make a backup.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_backup(&self) -> Result<Answer<Job>, ClientError> {
        self.send(self.call(Method::POST, &["backups"])?).await
    }

    /// Begins to read a backup again at a destination and to check everything about it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_backup(&self, verify: &VerifyBackup) -> Result<Answer<Job>, ClientError> {
        self.change(Method::POST, &["backups", "verify"], verify).await
    }

    /// Takes note that the server came out of a backup.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn acknowledge_restore(&self, reason: &AcknowledgeRestore) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::POST, &["backups", "acknowledge"])?.json(reason)?).await
    }
}
