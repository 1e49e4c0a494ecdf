//! Alterations of lists and labels: what comes and what goes, or all that there shall be. They are applied to the row
//! that the change is then compared with, so two who alter one list at a time do not undo one another. What they did is
//! told value by value in the audit record.

use keyreeve_model::metadata::{Label, Name};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::error::{Code, Error};
use crate::pipeline::Outcome;

/// How a list is altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, bound(deserialize = "T: Ord + Deserialize<'de>"))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
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

/// What an alteration did, as details of its audit record: who was given access, and by which certificate, must be seen
/// from the log alone. Lists and labels are told as JSON. The size is bounded by the limits of what is stored, and by
/// those of a record, which keeps the beginning and the digest of what is too long.
#[derive(Default)]
pub(super) struct Differences(BTreeMap<String, String>);

impl Differences {
    fn tell(&mut self, what: &str, name: &str, values: impl Serialize) -> Result<(), Error> {
        self.0.insert(format!("{what}_{name}"), serde_json::to_string(&values).map_err(Error::internal)?);
        Ok(())
    }

    /// `added_` and `removed_` with the name: what came to a list and what went.
    pub(super) fn list<T>(mut self, name: &str, old: &BTreeSet<T>, new: &BTreeSet<T>) -> Result<Self, Error>
    where
        T: Ord + Display,
    {
        for (what, from, than) in [("added", new, old), ("removed", old, new)] {
            let values: Vec<String> = from.difference(than).map(ToString::to_string).collect();
            if !values.is_empty() {
                self.tell(what, name, values)?;
            }
        }
        Ok(self)
    }

    /// The same for labels, with their values: one that got another value went and came.
    pub(super) fn labels(mut self, old: &BTreeMap<Name, Label>, new: &BTreeMap<Name, Label>) -> Result<Self, Error> {
        for (what, from, than) in [("added", new, old), ("removed", old, new)] {
            let values: BTreeMap<&Name, &Label> =
                from.iter().filter(|(name, value)| than.get(*name) != Some(*value)).collect();
            if !values.is_empty() {
                self.tell(what, "labels", values)?;
            }
        }
        Ok(self)
    }

    /// `old_` and `new_` with the name, where a value became another.
    pub(super) fn value(mut self, name: &str, old: &impl ToString, new: &impl ToString) -> Self {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.0.insert(format!("old_{name}"), old);
            self.0.insert(format!("new_{name}"), new);
        }
        self
    }

    /// The names of what changed.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.0.keys().filter_map(|key| key.split_once('_')).map(|(_, name)| name).collect()
    }

    /// Puts everything into the record of an outcome.
    pub(super) fn told_in<R>(self, outcome: Outcome<R>) -> Outcome<R> {
        self.0.into_iter().fold(outcome, |outcome, (name, value)| outcome.detail(&name, value))
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

    #[test]
    fn what_came_and_what_went_is_told() {
        let told = |differences: Differences| differences.0.into_iter().collect::<Vec<_>>();
        let pairs = |all: &[(&str, &str)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let lists = Differences::default().list("roles", &names(&["a", "b"]), &names(&["b", "c", "d"])).unwrap();
        assert_eq!(lists.names(), ["roles"].into());
        assert_eq!(told(lists), pairs(&[("added_roles", r#"["c","d"]"#), ("removed_roles", r#"["a"]"#)]));
        let (old, new) = (labels(&[("tier", "gold"), ("team", "a\"b")]), labels(&[("tier", "tin"), ("site", "x")]));
        let wanted =
            [("added_labels", r#"{"site":"x","tier":"tin"}"#), ("removed_labels", r#"{"team":"a\"b","tier":"gold"}"#)];
        assert_eq!(told(Differences::default().labels(&old, &new).unwrap()), pairs(&wanted));
        let values = Differences::default().value("owner", &"a", &"b").value("class", &1, &1);
        assert_eq!(told(values), pairs(&[("new_owner", "b"), ("old_owner", "a")]));
        let same = Differences::default().list("roles", &names(&["a"]), &names(&["a"])).unwrap();
        assert!(told(same.labels(&old, &old).unwrap()).is_empty(), "what stays is not told");
    }
}
