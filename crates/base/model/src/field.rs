//! Secrets inside of records: sealed one by one under a key that exists only while the server is open.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::record::Table;

/// The longest sealed field in bytes.
pub const SEALED_FIELD_MAX: usize = 16 * 1024;

/// A secret in a record, such as a client secret or the seed of one-time codes: authenticated encryption over it, bound
/// to the place where it stands. Hexadecimal in storage.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SealedField(Vec<u8>);

impl SealedField {
    /// What the cipher made.
    #[must_use]
    pub const fn new(sealed: Vec<u8>) -> Self {
        Self(sealed)
    }

    /// What the cipher needs.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sealed]")
    }
}

impl From<SealedField> for String {
    fn from(field: SealedField) -> Self {
        hex::encode(field.0)
    }
}

impl TryFrom<String> for SealedField {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let sealed = hex::decode(text).map_err(|_| "a sealed field is hexadecimal")?;
        if sealed.len() > SEALED_FIELD_MAX { Err("a sealed field is too long") } else { Ok(Self(sealed)) }
    }
}

/// Where a sealed field stands: what its encryption is bound to.
#[must_use]
pub fn field_context(table: Table, row: &[u8], field: &str) -> Vec<u8> {
    let mut context = Vec::with_capacity(table.name().len() + row.len() + field.len() + 24);
    for part in [table.name().as_bytes(), row, field.as_bytes()] {
        context.extend_from_slice(&(part.len() as u64).to_be_bytes());
        context.extend_from_slice(part);
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_field_keeps_its_bytes_and_shows_none() {
        let field = SealedField::new(vec![0, 255, 7]);
        let text = serde_json::to_string(&field).unwrap();
        assert_eq!(text, "\"00ff07\"");
        assert_eq!(serde_json::from_str::<SealedField>(&text).unwrap(), field);
        assert_eq!(format!("{field:?}"), "[sealed]");
        assert!(serde_json::from_str::<SealedField>("\"0\"").is_err());
    }

    #[test]
    fn the_parts_of_a_place_cannot_be_shifted_into_one_another() {
        let place = |row: &[u8], field| field_context(Table::Tokens, row, field);
        assert_ne!(place(b"ab", "c"), place(b"a", "bc"));
    }
}
