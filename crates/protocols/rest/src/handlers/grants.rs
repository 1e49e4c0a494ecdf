//! Rights for a time.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::grants::{Create, Describe, GrantReply, List, Mine, Request, Revoke, Wanted};
use keyreeve_http::Problem;
use keyreeve_model::grant::{Constraints, Granted};
use keyreeve_model::ids::GrantId;
use keyreeve_model::{EncryptionContext, Label};
use keyreeve_wire::Pairs;
use keyreeve_wire::grants::{CreateGrant, Grant, GrantConstraints};

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, context, field, instant, named, set, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/grants", Admin, GRANT_CREATE, create)
        .takes::<CreateGrant>(
            r#"{"principal":"alice","key":"orders","operations":["key.decrypt"],"seconds":28800,"reason":"case 4711"}"#,
        )
        .gives::<Grant>()
        .note("A policy that forbids something wins over every grant."),
    route!(Post "/grants/requests", Admin, GRANT_REQUEST, ask)
        .takes::<CreateGrant>(r#"{"principal":"alice","role":"key-auditor","seconds":14400,"reason":"yearly audit"}"#)
        .gives::<Grant>()
        .note("For oneself only; it always waits for the consent of others."),
    route!(Get "/grants", Admin, GRANT_LIST, list).query(Wished::PARAMS).lists::<Grant>(),
    route!(Get "/grants/self", Both, GRANT_SELF, mine).lists::<Grant>(),
    route!(Get "/grants/{id}", Admin, GRANT_DESCRIBE, describe).gives::<Grant>(),
    route!(Delete "/grants/{id}", Admin, GRANT_REVOKE, revoke).query(Why::PARAMS).gives::<Grant>(),
];

/// Which grants to list.
struct Wished;

impl Known for Wished {
    const PARAMS: &'static [Param] = &[
        Param::text("principal", "Grants of this principal."),
        Param::reference("key", "Grants on this key or on its keyring."),
        Param::one_of::<bool>("standing", "`true`: only those that are in force or will be."),
        AFTER,
        LIMIT,
    ];
}

/// Why something is taken back.
struct Why;

impl Known for Why {
    const PARAMS: &'static [Param] = &[Param::label("reason", "Why, for the record.")];
}

fn wanted(body: &CreateGrant) -> Result<Wanted, Problem> {
    let operations = || set("operations", &body.operations);
    match (&body.key, &body.keyring, &body.role) {
        (Some(key), None, None) => Ok(Wanted::Key { key: field("key", key)?, operations: operations()? }),
        (None, Some(keyring), None) => {
            Ok(Wanted::Keyring { keyring: field("keyring", keyring)?, operations: operations()? })
        }
        (None, None, Some(role)) if body.operations.is_empty() => Ok(Wanted::Role { role: field("role", role)? }),
        (None, None, Some(_)) => Err(Problem::invalid("a role has its operations: give it without `operations`")),
        _ => Err(Problem::invalid("a grant is on one of `key`, `keyring` and `role`: give exactly one")),
    }
}

fn constraints(given: GrantConstraints) -> Result<Constraints, Problem> {
    Ok(Constraints {
        context_equals: given.context_equals.map(context).transpose()?,
        context_includes: context(given.context_includes)?,
        networks: set("networks", &given.networks)?,
        mfa_minutes: given.mfa_minutes,
    })
}

fn create_from(body: CreateGrant) -> Result<Create, Problem> {
    Ok(Create {
        principal: field("principal", &body.principal)?,
        what: wanted(&body)?,
        not_before: body.not_before.as_ref().map(|at| instant("not_before", &at.0)).transpose()?,
        seconds: body.seconds,
        reason: field::<Label>("reason", &body.reason)?,
        constraints: constraints(body.constraints)?,
    })
}

fn pairs(context: &EncryptionContext) -> Pairs {
    Pairs(context.pairs().clone())
}

