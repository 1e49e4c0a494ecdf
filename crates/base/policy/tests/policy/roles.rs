//! Each shipped role allows exactly the groups of actions that its row says.

use crate::sample::{CATALOGUE, compile, context, key, name, principal, resource, schema};
use keyreeve_policy::{
    ContextAttrs, Method, PolicyName, PolicySet, PrincipalAttrs, PrincipalKind, Request, ResourceAttrs,
    ResourceDetails, shipped,
};
use std::collections::BTreeSet;

const LIFECYCLE: &str = "keyring.create key.rotate key.compromise key.destroy keyring.rotate-kek root.migrate";
const READ: &str = "keyring.describe key.describe";
const READ_KEY: &str = "key.describe";
const ENCRYPT: &str = "key.encrypt";
const DECRYPT: &str = "key.decrypt";
const OTHER_USE: &str = "key.sign key.verify key.derive";
const SYSTEM: &str = "system.seal system.status root.join root.retire";
const ACCESS: &str = "token.revoke principal.put policy.describe login-method.put";
const AUDIT: &str = "audit.search audit.prove policy.describe";
const GOVERN: &str = "rules.put";
const GRANT: &str = "grant.revoke";
const APPROVE: &str = "approval.vote";
const EMERGENCY: &str = "incident.close";
const REVOKE: &str = "key.compromise";
/// For keys of an open incident, as that of the sample is.
const REPLACE: &str = "key.rotate";
const HOLD: &str = "hold.place";
const REVIEW: &str = "review.decide";
const ESCROW: &str = "escrow.describe";
const BOOTSTRAP: &str = "system.unseal system.status login.jwt";
const OWN: &str = "random.generate token.renew audit.prove";

fn set(lists: &[&str]) -> BTreeSet<String> {
    lists.iter().flat_map(|l| l.split_whitespace()).map(str::to_owned).collect()
}

/// Every action the principal is allowed, each on a resource that is its own where there is such a thing.
fn allowed(policies: &PolicySet, who: &PrincipalAttrs, context: &ContextAttrs<'_>) -> BTreeSet<String> {
    let ask = |spec: &keyreeve_policy::ActionSpec| {
        let resource = resource(spec.resource, who);
        let decision = policies.decide(&Request { principal: who, action: spec.name, resource: &resource, context });
        assert!(decision.errors.is_empty(), "{}: {:?}", spec.name, decision.errors);
        assert!(!(decision.allowed && decision.reasons.is_empty()));
        decision.allowed
    };
    CATALOGUE.iter().filter(|spec| ask(spec)).map(|spec| spec.name.to_owned()).collect()
}

fn shipped_set() -> PolicySet {
    PolicySet::shipped(CATALOGUE).unwrap()
}

#[test]
fn each_role_allows_exactly_its_row() {
    let policies = shipped_set();
    let (person, service) = (PrincipalKind::Person, PrincipalKind::Service);
    let rows: [(&str, PrincipalKind, &[&str]); 17] = [
        ("operator", person, &[SYSTEM, ACCESS, GOVERN, GRANT]),
        ("key-admin", person, &[LIFECYCLE, READ, GRANT]),
        ("escrow-administrator", person, &[ESCROW, READ]),
        ("key-user-encrypt", person, &[ENCRYPT]),
        ("key-user-decrypt", person, &[DECRYPT]),
        ("key-auditor", person, &[READ, AUDIT]),
        ("pipeline", service, &[ENCRYPT]),
        ("pipeline", person, &[]),
        ("application", service, &[READ_KEY, ENCRYPT, DECRYPT, OTHER_USE]),
        ("application", person, &[]),
        ("security-lead", person, &[APPROVE, READ, GOVERN, EMERGENCY, REVOKE, REPLACE]),
        ("ciso", person, &[APPROVE, READ, EMERGENCY, REVIEW]),
        ("legal", person, &[APPROVE, READ, HOLD]),
        ("system-owner", person, &[APPROVE, READ]),
        ("incident-commander", person, &[APPROVE, READ, EMERGENCY, REVOKE, REPLACE]),
        ("engineering-lead", person, &[APPROVE, READ]),
        ("dpo", person, &[APPROVE, READ, REVIEW]),
    ];
    for (role, kind, lists) in rows {
        let expected = set(&[lists, &[BOOTSTRAP, OWN]].concat());
        assert_eq!(allowed(&policies, &principal("pat", kind, &[role]), &context()), expected, "{role} {kind:?}");
    }
    for role in shipped::ROLES {
        assert!(rows.iter().any(|row| row.0 == role), "{role} has no row");
    }
}

