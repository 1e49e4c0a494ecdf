//! Moving keys through their states.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::destruction::{Cancel, DescribeDestruction, Destroy, Schedule};
use keyreeve_engine::ops::lifecycle::{Activate, Compromise, Deactivate, Rotate, Suspend};
use keyreeve_engine::{Engine, KeyRef};
use keyreeve_http::Problem;
use keyreeve_wire::keys::{CompromiseKey, Destruction, Key, Reason, ScheduleDestruction, SuspendKey};

use crate::answer;
use crate::call::{Json, Named, Plain};
use crate::convert::{self, field};
use crate::routes::{Route, route};

/// The waiting period unless the caller says another (days).
const WAIT_DAYS: u32 = 30;

const REASON: &str = r#"{"reason":"ticket 4711"}"#;

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keys/{key}/activate", Admin, KEY_ACTIVATE, activate).takes::<Reason>(REASON).gives::<Key>(),
    route!(Post "/keys/{key}/suspend", Admin, KEY_SUSPEND, suspend)
        .takes::<SuspendKey>(r#"{"risk_accepted":false,"reason":"under investigation"}"#)
        .gives::<Key>(),
    route!(Post "/keys/{key}/deactivate", Admin, KEY_DEACTIVATE, deactivate).takes::<Reason>(REASON).gives::<Key>(),
    route!(Post "/keys/{key}/compromise", Admin, KEY_COMPROMISE, compromise)
        .takes::<CompromiseKey>(r#"{"version":1,"reason":"found in a log"}"#)
        .gives::<Key>(),
    route!(Post "/keys/{key}/rotate", Admin, KEY_ROTATE, rotate).takes::<Reason>(REASON).gives::<Key>(),
    route!(Post "/keys/{key}/schedule-destruction", Admin, KEY_SCHEDULE_DESTRUCTION, schedule)
        .takes::<ScheduleDestruction>(r#"{"days":30,"reason":"service ended"}"#)
        .gives::<Key>(),
    route!(Post "/keys/{key}/cancel-destruction", Admin, KEY_CANCEL_DESTRUCTION, cancel)
        .takes::<Reason>(REASON)
        .gives::<Key>(),
    route!(Post "/keys/{key}/destroy", Admin, KEY_DESTROY, destroy)
        .gives::<Key>()
        .note("The server does this by itself when the waiting period is over."),
    route!(Get "/keys/{key}/destruction", Admin, KEY_DESTRUCTION, destruction).gives::<Destruction>(),
];

macro_rules! handler {
    ($name:ident, $body:ty, |$key:ident, $from:ident| $operation:expr) => {
        async fn $name(
            State(engine): State<Engine>,
            Named($key): Named<KeyRef>,
            call: Json<$body>,
        ) -> Result<Response, Problem> {
            let $from = call.body;
            let done = engine.call(call.arrival, $operation).await?;
            answer::json(done.record, &convert::key(&done.reply)?)
        }
    };
}

handler!(activate, Reason, |key, body| Activate { key, reason: field("reason", &body.reason)? });
handler!(deactivate, Reason, |key, body| Deactivate { key, reason: field("reason", &body.reason)? });
handler!(rotate, Reason, |key, body| Rotate { key, reason: field("reason", &body.reason)? });
handler!(cancel, Reason, |key, body| Cancel { key, reason: field("reason", &body.reason)? });
handler!(suspend, SuspendKey, |key, body| Suspend {
    key,
    risk_accepted: body.risk_accepted,
    reason: field("reason", &body.reason)?
});
handler!(compromise, CompromiseKey, |key, body| Compromise {
    key,
    version: body.version,
    risk_accepted: body.risk_accepted,
    reason: field("reason", &body.reason)?
});
handler!(schedule, ScheduleDestruction, |key, body| Schedule {
    key,
    days: body.days.unwrap_or(WAIT_DAYS),
    reason: field("reason", &body.reason)?
});

async fn destroy(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Destroy { key }).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

async fn destruction(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, DescribeDestruction { key }).await?;
    answer::json(done.record, &convert::destruction(&done.reply.0))
}
