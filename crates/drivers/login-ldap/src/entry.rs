//! Filters with what was typed in them, and entries as they come back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use keyreeve_identity_port::{Groups, OutsideError};
use ldap3::{ResultEntry, SearchEntry, ldap_escape};

/// The entry of a person.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) dn: String,
    pub(crate) user: String,
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
}

impl Found {
    /// Reads an entry; the name in `user_attr` must be there, once.
    pub(crate) fn read(entry: ResultEntry, user_attr: &str) -> Result<Self, OutsideError> {
        let read = SearchEntry::construct(entry);
        let attributes: BTreeMap<String, Vec<String>> =
            read.attrs.into_iter().map(|(name, values)| (name.to_ascii_lowercase(), values)).collect();
        let named = attributes.get(&user_attr.to_ascii_lowercase()).map(Vec::as_slice);
        let Some([user]) = named else {
            return Err(OutsideError::Malformed("the entry does not have `user_attr` exactly once".to_owned()));
        };
        if read.dn.is_empty() {
            // A bind without a name is an anonymous one.
            return Err(OutsideError::Malformed("the entry has no name".to_owned()));
        }
        Ok(Self { dn: read.dn, user: user.clone(), attributes })
    }
}

/// What is read of a person's entry.
pub(crate) fn attributes_of<'a>(user_attr: &'a str, groups: &'a Groups) -> Vec<&'a str> {
    match groups {
        Groups::Attribute(name) => vec![user_attr, name],
        Groups::None | Groups::Search { .. } => vec![user_attr],
    }
}

/// A filter with values in the places that wait for them (RFC 4515, section 3).
///
/// It is filled in one pass: a value that looks like a place is not filled again.
pub(crate) fn fill(filter: &str, values: &[(&str, &str)]) -> Result<String, OutsideError> {
    let (mut filled, mut rest) = (String::with_capacity(filter.len() + 64), filter);
    let mut places = 0_u32;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        let hit = values.iter().find_map(|(place, value)| Some((after.strip_prefix(place)?, *value)));
        let Some((after, value)) = hit else {
            return Err(OutsideError::Refused("the filter has a place in braces that is not known".to_owned()));
        };
        filled.push_str(before);
        filled.push_str(&escaped(value));
        (rest, places) = (after, places + 1);
    }
    if places == 0 {
        return Err(OutsideError::Refused("the filter has no place for a name".to_owned()));
    }
    filled.push_str(rest);
    Ok(filled)
}

fn escaped(value: &str) -> Cow<'_, str> {
    ldap_escape(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_user(filter: &str, user: &str) -> Result<String, OutsideError> {
        fill(filter, &[("{user}", user)])
    }

    #[test]
    fn what_was_typed_stays_a_value() {
        for (typed, expected) in [
            ("alice", "(uid=alice)"),
            ("*", "(uid=\\2a)"),
            ("a)(uid=*", "(uid=a\\29\\28uid=\\2a)"),
            ("a\\2a", "(uid=a\\5c2a)"),
            ("a\0b", "(uid=a\\00b)"),
            ("{user}", "(uid={user})"),
            ("jörg", "(uid=jörg)"),
        ] {
            assert_eq!(of_user("(uid={user})", typed).unwrap(), expected);
        }
    }

    #[test]
    fn every_place_is_filled_once_and_must_be_known() {
        let values = [("{dn}", "cn={user},dc=x"), ("{user}", "a*")];
        assert_eq!(
            fill("(|(member={dn})(memberUid={user}))", &values).unwrap(),
            "(|(member=cn={user},dc=x)(memberUid=a\\2a))"
        );
        for bad in ["(uid=alice)", "(uid={name})", "(uid={user)", "(uid={user})(x={)", ""] {
            assert!(of_user(bad, "a").is_err(), "{bad}");
        }
    }
}
