//! Requests that wait for consent: found again, run when there is consent, begun when there is none.

use keyreeve_model::approval::{
    Event, NewProposal, OPEN, OpenRequest, Party, Proposal, ProposalState, Refusal, Request, Shown, TargetRef,
};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::ApprovalId;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Classification, Facts, Name, NoticeKind, RecordId, UnixMillis};
use keyreeve_policy::{KeyAttrs, PrincipalAttrs, PrincipalKind, ResourceAttrs, ResourceDetails};
use std::collections::BTreeMap;
use std::time::Duration;

use super::approve::{Approved, Consent, Consequences};
use super::arrival::Waiting;
use super::authorize::Permit;
use super::operation::Operation;
use super::rehearsal::{Rehearsed, refuse_unfillable, rehearsed};
use super::requirement::{Needed, parties};
use super::resource::Resource;
use crate::catalogue;
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// Requests of one principal that wait at a time (count).
const OPEN_MAX: usize = 100;
/// Requests of one principal that begin to wait within [`HOUR`] (count). People are told of each, and of its end.
const HOURLY_MAX: usize = 120;
const HOUR: Duration = Duration::from_secs(3600);

/// What a request is when it waits: everything it says, with what it acts on found.
pub(super) async fn request_of<O: Operation>(
    core: &Core,
    permit: &Permit<O>,
    operation: &O,
) -> Result<Option<Request>, Error> {
    let Some(form) = operation.form() else { return Ok(None) };
    let target = reference(&permit.resource);
    let second = permit.second.as_ref().map(reference).filter(|second| *second != target);
    Ok(Some(Request {
        operation: O::DESCRIPTOR.name.parse().map_err(Error::internal)?,
        second: second.or_else(|| place(&permit.resource)),
        target,
        base_revision: operation.replaces(core).await?,
        form,
    }))
}

fn reference(resource: &Resource) -> TargetRef {
    TargetRef { kind: resource.audit().kind.clone(), id: resource.audit().id.clone() }
}

/// Where something new is to be made: a key to be made is named by its keyring, found.
fn place(resource: &Resource) -> Option<TargetRef> {
    match &resource.attrs().details {
        ResourceDetails::Key(key) if resource.key().is_none() => {
            Some(TargetRef { kind: "keyring".to_owned(), id: key.keyring_id.clone() })
        }
        _ => None,
    }
}

/// Goes on with a request that needs consent.
pub(super) async fn consent<O: Operation>(
    core: &Core,
    opened: &Opened,
    needed: Needed,
    (permit, operation, record): (Permit<O>, &O, RecordId),
) -> Result<Consent<O>, Error> {
    let Some(request) = request_of(core, &permit, operation).await? else {
        return Err(Error::internal("a rule asks for consent to an operation that has no form to wait in"));
    };
    let invalid = |error: keyreeve_model::approval::NoDigest| Error::invalid(error.to_string());
    let digest = request.digest(opened.deployment.id, &permit.principal.name).map_err(invalid)?;
    let mut asked = Asked { needed, request, digest, record, shown: Vec::new() };
    let known = core.filed::<OpenRequest>(opened, OpenRequest::row(digest)).await?;
    let (mut changes, mut replaced) = (Vec::new(), None);
    if let Some((open, open_revision)) = &known {
        let (proposal, revision) = core.proposal(opened, open.approval).await?;
        // Made by somebody else who had the same name: what they had consent to is nobody's.
        let asker = opened.access().principal(&permit.principal.name);
        let another = asker.is_some_and(|held| held.record.created > proposal.created());
        let run = match asked.run(opened, &proposal, &permit) {
            Ok(_) if another => Err(Refusal::Missing(Vec::new())),
            run => run,
        };
        match run {
            Ok(done) => {
                let keys = &opened.keys;
                let mut changes = vec![file(keys, revision.next(), &done), unfile(*open_revision, open)];
                changes.extend(core.notice(opened, &closed(&done, permit.now), Some(record), permit.now)?);
                let consents = asked.consents(opened, &proposal);
                let consent = Consequences { changes, details: told(&done), consents, ..Consequences::default() };
                let approval = Some(done.id());
                return Ok(Consent::Approved(Approved::new(permit, record, approval, consent)));
            }
            Err(Refusal::Missing(missing)) if !another && proposal.seats() == asked.needed.requirement.seats => {
                let waiting = waiting(&proposal, digest, missing);
                let details = told(&proposal);
                return Ok(Consent::Waiting(Box::new(waiting), Consequences { details, ..Consequences::default() }));
            }
            // Others are asked for now, who could not vote on this one.
            Err(Refusal::Missing(_)) => {
                let withdrawn = proposal.step(&Event::Withdraw { by: &permit.principal.name }, permit.now);
                changes.push(file(&opened.keys, revision.next(), &withdrawn.map_err(Error::internal)?));
                replaced = Some(proposal.id());
            }
            Err(Refusal::Over(_)) => {}
            Err(other) => return Err(Error::internal(other.to_string())),
        }
    }
    let permit = match rehearsed(core, permit, operation, record).await? {
        Rehearsed::Worthwhile(permit) => permit,
        Rehearsed::Idle(consent) => return Ok(consent),
    };
    refuse_unfillable::<O>(core, opened, &asked.needed).await?;
    asked.shown = shown(&permit).into_iter().chain(operation.shows(core).await?).collect();
    if replaced.is_none() {
        refuse_too_many(core, opened, &permit.principal.name, permit.now).await?;
        refuse_too_often(core, &permit.principal.name, permit.now)?;
    }
    let revision = known.map_or(Revision::FIRST, |(_, revision)| revision.next());
    let mut consent = park(core, opened, asked, (&permit, operation, revision), changes)?;
    if let (Consent::Waiting(waiting, told), Some(replaced)) = (&mut consent, replaced) {
        waiting.replaces = Some(replaced);
        told.details.insert("withdrawn".to_owned(), replaced.to_string());
    }
    Ok(consent)
}

