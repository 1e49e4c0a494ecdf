//! The server itself.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::system::{Init, Seal, Status, Unseal};
use keyreeve_http::Problem;
use keyreeve_wire::SecretText;
use keyreeve_wire::system::{InitReply, InitRequest, RootStatus, SystemStatus, UnsealRequest};

use super::shares::{handed, spec};
use crate::answer;
use crate::call::{Json, Plain};
use crate::convert::{self, timestamp};
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
        .gives::<RootStatus>()
        .for_anybody(),
    route!(Post "/system/seal", Admin, SYSTEM_SEAL, seal),
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
    answer::json(done.record, &convert::root(&done.reply.root))
}

async fn seal(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Seal).await?;
    Ok(answer::nothing(done.record))
}
