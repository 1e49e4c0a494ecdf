//! The cache gives what would be decided without it, always.

use crate::sample::{NOW_MS, compile, context, key, principal};
use keyreeve_policy::{
    ActionSpec, ContextAttrs, DecisionCache, Method, MfaKind, PolicySet, PrincipalAttrs, PrincipalKind, Request,
    ResourceAttrs, ResourceDetails, ResourceKind, Revision, Schema,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const ACTIONS: [&str; 2] = ["key.sign", "key.verify"];

static SMALL: LazyLock<Schema> = LazyLock::new(|| {
    let spec = |name, groups| ActionSpec { name, resource: ResourceKind::Key, groups };
    Schema::generate(&[spec("key.sign", &["sign-side"]), spec("key.verify", &["verify-side"])]).unwrap()
});

/// Conditions over everything a request has, chosen so that the random requests below make each true and false.
const CONDITIONS: [&str; 23] = [
    "true",
    "principal.name == \"a\"",
    "principal.kind == \"person\"",
    "principal in Keyreeve::Role::\"r\"",
    "principal.hasTag(\"t\")",
    "principal.hasTag(\"t\") && resource.hasTag(\"t\") && principal.getTag(\"t\") == resource.getTag(\"t\")",
    "resource.owner == principal.name",
    "resource.consumers.contains(principal.name)",
    "resource.classification > 2",
    "resource.state == \"active\"",
    "context.method == \"mtls\"",
    "context.in_principal_networks",
    "context has source_ip && context.source_ip.isIpv6()",
    "context.time < datetime(\"2027-01-15T08:00:02Z\")",
    "context has mfa_age_seconds && context.mfa_age_seconds < 60",
    "context.items > 1",
    "context.encryption_context.hasTag(\"t\")",
    "context.items + 9223372036854775806 > 0",
    "context has mfa_kind && context.mfa_kind == \"totp\"",
    "context has login && context.login == \"sso\"",
    "context.emergency",
    "resource.hold",
    "resource.incident",
];

fn statement() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["permit", "permit", "forbid"]);
    let action = prop::sample::select(vec!["action", "action == Keyreeve::Action::\"key.sign\""]);
    let conditions = prop::collection::vec(prop::sample::select(CONDITIONS.to_vec()), 0..3);
    let kind = prop::sample::select(vec!["when", "unless"]);
    (effect, action, conditions, kind).prop_map(|(effect, action, conditions, kind)| {
        let clauses: Vec<String> = conditions.iter().map(|c| format!(" {kind} {{ {c} }}")).collect();
        format!("{effect} (principal, {action}, resource){};", clauses.concat())
    })
}

#[derive(Debug, Clone)]
struct Circumstances {
    source_ip: Option<std::net::IpAddr>,
    time_ms: i64,
    method: Method,
    mfa: Option<u64>,
    mfa_kind: Option<MfaKind>,
    login: Option<&'static str>,
    emergency: bool,
    pairs: Option<BTreeMap<String, String>>,
    items: u64,
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::sample::select(vec![vec![], vec![("t", "1")], vec![("t", "2")], vec![("u", "1")]])
        .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let addresses =
        vec![None, Some("10.0.0.1".parse().unwrap()), Some("192.0.2.1".parse().unwrap()), Some("::1".parse().unwrap())];
    let pairs = prop::option::of(labels());
    let mfa = prop::sample::select(vec![None, Some(1), Some(59), Some(60)]);
    let method = prop::sample::select(Method::ALL.to_vec());
    let mfa_kind = prop::sample::select(vec![None, Some(MfaKind::Totp), Some(MfaKind::WebAuthn)]);
    let login = prop::sample::select(vec![None, Some("sso"), Some("ldap")]);
    let session = (mfa, mfa_kind, login, any::<bool>());
    (prop::sample::select(addresses), 0..5_000i64, method, session, pairs, 1..3u64).prop_map(
        |(source_ip, ms, method, (mfa, mfa_kind, login, emergency), pairs, items)| Circumstances {
            source_ip,
            time_ms: NOW_MS + ms,
            method,
            mfa,
            mfa_kind,
            login,
            emergency,
            pairs,
            items,
        },
    )
}

fn small_principal() -> impl Strategy<Value = PrincipalAttrs> {
    let name = prop::sample::select(vec!["a", "b"]);
    let kind = prop::sample::select(PrincipalKind::ALL.to_vec());
    let roles = prop::sample::select(vec![vec![], vec!["r"], vec!["s", "r"]]);
    (name, kind, roles, any::<bool>(), labels()).prop_map(|(name, kind, roles, network, labels)| {
        let mut p = principal(name, kind, &roles);
        p.labels = labels;
        p.networks.truncate(usize::from(network));
        p
    })
}

