//! What people say about a key (SP 800-57 part 1 §6.2.3 and requirement K4): names, owners, labels, classification.
//!
//! Texts are checked once, here, and are then types: a [`Name`] can stand in a URL, a policy and a log line unescaped.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

use crate::{ids, limits};

/// Why a text was refused as metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidMetadata {
    /// A name with a wrong length or character.
    #[error(
        "a name has 1 to {} characters out of letters, digits and `-_./:@+`, and does not start with an id prefix",
        limits::NAME_MAX
    )]
    Name,
    /// A text with a wrong length or a control character.
    #[error("a text has at most {} bytes and no control characters", limits::TEXT_MAX)]
    Text,
    /// Too many entries.
    #[error("too many {what}: at most {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
    /// Too many bytes in all.
    #[error("names, labels, lists and texts of a key have at most {} bytes together", limits::METADATA_MAX)]
    TooLong,
    /// A classification outside 1 to 4.
    #[error("a classification is `public`, `internal`, `confidential` or `restricted`")]
    Classification,
}

/// A name for machines and people: alias, keyring, principal, role, policy, label key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(Box<str>);

impl Name {
    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that stands in the code, where it is known to be one.
    pub(crate) fn literal(text: &'static str) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text} is no name");
        Self(text.into())
    }
}

impl FromStr for Name {
    type Err = InvalidMetadata;

    fn from_str(text: &str) -> Result<Self, InvalidMetadata> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
        let well_formed = (1..=limits::NAME_MAX).contains(&text.len()) && text.chars().all(allowed);
        let like_an_id = ids::PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        // Dot segments would be folded away by URL parsers on the way here.
        let dots = text.split('/').any(|part| part == "." || part == ".." || part.is_empty());
        if well_formed && !like_an_id && !dots { Ok(Self(text.into())) } else { Err(InvalidMetadata::Name) }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidMetadata;

    fn try_from(text: String) -> Result<Self, InvalidMetadata> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A free text of a person: description, reason, label value. Never secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Label(Box<str>);

impl Label {
    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Label {
    type Err = InvalidMetadata;

    fn from_str(text: &str) -> Result<Self, InvalidMetadata> {
        if text.len() <= limits::TEXT_MAX && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidMetadata::Text)
        }
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidMetadata;

