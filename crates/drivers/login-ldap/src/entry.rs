//! Filters with what was typed in them, and entries as they come back.

use std::collections::BTreeMap;

use keyreeve_identity::ldap::filter;
use keyreeve_identity_port::{Groups, OutsideError};
use ldap3::{ResultEntry, SearchEntry};

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

/// A filter with a name in it: without a place for one, everybody would be found by any name.
pub(crate) fn of_person(template: &str, user: &str) -> Result<String, OutsideError> {
    if !template.contains("{user}") {
        return Err(OutsideError::Refused("the filter has no `{user}`".to_owned()));
    }
    Ok(filter(template, user, ""))
}

/// A filter of groups.
pub(crate) fn of_groups(template: &str, of: &Found) -> Result<String, OutsideError> {
    if !template.contains("{user}") && !template.contains("{dn}") {
        return Err(OutsideError::Refused("the filter of groups has neither `{dn}` nor `{user}`".to_owned()));
    }
    Ok(filter(template, &of.user, &of.dn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_a_place_for_a_name() {
        assert_eq!(of_person("(uid={user})", "a*").unwrap(), "(uid=a\\2a)");
        assert!(of_person("(uid=alice)", "alice").is_err());
        let found = Found { dn: "uid=a,dc=x".to_owned(), user: "a".to_owned(), attributes: BTreeMap::new() };
        assert_eq!(
            of_groups("(|(member={dn})(memberUid={user}))", &found).unwrap(),
            "(|(member=uid=a,dc=x)(memberUid=a))"
        );
        assert!(of_groups("(objectClass=*)", &found).is_err());
    }
}
