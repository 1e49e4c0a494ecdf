//! Logging in, sessions, login methods.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::login::LoggedIn as LoggedInReply;
use keyreeve_engine::ops::login::certificate::Certificate;
use keyreeve_engine::ops::login::credential::Login;
use keyreeve_engine::ops::login::jwt::Jwt;
use keyreeve_engine::ops::login::ldap::Ldap;
use keyreeve_engine::ops::login::methods::{Delete, Describe, List, MethodReply, MethodSpec, Offered, Put, SetSecret};
use keyreeve_engine::ops::login::oidc::{Finish, Returned, Start};
use keyreeve_engine::ops::login::session::{Renew, RevokeSelf};
use keyreeve_engine::ops::tokens::TokenReply;
use keyreeve_engine::{Done, Engine, Evidence};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_wire::access::Token;
use keyreeve_wire::login::{
    FinishOidc, LoggedIn, LoginCredential, LoginJwt, LoginLdap, LoginMethod, OfferedMethod, PutLoginMethod,
    SetLoginSecret, StartOidc, StartedOidc,
};
use keyreeve_wire::{Page, SecretText};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer;
use crate::call::{Json, Named, Plain};
use crate::convert::{self, defect, field, named, timestamp};
use crate::routes::{Route, route};

/// A method that asks an OpenID provider, for examples.
const METHOD: &str = r#"{"kind":{"oidc":{"issuer":"https://login.example.com","client_id":"keyreeve",
"scopes":["groups"]}},"bindings":[{"name":"staff","principal":{"from-claim":{"claim":"sub"}},
"role_from_group":{"key-admins":"key-admin"}}]}"#;

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/login/methods", Both, LOGIN_METHODS, offered).lists::<OfferedMethod>().for_anybody(),
    route!(Post "/login/oidc/{method}/start", Both, LOGIN_OIDC_START, start)
        .takes::<StartOidc>(r#"{"redirect_uri":"http://127.0.0.1:49152/callback/corp"}"#)
        .gives::<StartedOidc>()
        .for_anybody(),
    route!(Post "/login/oidc/{method}/finish", Both, LOGIN_OIDC_FINISH, finish)
        .takes::<FinishOidc>(
            r#"{"attempt":"lgn_0192e4a67b217cc088000000000000aa","starter":"00","state":"00","code":"00"}"#,
        )
        .gives::<LoggedIn>()
        .for_anybody(),
    route!(Post "/login/jwt/{method}", Both, LOGIN_JWT, jwt)
        .takes::<LoginJwt>(r#"{"jwt":"eyJhbGciOiJFUzI1NiJ9.e30.AA"}"#)
        .gives::<LoggedIn>()
        .for_anybody(),
    route!(Post "/login/ldap/{method}", Both, LOGIN_LDAP, ldap)
        .takes::<LoginLdap>(r#"{"user":"olga","password":"correct horse battery staple"}"#)
        .gives::<LoggedIn>()
        .for_anybody(),
    route!(Post "/login/certificate/{method}", Both, LOGIN_CERTIFICATE, certificate).gives::<LoggedIn>().for_anybody(),
    route!(Post "/login/credential", Both, LOGIN_CREDENTIAL, credential)
        .takes::<LoginCredential>(r#"{"role_id":"billing","secret_id":"krs_00_00"}"#)
        .gives::<LoggedIn>()
        .for_anybody(),
    route!(Post "/tokens/self/renew", Both, TOKEN_RENEW, renew).gives::<Token>(),
    route!(Delete "/tokens/self", Both, TOKEN_REVOKE_SELF, revoke_self).gives::<Token>(),
    route!(Put "/login-methods/{method}", Admin, LOGIN_METHOD_PUT, put)
        .takes::<PutLoginMethod>(METHOD)
        .gives::<LoginMethod>(),
    route!(Put "/login-methods/{method}/secret", Admin, LOGIN_METHOD_SET_SECRET, set_secret)
        .takes::<SetLoginSecret>(r#"{"secret":"what the provider gave"}"#)
        .gives::<LoginMethod>(),
    route!(Get "/login-methods/{method}", Admin, LOGIN_METHOD_DESCRIBE, describe).gives::<LoginMethod>(),
    route!(Delete "/login-methods/{method}", Admin, LOGIN_METHOD_DELETE, delete),
    route!(Get "/login-methods", Admin, LOGIN_METHOD_LIST, list).lists::<LoginMethod>(),
];

async fn offered(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Offered).await?;
    let one = |method: keyreeve_engine::ops::login::methods::OfferedMethod| {
        Ok(OfferedMethod { name: method.name.to_string(), kind: named(method.kind)? })
    };
    let items = done.reply.into_iter().map(one).collect::<Result<_, Problem>>()?;
    answer::json(done.record, &Page { items, next: None })
}

fn logged_in(done: Done<LoggedInReply>) -> Result<Response, Problem> {
    let LoggedInReply { issued, roles, renew_until, mfa } = done.reply;
    let reply = LoggedIn {
        token: SecretText(issued.token),
        info: convert::token(&TokenReply { record: issued.record, valid: true }),
        roles: roles.iter().map(ToString::to_string).collect(),
        renew_until: renew_until.map(timestamp),
        mfa,
    };
    answer::secret_json(done.record, &reply)
}

async fn start(
    State(engine): State<Engine>,
    Named(method): Named<Name>,
    call: Json<StartOidc>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Start { method, redirect_uri: call.body.redirect_uri }).await?;
    let reply = StartedOidc {
        attempt: done.reply.attempt.to_string(),
        authorization_url: done.reply.url,
        starter: SecretText(done.reply.starter),
        expires: timestamp(done.reply.expires),
    };
    answer::secret_json(done.record, &reply)
}

async fn finish(
    State(engine): State<Engine>,
    Named(method): Named<Name>,
    call: Json<FinishOidc>,
) -> Result<Response, Problem> {
    let FinishOidc { attempt, starter, state, code, iss } = call.body;
    let returned = Returned { state: state.0, code: code.0, issuer: iss };
    let operation = Finish::new(method, field("attempt", &attempt)?, starter.0, returned);
    logged_in(engine.call(call.arrival, operation).await?)
}

async fn jwt(
    State(engine): State<Engine>,
    Named(method): Named<Name>,
    call: Json<LoginJwt>,
) -> Result<Response, Problem> {
    logged_in(engine.call(call.arrival, Jwt { method, token: call.body.jwt.0 }).await?)
}

async fn ldap(
    State(engine): State<Engine>,
    Named(method): Named<Name>,
    call: Json<LoginLdap>,
) -> Result<Response, Problem> {
    let operation = Ldap::new(method, call.body.user, call.body.password.0);
    logged_in(engine.call(call.arrival, operation).await?)
}

async fn certificate(
    State(engine): State<Engine>,
    Named(method): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let peer = match &arrival.evidence {
        Evidence::Certificate(peer) => Some(peer.clone()),
        Evidence::None | Evidence::Bearer(_) => None,
    };
    logged_in(engine.call(arrival, Certificate { method, peer }).await?)
}

async fn credential(State(engine): State<Engine>, call: Json<LoginCredential>) -> Result<Response, Problem> {
    let operation = Login::new(field("role_id", &call.body.role_id)?, call.body.secret_id.0);
    logged_in(engine.call(call.arrival, operation).await?)
}

async fn renew(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Renew).await?;
    answer::json(done.record, &convert::token(&done.reply))
}

async fn revoke_self(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, RevokeSelf).await?;
    answer::json(done.record, &convert::token(&done.reply))
}

