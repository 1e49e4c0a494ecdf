//! A scan of everything that is stored, for damage (requirement T10): how far it has come.
//!
//! It is a job. What stands here is all that a server needs to go on with it after a crash.

use serde::{Deserialize, Serialize};

use crate::record::Table;

/// What a scan looks at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Keyrings.
    Keyrings,
    /// Keys, the material of each, and the destruction records of those that are gone.
    Keys,
    /// Destruction records, and that their keys are there.
    Destructions,
    /// Tokens.
    Tokens,
    /// Principals.
    Principals,
    /// Policies, against the newest version of them.
    Policies,
    /// Everything else that has a MAC, table by table.
    Filed,
    /// Whether the vault has every epoch key that material is under.
    Epochs,
    /// The audit log.
    Log,
}

impl Stage {
    /// The one to begin with.
    pub const FIRST: Self = Self::Keyrings;

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Keyrings => Some(Self::Keys),
            Self::Keys => Some(Self::Destructions),
            Self::Destructions => Some(Self::Tokens),
            Self::Tokens => Some(Self::Principals),
            Self::Principals => Some(Self::Policies),
            Self::Policies => Some(Self::Filed),
            Self::Filed => Some(Self::Epochs),
            Self::Epochs => Some(Self::Log),
            Self::Log => None,
        }
    }

    /// The name on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyrings => "keyrings",
            Self::Keys => "keys",
            Self::Destructions => "destructions",
            Self::Tokens => "tokens",
            Self::Principals => "principals",
            Self::Policies => "policies",
            Self::Filed => "filed",
            Self::Epochs => "epochs",
            Self::Log => "log",
        }
    }
}

/// A hash of the audit log's tree, in hexadecimal in storage form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeHash(#[serde(with = "hex::serde")] pub [u8; 32]);

/// The audit log as it was at some size: what an earlier checkpoint said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogMark {
    /// Entries.
    pub size: u64,
    /// The root of their tree.
    pub root: TreeHash,
}

/// How far the audit log was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPlace {
    /// The signed checkpoint that the entries must add up to.
    pub signed: LogMark,
    /// The next entry.
    pub at: u64,
    /// The tree of the entries so far, as the roots of its perfect subtrees; none once some could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peaks: Option<Vec<TreeHash>>,
}

/// A scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// What it looks at now.
    pub stage: Stage,
    /// Of filed records: the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// The last row that was looked at, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Rows that were looked at (count).
    pub rows: u64,
    /// Versions of keys whose material was opened (count).
    pub materials: u64,
    /// Versions of keys whose material could not be tried, because their root of trust did not answer (count).
    pub untried: u64,
    /// Entries of the audit log that were read (count).
    pub entries: u64,
    /// Places that were found damaged (count); those that were known before as well.
    pub damaged: u64,
    /// What earlier checkpoints said of the audit log, by size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<LogMark>,
    /// How far the audit log was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPlace>,
}

impl Scan {
    /// One that has looked at nothing yet.
    #[must_use]
    pub const fn begin(marks: Vec<LogMark>) -> Self {
        Self {
            stage: Stage::FIRST,
            table: None,
            after: None,
            rows: 0,
            materials: 0,
            untried: 0,
            entries: 0,
            damaged: 0,
            marks,
            log: None,
        }
    }

    /// The same at the beginning of the next stage, or as it is, and whether it ended.
    #[must_use]
    pub fn at_next_stage(self) -> (Self, bool) {
        match self.stage.next() {
            Some(stage) => (Self { stage, table: None, after: None, ..self }, false),
            None => (self, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_goes_through_every_stage_once_and_comes_back_from_its_storage_form() {
        let mark = LogMark { size: 3, root: TreeHash([7; 32]) };
        let mut scan = Scan::begin(vec![mark]);
        let mut seen = Vec::new();
        loop {
            seen.push(scan.stage.name());
            scan.table = Some(Table::Grants);
            scan.log = Some(LogPlace { signed: mark, at: 2, peaks: Some(vec![TreeHash([1; 32])]) });
            let text = serde_json::to_string(&scan).unwrap();
            assert_eq!(serde_json::from_str::<Scan>(&text).unwrap(), scan);
            let (next, ended) = scan.at_next_stage();
            if ended {
                break;
            }
            scan = next;
        }
        let all = ["keyrings", "keys", "destructions", "tokens", "principals", "policies", "filed", "epochs", "log"];
        assert_eq!(seen, all);
    }
}
