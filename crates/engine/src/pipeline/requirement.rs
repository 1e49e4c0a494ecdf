//! What the rules of approval ask for, for one request.
//!
//! Whose consent is needed must not depend on how something is done: in one step or two, with a token or a credential,
//! by a person or by a program of theirs.

use keyreeve_model::access::ISSUED;
use keyreeve_model::approval::{Owners, Party, answerable};
use keyreeve_model::rules::{Asking, Requirement, Rule, SeatKind};
use keyreeve_model::{Label, Name, PrincipalKind, PrincipalRecord};
use keyreeve_policy::{
    EvaluationFailure, PolicyName, PrincipalAttrs, Request, ResourceAttrs, ResourceDetails, Revision,
};
use std::collections::BTreeSet;

use super::approve::Approved;
use super::authenticate::Principal;
use super::authorize::{Circumstances, Permit};
use super::operation::Operation;
use super::resource::{Resource, Target, resolve};
use crate::access::{Directory, HeldPrincipal, HeldRules};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};

/// A principal as the counting of consent sees it: by the roles of its record, and not by those of a session or for a
/// time, which nobody could look up again when the operation runs. Programs do not count.
pub(crate) fn party_of(record: &PrincipalRecord) -> Party {
    Party {
        name: record.name.clone(),
        person: record.identity().parse().unwrap_or_default(),
        roles: record.roles.clone(),
        counts: record.kind == PrincipalKind::Person && !record.disabled,
    }
}

/// The same of a principal that is known.
pub(crate) fn party(held: &HeldPrincipal) -> Party {
    party_of(&held.record)
}

