//! Which build of the cryptographic module is linked, and what state it is in.
//!
//! Built with the cargo feature `fips`, the process links the FIPS build of AWS-LC, which tests its own integrity when
//! it is loaded. That build does not refuse algorithms that are not approved: which ones may be used is decided by
//! [`Registry`](crate::registry::Registry), from `fips_approved` and `in_module`. Whether the linked version has a
//! certificate is to be looked up by its version; this crate does not claim it.

use serde::Serialize;

/// The linked cryptographic module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FipsStatus {
    /// Whether the program was built with the feature `fips`.
    pub compiled: bool,
    /// Whether the module reports that it runs in FIPS mode.
    pub active: bool,
    /// Version of AWS-LC, as it reports itself.
    pub module_version: &'static str,
}

impl FipsStatus {
    /// Asks the module.
    pub fn current() -> Self {
        Self {
            compiled: cfg!(feature = "fips"),
            active: aws_lc_rs::try_fips_mode().is_ok(),
            module_version: aws_lc_rs::awslc_version(),
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
        assert!(!status.module_version.is_empty());
    }
}
