//! Key ceremonies on record.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::ceremonies::{CeremonyOutcome, Record};
use keyreeve_http::Problem;
use keyreeve_wire::ceremony::{self as wire, RecordCeremony};

use crate::answer;
use crate::call::Json;
use crate::convert::field;
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[route!(Post "/ceremonies", Admin, CEREMONY_RECORD, record)
    .takes::<RecordCeremony>(concat!(
        r#"{"ceremony":"destruction","#,
        r#""script_sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","#,
        r#""transcript_sha256":"60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752","#,
        r#""outcome":"completed","participants":["Alice Baker (Acme)"],"deviations":0}"#
    ))
    .note("The audit record's id is in the header `Keyreeve-Audit-Record`; `/audit/records/{id}/proof` proves it.")];

async fn record(State(engine): State<Engine>, call: Json<RecordCeremony>) -> Result<Response, Problem> {
    let body = call.body;
    let participants = body.participants.iter().map(|who| field("participants", who));
    let operation = Record {
        ceremony: field("ceremony", &body.ceremony)?,
        script_sha256: body.script_sha256,
        transcript_sha256: body.transcript_sha256,
        outcome: match body.outcome {
            wire::CeremonyOutcome::Completed => CeremonyOutcome::Completed,
            wire::CeremonyOutcome::Aborted => CeremonyOutcome::Aborted,
            wire::CeremonyOutcome::Rehearsed => CeremonyOutcome::Rehearsed,
        },
        participants: participants.collect::<Result<_, _>>()?,
        deviations: body.deviations,
    };
    let done = engine.call(call.arrival, operation).await?;
    Ok(answer::nothing(done.record))
}
