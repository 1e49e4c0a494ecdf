//! Long work.

use keyreeve_wire::Page;
use keyreeve_wire::jobs::{CancelJob, Job};
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// A page of the jobs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn jobs(
        &self,
        ended: bool,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Job>>, ClientError> {
        let [after, limit] = page(after, limit);
        self.get(&["jobs"], &[("ended", ended.then(|| "true".to_owned())), after, limit]).await
    }

    /// Shows a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job(&self, id: &str) -> Result<Answer<Job>, ClientError> {
        self.get(&["jobs", id], &[]).await
    }

    /// Stops a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_job(&self, id: &str, cancel: &CancelJob) -> Result<Answer<Job>, ClientError> {
        self.change(Method::POST, &["jobs", id, "cancel"], cancel).await
    }
}