#[test]
fn without_a_role_there_is_only_what_everybody_has() {
    let policies = shipped_set();
    for role in [&[][..], &["developer"], &["Key-Admin"], &["key-admin "]] {
        let who = principal("pat", PrincipalKind::Person, role);
        assert_eq!(allowed(&policies, &who, &context()), set(&[BOOTSTRAP, OWN]), "{role:?}");
    }
    assert_eq!(allowed(&policies, &PrincipalAttrs::anonymous(), &context()), set(&[BOOTSTRAP]));
}

#[test]
fn the_server_does_only_what_fell_due_and_only_by_itself() {
    let policies = shipped_set();
    let by_itself = ContextAttrs { method: Method::System, source_ip: None, ..context() };
    let scheduled = "key.destroy key.verify-destruction";
    let system = PrincipalAttrs::system();
    assert_eq!(allowed(&policies, &system, &by_itself), set(&[scheduled, BOOTSTRAP, OWN]));
    assert_eq!(allowed(&policies, &system, &context()), set(&[BOOTSTRAP, OWN]), "not with a token");
}

#[test]
fn managing_and_using_stay_apart_whatever_roles_are_combined() {
    let policies = shipped_set();
    // Nobody but people agrees.
    let agreeing = [APPROVE, EMERGENCY, HOLD, REVIEW];
    for (kind, governance) in [(PrincipalKind::Person, &agreeing[..]), (PrincipalKind::Service, &[])] {
        let all = principal("pat", kind, &shipped::ROLES);
        let expected = set(&[&[SYSTEM, ACCESS, READ, AUDIT, OWN, BOOTSTRAP, GOVERN][..], governance].concat());
        assert_eq!(allowed(&policies, &all, &context()), expected, "an auditor's forbid takes the lifecycle away too");
    }
    let both = principal("pat", PrincipalKind::Service, &["key-admin", "key-user-decrypt", "application"]);
    assert_eq!(allowed(&policies, &both, &context()), set(&[LIFECYCLE, READ, GRANT, BOOTSTRAP, OWN]));
}

/// Whoever came by both roles can do neither, in an emergency no more than otherwise.
#[test]
fn nobody_administers_both_keys_and_escrow() {
    let policies = shipped_set();
    for roles in shipped::APART {
        for context in [context(), ContextAttrs { emergency: true, ..context() }] {
            let both = principal("pat", PrincipalKind::Person, &roles);
            assert_eq!(allowed(&policies, &both, &context), set(&[READ, BOOTSTRAP, OWN]), "{roles:?}");
            for role in roles {
                let one = principal("pat", PrincipalKind::Person, &[role]);
                let may = allowed(&policies, &one, &context);
                assert_eq!(may.contains("escrow.describe"), role == "escrow-administrator");
                assert_eq!(may.contains("key.destroy"), role == "key-admin");
            }
        }
    }
}

#[test]
fn who_approves_never_uses_a_key_and_replaces_only_those_of_an_incident() {
    let policies = shipped_set();
    let emergency = ContextAttrs { emergency: true, ..context() };
    for role in shipped::GOVERNANCE_ROLES {
        let users = ["key-user-encrypt", "key-user-decrypt", "application"];
        let who = principal("pat", PrincipalKind::Service, &[&[role][..], &users].concat());
        let uses = set(&[ENCRYPT, DECRYPT, OTHER_USE, "key.export"]);
        assert!(allowed(&policies, &who, &context()).is_disjoint(&uses), "{role}");
        assert!(allowed(&policies, &who, &emergency).is_disjoint(&uses), "{role} in an emergency");
    }
    for (role, may) in [("security-lead", true), ("incident-commander", true), ("ciso", false)] {
        let who = principal("pat", PrincipalKind::Person, &[role]);
        for incident in [true, false] {
            let mut resource = key("k", &[]);
            let ResourceDetails::Key(attrs) = &mut resource.details else { unreachable!() };
            attrs.incident = incident;
            let request = Request { principal: &who, action: "key.rotate", resource: &resource, context: &context() };
            assert_eq!(policies.decide(&request).allowed, may && incident, "{role} {incident}");
        }
    }
}

#[test]
fn an_emergency_lifts_the_ban_for_key_administrators_and_gives_nothing_by_itself() {
    let policies = shipped_set();
    let (usual, emergency) = (context(), ContextAttrs { emergency: true, ..context() });
    let alone = principal("pat", PrincipalKind::Person, &["key-admin"]);
    assert_eq!(allowed(&policies, &alone, &emergency), allowed(&policies, &alone, &context()));
    let request = |context| {
        let resource = key("k", &[]);
        policies.decide(&Request { principal: &alone, action: "key.decrypt", resource: &resource, context })
    };
    assert_eq!(request(&usual).denied_by.len(), 1, "forbidden");
    assert_eq!(request(&emergency).denied_by.len(), 0, "not forbidden, only not permitted");
    let auditor = principal("pat", PrincipalKind::Person, &["key-auditor", "key-user-decrypt"]);
    assert!(!allowed(&policies, &auditor, &emergency).contains(DECRYPT), "the auditor's ban stays");
}

