//! Roots of trust of the deployment.

use keyreeve_wire::jobs::Job;
use keyreeve_wire::roots::{JoinRoot, JoinedRoot, MigrateRoots, RetireRoot, Roots, RotateKek};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client, Repeat};

impl Client {
    /// The roots of trust and what is under each.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn roots(&self) -> Result<Answer<Roots>, ClientError> {
        self.get(&["roots"], &[]).await
    }

    /// Makes a root of trust that the configuration names one of the deployment's. Never repeated by itself: shares are
    /// shown once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn join_root(&self, join: &JoinRoot) -> Result<Answer<JoinedRoot>, ClientError> {
        let call = self.call(Method::POST, &["roots"])?.json(join)?;
        self.send(call.repeat(Repeat::Never)).await
    }

    /// Takes a root of trust that nothing is under out of the deployment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retire_root(&self, root: &str, retire: &RetireRoot) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::POST, &["roots", root, "retire"])?.json(retire)?).await
    }

    /// Moves what roots of trust wrap to others, as a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn migrate_roots(&self, migrate: &MigrateRoots) -> Result<Answer<Job>, ClientError> {
        self.change(Method::POST, &["roots", "migrate"], migrate).await
    }

    /// Makes a new key-encryption key for a keyring and brings everything beneath under it, as a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_kek(&self, keyring: &str, rotate: &RotateKek) -> Result<Answer<Job>, ClientError> {
        self.change(Method::POST, &["keyrings", keyring, "rotate-kek"], rotate).await
    }
}
