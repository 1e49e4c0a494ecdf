//! The names of objects at a destination: closed, so that a listing tells what is ours.

use keyreeve_model::KeyringId;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Longest name of an object (bytes).
pub const NAME_MAX: usize = 96;

/// A text that is no name of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the name of a backup object")]
pub struct InvalidName;

/// Entries of the audit log from one index to another, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The first entry.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
}

/// What lies at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A backup, by its number.
    Archive(u64),
    /// A piece of the audit log.
    Log(Segment),
    /// The ledger of a shard.
    Ledger {
        /// The keyring.
        keyring: KeyringId,
        /// The shard of the keyring.
        shard: u32,
    },
    /// Where a destination is tried out.
    Probe,
}

impl Object {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        ObjectName(match self {
            Self::Archive(sequence) => format!("backup-{sequence:010}.krb"),
            Self::Log(Segment { from, to }) => format!("log-{from:016}-{to:016}.krb"),
            Self::Ledger { keyring, shard } => format!("ledger-{keyring}-{shard:010}.krl"),
            Self::Probe => "probe".to_owned(),
        })
    }

    fn read(text: &str) -> Option<Self> {
        if text == "probe" {
            return Some(Self::Probe);
        }
        if let Some(rest) = text.strip_suffix(".krl") {
            let (keyring, shard) = rest.strip_prefix("ledger-")?.rsplit_once('-')?;
            return Some(Self::Ledger { keyring: keyring.parse().ok()?, shard: number(shard)?.try_into().ok()? });
        }
        let rest = text.strip_suffix(".krb")?;
        if let Some(sequence) = rest.strip_prefix("backup-") {
            return Some(Self::Archive(number(sequence)?));
        }
        let (from, to) = rest.strip_prefix("log-")?.split_once('-')?;
        let segment = Segment { from: number(from)?, to: number(to)? };
        (segment.from < segment.to).then_some(Self::Log(segment))
    }
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The name of an object: lower-case letters, digits, `-`, `_` and `.`, and no path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it names.
    #[must_use]
    pub fn object(&self) -> Option<Object> {
        Object::read(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = InvalidName;

    /// Only what [`Object::name`] makes.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match Object::read(text) {
            Some(object) if object.name().0 == text => Ok(Self(text.to_owned())),
            _ => Err(InvalidName),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objects() -> [Object; 5] {
        [
            Object::Archive(7),
            Object::Archive(u64::MAX),
            Object::Log(Segment { from: 0, to: 256 }),
            Object::Ledger { keyring: KeyringId::from_bytes([3; 16]), shard: u32::MAX },
            Object::Probe,
        ]
    }

    #[test]
    fn every_name_is_read_back() {
        for object in objects() {
            let name = object.name();
            assert!(name.as_str().len() <= NAME_MAX, "{name}");
            assert_eq!(name.as_str().parse::<ObjectName>().unwrap(), name);
            assert_eq!(name.object(), Some(object));
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            assert!(name.as_str().bytes().all(plain), "{name}");
        }
    }

    #[test]
    fn names_sort_as_what_they_name() {
        assert!(Object::Archive(9).name() < Object::Archive(10).name());
    }

    #[test]
    fn other_texts_are_no_names() {
        let wrong = [
            "",
            "backup-7.krb",
            "backup--000000007.krb",
            "../backup-0000000007.krb",
            "log-0-0.krb",
            "x.krl",
            "log-0000000000000009-0000000000000009.krb",
            "ledger-kr-0000000001.krl",
            "backup-0000000007.krb ",
        ];
        for text in wrong {
            assert_eq!(text.parse::<ObjectName>(), Err(InvalidName), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_names_never_panics(text in "(backup|log|ledger|probe)?[-0-9a-z_.]{0,60}") {
            if let Ok(name) = text.parse::<ObjectName>() {
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
