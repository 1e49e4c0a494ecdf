//! Drills: rehearsals of what is done in trouble.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The drills that were held, and how each kind stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drills {
    /// The drills, the newest first.
    pub items: Vec<Drill>,
    /// How each kind stands.
    pub standing: Vec<DrillStanding>,
}

/// How drills of one kind stand.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillStanding {
    /// The kind: the name of the runbook that is rehearsed.
    pub kind: String,
    /// When the last good one was; missing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Timestamp>,
    /// How old that may become (hours); missing where nobody is reminded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_hours: Option<u64>,
    /// Whether it is older.
    pub overdue: bool,
}

/// A drill that was held.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drill {
    /// Its number.
    pub number: u64,
    /// What was rehearsed: the name of the runbook.
    pub kind: String,
    /// When it was over.
    pub at: Timestamp,
    /// Whether the server held it by itself; else people did.
    pub by_itself: bool,
    /// Who put it on record.
    pub by: String,
    /// Whether everything went as it should.
    pub passed: bool,
    /// From the loss until keys worked again (milliseconds).
    pub took_ms: u64,
    /// How much of what was acknowledged before the loss would be lost (milliseconds); missing where nothing is
    /// restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_ms: Option<u64>,
    /// The number of the backup that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<u64>,
    /// The destination that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What was done, step by step.
    pub steps: Vec<DrillStep>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One step of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillStep {
    /// What was done or looked at; at most 1,024 characters.
    pub name: String,
    /// Whether it went as it should.
    pub passed: bool,
    /// What was found; at most 1,024 characters.
    #[serde(default)]
    pub found: String,
    /// How long it took (milliseconds).
    pub took_ms: u64,
}

/// Puts a drill on record that people held.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordDrill {
    /// What was rehearsed: the name of the runbook.
    pub kind: String,
    /// Whether everything went as it should.
    pub passed: bool,
    /// From the loss until keys worked again (milliseconds).
    pub took_ms: u64,
    /// How much would have been lost (milliseconds), where something was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_ms: Option<u64>,
    /// The number of the backup that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<u64>,
    /// The destination that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What was done, step by step; at most 64.
    pub steps: Vec<DrillStep>,
    /// Why it failed; of one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A restore drill that the server holds now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AskedDrill {
    /// The number that it is going to have on record.
    pub number: u64,
}
