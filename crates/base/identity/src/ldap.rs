//! Directories: what is put into a filter (RFC 4515), and what an entry says.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::binding::Facts;

/// The longest name that somebody types, in bytes.
pub const USER_MAX: usize = 256;
/// The longest password in bytes.
pub const PASSWORD_MAX: usize = 1024;

/// A person's entry in a directory, after the directory accepted the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapEntry {
    /// Its distinguished name.
    pub dn: String,
    /// The value of the method's `user_attribute`.
    pub user: String,
    /// Attributes, by name in lower case.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Names of the person's groups.
    pub groups: Vec<String>,
    /// What the directory calls the entry for good, whatever it is renamed to, and which attribute says so: `entryUUID`
    /// (RFC 4530) or `objectGUID`.
    pub unique: Option<(&'static str, String)>,
}

impl LdapEntry {
    /// Who it is, in the directory's own terms: by what, and how. Names that people type are given to somebody else
    /// once they are free; of those a directory only has its distinguished names where it has nothing better.
    #[must_use]
    pub fn identity(&self) -> (String, String) {
        match &self.unique {
            Some((attribute, value)) => ((*attribute).to_owned(), value.clone()),
            None => ("dn".to_owned(), self.dn.to_lowercase()),
        }
    }
}

impl Facts for LdapEntry {
    fn subject(&self) -> &str {
        &self.user
    }

    /// `dn`, `user` and `groups` are what the fields say; everything else is an attribute, whose name has no case.
    fn values(&self, path: &str) -> Vec<Cow<'_, str>> {
        match path {
            "dn" => vec![self.dn.as_str().into()],
            "user" => vec![self.user.as_str().into()],
            "groups" => self.groups.iter().map(|group| group.as_str().into()).collect(),
            other => {
                let values = self.attributes.get(&other.to_ascii_lowercase());
                values.into_iter().flatten().map(|value| value.as_str().into()).collect()
            }
        }
    }
}

/// Whether a text may be somebody's name at all: not empty, not too long, no control characters.
#[must_use]
pub fn is_user_name(text: &str) -> bool {
    (1..=USER_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether a text may be a password. An empty one would be an unauthenticated bind, to which a directory says yes
/// without having checked anything (RFC 4513 section 5.1.2).
#[must_use]
pub fn is_password(text: &str) -> bool {
    (1..=PASSWORD_MAX).contains(&text.len()) && !text.contains('\0')
}

/// A filter with `{user}` and `{dn}` replaced, each escaped. What is put in is not looked at again, so that somebody
/// named `{dn}` stays that.
#[must_use]
pub fn filter(template: &str, user: &str, dn: &str) -> String {
    let mut out = String::with_capacity(template.len() + user.len() + dn.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let value = [("{user}", user), ("{dn}", dn)]
            .into_iter()
            .find_map(|(mark, value)| Some((from.strip_prefix(mark)?, value)));
        match value {
            Some((after, value)) => {
                escape(&mut out, value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// RFC 4515 section 3: `*`, `(`, `)`, `\` and NUL are escaped; we escape all control characters and everything outside
/// of ASCII too, which is allowed and leaves a filter that can be read in any log.
fn escape(out: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !b"*()\\".contains(&byte) || byte == b' ' {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(out, "\\{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_typed_cannot_change_a_filter() {
        assert_eq!(filter("(uid={user})", "alice", ""), "(uid=alice)");
        assert_eq!(filter("(uid={user})", "*)(uid=*", ""), "(uid=\\2a\\29\\28uid=\\2a)");
        assert_eq!(filter("(uid={user})", "a\\b\0", ""), "(uid=a\\5cb\\00)");
        assert_eq!(filter("(uid={user})", "Lučić", ""), "(uid=Lu\\c4\\8di\\c4\\87)");
        assert_eq!(filter("(&(member={dn})(x={user}))", "{dn}", "cn=a (b)"), "(&(member=cn=a \\28b\\29)(x={dn}))");
        assert_eq!(filter("(a={other}{)", "x", "y"), "(a={other}{)");
    }

    #[test]
    fn names_and_passwords_have_bounds() {
        assert!(is_user_name("alice") && is_user_name(&"x".repeat(256)));
        assert!(!is_user_name("") && !is_user_name("a\0") && !is_user_name(&"x".repeat(257)));
        assert!(is_password(" ") && is_password(&"x".repeat(1024)));
        assert!(!is_password("") && !is_password(&"x".repeat(1025)) && !is_password("a\0b"));
    }

    #[test]
    fn an_entry_is_asked_without_regard_to_case() {
        let entry = LdapEntry {
            dn: "uid=alice,dc=example".into(),
            user: "alice".into(),
            attributes: BTreeMap::from([("departmentnumber".into(), vec!["7".into()])]),
            groups: vec!["crypto".into()],
            unique: None,
        };
        assert_eq!(entry.values("departmentNumber"), ["7"]);
        assert_eq!(entry.values("groups"), ["crypto"]);
        assert_eq!(entry.values("dn"), ["uid=alice,dc=example"]);
        assert_eq!((entry.subject(), entry.values("user").len(), entry.values("none").len()), ("alice", 1, 0));
        assert_eq!(entry.identity(), ("dn".to_owned(), "uid=alice,dc=example".to_owned()));
        let unique = Some(("entryUUID", "6ba7b810".to_owned()));
        assert_eq!(LdapEntry { unique, ..entry }.identity(), ("entryUUID".to_owned(), "6ba7b810".to_owned()));
    }

    proptest! {
        #[test]
        fn a_filter_keeps_its_form(user in "\\PC{0,40}") {
            let filled = filter("(uid={user})", &user, "");
            let inside = &filled["(uid=".len()..filled.len() - 1];
            prop_assert!(!inside.contains(['(', ')', '*']));
            prop_assert!(inside.is_ascii());
        }
    }
}
