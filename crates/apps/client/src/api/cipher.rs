//! Encrypting, decrypting, moving ciphertexts, data keys. Batches go through the `_batch` methods.

use keyreeve_secret::SecretBytes;
use keyreeve_wire::cipher::{
    CiphertextReply, CiphertextRequest, DataKeyReply, DecryptRequest, EncryptRequest, GenerateDataKeyRequest,
    PlaintextReply, ReEncryptRequest,
};
use keyreeve_wire::{Ciphertext, Pairs, SecretBase64};

use super::single;
use crate::envelope::Context;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

fn pairs(context: &Context) -> Pairs {
    Pairs(context.clone())
}

impl Client {
    /// Encrypts on the server.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn encrypt(
        &self,
        key: &str,
        plaintext: SecretBytes,
        context: &Context,
    ) -> Result<Answer<Ciphertext>, ClientError> {
        let plaintext = Some(SecretBase64(plaintext));
        let request = EncryptRequest { plaintext, items: None, context: pairs(context) };
        let answer = self.encrypt_batch(key, &request).await?;
        let ciphertext = single(answer.value.ciphertext, "ciphertext")?;
        Ok(Answer { value: ciphertext, audit_record: answer.audit_record })
    }

    /// Encrypts on the server, in either form.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn encrypt_batch(
        &self,
        key: &str,
        request: &EncryptRequest,
    ) -> Result<Answer<CiphertextReply>, ClientError> {
        self.apply(&["keys", key, "encrypt"], request).await
    }

    /// Decrypts on the server; the ciphertext says with which key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decrypt(&self, ciphertext: Ciphertext, context: &Context) -> Result<Answer<SecretBytes>, ClientError> {
        let ciphertext = Some(ciphertext);
        let request = DecryptRequest { ciphertext, context: pairs(context), ..DecryptRequest::default() };
        let answer = self.decrypt_batch(None, &request).await?;
        let plaintext = single(answer.value.plaintext, "plaintext")?.0;
        Ok(Answer { value: plaintext, audit_record: answer.audit_record })
    }

    /// Decrypts on the server, in any form. Without a key, the ciphertexts say which.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decrypt_batch(
        &self,
        key: Option<&str>,
        request: &DecryptRequest,
    ) -> Result<Answer<PlaintextReply>, ClientError> {
        match key {
            Some(key) => self.apply(&["keys", key, "decrypt"], request).await,
            None => self.apply(&["decrypt"], request).await,
        }
    }

    /// Moves ciphertexts to another key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn re_encrypt(
        &self,
        from: &str,
        request: &ReEncryptRequest,
    ) -> Result<Answer<CiphertextReply>, ClientError> {
        self.apply(&["keys", from, "re-encrypt"], request).await
    }

    /// Brings ciphertexts or data keys to the newest version of their key, which they name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rewrap(&self, request: &CiphertextRequest) -> Result<Answer<CiphertextReply>, ClientError> {
        self.apply(&["rewrap"], request).await
    }

    /// Makes data keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn generate_data_key(
        &self,
        key: &str,
        request: &GenerateDataKeyRequest,
    ) -> Result<Answer<DataKeyReply>, ClientError> {
        self.apply(&["keys", key, "generate-data-key"], request).await
    }

    /// Unwraps data keys, which say by which key they were wrapped.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unwrap_data_key(&self, request: &CiphertextRequest) -> Result<Answer<PlaintextReply>, ClientError> {
        self.apply(&["unwrap-data-key"], request).await
    }

    pub(crate) async fn one_data_key(
        &self,
        key: &str,
        context: &Context,
    ) -> Result<Answer<(SecretBytes, Vec<u8>)>, ClientError> {
        let request = GenerateDataKeyRequest { context: pairs(context), ..GenerateDataKeyRequest::default() };
        let answer = self.generate_data_key(key, &request).await?;
        let plaintext = single(answer.value.plaintext, "plaintext")?.0;
        let wrapped = single(answer.value.ciphertext, "ciphertext")?.0;
        Ok(Answer { value: (plaintext, wrapped), audit_record: answer.audit_record })
    }

    pub(crate) async fn unwrap_one_data_key(
        &self,
        wrapped: &[u8],
        context: &Context,
    ) -> Result<Answer<SecretBytes>, ClientError> {
        let ciphertext = Some(Ciphertext(wrapped.to_vec()));
        let request = CiphertextRequest { ciphertext, context: pairs(context), ..CiphertextRequest::default() };
        let answer = self.unwrap_data_key(&request).await?;
        let plaintext = single(answer.value.plaintext, "plaintext")?.0;
        Ok(Answer { value: plaintext, audit_record: answer.audit_record })
    }
}
