//! The algorithms the server knows.

use clap::Args;
use keyreeve_wire::keys::AlgorithmInfo;

use crate::app::{App, Listing, Outcome};
use crate::out::rows;

/// List algorithms with strength, status and sunset dates
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve algorithms")]
pub(crate) struct Algorithms {}

impl Algorithms {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let page = app.client()?.algorithms().await?.value;
        Listing::show(app, &page, |algorithms| {
            rows(["algorithm", "for", "bits", "quantum safe", "NIST", "status", "sunset"], algorithms.iter().map(row))
        })
    }
}

fn row(info: &AlgorithmInfo) -> [String; 7] {
    let purposes: Vec<&str> = info.purposes.iter().map(|purpose| purpose.name()).collect();
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let dates = [&info.deprecated_from, &info.no_new_keys_from, &info.process_only_from, &info.disallowed_from];
    let sunset = dates.into_iter().flatten().next_back().map_or_else(|| "-".to_owned(), ToString::to_string);
    [
        info.algorithm.to_string(),
        purposes.join(", "),
        info.strength_bits.to_string(),
        yes(info.quantum_safe),
        yes(info.fips_approved),
        info.status.to_string(),
        sunset,
    ]
}
