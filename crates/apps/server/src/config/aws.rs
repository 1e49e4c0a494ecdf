//! `kind = "aws-kms"`: a root of trust in AWS KMS.

use keyreeve_root_cloud::aws::AwsSettings;
use serde::Deserialize;
use std::path::PathBuf;

use super::Fault;
use crate::files;

/// A key of AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsConfig {
    /// The key's ARN, an alias' ARN, or `alias/NAME`.
    pub key: String,
    /// The region; that of the ARN, or of the environment, unless said.
    pub region: Option<String>,
    /// Instead of the region's endpoint.
    pub endpoint: Option<String>,
    /// Credentials from this file alone, profile `default`; otherwise where Amazon's SDK looks for them.
    pub credentials: Option<PathBuf>,
    /// The authorities of the endpoint, in PEM, where they are not those of the system.
    pub ca: Option<PathBuf>,
    /// How long it works on when KMS does not answer, in seconds.
    #[serde(default = "super::root::keep_seconds")]
    pub keep_seconds: u32,
}

impl AwsConfig {
    /// The paths among the fields.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.credentials.iter_mut().chain(&mut self.ca)
    }

    /// What holds for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        if let Some(path) = &self.credentials {
            files::read_private(path).map_err(|trouble| Fault::file(format!("{field}.credentials"), trouble))?;
        }
        let remedy = "write it as `aws kms describe-key` prints it, for example \
                      `arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab`";
        self.settings(None).check().map_err(|problem| Fault::new(format!("{field}.key"), problem, remedy))
    }

    /// What `keyreeve config check` says about it.
    pub(crate) fn seen(&self, field: &str) -> Vec<String> {
        let Some(path) = &self.credentials else { return Vec::new() };
        vec![format!("{field}.credentials: {} is for its owner alone", path.display())]
    }

    /// What the driver takes; `authorities_pem` is what `ca` holds.
    pub(crate) fn settings(&self, authorities_pem: Option<Vec<u8>>) -> AwsSettings {
        AwsSettings {
            key: self.key.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            credentials_file: self.credentials.clone(),
            authorities_pem,
        }
    }
}
