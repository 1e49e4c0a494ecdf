//! Keyrings.

use keyreeve_wire::Page;
use keyreeve_wire::keyrings::{CreateKeyring, Keyring};
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Makes a keyring.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_keyring(&self, new: &CreateKeyring) -> Result<Answer<Keyring>, ClientError> {
        self.change(Method::POST, &["keyrings"], new).await
    }

    /// Shows a keyring, by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keyring(&self, keyring: &str) -> Result<Answer<Keyring>, ClientError> {
        self.get(&["keyrings", keyring], &[]).await
    }

    /// A page of the keyrings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keyrings(
        &self,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Keyring>>, ClientError> {
        self.get(&["keyrings"], &page(after, limit)).await
    }
}
