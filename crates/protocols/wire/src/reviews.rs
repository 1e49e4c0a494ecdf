//! Going through who has which right.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::names::{FindingKind, PrincipalKind, ReviewSubject, ReviewVerdict};

/// A page of the report on who can do what to which key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessReport {
    /// What each principal may do to each key, under these assumptions: a second factor just shown, from one of the
    /// principal's own networks, now, without an encryption context. Pairs without any right are left out.
    pub rows: Vec<AccessRow>,
    /// Where the next page begins; missing at the end. A page may have no rows and yet a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What somebody should look at; on the first page only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What one principal may do to one key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessRow {
    /// Who.
    pub principal: String,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Which key, by id.
    pub key: String,
    /// One of its aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Its keyring, by name.
    pub keyring: String,
    /// What.
    pub rights: Vec<Right>,
}

/// One way of using a key, and what allows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Right {
    /// The group of actions, such as `decrypt-side`.
    pub group: String,
    /// What it comes through: `policy:NAME`, `grant:ID`, whatever circumstances the grant asks for; besides,
    /// `elevation:ID` where a role for a time is in force.
    pub through: Vec<String>,
    /// The day on which it was last used, at midnight UTC; missing where it was not, or where uses are not noted (of
    /// reading and of managing keys).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// What it is about: the id of a grant or of a review, the name of a principal.
    pub about: String,
    /// In words.
    pub text: String,
}

/// Opens a review of the rights that there are at the moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenReview {
    /// What it goes through; everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<ReviewSubject>,
    /// Only the rights of this principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The names of the people who decide: at most 64; everybody who may, when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviewers: Vec<String>,
    /// Within how many days it is due: 1 to 366; 30 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// What it is for: 1 to 1,024 bytes.
    pub reason: String,
}

/// Decides on a right.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideReview {
    /// The number of the item, from 1.
    pub item: u32,
    /// What is decided.
    pub verdict: ReviewVerdict,
    /// Why: 1 to 1,024 bytes.
    pub reason: String,
}

/// Closes a review.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseReview {
    /// What came of it: 1 to 1,024 bytes.
    pub text: String,
}

/// A review of who has which right.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Review {
    /// Its id: `rvw_…`.
    pub id: String,
    /// What it is for.
    pub reason: String,
    /// What it goes through.
    pub subjects: Vec<ReviewSubject>,
    /// Only the rights of this principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Who decides; everybody who may, when empty.
    pub reviewers: Vec<String>,
    /// When it was opened.
    pub opened: Timestamp,
    /// By whom.
    pub opened_by: String,
    /// When it is overdue.
    pub due: Timestamp,
    /// Is it open and late?
    pub overdue: bool,
    /// How many rights it is about.
    pub items: u32,
    /// On how many of them somebody has decided.
    pub decided: u32,
    /// How many of them were revoked.
    pub revoked: u32,
    /// When it was closed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
}

/// A review with a page of its items.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewWithItems {
    /// The review.
    pub review: Review,
    /// The items, by number.
    pub items: Vec<ReviewItem>,
    /// Where the next page begins; missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// One right in a review, as it was when the review was opened.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewItem {
    /// Its number, from 1.
    pub number: u32,
    /// Who has it: a principal, or what a key names as a consumer.
    pub who: String,
    /// The kind of right.
    pub subject: ReviewSubject,
    /// The role, of a membership or of a grant that gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The id of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The id of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// One of its aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The id of the keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// The operations that a grant gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// When a grant ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The day on which it was last used, at midnight UTC; of a role, on which its principal used any key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Who made it, where that is known: of a consumer, who made the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// What was decided, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ReviewVerdict>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_because: Option<String>,
    /// True when the right was taken away by it; false when it stays, and when it was gone already.
    #[serde(default)]
    pub taken: bool,
}

/// A decision that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewDecided {
    /// The item with it.
    pub item: ReviewItem,
    /// How many items of the review are not decided yet.
    pub undecided: u32,
    /// Why a right that is to go is still there, and what takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}
