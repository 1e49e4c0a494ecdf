//! Explanations: true to the decision, and useful.

use crate::sample::{CATALOGUE, compile, context, key, name, principal};
use keyreeve_policy::{
    ContextAttrs, Effect, Explanation, Outcome, PolicySet, PrincipalAttrs, PrincipalKind, Request, ResourceAttrs,
};

fn explain(
    set: &PolicySet,
    who: &PrincipalAttrs,
    action: &str,
    key: &ResourceAttrs,
    context: &ContextAttrs<'_>,
) -> Explanation {
    let request = Request { principal: who, action, resource: key, context };
    let explanation = set.explain(&request);
    assert_eq!(explanation.decision, set.decide(&request));
    explanation
}

#[test]
fn what_is_allowed_names_its_policy() {
    let set = PolicySet::shipped(CATALOGUE).unwrap();
    let who = principal("pat", PrincipalKind::Person, &["key-admin"]);
    let found = explain(&set, &who, "key.rotate", &key("k1", &[]), &context());
    assert_eq!(found.answer, "Allowed: `key-admin` permits key.rotate on key \"k1\" to pat.");
    assert!(found.missing.is_empty());
    assert_eq!(found.statements[0].outcome, Outcome::Applies);
    assert_eq!(found.statements[0].statement, "key-admin.manage");
    assert!(found.statements[0].description.as_ref().unwrap().contains("rotate"));
}

#[test]
fn what_is_forbidden_names_who_forbids() {
    let set = PolicySet::shipped(CATALOGUE).unwrap();
    let who = principal("pat", PrincipalKind::Person, &["key-admin", "key-user-decrypt"]);
    let found = explain(&set, &who, "key.decrypt", &key("k1", &[]), &context());
    assert_eq!(
        found.answer,
        "Refused: `key-admin` forbids key.decrypt on key \"k1\" to pat, and that wins over any permit."
    );
    assert_eq!((found.statements[0].effect, &found.statements[0].outcome), (Effect::Forbid, &Outcome::Applies));
    assert_eq!(found.statements[1].policy, name("key-user-decrypt"));
    assert!(found.missing[0].contains("key-admin.no-use"), "{:?}", found.missing);
}

#[test]
fn what_came_near_names_the_condition_that_failed() {
    let set = PolicySet::shipped(CATALOGUE).unwrap();
    let who = principal("billing", PrincipalKind::Service, &["application"]);
    let found = explain(&set, &who, "key.decrypt", &key("k1", &["other"]), &context());
    assert!(found.answer.starts_with("Refused: no policy permits key.decrypt"), "{}", found.answer);
    assert!(found.answer.contains("`application` comes nearest"), "{}", found.answer);
    let nearest = &found.statements[0];
    assert_eq!(nearest.statement, "application.decrypt");
    let Outcome::ConditionFalse { condition: said } = &nearest.outcome else { panic!("{nearest:?}") };
    assert!(said.contains("consumers") && said.contains("principal") && !said.contains("permit"), "{said}");
    let outside = ContextAttrs { source_ip: Some("192.0.2.1".parse().unwrap()), ..context() };
    let found = explain(&set, &who, "key.decrypt", &key("k1", &["billing"]), &outside);
    assert!(found.answer.contains("in_principal_networks"), "{}", found.answer);
    assert!(found.missing.iter().any(|m| m.contains("principal in Role::\"key-user-decrypt\"")), "{:?}", found.missing);
}

#[test]
fn conditions_are_taken_apart() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    for (condition, said) in [
        ("when { context.items > 0 && context.method == \"mtls\" && principal.name == \"x\" }", "mtls"),
        ("unless { context.items > 5 || context.method == \"token\" || principal.name == \"pat\" }", "token"),
        ("when { context.items > 0 } unless { context.items < 2 }", "< 2"),
        ("when { principal.name == \"x\" || context.items > 5 }", "||"),
    ] {
        let set = compile(&format!("permit (principal, action, resource) {condition};")).unwrap();
        let found = explain(&set, &who, "key.sign", &key("k", &[]), &context());
        let Outcome::ConditionFalse { condition: text } = &found.statements[0].outcome else { panic!("{found:?}") };
        assert!(text.contains(said), "{condition}: {text}");
        assert!(!text.contains("&&"), "{text}");
    }
}

#[test]
fn other_scopes_failures_and_nothing_at_all() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    let ask = |text: &str| explain(&compile(text).unwrap(), &who, "key.sign", &key("k", &[]), &context());
    let found = ask("permit (principal, action, resource in Keyreeve::Keyring::\"ring-2\");");
    let wanted = "resource in Keyring::\"ring-2\"".to_owned();
    assert_eq!(found.statements[0].outcome, Outcome::OtherResource { wanted });
    let found = ask("permit (principal is Keyreeve::Principal in Keyreeve::Role::\"r\", action, resource);");
    let wanted = "principal is Principal in Role::\"r\"".to_owned();
    assert_eq!(found.statements[0].outcome, Outcome::OtherPrincipal { wanted });
    let found = ask("forbid (principal, action, resource) when { context.items + 9223372036854775807 > 0 };");
    assert!(found.answer.contains("could not be evaluated"), "{}", found.answer);
    assert!(matches!(found.statements[0].outcome, Outcome::Failed { .. }));
    assert!(found.missing[0].contains("repaired"));
    let found = ask("permit (principal, action == Keyreeve::Action::\"key.verify\", resource);");
    assert_eq!(found.answer, "Refused: no policy permits key.sign to anybody.");
    assert!(found.statements.is_empty() && found.missing.len() == 1);
    let found = explain(
        &compile("permit (principal, action, resource);").unwrap(),
        &who,
        "no.such",
        &key("k", &[]),
        &context(),
    );
    assert!(found.answer.contains("there is no action `no.such`"), "{}", found.answer);
}
