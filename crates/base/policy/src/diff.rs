//! What a change of policies changes: in their text, and in what people may do.

use crate::action::{ActionSpec, ResourceKind};
use crate::network::Network;
use crate::request::{
    ContextAttrs, KeyAttrs, KeyringAttrs, PrincipalAttrs, PrincipalKind, Request, ResourceAttrs, ResourceDetails,
    Revision,
};
use crate::set::PolicySet;
use crate::shipped;
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Two texts of together more lines than this are not compared line by line: that takes time with the square of them.
const MAX_LINES: usize = 20_000;
/// Decisions that [`meaning`] makes at most; the roles that would need more are left out, and counted.
const MAX_DECISIONS: usize = 200_000;

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its text is another.
    Altered,
}

/// One document that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentDiff {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: DocumentChange,
    /// The lines that differ, with three around them, in the unified format of `diff -u`.
    pub unified: String,
}

/// The documents that differ, by name.
pub fn documents(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<DocumentDiff> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names.into_iter().filter_map(|name| {
        let (change, old, new) = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(old), Some(new)) => (DocumentChange::Altered, old.as_str(), new.as_str()),
            (Some(old), None) => (DocumentChange::Removed, old.as_str(), ""),
            (None, Some(new)) => (DocumentChange::Added, "", new.as_str()),
            (None, None) => return None,
        };
        Some(DocumentDiff { name: name.clone(), change, unified: unified(name, old, new) })
    });
    differing.collect()
}

fn unified(name: &str, old: &str, new: &str) -> String {
    if old.lines().count() + new.lines().count() > MAX_LINES {
        return format!("{name}.cedar: too many lines to be compared one by one\n");
    }
    let side = |prefix: &str, text: &str| match text {
        "" => "/dev/null".to_owned(),
        _ => format!("{prefix}/{name}.cedar"),
    };
    let diff = TextDiff::from_lines(old, new);
    diff.unified_diff().context_radius(3).header(&side("a", old), &side("b", new)).to_string()
}

/// Something that somebody with a role may do and could not, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeaningChange {
    /// The one role of the sample principal; `None`: it has none.
    pub role: Option<String>,
    /// What kind of principal it is.
    pub kind: PrincipalKind,
    /// The operation.
    pub action: &'static str,
    /// Only for what is the principal's own (a key that names it as consumer, owner and custodian; its own token) or
    /// only for what is not; `None`: either way.
    pub own: Option<bool>,
    /// Only with a second factor just shown, or only without one; `None`: either way.
    pub second_factor: Option<bool>,
    /// Whether it is allowed afterwards; before it was the other way.
    pub allowed: bool,
}

/// What a change of policies means for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meaning {
    /// What changes, by role.
    pub changes: Vec<MeaningChange>,
    /// Roles that were not looked at, because there are too many.
    pub roles_left_out: usize,
}

/// Compares what two sets of policies allow: for each role that either of them or a shipped policy names and for nobody
/// in particular, each action whose statements differ, on sample resources (production, class 3, active, without
/// labels), from within the principal's networks, now. Conditions on labels, on an encryption context or on another
/// time therefore do not show here.
pub fn meaning(before: &PolicySet, after: &PolicySet, now_ms: i64) -> Meaning {
    meaning_within(MAX_DECISIONS, before, after, now_ms)
}

fn meaning_within(max_decisions: usize, before: &PolicySet, after: &PolicySet, now_ms: i64) -> Meaning {
    let actions: Vec<ActionSpec> = after.actions_that_differ(before);
    let mut roles: Vec<Option<String>> = vec![None];
    let named: BTreeSet<String> = before.roles().into_iter().chain(after.roles()).collect();
    roles.extend(shipped::ROLES.into_iter().map(|role| Some(role.to_owned())));
    roles.extend(named.into_iter().filter(|role| !shipped::ROLES.contains(&role.as_str())).map(Some));
    let of_role = actions.len() * KINDS.len() * SAMPLES.len() * 2;
    let looked_at = roles.len().min(max_decisions.checked_div(of_role).unwrap_or(usize::MAX));
    let mut changes = Vec::new();
    for role in &roles[..looked_at] {
        for kind in KINDS {
            let who = somebody("sample", kind, role.as_slice());
            for spec in &actions {
                let decided = SAMPLES.map(|sample| {
                    let ask = |set: &PolicySet| allowed(set, &who, spec, sample, now_ms);
                    (ask(before), ask(after))
                });
                changes.extend(rows(decided).into_iter().map(|(own, second_factor, allowed)| MeaningChange {
                    role: role.clone(),
                    kind,
                    action: spec.name,
                    own,
                    second_factor,
                    allowed,
                }));
            }
        }
    }
    Meaning { changes, roles_left_out: roles.len() - looked_at }
}

const KINDS: [PrincipalKind; 2] = [PrincipalKind::Person, PrincipalKind::Service];

/// (own, second factor)
const SAMPLES: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

