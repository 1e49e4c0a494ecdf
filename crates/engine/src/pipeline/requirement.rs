//! What the rules of approval ask for, for one request.

use keyreeve_model::approval::{Owners, Party, answerable};
use keyreeve_model::rules::{Asking, Requirement, Rule};
use keyreeve_model::{Label, PrincipalKind};
use keyreeve_policy::{PolicyName, Request, ResourceAttrs, ResourceDetails};
use std::collections::BTreeSet;

use super::authenticate::Principal;
use super::authorize::{Circumstances, Permit, Resource};
use super::operation::Operation;
use crate::access::{Directory, HeldPrincipal, HeldRules};
use crate::core::Core;
use crate::error::{Code, Error};

/// A principal as the counting of consent sees it: by the roles of its record, and not by those of a session or for a
/// time, which nobody could look up again when the operation runs. Programs do not count.
pub(crate) fn party(held: &HeldPrincipal) -> Party {
    let record = &held.record;
    Party {
        name: record.name.clone(),
        person: record.identity().parse().unwrap_or_default(),
        roles: record.roles.clone(),
        counts: record.kind == PrincipalKind::Person && !record.disabled,
    }
}

/// Everybody, as the counting of consent sees them.
pub(crate) fn parties(directory: &Directory) -> Vec<Party> {
    directory.principals().map(|held| party(held)).collect()
}

/// Who asks; one that is not stored, such as the server itself, stands for itself alone.
pub(super) fn asker(directory: &Directory, principal: &Principal) -> Party {
    match directory.principal(&principal.name) {
        Some(held) => party(&held),
        None => Party {
            name: principal.name.clone(),
            person: principal.name.as_str().parse().unwrap_or_else(|_| Label::default()),
            roles: BTreeSet::new(),
            counts: false,
        },
    }
}

/// What is asked for, and by whom it is answered.
pub(super) struct Needed {
    pub(super) requirement: Requirement,
    pub(super) asker: Party,
    /// Whom the resource names that could answer for it.
    pub(super) owners: Owners,
}

/// The rules that hold for a request, put together. Nothing where none does. A condition that cannot be evaluated
/// refuses.
pub(super) fn needed<O: Operation>(
    core: &Core,
    directory: &Directory,
    rules: &HeldRules,
    permit: &Permit<O>,
    operation: &O,
) -> Result<Option<Needed>, Error> {
    let names = matching(rules, permit, operation)?;
    let matched: Vec<&Rule> = names.iter().filter_map(|name| rules.book.rules.find(name.as_str())).collect();
    if matched.is_empty() {
        return Ok(None);
    }
    let asker = asker(directory, &permit.principal);
    let found: Vec<&Resource> = std::iter::once(&permit.resource).chain(&permit.second).collect();
    let key = |of: fn(&keyreeve_policy::KeyAttrs) -> bool| {
        found.iter().any(|resource| matches!(&resource.attrs().details, ResourceDetails::Key(key) if of(key)))
    };
    let asking = Asking {
        proposer: &asker,
        hold: key(|key| key.hold),
        incident: key(|key| key.incident),
        widens: operation.widens(permit, core)?,
    };
    let requirement =
        Requirement::of(matched, &asking).map_err(|no_way| Error::new(Code::Denied, no_way.to_string()))?;
    let owners = answerable(&owners(&permit.resource), &parties(directory));
    Ok(requirement.map(|requirement| Needed { requirement, asker, owners }))
}

/// Rules that hold for the request as things are and as they become, and those that stop holding by it.
fn matching<O: Operation>(rules: &HeldRules, permit: &Permit<O>, operation: &O) -> Result<BTreeSet<PolicyName>, Error> {
    let unclear = |failure: keyreeve_policy::EvaluationFailure| {
        let text = "a rule of approval cannot be evaluated for this request, so it is refused: an operator must look";
        Error::new(Code::Denied, text).because(failure.to_string())
    };
    let circumstances = Circumstances::of(&permit.principal, permit.source, permit.now);
    let context = circumstances.context(operation.context(), operation.items());
    let (principal, action) = (&*permit.principal.attrs, O::DESCRIPTOR.name);
    let matching = |resource: &ResourceAttrs| {
        rules.set.matching(&Request { principal, action, resource, context: &context }).map_err(unclear)
    };
    let before = permit.resource.attrs();
    let mut found: BTreeSet<PolicyName> = matching(&before)?.into_iter().collect();
    if let (Some(second), Some(also)) = (&permit.second, O::DESCRIPTOR.also)
        && also == action
    {
        let after = second.attrs();
        found.extend(matching(&after)?);
        found.extend(rules.set.escaped(principal, &before, &after, &context).map_err(unclear)?);
    }
    Ok(found)
}

/// Whom a resource names as owner and custodians. A grant is answered for by those of what it is on.
fn owners(resource: &Resource) -> Owners {
    let named = |owner: &String| !owner.is_empty();
    match &resource.attrs().details {
        ResourceDetails::Key(key) => {
            std::iter::once(&key.owner).chain(&key.custodians).filter(|owner| named(owner)).cloned().collect()
        }
        ResourceDetails::Keyring(keyring) => {
            std::iter::once(&keyring.owner).filter(|owner| named(owner)).cloned().collect()
        }
        ResourceDetails::Grant { .. } => {
            let mut owners: Vec<String> = Vec::new();
            if let Some(key) = resource.key() {
                let metadata = &key.record.metadata;
                owners.push(metadata.owner.to_string());
                owners.extend(metadata.custodians.iter().map(ToString::to_string));
            } else if let Ok(keyring) = resource.keyring() {
                owners.push(keyring.record.owner.to_string());
            }
            owners.into_iter().filter(named).collect()
        }
        _ => Owners::new(),
    }
}