/// Nobody keeps those who agree busy, and the store, with more than they could look at.
async fn refuse_too_many(core: &Core, opened: &Opened, proposer: &Name, now: UnixMillis) -> Result<(), Error> {
    let open = core.filed_sound::<Proposal>(opened, Some(OPEN)).await?;
    let waits = |proposal: &Proposal| {
        proposal.proposer().name == *proposer
            && matches!(proposal.state(now), ProposalState::Waiting | ProposalState::Approved)
    };
    if open.iter().filter(|(proposal, _)| waits(proposal)).count() < OPEN_MAX {
        return Ok(());
    }
    let text = format!("{OPEN_MAX} of your requests wait already: run, withdraw or wait for some of them first");
    Err(Error::new(Code::WrongState, text))
}

/// Nobody floods people with requests that are taken back at once, until what they should hear of is not heard. Counted
/// in memory: a restart forgets it, and each server counts by itself.
fn refuse_too_often(core: &Core, proposer: &Name, now: UnixMillis) -> Result<(), Error> {
    let mut requests = core.requests.lock();
    requests.retain(|_, times| {
        times.retain(|at| now < at.plus(HOUR));
        !times.is_empty()
    });
    let times = requests.entry(proposer.clone()).or_default();
    if times.len() < HOURLY_MAX {
        times.push_back(now);
        return Ok(());
    }
    let oldest = times.front().copied().unwrap_or(now);
    let wait = Duration::from_millis(u64::try_from(oldest.plus(HOUR).since(now)).unwrap_or(0));
    let text = format!("{HOURLY_MAX} of your requests began to wait within an hour: wait as `Retry-After` says");
    Err(Error::new(Code::TooManyAttempts, text).after(wait))
}

struct Asked {
    needed: Needed,
    request: Request,
    digest: [u8; 32],
    record: RecordId,
    /// What approvers are shown besides.
    shown: Vec<Shown>,
}

impl Asked {
    /// Everybody as they are now, but for those whose name another had when it was voted with.
    fn parties(opened: &Opened, known: &Proposal) -> Vec<Party> {
        let access = opened.access();
        // A vote is that of who had the name then, and not of somebody who was given it later.
        let another = |party: &Party| {
            let made = access.principal(&party.name).map(|held| held.record.created);
            known.votes().iter().any(|vote| vote.by.name == party.name && Some(vote.at) < made)
        };
        let mut parties: Vec<Party> = parties(&access);
        parties.retain(|party| !another(party));
        parties
    }

