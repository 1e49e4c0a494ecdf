//! Notices to people.

use keyreeve_wire::notices::{FiledNotices, Notices, TestNotices};
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// The channels, and a page of the notices that wait or were given up.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notices(&self, after: Option<&str>, limit: Option<u32>) -> Result<Answer<Notices>, ClientError> {
        self.get(&["notices"], &page(after, limit)).await
    }

    /// Sends a notice that says nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn test_notices(&self, test: &TestNotices) -> Result<Answer<FiledNotices>, ClientError> {
        self.change(Method::POST, &["notices", "test"], test).await
    }
}
