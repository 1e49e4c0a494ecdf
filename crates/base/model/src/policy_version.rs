//! The history of the policies: which texts made up the deployment's own policies, version by version.
//!
//! A version is a manifest that names texts by their digest; texts are stored once each. Both are only ever added, so
//! that every set of policies that ever applied can be shown, compared and put back.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::filed::{FiledRecord, RowId};
use crate::ids::ApprovalId;
use crate::login::Digest;
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// Policies of a deployment's own at most (count).
pub const POLICIES_MAX: usize = 2000;

/// One version of the deployment's own policies; shipped ones are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyManifest {
    /// Its number: 1, 2, 3 …, without gaps.
    pub n: u64,
    /// SHA-256 of each policy's text.
    pub entries: BTreeMap<Name, Digest>,
    /// Since when it applies.
    pub at: UnixMillis,
    /// Who made it; none where it was found when the history began.
    pub by: Option<Name>,
    /// The approval it was made under, where one was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The version whose texts it puts back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    /// What its author said about it; may be empty.
    #[serde(default)]
    pub comment: Label,
}

/// The names that differ between two versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestChanges {
    /// In the later one only.
    pub added: Vec<Name>,
    /// In both, with another text.
    pub altered: Vec<Name>,
    /// In the earlier one only.
    pub removed: Vec<Name>,
}

impl ManifestChanges {
    /// What turns one set of entries into another.
    #[must_use]
    pub fn between(before: &BTreeMap<Name, Digest>, after: &BTreeMap<Name, Digest>) -> Self {
        let mut changes = Self::default();
        for (name, digest) in after {
            match before.get(name) {
                None => changes.added.push(name.clone()),
                Some(known) if known != digest => changes.altered.push(name.clone()),
                Some(_) => {}
            }
        }
        changes.removed = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        changes
    }

    /// Whether the two are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.altered.is_empty() && self.removed.is_empty()
    }
}

impl FiledRecord for PolicyManifest {
    const TABLE: Table = Table::PolicyManifests;

    fn row_id(&self) -> RowId {
        Self::row_of(self.n)
    }

    fn parent(&self) -> String {
        String::new()
    }
}

impl PolicyManifest {
    /// The row of a version: its number in eight bytes, so that rows stand in the order of versions.
    #[must_use]
    pub fn row_of(n: u64) -> RowId {
        RowId::from(n.to_be_bytes())
    }
}

/// A text that is or was a policy, under the digest of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Cedar.
    pub text: String,
}

impl PolicyText {
    /// The digest that manifests name it by.
    #[must_use]
    pub fn digest_of(text: &str) -> Digest {
        Digest(keyreeve_crypto::digest::sha256(text.as_bytes()))
    }
}

impl FiledRecord for PolicyText {
    const TABLE: Table = Table::PolicyTexts;

    fn row_id(&self) -> RowId {
        RowId::from(Self::digest_of(&self.text).0)
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// A draft of the policies on trial: it is asked whenever the policies are, and has no say. There is one at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDraft {
    /// SHA-256 of each policy's text. The draft is whole: shipped policies aside, it has no others than these.
    pub entries: BTreeMap<Name, Digest>,
    /// The version of the policies that it was compared with when its trial began; 0 before the first.
    pub base: u64,
    /// Since when it is on trial.
    pub at: UnixMillis,
    /// Who put it there.
    pub by: Name,
    /// What its author said about it; may be empty.
    #[serde(default)]
    pub comment: Label,
}

impl PolicyDraft {
    /// The one row.
    #[must_use]
    pub fn row() -> RowId {
        RowId::from(*b"shadow")
    }

    /// SHA-256 over the names and the digests of the texts, in the order of names: what the audit log knows it by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        for (name, text) in &self.entries {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&text.0);
        }
        Digest(keyreeve_crypto::digest::sha256(&bytes))
    }
}

impl FiledRecord for PolicyDraft {
    const TABLE: Table = Table::Drafts;

    fn row_id(&self) -> RowId {
        Self::row()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(of: &[(&str, &str)]) -> BTreeMap<Name, Digest> {
        of.iter().map(|(name, text)| (name.parse().unwrap(), PolicyText::digest_of(text))).collect()
    }

    #[test]
    fn changes_between_versions_are_told_by_name() {
        let (before, after) =
            (entries(&[("a", "1"), ("b", "2"), ("c", "3")]), entries(&[("a", "1"), ("b", "x"), ("d", "3")]));
        let changes = ManifestChanges::between(&before, &after);
        let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&changes.added), ["d"]);
        assert_eq!(names(&changes.altered), ["b"]);
        assert_eq!(names(&changes.removed), ["c"]);
        assert!(!changes.is_empty() && ManifestChanges::between(&after, &after).is_empty());
    }

    #[test]
    fn versions_stand_in_their_order_and_texts_under_their_digest() {
        let rows: Vec<RowId> = [1, 2, 255, 256, 65_536].into_iter().map(PolicyManifest::row_of).collect();
        assert!(rows.is_sorted());
        let text = PolicyText { text: "permit (principal, action, resource);".to_owned() };
        assert_eq!(text.row_id().as_bytes(), PolicyText::digest_of(&text.text).0);
        assert_ne!(PolicyText::digest_of("a"), PolicyText::digest_of("b"));
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_and_knows_no_other_fields() {
        let manifest = PolicyManifest {
            n: 3,
            entries: entries(&[("office-hours", "text")]),
            at: UnixMillis(7),
            by: Some("alice".parse().unwrap()),
            approval: None,
            restores: Some(1),
            comment: "back".parse().unwrap(),
        };
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<PolicyManifest>(&json).unwrap(), manifest);
        assert!(serde_json::from_str::<PolicyManifest>(&json.replacen("{", "{\"new\":1,", 1)).is_err());
    }

    #[test]
    fn a_draft_comes_back_as_it_was_and_its_digest_names_its_texts() {
        let of = |texts: &[(&str, &str)]| PolicyDraft {
            entries: entries(texts),
            base: 2,
            at: UnixMillis(7),
            by: "alice".parse().unwrap(),
            comment: Label::default(),
        };
        let draft = of(&[("a", "1"), ("b", "2")]);
        let json = serde_json::to_string(&draft).unwrap();
        assert_eq!(serde_json::from_str::<PolicyDraft>(&json).unwrap(), draft);
        assert!(serde_json::from_str::<PolicyDraft>(&json.replacen("{", "{\"new\":1,", 1)).is_err());
        let later = PolicyDraft { at: UnixMillis(8), base: 3, ..draft.clone() };
        assert_eq!(later.digest(), draft.digest(), "of the texts alone");
        for other in [of(&[("a", "2"), ("b", "1")]), of(&[("a", "1")]), of(&[("a", "1"), ("c", "2")])] {
            assert_ne!(other.digest(), draft.digest());
        }
    }
}
