//! Legal holds.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::holds::{HoldReply, List, Place, PlaceOnKeyring, Release};
use keyreeve_engine::{Engine, KeyRef, KeyringRef};
use keyreeve_http::Problem;
use keyreeve_model::hold::HoldScope;
use keyreeve_model::ids::HoldId;
use keyreeve_wire::cases::{Hold, PlaceHold, ReleaseHold};

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named};
use crate::convert::{self, field, timestamp};
use crate::routes::{Param, Route, route};

const MATTER: &str = r#"{"matter":"2026-cv-1042"}"#;

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keys/{key}/holds", Admin, HOLD_PLACE, place).takes::<PlaceHold>(MATTER).gives::<Hold>(),
    route!(Post "/keyrings/{keyring}/holds", Admin, HOLD_PLACE_ON_KEYRING, place_on_keyring)
        .takes::<PlaceHold>(MATTER)
        .gives::<Hold>(),
    route!(Get "/holds", Admin, HOLD_LIST, list).query(Filter::PARAMS).lists::<Hold>(),
    route!(Post "/holds/{id}/release", Admin, HOLD_RELEASE, release)
        .takes::<ReleaseHold>(r#"{"reason":"case closed"}"#)
        .gives::<Hold>(),
];

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] = &[
        Param::reference("key", "Only holds that cover this key, by id or alias."),
        Param::one_of::<bool>("released", "`true` for those that were released as well."),
        AFTER,
        LIMIT,
    ];
}

fn hold(HoldReply(hold): &HoldReply) -> Hold {
    let (key, keyring) = match hold.scope() {
        HoldScope::Key(key) => (Some(key.to_string()), None),
        HoldScope::Keyring(keyring) => (None, Some(keyring.to_string())),
    };
    let released = hold.released();
    Hold {
        id: hold.id().to_string(),
        key,
        keyring,
        matter: hold.matter().to_string(),
        placed: timestamp(hold.placed()),
        placed_by: hold.placed_by().name.to_string(),
        released: released.map(|release| timestamp(release.at)),
        released_by: released.map(|release| release.by.name.to_string()),
        release_reason: released.map(|release| release.reason.to_string()),
    }
}

async fn place(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<PlaceHold>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Place { key, matter: field("matter", &call.body.matter)? }).await?;
    answer::json(done.record, &hold(&done.reply))
}

async fn place_on_keyring(
    State(engine): State<Engine>,
    Named(keyring): Named<KeyringRef>,
    call: Json<PlaceHold>,
) -> Result<Response, Problem> {
    let operation = PlaceOnKeyring { keyring, matter: field("matter", &call.body.matter)? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &hold(&done.reply))
}

async fn list(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let operation = List {
        key: call.query.get("key")?,
        released: call.query.get("released")?.unwrap_or(false),
        after: call.query.get("after")?,
        limit: call.query.limit()?,
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| Ok(hold(&row)))?)
}

async fn release(
    State(engine): State<Engine>,
    Named(id): Named<HoldId>,
    call: Json<ReleaseHold>,
) -> Result<Response, Problem> {
    let operation = Release { hold: id, reason: field("reason", &call.body.reason)? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &hold(&done.reply))
}
