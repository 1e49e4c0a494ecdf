//! `kind = "tpm"`: a root of trust that the TPM opens.

use keyreeve_root_tpm::{Bank, Device, Options, PolicyKey};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;
use crate::files;

/// How long the TPM may take for all that is asked of it at once.
const LIMIT: Duration = Duration::from_secs(20);

/// A root of trust in a TPM 2.0.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmConfig {
    /// The TPM: a device file, or `swtpm:HOST:PORT` or `swtpm:/PATH` for a program that plays one.
    #[serde(default = "device")]
    pub device: String,
    /// Which platform configuration registers decide, 0 to 23.
    pub pcrs: BTreeSet<u8>,
    /// In which bank: `sha256` or `sha384`.
    #[serde(default)]
    pub bank: Bank,
    /// The public half of the operator's policy key, in PEM.
    pub policy_key: PathBuf,
    /// The directory of approved PCRs.
    pub approvals: PathBuf,
    /// The file with the sealed key. `root.tpm` in the data directory unless said.
    #[serde(default)]
    pub sealed: Option<PathBuf>,
}

fn device() -> String {
    "/dev/tpmrm0".to_owned()
}

impl TpmConfig {
    /// The paths among the fields.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.policy_key, &mut self.approvals].into_iter().chain(&mut self.sealed)
    }

    /// What a driver takes, for the root under `field`.
    pub(crate) fn options(&self, field: &str, data_dir: &Path) -> Result<Options, Fault> {
        let device: Device = self
            .device
            .parse()
            .map_err(|problem| Fault::new(format!("{field}.device"), problem, "write `device = \"/dev/tpmrm0\"`"))?;
        if self.pcrs.is_empty() || self.pcrs.iter().any(|pcr| *pcr > 23) {
            let problem = "PCRs have the numbers 0 to 23, and at least one of them must decide";
            return Err(Fault::new(format!("{field}.pcrs"), problem, "write those of docs/operations.md"));
        }
        let named = format!("{field}.policy_key");
        let pem = files::read_public(&self.policy_key).map_err(|trouble| Fault::file(named.clone(), trouble))?;
        let policy_key = PolicyKey::from_pem(&String::from_utf8_lossy(&pem))
            .map_err(|error| Fault::new(named, error.to_string(), "name its public half in PEM"))?;
        Ok(Options {
            device,
            pcrs: self.pcrs.clone(),
            bank: self.bank,
            policy_key,
            approvals: self.approvals.clone(),
            sealed: self.sealed.clone().unwrap_or_else(|| data_dir.join("root.tpm")),
            limit: LIMIT,
        })
    }
}
