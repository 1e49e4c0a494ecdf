//! Damage: scans for it, and what is in quarantine because of it.

use keyreeve_wire::Page;
use keyreeve_wire::integrity::{BeginScan, Integrity, Quarantine, ReleaseQuarantine};
use keyreeve_wire::jobs::Job;
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// How things stand with damage.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn integrity(&self) -> Result<Answer<Integrity>, ClientError> {
        self.get(&["integrity"], &[]).await
    }

    /// Begins a scan, as a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn begin_scan(&self, scan: &BeginScan) -> Result<Answer<Job>, ClientError> {
        self.change(Method::POST, &["integrity", "scans"], scan).await
    }

    /// A page of what is in quarantine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn quarantines(
        &self,
        released: bool,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Quarantine>>, ClientError> {
        let [after, limit] = page(after, limit);
        let released = ("released", released.then(|| "true".to_owned()));
        self.get(&["integrity", "quarantines"], &[released, after, limit]).await
    }

    /// Shows something in quarantine, and looks at it again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn quarantine(&self, place: &str) -> Result<Answer<Quarantine>, ClientError> {
        self.get(&["integrity", "quarantine"], &[("place", Some(place.to_owned()))]).await
    }

    /// Takes something out of quarantine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release_quarantine(&self, release: &ReleaseQuarantine) -> Result<Answer<Quarantine>, ClientError> {
        self.change(Method::POST, &["integrity", "release"], release).await
    }
}
