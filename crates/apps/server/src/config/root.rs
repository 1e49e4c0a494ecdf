//! `[root]` and `[roots.NAME]`: the roots of trust. A kind of root is a variant here and an arm of `open_root` in
//! `assemble.rs`, nothing else.

use serde::Deserialize;
use std::path::{Path, PathBuf};

use super::{AwsConfig, AzureConfig, Fault, GoogleConfig, Pkcs11Config, TpmConfig, VaultConfig};
use crate::clouds;

/// The root of trust: its kind, and what that kind needs to know. The fields of one kind are unknown to the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RootConfig {
    /// People hold shares.
    Shamir {},
    /// A file in the data directory, for development mode only.
    SealedFile {},
    /// A hardware security module.
    Pkcs11(Box<Pkcs11Config>),
    /// The machine's TPM.
    Tpm(TpmConfig),
    /// A key of AWS KMS.
    AwsKms(AwsConfig),
    /// A key of Azure Key Vault.
    AzureKeyVault(Box<AzureConfig>),
    /// A key of Google Cloud KMS.
    GoogleKms(GoogleConfig),
    /// A key of another server's transit engine.
    VaultTransit(Box<VaultConfig>),
}

/// For how long a root that is a service works on without it, unless said.
pub(super) fn keep_seconds() -> u32 {
    15 * 60
}

/// Long enough for a service to be restarted, and no longer than a day: for so long a key serves that the service would
/// not open any more.
pub(super) fn check_keep(seconds: u32, field: &str) -> Result<(), Fault> {
    if (60..=86_400).contains(&seconds) {
        return Ok(());
    }
    let problem = "a service is missed for between 60 and 86400 seconds";
    Err(Fault::new(format!("{field}.keep_seconds"), problem, "write 900"))
}

impl RootConfig {
    /// The paths among its fields.
    pub(super) fn paths(&mut self) -> Box<dyn Iterator<Item = &mut PathBuf> + '_> {
        match self {
            Self::Tpm(tpm) => Box::new(tpm.paths()),
            Self::Pkcs11(token) => Box::new(token.paths()),
            Self::AwsKms(aws) => Box::new(aws.paths()),
            Self::AzureKeyVault(azure) => Box::new(azure.paths()),
            Self::GoogleKms(google) => Box::new(google.paths()),
            Self::VaultTransit(vault) => Box::new(vault.paths()),
            Self::Shamir {} | Self::SealedFile {} => Box::new(std::iter::empty()),
        }
    }

    /// What holds in production, for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        match self {
            Self::Shamir {} => Ok(()),
            Self::Pkcs11(token) => token.check(field),
            Self::Tpm(tpm) => tpm.options(field, Path::new("")).map(drop),
            Self::AwsKms(aws) => {
                check_keep(aws.keep_seconds, field)?;
                aws.check(field)?;
                clouds::authorities(aws.ca.as_deref(), field).map(drop)
            }
            Self::AzureKeyVault(azure) => {
                check_keep(azure.keep_seconds, field)?;
                azure.check(field)?;
                clouds::authorities(azure.ca.as_deref(), field).map(drop)
            }
            Self::GoogleKms(google) => {
                check_keep(google.keep_seconds, field)?;
                google.check(field)?;
                clouds::check_google(google, field)
            }
            Self::VaultTransit(vault) => {
                check_keep(vault.keep_seconds, field)?;
                vault.check(field)?;
                clouds::check_vault(vault, field)
            }
            Self::SealedFile {} => {
                let problem = "a sealed file protects nothing and is for `keyreeve dev` only";
                Err(Fault::new(format!("{field}.kind"), problem, "write `kind = \"shamir\"`"))
            }
        }
    }
}
