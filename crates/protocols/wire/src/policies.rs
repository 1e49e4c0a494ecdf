//! Sets of policies: applied as a whole, compared, put back, tried out on the past and on the present.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::names::{PolicyChange, PrincipalKind, ShadowVerdict};
use crate::{Pairs, Timestamp};

/// Makes the deployment's own policies be these, in one step.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPolicies {
    /// Cedar by name, each at most 64 KiB.
    #[schema(example = json!({"office-hours": "forbid (principal, action, resource) when { context.items > 100 };"}))]
    pub policies: Pairs,
    /// Whether policies that are not among these go; otherwise they stay as they are.
    #[serde(default)]
    pub delete_others: bool,
    /// The version this builds on: refused when somebody made another one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for the history.
    #[serde(default)]
    pub comment: String,
}

/// Puts back the policies of a former version.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBackPolicies {
    /// The version whose texts are put back.
    pub version: u64,
    /// The version this builds on: refused when somebody made another one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Why, for the history.
    #[serde(default)]
    pub comment: String,
}

/// What became of the policies, or would become.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AppliedPolicies {
    /// The version before; 0 where there was none.
    pub from: u64,
    /// The version that was made; missing for a dry run and where nothing differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// What differs.
    #[serde(flatten)]
    pub difference: PolicyDifference,
    /// What is allowed but probably not meant, such as a statement that can never apply.
    pub warnings: Vec<String>,
}

/// What differs between two sets of policies.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyDifference {
    /// The policies that differ, by name.
    pub documents: Vec<PolicyDiff>,
    /// What somebody with a role may do and could not, or the other way round. Sample resources are asked about: in
    /// production, of class 3, active, without labels.
    pub meaning: Vec<MeaningChange>,
    /// Roles that were not looked at, because there are too many.
    pub roles_left_out: usize,
    /// Why there is no meaning: one of the sets does not compile with this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The difference between two versions of the policies.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ComparedPolicies {
    /// The earlier version; 0: no policies at all.
    pub from: u64,
    /// The later version.
    pub to: u64,
    /// What differs.
    #[serde(flatten)]
    pub difference: PolicyDifference,
}

/// A policy that differs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyDiff {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: PolicyChange,
    /// The lines that differ, in the unified format of `diff -u`.
    pub unified: String,
}

/// Something that somebody with a role may do and could not, or the other way round.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeaningChange {
    /// The role; missing: whoever has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// A person or a service.
    pub kind: PrincipalKind,
    /// The operation.
    pub action: String,
    /// Only on what is the principal's own, or only on what is not; missing: either way. A key is one's own where it
    /// names one as consumer, owner and custodian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// Only with a second factor just shown, or only without one; missing: either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<bool>,
    /// Whether it is allowed afterwards; before it was the other way.
    pub allowed: bool,
}

/// A version of the policies.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersion {
    /// Its number: 1, 2, 3 …
    pub version: u64,
    /// Since when it applies or applied.
    pub at: Timestamp,
    /// Who made it; missing where it was found when the history began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The approval it was made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The version whose texts it put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    /// What was said about it.
    pub comment: String,
    /// How many policies it has.
    pub policies: usize,
    /// Policies that it added to the version before.
    pub added: Vec<String>,
    /// Policies whose text it altered.
    pub altered: Vec<String>,
    /// Policies that it removed.
    pub removed: Vec<String>,
}

/// Puts the requests of past days, from the audit log, to a draft of the policies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulatePolicies {
    /// The draft: Cedar by name, each at most 64 KiB.
    #[schema(example = json!({"office-hours": "forbid (principal, action, resource) when { context.items > 100 };"}))]
    pub policies: Pairs,
    /// Whether the draft has no other policies than these; otherwise they join or replace the present ones.
    #[serde(default)]
    pub delete_others: bool,
    /// How many days back: 1 to 90.
    pub days: u32,
    /// Records of the log below this index: `next` of the former page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Records looked at: 1 to 50,000; 10,000 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of a simulation. Requests are rebuilt from their records, with the attributes that principals, keys and
