//! Names of policy documents.

use std::fmt;
use std::sync::Arc;

/// The name of a policy document: 1 to 64 of `a-z 0-9 - _ .`, beginning with a letter or digit. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(Arc<str>);

/// A policy name that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a policy name has 1 to {max} of the characters a-z, 0-9, '-', '_' and '.', and begins with a letter or digit",
    max = PolicyName::MAX
)]
pub struct InvalidName;

impl PolicyName {
    /// Longest name in bytes.
    pub const MAX: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which characters are allowed.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = name.as_bytes();
        let first = bytes.first().copied().is_some_and(plain);
        let rest = bytes.iter().all(|&c| plain(c) || matches!(c, b'-' | b'_' | b'.'));
        if first && rest && bytes.len() <= Self::MAX { Ok(Self(name.into())) } else { Err(InvalidName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for PolicyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for PolicyName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "key-admin", "team.payments_2", "9lives"] {
            assert_eq!(PolicyName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".", "A", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert_eq!(PolicyName::new(bad), Err(InvalidName), "{bad:?}");
        }
        assert!(PolicyName::new(&"x".repeat(64)).is_ok());
    }
}
