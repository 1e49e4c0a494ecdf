//! Which build of the cryptographic module is linked, and what state it is in.
//!
//! Built with the cargo feature `fips`, the process links the FIPS build of AWS-LC, which tests its own integrity when
//! it is loaded. That build does not refuse algorithms that are not approved: which ones may be used is decided by
//! [`Registry`](crate::registry::Registry), from `fips_approved` and `in_module`. Whether the linked version has a
//! certificate is to be looked up by its version; this crate does not claim it.

use serde::Serialize;
use std::fmt;

/// The linked cryptographic module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FipsStatus {
    /// Whether the program was built with the feature `fips`.
    pub compiled: bool,
    /// Whether the module reports that it runs in FIPS mode.
    pub active: bool,
    /// The module's name: `AWS-LC`, or `AWS-LC-FIPS` for its FIPS build.
    pub module: &'static str,
    /// Its version, as it reports itself. The two builds are numbered apart.
    pub module_version: &'static str,
}

impl FipsStatus {
    /// Asks the module.
    pub fn current() -> Self {
        Self {
            compiled: cfg!(feature = "fips"),
            active: aws_lc_rs::try_fips_mode().is_ok(),
            module: if cfg!(feature = "fips") { "AWS-LC-FIPS" } else { "AWS-LC" },
            module_version: aws_lc_rs::awslc_version(),
        }
    }
}

/// Name and version, as kept with each key version: `AWS-LC 5.12.0`.
impl fmt::Display for FipsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.module, self.module_version)?;
        match (self.compiled, self.active) {
            (true, false) => f.write_str(" (not in FIPS mode)"),
            (true, true) | (false, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_says_what_was_built() {
        let status = FipsStatus::current();
        assert_eq!(status.compiled, status.active);
        assert_eq!(status.module.ends_with("-FIPS"), cfg!(feature = "fips"));
        assert!(status.module_version.starts_with(|first: char| first.is_ascii_digit()));
        assert_eq!(status.to_string(), format!("{} {}", status.module, status.module_version));
        let asleep = FipsStatus { compiled: true, active: false, ..status };
        assert!(asleep.to_string().ends_with("(not in FIPS mode)"));
    }
}
