//! `kind = "azure-key-vault"`: a root of trust in Azure Key Vault or Managed HSM.

use keyreeve_root_cloud::azure::{AzureKeyVault, AzureLogin, AzureSettings};
use serde::Deserialize;
use std::path::PathBuf;

use super::Fault;
use crate::files;

/// A key of Azure Key Vault.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    /// `https://VAULT.vault.azure.net/keys/NAME`, with `/VERSION` or without.
    pub key: String,
    /// How the server shows who it is.
    pub login: AzureLoginConfig,
    /// Instead of `https://login.microsoftonline.com`.
    pub authority: Option<String>,
    /// Whom tokens are for, where the vault is in none of Microsoft's clouds.
    pub resource: Option<String>,
    /// The authorities of both, in PEM, where they are not those of the system.
    pub ca: Option<PathBuf>,
    /// How long it works on when the vault does not answer, in seconds.
    #[serde(default = "super::root::keep_seconds")]
    pub keep_seconds: u32,
}

/// How the server shows who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AzureLoginConfig {
    /// The identity of the machine.
    ManagedIdentity {
        /// The client id of a user-assigned one.
        client: Option<String>,
    },
    /// An application that trusts the issuer of a token in a file.
    WorkloadIdentity {
        /// The tenant.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file, as `AZURE_FEDERATED_TOKEN_FILE` names it.
        token_file: PathBuf,
    },
    /// An application with a secret.
    Secret {
        /// The tenant.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file with the secret.
        secret_file: PathBuf,
    },
}

impl AzureConfig {
    /// The paths among the fields.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_login = match &mut self.login {
            AzureLoginConfig::ManagedIdentity { .. } => None,
            AzureLoginConfig::WorkloadIdentity { token_file: file, .. }
            | AzureLoginConfig::Secret { secret_file: file, .. } => Some(file),
        };
        of_login.into_iter().chain(&mut self.ca)
    }

    /// What holds for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        match &self.login {
            AzureLoginConfig::ManagedIdentity { .. } => {}
            // Others write it, and have their own idea of who may read it.
            AzureLoginConfig::WorkloadIdentity { token_file, .. } => {
                let field = format!("{field}.login.token_file");
                files::read_public(token_file).map_err(|trouble| Fault::file(field, trouble))?;
            }
            AzureLoginConfig::Secret { secret_file, .. } => {
                let field = format!("{field}.login.secret_file");
                files::read_private(secret_file).map_err(|trouble| Fault::file(field, trouble))?;
            }
        }
        let remedy = "write the key as `az keyvault key show` prints its `kid`";
        let made = AzureKeyVault::new(self.settings(None));
        made.map(drop).map_err(|error| Fault::new(format!("{field}.key"), error.to_string(), remedy))
    }

    /// What `keyreeve config check` says about it.
    pub(crate) fn seen(&self, field: &str) -> Vec<String> {
        match &self.login {
            AzureLoginConfig::ManagedIdentity { .. } => Vec::new(),
            AzureLoginConfig::WorkloadIdentity { token_file, .. } => {
                vec![format!("{field}.login.token_file: {} is there", token_file.display())]
            }
            AzureLoginConfig::Secret { secret_file, .. } => {
                vec![format!("{field}.login.secret_file: {} is for its owner alone", secret_file.display())]
            }
        }
    }

    /// What the driver takes; `authorities_pem` is what `ca` holds.
    pub(crate) fn settings(&self, authorities_pem: Option<Vec<u8>>) -> AzureSettings {
        let login = match self.login.clone() {
            AzureLoginConfig::ManagedIdentity { client } => AzureLogin::Managed { client },
            AzureLoginConfig::WorkloadIdentity { tenant, client, token_file } => {
                AzureLogin::Federated { tenant, client, file: token_file }
            }
            AzureLoginConfig::Secret { tenant, client, secret_file } => {
                AzureLogin::Secret { tenant, client, file: secret_file }
            }
        };
        AzureSettings {
            key: self.key.clone(),
            login,
            authority: self.authority.clone(),
            resource: self.resource.clone(),
            identity_endpoint: None,
            authorities_pem,
        }
    }
}