    /// How many people consent now, besides whoever asks.
    fn consents(&self, opened: &Opened, known: &Proposal) -> usize {
        let parties = Self::parties(opened, known);
        known.consenting(&self.needed.asker, &parties, &self.needed.requirement).len()
    }

    /// Runs a proposal if there is consent for what is asked for now.
    fn run<O: Operation>(&self, opened: &Opened, known: &Proposal, permit: &Permit<O>) -> Result<Proposal, Refusal> {
        let parties = Self::parties(opened, known);
        let event = Event::Execute {
            by: &self.needed.asker,
            digest: &hex::encode(self.digest),
            parties: &parties,
            requirement: &self.needed.requirement,
            owners: &self.needed.owners,
            record: self.record,
        };
        known.step(&event, permit.now)
    }
}

/// Begins to wait.
fn park<O: Operation>(
    core: &Core,
    opened: &Opened,
    asked: Asked,
    (permit, operation, revision): (&Permit<O>, &O, Revision),
    mut changes: Vec<Change>,
) -> Result<Consent<O>, Error> {
    let (now, digest) = (permit.now, asked.digest);
    let new = NewProposal {
        id: ApprovalId::new(now, core.id_random()?),
        proposer: asked.needed.asker,
        request: asked.request,
        digest: hex::encode(digest),
        reason: operation.reason().cloned().unwrap_or_default(),
        requirement: asked.needed.requirement,
        owners: asked.needed.owners,
        shown: asked.shown,
    };
    let proposal = Proposal::new(new, now);
    let open = OpenRequest::of(&proposal);
    changes.push(file(&opened.keys, Revision::FIRST, &proposal));
    changes.push(file(&opened.keys, revision, &open));
    for telling in begun(&proposal) {
        changes.extend(core.notice(opened, &telling, Some(asked.record), now)?);
    }
    let waiting = waiting(&proposal, digest, proposal.missing());
    let details = told(&proposal);
    Ok(Consent::Waiting(Box::new(waiting), Consequences { changes, details, ..Consequences::default() }))
}

fn waiting(proposal: &Proposal, digest: [u8; 32], missing: Vec<String>) -> Waiting {
    Waiting { approval: proposal.id(), digest, expires: proposal.expires(), missing, replaces: None }
}

fn facts_of(proposal: &Proposal) -> Facts {
    let request = proposal.request();
    Facts::default()
        .with("approval", proposal.id())
        .with("operation", &request.operation)
        .with("target", &request.target)
        .with("proposer", &proposal.proposer().name)
        .with("digest", proposal.digest())
        .with("expires", proposal.expires())
}

/// What people are told when a request begins to wait; of an emergency that is declared, everybody.
fn begun(proposal: &Proposal) -> Vec<Telling> {
    let operation = &proposal.request().operation;
    let subject = format!("{} asks for consent to {operation}", proposal.proposer().name);
    let facts = facts_of(proposal).with("missing", proposal.missing().join(", ")).with("reason", proposal.reason());
    let declared = (operation.as_str() == catalogue::EMERGENCY_DECLARE.name).then(|| {
        let subject = format!("{} declares an emergency: it waits for consent", proposal.proposer().name);
        Telling::new(NoticeKind::EmergencyDeclared, subject, facts.clone())
    });
    std::iter::once(Telling::new(NoticeKind::ApprovalNeeded, subject, facts)).chain(declared).collect()
}

/// What people are told when a request waits no more.
pub(crate) fn closed(proposal: &Proposal, now: UnixMillis) -> Telling {
    let (operation, state) = (&proposal.request().operation, proposal.state(now));
    let subject = format!("the request of {} for {operation} was {state}", proposal.proposer().name);
    Telling::new(NoticeKind::ApprovalClosed, subject, facts_of(proposal).with("state", state))
}

