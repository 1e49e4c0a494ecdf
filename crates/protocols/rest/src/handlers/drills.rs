//! Drills.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::drills::{DrillReply, List, Record, Restore};
use keyreeve_engine::{DrillStanding, Engine};
use keyreeve_http::Problem;
use keyreeve_model::drill::{DrillRecord, DrillStep};
use keyreeve_wire::drills::{self as wire, AskedDrill, Drill, Drills, RecordDrill};

use crate::answer;
use crate::call::{Json, Plain};
use crate::convert::{field, optional, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/drills", Admin, DRILL_LIST, list).gives::<Drills>(),
    route!(Post "/drills", Admin, DRILL_RECORD, record)
        .takes::<RecordDrill>(concat!(
            r#"{"kind":"share-holder","passed":true,"took_ms":84000,"#,
            r#""steps":[{"name":"shares were exchanged","passed":true,"found":"3 of 5","took_ms":61000}]}"#
        ))
        .gives::<Drill>(),
    route!(Post "/drills/restore", Admin, DRILL_RESTORE, restore)
        .gives::<AskedDrill>()
        .note("Answers at once. What came of it is a drill of that number in `GET /drills`, in a moment."),
];

fn step(step: &DrillStep) -> wire::DrillStep {
    wire::DrillStep {
        name: step.name.to_string(),
        passed: step.passed,
        found: step.found.to_string(),
        took_ms: step.took_ms,
    }
}

fn drill(record: &DrillRecord) -> Drill {
    Drill {
        number: record.number,
        kind: record.kind.to_string(),
        at: timestamp(record.at),
        by_itself: record.by_itself,
        by: record.by.to_string(),
        passed: record.passed,
        took_ms: record.took_ms,
        lost_ms: record.lost_ms,
        backup: record.backup,
        destination: record.destination.as_ref().map(ToString::to_string),
        steps: record.steps.iter().map(step).collect(),
        trouble: record.trouble.as_ref().map(ToString::to_string),
    }
}

fn standing(stands: &DrillStanding) -> wire::DrillStanding {
    wire::DrillStanding {
        kind: stands.kind.to_string(),
        good: stands.good.map(timestamp),
        within_hours: stands.within.map(|within| within.as_secs() / 3600),
        overdue: stands.overdue,
    }
}

async fn list(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, List).await?;
    let items = done.reply.drills.iter().map(drill).collect();
    let standing = done.reply.standing.iter().map(standing).collect();
    answer::json(done.record, &Drills { items, standing })
}

async fn record(State(engine): State<Engine>, call: Json<RecordDrill>) -> Result<Response, Problem> {
    let body = call.body;
    let step = |step: &wire::DrillStep| -> Result<DrillStep, Problem> {
        Ok(DrillStep {
            name: field("name", &step.name)?,
            passed: step.passed,
            found: field("found", &step.found)?,
            took_ms: step.took_ms,
        })
    };
    let operation = Record {
        kind: field("kind", &body.kind)?,
        passed: body.passed,
        took_ms: body.took_ms,
        lost_ms: body.lost_ms,
        backup: body.backup,
        destination: optional("destination", body.destination.as_deref())?,
        steps: body.steps.iter().map(step).collect::<Result<_, _>>()?,
        trouble: optional("trouble", body.trouble.as_deref())?,
    };
    let done = engine.call(call.arrival, operation).await?;
    let DrillReply(held) = &done.reply;
    answer::json(done.record, &drill(held))
}

async fn restore(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Restore).await?;
    answer::json(done.record, &AskedDrill { number: done.reply.number })
}