    fn try_from(text: String) -> Result<Self, InvalidMetadata> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sensitivity of what a key protects; decides where the key may live (requirement K18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classification {
    /// For everybody.
    Public,
    /// For the organisation.
    #[default]
    Internal,
    /// For those who need it.
    Confidential,
    /// Damage if known: keys stay inside an HSM or KMS boundary.
    Restricted,
}

impl Classification {
    /// All classes, lowest first.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }

    /// 1 (public) to 4 (restricted), for comparisons in policies.
    #[must_use]
    pub const fn level(self) -> u8 {
        self as u8 + 1
    }
}

impl FromStr for Classification {
    type Err = InvalidMetadata;

    fn from_str(text: &str) -> Result<Self, InvalidMetadata> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or(InvalidMetadata::Classification)
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a key is used; production and other keys are never shared (requirement K4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// Live data.
    #[default]
    Production,
    /// A copy of production without its data.
    Staging,
    /// Developers' machines and tests.
    Development,
}

impl Environment {
    /// All environments.
    pub const ALL: [Self; 3] = [Self::Production, Self::Staging, Self::Development];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }

    /// The environment of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.name() == name)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What people say about a key and may say differently tomorrow. Nothing here changes what the key can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyMetadata {
    /// Names by which callers address the key; unique in the deployment.
    pub aliases: BTreeSet<Name>,
    /// Free labels for search and policy.
    pub labels: BTreeMap<Name, Label>,
    /// Who answers for the key: free text, which may be the name of a principal, of a person or of a role. Rules of
    /// approval look for whoever it names ([`crate::rules::SeatKind::Owner`]).
    pub owner: Label,
    /// Who may hold shares or backups of it.
    pub custodians: BTreeSet<Label>,
    /// Which systems use it.
    pub consumers: BTreeSet<Label>,
    /// Third parties that hold a copy.
    pub holders: BTreeSet<Label>,
    /// Sensitivity of the protected data.
    pub classification: Classification,
    /// Where it is used.
    pub environment: Environment,
    /// What it is for, in words.
    pub description: Label,
}

impl KeyMetadata {
    /// Checks the counts that the types do not.
    ///
    /// # Errors
    /// [`InvalidMetadata::TooMany`] names the first list that is too long, [`InvalidMetadata::TooLong`] is for all
    /// together.
    pub fn check(&self) -> Result<(), InvalidMetadata> {
        let counts = [
            ("aliases", self.aliases.len(), limits::ALIASES_MAX),
            ("labels", self.labels.len(), limits::LABELS_MAX),
            ("custodians", self.custodians.len(), limits::LIST_MAX),
            ("consumers", self.consumers.len(), limits::LIST_MAX),
            ("holders", self.holders.len(), limits::LIST_MAX),
        ];
        match counts.into_iter().find(|(_, count, max)| count > max) {
            Some((what, _, max)) => Err(InvalidMetadata::TooMany { what, max }),
            None if self.bytes() > limits::METADATA_MAX => Err(InvalidMetadata::TooLong),
            None => Ok(()),
        }
    }

    /// The bytes of all its texts.
    fn bytes(&self) -> usize {
        let texts = |set: &BTreeSet<Label>| set.iter().map(|text| text.as_str().len()).sum::<usize>();
        let aliases: usize = self.aliases.iter().map(|name| name.as_str().len()).sum();
        let labels: usize = self.labels.iter().map(|(name, text)| name.as_str().len() + text.as_str().len()).sum();
        let single = self.owner.as_str().len() + self.description.as_str().len();
        aliases + labels + single + texts(&self.custodians) + texts(&self.consumers) + texts(&self.holders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_urls_policies_and_logs() {
        for good in ["a", "db/orders", "team@example.com", "v1.2_x-y:z+1"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = "x".repeat(129);
        for bad in
            ["", "a b", "é", "a\n", "../etc", "a//b", "/a", "a/.", "key_1", "tok_x", "apr_1", "\"q\"", long.as_str()]
        {
            assert_eq!(bad.parse::<Name>(), Err(InvalidMetadata::Name), "{bad:?}");
        }
    }

    #[test]
    fn texts_hold_no_control_characters() {
        assert!("Security team, été".parse::<Label>().is_ok());
        assert!("a\u{1b}[31m".parse::<Label>().is_err());
        assert!("x".repeat(1025).parse::<Label>().is_err());
    }

    #[test]
    fn counts_are_limited() {
        let mut metadata = KeyMetadata::default();
        assert_eq!(metadata.check(), Ok(()));
        metadata.aliases = (0..51).map(|n| format!("a{n}").parse().unwrap()).collect();
        assert_eq!(metadata.check(), Err(InvalidMetadata::TooMany { what: "aliases", max: 50 }));
    }

    #[test]
    fn all_texts_together_are_limited() {
        let long = |n: usize| format!("{n:04}{}", "x".repeat(1020)).parse::<Label>().unwrap();
        let full = KeyMetadata { consumers: (0..32).map(long).collect(), ..KeyMetadata::default() };
        assert_eq!(full.check(), Ok(()));
        let one = || "x".parse::<Label>().unwrap();
        for over in [
            KeyMetadata { owner: one(), ..full.clone() },
            KeyMetadata { description: one(), ..full.clone() },
            KeyMetadata { holders: [one()].into(), ..full.clone() },
            KeyMetadata { custodians: [one()].into(), ..full.clone() },
            KeyMetadata { aliases: ["x".parse().unwrap()].into(), ..full.clone() },
            KeyMetadata { labels: [("x".parse().unwrap(), Label::default())].into(), ..full.clone() },
        ] {
            let refused = over.check().unwrap_err();
            assert_eq!(refused, InvalidMetadata::TooLong);
            assert!(refused.to_string().contains("32768"), "{refused}");
        }
    }
}
