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
        stage.run(who, &gone, policies::Delete { name: gone.clone(), base: None }).await
    };
    "policy.apply" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        stage.run(who, SERVER, applying([(put.name, put.text)].into())).await
    };
    "policy.rollback" => |stage, who| {
        stage.house.ask(policy(&stage.fresh_name("policy"))).await;
        let rollback = policies::Rollback { version: 1, base: None, comment: Default::default() };
        stage.run(who, SERVER, rollback).await
    };
    "policy.history" => |stage, who| stage.run(who, SERVER, policies::History { before: None, limit: 10 }).await;
    "policy.diff" => |stage, who| {
        stage.house.ask(policy(&stage.fresh_name("policy"))).await;
        stage.run(who, SERVER, policies::Diff { from: Some(0), to: None }).await
    };
    "policy.simulate" => |stage, who| {
        let simulate = policies::Simulate {
            policies: Default::default(),
            delete_others: true,
            days: 1,
            before: None,
            limit: 100,
        };
        stage.run(who, SERVER, simulate).await
    };
    "policy.shadow" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        stage.run(who, SERVER, trial([(put.name, put.text)].into())).await
    };
    "policy.shadow-report" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        stage.house.ask(trial([(put.name, put.text)].into())).await;
        stage.run(who, SERVER, policies::ShadowReport).await
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
            mfa_age_seconds: None,
            login: None,
            context: nothing(),
        };
        stage.run(who, SERVER, explain).await
    };
}

/// Policies that join those that are there.
fn applying(policies: std::collections::BTreeMap<keyreeve_model::Name, String>) -> policies::Apply {
    policies::Apply { policies, delete_others: false, base: None, dry_run: false, comment: Default::default() }
}

/// A draft of policies that join those that are there.
fn trial(policies: std::collections::BTreeMap<keyreeve_model::Name, String>) -> policies::ShadowStart {
    policies::ShadowStart { policies, delete_others: false, comment: Default::default() }
}

/// A policy that alters nothing for anybody.
fn policy(text: &str) -> policies::Put {
    let cedar = format!("@id(\"{text}.none\")\nforbid (principal in Keyreeve::Role::\"nobody\", action, resource);");
    policies::Put { name: name(text), text: cedar }
}
