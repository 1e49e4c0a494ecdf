//! Sets of policies: applied as a whole, compared, put back, tried out on the past and on the present.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{PolicyChange, PrincipalKind};
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
