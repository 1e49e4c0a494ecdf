//! What a change changes, in text and in meaning.

use crate::sample::{CATALOGUE, NOW_MS, compile, schema};
use keyreeve_policy::diff::{DocumentChange, MeaningChange, documents, meaning};
use keyreeve_policy::{PolicySet, PrincipalKind, shipped};
use std::collections::BTreeMap;

fn set(documents: &[(&str, &str)]) -> BTreeMap<String, String> {
    documents.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn texts_are_compared_line_by_line() {
    let before = set(&[("same", "x\n"), ("gone", "old\n"), ("other", "one\ntwo\nthree\nfour\nfive\nsix\n")]);
    let after = set(&[("same", "x\n"), ("new", "fresh\n"), ("other", "one\ntwo\nthree\nfour\nfive\n6\n")]);
    let found = documents(&before, &after);
    let shown: Vec<(&str, DocumentChange)> = found.iter().map(|d| (d.name.as_str(), d.change)).collect();
    let expected =
        [("gone", DocumentChange::Removed), ("new", DocumentChange::Added), ("other", DocumentChange::Altered)];
    assert_eq!(shown, expected);
    assert_eq!(found[0].unified, "--- a/gone.cedar\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n");
    assert_eq!(found[1].unified, "--- /dev/null\n+++ b/new.cedar\n@@ -0,0 +1 @@\n+fresh\n");
    let altered = "--- a/other.cedar\n+++ b/other.cedar\n@@ -3,4 +3,4 @@\n three\n four\n five\n-six\n+6\n";
    assert_eq!(found[2].unified, altered);
    assert_eq!(documents(&before, &before), []);
}

#[test]
fn texts_of_very_many_lines_are_not_compared_by_line() {
    let many = |line: &str| set(&[("long", &format!("{line}\n").repeat(10_001))]);
    let found = documents(&many("a"), &many("b"));
    assert!(found[0].unified.contains("too many lines") && found[0].unified.len() < 100, "{}", found[0].unified.len());
}

fn row(role: &str, kind: PrincipalKind, action: &'static str, allowed: bool) -> MeaningChange {
    MeaningChange { role: Some(role.to_owned()), kind, action, own: None, second_factor: None, allowed }
}

#[test]
fn meaning_is_told_by_role_and_action() {
    let both = [PrincipalKind::Person, PrincipalKind::Service];
    let before = compile(r#"permit (principal in Keyreeve::Role::"a", action, resource is Keyreeve::Key);"#).unwrap();
    let after = compile(
        r#"permit (principal in Keyreeve::Role::"a", action, resource is Keyreeve::Key);
           forbid (principal in Keyreeve::Role::"a", action == Keyreeve::Action::"key.sign", resource);
           permit (principal in Keyreeve::Role::"b", action == Keyreeve::Action::"key.verify", resource);"#,
    )
    .unwrap();
    let found = meaning(&before, &after, NOW_MS);
    let expected: Vec<MeaningChange> = [("a", "key.sign", false), ("b", "key.verify", true)]
        .into_iter()
        .flat_map(|(role, action, allowed)| both.map(|kind| row(role, kind, action, allowed)))
        .collect();
    assert_eq!((found.changes, found.roles_left_out), (expected, 0));
    assert_eq!(meaning(&after, &after, NOW_MS).changes, []);
}

#[test]
fn meaning_tells_for_whose_keys_and_with_which_proof() {
    let permit = |condition: &str| {
        let text = format!(
            "permit (principal, action == Keyreeve::Action::\"key.decrypt\", resource is Keyreeve::Key) {condition};"
        );
        compile(&text).unwrap()
    };
    let none = PolicySet::compile(&schema(), Vec::<(keyreeve_policy::PolicyName, &str)>::new()).unwrap();
    for (condition, kinds, own, second_factor) in [
        ("", 2, None, None),
        ("when { resource.consumers.contains(principal.name) }", 2, Some(true), None),
        ("when { resource.owner != principal.name }", 2, Some(false), None),
        ("when { context has mfa_age_seconds && context.mfa_age_seconds < 60 }", 2, None, Some(true)),
        ("when { principal.kind == \"person\" && context.in_principal_networks }", 1, None, None),
        ("when { context has mfa_age_seconds && principal.name == resource.owner }", 2, Some(true), Some(true)),
    ] {
        let found = meaning(&none, &permit(condition), NOW_MS).changes;
        // Nobody's role is needed, so it is the same for all of them and for none.
        assert_eq!(found.len(), kinds * (shipped::ROLES.len() + 1), "{condition}: {found:?}");
        assert!(found.iter().all(|c| (c.own, c.second_factor, c.allowed) == (own, second_factor, true)), "{found:?}");
        assert_eq!(found[0].role, None);
    }
}

#[test]
fn the_same_statements_in_other_documents_mean_the_same() {
    let documents = shipped::documents();
    let joined: String = documents.iter().map(|(_, text)| *text).collect();
    let apart = PolicySet::shipped(CATALOGUE).unwrap();
    let together = compile(&joined).unwrap();
    assert_eq!(meaning(&apart, &together, NOW_MS).changes, []);
}
