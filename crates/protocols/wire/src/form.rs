//! What the forms of pages and the addresses of redirections carry: `application/x-www-form-urlencoded` (WHATWG URL,
//! section 5.1). Every value may be a secret, and is wiped like one.

use keyreeve_secret::{SecretBuffer, SecretString};

/// The fields of a form or query.
pub struct Fields(Vec<(String, SecretString)>);

impl Fields {
    /// Reads them; nothing where a name is not UTF-8, or a value is not that with its escapes undone.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        pairs.map(pair).collect::<Option<_>>().map(Self)
    }

    /// The same, of a form that has no fields but these.
    #[must_use]
    pub fn of_form(text: &[u8], known: &[&str]) -> Option<Self> {
        Self::parse(text).filter(|fields| fields.0.iter().all(|(name, _)| known.contains(&name.as_str())))
    }

    /// The value of a field that is there once.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&SecretString> {
        let mut found = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        found.next().filter(|_| found.next().is_none())
    }

    /// The same as a value of one's own.
    #[must_use]
    pub fn take(&self, name: &str) -> Option<SecretString> {
        self.one(name).map(SecretString::duplicate)
    }

    /// Whether there is such a field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// Names are not decoded: those that count need no escaping.
fn pair(pair: &[u8]) -> Option<(String, SecretString)> {
    let at = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
    Some((String::from_utf8(name.to_vec()).ok()?, decoded(value)?))
}

fn decoded(value: &[u8]) -> Option<SecretString> {
    let mut text = SecretBuffer::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'+' => b' ',
            b'%' => digit(*bytes.next()?)? << 4 | digit(*bytes.next()?)?,
            other => *other,
        });
    }
    SecretString::from_utf8(text.finish()).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(form: &str, name: &str) -> Option<String> {
        Fields::parse(form.as_bytes())?.one(name).map(|value| value.expose().to_owned())
    }

    #[test]
    fn values_are_what_was_typed() {
        let form = "user=olga+m%C3%BCller&password=a%26b%3Dc%2B%25&empty=&bare";
        assert_eq!(one(form, "user").unwrap(), "olga müller");
        assert_eq!(one(form, "password").unwrap(), "a&b=c+%");
        assert_eq!((one(form, "empty").unwrap(), one(form, "bare").unwrap()), (String::new(), String::new()));
        assert_eq!(one(form, "missing"), None);
    }

    #[test]
    fn what_is_not_one_value_is_none() {
        assert_eq!(one("a=1&a=2", "a"), None);
        for broken in ["a=%", "a=%2", "a=%zz", "a=%ff", "%ff=%e2%82"] {
            assert!(Fields::parse(broken.as_bytes()).is_none(), "{broken}");
        }
        assert!(Fields::parse(b"\xff=a").is_none());
    }

    #[test]
    fn anything_is_read_or_refused() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let found = Fields::parse(&[b'a', b'=', b'%', first, second]);
                let hex = first.is_ascii_hexdigit() && second.is_ascii_hexdigit();
                // Of single bytes only those of ASCII are text.
                assert_eq!(found.is_some(), hex && first < b'8', "{first} {second}");
                let _ = Fields::parse(&[first, second, b'=', second, first]);
            }
        }
    }

    #[test]
    fn a_form_has_no_fields_but_its_own() {
        assert!(Fields::of_form(b"token=a&page=b", &["token", "page"]).is_some());
        assert!(Fields::of_form(b"token=a&other=b", &["token", "page"]).is_none());
        assert!(Fields::parse(b"a=1&b").is_some_and(|fields| fields.has("b") && !fields.has("c")));
    }
}
