//! Conditions of approval rules.

use crate::sample::{context, key, principal, schema};
use keyreeve_policy::rules::{RuleSet, RuleText, SHIPPED};
use keyreeve_policy::{
    ActionSpec, KeyAttrs, PrincipalAttrs, PrincipalKind, Request, ResourceAttrs, ResourceDetails, ResourceKind, Schema,
};

fn rule<'a>(name: &'a str, operations: &'a [&'a str], when: &'a str) -> RuleText<'a> {
    RuleText { name, operations, when: Some(when) }
}

fn compile(rules: &[RuleText<'_>]) -> Result<RuleSet, Vec<String>> {
    let told = |problems: Vec<keyreeve_policy::rules::RuleProblem>| problems.iter().map(ToString::to_string).collect();
    RuleSet::compile(&schema(), rules.iter().copied()).map_err(told)
}

fn asker() -> PrincipalAttrs {
    principal("ann", PrincipalKind::Person, &["key-admin"])
}

fn altered(alter: impl FnOnce(&mut KeyAttrs)) -> ResourceAttrs {
    let mut resource = key("k", &[]);
    let ResourceDetails::Key(attrs) = &mut resource.details else { unreachable!("a key") };
    alter(attrs);
    resource
}

fn matching(set: &RuleSet, action: &str, resource: &ResourceAttrs) -> Vec<String> {
    matching_for(set, &asker(), action, resource)
}

fn matching_for(set: &RuleSet, principal: &PrincipalAttrs, action: &str, resource: &ResourceAttrs) -> Vec<String> {
    let context = context();
    let found = set.matching(&Request { principal, action, resource, context: &context });
    found.unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn rules_hold_where_operation_and_condition_do() {
    let set = compile(&[
        rule("wrapping", &["key.rotate", "key.destroy"], "resource.purpose == \"wrap\""),
        rule("gold", &["key.rotate"], "resource.hasTag(\"tier\") && resource.getTag(\"tier\") == \"gold\" // the best"),
        RuleText { name: "all", operations: &["key.destroy"], when: None },
    ])
    .unwrap();
    let (plain, wrap) = (key("k", &[]), altered(|key| key.purpose = "wrap".to_owned()));
    assert_eq!(matching(&set, "key.rotate", &plain), ["gold"]);
    assert_eq!(matching(&set, "key.rotate", &wrap), ["gold", "wrapping"]);
    assert_eq!(matching(&set, "key.destroy", &plain), ["all"]);
    assert_eq!(matching(&set, "key.destroy", &wrap), ["all", "wrapping"]);
    assert_eq!(matching(&set, "key.encrypt", &wrap), Vec::<String>::new());
    assert_eq!(set.actions().collect::<Vec<_>>(), ["key.destroy", "key.rotate"]);
    assert!(set.concerns("key.rotate") && !set.concerns("key.encrypt") && !set.concerns("no.such"));
}

#[test]
fn what_cannot_be_evaluated_is_an_error_and_no_rule_that_does_not_hold() {
    let set = compile(&[rule("huge", &["key.rotate"], "resource.classification * 9223372036854775807 > 0")]).unwrap();
    let (principal, context, resource) = (asker(), context(), key("k", &[]));
    let request = Request { principal: &principal, action: "key.rotate", resource: &resource, context: &context };
    assert!(set.matching(&request).unwrap_err().to_string().contains("overflow"));
    let system = ResourceAttrs::system();
    let other_kind = Request { resource: &system, ..request };
    assert!(set.matching(&other_kind).is_err(), "asked about the wrong kind of thing");
}

#[test]
fn a_condition_is_one_expression_of_the_right_types() {
    for (when, wanted) in [
        ("true } when { false", "no expression"),
        ("true }; permit (principal, action, resource) when { true", "no expression"),
        ("", "no expression"),
        ("true //", ""),
        ("resource.colour == \"red\"", "colour"),
        ("resource.purpose", "Bool"),
        ("principal in Keyreeve::Team::\"a\"", "Team"),
        ("resource.purpose == 1", "type"),
        ("false", "impossible"),
        ("principal.kind == \"robot\"", "is never"),
    ] {
        match (compile(&[rule("r", &["key.rotate"], when)]), wanted) {
            (Ok(_), "") => {}
            (Ok(_), _) => panic!("{when}: taken"),
            (Err(problems), _) => {
                let text = problems.join("\n");
                assert!(
                    !wanted.is_empty() && text.starts_with("rule `r`: ") && text.contains(wanted),
                    "{when}: {text}"
                );
            }
        }
    }
    let deep = "(".repeat(100_000);
    assert!(compile(&[rule("r", &["key.rotate"], &deep)]).is_err());
}

#[test]
fn names_and_operations_are_checked() {
    for (name, operations, wanted) in [
        ("r", &["key.melt"][..], "no operation `key.melt`"),
        ("r", &["lifecycle"][..], "no operation `lifecycle`"),
        ("r", &["key.rotate\"], resource); permit (principal, action in [\"key.rotate"][..], "no operation"),
        ("r", &[][..], "names no operation"),
        ("Rule one", &["key.rotate"][..], "policy name"),
        ("r", &["key.rotate", "keyring.create"][..], "purpose"),
    ] {
        let problems = compile(&[rule(name, operations, "resource.purpose == \"wrap\"")]).unwrap_err();
        assert!(problems[0].contains(wanted), "{problems:?}");
    }
    let twice = [rule("r", &["key.rotate"], "true"), rule("r", &["key.destroy"], "true")];
    assert!(compile(&twice).unwrap_err()[0].contains("two policies of this name"));
}

#[test]
fn what_stops_or_begins_to_hold_has_crossed() {
    let set = compile(&[
        rule("wrapping", &["key.rotate"], "resource.purpose == \"wrap\""),
        rule(
            "kek",
            &["key.rotate", "key.destroy"],
            "resource.hasTag(\"type\") && resource.getTag(\"type\") == \"kek\"",
        ),
        rule("plain", &["key.destroy"], "!resource.hasTag(\"type\")"),
    ])
    .unwrap();
    let kek = altered(|key| {
        key.purpose = "wrap".to_owned();
        key.labels.insert("type".to_owned(), "kek".to_owned());
    });
    let no_label = altered(|key| key.purpose = "wrap".to_owned());
    let crossed = |before: &ResourceAttrs, after: &ResourceAttrs| -> Vec<String> {
        let found = set.crossed(&asker(), before, after, &context()).unwrap();
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(crossed(&kek, &no_label), ["kek", "plain"]);
    assert_eq!(crossed(&no_label, &kek), ["kek", "plain"]);
    assert!(set.concerns_kind(ResourceKind::Key) && !set.concerns_kind(ResourceKind::Token));
    assert_eq!(crossed(&kek, &kek), Vec::<String>::new());
    assert_eq!(crossed(&kek, &key("k", &[])), ["kek", "plain", "wrapping"]);
}

/// What the shipped book names. The engine's test compiles it over the real catalogue.
fn catalogue() -> Vec<ActionSpec> {
    use ResourceKind::{Case, Grant, Key, Keyring, Login, Policy, Principal, System, Token};
    [
        ("keyring.create", Keyring),
        ("key.create", Key),
        ("key.rotate", Key),
        ("key.import", Key),
        ("key.import-version", Key),
        ("key.export", Key),
        ("keyring.rotate-kek", Keyring),
        ("root.join", System),
        ("root.retire", System),
        ("root.migrate", System),
        ("root.reshare", System),
        ("root.reshare-commit", System),
        ("system.accept-rollback", System),
        ("integrity.release", System),
        ("escrow.set-policy", System),
        ("escrow.make-key", System),
        ("escrow.recover", Key),
        ("key.activate", Key),
        ("key.deactivate", Key),
        ("key.compromise", Key),
        ("key.suspend", Key),
        ("key.schedule-destruction", Key),
        ("key.update", Key),
        ("principal.put", Principal),
        ("principal.delete", Principal),
        ("token.create", Token),
        ("policy.put", Policy),
        ("policy.delete", Policy),
        ("policy.apply", System),
        ("policy.rollback", System),
        ("rules.put", System),
        ("credential.issue", Principal),
        ("mfa.reset", Principal),
        ("mfa.invite", Principal),
        ("login-method.put", Login),
        ("login-method.delete", Login),
        ("grant.create", Grant),
        ("grant.request", Grant),
        ("hold.release", Case),
        ("emergency.declare", Case),
    ]
    .map(|(name, resource)| ActionSpec { name, resource, groups: &[] })
    .to_vec()
}

fn shipped() -> RuleSet {
    let book: toml::Table = SHIPPED.parse().unwrap();
    let schema = Schema::generate(&catalogue()).unwrap();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let rules: Vec<(String, Vec<String>, Option<String>)> = book["rule"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let operations = rule["operations"].as_array().unwrap().iter().map(text).collect();
            (text(&rule["name"]), operations, rule.get("when").map(text))
        })
        .collect();
    let operations: Vec<Vec<&str>> = rules.iter().map(|(_, all, _)| all.iter().map(String::as_str).collect()).collect();
    let texts = rules.iter().zip(&operations).map(|((name, _, when), operations)| RuleText {
        name,
        operations,
        when: when.as_deref(),
    });
    RuleSet::compile(&schema, texts).unwrap()
}

#[test]
fn the_shipped_rules_look_at_what_a_key_is() {
    let set = shipped();
    let in_peace = |purpose: &str, incident: bool| {
        altered(|key| {
            key.purpose = purpose.to_owned();
            key.incident = incident;
        })
    };
    let labelled = |value: &str| {
        let mut resource = in_peace("encrypt", false);
        let ResourceDetails::Key(attrs) = &mut resource.details else { unreachable!("a key") };
        attrs.labels.insert("type".to_owned(), value.to_owned());
        resource
    };
    let (wrap, incident) = (in_peace("wrap", false), in_peace("wrap", true));
    for (action, resource, wanted) in [
        ("key.create", &key("k", &[]), &[][..]),
        ("key.create", &wrap, &["kek-create"][..]),
        ("key.import", &wrap, &["kek-create"][..]),
        ("key.create", &altered(|key| key.exportable = true), &["exportable"][..]),
        ("key.export", &altered(|key| key.exportable = true), &["exportable"][..]),
        ("key.create", &labelled("kek"), &["kek-create"][..]),
        ("key.rotate", &labelled("backup"), &["kek-rotate"][..]),
        ("key.rotate", &labelled("dek"), &[][..]),
        ("key.rotate", &incident, &["kek-rotate"][..]),
        ("key.schedule-destruction", &key("k", &[]), &["destroy"][..]),
        ("key.suspend", &key("k", &[]), &["revoke"][..]),
        ("key.activate", &in_peace("encrypt", false), &[][..]),
        ("key.activate", &incident, &["resume-in-incident"][..]),
        ("key.deactivate", &incident, &["resume-in-incident"][..]),
        ("key.compromise", &incident, &["accept-risk", "resume-in-incident", "revoke"][..]),
        ("key.compromise", &in_peace("encrypt", false), &["accept-risk", "revoke"][..]),
        ("key.update", &key("k", &[]), &["grant-key"][..]),
    ] {
        assert_eq!(matching(&set, action, resource), wanted, "{action}");
    }
    for role in ["security-lead", "incident-commander"] {
        let who = principal("sue", PrincipalKind::Person, &[role]);
        assert_eq!(matching_for(&set, &who, "key.rotate", &incident), ["kek-rotate", "replace-in-emergency"]);
        assert_eq!(matching_for(&set, &who, "key.rotate", &wrap), ["kek-rotate"]);
    }
}

#[test]
fn the_shipped_rules_tell_governance_from_other_roles() {
    let set = shipped();
    let managed = |roles: &[&str]| {
        let managed = principal("new", PrincipalKind::Person, roles);
        let id = managed.id.clone();
        let details = ResourceDetails::Principal(Box::new(managed));
        ResourceAttrs { id, revision: keyreeve_policy::Revision::Unstored, details }
    };
    assert_eq!(matching(&set, "principal.put", &managed(&["key-admin"])), ["grant-role"]);
    assert_eq!(matching(&set, "principal.put", &managed(&["key-admin", "dpo"])), ["grant-governance", "grant-role"]);
    assert_eq!(matching(&set, "credential.issue", &managed(&["key-admin"])), ["grant-role"]);
    assert_eq!(matching(&set, "credential.issue", &managed(&["ciso"])), ["grant-role", "speak-for-governance"]);
}

#[test]
fn whoever_alters_themselves_is_looked_at_as_who_they_would_be() {
    let set = compile(&[
        rule("boss", &["principal.put"], "resource in Keyreeve::Role::\"boss\""),
        rule("vip", &["principal.put"], "resource.hasTag(\"vip\")"),
        rule("own", &["principal.put"], "resource == principal"),
    ])
    .unwrap();
    let resource = |attrs: &PrincipalAttrs, revision| ResourceAttrs {
        id: attrs.id.clone(),
        revision,
        details: ResourceDetails::Principal(Box::new(attrs.clone())),
    };
    let (stored, shall_be) = (keyreeve_policy::Revision::At(1), keyreeve_policy::Revision::Unstored);
    let ann = asker();
    let boss = principal("ann", PrincipalKind::Person, &["key-admin", "boss"]);
    let mut vip = ann.clone();
    vip.labels.insert("vip".to_owned(), "yes".to_owned());
    let asked = |who, next: &PrincipalAttrs| matching_for(&set, who, "principal.put", &resource(next, shall_be));
    assert_eq!(asked(&ann, &boss), ["boss", "own"]);
    assert_eq!(asked(&ann, &vip), ["own", "vip"]);
    assert_eq!(asked(&ann, &ann), ["own"]);
    let crossed = |before: &PrincipalAttrs, after: &PrincipalAttrs| {
        let (old, new) = (resource(before, stored), resource(after, shall_be));
        let found = set.crossed(before, &old, &new, &context()).unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!((crossed(&ann, &boss), crossed(&ann, &vip)), (vec!["boss".to_owned()], vec!["vip".to_owned()]));
    assert_eq!(crossed(&vip, &ann), ["vip"], "whoever takes their own label away");
    // A login gives more roles: who looks at themselves alters nothing.
    let raised = principal("ann", PrincipalKind::Person, &["key-admin", "boss"]);
    assert_eq!(matching_for(&set, &raised, "principal.put", &resource(&ann, stored)), ["boss", "own"]);
}
