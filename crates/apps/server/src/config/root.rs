//! `[root]` and `[roots.NAME]`: the roots of trust. A kind of root is a variant here and an arm of `open_root` in
//! `assemble.rs`, nothing else.

use serde::Deserialize;
use std::path::{Path, PathBuf};

use super::{Fault, TpmConfig};

/// The root of trust: its kind, and what that kind needs to know. The fields of one kind are unknown to the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RootConfig {
    /// People hold shares.
    Shamir {},
    /// A file in the data directory, for development mode only.
    SealedFile {},
    /// The machine's TPM.
    Tpm(TpmConfig),
}

impl RootConfig {
    /// The paths among its fields.
    pub(super) fn paths(&mut self) -> Box<dyn Iterator<Item = &mut PathBuf> + '_> {
        match self {
            Self::Tpm(tpm) => Box::new(tpm.paths()),
            Self::Shamir {} | Self::SealedFile {} => Box::new(std::iter::empty()),
        }
    }

    /// What holds in production, for the root under `field`.
    pub(super) fn check(&self, field: &str) -> Result<(), Fault> {
        match self {
            Self::Shamir {} => Ok(()),
            Self::Tpm(tpm) => tpm.options(field, Path::new("")).map(drop),
            Self::SealedFile {} => {
                let problem = "a sealed file protects nothing and is for `keyreeve dev` only";
                Err(Fault::new(format!("{field}.kind"), problem, "write `kind = \"shamir\"`"))
            }
        }
    }
}
