//! Signatures and message authentication codes.

use keyreeve_wire::signing::{
    MacReply, MacRequest, SignReply, SignRequest, VerifyMacRequest, VerifyReply, VerifyRequest,
};

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Signs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign(&self, key: &str, request: &SignRequest) -> Result<Answer<SignReply>, ClientError> {
        self.apply(&["keys", key, "sign"], request).await
    }

    /// Verifies signatures. That one is wrong is an answer, not an error.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify(&self, key: &str, request: &VerifyRequest) -> Result<Answer<VerifyReply>, ClientError> {
        self.apply(&["keys", key, "verify"], request).await
    }

    /// Computes message authentication codes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mac(&self, key: &str, request: &MacRequest) -> Result<Answer<MacReply>, ClientError> {
        self.apply(&["keys", key, "mac"], request).await
    }

    /// Verifies message authentication codes. That one is wrong is an answer, not an error.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_mac(&self, key: &str, request: &VerifyMacRequest) -> Result<Answer<VerifyReply>, ClientError> {
        self.apply(&["keys", key, "verify-mac"], request).await
    }
}
