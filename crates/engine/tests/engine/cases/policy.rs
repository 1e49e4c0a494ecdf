//! What is allowed.

use keyreeve_engine::ops::{explain, policies};

use super::{Case, SERVER, nothing};
use crate::support::name;

cases! {
    "policy.put" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        stage.run(who, put.name.clone(), put).await
    };
    "policy.list" => |stage, who| stage.run(who, SERVER, policies::List { after: None, limit: 10 }).await;
    "policy.describe" => |stage, who| {
        stage.run(who, "key-admin", policies::Describe { name: name("key-admin") }).await
    };
    "policy.delete" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        let gone = put.name.clone();
        stage.house.ask(put).await;
        stage.run(who, &gone, policies::Delete { name: gone.clone() }).await
    };
    "policy.explain" => |stage, who| {
        let explain = explain::Explain {
            principal: name("developer"),
            action: "key.encrypt".into(),
            resource: Some(stage.aead.to_string()),
            to: None,
            method: keyreeve_policy::Method::Token,
            source: None,
            time: None,
            context: nothing(),
        };
        stage.run(who, SERVER, explain).await
    };
}

/// A policy that alters nothing for anybody.
fn policy(text: &str) -> policies::Put {
    let cedar = format!("@id(\"{text}.none\")\nforbid (principal in Keyreeve::Role::\"nobody\", action, resource);");
    policies::Put { name: name(text), text: cedar }
}
