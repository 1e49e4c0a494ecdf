//! What a device that is to be a root of trust offers, asked without starting a server.

use keyreeve_model::Name;
use keyreeve_root_pkcs11::survey::{Survey, WANTED, What, flags, uses};
use keyreeve_root_pkcs11::{Settings, examine};
use serde::Serialize;
use std::path::PathBuf;

use crate::config::{Config, Pkcs11Config, RootConfig};
use crate::error::ServerError;
use crate::harden;

/// Which device.
#[derive(Clone, Debug)]
pub enum RootDevice {
    /// That of a root in a configuration file.
    Configured {
        /// The file.
        file: PathBuf,
        /// Which root; `main` is the one under `[root]`. The only one in a token, unless said.
        root: Option<String>,
    },
    /// A token that no configuration names yet.
    Token {
        /// The maker's library.
        library: PathBuf,
        /// Label of the token, or empty.
        token: String,
        /// Serial number of the token, or empty.
        serial: String,
    },
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct RootCheck {
    /// What the device says about itself, by name.
    pub device: Vec<(&'static str, String)>,
    /// What Keyreeve could want of it.
    pub offers: Vec<RootOffer>,
    /// What keeps it from being a root of trust at all; empty if nothing does.
    pub impossible: Vec<String>,
    /// What else is worth knowing.
    pub warnings: Vec<String>,
}

/// Something Keyreeve could want of a device.
#[derive(Clone, Debug, Serialize)]
pub struct RootOffer {
    /// What for: `root of trust`, or an algorithm and purpose.
    pub what: String,
    /// The mechanisms it takes, each with the key sizes that the device says.
    pub mechanisms: Vec<String>,
    /// Whether it goes.
    pub works: bool,
    /// What is missing.
    pub lacks: Vec<String>,
}

/// Asks a device what it offers; with `login` also logs in, as the server would. Blocks.
///
/// # Errors
/// [`ServerError`] if there is no such root, its kind has no device, or the device does not answer.
pub fn root_check(device: &RootDevice, login: bool) -> Result<RootCheck, ServerError> {
    let _ = harden::apply();
    let survey = examine(&settings(device)?, login).map_err(|error| ServerError::part("token", error))?;
    Ok(report(&survey))
}

fn settings(device: &RootDevice) -> Result<Settings, ServerError> {
    let (file, root) = match device {
        RootDevice::Configured { file, root } => (file, root),
        RootDevice::Token { library, token, serial } => {
            // The worker has another working directory in mind than the shell of whoever asks.
            let library = std::path::absolute(library).unwrap_or_else(|_| library.clone());
            return Ok(Pkcs11Config::to_look_at(library, token.clone(), serial.clone()).settings());
        }
    };
    let config = Config::load(file)?;
    let (tokens, others): (Vec<_>, Vec<_>) =
        config.named_roots().partition(|(_, _, root)| matches!(root, RootConfig::Pkcs11(_)));
    let wanted = |name: &Name| root.as_ref().is_none_or(|root| name.as_str() == root);
    let names = |roots: &[(String, Name, &RootConfig)]| {
        let names: Vec<String> = roots.iter().map(|(_, name, _)| format!("`{name}`")).collect();
        names.join(", ")
    };
    let found: Vec<_> = tokens.iter().filter(|(_, name, _)| wanted(name)).collect();
    let text = match (found.as_slice(), root) {
        ([(_, _, RootConfig::Pkcs11(token))], _) => return Ok(token.settings()),
        ([_, ..], _) => format!("several roots are in tokens: say with `--root` which one ({})", names(&tokens)),
        ([], Some(root)) if others.iter().any(|(_, name, _)| name.as_str() == root) => {
            format!("the root `{root}` is not in a PKCS #11 token: there is nothing to ask")
        }
        ([], Some(root)) => format!("{} has no root called `{root}`", file.display()),
        ([], None) => format!("no root in {} is in a PKCS #11 token: there is nothing to ask", file.display()),
    };
    Err(ServerError::Refused(text))
}

fn report(survey: &Survey) -> RootCheck {
    let offers = WANTED.iter().map(|wanted| {
        let lacks = survey.lacks(wanted);
        let mechanisms = wanted.needs.iter().map(|&(code, name, ..)| match survey.mechanism(code) {
            Some(found) if found.max == 0 => name.to_owned(),
            Some(found) => {
                let hardware = if found.uses & uses::HARDWARE == 0 { "" } else { ", hardware" };
                format!("{name} ({} to {}{hardware})", found.min, found.max)
            }
            None => format!("{name} (none)"),
        });
        let what = match wanted.what {
            What::Root => "root of trust".to_owned(),
            What::Keys(algorithm, purpose) => format!("{algorithm} to {purpose}"),
        };
        RootOffer { what, mechanisms: mechanisms.collect(), works: lacks.is_empty(), lacks }
    });
    RootCheck {
        device: described(survey),
        offers: offers.collect(),
        impossible: survey.lacks_for_root(),
        warnings: warnings(survey),
    }
}

fn described(survey: &Survey) -> Vec<(&'static str, String)> {
    let validated = match survey.validation {
        None => "not told (PKCS #11 before 3.2 has no word for it)".to_owned(),
        Some(0) => "none in force".to_owned(),
        Some(bits) => format!("in force, flags {bits:#x}"),
    };
    vec![
        ("library", format!("{} {}", survey.library, survey.library_version)),
        ("speaks", format!("PKCS #11 {}", survey.cryptoki)),
        ("token", survey.label.clone()),
        ("serial", survey.serial.clone()),
        ("maker", survey.manufacturer.clone()),
        ("model", survey.model.clone()),
        ("hardware", survey.hardware.clone()),
        ("firmware", survey.firmware.clone()),
        ("slot", survey.slot.to_string()),
        ("validation (FIPS mode)", validated),
    ]
}

fn warnings(survey: &Survey) -> Vec<String> {
    let said = [
        (flags::WRITE_PROTECTED, "the token is write-protected: no key can be made in it"),
        (flags::ERROR_STATE, "the token failed a test of itself"),
        (flags::PIN_COUNT_LOW, "a wrong PIN was given since the last right one"),
    ];
    let told = said.iter().filter(|(bit, _)| survey.flags & bit != 0).map(|(_, text)| (*text).to_owned());
    told.chain(survey.login_forbidden().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_root_pkcs11::survey::{Mechanism, mechanism};

    #[test]
    fn a_token_without_gcm_cannot_be_a_root_and_is_told_so() {
        let aes = Mechanism { code: mechanism::AES, min: 16, max: 32, uses: uses::GENERATE | uses::HARDWARE };
        let survey = Survey {
            label: "token".to_owned(),
            flags: flags::PIN_FINAL_TRY | flags::WRITE_PROTECTED,
            mechanisms: vec![aes],
            ..Survey::default()
        };
        let found = report(&survey);
        assert_eq!(found.impossible, ["no CKM_AES_GCM"]);
        assert_eq!(found.warnings.len(), 2);
        let root = &found.offers[0];
        assert_eq!((root.what.as_str(), root.works), ("root of trust", false));
        assert_eq!(root.mechanisms, ["CKM_AES_KEY_GEN (16 to 32, hardware)", "CKM_AES_GCM (none)"]);
        assert!(found.offers.iter().any(|offer| offer.what == "rsa-4096 to sign"));
        assert!(found.device.contains(&("token", "token".to_owned())));
    }
}
