//! Keyrings.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::keyrings::{Create, Describe, List};
use keyreeve_engine::{Engine, KeyringRef};
use keyreeve_http::Problem;
use keyreeve_wire::keyrings::{CreateKeyring, Keyring};

use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, field, named};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keyrings", Admin, KEYRING_CREATE, create)
        .takes::<CreateKeyring>(r#"{"name":"payments","owner":"Payments team","environment":"production"}"#)
        .gives::<Keyring>(),
    route!(Get "/keyrings", Admin, KEYRING_LIST, list).query(Paging::PARAMS).lists::<Keyring>(),
    route!(Get "/keyrings/{keyring}", Admin, KEYRING_DESCRIBE, describe).gives::<Keyring>(),
];

/// Only where to go on, and how far.
pub(crate) struct Paging;

impl Known for Paging {
    const PARAMS: &'static [Param] = &[AFTER, LIMIT];
}

/// Where to go on.
pub(crate) const AFTER: Param = Param::text("after", "Go on after this row: `next` of the former page.");
/// How far.
pub(crate) const LIMIT: Param = Param::limit("limit", "The most rows, 1 to 1,000; 100 unless said.");

fn create_from(body: &CreateKeyring) -> Result<Create, Problem> {
    Ok(Create {
        name: field("name", &body.name)?,
        owner: field("owner", &body.owner)?,
        description: field("description", &body.description)?,
        classification: match body.classification {
            Some(class) => named(class.name())?,
            None => Default::default(),
        },
        environment: match body.environment {
            Some(environment) => super::keys::environment(environment)?,
            None => Default::default(),
        },
        allow_deterministic: body.allow_deterministic,
        roots: body.roots.as_ref().map(convert::root_use_from).transpose()?,
    })
}

async fn create(State(engine): State<Engine>, call: Json<CreateKeyring>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, create_from(&call.body)?).await?;
    answer::json(done.record, &convert::keyring(&done.reply.keyring)?)
}

async fn list(State(engine): State<Engine>, call: Asking<Paging>) -> Result<Response, Problem> {
    let operation = List { after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| convert::keyring(&row.keyring))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(keyring): Named<KeyringRef>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { keyring }).await?;
    answer::json(done.record, &convert::keyring(&done.reply.keyring)?)
}
