//! What people name when a right is asked for: operations, or groups of them.
//!
//! Whoever wants a file opened thinks of decrypting; which operations that takes is for the catalogue to know. A group
//! stands for its operations at the instant it is asked for: what others consent to, and what is kept, names each.

use keyreeve_policy::groups;
use std::borrow::Borrow;
use std::collections::BTreeSet;

use crate::catalogue::{self, Descriptor};

/// Groups that can be named instead of their operations. The access report shows rights by these names.
const NAMED: [&str; 7] = [
    groups::READ,
    groups::ENCRYPT_SIDE,
    groups::DECRYPT_SIDE,
    groups::SIGN_SIDE,
    groups::VERIFY_SIDE,
    groups::DERIVE_SIDE,
    groups::LIFECYCLE,
];

/// The group that a name stands for: `decrypt-side`, or `decrypt` for short.
fn group(name: &str) -> Option<&'static str> {
    NAMED.into_iter().find(|group| name == *group || group.strip_suffix("-side") == Some(name))
}

/// The operations that names stand for. Of a group those that fit; any other name stays as it is.
pub(super) fn spelled_out<T>(names: &BTreeSet<T>, fits: fn(&Descriptor) -> bool) -> BTreeSet<T>
where
    T: Borrow<str> + Clone + Ord + TryFrom<String>,
{
    let operations = |name: &T| match group(name.borrow()) {
        Some(group) => {
            let rows = catalogue::ALL.iter().filter(|row| row.groups.contains(&group) && fits(row));
            rows.filter_map(|row| row.name.to_owned().try_into().ok()).collect()
        }
        None => vec![name.clone()],
    };
    names.iter().flat_map(operations).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::grants::is_grantable;

    fn of(names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        spelled_out(&names, is_grantable).into_iter().collect()
    }

    #[test]
    fn a_group_is_its_operations_by_its_long_and_its_short_name() {
        let decrypt = of(&["decrypt"]);
        assert_eq!(decrypt, of(&["decrypt-side"]));
        for operation in ["key.decrypt", "key.unwrap-data-key"] {
            assert!(decrypt.contains(&operation.to_owned()), "{decrypt:?}");
        }
        assert!(!decrypt.iter().any(|name| name == "key.encrypt"));
        assert_eq!(of(&["verify", "key.sign"]), ["key.sign", "key.verify", "key.verify-mac"]);
    }

    #[test]
    fn what_is_no_group_stays_as_it_is() {
        assert_eq!(of(&["key.decypt"]), ["key.decypt"]);
        assert_eq!(of(&["access", "side"]), ["access", "side"], "a group, but none of operations on keys");
        assert!(of(&["lifecycle"]).is_empty(), "nothing of it can be granted");
    }
}
