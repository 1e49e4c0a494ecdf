//! Roots of trust by name: which of them wrap something, and what came of it (requirements T1 to T5, K18).
//!
//! A deployment knows its roots by name; the one it was initialised with is called [`MAIN`] unless said. A keyring and
//! the server's own secret name the roots that wrap them: one, several of which each is enough (availability), or
//! several of which all are needed (split control).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thiserror::Error;

use crate::metadata::{Classification, Name};
use crate::time::UnixMillis;

/// The name of the root in `[root]` of the configuration, and of the only one that deployments had before roots had
/// names.
pub const MAIN: &str = "main";

/// Roots that can wrap one thing together, at most (count).
pub const ROOTS_TOGETHER_MAX: usize = 8;

/// How well a root keeps its key, lowest first: the levels of storage of the key management policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Custody {
    /// In a file of this machine: whoever reads it holds everything.
    Software,
    /// Inside a key management service: one in a cloud, another server's, or this server's own when people with shares
    /// or a TPM open it.
    Kms,
    /// Inside a hardware security module, never to leave it.
    Hsm,
}

impl Custody {
    /// The name on wires and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Kms => "kms",
            Self::Hsm => "hsm",
        }
    }

    /// The least custody in which key-encryption keys for data of a class may be kept (requirement K18): those for
    /// restricted data in an HSM, those for confidential data in a key management service.
    #[must_use]
    pub const fn least_for(classification: Classification) -> Self {
        match classification {
            Classification::Restricted => Self::Hsm,
            Classification::Confidential => Self::Kms,
            Classification::Internal | Classification::Public => Self::Software,
        }
    }
}

impl fmt::Display for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many of the named roots open what they wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Any one of them.
    #[default]
    Any,
    /// All of them together.
    All,
}

impl Need {
    /// The name on wires and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::All => "all",
        }
    }
}

/// Why a set of roots was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidRoots {
    /// None, or too many.
    #[error("name 1 to {ROOTS_TOGETHER_MAX} roots of trust")]
    Count,
    /// Alternatives would be mixed with roots that are all needed.
    #[error("`{set}` would be of two kinds, with roots of which any one is enough and others that are all needed")]
    Mixed {
        /// The roots as they are.
        set: String,
    },
    /// All are needed now, and one would be left.
    #[error("of `{set}` all are needed now, and one of them alone would be left")]
    Alone {
        /// The roots as they are.
        set: String,
    },
}

/// Which roots wrap something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootUse {
    /// How many of them it takes.
    #[serde(default)]
    need: Need,
    /// Their names.
    roots: BTreeSet<Name>,
}

impl RootUse {
    /// These roots; with one of them `need` makes no difference and is written as [`Need::Any`].
    ///
    /// # Errors
    /// [`InvalidRoots::Count`].
    pub fn new(need: Need, roots: BTreeSet<Name>) -> Result<Self, InvalidRoots> {
        if roots.is_empty() || roots.len() > ROOTS_TOGETHER_MAX {
            return Err(InvalidRoots::Count);
        }
        Ok(Self { need: if roots.len() == 1 { Need::Any } else { need }, roots })
    }

    /// One root.
    #[must_use]
    pub fn one(root: Name) -> Self {
        Self { need: Need::Any, roots: BTreeSet::from([root]) }
    }

    /// How many of them it takes.
    #[must_use]
    pub const fn need(&self) -> Need {
        self.need
    }

    /// Their names, at least one.
    #[must_use]
    pub const fn roots(&self) -> &BTreeSet<Name> {
        &self.roots
    }

    /// Whether a root is among them.
    #[must_use]
    pub fn names(&self, root: &Name) -> bool {
        self.roots.contains(root)
    }

    /// These roots with `to` in the place of `from`. What was meant stays: of several alternatives one is exchanged,
    /// and what nobody opens alone nobody opens alone afterwards.
    ///
    /// # Errors
    /// [`InvalidRoots::Mixed`] when alternatives would get into a set of which all are needed, or the other way round;
    /// [`InvalidRoots::Alone`] when one root would be left of several that are all needed; [`InvalidRoots::Count`].
    pub fn replacing(&self, from: &Name, to: &Self) -> Result<Self, InvalidRoots> {
        if !self.names(from) {
            return Ok(self.clone());
        }
        if self.roots.len() == 1 {
            return Ok(to.clone());
        }
        if to.roots.len() > 1 && to.need != self.need {
            return Err(InvalidRoots::Mixed { set: self.to_string() });
        }
        let roots: BTreeSet<Name> = self.roots.iter().filter(|root| *root != from).chain(&to.roots).cloned().collect();
        if self.need == Need::All && roots.len() == 1 {
            return Err(InvalidRoots::Alone { set: self.to_string() });
        }
        Self::new(self.need, roots)
    }

    /// What they amount to: where any one opens, the weakest counts; where all are needed, the strongest.
    pub fn custody(&self, of: impl Fn(&Name) -> Custody) -> Custody {
        let each = self.roots.iter().map(of);
        let amounts = match self.need {
            Need::Any => each.min(),
            Need::All => each.max(),
        };
        amounts.unwrap_or(Custody::Software)
    }
}

impl Default for RootUse {
    /// [`MAIN`] alone.
    fn default() -> Self {
        Self::one(main())
    }
}

