//! The server itself.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::anchors::{self, InfoReply};
use keyreeve_engine::ops::system::{Init, Seal, Status, Unseal};
use keyreeve_engine::{AnchorState, Engine};
use keyreeve_http::Problem;
use keyreeve_wire::SecretText;
use keyreeve_wire::system::{
    AcceptRollback, AcceptedRollback, AnchorInfo, InitReply, InitRequest, RootStatus, SystemInfo, SystemStatus,
    UnsealRequest, Unsealed,
};

use super::shares::{handed, spec};
use crate::answer;
use crate::call::{Json, Plain};
use crate::convert::{self, field, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/system/status", Both, SYSTEM_STATUS, status).gives::<SystemStatus>().for_anybody(),
    route!(Post "/system/init", Admin, SYSTEM_INIT, init)
        .takes::<InitRequest>(r#"{"shares":5,"threshold":3}"#)
        .gives::<InitReply>()
        .for_anybody()
        .note("The shares and the token are shown this once: hand them out and keep no copy."),
    route!(Post "/system/unseal", Admin, SYSTEM_UNSEAL, unseal)
        .takes::<UnsealRequest>(r#"{"share":"as initialisation showed it"}"#)
        .gives::<Unsealed>()
        .for_anybody(),
    route!(Post "/system/seal", Admin, SYSTEM_SEAL, seal),
    route!(Get "/system/info", Admin, SYSTEM_INFO, info).gives::<SystemInfo>(),
    route!(Post "/system/accept-rollback", Admin, SYSTEM_ACCEPT_ROLLBACK, accept_rollback)
        .takes::<AcceptRollback>(r#"{"reason":"the disk was restored from the snapshot of last night, ticket 4711"}"#)
        .note("Counters of keys jump ahead and the anchors are taken as they stand; then the server works again."),
];

async fn status(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Status).await?;
    let reply = SystemStatus {
        root_kind: done.reply.root_kind.to_owned(),
        root: convert::root(&done.reply.root),
        roots: done.reply.roots.iter().map(convert::root_info).collect::<Result<_, _>>()?,
        open: done.reply.open,
        log_vkeys: done.reply.log_vkeys,
    };
    answer::json(done.record, &reply)
}

async fn init(State(engine): State<Engine>, call: Json<InitRequest>) -> Result<Response, Problem> {
    let InitRequest { shares, threshold, holders } = call.body;
    let holders = holders.iter().map(spec).collect::<Result<_, _>>()?;
    let done = engine.call(call.arrival, Init { shares, threshold, holders }).await?;
    let reply = InitReply {
        shares: done.reply.shares.into_iter().map(SecretText).collect(),
        handed: done.reply.handed.iter().map(handed).collect::<Result<_, _>>()?,
        challenge: done.reply.challenge,
        principal: done.reply.principal.to_string(),
        token: SecretText(done.reply.token),
        expires: timestamp(done.reply.expires),
        log_vkeys: done.reply.log_vkeys,
    };
    answer::secret_json(done.record, &reply)
}

async fn unseal(State(engine): State<Engine>, call: Json<UnsealRequest>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Unseal { share: call.body.share.0 }).await?;
    let RootStatus { state, given, needed, made } = convert::root(&done.reply.root);
    answer::json(done.record, &Unsealed { root: done.reply.name.to_string(), state, given, needed, made })
}

async fn seal(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Seal).await?;
    Ok(answer::nothing(done.record))
}

async fn info(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, anchors::Info).await?;
    let InfoReply { facts, module, last_start, anchors, rolled_back, accepted } = done.reply;
    let accepted = accepted.map(|accepted| AcceptedRollback {
        at: timestamp(accepted.at),
        by: accepted.by.to_string(),
        reason: accepted.reason.to_string(),
        found: accepted.found,
        done: accepted.done,
    });
    let reply = SystemInfo {
        version: facts.as_ref().map(|facts| facts.version.clone()),
        binary_sha256: facts.as_ref().map(|facts| facts.binary.clone()),
        configuration_sha256: facts.as_ref().and_then(|facts| facts.configuration.clone()),
        expected_binary_sha256: facts.and_then(|facts| facts.expected_binary),
        module,
        last_start: last_start.map(|start| timestamp(start.at)),
        anchors: anchors.into_iter().map(anchor).collect(),
        rolled_back,
        accepted_rollback: accepted,
    };
    answer::json(done.record, &reply)
}

fn anchor(state: AnchorState) -> AnchorInfo {
    let AnchorState { name, kind, place, required, known, trouble } = state;
    AnchorInfo {
        name: name.to_string(),
        kind: kind.to_owned(),
        place,
        required,
        count: known.as_ref().and_then(|record| record.expects),
        at: known.as_ref().map(|record| timestamp(record.at)),
        log_size: known.map(|record| record.log_size).unwrap_or_default(),
        trouble,
    }
}

async fn accept_rollback(State(engine): State<Engine>, call: Json<AcceptRollback>) -> Result<Response, Problem> {
    let reason = field("reason", &call.body.reason)?;
    let done = engine.call(call.arrival, anchors::AcceptRollback { reason }).await?;
    Ok(answer::nothing(done.record))
}
