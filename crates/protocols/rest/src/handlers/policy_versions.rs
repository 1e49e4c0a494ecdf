//! Policies as sets: applied as a whole, compared, put back.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::policies::{
    Applied, Apply, Compared, Diff, History, PolicyVersion as Version, Rollback, Simulate, Simulated,
};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_policy::diff::{DocumentChange, DocumentDiff, MeaningChange as Meaning};
use keyreeve_policy::simulate::{self, Simulation};
use keyreeve_policy::{PrincipalKind, diff};
use keyreeve_wire::policies::{
    AppliedPolicies, ApplyPolicies, ChangedDecision, ComparedPolicies, Decision, MeaningChange, PolicyDiff,
    PolicyDifference, PolicyVersion, RollBackPolicies, SimulatePolicies, SimulatedPolicies,
};
use keyreeve_wire::{Page, Pairs, names};
use std::collections::BTreeMap;

use super::keyrings::LIMIT;
use crate::answer;
use crate::call::{Asking, Json, Known};
use crate::convert::{field, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/policy-versions", Admin, POLICY_APPLY, apply)
        .takes::<ApplyPolicies>(r#"{"policies":{"none":"forbid (principal, action, resource) when { false };"}}"#)
        .gives::<AppliedPolicies>()
        .note("With `dry_run` it is checked and nothing is done. Whoever sends `base` loses no change of others."),
    route!(Post "/policy-versions/rollback", Admin, POLICY_ROLLBACK, rollback)
        .takes::<RollBackPolicies>(r#"{"version":1}"#)
        .gives::<AppliedPolicies>(),
    route!(Get "/policy-versions", Admin, POLICY_HISTORY, history)
        .query(Before::PARAMS)
        .lists::<PolicyVersion>()
        .note("Newest first. Give `next` as `before` for older ones."),
    route!(Get "/policy-versions/diff", Admin, POLICY_DIFF, compare).query(Two::PARAMS).gives::<ComparedPolicies>(),
    route!(Post "/policy-simulations", Admin, POLICY_SIMULATE, try_out)
        .takes::<SimulatePolicies>(r#"{"policies":{},"delete_others":true,"days":30}"#)
        .gives::<SimulatedPolicies>()
        .note("Nothing is changed. Give `next` as `before` until it is missing, and add up."),
];

/// Records looked at unless said.
const SIMULATED: u32 = 10_000;

struct Before;

impl Known for Before {
    const PARAMS: &'static [Param] =
        &[Param::integer("before", "Versions below this one: `next` of the former page."), LIMIT];
}

struct Two;

impl Known for Two {
    const PARAMS: &'static [Param] = &[
        Param::integer("from", "The earlier version, 0 for no policies at all; the one before `to` unless said."),
        Param::integer("to", "The later version; the newest unless said."),
    ];
}

/// Policies by name.
pub(super) fn texts(pairs: Pairs) -> Result<BTreeMap<Name, String>, Problem> {
    pairs.0.into_iter().map(|(name, text)| Ok((field("policies", &name)?, text))).collect()
}

fn apply_from(body: ApplyPolicies) -> Result<Apply, Problem> {
    Ok(Apply {
        policies: texts(body.policies)?,
        delete_others: body.delete_others,
        base: body.base,
        dry_run: body.dry_run,
        comment: field("comment", &body.comment)?,
    })
}

async fn apply(State(engine): State<Engine>, call: Json<ApplyPolicies>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, apply_from(call.body)?).await?;
    answer::json(done.record, &applied(done.reply))
}

async fn rollback(State(engine): State<Engine>, call: Json<RollBackPolicies>) -> Result<Response, Problem> {
    let RollBackPolicies { version, base, comment } = call.body;
    let operation = Rollback { version, base, comment: field("comment", &comment)? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &applied(done.reply))
}

async fn history(State(engine): State<Engine>, call: Asking<Before>) -> Result<Response, Problem> {
    let operation = History { before: call.query.get("before")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    let next = done.reply.next.map(|n| n.to_string());
    answer::json(done.record, &Page { items: done.reply.items.into_iter().map(version).collect(), next })
}

async fn compare(State(engine): State<Engine>, call: Asking<Two>) -> Result<Response, Problem> {
    let operation = Diff { from: call.query.get("from")?, to: call.query.get("to")? };
    let done = engine.call(call.arrival, operation).await?;
    let (from, to) = (done.reply.from, done.reply.to);
    answer::json(done.record, &ComparedPolicies { from, to, difference: difference(done.reply) })
}

fn simulate_from(body: SimulatePolicies) -> Result<Simulate, Problem> {
    let limit = body.limit.unwrap_or(SIMULATED);
    let policies = texts(body.policies)?;
    Ok(Simulate { policies, delete_others: body.delete_others, days: body.days, before: body.before, limit })
}

async fn try_out(State(engine): State<Engine>, call: Json<SimulatePolicies>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, simulate_from(call.body)?).await?;
    answer::json(done.record, &simulated(done.reply))
}

fn simulated(found: Simulated) -> SimulatedPolicies {
    let Simulation { decided, changed, differ_from_record, groups, ungrouped } = found.simulation;
    SimulatedPolicies {
        records: found.records,
        oldest: found.oldest.map(timestamp),
        decided,
        changed,
        differ_from_record,
        groups: groups.into_iter().map(group).collect(),
        ungrouped,
        not_rebuilt: found.not_rebuilt.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        next: found.next,
    }
}

fn group(group: simulate::ChangedDecision) -> ChangedDecision {
    let verdict = |side: simulate::Side| Decision { allowed: side.allowed, policies: side.policies };
    ChangedDecision {
        principal: group.principal,
        action: group.action,
        kind: group.kind.to_owned(),
        resource: group.resource,
        was: verdict(group.was),
        would: verdict(group.would),
        count: group.count,
        first: group.first,
        last: group.last,
    }
}

fn applied(reply: Applied) -> AppliedPolicies {
    AppliedPolicies { from: reply.from, to: reply.to, difference: difference(reply.compared), warnings: reply.warnings }
}

fn difference(compared: Compared) -> PolicyDifference {
    let diff::Meaning { changes, roles_left_out } = compared.meaning.unwrap_or_default();
    PolicyDifference {
        documents: compared.documents.into_iter().map(document).collect(),
        meaning: changes.into_iter().filter_map(meaning).collect(),
        roles_left_out,
        problem: compared.problem,
    }
}

fn document(found: DocumentDiff) -> PolicyDiff {
    let change = match found.change {
        DocumentChange::Added => names::PolicyChange::Added,
        DocumentChange::Altered => names::PolicyChange::Altered,
        DocumentChange::Removed => names::PolicyChange::Removed,
    };
    PolicyDiff { name: found.name, change, unified: found.unified }
}

/// Only persons and services are asked about.
fn meaning(change: Meaning) -> Option<MeaningChange> {
    let kind = match change.kind {
        PrincipalKind::Person => names::PrincipalKind::Person,
        PrincipalKind::Service => names::PrincipalKind::Service,
        PrincipalKind::System | PrincipalKind::Anonymous => return None,
    };
    Some(MeaningChange {
        role: change.role,
        kind,
        action: change.action.to_owned(),
        own: change.own,
        second_factor: change.second_factor,
        allowed: change.allowed,
    })
}

fn version(found: Version) -> PolicyVersion {
    let words = |names: Vec<Name>| names.iter().map(ToString::to_string).collect();
    let Version { manifest, changes } = found;
    PolicyVersion {
        version: manifest.n,
        at: timestamp(manifest.at),
        by: manifest.by.map(|name| name.to_string()),
        approval: manifest.approval.map(|id| id.to_string()),
        restores: manifest.restores,
        comment: manifest.comment.to_string(),
        policies: manifest.entries.len(),
        added: words(changes.added),
        altered: words(changes.altered),
        removed: words(changes.removed),
    }
}
