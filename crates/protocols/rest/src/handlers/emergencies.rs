//! Break-glass: emergencies.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::emergencies::{Declare, Describe, EmergencyReply, End, List, Review};
use keyreeve_http::Problem;
use keyreeve_model::emergency::{EmergencyState, Item, Owed, Revoked, Use};
use keyreeve_model::ids::EmergencyId;
use keyreeve_wire::cases::{
    DeclareEmergency, Emergency, EmergencyOwed, EmergencyRevoked, EmergencyUse, ReviewEmergency,
};
use keyreeve_wire::names;

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, defect, field, named, set, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/emergencies", Admin, EMERGENCY_DECLARE, declare)
        .takes::<DeclareEmergency>(
            r#"{"incident":"inc_0190a7b2c3d4e5f60718293a4b5c6d7e","keys":["key_0190a7b2c3d4e5f60718293a4b5c6d7e"],"operations":["key.decrypt"],"participants":["pat"],"minutes":30,"why":"the restore must run tonight"}"#,
        )
        .gives::<Emergency>(),
    route!(Get "/emergencies", Admin, EMERGENCY_LIST, list).query(Filter::PARAMS).lists::<Emergency>(),
    route!(Get "/emergencies/{id}", Admin, EMERGENCY_DESCRIBE, describe).gives::<Emergency>(),
    route!(Post "/emergencies/{id}/end", Admin, EMERGENCY_END, end).gives::<Emergency>(),
    route!(Post "/emergencies/{id}/review", Admin, EMERGENCY_REVIEW, review)
        .takes::<ReviewEmergency>(
            r#"{"text":"as announced","dispositions":{"key_0190a7b2c3d4e5f60718293a4b5c6d7e":"rotated"}}"#,
        )
        .gives::<Emergency>(),
];

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<names::EmergencyState>("state", "Only emergencies in this state."), AFTER, LIMIT];
}

fn use_(one: &Use) -> EmergencyUse {
    EmergencyUse {
        key: one.key.to_string(),
        operation: one.operation.clone(),
        by: one.by.to_string(),
        at: timestamp(one.at),
        record: one.record.to_string(),
    }
}

fn owed(one: &Owed) -> EmergencyOwed {
    let (key, credentials_of) = match &one.item {
        Item::Key(key) => (Some(key.to_string()), None),
        Item::Credentials(name) => (None, Some(name.to_string())),
    };
    let done = one.done.as_ref();
    EmergencyOwed {
        key,
        credentials_of,
        done: done.map(|done| timestamp(done.at)),
        how: done.map(|done| done.how.to_string()),
    }
}

fn revoked(one: &Revoked) -> EmergencyRevoked {
    EmergencyRevoked { what: one.what.name().to_owned(), id: one.id.clone(), of: one.of.to_string() }
}

fn texts<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    all.into_iter().map(|one| one.to_string()).collect()
}

fn emergency(reply: &EmergencyReply) -> Result<Emergency, Problem> {
    let (emergency, terms) = (&reply.emergency, reply.emergency.terms());
    let (ended, review) = (emergency.ended(), emergency.reviewed());
    let dispositions = review.iter().flat_map(|review| &review.dispositions);
    Ok(Emergency {
        id: emergency.id().to_string(),
        state: named(emergency.state().name())?,
        incident: terms.incident.to_string(),
        keys: texts(&terms.keys),
        keyrings: texts(&terms.keyrings),
        operations: texts(&terms.operations),
        participants: texts(terms.participants.iter().map(|one| &one.name)),
        why: terms.why.to_string(),
        declared: timestamp(emergency.declared()),
        declared_by: emergency.declared_by().name.to_string(),
        voters: texts(emergency.voters().map(|one| &one.name)),
        approval: emergency.approval().map(|id| id.to_string()),
        until: emergency.until().map(timestamp),
        ended: ended.map(|ended| timestamp(ended.at)),
        ended_by: ended.map(|ended| ended.cause.name().to_owned()),
        uses: emergency.uses().iter().map(use_).collect(),
        revoked: ended.iter().flat_map(|ended| &ended.revoked).map(revoked).collect(),
        owed: emergency.items().iter().map(owed).collect(),
        review_due: emergency.review_due().map(timestamp),
        overdue: emergency.is_overdue(reply.at),
        reviewed: review.map(|review| timestamp(review.at)),
        reviewed_by: review.map(|review| review.by.name.to_string()),
        review: review.map(|review| review.text.to_string()),
        dispositions: dispositions.map(|(key, what)| (key.to_string(), what.to_string())).collect(),
    })
}

async fn declare(State(engine): State<Engine>, call: Json<DeclareEmergency>) -> Result<Response, Problem> {
    let body = &call.body;
    let operation = Declare {
        incident: field("incident", &body.incident)?,
        keys: set("keys", &body.keys)?,
        keyrings: set("keyrings", &body.keyrings)?,
        operations: set("operations", &body.operations)?,
        participants: set("participants", &body.participants)?,
        minutes: body.minutes,
        why: field("why", &body.why)?,
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &emergency(&done.reply)?)
}

async fn list(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let state: Option<names::EmergencyState> = call.query.get("state")?;
    let state = state.map(|state| EmergencyState::from_name(state.name()).ok_or_else(defect)).transpose()?;
    let operation = List { state, after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| emergency(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(id): Named<EmergencyId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { emergency: id }).await?;
    answer::json(done.record, &emergency(&done.reply)?)
}

async fn end(
    State(engine): State<Engine>,
    Named(id): Named<EmergencyId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, End { emergency: id }).await?;
    answer::json(done.record, &emergency(&done.reply)?)
}

async fn review(
    State(engine): State<Engine>,
    Named(id): Named<EmergencyId>,
    call: Json<ReviewEmergency>,
) -> Result<Response, Problem> {
    let disposition = |(key, what): (&String, &String)| Ok((field("dispositions", key)?, field("dispositions", what)?));
    let operation = Review {
        emergency: id,
        text: field("text", &call.body.text)?,
        dispositions: call.body.dispositions.0.iter().map(disposition).collect::<Result<_, Problem>>()?,
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &emergency(&done.reply)?)
}
