//! Bearer tokens.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::tokens::{Create, List, Revoke, TokenReply, WhoAmI};
use keyreeve_http::Problem;
use keyreeve_model::TokenId;
use keyreeve_wire::SecretText;
use keyreeve_wire::access::{CreateToken, Identity, IssuedToken, Token};

use super::keyrings::Paging;
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, field, named, set, timestamp};
use crate::routes::{Route, route};

/// How long a token lasts unless the caller says otherwise (seconds).
const TOKEN_SECONDS: u64 = 3600;

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/tokens", Admin, TOKEN_CREATE, create)
        .takes::<CreateToken>(r#"{"principal":"billing","seconds":3600,"description":"nightly run"}"#)
        .gives::<IssuedToken>()
        .note("The token is shown this once; only a hash of it is stored."),
    route!(Get "/tokens", Admin, TOKEN_LIST, list).query(Paging::PARAMS).lists::<Token>(),
    route!(Get "/tokens/self", Both, TOKEN_SELF, who).gives::<Identity>(),
    route!(Delete "/tokens/{id}", Admin, TOKEN_REVOKE, revoke).gives::<Token>(),
];

async fn create(State(engine): State<Engine>, call: Json<CreateToken>) -> Result<Response, Problem> {
    let operation = Create {
        principal: field("principal", &call.body.principal)?,
        seconds: call.body.seconds.unwrap_or(TOKEN_SECONDS),
        description: field("description", &call.body.description)?,
        networks: set("networks", &call.body.networks)?,
    };
    let done = engine.call(call.arrival, operation).await?;
    let info = convert::token(&TokenReply { record: done.reply.record, valid: true });
    answer::secret_json(done.record, &IssuedToken { token: SecretText(done.reply.token), info })
}

async fn list(State(engine): State<Engine>, call: Asking<Paging>) -> Result<Response, Problem> {
    let operation = List { after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| Ok(convert::token(&row)))?)
}

async fn revoke(
    State(engine): State<Engine>,
    Named(token): Named<TokenId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Revoke { token }).await?;
    answer::json(done.record, &convert::token(&done.reply))
}

async fn who(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, WhoAmI).await?;
    let reply = Identity {
        principal: done.reply.principal.to_string(),
        roles: done.reply.roles,
        method: named(done.reply.method)?,
        token: done.reply.token.map(|id| id.to_string()),
        expires: done.reply.expires.map(timestamp),
        login: done.reply.login.map(|login| login.to_string()),
    };
    answer::json(done.record, &reply)
}
