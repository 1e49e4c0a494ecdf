//! Roots of trust that are services: from the configuration to drivers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyreeve_crypto::random::Random;
use keyreeve_root::Root;
use keyreeve_root_cloud::aws::AwsKms;
use keyreeve_root_cloud::azure::AzureKeyVault;
use keyreeve_root_cloud::google::{ENDPOINT, GoogleKms};
use keyreeve_root_cloud::http::Https;
use keyreeve_root_cloud::vault::VaultTransit;
use keyreeve_root_cloud::{CloudRoot, Limits, RemoteError};
use keyreeve_secret::SecretBytes;

use crate::config::{AwsConfig, AzureConfig, Fault, GoogleConfig, VaultConfig};
use crate::files;

/// AWS KMS, for the root under `field`.
pub(crate) fn aws(config: &AwsConfig, field: &str, random: &Random) -> Result<Arc<dyn Root>, Fault> {
    let service = AwsKms::new(config.settings(authorities(config.ca.as_deref(), field)?), Arc::new(SystemTime::now));
    Ok(Arc::new(CloudRoot::new(service, limits(config.keep_seconds), random.clone())))
}

/// Azure Key Vault, for the root under `field`.
pub(crate) fn azure(config: &AzureConfig, field: &str, random: &Random) -> Result<Arc<dyn Root>, Fault> {
    let service = AzureKeyVault::new(config.settings(authorities(config.ca.as_deref(), field)?));
    let service = service.map_err(|error| unfit(field, "key", &error))?;
    Ok(Arc::new(CloudRoot::new(service, limits(config.keep_seconds), random.clone())))
}

/// The file of authorities, if it is one.
pub(crate) fn authorities(ca: Option<&Path>, field: &str) -> Result<Option<Vec<u8>>, Fault> {
    let pem = ca.map(files::read_public).transpose();
    let pem = pem.map_err(|trouble| Fault::file(format!("{field}.ca"), trouble))?;
    Https::new(pem.as_deref()).map_err(|error| unfit(field, "ca", &error))?;
    Ok(pem)
}

/// Google Cloud KMS, for the root under `field`.
pub(crate) fn google(config: &GoogleConfig, field: &str, random: &Random) -> Result<Arc<dyn Root>, Fault> {
    let https = https(config.ca.as_deref(), None, field)?;
    let service = GoogleKms::new(config.options(), https, Arc::new(SystemTime::now), random.clone());
    let service = service.map_err(|error| unfit(field, "endpoint", &error))?;
    Ok(Arc::new(CloudRoot::new(service, limits(config.keep_seconds), random.clone())))
}

/// The transit engine of Vault or OpenBao, for the root under `field`.
pub(crate) fn vault(config: &VaultConfig, field: &str, random: &Random) -> Result<Arc<dyn Root>, Fault> {
    let service = transit(config, field)?;
    Ok(Arc::new(CloudRoot::new(service, limits(config.keep_seconds), random.clone())))
}

fn transit(config: &VaultConfig, field: &str) -> Result<VaultTransit, Fault> {
    let https = https(config.ca.as_deref(), config.identity(field)?.as_ref(), field)?;
    VaultTransit::new(config.options(), https).map_err(|error| unfit(field, "address", &error))
}

/// Whether [`google`] would make one.
pub(crate) fn check_google(config: &GoogleConfig, field: &str) -> Result<(), Fault> {
    let https = https(config.ca.as_deref(), None, field)?;
    let address = config.endpoint.as_deref().unwrap_or(ENDPOINT);
    https.address(address).map(drop).map_err(|error| unfit(field, "endpoint", &error))
}

/// Whether [`vault`] would make one.
pub(crate) fn check_vault(config: &VaultConfig, field: &str) -> Result<(), Fault> {
    transit(config, field).map(drop)
}

/// Plain HTTP only to this machine: agents and proxies of such services run beside the server.
fn https(ca: Option<&Path>, identity: Option<&SecretBytes>, field: &str) -> Result<Https, Fault> {
    let authorities = ca.map(files::read_public).transpose();
    let authorities = authorities.map_err(|trouble| Fault::file(format!("{field}.ca"), trouble))?;
    let https = Https::with_identity(authorities.as_deref(), identity).map_err(|error| unfit(field, "ca", &error))?;
    Ok(https.with_plain_loopback())
}

fn limits(keep_seconds: u32) -> Limits {
    Limits { keep: Duration::from_secs(keep_seconds.into()), ..Limits::default() }
}

fn unfit(field: &str, name: &str, error: &RemoteError) -> Fault {
    Fault::new(format!("{field}.{name}"), error.to_string(), "see docs/operations.md, \"Services as roots of trust\"")
}
