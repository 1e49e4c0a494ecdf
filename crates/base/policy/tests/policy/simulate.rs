//! Requests of the past put to a draft.

use crate::sample::{compile, context, key, principal};
use keyreeve_policy::simulate::{MAX_GROUPS, Replay, Replayed, Side};
use keyreeve_policy::{DecisionCache, PrincipalKind, Request};
use std::sync::Arc;

fn cached(text: &str) -> DecisionCache {
    DecisionCache::new(Arc::new(compile(text).unwrap()), 1000)
}

const ALL: &str = "permit (principal, action, resource);";

#[test]
fn what_would_be_decided_otherwise_is_told_in_groups() {
    let present = cached(ALL);
    let draft = cached(&format!(
        "{ALL} forbid (principal, action == Keyreeve::Action::\"key.sign\", resource)
         when {{ principal.name == \"kim\" }};"
    ));
    let mut replay = Replay::new(&present, &draft);
    let what = key("key-1", &[]);
    for n in 0..10 {
        let who = principal(if n % 2 == 0 { "pat" } else { "kim" }, PrincipalKind::Person, &[]);
        let action = if n < 8 { "key.sign" } else { "key.verify" };
        let request = Request { principal: &who, action, resource: &what, context: &context() };
        let allowed_then = [Some(true), Some(false), None][n % 3];
        replay.ask(&Replayed {
            request,
            resource: "billing",
            record: &format!("aud_{n}"),
            allowed_then,
            granted: false,
        });
    }
    let found = replay.finish();
    assert_eq!((found.decided, found.changed, found.differ_from_record, found.ungrouped), (10, 4, 3, 0));
    let [group] = &found.groups[..] else { panic!("{:?}", found.groups) };
    assert_eq!((group.principal.as_str(), group.action.as_str()), ("kim", "key.sign"));
    assert_eq!((group.kind, group.resource.as_str(), group.count), ("Key", "billing", 4));
    assert_eq!((group.first.as_str(), group.last.as_str()), ("aud_1", "aud_7"));
    let test = vec!["test".to_owned()];
    assert_eq!(group.was, Side { allowed: true, policies: test.clone() });
    assert_eq!(group.would, Side { allowed: false, policies: test });
}

#[test]
fn what_no_policy_permits_names_none_and_what_fails_names_its_policy() {
    let what = key("key-1", &[]);
    let who = principal("pat", PrincipalKind::Person, &[]);
    let request = Request { principal: &who, action: "key.sign", resource: &what, context: &context() };
    let would = |draft: &str| {
        let (present, draft) = (cached(ALL), cached(draft));
        let mut replay = Replay::new(&present, &draft);
        replay.ask(&Replayed { request, resource: "k", record: "aud_1", allowed_then: None, granted: false });
        replay.finish().groups.remove(0).would
    };
    let nothing = "permit (principal, action == Keyreeve::Action::\"key.verify\", resource);";
    assert_eq!(would(nothing), Side { allowed: false, policies: vec![] });
    let fails = "permit (principal, action, resource) when { context.items + 9223372036854775807 > 0 };";
    assert_eq!(would(fails), Side { allowed: false, policies: vec!["test".to_owned()] });
}

#[test]
fn groups_are_bounded_and_the_rest_is_counted() {
    let present = cached(ALL);
    let draft = cached("forbid (principal, action, resource);");
    let mut replay = Replay::new(&present, &draft);
    let who = principal("pat", PrincipalKind::Person, &[]);
    for n in 0..MAX_GROUPS + 5 {
        let (id, what) = (format!("key-{n}"), key(&format!("key-{n}"), &[]));
        let request = Request { principal: &who, action: "key.sign", resource: &what, context: &context() };
        replay.ask(&Replayed { request, resource: &id, record: "aud_1", allowed_then: Some(true), granted: false });
    }
    let found = replay.finish();
    assert_eq!((found.groups.len(), found.ungrouped, found.changed), (MAX_GROUPS, 5, MAX_GROUPS as u64 + 5));
}

#[test]
fn what_a_grant_allowed_stays_allowed_unless_it_is_forbidden() {
    let none = "permit (principal, action == Keyreeve::Action::\"key.verify\", resource);";
    let (what, who) = (key("key-1", &[]), principal("pat", PrincipalKind::Person, &[]));
    let request = Request { principal: &who, action: "key.sign", resource: &what, context: &context() };
    let asked = |draft: &str| {
        let (present, draft) = (cached(none), cached(draft));
        let mut replay = Replay::new(&present, &draft);
        replay.ask(&Replayed { request, resource: "k", record: "aud_1", allowed_then: Some(true), granted: true });
        replay.finish()
    };
    for (draft, changed) in [(none, 0), (ALL, 0), ("forbid (principal, action, resource);", 1)] {
        let found = asked(draft);
        assert_eq!((found.changed, found.differ_from_record), (changed, 0), "{draft}");
    }
}
