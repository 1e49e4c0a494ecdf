//! Incidents.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::incidents::{Close, Confirm, Describe, IncidentReply, List, Note, Open};
use keyreeve_http::Problem;
use keyreeve_model::UnixMillis;
use keyreeve_model::ids::IncidentId;
use keyreeve_model::incident::{self, Happened, IncidentKind};
use keyreeve_wire::cases::{ConfirmIncident, Confirmation, Incident, IncidentEvent, IncidentText, OpenIncident};
use keyreeve_wire::names;

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, defect, field, named, optional, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/incidents", Admin, INCIDENT_OPEN, open)
        .takes::<OpenIncident>(
            r#"{"kind":"compromise","keys":["orders"],"ticket":"INC-7","reason":"a laptop was stolen"}"#,
        )
        .gives::<Incident>(),
    route!(Get "/incidents", Admin, INCIDENT_LIST, list).query(Filter::PARAMS).lists::<Incident>(),
    route!(Get "/incidents/{id}", Admin, INCIDENT_DESCRIBE, describe).gives::<Incident>(),
    route!(Post "/incidents/{id}/notes", Admin, INCIDENT_NOTE, note)
        .takes::<IncidentText>(r#"{"text":"backups checked"}"#)
        .gives::<Incident>(),
    route!(Post "/incidents/{id}/confirm", Admin, INCIDENT_CONFIRM, confirm)
        .takes::<ConfirmIncident>(r#"{"number":1}"#)
        .gives::<Incident>(),
    route!(Post "/incidents/{id}/close", Admin, INCIDENT_CLOSE, close)
        .takes::<IncidentText>(r#"{"text":"replaced everywhere"}"#)
        .gives::<Incident>(),
];

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<bool>("open", "`true` for the open ones only, `false` for the closed ones."), AFTER, LIMIT];
}

fn event(event: &incident::IncidentEvent) -> IncidentEvent {
    let what = match &event.what {
        Happened::Done { operation, key } => format!("{operation} on {key}"),
        Happened::Noted { text } => text.to_string(),
        Happened::Confirmed { number } => format!("confirmed number {number}"),
    };
    IncidentEvent { at: timestamp(event.at), by: event.by.to_string(), what }
}

fn confirmation(owed: &incident::Confirmation, at: UnixMillis) -> Confirmation {
    Confirmation {
        number: owed.number,
        operation: owed.operation.clone(),
        key: owed.key.to_string(),
        by: owed.by.name.to_string(),
        roles: owed.any_of.iter().map(ToString::to_string).collect(),
        due: timestamp(owed.due),
        overdue: owed.is_overdue(at),
        confirmed: owed.done.as_ref().map(|done| timestamp(done.at)),
        confirmed_by: owed.done.as_ref().map(|done| done.by.name.to_string()),
    }
}

fn incident(reply: &IncidentReply) -> Result<Incident, Problem> {
    let (incident, closed) = (&reply.incident, reply.incident.closed());
    Ok(Incident {
        id: incident.id().to_string(),
        kind: named(incident.kind().name())?,
        keys: incident.keys().iter().map(ToString::to_string).collect(),
        ticket: incident.ticket().map(ToString::to_string),
        reason: incident.reason().to_string(),
        opened: timestamp(incident.opened()),
        opened_by: incident.opened_by().name.to_string(),
        events: incident.events().iter().map(event).collect(),
        confirmations: incident.confirmations().iter().map(|owed| confirmation(owed, reply.at)).collect(),
        closed: closed.map(|closed| timestamp(closed.at)),
        closed_by: closed.map(|closed| closed.by.name.to_string()),
        conclusion: closed.map(|closed| closed.text.to_string()),
    })
}

fn kind(kind: names::IncidentKind) -> Result<IncidentKind, Problem> {
    IncidentKind::from_name(kind.name()).ok_or_else(defect)
}

async fn open(State(engine): State<Engine>, call: Json<OpenIncident>) -> Result<Response, Problem> {
    let operation = Open {
        kind: kind(call.body.kind)?,
        keys: call.body.keys.iter().map(|key| field("keys", key)).collect::<Result<_, _>>()?,
        ticket: optional("ticket", call.body.ticket.as_deref())?,
        reason: field("reason", &call.body.reason)?,
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &incident(&done.reply)?)
}

async fn list(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let operation = List { open: call.query.get("open")?, after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| incident(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(id): Named<IncidentId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { incident: id }).await?;
    answer::json(done.record, &incident(&done.reply)?)
}

async fn note(
    State(engine): State<Engine>,
    Named(id): Named<IncidentId>,
    call: Json<IncidentText>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Note { incident: id, text: field("text", &call.body.text)? }).await?;
    answer::json(done.record, &incident(&done.reply)?)
}

async fn confirm(
    State(engine): State<Engine>,
    Named(id): Named<IncidentId>,
    call: Json<ConfirmIncident>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Confirm { incident: id, number: call.body.number }).await?;
    answer::json(done.record, &incident(&done.reply)?)
}

async fn close(
    State(engine): State<Engine>,
    Named(id): Named<IncidentId>,
    call: Json<IncidentText>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Close { incident: id, text: field("text", &call.body.text)? }).await?;
    answer::json(done.record, &incident(&done.reply)?)
}
