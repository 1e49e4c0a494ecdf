//! Principals.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::principals::{Delete, Describe, List, PrincipalPatch, Put, PutSpec, Update};
use keyreeve_http::Problem;
use keyreeve_model::{Name, PrincipalKind};
use keyreeve_wire::access::{Principal, PrincipalDeleted, PutPrincipal, UpdatePrincipal};
use keyreeve_wire::names;

use super::keyrings::Paging;
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, certificate_patch, label_patch, labels, optional, set, set_patch};
use crate::routes::{Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Put "/principals/{name}", Admin, PRINCIPAL_PUT, put)
        .takes::<PutPrincipal>(r#"{"kind":"service","roles":["application"],"networks":["10.0.0.0/8"]}"#)
        .gives::<Principal>(),
    route!(Patch "/principals/{name}", Admin, PRINCIPAL_PUT, update)
        .takes::<UpdatePrincipal>(r#"{"add_roles":["pipeline"],"remove_networks":["10.0.0.0/8"]}"#)
        .gives::<Principal>(),
    route!(Get "/principals/{name}", Admin, PRINCIPAL_DESCRIBE, describe).gives::<Principal>(),
    route!(Delete "/principals/{name}", Admin, PRINCIPAL_DELETE, delete).gives::<PrincipalDeleted>(),
    route!(Get "/principals", Admin, PRINCIPAL_LIST, list).query(Paging::PARAMS).lists::<Principal>(),
];

fn put_from(name: Name, body: PutPrincipal) -> Result<Put, Problem> {
    let given = (body.networks.len(), body.certificates.len());
    let spec = PutSpec {
        name,
        kind: match body.kind {
            names::PrincipalKind::Person => PrincipalKind::Person,
            names::PrincipalKind::Service => PrincipalKind::Service,
        },
        roles: set("roles", &body.roles)?,
        labels: labels(&body.labels)?,
        networks: body.networks.into_iter().collect(),
        certificates: body.certificates.into_iter().map(convert::certificate).collect(),
        disabled: body.disabled,
        person: optional("person", body.person.as_deref().filter(|person| !person.is_empty()))?,
    };
    if (spec.networks.len(), spec.certificates.len()) == given {
        Ok(Put::new(spec))
    } else {
        Err(Problem::invalid("`networks` or `certificates` repeat a value"))
    }
}

async fn put(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    call: Json<PutPrincipal>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, put_from(name, call.body)?).await?;
    answer::json(done.record, &convert::principal(&done.reply)?)
}

fn patch(body: UpdatePrincipal) -> Result<PrincipalPatch, Problem> {
    Ok(PrincipalPatch {
        roles: set_patch("roles", body.roles.as_deref(), (&body.add_roles, &body.remove_roles))?,
        labels: label_patch(body.labels.as_ref(), &body.set_labels, &body.remove_labels)?,
        networks: set_patch("networks", body.networks.as_deref(), (&body.add_networks, &body.remove_networks))?,
        certificates: certificate_patch(body.certificates, (body.add_certificates, body.remove_certificates))?,
        disabled: body.disabled,
        person: optional("person", body.person.as_deref())?,
    })
}

async fn update(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    call: Json<UpdatePrincipal>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Update { name, patch: patch(call.body)? }).await?;
    answer::json(done.record, &convert::principal(&done.reply)?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { name }).await?;
    answer::json(done.record, &convert::principal(&done.reply)?)
}

async fn delete(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Delete { name }).await?;
    answer::json(done.record, &PrincipalDeleted { warnings: done.reply.warnings })
}

async fn list(State(engine): State<Engine>, call: Asking<Paging>) -> Result<Response, Problem> {
    let operation = List { after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| convert::principal(&row))?)
}