/// Between the wire's form of a method's parts and the server's, which have the same names; `what` is told of those
/// that the server's form refuses.
fn same<T: DeserializeOwned>(what: &str, from: &impl Serialize) -> Result<T, Problem> {
    let value = serde_json::to_value(from).map_err(|_| defect())?;
    serde_json::from_value(value).map_err(|error| Problem::invalid(format!("`{what}`: {error}")))
}

fn spec(name: Name, body: &PutLoginMethod) -> Result<MethodSpec, Problem> {
    Ok(MethodSpec {
        name,
        kind: same("kind", &body.kind)?,
        bindings: same("bindings", &body.bindings)?,
        provision: same("provision", &body.provision)?,
        ttl_s: body.ttl_s,
        renew_s: body.renew_s,
        networks: body.networks.iter().cloned().collect(),
        disabled: body.disabled,
    })
}

fn method(reply: &MethodReply) -> Result<LoginMethod, Problem> {
    let record = &reply.record;
    Ok(LoginMethod {
        name: record.name.to_string(),
        kind: same::<keyreeve_wire::login::LoginMethodKind>("kind", &record.kind).map_err(|_| defect())?,
        has_secret: reply.has_secret,
        bindings: same::<Vec<_>>("bindings", &record.bindings).map_err(|_| defect())?,
        provision: same("provision", &record.provision).map_err(|_| defect())?,
        ttl_s: record.ttl_s,
        renew_s: record.renew_s,
        networks: record.networks.iter().cloned().collect(),
        disabled: record.disabled,
        created: timestamp(record.created),
        updated: timestamp(record.updated),
        updated_by: record.updated_by.to_string(),
    })
}

