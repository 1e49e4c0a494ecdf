//! Encryption context: named facts bound to a ciphertext as associated data (requirement K7). Not secret: it is
//! recorded in the audit log and may be tested by policies.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

use crate::limits;

/// Why an encryption context was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidContext {
    /// Too many pairs.
    #[error("an encryption context has at most {} pairs", limits::CONTEXT_PAIRS_MAX)]
    TooMany,
    /// Too many bytes in all.
    #[error("an encryption context has at most {} bytes in all", limits::CONTEXT_MAX)]
    TooLong,
    /// An empty name or a control character.
    #[error("an encryption context's names are not empty, and neither names nor values hold control characters")]
    Character,
}

/// Named facts, sorted by name, so that equal contexts have equal bytes however the caller ordered them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The pairs, sorted by name.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// True when the caller gave none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the canonical form: the number of pairs, then each name and value, each preceded by its length; all
    /// integers are 4 bytes big-endian. Injective: no two contexts share it.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        let number = |n: usize, out: &mut Vec<u8>| out.extend_from_slice(&(n as u32).to_be_bytes());
        number(self.0.len(), out);
        for (name, value) in &self.0 {
            for text in [name, value] {
                number(text.len(), out);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// The canonical form as bytes of its own.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_canonical(&mut out);
        out
    }
}

impl TryFrom<BTreeMap<String, String>> for EncryptionContext {
    type Error = InvalidContext;

    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, InvalidContext> {
        if pairs.len() > limits::CONTEXT_PAIRS_MAX {
            return Err(InvalidContext::TooMany);
        }
        if pairs.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() > limits::CONTEXT_MAX {
            return Err(InvalidContext::TooLong);
        }
        let bad = |(name, value): (&String, &String)| {
            name.is_empty() || name.chars().chain(value.chars()).any(char::is_control)
        };
        if pairs.iter().any(bad) { Err(InvalidContext::Character) } else { Ok(Self(pairs)) }
    }
}

impl From<EncryptionContext> for BTreeMap<String, String> {
    fn from(context: EncryptionContext) -> Self {
        context.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn canonical_form_is_injective(
            a in proptest::collection::btree_map("[a-c]{1,3}", "[a-c]{0,3}", 0..4),
            b in proptest::collection::btree_map("[a-c]{1,3}", "[a-c]{0,3}", 0..4),
        ) {
            let same = a == b;
            let (a, b) = (EncryptionContext::try_from(a).unwrap(), EncryptionContext::try_from(b).unwrap());
            prop_assert_eq!(a.canonical() == b.canonical(), same);
        }
    }

    #[test]
    fn limits_hold() {
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect::<BTreeMap<_, _>>();
        assert_eq!(EncryptionContext::try_from(many), Err(InvalidContext::TooMany));
        let long = BTreeMap::from([("a".to_owned(), "x".repeat(9000))]);
        assert_eq!(EncryptionContext::try_from(long), Err(InvalidContext::TooLong));
        let control = BTreeMap::from([("a\n".to_owned(), String::new())]);
        assert_eq!(EncryptionContext::try_from(control), Err(InvalidContext::Character));
    }
}
