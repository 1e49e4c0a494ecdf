//! What an operator does beside the server for a root of trust in a TPM: looking at PCRs, and approving them.

use keyreeve_crypto::Random;
use keyreeve_root_tpm::{Approval, Bank, Device, PcrValues, read_pcrs};
use keyreeve_secret::SecretString;
use serde_json::Value;

use crate::machine::SystemEntropy;

/// Longest file with values (bytes).
pub const VALUES_MAX: usize = 64 * 1024;

fn random() -> Result<Random, String> {
    Random::start(Box::new(SystemEntropy)).map_err(|error| error.to_string())
}

/// What the PCRs of the TPM at `device` hold: `{"bank": …, "pcrs": {"7": …}}`.
///
/// # Errors
/// Says what is wrong.
pub fn pcrs(device: &str, bank: &str, pcrs: &[u8]) -> Result<Value, String> {
    let device: Device = device.parse().map_err(str::to_owned)?;
    let bank = Bank::of_name(bank).ok_or_else(|| format!("`{bank}` is no bank: sha256 and sha384 are"))?;
    let read = read_pcrs(&device, &random()?, bank, pcrs.iter().copied());
    read.map(|values| values.to_json()).map_err(|trouble| trouble.to_string())
}

/// Approves `values`, which are those that [`pcrs`] gives, but for those in `set`, with a policy key in PEM. What is
/// returned is a file for the directory of approvals.
///
/// # Errors
/// Says what is wrong.
pub fn approve(private: &SecretString, values: &[u8], set: &[(u8, String)], note: &str) -> Result<String, String> {
    let mut values = PcrValues::parse(values).map_err(|trouble| trouble.to_string())?;
    for (pcr, digits) in set {
        values.put(*pcr, digits).map_err(|trouble| trouble.to_string())?;
    }
    let signed = Approval::sign_with_pem(&random()?, private, &values, note);
    signed.map(|approval| approval.to_json()).map_err(|error| error.to_string())
}
