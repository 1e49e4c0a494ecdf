//! The installation itself: one record, written by initialisation.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::ids::DeploymentId;
use crate::lifecycle::Profile;
use crate::metadata::Name;
use crate::roots::{RetiredRoot, RootRecord, Wrapped};
use crate::time::UnixMillis;

/// How many retired roots a deployment's record keeps (count).
pub const RETIRED_MAX: usize = 64;

/// One installation of Keyreeve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRecord {
    /// Its id, for ever.
    pub id: DeploymentId,
    /// When it was initialised.
    pub created: UnixMillis,
    /// Of a time when there was one root: its kind. Read by [`Self::roots`], written no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_kind: Option<String>,
    /// Of that time: what the root needs to open again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_public: Option<serde_json::Value>,
    /// The roots of trust, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    roots: BTreeMap<Name, RootRecord>,
    /// Roots that were retired, with what each needs to open again: for copies of before that are under it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<RetiredRoot>,
    /// Which revision of SP 800-57 part 1 rules new keys.
    pub profile: Profile,
    /// The origin line of the audit log's checkpoints.
    pub log_origin: String,
    /// The public keys that verify the audit log's checkpoints (C2SP signed-note vkeys).
    pub log_vkeys: Vec<String>,
    /// The secret of records and audit log, wrapped by roots of trust.
    pub system_secret: Wrapped,
}

/// What [`DeploymentRecord::new`] needs.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// Its id, for ever.
    pub id: DeploymentId,
    /// When it is initialised.
    pub created: UnixMillis,
    /// The root it is initialised with, and its name.
    pub root: (Name, RootRecord),
    /// Which revision of SP 800-57 part 1 rules new keys.
    pub profile: Profile,
    /// The origin line of the audit log's checkpoints.
    pub log_origin: String,
    /// The public keys that verify the audit log's checkpoints.
    pub log_vkeys: Vec<String>,
    /// The secret of records and audit log, wrapped.
    pub system_secret: Wrapped,
}

impl DeploymentRecord {
    /// A new installation.
    #[must_use]
    pub fn new(new: NewDeployment) -> Self {
        let NewDeployment { id, created, root, profile, log_origin, log_vkeys, system_secret } = new;
        let (root_kind, root_public, roots) = (None, None, BTreeMap::from([root]));
        let retired = Vec::new();
        Self { id, created, root_kind, root_public, roots, retired, profile, log_origin, log_vkeys, system_secret }
    }

    /// The roots of trust, by name.
    #[must_use]
    pub fn roots(&self) -> BTreeMap<Name, RootRecord> {
        let mut roots = self.roots.clone();
        if let (Some(kind), Some(public)) = (&self.root_kind, &self.root_public) {
            let before_names =
                || RootRecord { kind: kind.clone(), public: public.clone(), joined: self.created, by: None };
            roots.entry(crate::roots::main()).or_insert_with(before_names);
        }
        roots
    }

    /// Takes a root out, and keeps its record apart.
    pub fn retire(&mut self, name: &Name, at: UnixMillis, by: &Name) {
        let mut roots = self.roots();
        if let Some(root) = roots.remove(name) {
            // No record grows without bound: the oldest go.
            let over = (self.retired.len() + 1).saturating_sub(RETIRED_MAX);
            self.retired.drain(..over);
            self.retired.push(RetiredRoot { name: name.clone(), root, at, by: by.clone() });
            self.set_roots(roots);
        }
    }

    /// Replaces the roots.
    pub fn set_roots(&mut self, roots: BTreeMap<Name, RootRecord>) {
        (self.root_kind, self.root_public, self.roots) = (None, None, roots);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_of_before_roots_had_names_has_one() {
        let old = r#"{"id":"dep_0000000000000000000000000G","created":0,"root_kind":"shamir","root_public":{"k":3},
            "profile":"rev5","log_origin":"a/b","log_vkeys":[],"system_secret":"00ff"}"#;
        let id = DeploymentId::new(UnixMillis(0), [0; 10]).to_string();
        let mut record: DeploymentRecord =
            serde_json::from_str(&old.replace("dep_0000000000000000000000000G", &id)).unwrap();
        let roots = record.roots();
        assert_eq!(roots.len(), 1);
        let main = &roots[&crate::roots::main()];
        assert_eq!((main.kind.as_str(), &main.public["k"]), ("shamir", &serde_json::json!(3)));
        record.set_roots(roots.clone());
        let again: DeploymentRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(again.roots(), roots);
        let mut retired = again.clone();
        retired.retire(&crate::roots::main(), UnixMillis(7), &"olga".parse().unwrap());
        assert_eq!((retired.roots().len(), &retired.retired[0].root), (0, main));
        retired.retire(&crate::roots::main(), UnixMillis(8), &"olga".parse().unwrap());
        assert_eq!(retired.retired.len(), 1, "there is none any more");
    }
}
