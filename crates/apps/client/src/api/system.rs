//! The server itself.

use keyreeve_secret::SecretString;
use keyreeve_wire::SecretText;
use keyreeve_wire::system::{
    AcceptRollback, InitReply, InitRequest, SystemInfo, SystemStatus, UnsealRequest, Unsealed,
};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client, Repeat};

impl Client {
    /// Where the server stands. Anybody may ask.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Answer<SystemStatus>, ClientError> {
        self.get(&["system", "status"], &[]).await
    }

    /// Makes the root of trust and the first administrator. Never repeated by itself: the answer is shown once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn init(&self, request: &InitRequest) -> Result<Answer<InitReply>, ClientError> {
        let call = self.call(Method::POST, &["system", "init"])?.json(request)?;
        self.send(call.repeat(Repeat::Never)).await
    }

    /// Gives one share of the root of trust. Never repeated by itself: a share counts once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unseal(&self, share: SecretString) -> Result<Answer<Unsealed>, ClientError> {
        let call = self.call(Method::POST, &["system", "unseal"])?.json(&UnsealRequest { share: SecretText(share) })?;
        self.send(call.repeat(Repeat::Never)).await
    }

    /// What runs, and how the server stands towards its anchors.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn system_info(&self) -> Result<Answer<SystemInfo>, ClientError> {
        self.get(&["system", "info"], &[]).await
    }

    /// Goes on with a server that is older than its anchors remember.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn accept_rollback(&self, request: &AcceptRollback) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::POST, &["system", "accept-rollback"])?.json(request)?).await
    }

    /// Closes the root of trust and wipes every key from the server's memory.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn seal(&self) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::POST, &["system", "seal"])?).await
    }
}