/// What the audit record says of a proposal.
pub(crate) fn told(proposal: &Proposal) -> BTreeMap<String, String> {
    let rules: Vec<&str> = proposal.rules().iter().map(|rule| rule.as_str()).collect();
    let seats: Vec<String> = proposal.seats().iter().map(ToString::to_string).collect();
    [
        ("approval", proposal.id().to_string()),
        ("digest", proposal.digest().to_owned()),
        ("rules", rules.join(" ")),
        ("seats", seats.join(", ")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What approvers are shown besides the request: what it acts on as it is, and where it is altered as it becomes.
fn shown<O: Operation>(permit: &Permit<O>) -> Vec<Shown> {
    let after = permit.second.as_ref().map(|second| facts(&second.attrs())).unwrap_or_default();
    let both = |(name, value): (&'static str, String)| match after.iter().find(|(other, _)| *other == name) {
        Some((_, next)) if *next != value => Shown { name: name.to_owned(), value: format!("{value} -> {next}") },
        _ => Shown { name: name.to_owned(), value },
    };
    facts_shown(&permit.resource).into_iter().map(both).collect()
}

/// What there is to be seen of a thing.
pub(super) fn facts_shown(resource: &Resource) -> Vec<(&'static str, String)> {
    let mut all = facts(&resource.attrs());
    if let Some(key) = resource.key() {
        if matches!(resource.attrs().details, ResourceDetails::Grant { .. }) {
            let metadata = &key.record.metadata;
            let aliases: Vec<&str> = metadata.aliases.iter().map(Name::as_str).collect();
            all.push(("aliases", aliases.join(" ")));
            all.push(("owner", metadata.owner.to_string()));
            all.push(("classification", metadata.classification.to_string()));
        }
        all.push(("versions", key.record.versions().len().to_string()));
        all.push(("created", key.record.created().to_string()));
    }
    all
}

fn facts(attrs: &ResourceAttrs) -> Vec<(&'static str, String)> {
    match &attrs.details {
        ResourceDetails::Key(key) => of_key(key),
        ResourceDetails::Keyring(keyring) => vec![("name", keyring.name.clone()), ("owner", keyring.owner.clone())],
        ResourceDetails::Principal(principal) => of_principal(principal),
        ResourceDetails::Token { principal } => vec![("principal", principal.clone())],
        _ => Vec::new(),
    }
}

fn of_key(key: &KeyAttrs) -> Vec<(&'static str, String)> {
    let labels: Vec<String> = key.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        ("keyring", key.keyring.clone()),
        ("aliases", key.aliases.join(" ")),
        ("algorithm", key.algorithm.clone()),
        ("purpose", key.purpose.clone()),
        ("state", key.state.clone()),
        ("classification", class(key.classification)),
        ("environment", key.environment.clone()),
        ("owner", key.owner.clone()),
        ("custodians", key.custodians.join(", ")),
        ("consumers", key.consumers.join(", ")),
        ("labels", labels.join(" ")),
        ("hold", key.hold.to_string()),
        ("incident", key.incident.to_string()),
    ]
}

/// The name of a class that policies know by its level.
fn class(level: u8) -> String {
    Classification::ALL
        .into_iter()
        .find(|class| class.level() == level)
        .map_or(level.to_string(), |class| class.to_string())
}

fn of_principal(principal: &PrincipalAttrs) -> Vec<(&'static str, String)> {
    let labels: Vec<String> = principal.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Whoever is to be made is nobody yet.
    let kind = if principal.kind == PrincipalKind::Anonymous { "(new)" } else { principal.kind.name() };
    vec![("kind", kind.to_owned()), ("roles", principal.roles.join(" ")), ("labels", labels.join(" "))]
}

impl Core {
    /// A proposal that must be there.
    pub(crate) async fn proposal(&self, opened: &Opened, id: ApprovalId) -> Result<(Proposal, Revision), Error> {
        let found = self.filed::<Proposal>(opened, id).await?;
        found.ok_or_else(|| Error::not_found("approval"))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Over(ProposalState::Executed) => Code::AlreadyDone,
            Refusal::Over(_) | Refusal::OtherRequest | Refusal::Missing(_) | Refusal::TooManyVotes => Code::WrongState,
            Refusal::OwnRequest | Refusal::NoSeat(_) | Refusal::NotTheProposer => Code::Denied,
            Refusal::StaleProof(_) => Code::MfaNeeded,
        };
        Self::new(code, refusal.to_string())
    }
}
