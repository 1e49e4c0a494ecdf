//! Who acted, as rules about distinct people see it: a principal and the human being behind it.

use serde::{Deserialize, Serialize};

use crate::metadata::{Label, Name};

/// A principal and the person behind it. One person may stand behind several principals and is still one person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The principal.
    pub name: Name,
    /// The person; the principal's name where nothing else is known.
    pub person: Label,
}

impl Actor {
    /// A principal and its person; without one the principal stands for itself. Names are valid labels: both allow
    /// the characters of a name, and a label may be longer.
    #[must_use]
    pub fn new(name: Name, person: Option<Label>) -> Self {
        let person = person.filter(|person| !person.is_empty());
        let person = person.unwrap_or_else(|| name.as_str().parse().unwrap_or_default());
        Self { name, person }
    }

    /// True when both are the same human being, under whatever name; a principal may also say that its person is the
    /// one another is named for.
    #[must_use]
    pub fn is_same_person(&self, other: &Self) -> bool {
        self.name == other.name
            || self.person == other.person
            || self.name.as_str() == other.person.as_str()
            || self.person.as_str() == other.name.as_str()
    }
}

/// True when this person is among those.
pub(crate) fn is_among<'a>(who: &Actor, mut others: impl Iterator<Item = &'a Actor>) -> bool {
    others.any(|other| who.is_same_person(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_behind_two_principals_is_one_person() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let person_of = |text: &str| Some(text.parse::<Label>().unwrap());
        let person = person_of("Pat Doe");
        let (one, two) = (Actor::new(name("pat"), person.clone()), Actor::new(name("pat-admin"), person));
        assert!(one.is_same_person(&two));
        assert!(!one.is_same_person(&Actor::new(name("lee"), None)));
        assert!(one.is_same_person(&Actor::new(name("pat"), None)), "the same principal is the same person");
        let (pat, other) = (Actor::new(name("pat"), person_of("p. doe")), Actor::new(name("pat-2"), person_of("pat")));
        assert!(pat.is_same_person(&other) && other.is_same_person(&pat), "named as a principal is");
        let unsaid = Actor::new(name("lee"), Some(Label::default()));
        assert_eq!(unsaid.person.as_str(), "lee", "an empty person is nobody in common");
    }
}
