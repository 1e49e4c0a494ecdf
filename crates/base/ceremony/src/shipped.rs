//! The scripts that come with the program. They are a beginning: copy one, fit it to your house, rehearse it.

/// A script that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../scripts/", $name, ".toml")) }),*]
    };
}

/// All of them.
pub const SCRIPTS: &[Shipped] = shipped![
    "root-initialisation-shamir",
    "root-initialisation-hsm",
    "offline-root-ca",
    "kek-rotation",
    "share-replacement",
    "escrow-deposit",
    "escrow-recovery",
    "destruction",
];

/// The script of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Shipped> {
    SCRIPTS.iter().find(|shipped| shipped.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::lint;
    use crate::script::Script;

    #[test]
    fn every_shipped_script_is_one_that_can_be_followed() {
        for shipped in SCRIPTS {
            let script = Script::parse(shipped.text).unwrap_or_else(|error| panic!("{}: {error}", shipped.name));
            assert_eq!(script.name.as_str(), shipped.name);
            assert_eq!(lint(&script), [], "{}", shipped.name);
        }
        assert!(find("destruction").is_some() && find("none").is_none());
    }
}