/// Everybody, as the counting of consent sees them.
pub(super) fn parties(directory: &Directory) -> Vec<Party> {
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

impl<O: Operation> Permit<O> {
    /// Whether the caller's token comes from a login, and ends with it.
    pub(crate) fn logged_in(&self) -> bool {
        let session = self.principal.session.as_ref();
        session.is_some_and(|session| session.login.as_str() != ISSUED)
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
    let names = matching(directory, rules, permit, operation)?;
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
    let Some(requirement) = requirement else { return Ok(None) };
    if !requirement.seats.is_empty() {
        refuse_nobodys_program(directory, &asker)?;
    }
    let asker = if requirement.seats.iter().any(|seat| seat.kind == SeatKind::Peer) {
        Party { roles: roles_for(core, permit, operation, &asker)?, ..asker }
    } else {
        asker
    };
    Ok(Some(Needed { requirement, asker, owners }))
}

/// Whoever asks has no seat. Behind a program stands somebody as well, who could vote on what their program asks for:
/// so it must be known who that is.
fn refuse_nobodys_program(directory: &Directory, asker: &Party) -> Result<(), Error> {
    let held = directory.principal(&asker.name);
    let nobodys = held.is_some_and(|held| held.record.kind == PrincipalKind::Service && held.record.person.is_none());
    if !nobodys {
        return Ok(());
    }
    let text = format!(
        "this needs the consent of others, and `{}` is a program of which it is not known whose it is: say so with \
         `keyreeve principal update {} --person`, or ask for it yourself",
        asker.name, asker.name
    );
    Err(Error::new(Code::Denied, text))
}

/// The roles by which somebody may do what they ask for: a peer has one of these, and not just any other role.
fn roles_for<O: Operation>(
    core: &Core,
    permit: &Permit<O>,
    operation: &O,
    asker: &Party,
) -> Result<BTreeSet<Name>, Error> {
    let opened = core.need_open()?;
    let access = opened.access();
    let circumstances = Circumstances::of(&permit.principal, permit.source, permit.now);
    let context = circumstances.context(operation.context(), operation.items());
    let resource = permit.resource.attrs();
    let gives = |role: &&Name| {
        let roles = vec![role.to_string()];
        // No stored principal has this revision, so that no decision about one is taken for this one.
        let principal = PrincipalAttrs { roles, revision: Revision::Unstored, ..(*permit.principal.attrs).clone() };
        let action = O::DESCRIPTOR.name;
        let request = Request { principal: &principal, action, resource: &resource, context: &context };
        access.policies().cache.decide(&request).allowed
    };
    Ok(asker.roles.iter().filter(gives).cloned().collect())
}

/// The operation whose rules hold for this one as well: a token speaks for its principal as a credential does, and only
/// of the principal itself do rules see its roles.
pub(super) fn stands_for<O: Operation>() -> Option<&'static str> {
    (O::DESCRIPTOR.name == catalogue::TOKEN_CREATE.name).then_some(catalogue::CREDENTIAL_ISSUE.name)
}

fn unclear(failure: EvaluationFailure) -> Error {
    let text = "a rule of approval cannot be evaluated for this request, so it is refused: an operator must look";
    Error::new(Code::Denied, text).because(failure.to_string())
}

/// Rules that hold for the request as things are and as they become, and those that stop or begin to hold by it.
fn matching<O: Operation>(
    directory: &Directory,
    rules: &HeldRules,
    permit: &Permit<O>,
    operation: &O,
) -> Result<BTreeSet<PolicyName>, Error> {
    let circumstances = Circumstances::of(&permit.principal, permit.source, permit.now);
    let context = circumstances.context(operation.context(), operation.items());
    let (principal, action) = (&*permit.principal.attrs, O::DESCRIPTOR.name);
    let before = permit.resource.attrs();
    let request = Request { principal, action, resource: &before, context: &context };
    let after = permit.second.as_ref().filter(|_| O::DESCRIPTOR.also == Some(action)).map(Resource::attrs);
    let mut found = altering(rules, &request, after.as_deref()).map_err(unclear)?;
    if let (Some(action), ResourceDetails::Token { principal: whose }) = (stands_for::<O>(), &before.details)
        && let Some(held) = whose.parse().ok().and_then(|whose| directory.principal(&whose))
    {
        let details = ResourceDetails::Principal(Box::new((*held.attrs).clone()));
        let resource = ResourceAttrs { id: held.attrs.id.clone(), revision: held.attrs.revision, details };
        let request = Request { principal, action, resource: &resource, context: &context };
        found.extend(rules.set.matching(&request).map_err(unclear)?);
    }
    Ok(found)
}

/// The rules that hold for what is there, and where it is altered for what it becomes, and those in between.
fn altering(
    rules: &HeldRules,
    request: &Request<'_>,
    after: Option<&ResourceAttrs>,
) -> Result<BTreeSet<PolicyName>, EvaluationFailure> {
    let mut found: BTreeSet<PolicyName> = rules.set.matching(request)?.into_iter().collect();
    if let Some(after) = after {
        found.extend(rules.set.matching(&Request { resource: after, ..*request })?);
        found.extend(rules.set.crossed(request.principal, request.resource, after, request.context)?);
    }
    Ok(found)
}

impl Core {
    /// Whether the rules in force want the consent of others to what an operation does on the side, were it done by the
    /// operation that is there for it. Such an operation takes away only, and gives nobody anything.
    pub(crate) async fn others_agree_to<O: Operation>(
        &self,
        approved: &Approved<O>,
        action: &'static Descriptor,
        (before, after): (Target<'_>, Option<Target<'_>>),
    ) -> Result<bool, Error> {
        let (opened, principal, now) = (self.need_open()?, approved.principal(), approved.now());
        let access = opened.access();
        let rules = access.rules();
        if !rules.are_in_force() {
            return Ok(false);
        }
        let before = resolve(self, before, now).await?.attrs();
        let after = match after {
            Some(after) => Some(resolve(self, after, now).await?.attrs()),
            None => None,
        };
        let context = Circumstances::of(principal, approved.source(), now).context(None, 1);
        let request =
            Request { principal: &principal.attrs, action: action.name, resource: &before, context: &context };
        let found = altering(&rules, &request, after.as_deref()).map_err(unclear)?;
        let matched: Vec<&Rule> = found.iter().filter_map(|name| rules.book.rules.find(name.as_str())).collect();
        let asker = asker(&access, principal);
        let (hold, incident) = match &before.details {
            ResourceDetails::Key(key) => (key.hold, key.incident),
            _ => (false, false),
        };
        let asking = Asking { proposer: &asker, hold, incident, widens: false };
        // Where a rule has no way for whoever asks, somebody else asks.
        let wanted = Requirement::of(matched, &asking);
        Ok(wanted.map_or(true, |wanted| wanted.is_some_and(|wanted| !wanted.seats.is_empty())))
    }
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