fn small_key() -> impl Strategy<Value = ResourceAttrs> {
    let words = || prop::sample::select(vec!["a", "b", "active"]);
    let flags = (any::<bool>(), any::<bool>());
    let whole = (words(), words(), words(), 1..5u8, labels(), flags);
    whole.prop_map(|(owner, consumer, state, classification, labels, (hold, incident))| {
        let mut k = key("k", &[consumer]);
        if let ResourceDetails::Key(attrs) = &mut k.details {
            attrs.owner = owner.to_owned();
            attrs.state = state.to_owned();
            attrs.classification = classification;
            attrs.labels = labels;
            (attrs.hold, attrs.incident) = (hold, incident);
        }
        k
    })
}

#[derive(Debug, Clone)]
enum Step {
    /// The principal's record changes: same id, new attributes, next revision.
    Principal(PrincipalAttrs),
    /// The key's record changes.
    Key(ResourceAttrs),
    /// Somebody asks.
    Ask(usize, Circumstances),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => small_principal().prop_map(Step::Principal),
        1 => small_key().prop_map(Step::Key),
        4 => (0..ACTIONS.len(), circumstances()).prop_map(|(a, c)| Step::Ask(a, c)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Random policies, random histories of changing records and requests: the remembered answer is the fresh answer,
    /// and the fresh answer from the mentioned attributes is the one from all attributes.
    #[test]
    fn cached_is_uncached(
        statements in prop::collection::vec(statement(), 1..6),
        first in (small_principal(), small_key()),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let compile = || PolicySet::compile(&SMALL, [(crate::sample::name("p"), statements.join("\n"))]).unwrap();
        let full = compile().untrimmed();
        let cache = DecisionCache::new(Arc::new(compile()), 64);
        let (mut who, mut what) = first;
        for (nth, step) in steps.into_iter().enumerate() {
            let revision = Revision::At(nth as u64 + 2);
            match step {
                Step::Principal(p) => who = PrincipalAttrs { id: who.id, revision, ..p },
                Step::Key(k) => what = ResourceAttrs { id: what.id, revision, ..k },
                Step::Ask(action, c) => {
                    let context = ContextAttrs {
                        source_ip: c.source_ip,
                        time_ms: c.time_ms,
                        method: c.method,
                        mfa_age_seconds: c.mfa,
                        mfa_kind: c.mfa_kind,
                        login: c.login,
                        emergency: c.emergency,
                        encryption_context: c.pairs.as_ref(),
                        items: c.items,
                    };
                    let action = ACTIONS[action];
                    let request = Request { principal: &who, action, resource: &what, context: &context };
                    let fresh = cache.policies().decide(&request);
                    prop_assert_eq!(&fresh, &full.decide(&request));
                    prop_assert_eq!(&*cache.decide(&request), &fresh);
                    prop_assert_eq!(&*cache.decide(&request), &fresh);
                    let (p, r) = (who.clone(), what.clone());
                    let lazy = cache.decide_with(
                        who.subject(), action, ResourceKind::Key, what.subject(), &context, || (p, r),
                    );
                    prop_assert_eq!(&*lazy, &fresh);
                }
            }
        }
    }
}

proptest! {
    /// Two sessions of one principal whose logins gave it different roles never share a remembered decision, nor does
    /// either share one with the principal as it stands in its record.
    #[test]
    fn roles_of_a_session_never_share_an_entry(
        record in 1..4u64,
        first in any::<[u8; 16]>(),
        second in any::<[u8; 16]>(),
        has_role in prop::array::uniform3(any::<bool>()),
    ) {
        prop_assume!(first != second);
        let cache = cached("permit (principal in Keyreeve::Role::\"r\", action, resource);");
        let revisions = [
            Revision::At(record),
            Revision::Composed { record, extra: first },
            Revision::Composed { record, extra: second },
        ];
        let what = key("k", &[]);
        for round in 0..2 {
            for (revision, has_role) in revisions.into_iter().zip(has_role) {
                let roles: &[&str] = if has_role { &["r"] } else { &[] };
                let who = PrincipalAttrs { revision, ..principal("pat", PrincipalKind::Person, roles) };
                let request = Request { principal: &who, action: "key.sign", resource: &what, context: &context() };
                prop_assert_eq!(cache.decide(&request).allowed, has_role);
            }
            prop_assert_eq!(cache.len(), 3, "round {}", round);
        }
    }
}

/// Ways to look at the numbers of a request; N stands for a number, and is as often as not where the requests below
/// have theirs.
const COMPARISONS: [&str; 13] = [
    "context has mfa_age_seconds && context.mfa_age_seconds < N",
    "context has mfa_age_seconds && context.mfa_age_seconds <= N",
    "context has mfa_age_seconds && context.mfa_age_seconds == N",
    "context has mfa_age_seconds && N != context.mfa_age_seconds",
    "context has mfa_age_seconds && N > context.mfa_age_seconds",
    "context has mfa_age_seconds && context.mfa_age_seconds - 1 < N",
    "context.items > N",
    "N >= context.items",
    "context.items * 2 == N",
    "context.time < datetime(\"2027-01-15T08:00:0N.000Z\")",
    "context.time.toTime() >= duration(\"8h0mNs\")",
    "context.time.offset(duration(\"-8hNs\")).toTime() <= duration(\"2s\")",
    "context.time.offset(duration(\"16h\")).toTime() == duration(\"Ns\")",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Decisions remembered by the interval that a number lies in are those made with the number itself, for every
    /// number near the thresholds, in whatever order they are asked about.
    #[test]
    fn intervals_decide_as_exact_numbers_do(
        statements in prop::collection::vec((prop::sample::select(COMPARISONS.to_vec()), 0..6u8, any::<bool>()), 1..6),
        requests in prop::collection::vec((prop::option::of(0..8u64), 0..8u64, -2_000..8_000i64), 1..60),
    ) {
        let text: String = statements.iter().map(|(comparison, number, permit)| {
            let effect = if *permit { "permit" } else { "forbid" };
            let condition = comparison.replace('N', &number.to_string());
            format!("{effect} (principal, action, resource) when {{ {condition} }};")
        }).collect();
        let text = format!("{text} permit (principal, action, resource) when {{ context.method == \"token\" }};");
        let cache = cached(&text);
        let exact = compile(&text).unwrap().untrimmed();
        let (who, what) = (principal("pat", PrincipalKind::Person, &[]), key("k", &[]));
        for (mfa_age_seconds, items, ms) in requests {
            let context = ContextAttrs { mfa_age_seconds, items, time_ms: NOW_MS + ms, ..context() };
            let request = Request { principal: &who, action: "key.sign", resource: &what, context: &context };
            prop_assert_eq!(&*cache.decide(&request), &exact.decide(&request), "{} {:?}", text, context);
        }
    }
}

fn cached(text: &str) -> DecisionCache {
    DecisionCache::new(Arc::new(compile(text).unwrap()), 100)
}

#[test]
fn a_decision_does_not_outlive_a_change_by_one_request() {
    let cache = cached(
        "permit (principal, action, resource is Keyreeve::Key)
         when { principal in Keyreeve::Role::\"r\" && resource.consumers.contains(principal.name) };",
    );
    let mut who = principal("pat", PrincipalKind::Person, &["r"]);
    let mut what = key("k", &["pat"]);
    let ask = |who: &PrincipalAttrs, what: &ResourceAttrs| {
        cache.decide(&Request { principal: who, action: "key.sign", resource: what, context: &context() }).allowed
    };
    assert!(ask(&who, &what) && ask(&who, &what));
    assert_eq!(cache.len(), 1);
    who.roles.clear();
    who.revision = Revision::At(2);
    assert!(!ask(&who, &what));
    who.roles.push("r".to_owned());
    who.revision = Revision::At(3);
    assert!(ask(&who, &what));
    let ResourceDetails::Key(attrs) = &mut what.details else { unreachable!() };
    attrs.consumers.clear();
    what.revision = Revision::At(2);
    assert!(!ask(&who, &what));
}

#[test]
fn only_mentioned_circumstances_make_another_entry() {
    let who = principal("pat", PrincipalKind::Person, &[]);
    let what = key("k", &[]);
    let pairs = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let variants = [
        context(),
        ContextAttrs { time_ms: NOW_MS + 999, ..context() },
        ContextAttrs { time_ms: NOW_MS + 1000, ..context() },
        ContextAttrs { method: Method::MutualTls, ..context() },
        ContextAttrs { source_ip: None, ..context() },
        ContextAttrs { mfa_age_seconds: Some(1), ..context() },
        ContextAttrs { mfa_age_seconds: Some(2), ..context() },
        ContextAttrs { items: 2, ..context() },
        ContextAttrs { mfa_kind: Some(MfaKind::Totp), ..context() },
        ContextAttrs { login: Some("sso"), ..context() },
        ContextAttrs { emergency: true, ..context() },
        ContextAttrs { encryption_context: Some(&pairs), ..context() },
    ];
    for (condition, entries) in [
        ("true", 1),
        ("context.time > datetime(\"2020-01-01\")", 1),
        ("context.time > datetime(\"2027-01-15T08:00:00Z\")", 2),
        ("context.time.toTime() >= duration(\"8h\") && context.time.toTime() < duration(\"18h\")", 2),
        ("context.time.offset(duration(\"1h\")).toTime() > duration(\"10h\")", 1),
        ("context.time.toDate() > datetime(\"2020-01-01\")", 2),
        ("context.time == context.time", 2),
        ("context.method == \"token\"", 2),
        ("context.in_principal_networks", 2),
        ("context has source_ip", 2),
        ("context has mfa_age_seconds", 2),
        ("context has mfa_kind", 2),
        ("context has login", 2),
        ("context.emergency", 2),
        ("context.items > 1", 2),
        ("context.items <= 1000", 1),
        ("context.items <= 1000 && context.items + 1 > 2", 2),
        ("context has mfa_age_seconds && context.mfa_age_seconds < 900", 2),
        ("context has mfa_age_seconds && 900 >= context.mfa_age_seconds", 2),
        ("context has mfa_age_seconds && [context.mfa_age_seconds].contains(7)", 3),
        ("context.encryption_context.hasTag(\"a\")", 2),
        ("context.items > 1 || context.method == \"mtls\"", 3),
    ] {
        let cache = cached(&format!("permit (principal, action, resource) when {{ {condition} }};"));
        for context in &variants {
            cache.decide(&Request { principal: &who, action: "key.sign", resource: &what, context });
        }
        assert_eq!(cache.len(), entries, "{condition}");
    }
}

#[test]
fn what_must_not_be_remembered_is_not() {
    let cache = cached("permit (principal, action, resource) when { context.encryption_context.hasTag(\"a\") };");
    let who = principal("pat", PrincipalKind::Person, &[]);
    let stored = key("k", &[]);
    let unstored = ResourceAttrs { revision: Revision::Unstored, ..key("k", &[]) };
    let ask = |what: &ResourceAttrs, action, context: &ContextAttrs<'_>| {
        cache.decide(&Request { principal: &who, action, resource: what, context }).allowed
    };
    let long = BTreeMap::from([("a".to_owned(), "b".repeat(1024))]);
    let long = ContextAttrs { encryption_context: Some(&long), ..context() };
    assert!(ask(&stored, "key.sign", &long));
    assert!(!ask(&unstored, "key.sign", &context()));
    assert!(!ask(&stored, "no.such", &context()));
    assert!(!ask(&stored, "token.revoke", &context()));
    assert!(cache.is_empty());
    assert!(!ask(&stored, "key.sign", &context()));
    assert_eq!(cache.len(), 1);
}

#[test]
fn attributes_of_somebody_else_are_refused() {
    let cache = cached("permit (principal, action, resource);");
    let (pat, kim) = (principal("pat", PrincipalKind::Person, &[]), principal("kim", PrincipalKind::Person, &[]));
    let what = key("k", &[]);
    let ask = |given: &PrincipalAttrs| {
        let given = given.clone();
        let decision =
            cache.decide_with(pat.subject(), "key.sign", ResourceKind::Key, what.subject(), &context(), || {
                (given, what.clone())
            });
        decision.allowed
    };
    assert!(!ask(&kim));
    let other = cached("permit (principal, action, resource);");
    assert!(other.is_empty(), "caches share nothing");
}

#[test]
fn the_number_of_entries_is_bounded_and_threads_may_share() {
    let cache = cached("permit (principal, action, resource) when { principal.name == \"pat\" };");
    let ask = |revision: u64| {
        let name = if revision.is_multiple_of(2) { "pat" } else { "kim" };
        let who = PrincipalAttrs { revision: Revision::At(revision), ..principal(name, PrincipalKind::Person, &[]) };
        let what = key("k", &[]);
        let request = Request { principal: &who, action: "key.sign", resource: &what, context: &context() };
        assert_eq!(cache.decide(&request).allowed, name == "pat");
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let ask = &ask;
            scope.spawn(move || (0..300).for_each(|nth| ask(thread * 200 + nth)));
        }
    });
    assert!(!cache.is_empty() && cache.len() <= 128, "{}", cache.len());
}
