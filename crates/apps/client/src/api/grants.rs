//! Grants: rights for a time.

use keyreeve_wire::Page;
use keyreeve_wire::grants::{CreateGrant, Grant};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

/// Which grants to list; all unless said.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of this principal.
    pub principal: Option<String>,
    /// On this key or on its keyring.
    pub key: Option<String>,
    /// Only those that are in force or will be.
    pub standing: bool,
}

impl Client {
    /// Gives a principal a right for a time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_grant(&self, new: &CreateGrant) -> Result<Answer<Grant>, ClientError> {
        self.change(Method::POST, &["grants"], new).await
    }

    /// Asks for a right for a time, for oneself. It waits for the consent of others.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request_grant(&self, new: &CreateGrant) -> Result<Answer<Grant>, ClientError> {
        self.change(Method::POST, &["grants", "requests"], new).await
    }

    /// A page of the grants.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn grants(
        &self,
        filter: &GrantFilter,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Grant>>, ClientError> {
        let [after, limit] = super::page(after, limit);
        let standing = filter.standing.then(|| "true".to_owned());
        let (principal, key) = (filter.principal.clone(), filter.key.clone());
        let query = [("principal", principal), ("key", key), ("standing", standing), after, limit];
        self.get(&["grants"], &query).await
    }

    /// The caller's own grants that are in force or will be.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn own_grants(&self) -> Result<Answer<Page<Grant>>, ClientError> {
        self.get(&["grants", "self"], &[]).await
    }

    /// Shows a grant.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn grant(&self, id: &str) -> Result<Answer<Grant>, ClientError> {
        self.get(&["grants", id], &[]).await
    }

    /// Takes a grant back at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_grant(&self, id: &str, reason: &str) -> Result<Answer<Grant>, ClientError> {
        let reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        self.send(self.call(Method::DELETE, &["grants", id])?.query(&[("reason", reason)])).await
    }
}