/// The changes among the four samples, in as few rows as say it.
fn rows(decided: [(bool, bool); 4]) -> Vec<(Option<bool>, Option<bool>, bool)> {
    let mut rows = Vec::new();
    for after in [true, false] {
        let changed = |sample: &(bool, bool)| {
            SAMPLES.iter().zip(decided).any(|(s, (was, is))| s == sample && was != is && is == after)
        };
        let found: Vec<(bool, bool)> = SAMPLES.into_iter().filter(changed).collect();
        match found[..] {
            [_, _, _, _] => rows.push((None, None, after)),
            [(a, _), (b, _)] if a == b => rows.push((Some(a), None, after)),
            [(_, a), (_, b)] if a == b => rows.push((None, Some(a), after)),
            _ => rows.extend(found.into_iter().map(|(own, factor)| (Some(own), Some(factor), after))),
        }
    }
    rows
}

fn somebody(name: &str, kind: PrincipalKind, roles: &[String]) -> PrincipalAttrs {
    PrincipalAttrs {
        id: name.to_owned(),
        revision: Revision::Unstored,
        name: name.to_owned(),
        kind,
        roles: roles.to_vec(),
        networks: vec![Network::TEN],
        labels: BTreeMap::new(),
    }
}

fn allowed(
    set: &PolicySet,
    who: &PrincipalAttrs,
    spec: &ActionSpec,
    (own, second_factor): (bool, bool),
    time_ms: i64,
) -> bool {
    let details = sample(spec.resource, if own { &who.name } else { "somebody-else" });
    let id = match &details {
        ResourceDetails::Principal(other) => other.id.clone(),
        _ => "sample".to_owned(),
    };
    let resource = ResourceAttrs { id, revision: Revision::Unstored, details };
    let shown = ContextAttrs::assumed(Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))), time_ms);
    let unshown = ContextAttrs { mfa_age_seconds: None, mfa_kind: None, ..shown };
    let context = if second_factor { shown } else { unshown };
    set.decide(&Request { principal: who, action: spec.name, resource: &resource, context: &context }).allowed
}

pub(crate) fn sample(kind: ResourceKind, of: &str) -> ResourceDetails {
    let of = of.to_owned();
    match kind {
        ResourceKind::System => ResourceDetails::System,
        ResourceKind::Audit => ResourceDetails::Audit,
        ResourceKind::Policy => ResourceDetails::Policy,
        ResourceKind::Token => ResourceDetails::Token { principal: of },
        ResourceKind::Principal => ResourceDetails::Principal(Box::new(somebody(&of, PrincipalKind::Person, &[]))),
        ResourceKind::Grant => ResourceDetails::Grant { principal: of, key: "sample".to_owned() },
        ResourceKind::Approval => ResourceDetails::Approval { operation: "key.rotate".to_owned(), proposer: of },
        ResourceKind::Login => ResourceDetails::Login { name: "sample".to_owned(), kind: "oidc".to_owned() },
        ResourceKind::Case => ResourceDetails::Case { kind: "incident".to_owned() },
        ResourceKind::Keyring => ResourceDetails::Keyring(KeyringAttrs {
            name: "sample".to_owned(),
            classification: 3,
            environment: "production".to_owned(),
            owner: of,
            labels: BTreeMap::new(),
        }),
        ResourceKind::Key => ResourceDetails::Key(Box::new(KeyAttrs {
            keyring_id: "sample".to_owned(),
            keyring: "sample".to_owned(),
            algorithm: "XAES-256-GCM".to_owned(),
            purpose: "encrypt-decrypt".to_owned(),
            state: "active".to_owned(),
            classification: 3,
            environment: "production".to_owned(),
            owner: of.clone(),
            custodians: vec![of.clone()],
            consumers: vec![of],
            ..KeyAttrs::default()
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_would_take_too_long_are_left_out_and_counted() {
        let spec = ActionSpec { name: "key.sign", resource: ResourceKind::Key, groups: &["sign-side"] };
        let schema = crate::schema::Schema::generate(&[spec]).unwrap();
        let compile = |text: &str| {
            PolicySet::compile(&schema, [(crate::name::PolicyName::new("p").unwrap(), text.to_owned())]).unwrap()
        };
        let before = compile("permit (principal in Keyreeve::Role::\"a\", action, resource);");
        let after = compile("permit (principal, action, resource);");
        let whole = meaning(&before, &after, 0);
        // One action, two kinds, four samples, two sets: sixteen decisions for each role.
        let half = meaning_within(5 * 16, &before, &after, 0);
        assert_eq!((whole.roles_left_out, half.roles_left_out), (0, shipped::ROLES.len() + 2 - 5));
        assert_eq!(half.changes.len(), 5 * 2);
        assert!(!whole.changes.iter().any(|change| change.role.as_deref() == Some("a")), "had it before");
        assert_eq!(meaning_within(0, &after, &after, 0).roles_left_out, 0, "nothing differs, nothing is asked");
    }

    #[test]
    fn rows_are_as_few_as_can_be() {
        let (same, gained, lost) = ((true, true), (false, true), (true, false));
        for (decided, expected) in [
            ([same; 4], vec![]),
            ([gained; 4], vec![(None, None, true)]),
            ([lost, lost, same, same], vec![(Some(true), None, false)]),
            ([same, lost, same, lost], vec![(None, Some(false), false)]),
            ([gained, lost, same, same], vec![(Some(true), Some(true), true), (Some(true), Some(false), false)]),
            ([gained, same, same, gained], vec![(Some(true), Some(true), true), (Some(false), Some(false), true)]),
        ] {
            assert_eq!(rows(decided), expected);
        }
    }
}