#[test]
fn pipelines_and_applications_reach_only_keys_that_name_them() {
    let policies = shipped_set();
    for role in ["pipeline", "application"] {
        let who = principal("billing", PrincipalKind::Service, &[role]);
        let ask = |resource: &ResourceAttrs| {
            let request = Request { principal: &who, action: "key.encrypt", resource, context: &context() };
            policies.decide(&request).allowed
        };
        assert!(ask(&key("k", &["other", "billing"])));
        assert!(!ask(&key("k", &["other"])));
        assert!(!ask(&key("k", &["billing2", "Billing", ""])));
        assert!(!ask(&key("billing", &[])));
    }
}

#[test]
fn applications_are_held_to_their_networks() {
    let policies = shipped_set();
    let mut who = principal("billing", PrincipalKind::Service, &["application"]);
    let outside = ContextAttrs { source_ip: Some("192.0.2.1".parse().unwrap()), ..context() };
    let unknown = ContextAttrs { source_ip: None, ..context() };
    let mapped = ContextAttrs { source_ip: Some("::ffff:10.9.9.9".parse().unwrap()), ..context() };
    let none = set(&[BOOTSTRAP, OWN]);
    assert_eq!(allowed(&policies, &who, &outside), none);
    assert_eq!(allowed(&policies, &who, &unknown), none);
    assert_eq!(allowed(&policies, &who, &mapped).len(), allowed(&policies, &who, &context()).len());
    who.networks.clear();
    assert_eq!(allowed(&policies, &who, &context()), none, "no network recorded is not the same as any network");
}

#[test]
fn applications_are_held_to_their_operations() {
    let policies = shipped_set();
    let mut who = principal("billing", PrincipalKind::Service, &["application"]);
    who.labels.insert("operations".to_owned(), "encrypt verify".to_owned());
    let expected = set(&[BOOTSTRAP, OWN, READ_KEY, ENCRYPT, "key.verify"]);
    assert_eq!(allowed(&policies, &who, &context()), expected);
    who.labels.insert("operations".to_owned(), String::new());
    assert_eq!(allowed(&policies, &who, &context()), set(&[BOOTSTRAP, OWN, READ_KEY]));
}

#[test]
fn tokens_of_others_are_not_ones_own() {
    let policies = shipped_set();
    let who = principal("pat", PrincipalKind::Person, &[]);
    let mut token = resource(keyreeve_policy::ResourceKind::Token, &who);
    let ask = |token: &ResourceAttrs| {
        policies
            .decide(&Request { principal: &who, action: "token.renew", resource: token, context: &context() })
            .allowed
    };
    assert!(ask(&token));
    token.details = ResourceDetails::Token { principal: "somebody".to_owned() };
    assert!(!ask(&token));
}

/// The roles of people who show a second factor.
const HUMANS: [(&str, &[&str]); 13] = [
    ("operator", &[SYSTEM, ACCESS, GOVERN, GRANT]),
    ("key-admin", &[LIFECYCLE, READ, GRANT]),
    ("escrow-administrator", &[ESCROW, READ]),
    ("key-user-encrypt", &[ENCRYPT]),
    ("key-user-decrypt", &[DECRYPT]),
    ("key-auditor", &[READ, AUDIT]),
    ("security-lead", &[APPROVE, READ, GOVERN, EMERGENCY, REVOKE, REPLACE]),
    ("ciso", &[APPROVE, READ, EMERGENCY, REVIEW]),
    ("legal", &[APPROVE, READ, HOLD]),
    ("system-owner", &[APPROVE, READ]),
    ("incident-commander", &[APPROVE, READ, EMERGENCY, REVOKE, REPLACE]),
    ("engineering-lead", &[APPROVE, READ]),
    ("dpo", &[APPROVE, READ, REVIEW]),
];

