//! Requests that wait for the consent of others, and the rules that make them wait.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::mfa::MfaAnswer;
use crate::names::{ApprovalState, MfaKind, VoteDecision};

/// What something is about, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetRef {
    /// The kind: `key`, `keyring`, `principal`, …
    pub kind: String,
    /// The id.
    pub id: String,
}

/// Something that approvers are shown besides the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownFact {
    /// What.
    pub name: String,
    /// What it was when it was asked for; where it changes, `old -> new`.
    pub value: String,
}

/// Who could take a seat that is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidates {
    /// The seat, as in `missing`.
    pub seat: String,
    /// People who are let in, have a second factor, may vote on this and have not done so.
    pub people: Vec<String>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vote {
    /// Whose.
    pub by: String,
    /// Yes or no.
    pub decision: VoteDecision,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// How the second factor was shown.
    pub proof: MfaKind,
    /// What can be checked of that later. Of one-time codes (`totp:…`) only the server can; of an authenticator
    /// (`webauthn:…`) anybody who has its public key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// The audit record of the vote.
    pub record: String,
    /// The same person voted again: this one counts no more.
    #[serde(default)]
    pub superseded: bool,
}

/// A request that waits for consent, or has waited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Its id: `apr_…`.
    pub id: String,
    /// The deployment that it was made in; the digest covers it.
    pub deployment: String,
    /// Where it stands.
    pub state: ApprovalState,
    /// Who asks.
    pub proposer: String,
    /// For which operation.
    pub operation: String,
    /// On what.
    pub target: TargetRef,
    /// The second thing it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<TargetRef>,
    /// The revision of what it replaces as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_revision: Option<i64>,
    /// Everything else that is asked for.
    #[schema(value_type = Object)]
    pub form: serde_json::Value,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// SHA-256 of the request in its canonical form, in hexadecimal: what is consented to.
    pub digest: String,
    /// The rules that ask for consent.
    pub rules: Vec<String>,
    /// Whose consent they ask for.
    pub seats: Vec<String>,
    /// Whose is missing.
    pub missing: Vec<String>,
    /// Who could give it, a list for each that is missing; only where the request is shown by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidates>,
    /// What it is about, as it was then.
    pub shown: Vec<ShownFact>,
    /// What of that is otherwise now, as `before -> now`; only where the request is shown by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overtaken: Vec<ShownFact>,
    /// The votes, oldest first.
    pub votes: Vec<Vote>,
    /// When it was made.
    pub created: Timestamp,
    /// When it is over, unless it was ended before.
    pub expires: Timestamp,
    /// When the last consent was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Timestamp>,
    /// When it was executed, withdrawn or rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Who rejected it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_by: Option<String>,
    /// The audit record of its execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed_as: Option<String>,
    /// How old a second factor may be at a vote, in seconds.
    pub mfa_seconds: u64,
}

/// A vote to be given.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CastVote {
    /// Yes or no.
    pub decision: VoteDecision,
    /// The digest of what was looked at: a vote counts for that and nothing else.
    pub digest: String,
    /// Why: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The second factor: a code, or an authenticator's answer to a challenge for this vote. No recovery code.
    pub proof: MfaAnswer,
}

/// A request that waited and ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Executed {
    /// The approval.
    pub approval: String,
    /// The operation.
    pub operation: String,
    /// On what.
    pub target: TargetRef,
    /// Its audit record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// What a request waits for: a part of the answer 202.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// The approval, as in the header `Keyreeve-Approval`.
    pub id: String,
    /// SHA-256 of the request in its canonical form, in hexadecimal.
    pub digest: String,
    /// Until when it waits.
    pub expires: Timestamp,
    /// Whose consent is missing.
    pub missing: Vec<String>,
}

/// Rules of approval to be put or checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRules {
    /// The rules in TOML: at most 256 KiB.
    pub text: String,
}

/// The rules of approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleBook {
    /// 0 for the shipped ones, one more with each that is put.
    pub version: u32,
    /// The rules in TOML.
    pub text: String,
    /// When they came into force; nothing waits before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enacted: Option<Timestamp>,
    /// Who brought them into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enacted_by: Option<String>,
    /// When they were put; the shipped ones never were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
    /// Under which approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Rules that the people there are, with a second factor, could not satisfy.
    pub problems: Vec<String>,
}

/// What would be the matter with rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulesProblems {
    /// Rules that the people there are, with a second factor, could not satisfy.
    pub problems: Vec<String>,
    /// What is probably not meant: ways around the rules.
    #[serde(default)]
    pub remarks: Vec<RulesRemark>,
}

/// A remark about rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulesRemark {
    /// Its name, such as `weaker-override`; names may be added.
    pub name: String,
    /// The rules that it is about; none where it is about what no rule names.
    pub rules: Vec<String>,
    /// What is the matter, and what to do.
    pub text: String,
}
