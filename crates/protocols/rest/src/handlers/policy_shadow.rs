//! A draft of the policies on trial beside those that apply.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::policies::{
    ShadowGroup as Group, ShadowReport as Report, ShadowStart, ShadowStarted, ShadowStop, Shadowed, Would,
};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_model::policy_version::PolicyDraft;
use keyreeve_wire::names::ShadowVerdict;
use keyreeve_wire::policies::{ShadowDraft, ShadowGroup, ShadowReport, StartShadow, StartedShadow};

use super::policy_versions::texts;
use crate::answer;
use crate::call::{Json, Plain};
use crate::convert::{field, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Put "/policy-shadow", Admin, POLICY_SHADOW, start)
        .takes::<StartShadow>(r#"{"policies":{"none":"forbid (principal, action, resource) when { false };"}}"#)
        .gives::<StartedShadow>()
        .note(
            "Every request is put to the draft as well, after it was decided; the draft decides nothing. There is one \
               at most: it takes the place of one that is on trial.",
        ),
    route!(Get "/policy-shadow", Admin, POLICY_SHADOW_REPORT, report).gives::<ShadowReport>(),
    route!(Delete "/policy-shadow", Admin, POLICY_SHADOW, stop),
];

fn start_from(body: StartShadow) -> Result<ShadowStart, Problem> {
    let StartShadow { policies, delete_others, comment } = body;
    Ok(ShadowStart { policies: texts(policies)?, delete_others, comment: field("comment", &comment)? })
}

async fn start(State(engine): State<Engine>, call: Json<StartShadow>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, start_from(call.body)?).await?;
    answer::json(done.record, &started(done.reply))
}

async fn stop(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, ShadowStop).await?;
    Ok(answer::nothing(done.record))
}

async fn report(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Report).await?;
    answer::json(done.record, &shadowed(done.reply))
}

fn draft(draft: &PolicyDraft) -> ShadowDraft {
    ShadowDraft {
        digest: hex::encode(draft.digest().0),
        policies: draft.entries.len(),
        base: draft.base,
        at: timestamp(draft.at),
        by: draft.by.to_string(),
        comment: draft.comment.to_string(),
    }
}

fn started(reply: ShadowStarted) -> StartedShadow {
    let words = |names: Vec<Name>| names.iter().map(ToString::to_string).collect();
    StartedShadow {
        draft: draft(&reply.draft),
        added: words(reply.changes.added),
        altered: words(reply.changes.altered),
        removed: words(reply.changes.removed),
        warnings: reply.warnings,
    }
}

fn shadowed(reply: Shadowed) -> ShadowReport {
    ShadowReport {
        draft: draft(&reply.draft),
        version: reply.version,
        since: timestamp(reply.since),
        asked: reply.counts.asked,
        differing: reply.counts.differing,
        groups: reply.counts.groups.into_iter().map(group).collect(),
        ungrouped: reply.counts.ungrouped,
        problem: reply.problem,
    }
}

fn group(group: Group) -> ShadowGroup {
    ShadowGroup {
        principal: group.principal,
        action: group.action.to_owned(),
        allowed: group.allowed,
        would: verdict(group.would),
        count: group.count,
        last: timestamp(group.last),
        record: group.record.map(|id| id.to_string()),
    }
}

fn verdict(would: Would) -> ShadowVerdict {
    match would {
        Would::Allow => ShadowVerdict::Allow,
        Would::Deny => ShadowVerdict::Deny,
        Would::Error => ShadowVerdict::Error,
    }
}
