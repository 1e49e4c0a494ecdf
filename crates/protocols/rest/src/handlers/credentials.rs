//! Service credentials.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::login::credential::{CredentialReply, HandedOver, Issue, IssueSpec, List, Revoke, Unwrap};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_model::ids::CredentialId;
use keyreeve_wire::SecretText;
use keyreeve_wire::login::{Credential, IssueCredential, IssuedCredential, UnwrapCredential, UnwrappedCredential};

use super::keyrings::Paging;
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain, Within};
use crate::convert::{self, field, set, timestamp};
use crate::routes::{Route, route};

/// How long a credential lasts unless the caller says otherwise (seconds).
const CREDENTIAL_SECONDS: u64 = 30 * 86_400;
/// How long each of its tokens lasts unless the caller says otherwise (seconds).
const TOKEN_SECONDS: u32 = 3600;

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/principals/{name}/credentials", Admin, CREDENTIAL_ISSUE, issue)
        .takes::<IssueCredential>(r#"{"description":"nightly run","uses":1,"networks":["10.0.0.0/8"]}"#)
        .gives::<IssuedCredential>()
        .note("The secret is shown this once; only a hash of it is stored."),
    route!(Get "/principals/{name}/credentials", Admin, CREDENTIAL_LIST, list)
        .query(Paging::PARAMS)
        .lists::<Credential>(),
    route!(Delete "/principals/{name}/credentials/{id}", Admin, CREDENTIAL_REVOKE, revoke).gives::<Credential>(),
    route!(Post "/credentials/unwrap", Both, CREDENTIAL_UNWRAP, unwrap)
        .takes::<UnwrapCredential>(r#"{"wrapping_token":"krw_00"}"#)
        .gives::<UnwrappedCredential>()
        .for_anybody()
        .note("A second try revokes the credential: one of the two is not whom it was meant for."),
];

fn credential(reply: CredentialReply) -> Credential {
    let CredentialReply { record, valid } = reply;
    Credential {
        id: record.id.to_string(),
        principal: record.principal.to_string(),
        description: record.description.to_string(),
        uses_left: record.uses_left,
        networks: record.networks.into_iter().collect(),
        token_seconds: record.token_ttl_s,
        created: timestamp(record.created),
        created_by: record.created_by.to_string(),
        expires: timestamp(record.expires),
        last_used: record.last_used.map(timestamp),
        revoked: record.revoked.map(timestamp),
        valid,
    }
}

async fn issue(
    State(engine): State<Engine>,
    Named(principal): Named<Name>,
    call: Json<IssueCredential>,
) -> Result<Response, Problem> {
    let spec = IssueSpec {
        principal,
        description: field("description", &call.body.description)?,
        seconds: call.body.seconds.unwrap_or(CREDENTIAL_SECONDS),
        uses: call.body.uses,
        networks: set("networks", &call.body.networks)?,
        token_seconds: call.body.token_seconds.unwrap_or(TOKEN_SECONDS),
        wrap_seconds: call.body.wrap_seconds,
    };
    let done = engine.call(call.arrival, Issue { spec }).await?;
    let (secret_id, wrapping_token, wrapped_until) = match done.reply.secret {
        HandedOver::Plain(secret) => (Some(SecretText(secret)), None, None),
        HandedOver::Wrapped(token, until) => (None, Some(SecretText(token)), Some(timestamp(until))),
    };
    let info = credential(CredentialReply { record: done.reply.record, valid: true });
    answer::secret_json(done.record, &IssuedCredential { secret_id, wrapping_token, wrapped_until, info })
}

async fn list(
    State(engine): State<Engine>,
    Named(principal): Named<Name>,
    call: Asking<Paging>,
) -> Result<Response, Problem> {
    let operation = List { principal, after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| Ok(credential(row)))?)
}

async fn revoke(
    State(engine): State<Engine>,
    Within(principal, id): Within<Name, CredentialId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Revoke { principal, credential: id }).await?;
    answer::json(done.record, &credential(done.reply))
}

async fn unwrap(State(engine): State<Engine>, call: Json<UnwrapCredential>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Unwrap { token: call.body.wrapping_token.0 }).await?;
    let reply = UnwrappedCredential {
        secret_id: SecretText(done.reply.secret),
        credential: done.reply.credential.to_string(),
        principal: done.reply.principal.to_string(),
    };
    answer::secret_json(done.record, &reply)
}
