//! Keys that come from elsewhere or go there, wrapped.

use keyreeve_wire::keys::Key;
use keyreeve_wire::transport::{
    ExportKey, ExportedKey, ImportKey, ImportMaterial, ImportParameters, ImportParametersRequest,
};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Makes a key under which material is wrapped for one import.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn import_parameters(
        &self,
        asked: &ImportParametersRequest,
    ) -> Result<Answer<ImportParameters>, ClientError> {
        self.change(Method::POST, &["imports"], asked).await
    }

    /// Makes a key of material that was wrapped for an import.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn import_key(&self, import: &str, new: &ImportKey) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["imports", import, "key"], new).await
    }

    /// Makes a new version of a key of material that was wrapped for an import.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn import_version(&self, key: &str, material: &ImportMaterial) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys", key, "import-version"], material).await
    }

    /// Puts imported material back that has ended, or gives it another end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reimport(&self, key: &str, material: &ImportMaterial) -> Result<Answer<Key>, ClientError> {
        self.change(Method::POST, &["keys", key, "reimport"], material).await
    }

    /// The material of a key version, wrapped for somebody; others have to agree.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn export_key(&self, key: &str, export: &ExportKey) -> Result<Answer<ExportedKey>, ClientError> {
        self.change(Method::POST, &["keys", key, "export"], export).await
    }
}
