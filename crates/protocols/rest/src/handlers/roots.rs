//! Roots of trust of the deployment.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::rekey;
use keyreeve_engine::ops::roots::{Join, List, Retire, RootReply};
use keyreeve_engine::{Engine, KeyringRef};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_wire::SecretText;
use keyreeve_wire::jobs::Job;
use keyreeve_wire::roots::{JoinRoot, JoinedRoot, MigrateRoots, RetireRoot, Root, Roots, RotateKek};

use super::jobs::job;
use super::shares::{handed, spec};
use crate::answer;
use crate::call::{Json, Named, Plain};
use crate::convert::{self, field, named, optional, root_use_from, timestamp};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/roots", Admin, ROOT_LIST, list).gives::<Roots>(),
    route!(Post "/roots", Admin, ROOT_JOIN, join)
        .takes::<JoinRoot>(r#"{"name":"hsm","reason":"the new device"}"#)
        .gives::<JoinedRoot>()
        .note(
            "Shares, where there are any, are encrypted to the holders that are named, who prove to have theirs before \
               anything comes under the root.",
        ),
    route!(Post "/roots/{root}/retire", Admin, ROOT_RETIRE, retire)
        .takes::<RetireRoot>(r#"{"reason":"everything moved to the new device"}"#),
    route!(Post "/roots/migrate", Admin, ROOT_MIGRATE, migrate)
        .takes::<MigrateRoots>(r#"{"from":"main","to":{"roots":["hsm"]},"reason":"the new device"}"#)
        .gives::<Job>(),
    route!(Post "/keyrings/{keyring}/rotate-kek", Admin, KEYRING_ROTATE_KEK, rotate_kek)
        .takes::<RotateKek>(r#"{"reason":"its time is over"}"#)
        .gives::<Job>(),
];

fn root(reply: &RootReply) -> Result<Root, Problem> {
    Ok(Root {
        name: reply.name.to_string(),
        kind: reply.kind.clone(),
        custody: reply.custody.map(|custody| named(custody.name())).transpose()?,
        status: reply.status.as_ref().map(convert::root),
        joined: reply.joined.map(timestamp),
        keyrings: reply.keyrings,
        own_secret: reply.own_secret,
    })
}

async fn list(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, List).await?;
    let roots = done.reply.0.iter().map(root).collect::<Result<_, _>>()?;
    answer::json(done.record, &Roots { roots })
}

async fn join(State(engine): State<Engine>, call: Json<JoinRoot>) -> Result<Response, Problem> {
    let JoinRoot { name, shares, threshold, holders, reason } = &call.body;
    let (name, reason) = (field("name", name)?, field("reason", reason)?);
    let holders = holders.iter().map(spec).collect::<Result<_, _>>()?;
    let join = Join { name, shares: *shares, threshold: *threshold, holders, reason };
    let done = engine.call(call.arrival, join).await?;
    let shares = done.reply.shares.into_iter().map(SecretText).collect();
    let texts = done.reply.handed.iter().map(handed).collect::<Result<_, _>>()?;
    let (kind, challenge) = (done.reply.kind.to_owned(), done.reply.challenge);
    answer::secret_json(done.record, &JoinedRoot { kind, shares, handed: texts, challenge })
}

async fn retire(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<RetireRoot>,
) -> Result<Response, Problem> {
    let retire = Retire { name: root, reason: field("reason", &call.body.reason)? };
    Ok(answer::nothing(engine.call(call.arrival, retire).await?.record))
}

async fn migrate(State(engine): State<Engine>, call: Json<MigrateRoots>) -> Result<Response, Problem> {
    let body = &call.body;
    let migrate = rekey::MigrateRoots {
        from: optional("from", body.from.as_deref())?,
        to: root_use_from(&body.to)?,
        pace: body.pace,
        reason: field("reason", &body.reason)?,
    };
    let done = engine.call(call.arrival, migrate).await?;
    answer::json(done.record, &job(&done.reply)?)
}

async fn rotate_kek(
    State(engine): State<Engine>,
    Named(keyring): Named<KeyringRef>,
    call: Json<RotateKek>,
) -> Result<Response, Problem> {
    let body = &call.body;
    let roots = body.roots.as_ref().map(root_use_from).transpose()?;
    let rotate = rekey::RotateKek { keyring, roots, pace: body.pace, reason: field("reason", &body.reason)? };
    let done = engine.call(call.arrival, rotate).await?;
    answer::json(done.record, &job(&done.reply)?)
}
