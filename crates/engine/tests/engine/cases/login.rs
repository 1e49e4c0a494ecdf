//! Logging in.

use keyreeve_engine::PeerCertificate;
use keyreeve_engine::ops::login::{certificate, credential, jwt, ldap, methods, oidc, session};
use keyreeve_engine::ops::tokens;
use keyreeve_model::UnixMillis;
use keyreeve_secret::SecretString;
use std::sync::Arc;

use super::{Case, SERVER, Stage};
use crate::logins::{claims, kinds, program, spec};
use crate::support::{Who, name};

/// A method of a kind, under its name.
async fn method(stage: &Stage, kind: &str) -> keyreeve_model::Name {
    let kind = kinds(&stage.house).into_iter().find(|one| one.name() == kind).unwrap();
    stage.house.ask(methods::Put { spec: spec(kind) }).await.record.name
}

/// Another token of the same caller, for what ends it.
async fn another(stage: &Stage, who: &Who) -> Who {
    match who {
        Who::Nobody => Who::Nobody,
        Who::Bearer(_) => {
            let principal = stage.house.call(who, tokens::WhoAmI).await.unwrap().reply.principal;
            stage.house.token_for(principal.as_str()).await
        }
    }
}

async fn issued(stage: &Stage) -> (keyreeve_model::Name, credential::IssuedCredential) {
    let app = name(&stage.fresh_name("app"));
    stage.house.ask(program(app.as_str(), &[])).await;
    let spec = crate::logins::issuing(app.as_str());
    (app, stage.house.ask(credential::Issue { spec }).await)
}

fn plain(issued: &credential::IssuedCredential) -> SecretString {
    match &issued.secret {
        credential::HandedOver::Plain(secret) | credential::HandedOver::Wrapped(secret, _) => secret.duplicate(),
    }
}

cases! {
    "login.methods" => |stage, who| stage.run(who, SERVER, methods::Offered).await;
    "login.oidc-start" => |stage, who| {
        let method = method(stage, "oidc").await;
        let redirect_uri = format!("http://127.0.0.1:1/callback/{method}");
        stage.run(who, &method, oidc::Start { method: method.clone(), redirect_uri }).await
    };
    "login.oidc-finish" => |stage, who| {
        let method = method(stage, "oidc").await;
        let finish = crate::logins::visited(&stage.house, &method, claims(&stage.house)).await;
        stage.run(who, &method, finish).await
    };
    "login.jwt" => |stage, who| {
        let method = method(stage, "jwt").await;
        let mut claims = claims(&stage.house);
        claims["jti"] = stage.fresh_name("jti").into();
        let token = stage.house.outside.sign(&claims);
        stage.run(who, &method, jwt::Jwt { method: method.clone(), token }).await
    };
    "login.ldap" => |stage, who| {
        let method = method(stage, "ldap").await;
        stage.house.outside.person("alice", "secret", &[]);
        let login = ldap::Ldap::new(method.clone(), "alice".into(), SecretString::copy_from("secret"));
        stage.run(who, &method, login).await
    };
    "login.certificate" => |stage, who| {
        let method = method(stage, "certificate").await;
        let uris = vec!["spiffe://prod.example/alice".to_owned()];
        let valid = (UnixMillis(0), UnixMillis(i64::MAX));
        let (dns_names, authorities) = (Vec::new(), Vec::new());
        let peer = PeerCertificate { fingerprint: [9; 32], dns_names, uris, authorities, valid };
        let peer = Some(Arc::new(peer));
        stage.run(who, &method, certificate::Certificate { method: method.clone(), peer }).await
    };
    "login.credential" => |stage, who| {
        let (app, issued) = issued(stage).await;
        stage.run(who, "credential", credential::Login::new(app, plain(&issued))).await
    };
    "credential.unwrap" => |stage, who| {
        let app = name(&stage.fresh_name("app"));
        stage.house.ask(program(app.as_str(), &[])).await;
        let spec = credential::IssueSpec { wrap_seconds: Some(60), ..crate::logins::issuing(app.as_str()) };
        let issued = stage.house.ask(credential::Issue { spec }).await;
        stage.run(who, SERVER, credential::Unwrap { token: plain(&issued) }).await
    };
    "login-method.put" => |stage, who| {
        let kind = kinds(&stage.house).remove(0);
        let spec = spec(kind);
        stage.run(who, spec.name.clone(), methods::Put { spec }).await
    };
    "login-method.set-secret" => |stage, who| {
        let method = method(stage, "oidc").await;
        let secret = Some(SecretString::copy_from("secret"));
        stage.run(who, &method, methods::SetSecret { method: method.clone(), secret }).await
    };
    "login-method.list" => |stage, who| stage.run(who, SERVER, methods::List).await;
    "login-method.describe" => |stage, who| {
        let method = method(stage, "jwt").await;
        stage.run(who, &method, methods::Describe { method: method.clone() }).await
    };
    "login-method.delete" => |stage, who| {
        let method = method(stage, "certificate").await;
        stage.run(who, &method, methods::Delete { method: method.clone() }).await
    };
    "credential.issue" => |stage, who| {
        let app = name(&stage.fresh_name("app"));
        stage.house.ask(program(app.as_str(), &[])).await;
        stage.run(who, &app, credential::Issue { spec: crate::logins::issuing(app.as_str()) }).await
    };
    "credential.list" => |stage, who| {
        let list = credential::List { principal: name("developer"), after: None, limit: 10 };
        stage.run(who, "developer", list).await
    };
    "credential.revoke" => |stage, who| {
        let (app, issued) = issued(stage).await;
        let revoke = credential::Revoke { principal: app.clone(), credential: issued.record.id };
        stage.run(who, &app, revoke).await
    };
    "token.renew" => |stage, who| stage.run(who, SERVER, session::Renew).await;
    "token.revoke-self" => |stage, who| {
        let own = another(stage, who).await;
        stage.run(&own, SERVER, session::RevokeSelf).await
    };
}
