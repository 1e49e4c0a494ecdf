//! Schema generation, validation and its messages, and the rules that never bend.

use crate::sample::{CATALOGUE, compile, context, key, name, principal, resource, schema};
use keyreeve_policy::{
    ActionSpec, ContextAttrs, MfaKind, PolicySet, PrincipalKind, Request, ResourceAttrs, ResourceDetails, ResourceKind,
    Schema, SchemaProblem,
};
use std::collections::BTreeMap;

fn problems(text: &str) -> Vec<(Option<usize>, String)> {
    compile(text).unwrap_err().into_iter().map(|p| (p.line, p.to_string())).collect()
}

#[test]
fn the_schema_does_not_depend_on_the_order_of_the_catalogue() {
    let mut reversed = CATALOGUE.to_vec();
    reversed.reverse();
    assert_eq!(schema().text(), Schema::generate(&reversed).unwrap().text());
    assert!(schema().text().contains("action \"key.encrypt\" in [\"encrypt-side\"] appliesTo {"));
    assert!(schema().text().contains("\"kind\": String, // person, service, system, anonymous"));
}

#[test]
fn a_contradicting_catalogue_is_refused() {
    let spec = |name, groups| ActionSpec { name, resource: ResourceKind::Key, groups };
    let generate = |specs: &[ActionSpec]| Schema::generate(specs).unwrap_err();
    assert_eq!(generate(&[spec("a", &[]), spec("a", &[])]), SchemaProblem::Duplicate("a"));
    assert_eq!(generate(&[spec("read", &[])]), SchemaProblem::Duplicate("read"));
    assert_eq!(generate(&[spec("a b", &[])]), SchemaProblem::Name("a b"));
    assert_eq!(generate(&[spec("a\"", &[])]), SchemaProblem::Name("a\""));
    assert_eq!(generate(&[spec("a", &["reed"])]), SchemaProblem::Group { action: "a", group: "reed" });
}

#[test]
fn problems_say_where_and_what() {
    for (text, line, words) in [
        ("permit (principal, action resource);", 1, "unexpected token"),
        (
            "// a\n\npermit (\n  principal,\n  action == Keyreeve::Action::\"key.encyrpt\",\n  resource\n);",
            5,
            "key.encrypt",
        ),
        ("permit (principal, action, resource)\nwhen { principal.nam == \"x\" };", 2, "name"),
        (
            "permit (principal, action, resource is Keyreeve::Key)\nwhen {\n resource.owner == 3 };",
            3,
            "types Long and String",
        ),
        ("permit (principal, action, resource)\nwhen { context.mfa_age_seconds < 5 };", 2, "optional"),
        ("permit (principal, action, resource)\nwhen { principal.getTag(\"a\") == \"b\" };", 2, "tag"),
        ("permit (principal, action, resource)\n\nwhen { principal.kind == \"persn\" };", 1, "anonymous"),
        ("permit (principal is User, action, resource);", 1, "User"),
        ("permit (principal == ?principal, action, resource);", 0, "template"),
        ("// nothing here\n", 0, "no statement"),
        ("", 0, "no statement"),
    ] {
        let found = problems(text);
        let expected = (line > 0).then_some(line);
        let hit = found.iter().any(|(at, said)| {
            *at == expected && said.contains(words) && !said.contains("`0`") && said.starts_with("policy `test`")
        });
        assert!(hit, "{text:?} gave {found:?}");
    }
}

#[test]
fn every_problem_of_every_document_is_reported_at_once() {
    let bad = "permit (principal, action, resource) when { principal.x };";
    let documents = [(name("a"), bad), (name("b"), "permit ("), (name("c"), bad), (name("c"), bad)];
    let found = PolicySet::compile(&schema(), documents).unwrap_err();
    for policy in ["a", "b", "c"] {
        assert!(found.iter().any(|p| p.policy == name(policy)), "{policy}: {found:?}");
    }
    assert!(found.iter().any(|p| p.message.contains("two policies")));
}

#[test]
fn what_can_never_apply_is_a_warning() {
    let set =
        compile("permit (principal, action == Keyreeve::Action::\"key.sign\", resource is Keyreeve::Token);").unwrap();
    assert!(set.warnings().iter().any(|w| w.message.contains("impossible")), "{:?}", set.warnings());
    assert!(set.warnings().iter().all(|w| w.line == Some(1)));
}