#[test]
fn the_second_factor_is_demanded_of_people_outside_development_mode() {
    let mut documents = shipped::documents();
    documents.push(shipped::require_mfa());
    let policies = PolicySet::compile(&schema(), documents).unwrap();
    let with = |age| ContextAttrs { mfa_age_seconds: age, ..context() };
    for (role, lists) in HUMANS {
        let who = principal("pat", PrincipalKind::Person, &[role]);
        let full = set(&[lists, &[BOOTSTRAP, OWN]].concat());
        let bare = set(&[BOOTSTRAP, OWN]);
        assert_eq!(allowed(&policies, &who, &with(None)), bare);
        assert_eq!(allowed(&policies, &who, &with(Some(43_200))), full);
        assert_eq!(allowed(&policies, &who, &with(Some(43_201))), bare);
        assert_eq!(allowed(&policies, &who, &with(Some(u64::MAX))), bare);
    }
    let exempt: BTreeSet<&str> = ["pipeline", "application"].into();
    let named: BTreeSet<&str> = HUMANS.iter().map(|row| row.0).collect();
    assert_eq!(shipped::ROLES.into_iter().filter(|role| !named.contains(role)).collect::<BTreeSet<_>>(), exempt);
    let service = principal("app", PrincipalKind::Service, &["application"]);
    assert!(allowed(&policies, &service, &with(None)).contains("key.decrypt"));
    // A role of one's own, and a person whom a policy names.
    let own = r#"
        permit (principal in Keyreeve::Role::"night-shift", action == Keyreeve::Action::"key.decrypt", resource);
        permit (principal, action == Keyreeve::Action::"key.decrypt", resource) when { principal.name == "pat" };"#;
    let mut documents = shipped::documents();
    documents.extend([shipped::require_mfa(), (PolicyName::new("own").unwrap(), own)]);
    let policies = PolicySet::compile(&schema(), documents).unwrap();
    for (name, roles) in [("ann", &["night-shift"][..]), ("pat", &[])] {
        let who = principal(name, PrincipalKind::Person, roles);
        assert_eq!(allowed(&policies, &who, &with(None)), set(&[BOOTSTRAP, OWN]), "{name}");
        assert!(allowed(&policies, &who, &with(Some(60))).contains("key.decrypt"), "{name}");
    }
}

#[test]
fn the_development_role_may_do_everything_where_that_policy_is_added() {
    let mut documents = shipped::documents();
    documents.push(shipped::development());
    let policies = PolicySet::compile(&schema(), documents).unwrap();
    let who = principal("dev", PrincipalKind::Person, &[shipped::DEVELOPER_ROLE]);
    assert_eq!(allowed(&policies, &who, &context()).len(), CATALOGUE.len());
    assert_eq!(policies.actions_without_policy(), Vec::<&str>::new());
}

#[test]
fn what_a_principal_lacks_for_its_role_is_said_before_it_is_refused() {
    let policies = shipped_set();
    let everybody = set(&[BOOTSTRAP, OWN]);
    for role in shipped::ROLES {
        for kind in [PrincipalKind::Person, PrincipalKind::Service] {
            for networks in [false, true] {
                let mut who = principal("pat", kind, &[role]);
                if !networks {
                    who.networks.clear();
                }
                let gains = allowed(&policies, &who, &context()) != everybody;
                let lacking = shipped::lacking(&who);
                assert_eq!(gains, lacking.is_empty(), "{role} {kind:?} {networks}: {lacking:?}");
            }
        }
    }
}

#[test]
fn the_roles_that_policies_name_are_known() {
    let known: BTreeSet<String> = shipped::ROLES.map(str::to_owned).into();
    assert_eq!(shipped_set().roles(), known);
    let scope = compile(r#"permit (principal in Keyreeve::Role::"a", action, resource);"#).unwrap();
    let when =
        r#"permit (principal, action, resource) when { principal in [Keyreeve::Role::"b", Keyreeve::Role::"c"] };"#;
    let other = r#"permit (principal == Keyreeve::Principal::"d", action, resource);"#;
    let roles = |policies: PolicySet| policies.roles().into_iter().collect::<Vec<_>>();
    assert_eq!(roles(scope), ["a"]);
    assert_eq!(roles(compile(when).unwrap()), ["b", "c"]);
    assert_eq!(roles(compile(other).unwrap()), [""; 0]);
}

#[test]
fn every_action_has_a_policy_but_the_export_of_keys() {
    let policies = shipped_set();
    assert_eq!(policies.actions_without_policy(), ["key.export"]);
    assert_eq!(policies.warnings(), []);
    assert_eq!(
        compile("forbid (principal, action, resource);").unwrap().actions_without_policy().len(),
        CATALOGUE.len()
    );
}

#[test]
fn shipped_policies_hold_for_an_empty_catalogue_too() {
    let policies = PolicySet::shipped(&[]).unwrap();
    let who = principal("pat", PrincipalKind::Person, &["operator"]);
    let system = ResourceAttrs::system();
    let request = Request { principal: &who, action: "system.seal", resource: &system, context: &context() };
    assert!(!policies.decide(&request).allowed);
    assert!(shipped::documents().iter().any(|(n, _)| *n == name("operator")));
}