async fn put(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    call: Json<PutLoginMethod>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Put { spec: spec(name, &call.body)? }).await?;
    answer::json(done.record, &method(&done.reply)?)
}

async fn set_secret(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    call: Json<SetLoginSecret>,
) -> Result<Response, Problem> {
    let operation = SetSecret { method: name, secret: call.body.secret.map(|secret| secret.0) };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &method(&done.reply)?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { method: name }).await?;
    answer::json(done.record, &method(&done.reply)?)
}

async fn list(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, List).await?;
    let items = done.reply.items.iter().map(method).collect::<Result<_, _>>()?;
    answer::json(done.record, &Page { items, next: done.reply.next })
}

async fn delete(
    State(engine): State<Engine>,
    Named(name): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Delete { method: name }).await?;
    Ok(answer::nothing(done.record))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field of the wire's form has its counterpart, both ways.
    #[test]
    fn methods_of_all_kinds_pass_both_ways() {
        let binding = r#"[{"name":"a","subject":{"glob":"repo:acme/*"},"claims":{"env":["prod"]},"audiences":["x"],
            "principal":{"from-claim":{"claim":"sub","strip":"u:","prefix":"p-"}},"roles":["r"],
            "role_from_group":{"g":"key-admin"},"networks":["10.0.0.0/8"]},
            {"name":"b","subject":{"exact":"s"},"principal":{"fixed":"olga"}}]"#;
        for kind in [
            r#"{"oidc":{"issuer":"https://i","client_id":"c","client_auth":"post","redirect_uris":["https://c/cb"],
                "scopes":["groups"],"algorithms":["ES256"],"skew_s":5,"max_auth_age_s":60,"mfa_values":["otp"],
                "ca_pem":"x"}}"#,
            r#"{"jwt":{"issuer":"https://i","keys":{"url":"https://i/keys"},"reuse":"allowed","max_life_s":60,"outlast":true}}"#,
            r#"{"jwt":{"issuer":"https://i","keys":"discovery","algorithms":["EdDSA"]}}"#,
            r#"{"jwt":{"issuer":"https://i","keys":{"static":"{}"}}}"#,
            r#"{"ldap":{"url":"ldap://h","starttls":true,"ca_pem":"x","bind_dn":"cn=s","base":"dc=x",
                "filter":"(uid={user})","user_attribute":"uid",
                "groups":{"search":{"base":"ou=g","filter":"(member={dn})","attribute":"cn"}}}}"#,
            r#"{"ldap":{"url":"ldaps://h","base":"dc=x","filter":"(uid={user})","user_attribute":"uid",
                "groups":{"attribute":"memberOf"}}}"#,
            r#"{"certificate":{"uri_prefixes":["spiffe://a/"],"dns_suffixes":[".a"],
                "authorities":["00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"]}}"#,
        ] {
            let text = format!(r#"{{"kind":{kind},"bindings":{binding},"provision":"create","networks":["::/0"]}}"#);
            let put: PutLoginMethod = serde_json::from_str(&text).unwrap();
            let made = spec("corp".parse().unwrap(), &put).unwrap();
            let back: keyreeve_wire::login::LoginMethodKind = same("kind", &made.kind).unwrap();
            assert_eq!(back, put.kind);
            let bindings: Vec<keyreeve_wire::login::LoginBinding> = same("bindings", &made.bindings).unwrap();
            assert_eq!(bindings, put.bindings);
        }
    }

    #[test]
    fn what_the_server_refuses_is_told_with_its_field() {
        let text = r#"{"kind":{"oidc":{"issuer":"https://i","client_id":"c","algorithms":["HS256"]}}}"#;
        let put: PutLoginMethod = serde_json::from_str(text).unwrap();
        let problem = spec("corp".parse().unwrap(), &put).unwrap_err();
        assert_eq!(problem.code(), "invalid-request");
    }
}
