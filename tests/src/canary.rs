//! Secrets that can be recognised, and the search for them in what must not hold any.

use std::collections::HashMap;

use crate::base64;

/// The bytes that a place is first compared by.
const HEAD: usize = 8;

/// Secrets, each in the spellings it must not be found in.
#[derive(Debug, Default)]
pub struct Canaries {
    names: Vec<String>,
    /// By their first bytes: whose it is, and the whole.
    forms: HashMap<[u8; HEAD], Vec<(usize, Vec<u8>)>>,
}

impl Canaries {
    /// Adds a secret: as it is, in hexadecimal, in both kinds of base64, and as a list of numbers.
    ///
    /// # Panics
    /// When it is too short to be recognised.
    pub fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let url = base64(secret).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
        let list = format!("{secret:?}").replace(' ', "");
        let spellings =
            [secret.to_vec(), hex.to_uppercase().into(), hex.into(), list.into(), url.into(), base64(secret).into()];
        for form in spellings {
            let head = form.first_chunk::<HEAD>().unwrap_or_else(|| panic!("{name} is too short a canary"));
            self.forms.entry(*head).or_default().push((self.names.len(), form));
        }
        self.names.push(name.to_owned());
    }

    /// How many secrets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The name of one that is in these bytes.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(HEAD).enumerate().find_map(|(at, head)| {
            let candidates = self.forms.get(head)?;
            let (owner, _) = candidates.iter().find(|(_, form)| bytes[at..].starts_with(form))?;
            Some(self.names[*owner].as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_spelling_and_nothing_else_is() {
        let mut canaries = Canaries::default();
        canaries.add("the key", [0xfb; 16]);
        let around = |form: &[u8]| [b"before ".as_slice(), form, b" after"].concat();
        let hex = "fb".repeat(16);
        for form in [&[0xfb; 16][..], hex.as_bytes(), b"+/v7+/v7+/v7+/v7+/v7+w==", b"-_v7-_v7-_v7-_v7-_v7-w"] {
            assert_eq!(canaries.found_in(&around(form)), Some("the key"), "{form:?}");
        }
        assert_eq!(canaries.found_in(&around(&[0xfb; 15])), None);
    }
}
