//! Secrets made with a key, and random bytes.

use keyreeve_wire::derivation::{
    AgreeRequest, DecapsulateRequest, DeriveRequest, EncapsulateReply, RandomReply, RandomRequest, SecretReply,
    UnwrapReply, UnwrapRequest, WrapReply, WrapRequest,
};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client, Repeat};

impl Client {
    /// Derives a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn derive(&self, key: &str, request: &DeriveRequest) -> Result<Answer<SecretReply>, ClientError> {
        self.apply(&["keys", key, "derive"], request).await
    }

    /// Wraps keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wrap(&self, key: &str, request: &WrapRequest) -> Result<Answer<WrapReply>, ClientError> {
        self.apply(&["keys", key, "wrap"], request).await
    }

    /// Unwraps keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unwrap(&self, key: &str, request: &UnwrapRequest) -> Result<Answer<UnwrapReply>, ClientError> {
        self.apply(&["keys", key, "unwrap"], request).await
    }

    /// Makes a shared secret and encapsulates it to a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn encapsulate(&self, key: &str) -> Result<Answer<EncapsulateReply>, ClientError> {
        self.send(self.call(Method::POST, &["keys", key, "encapsulate"])?.repeat(Repeat::Freely)).await
    }

    /// Recovers an encapsulated shared secret.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decapsulate(
        &self,
        key: &str,
        request: &DecapsulateRequest,
    ) -> Result<Answer<SecretReply>, ClientError> {
        self.apply(&["keys", key, "decapsulate"], request).await
    }

    /// Agrees a shared secret with a peer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agree(&self, key: &str, request: &AgreeRequest) -> Result<Answer<SecretReply>, ClientError> {
        self.apply(&["keys", key, "agree"], request).await
    }

    /// Random bytes, 1 to 65,536.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn random_bytes(&self, bytes: u32) -> Result<Answer<RandomReply>, ClientError> {
        self.apply(&["random"], &RandomRequest { bytes }).await
    }
}
