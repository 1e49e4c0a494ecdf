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
    pub(crate) unique: Option<(&'static str, String)>,
}

/// What an entry is called for good: as text (RFC 4530), or as bytes in Active Directory.
const UNIQUE: [&str; 2] = ["entryUUID", "objectGUID"];

/// An entry that was found: whose password is tried, and what it says, or why it cannot be used.
pub(crate) struct Sought {
    pub(crate) dn: String,
    pub(crate) read: Result<Found, &'static str>,
}

impl Sought {
    /// Reads an entry; the name in `user_attr` must be there, once.
    pub(crate) fn read(entry: ResultEntry, user_attr: &str) -> Self {
        let read = SearchEntry::construct(entry);
        let unique = unique(&read);
        let attributes: BTreeMap<String, Vec<String>> =
            read.attrs.into_iter().map(|(name, values)| (name.to_ascii_lowercase(), values)).collect();
        let named = match attributes.get(&user_attr.to_ascii_lowercase()).map(Vec::as_slice) {
            Some([user]) => Ok(user.clone()),
            _ => Err("entry-without-name"),
        };
        let dn = read.dn;
        let read = named.map(|user| Found { dn: dn.clone(), user, attributes, unique });
        Self { dn, read }
    }
}

fn unique(entry: &SearchEntry) -> Option<(&'static str, String)> {
    UNIQUE.into_iter().find_map(|wanted| {
        let is_it = |name: &str| name.eq_ignore_ascii_case(wanted);
        let text = entry.attrs.iter().find(|(name, _)| is_it(name)).and_then(|(_, values)| values.first());
        let bytes = entry.bin_attrs.iter().find(|(name, _)| is_it(name)).and_then(|(_, values)| values.first());
        let value = match (wanted, text, bytes) {
            ("entryUUID", Some(text), _) => text.to_ascii_lowercase(),
            // The library takes bytes for a text where they happen to be one.
            (_, Some(text), _) => hexadecimal(text.as_bytes()),
            (_, None, Some(bytes)) => hexadecimal(bytes),
            (_, None, None) => return None,
        };
        Some((wanted, value))
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is read of a person's entry.
pub(crate) fn attributes_of<'a>(user_attr: &'a str, groups: &'a Groups) -> Vec<&'a str> {
    let mut wanted = vec![user_attr];
    match groups {
        Groups::Attribute(name) => wanted.push(name),
        Groups::None | Groups::Search { .. } => {}
    }
    // Attributes of the directory's own come only where they are asked for by name (RFC 4511 section 4.5.1.8).
    wanted.extend(UNIQUE);
    wanted
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
        let (dn, user) = ("uid=a,dc=x".to_owned(), "a".to_owned());
        let found = Found { dn, user, attributes: BTreeMap::new(), unique: None };
        assert_eq!(
            of_groups("(|(member={dn})(memberUid={user}))", &found).unwrap(),
            "(|(member=uid=a,dc=x)(memberUid=a))"
        );
        assert!(of_groups("(objectClass=*)", &found).is_err());
    }

    #[test]
    fn an_entry_has_a_name_for_good_as_text_or_as_bytes() {
        let entry = |attrs: &[(&str, &str)], bytes: &[(&str, &[u8])]| SearchEntry {
            dn: "uid=a,dc=x".to_owned(),
            attrs: attrs.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect(),
            bin_attrs: bytes.iter().map(|(name, value)| ((*name).to_owned(), vec![value.to_vec()])).collect(),
        };
        let named = |attribute, value: &str| Some((attribute, value.to_owned()));
        assert_eq!(unique(&entry(&[("entryuuid", "6BA7-b8")], &[])), named("entryUUID", "6ba7-b8"));
        assert_eq!(unique(&entry(&[], &[("objectGUID", &[0xff, 1])])), named("objectGUID", "ff01"));
        assert_eq!(unique(&entry(&[("objectGUID", "AB")], &[])), named("objectGUID", "4142"));
        assert_eq!(unique(&entry(&[("uid", "a")], &[])), None);
    }
}