fn shown(reply: &GrantReply) -> Result<Grant, Problem> {
    let record = &reply.record;
    let (key, keyring) = match &record.what {
        Granted::Key { key, .. } => (Some(key.to_string()), None),
        Granted::Keyring { keyring, .. } => (None, Some(keyring.to_string())),
        Granted::Role { .. } => (None, None),
    };
    let revoked = record.revoked.as_ref();
    Ok(Grant {
        id: record.id.to_string(),
        principal: record.principal.to_string(),
        key,
        keyring,
        role: record.what.role().map(ToString::to_string),
        operations: record.what.operations().into_iter().flatten().map(ToString::to_string).collect(),
        constraints: GrantConstraints {
            context_equals: record.constraints.context_equals.as_ref().map(pairs),
            context_includes: pairs(&record.constraints.context_includes),
            networks: record.constraints.networks.iter().cloned().collect(),
            mfa_minutes: record.constraints.mfa_minutes,
        },
        state: named(reply.state().name())?,
        not_before: timestamp(record.not_before),
        expires: timestamp(record.expires),
        reason: record.reason.to_string(),
        created: timestamp(record.created),
        created_by: record.created_by.to_string(),
        approval: record.approval.map(|id| id.to_string()),
        revoked: revoked.map(|revoked| timestamp(revoked.at)),
        revoked_by: revoked.map(|revoked| revoked.by.to_string()),
        revoked_because: revoked.map(|revoked| revoked.reason.to_string()).filter(|reason| !reason.is_empty()),
    })
}

async fn create(State(engine): State<Engine>, call: Json<CreateGrant>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, create_from(call.body)?).await?;
    answer::json(done.record, &shown(&done.reply)?)
}

async fn ask(State(engine): State<Engine>, call: Json<CreateGrant>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Request { request: create_from(call.body)? }).await?;
    answer::json(done.record, &shown(&done.reply)?)
}

async fn list(State(engine): State<Engine>, call: Asking<Wished>) -> Result<Response, Problem> {
    let operation = List {
        principal: call.query.get("principal")?,
        key: call.query.get("key")?,
        standing: call.query.get("standing")?.unwrap_or(false),
        after: call.query.get("after")?,
        limit: call.query.limit()?,
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| shown(&row))?)
}

async fn mine(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Mine).await?;
    answer::json(done.record, &convert::page(done.reply, |row| shown(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(grant): Named<GrantId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { grant }).await?;
    answer::json(done.record, &shown(&done.reply)?)
}

async fn revoke(
    State(engine): State<Engine>,
    Named(grant): Named<GrantId>,
    call: Asking<Why>,
) -> Result<Response, Problem> {
    let reason = call.query.get("reason")?.unwrap_or_default();
    let done = engine.call(call.arrival, Revoke { grant, reason }).await?;
    answer::json(done.record, &shown(&done.reply)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_model::UnixMillis;
    use keyreeve_model::grant::GrantState;
    use keyreeve_wire::names;

    #[test]
    fn the_states_of_grants_are_those_of_the_model() {
        use GrantState::{Active, Expired, Inactive, Pending, Revoked};
        let all = [Pending, Active, Expired, Revoked, Inactive];
        let known = all.map(GrantState::name);
        assert_eq!(names::GrantState::ALL.iter().map(|state| state.name()).collect::<Vec<_>>(), known);
    }

    #[test]
    fn a_grant_is_on_one_thing() {
        let body = |text: &str| serde_json::from_str::<CreateGrant>(text).unwrap();
        let with = |more: &str| body(&format!(r#"{{"principal":"a","seconds":1,"reason":"r"{more}}}"#));
        assert!(create_from(with(r#","key":"k","operations":["key.decrypt"]"#)).is_ok());
        assert!(create_from(with(r#","role":"operator""#)).is_ok());
        for bad in
            ["", r#","key":"k","role":"operator""#, r#","key":"k","keyring":"r""#, r#","role":"r","operations":["x"]"#]
        {
            assert!(create_from(with(bad)).is_err(), "{bad}");
        }
        let at = |instant: &str| create_from(with(&format!(r#","role":"r","not_before":"{instant}""#)));
        assert_eq!(at("1970-01-01T00:00:01Z").unwrap().not_before, Some(UnixMillis(1000)));
        assert!(at("tomorrow").is_err());
    }
}
