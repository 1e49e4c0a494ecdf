//! How callers name keys and keyrings.

use keyreeve_model::metadata::InvalidMetadata;
use keyreeve_model::{KeyId, KeyringId, Name};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A key by its id or one of its aliases.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum KeyRef {
    /// `key_…`
    Id(KeyId),
    /// An alias.
    Alias(Name),
}

impl FromStr for KeyRef {
    type Err = InvalidMetadata;

    fn from_str(text: &str) -> Result<Self, InvalidMetadata> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Alias),
        }
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

/// A keyring by its id or name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum KeyringRef {
    /// `krg_…`
    Id(KeyringId),
    /// Its name.
    Name(Name),
}

impl FromStr for KeyringRef {
    type Err = InvalidMetadata;

    fn from_str(text: &str) -> Result<Self, InvalidMetadata> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for KeyringRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

macro_rules! as_text {
    ($($reference:ty),+) => {
        $(
            impl From<$reference> for String {
                fn from(reference: $reference) -> Self {
                    reference.to_string()
                }
            }

            impl TryFrom<String> for $reference {
                type Error = InvalidMetadata;

                fn try_from(text: String) -> Result<Self, InvalidMetadata> {
                    text.parse()
                }
            }
        )+
    };
}

as_text!(KeyRef, KeyringRef);

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_model::UnixMillis;

    #[test]
    fn ids_and_names_are_told_apart() {
        let id = KeyId::new(UnixMillis(1), [1; 10]);
        assert_eq!(id.to_string().parse(), Ok(KeyRef::Id(id)));
        assert_eq!("orders".parse(), Ok(KeyRef::Alias("orders".parse().unwrap())));
        assert!("key_short".parse::<KeyRef>().is_err());
        assert!("krg_short".parse::<KeyringRef>().is_err());
    }
}
