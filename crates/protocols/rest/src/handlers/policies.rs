//! Policies, and the list of what they can be about.

use axum::extract::State;
use axum::response::Response;
use keyreeve_audit::record::Class;
use keyreeve_engine::ops::explain::{Explain, Explained};
use keyreeve_engine::ops::policies::{Delete, Describe, List, PolicyReply, Put};
use keyreeve_engine::{AuditClass, Descriptor, Engine, catalogue};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_policy::{Effect, Method, Outcome, StatementTrace};
use keyreeve_wire::access::{Action, ExplainRequest, Policy, PutPolicy};
use keyreeve_wire::{PREFIX, Page, access, names};

use super::keyrings::Paging;
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain, Text};
use crate::convert::{self, field, instant, optional, timestamp};
use crate::routes::{Param, Route, route, routes};

pub(crate) static ROUTES: &[Route] = &[
    route!(Put "/policies/{name}", Admin, POLICY_PUT, put)
        .takes::<PutPolicy>(r#"{"text":"permit (principal, action, resource);"}"#)
        .gives::<Policy>()
        .or_takes(&["text/plain"])
        .note("With `text/plain` the body is the policy itself."),
    route!(Get "/policies/{name}", Admin, POLICY_DESCRIBE, describe).gives::<Policy>(),
    route!(Delete "/policies/{name}", Admin, POLICY_DELETE, delete).query(Base::PARAMS),
    route!(Get "/policies", Admin, POLICY_LIST, list).query(Paging::PARAMS).lists::<Policy>(),
    route!(Post "/policies/explain", Admin, POLICY_EXPLAIN, explain)
        .takes::<ExplainRequest>(r#"{"principal":"billing","action":"key.encrypt","resource":"orders"}"#)
        .gives::<access::Explanation>(),
    route!(Get "/actions", Admin, POLICY_LIST, actions)
        .lists::<Action>()
        .note("The operations that policies can be about, with their routes."),
];

/// What a deletion builds on.
struct Base;

impl Known for Base {
    const PARAMS: &'static [Param] =
        &[Param::integer("base", "The version of the policies that was looked at: refused when there is another.")];
}

fn policy(reply: PolicyReply) -> Policy {
    let (updated, updated_by) = reply.updated.unzip();
    Policy {
        name: reply.name,
        text: reply.text,
        built_in: reply.built_in,
        updated: updated.map(timestamp),
        updated_by: updated_by.map(|name| name.to_string()),
    }
}

async fn put(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    call: Text<PutPolicy>,
) -> Result<Response, Problem> {
    let (arrival, text) = match call {
        Text::Json(arrival, body) => (arrival, body.text),
        Text::Bare(arrival, text) => (arrival, text),
    };
    let done = engine.call(arrival, Put { name, text }).await?;
    answer::json(done.record, &policy(done.reply))
}

async fn describe(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { name }).await?;
    answer::json(done.record, &policy(done.reply))
}

async fn delete(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    call: Asking<Base>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Delete { name, base: call.query.get("base")? }).await?;
    Ok(answer::nothing(done.record))
}

async fn list(State(engine): State<Engine>, call: Asking<Paging>) -> Result<Response, Problem> {
    let operation = List { after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| Ok(policy(row)))?)
}

/// Who asks from outside comes with a token or a certificate.
fn method(method: Option<names::Method>) -> Result<Method, Problem> {
    match method {
        None | Some(names::Method::Token) => Ok(Method::Token),
        Some(names::Method::Mtls) => Ok(Method::MutualTls),
        Some(names::Method::Share | names::Method::System | names::Method::Anonymous) => {
            Err(Problem::invalid("`method` is `token` or `mtls`"))
        }
    }
}

fn explain_from(body: ExplainRequest) -> Result<Explain, Problem> {
    Ok(Explain {
        principal: field("principal", &body.principal)?,
        source: optional("source", body.source.as_deref())?,
        time: body.time.map(|at| instant("time", &at.0)).transpose()?,
        mfa_age_seconds: body.mfa_age_seconds,
        login: optional("login", body.login.as_deref())?,
        context: convert::context(body.context)?,
        action: body.action,
        resource: body.resource,
        to: body.to,
        method: method(body.method)?,
    })
}

async fn explain(State(engine): State<Engine>, call: Json<ExplainRequest>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, explain_from(call.body)?).await?;
    answer::json(done.record, &explanation(done.reply))
}

fn explanation(found: Explained) -> access::Explanation {
    let statements = found.decisions.into_iter().flat_map(|(action, explanation)| {
        explanation.statements.into_iter().map(move |trace| statement(action, trace))
    });
    access::Explanation {
        allowed: found.allowed,
        answer: found.answer,
        missing: found.missing,
        statements: statements.collect(),
    }
}

fn statement(action: &str, trace: StatementTrace) -> access::StatementTrace {
    let (reach, because) = match trace.outcome {
        Outcome::Applies => (names::Reach::Applies, None),
        Outcome::OtherPrincipal { wanted } => (names::Reach::OtherPrincipal, Some(wanted)),
        Outcome::OtherResource { wanted } => (names::Reach::OtherResource, Some(wanted)),
        Outcome::ConditionFalse { condition } => (names::Reach::ConditionFalse, Some(condition)),
        Outcome::Failed { message } => (names::Reach::Failed, Some(message)),
    };
    access::StatementTrace {
        action: action.to_owned(),
        policy: trace.policy.to_string(),
        statement: trace.statement,
        description: trace.description,
        effect: match trace.effect {
            Effect::Permit => names::Effect::Permit,
            Effect::Forbid => names::Effect::Forbid,
        },
        reach,
        because,
    }
}

/// Whoever may list policies may see what they can be about.
async fn actions(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, List { after: None, limit: 1 }).await?;
    let items = catalogue::ALL.iter().map(|row| action(row)).collect();
    answer::json(done.record, &Page { items, next: None })
}

fn action(row: &Descriptor) -> Action {
    let leads_here = |route: &&Route| route.operations().any(|operation| operation.name == row.name);
    Action {
        name: row.name.to_owned(),
        resource: row.resource.name().to_owned(),
        groups: row.groups.iter().map(ToString::to_string).collect(),
        summary: row.summary.to_owned(),
        audit: match row.audit {
            AuditClass::Recorded(class) => Some(class_name(class)),
            AuditClass::Counted => None,
        },
        routes: routes()
            .filter(leads_here)
            .map(|route| format!("{} {PREFIX}{}", route.verb.name(), route.path))
            .collect(),
    }
}

pub(super) const fn class_name(class: Class) -> names::Class {
    match class {
        Class::Read => names::Class::Read,
        Class::Use => names::Class::Use,
        Class::Change => names::Class::Change,
        Class::Access => names::Class::Access,
        Class::System => names::Class::System,
    }
}