#[test]
fn deny_is_the_default_and_forbid_wins() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    let key = key("k", &[]);
    let request = Request { principal: &who, action: "key.sign", resource: &key, context: &context() };
    let none = PolicySet::compile(&schema(), Vec::<(keyreeve_policy::PolicyName, &str)>::new()).unwrap();
    assert!(none.is_empty() && !none.decide(&request).allowed);
    let permit = "permit (principal, action, resource);";
    assert!(compile(permit).unwrap().decide(&request).allowed);
    let both = format!("{permit} forbid (principal, action, resource);");
    let decision = compile(&both).unwrap().decide(&request);
    assert!(!decision.allowed && decision.reasons.is_empty());
    assert_eq!(decision.denied_by, [name("test")]);
}

#[test]
fn a_policy_that_cannot_be_evaluated_refuses() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    let key = key("k", &[]);
    // The sum overflows: well-typed, and yet it fails.
    let broken = "context.items + 9223372036854775807 > 0";
    for effect in ["forbid", "permit"] {
        let text = format!(
            "permit (principal, action, resource);
             {effect} (principal, action == Keyreeve::Action::\"key.sign\", resource) when {{ {broken} }};"
        );
        let set = compile(&text).unwrap();
        let ask = |action| set.decide(&Request { principal: &who, action, resource: &key, context: &context() });
        let decision = ask("key.sign");
        assert!(!decision.allowed, "{effect}");
        assert_eq!(decision.errors[0].policy, Some(name("test")));
        assert!(decision.errors[0].message.contains("overflow"), "{:?}", decision.errors);
        assert!(decision.reasons.is_empty());
        assert!(ask("key.verify").allowed, "an action it is not about is not harmed");
    }
}

#[test]
fn a_request_that_does_not_fit_the_catalogue_is_refused() {
    let set = compile("permit (principal, action, resource);").unwrap();
    let who = principal("pat", PrincipalKind::Person, &[]);
    let ask = |action, resource: &ResourceAttrs, context: &ContextAttrs<'_>| {
        set.decide(&Request { principal: &who, action, resource, context })
    };
    let decision = ask("key.explode", &key("k", &[]), &context());
    assert!(!decision.allowed && decision.errors[0].message.contains("key.explode"));
    assert!(!ask("read", &key("k", &[]), &context()).allowed, "a group is not an action");
    let decision = ask("key.sign", &resource(ResourceKind::Token, &who), &context());
    assert!(!decision.allowed && decision.errors[0].message.contains("Token"));
    let twisted = ResourceAttrs {
        id: "pr-other".to_owned(),
        details: ResourceDetails::Principal(Box::new(who.clone())),
        ..ResourceAttrs::system()
    };
    assert!(!ask("principal.put", &twisted, &context()).allowed);
}

#[test]
fn a_principal_can_be_the_resource_of_its_own_action() {
    let set =
        compile("permit (principal, action, resource is Keyreeve::Principal) when { principal == resource };").unwrap();
    let who = principal("pat", PrincipalKind::Person, &[]);
    let own = ResourceAttrs {
        id: who.id.clone(),
        revision: who.revision,
        details: ResourceDetails::Principal(Box::new(who.clone())),
    };
    let ask = |resource: &ResourceAttrs| {
        set.decide(&Request { principal: &who, action: "principal.put", resource, context: &context() }).allowed
    };
    assert!(ask(&own));
    assert!(!ask(&resource(ResourceKind::Principal, &who)));
}

