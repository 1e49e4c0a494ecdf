//! Before others are asked: whether what they would consent to could be done, and whether they are there.

use keyreeve_model::approval::feasible::unfilled;
use keyreeve_model::approval::{End, Proposal, Shown};
use keyreeve_model::rules::SeatKind;
use keyreeve_model::{Name, RecordId, UnixMillis};
use std::collections::BTreeMap;

use super::approve::{Approved, Consent, Consequences};
use super::authorize::Permit;
use super::operation::Operation;
use super::parked::facts_shown;
use super::requirement::Needed;
use super::resource::{Target, resolve};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::ops::rules::{People, Voters};
use crate::sealing::Opened;

/// What a rehearsal leads to.
#[allow(clippy::large_enum_variant, reason = "as of what the stage itself says")]
pub(super) enum Rehearsed<O: Operation> {
    /// There is something to consent to.
    Worthwhile(Permit<O>),
    /// It would change nothing, and may run so.
    Idle(Consent<O>),
}

/// Rehearses what would wait: refuses what would be refused, and lets through what would change nothing.
pub(super) async fn rehearsed<O: Operation>(
    core: &Core,
    permit: Permit<O>,
    operation: &O,
    record: RecordId,
) -> Result<Rehearsed<O>, Error> {
    let rehearsal = Approved::new(permit, record, None, Consequences::default());
    let alters = operation.rehearse(&rehearsal, core).await?;
    let permit = rehearsal.into_permit();
    if alters {
        return Ok(Rehearsed::Worthwhile(permit));
    }
    let details = BTreeMap::from([("unchanged".to_owned(), "true".to_owned())]);
    let consent = Consequences { details, ..Consequences::default() };
    Ok(Rehearsed::Idle(Consent::Approved(Approved::new(permit, record, None, consent).idle())))
}

/// Refuses what nobody could consent to, however long it waited. Whoever could enrol a second factor counts.
pub(super) async fn refuse_unfillable<O: Operation>(
    core: &Core,
    opened: &Opened,
    needed: &Needed,
) -> Result<(), Error> {
    let operation: Name = O::DESCRIPTOR.name.parse().map_err(Error::internal)?;
    let voters = People::now(core, opened).await?.voters(&operation, Voters::All);
    let (seats, asker) = (&needed.requirement.seats, &needed.asker);
    let missing = unfilled(seats, asker, &needed.owners, voters);
    if missing.is_empty() {
        return Ok(());
    }
    let peer = missing.iter().any(|seat| seat.kind == SeatKind::Peer);
    let names: Vec<String> = missing.iter().map(|seat| format!("`{seat}`")).collect();
    let mut text = format!(
        "nobody could consent to this: besides `{}` there are not enough people who could take the seat {}",
        asker.name,
        names.join(", ")
    );
    if peer {
        text.push_str(" (a peer is a person with a role of yours by which you may ask for this)");
    }
    text.push_str("; let somebody else ask, or give somebody the role");
    Err(Error::new(Code::Unsatisfiable, text))
}

/// Who could take a seat that is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// The seat, in words.
    pub seat: String,
    /// People who are let in, have a second factor, may vote on this, and have not done so.
    pub people: Vec<Name>,
}

impl Candidates {
    /// Those for each empty seat of a request that waits.
    pub(crate) async fn of(core: &Core, opened: &Opened, proposal: &Proposal) -> Result<Vec<Self>, Error> {
        let filling = proposal.filling();
        let missing = filling.missing(proposal.seats());
        if *proposal.end() != End::Open || missing.is_empty() {
            return Ok(Vec::new());
        }
        let voters = People::now(core, opened).await?.voters(&proposal.request().operation, Voters::WithFactor);
        let voted = |name: &Name| proposal.votes().iter().any(|vote| vote.by.name == *name && !vote.superseded);
        let of = |seat: &keyreeve_model::rules::Seat| {
            let fit = voters.iter().filter(|party| party.fits(seat, proposal.proposer(), proposal.owners()));
            fit.map(|party| party.name.clone()).filter(|name| !voted(name)).collect()
        };
        Ok(missing.into_iter().map(|seat| Self { seat: seat.to_string(), people: of(seat) }).collect())
    }
}

/// What is no more as those who are asked for consent were shown it.
pub(crate) async fn overtaken(core: &Core, proposal: &Proposal, now: UnixMillis) -> Result<Vec<Shown>, Error> {
    let target = &proposal.request().target;
    if *proposal.end() != End::Open || target.kind != "key" {
        return Ok(Vec::new());
    }
    let key = target.id.parse().map_err(Error::internal)?;
    let present = facts_shown(&resolve(core, Target::Key(&key), now).await?);
    let changed = |shown: &Shown| {
        let (_, value) = present.iter().find(|(name, _)| *name == shown.name)?;
        // What the request itself alters is shown as it is and as it becomes.
        let same = shown.value == *value || shown.value.starts_with(&format!("{value} -> "));
        (!same).then(|| {
            let before = shown.value.split(" -> ").next().unwrap_or_default();
            Shown { name: shown.name.clone(), value: format!("{before} -> {value}") }
        })
    };
    Ok(proposal.shown().iter().filter_map(changed).collect())
}
