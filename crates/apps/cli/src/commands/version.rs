//! What this program is.

use clap::Args;
use keyreeve_crypto::FipsStatus;
use serde_json::json;

use crate::app::{App, Outcome};
use crate::out::facts;

/// Show the version and the state of the cryptographic module
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve version")]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(self, app: &App) -> Outcome {
        let fips = FipsStatus::current();
        let state = match (fips.compiled, fips.active) {
            (true, true) => "FIPS build, in FIPS mode; no certificate is claimed",
            (true, false) => "FIPS build, NOT in FIPS mode",
            (false, _) => "not a FIPS build",
        };
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "module": fips.module,
            "module_version": fips.module_version,
            "fips": { "compiled": fips.compiled, "active": fips.active },
        });
        app.show(&value, |_| {
            facts(&[
                ("keyreeve", env!("CARGO_PKG_VERSION").to_owned()),
                ("module", fips.to_string()),
                ("FIPS", state.to_owned()),
            ])
        })
    }
}