impl fmt::Display for RootUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = match self.need {
            Need::Any => " or ",
            Need::All => " and ",
        };
        let names: Vec<&str> = self.roots.iter().map(Name::as_str).collect();
        f.write_str(&names.join(joint))
    }
}

/// The name [`MAIN`].
#[must_use]
pub fn main() -> Name {
    Name::literal(MAIN)
}

/// A secret under the roots that open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wrapped {
    /// Of a time when there was one root: what it returned, in hexadecimal.
    Main(String),
    /// A part for each root.
    Under(Parts),
}

/// What each root returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Any: each part is the secret. All: the secret is what all parts are together (exclusive or).
    pub need: Need,
    /// Names this splitting and is bound to each part, so that parts of two splittings never meet; 16 bytes in
    /// hexadecimal. None where any part is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// By root, in hexadecimal.
    pub parts: BTreeMap<Name, String>,
}

impl Wrapped {
    /// Which roots open it.
    #[must_use]
    pub fn under(&self) -> RootUse {
        match self {
            Self::Main(_) => RootUse::default(),
            Self::Under(parts) => RootUse { need: parts.need, roots: parts.parts.keys().cloned().collect() },
        }
    }

    /// Whether a root has a part in it.
    #[must_use]
    pub fn names(&self, root: &Name) -> bool {
        match self {
            Self::Main(_) => root.as_str() == MAIN,
            Self::Under(parts) => parts.parts.contains_key(root),
        }
    }
}

/// A root of trust that a deployment knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootRecord {
    /// Its kind, for example `shamir` or `pkcs11`.
    pub kind: String,
    /// What it needs to open again, and no secret: share threshold and the like.
    pub public: serde_json::Value,
    /// When it was joined.
    pub joined: UnixMillis,
    /// By whom; nobody where the deployment was initialised with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Name>,
}

/// A root of trust that was one of the deployment's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredRoot {
    /// What it was called; another may be called so since.
    pub name: Name,
    /// What it was.
    pub root: RootRecord,
    /// When it was retired.
    pub at: UnixMillis,
    /// By whom.
    pub by: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_one_root_wrapped_before_roots_had_names_is_still_read() {
        let old: Wrapped = serde_json::from_str("\"00ff\"").unwrap();
        assert_eq!(old, Wrapped::Main("00ff".to_owned()));
        assert_eq!(old.under(), RootUse::default());
        assert_eq!(serde_json::to_string(&old).unwrap(), "\"00ff\"");
        assert!(serde_json::from_str::<Wrapped>(r#"{"need":"any","parts":{},"more":1}"#).is_err());
    }

    #[test]
    fn a_set_of_roots_has_at_least_one_and_not_many() {
        assert_eq!(RootUse::new(Need::All, BTreeSet::new()), Err(InvalidRoots::Count));
        let many = (0..=ROOTS_TOGETHER_MAX).map(|n| format!("r{n}").parse().unwrap()).collect();
        assert_eq!(RootUse::new(Need::Any, many), Err(InvalidRoots::Count));
        assert_eq!(RootUse::new(Need::All, names(&["a"])).unwrap(), RootUse::one("a".parse().unwrap()));
    }

    #[test]
    fn one_root_of_a_set_is_replaced_and_the_rest_stays_as_it_was_meant() {
        let set = |need, of: &[&str]| RootUse::new(need, names(of)).unwrap();
        let one = |of: &str| RootUse::one(of.parse().unwrap());
        let main = main();
        assert_eq!(one("main").replacing(&main, &set(Need::All, &["a", "b"])), Ok(set(Need::All, &["a", "b"])));
        assert_eq!(one("x").replacing(&main, &one("a")), Ok(one("x")));
        for need in [Need::Any, Need::All] {
            let both = set(need, &["main", "people"]);
            assert_eq!(both.replacing(&main, &one("hsm")), Ok(set(need, &["hsm", "people"])));
            assert_eq!(both.replacing(&main, &set(need, &["a", "b"])), Ok(set(need, &["a", "b", "people"])));
            let other = if need == Need::Any { Need::All } else { Need::Any };
            let mixed = both.replacing(&main, &set(other, &["a", "b"]));
            assert_eq!(mixed, Err(InvalidRoots::Mixed { set: both.to_string() }));
        }
        let any = set(Need::Any, &["main", "people"]);
        assert_eq!(any.replacing(&main, &one("people")), Ok(one("people")), "an alternative less");
        let all = set(Need::All, &["main", "people"]);
        let alone = all.replacing(&main, &one("people"));
        assert_eq!(alone, Err(InvalidRoots::Alone { set: "main and people".to_owned() }));
    }

    #[test]
    fn alternatives_are_as_weak_as_the_weakest_and_splits_as_strong_as_the_strongest() {
        let of = |name: &Name| if name.as_str() == "hsm" { Custody::Hsm } else { Custody::Software };
        let both = names(&["hsm", "file"]);
        assert_eq!(RootUse::new(Need::Any, both.clone()).unwrap().custody(of), Custody::Software);
        assert_eq!(RootUse::new(Need::All, both).unwrap().custody(of), Custody::Hsm);
    }

    #[test]
    fn custody_rises_with_the_class() {
        let levels = Classification::ALL.map(Custody::least_for);
        assert!(levels.is_sorted());
        assert_eq!((levels[0], levels[2], levels[3]), (Custody::Software, Custody::Kms, Custody::Hsm));
    }
}
