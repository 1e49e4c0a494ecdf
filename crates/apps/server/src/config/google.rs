//! `kind = "google-kms"`: a root of trust in Google Cloud KMS.

use keyreeve_root_cloud::google::{self, Credentials, GoogleOptions};
use serde::Deserialize;
use std::path::PathBuf;

use super::Fault;
use crate::files;

/// A key of Google Cloud KMS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleConfig {
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    pub key: String,
    /// Google's JSON file: a service account's key, or workload identity federation. The metadata server of the machine
    /// unless said.
    pub credentials: Option<PathBuf>,
    /// Instead of `https://cloudkms.googleapis.com`: a regional or private endpoint.
    pub endpoint: Option<String>,
    /// The authorities of the endpoint, in PEM, where they are not those of the system.
    pub ca: Option<PathBuf>,
    /// How long it works on when Cloud KMS does not answer, in seconds.
    #[serde(default = "super::root::keep_seconds")]
    pub keep_seconds: u32,
}

impl GoogleConfig {
    /// The paths among the fields.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.credentials.iter_mut().chain(&mut self.ca)
    }

    /// What holds for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        if let Some(path) = &self.credentials {
            let field = || format!("{field}.credentials");
            files::read_private(path).map_err(|trouble| Fault::file(field(), trouble))?;
            let remedy = "give the file that Google made for the service account or the identity pool";
            google::check_credentials(path).map_err(|error| Fault::new(field(), error.to_string(), remedy))?;
        }
        let field = format!("{field}.key");
        let remedy = "write it as `gcloud kms keys describe` prints it";
        google::check_key(&self.key).map_err(|error| Fault::new(field, error.to_string(), remedy))
    }

    /// What `keyreeve config check` says about it.
    pub(crate) fn seen(&self, field: &str) -> Vec<String> {
        let credentials = match &self.credentials {
            Some(path) => format!("{field}.credentials: {} is for its owner alone and can be used", path.display()),
            None => format!("{field}: the metadata server of this machine says who asks"),
        };
        vec![format!("{field}.key: {}; it is asked for at the start", self.key), credentials]
    }

    /// What the driver takes.
    pub(crate) fn options(&self) -> GoogleOptions {
        let credentials = self.credentials.clone().map_or(Credentials::Metadata(None), Credentials::File);
        GoogleOptions { key: self.key.clone(), credentials, endpoint: self.endpoint.clone() }
    }
}