/// keyrings have now.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SimulatedPolicies {
    /// Records that were looked at.
    pub records: u64,
    /// When the oldest of them was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// Requests that were put to the present policies and to the draft.
    pub decided: u64,
    /// Of these, how many the draft decides otherwise.
    pub changed: u64,
    /// Of these, how many the present policies decide otherwise than it was decided then: policies, roles or attributes
    /// have changed since.
    pub differ_from_record: u64,
    /// The changed ones, in groups.
    pub groups: Vec<ChangedDecision>,
    /// Changed ones that are in none of these groups: there would be too many.
    pub ungrouped: u64,
    /// Records that could not be put to policies, counted by the reason.
    pub not_rebuilt: BTreeMap<String, u64>,
    /// Give this as `before` for the next page; missing when the days are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Requests that are alike and would be decided otherwise.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangedDecision {
    /// Who asked.
    pub principal: String,
    /// For what.
    pub action: String,
    /// On what kind of thing: `Key`, `Keyring`, `Token` …
    pub kind: String,
    /// Its id or name, as the records have it.
    pub resource: String,
    /// What the present policies say.
    pub was: Decision,
    /// What the draft says.
    pub would: Decision,
    /// How many such requests there were.
    pub count: u64,
    /// The id of the first one's audit record.
    pub first: String,
    /// The id of the last one's.
    pub last: String,
}

/// What policies say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that permit it; where it is refused, those that forbid it or cannot be evaluated. Empty where
    /// nothing permits it.
    pub policies: Vec<String>,
}

/// Puts a draft of the policies on trial beside those that apply.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartShadow {
    /// The draft: Cedar by name, each at most 64 KiB.
    #[schema(example = json!({"office-hours": "forbid (principal, action, resource) when { context.items > 100 };"}))]
    pub policies: Pairs,
    /// Whether the draft has no other policies than these; otherwise they join or replace the present ones.
    #[serde(default)]
    pub delete_others: bool,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// A draft of the policies that is on trial. It is whole: later changes of the policies that apply are not in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShadowDraft {
    /// SHA-256 of its names and texts, hexadecimal: what the audit log knows it by.
    pub digest: String,
    /// How many policies it has, the shipped ones aside.
    pub policies: usize,
    /// The version of the policies that applied when its trial began; 0: none.
    pub base: u64,
    /// Since when it is on trial.
    pub at: Timestamp,
    /// Who put it there.
    pub by: String,
    /// What was said about it.
    pub comment: String,
}

/// A draft whose trial began.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StartedShadow {
    /// The draft.
    #[serde(flatten)]
    pub draft: ShadowDraft,
    /// Policies that it has beyond those that apply.
    pub added: Vec<String>,
    /// Policies whose text is another in it.
    pub altered: Vec<String>,
    /// Policies that it does not have.
    pub removed: Vec<String>,
    /// What is allowed but probably not meant, such as a statement that can never apply.
    pub warnings: Vec<String>,
}

/// What a draft on trial would have decided otherwise.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShadowReport {
    /// The draft.
    #[serde(flatten)]
    pub draft: ShadowDraft,
    /// The version of the policies that apply now.
    pub version: u64,
    /// Since when it is counted: the later of the trial's beginning and the server's last opening. The audit log has
    /// all of it: records in which the draft differs have the detail `shadow`.
    pub since: Timestamp,
    /// Requests that were put to the draft.
    pub asked: u64,
    /// Of these, how many it would have decided otherwise, or could not decide.
    pub differing: u64,
    /// The differing ones in groups, most frequent first.
    pub groups: Vec<ShadowGroup>,
    /// Differing ones that are in none of these groups: there would be too many.
    pub ungrouped: u64,
    /// Why the draft is not asked, where it cannot be: it does not compile with this server any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Requests that are alike and that the draft would have decided otherwise.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShadowGroup {
    /// Who asked.
    pub principal: String,
    /// For what.
    pub action: String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// What the draft says.
    pub would: ShadowVerdict,
    /// How many such requests there were.
    pub count: u64,
    /// When the last one was.
    pub last: Timestamp,
    /// The id of the audit record of the last one that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}
