//! Alterations of lists and labels: what comes and what goes, or all that there shall be. They are applied to the row
//! that the change is then compared with, so two who alter one list at a time do not undo one another.

use keyreeve_model::metadata::{Label, Name};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::error::{Code, Error};

/// How a list is altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetPatch<T> {
    /// Some come, some go, the rest stays. What is there already may be added again; what is not there cannot be
    /// removed, for that is a mistake more often than not.
    Alter {
        /// What comes.
        add: BTreeSet<T>,
        /// What goes.
        remove: BTreeSet<T>,
    },
    /// The list becomes this one.
    Replace(BTreeSet<T>),
}

impl<T> Default for SetPatch<T> {
    fn default() -> Self {
        Self::Alter { add: BTreeSet::new(), remove: BTreeSet::new() }
    }
}

/// How labels are altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelPatch {
    /// Some are set, some go, the rest stays.
    Alter {
        /// New labels, or new values of labels.
        set: BTreeMap<Name, Label>,
        /// Names of labels that go.
        remove: BTreeSet<Name>,
    },
    /// The labels become these.
    Replace(BTreeMap<Name, Label>),
}

impl Default for LabelPatch {
    fn default() -> Self {
        Self::Alter { set: BTreeMap::new(), remove: BTreeSet::new() }
    }
}

fn absent(one: &impl Display, what: &str) -> Error {
    Error::new(Code::WrongState, format!("`{one}` is not among the {what}: nothing was changed"))
}

fn both_ways(one: &impl Display, what: &str) -> Error {
    Error::invalid(format!("`{one}` is to come and to go among the {what}: say one of both"))
}

impl<T: Ord + Clone + Display> SetPatch<T> {
    /// Applies the patch; `what` names the list, such as `consumers of the key`.
    ///
    /// # Errors
    /// When something that is not there shall go, or something shall come and go.
    pub(super) fn apply(&self, what: &str, set: &mut BTreeSet<T>) -> Result<(), Error> {
        match self {
            Self::Replace(all) => set.clone_from(all),
            Self::Alter { add, remove } => {
                if let Some(one) = add.intersection(remove).next() {
                    return Err(both_ways(one, what));
                }
                if let Some(one) = remove.iter().find(|one| !set.contains(one)) {
                    return Err(absent(one, what));
                }
                set.retain(|one| !remove.contains(one));
                set.extend(add.iter().cloned());
            }
        }
        Ok(())
    }
}

impl LabelPatch {
    /// Applies the patch; `what` names the labels, such as `labels of the key`.
    ///
    /// # Errors
    /// As [`SetPatch::apply`].
    pub(super) fn apply(&self, what: &str, labels: &mut BTreeMap<Name, Label>) -> Result<(), Error> {
        match self {
            Self::Replace(all) => labels.clone_from(all),
            Self::Alter { set, remove } => {
                if let Some(one) = remove.iter().find(|one| set.contains_key(*one)) {
                    return Err(both_ways(one, what));
                }
                if let Some(one) = remove.iter().find(|one| !labels.contains_key(*one)) {
                    return Err(absent(one, what));
                }
                labels.retain(|name, _| !remove.contains(name));
                labels.extend(set.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> BTreeSet<Name> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn labels(texts: &[(&str, &str)]) -> BTreeMap<Name, Label> {
        texts.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn altered(add: &[&str], remove: &[&str]) -> Result<BTreeSet<Name>, Code> {
        let mut set = names(&["a", "b"]);
        let patch = SetPatch::Alter { add: names(add), remove: names(remove) };
        patch.apply("letters", &mut set).map(|()| set).map_err(|error| error.code())
    }

    #[test]
    fn lists_are_altered_in_part_or_replaced() {
        assert_eq!(altered(&["c", "a"], &["b"]), Ok(names(&["a", "c"])));
        assert_eq!(altered(&[], &[]), Ok(names(&["a", "b"])));
        assert_eq!(altered(&[], &["z"]), Err(Code::WrongState));
        assert_eq!(altered(&["a"], &["a"]), Err(Code::InvalidRequest));
        let mut set = names(&["a"]);
        SetPatch::Replace(names(&["z"])).apply("letters", &mut set).unwrap();
        assert_eq!(set, names(&["z"]));
    }

    #[test]
    fn labels_are_set_in_part_or_replaced() {
        let start = || labels(&[("tier", "gold"), ("team", "shop")]);
        let mut found = start();
        let patch = LabelPatch::Alter { set: labels(&[("tier", "tin")]), remove: names(&["team"]) };
        patch.apply("labels", &mut found).unwrap();
        assert_eq!(found, labels(&[("tier", "tin")]));
        assert_eq!(patch.apply("labels", &mut found).unwrap_err().code(), Code::WrongState);
        let both = LabelPatch::Alter { set: labels(&[("tier", "tin")]), remove: names(&["tier"]) };
        assert_eq!(both.apply("labels", &mut found).unwrap_err().code(), Code::InvalidRequest);
        LabelPatch::Replace(start()).apply("labels", &mut found).unwrap();
        assert_eq!(found, start());
    }
}