/// Every attribute, asked for by a policy that holds only for the right value.
#[test]
fn every_attribute_reaches_the_policies() {
    let mut who = principal("pat", PrincipalKind::Service, &["a", "b"]);
    who.labels.insert("tenant".to_owned(), "acme".to_owned());
    let key = key("key-7", &["pat", "kim"]);
    let pairs = BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]);
    let context = ContextAttrs {
        mfa_age_seconds: Some(7),
        mfa_kind: Some(MfaKind::WebAuthn),
        login: Some("sso"),
        emergency: true,
        encryption_context: Some(&pairs),
        items: 3,
        ..context()
    };
    for condition in [
        "principal == Keyreeve::Principal::\"pr-pat\"",
        "principal in Keyreeve::Role::\"a\" && principal in [Keyreeve::Role::\"c\", Keyreeve::Role::\"b\"]",
        "principal.name == \"pat\" && principal.kind == \"service\"",
        "principal.networks.contains(ip(\"10.0.0.0/8\"))",
        "principal.hasTag(\"tenant\") && principal.getTag(\"tenant\") == \"acme\"",
        "resource == Keyreeve::Key::\"key-7\" && resource in Keyreeve::Keyring::\"ring-1\"",
        "resource.keyring == \"payments\" && resource.aliases.contains(\"alias-key-7\")",
        "resource.algorithm == \"XAES-256-GCM\" && resource.purpose == \"encrypt-decrypt\"",
        "resource.state == \"active\"",
        "resource.classification == 3 && resource.environment == \"production\" && resource.owner == \"payments-team\"",
        "resource.hold && resource.incident",
        "context has mfa_kind && context.mfa_kind == \"webauthn\" && context has login && context.login == \"sso\"",
        "context.emergency",
        "resource.custodians == [\"carol\"] && resource.consumers.containsAll([\"pat\", \"kim\"])",
        "resource.hasTag(\"tier\") && resource.getTag(\"tier\") == \"gold\"",
        "context has source_ip && context.source_ip == ip(\"10.1.2.3\") && context.in_principal_networks",
        "context.time == datetime(\"2027-01-15T08:00:00Z\") && context.method == \"token\"",
        "context has mfa_age_seconds && context.mfa_age_seconds == 7 && context.items == 3",
        "context.encryption_context.hasTag(\"tenant\") && principal.hasTag(\"tenant\") &&
         context.encryption_context.getTag(\"tenant\") == principal.getTag(\"tenant\")",
        "action in Keyreeve::Action::\"sign-side\" && action == Keyreeve::Action::\"key.sign\"",
    ] {
        let text =
            |c: &str| format!("permit (principal, action == Keyreeve::Action::\"key.sign\", resource) when {{ {c} }};");
        let request = Request { principal: &who, action: "key.sign", resource: &key, context: &context };
        let decision = compile(&text(condition)).unwrap_or_else(|p| panic!("{condition}: {p:?}")).decide(&request);
        assert!(decision.allowed, "{condition}: {:?}", decision.errors);
        let negated = compile(&text(&format!("!({condition})"))).unwrap().decide(&request);
        assert!(!negated.allowed && negated.errors.is_empty(), "{condition}");
    }
}

/// The attributes of the kinds of resources that have a few each.
#[test]
fn the_attributes_of_small_resources_reach_the_policies() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    for (action, kind, condition) in [
        ("grant.revoke", ResourceKind::Grant, "resource.principal == principal.name && resource.key == \"key-1\""),
        (
            "approval.vote",
            ResourceKind::Approval,
            "resource.proposer == principal.name && resource.operation like \"key.*\"",
        ),
        ("login-method.put", ResourceKind::Login, "resource.name == \"sso\" && resource.kind == \"oidc\""),
        ("incident.close", ResourceKind::Case, "resource.kind == \"incident\""),
    ] {
        let resource = resource(kind, &who);
        let request = Request { principal: &who, action, resource: &resource, context: &context() };
        let text =
            |c: &str| format!("permit (principal, action == Keyreeve::Action::\"{action}\", resource) when {{ {c} }};");
        assert!(compile(&text(condition)).unwrap().decide(&request).allowed, "{action}");
        assert!(!compile(&text(&format!("!({condition})"))).unwrap().decide(&request).allowed, "{action}");
    }
}

#[test]
fn a_time_no_calendar_has_is_refused_only_where_time_matters() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    let key = key("k", &[]);
    let far = ContextAttrs { time_ms: i64::MAX, ..context() };
    let ask = |text: &str| {
        compile(text).unwrap().decide(&Request { principal: &who, action: "key.sign", resource: &key, context: &far })
    };
    assert!(ask("permit (principal, action, resource);").allowed);
    let timed = "permit (principal, action, resource);
                 forbid (principal, action, resource) when { context.time < datetime(\"2020-01-01\") };";
    let decision = ask(timed);
    assert!(!decision.allowed && decision.errors[0].message.contains("year"), "{decision:?}");
}

#[test]
fn every_mistake_is_told_once() {
    for (text, mistakes) in [
        ("permit (principal, action, resource) when { resource.colour == \"red\" };", 11),
        ("permit (principal, action, resource) when { context.time > \"noon\" };", 1),
        ("permit (principal, action == Keyreeve::Action::\"key.steal\", resource);", 1),
        ("permit (", 1),
        (
            "permit (principal, action, resource) when { principal.kind == \"robot\" || principal.kind == \"robot\" };",
            1,
        ),
    ] {
        let problems: Vec<String> = compile(text).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), mistakes, "{problems:#?}");
        let words: Vec<&str> = problems[0].split(": ").collect();
        let mut once = words.clone();
        once.dedup();
        assert_eq!(words, once);
    }
}
