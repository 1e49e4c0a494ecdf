//! Proposals: requests that wait for the consent of others (requirements A6 and A9).
//!
//! [`Proposal::step`] is the only way from one state to the next:
//!
//! ```text
//! Waiting -> Approved -> Executed
//!    |          |------> Expired | Withdrawn | Rejected
//!    '--------------------^
//! ```
//!
//! `Approved` is not stored: it follows from the votes and the time. Neither is `Expired` at first; the server notes it
//! when it comes by. Who counts is decided twice, when
//! the vote is given and again when the operation is to run: roles may have been taken away since. A proposer has no
//! seat, nobody fills two, and several principals of one person are one person.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

use crate::access::{MfaKind, MfaProof};
use crate::canonical::{self, NotCanonical};
use crate::filed::{FiledRecord, RowId};
use crate::ids::{ApprovalId, DeploymentId, RecordId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::rules::{Requirement, SYSTEM_OWNER, Seat, SeatKind};
use crate::time::UnixMillis;

/// The largest form of a request in bytes of canonical JSON.
pub const FORM_MAX: usize = 256 * 1024;
/// Votes kept with one proposal (count).
pub const VOTES_MAX: usize = 64;
/// What the digest of a request begins with.
pub const REQUEST_DOMAIN: &str = "keyreeve/approval/1";

/// A principal as the counting of votes sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Its name.
    pub name: Name,
    /// The human being behind it; the principal's own name where nothing else is known.
    pub person: Label,
    /// Its roles, as the deployment itself gives them.
    pub roles: BTreeSet<Name>,
    /// False for programs, and for whoever may do nothing for now: they do not count.
    pub counts: bool,
}

/// Whom a resource names as owner and custodians: names of principals, of persons, or of roles.
pub type Owners = BTreeSet<String>;

impl Party {
    /// True where both are one human being; a principal may also say that its person is the one another is named for.
    #[must_use]
    pub fn is_same_person(&self, other: &Self) -> bool {
        self.name == other.name
            || self.person == other.person
            || self.name.as_str() == other.person.as_str()
            || self.person.as_str() == other.name.as_str()
    }

    fn is_named_in(&self, owners: &Owners) -> bool {
        let role = |role: &Name| owners.contains(role.as_str());
        owners.contains(self.name.as_str()) || owners.contains(self.person.as_str()) || self.roles.iter().any(role)
    }

    /// Whether this party could have the seat, looking at nobody else but the proposer.
    #[must_use]
    pub fn fits(&self, seat: &Seat, proposer: &Self, owners: &Owners) -> bool {
        if !self.counts || self.is_same_person(proposer) {
            return false;
        }
        match &seat.kind {
            SeatKind::Role(any_of) => !self.roles.is_disjoint(any_of),
            SeatKind::Owner => self.roles.contains(SYSTEM_OWNER) && (owners.is_empty() || self.is_named_in(owners)),
            SeatKind::Peer => !self.roles.is_disjoint(&proposer.roles),
        }
    }
}

/// The owners that somebody could answer for; where nobody is, every system owner may.
#[must_use]
pub fn answerable(owners: &Owners, people: &[Party]) -> Owners {
    let could = |owner: &String| {
        let one = Owners::from([owner.clone()]);
        people.iter().any(|party| party.counts && party.roles.contains(SYSTEM_OWNER) && party.is_named_in(&one))
    };
    owners.iter().filter(|owner| could(owner)).cloned().collect()
}

/// Which seat is whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    /// For each seat the voter who has it.
    pub seats: Vec<Option<Name>>,
}

impl Filling {
    /// True when no seat is empty.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seats.iter().all(Option::is_some)
    }

    /// The seats that are empty.
    #[must_use]
    pub fn missing<'a>(&self, seats: &'a [Seat]) -> Vec<&'a Seat> {
        seats.iter().zip(&self.seats).filter(|(_, whose)| whose.is_none()).map(|(seat, _)| seat).collect()
    }
}

/// Gives distinct seats to distinct people, as many as can be had. Of several voters of one person the last counts.
#[must_use]
pub fn fill(seats: &[Seat], proposer: &Party, voters: &[Party], owners: &Owners) -> Filling {
    let (mut people, mut known): (Vec<&Party>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
    for voter in voters.iter().rev() {
        // As `is_same_person` with each of those known, and not slow where there are many.
        let names = [voter.name.as_str(), voter.person.as_str()];
        if names.iter().any(|name| known.contains(name)) {
            continue;
        }
        known.extend(names);
        people.push(voter);
    }
    people.reverse();
    let fits: Vec<Vec<bool>> =
        seats.iter().map(|seat| people.iter().map(|party| party.fits(seat, proposer, owners)).collect()).collect();
    let mut seat_of: Vec<Option<usize>> = vec![None; people.len()];
    for seat in 0..seats.len() {
        seated(seat, &fits, &mut seat_of, &mut vec![false; people.len()]);
    }
    let whose = |seat: usize| seat_of.iter().position(|of| *of == Some(seat)).map(|nth| people[nth].name.clone());
    Filling { seats: (0..seats.len()).map(whose).collect() }
}

/// Finds somebody for a seat, moving others where that frees one (an augmenting path of bipartite matching).
fn seated(seat: usize, fits: &[Vec<bool>], seat_of: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for person in 0..seat_of.len() {
        if !fits[seat][person] || tried[person] {
            continue;
        }
        tried[person] = true;
        if seat_of[person].is_none_or(|other| seated(other, fits, seat_of, tried)) {
            seat_of[person] = Some(seat);
            return true;
        }
    }
    false
}

/// What an operation acts on, by its id: never by an alias, which may lead elsewhere tomorrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRef {
    /// Its kind, as in audit records.
    pub kind: String,
    /// Its id.
    pub id: String,
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// Everything that a request says, and nothing that it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The operation, by its name in the catalogue.
    pub operation: Name,
    /// What it acts on.
    pub target: TargetRef,
    /// The second thing it acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<TargetRef>,
    /// The revision of what it replaces, where it replaces something as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_revision: Option<i64>,
    /// What the caller said, in the operation's own closed form.
    pub form: Value,
}

/// A request that cannot be put into the form that is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoDigest {
    /// It holds what has no canonical form.
    #[error(transparent)]
    Form(#[from] NotCanonical),
    /// It is too long.
    #[error("a request that waits for consent has at most {FORM_MAX} bytes")]
    TooLong,
}

impl Request {
    /// What people consent to: SHA-256 over the canonical JSON of the request, its proposer and the deployment, so
    /// that consent given here is worth nothing elsewhere and for nobody else.
    ///
    /// # Errors
    /// [`NoDigest`] for floats, numbers beyond 53 bits and forms beyond [`FORM_MAX`].
    pub fn digest(&self, deployment: DeploymentId, proposer: &Name) -> Result<[u8; 32], NoDigest> {
        if canonical::canonical(&self.form)?.len() > FORM_MAX {
            return Err(NoDigest::TooLong);
        }
        let target = |target: &TargetRef| json!({ "kind": target.kind, "id": target.id });
        let value = json!({
            "deployment": deployment.to_string(),
            "proposer": proposer.as_str(),
            "operation": self.operation.as_str(),
            "target": target(&self.target),
            "second": self.second.as_ref().map(target),
            "base_revision": self.base_revision,
            "form": self.form,
        });
        Ok(canonical::digest(REQUEST_DOMAIN, &value)?)
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Yes.
    Approve,
    /// No: the proposal is closed.
    Reject,
}

impl Decision {
    /// The name on wires and in what a vote's proof covers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// That the voter showed a second factor for this vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteProof {
    /// When, how and with which factor.
    pub mfa: MfaProof,
    /// What can be checked later that the factor was shown over the digest of the request; empty where it was shown
    /// shortly before the vote instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// Who, as they were then.
    pub by: Party,
    /// What they said.
    pub decision: Decision,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Label::is_empty")]
    pub reason: Label,
    /// The proof.
    pub proof: VoteProof,
    /// When.
    pub at: UnixMillis,
    /// The audit record of the vote.
    pub record: RecordId,
    /// True when the same person voted again: this one counts no more.
    #[serde(default)]
    pub superseded: bool,
}

/// Something that an approver is shown besides the request itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// What.
    pub name: String,
    /// The value when it was proposed.
    pub value: String,
}

/// How a proposal is stored to have ended, or that it has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum End {
    /// Not yet; it may have expired.
    Open,
    /// Done.
    Executed {
        /// When.
        at: UnixMillis,
        /// The audit record of the operation.
        record: RecordId,
    },
    /// Taken back by the proposer.
    Withdrawn {
        /// When.
        at: UnixMillis,
    },
    /// Refused by somebody who could have approved it.
    Rejected {
        /// When.
        at: UnixMillis,
        /// By whom.
        by: Name,
    },
    /// It waited too long, or was not run in time, and the server has noted that.
    Expired {
        /// When it was noted.
        at: UnixMillis,
    },
}

/// Where a proposal stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposalState {
    /// Some seat is empty.
    Waiting,
    /// Every seat was filled; the operation may run.
    Approved,
    /// It ran.
    Executed,
    /// It waited too long, or was not run in time.
    Expired,
    /// The proposer took it back.
    Withdrawn,
    /// Somebody refused.
    Rejected,
}

impl ProposalState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Approved, Self::Executed, Self::Expired, Self::Withdrawn, Self::Rejected];

    /// The name on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Executed => "executed",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for ProposalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can happen to a proposal. Time passing is no event: [`Proposal::state`] takes the instant.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Somebody votes.
    Vote {
        /// Who.
        by: &'a Party,
        /// What they say.
        decision: Decision,
        /// Why.
        reason: &'a Label,
        /// The digest of what they were shown.
        digest: &'a str,
        /// The proof.
        proof: VoteProof,
        /// The audit record of the vote.
        record: RecordId,
    },
    /// Somebody takes it back.
    Withdraw {
        /// Who.
        by: &'a Name,
    },
    /// Somebody runs it.
    Execute {
        /// Who, as they are now.
        by: &'a Party,
        /// The digest of what is about to run.
        digest: &'a str,
        /// Everybody who voted, as they are now; whoever is missing does not count.
        parties: &'a [Party],
        /// What is asked for now: rules, or what they look at, may have changed.
        requirement: &'a Requirement,
        /// Owners of the resource now; those when it was proposed count only if they still are.
        owners: &'a Owners,
        /// The audit record of the operation.
        record: RecordId,
    },
}

/// Why an event cannot happen to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It ended.
    #[error("the proposal is {0}: make a new request")]
    Over(ProposalState),
    /// The digest is another.
    #[error("this is not the request that is to be approved: its digest is another; look at it again")]
    OtherRequest,
    /// Nobody votes on what they asked for, under whatever name.
    #[error("nobody votes on their own request")]
    OwnRequest,
    /// The voter could fill no seat.
    #[error("your consent is not asked for here: what is missing is {0}")]
    NoSeat(String),
    /// The second factor is too old, from the future, or a recovery code.
    #[error("a vote needs a second factor shown within the last {0} minutes, and no recovery code")]
    StaleProof(u64),
    /// Only the proposer can.
    #[error("only who made the request can do this")]
    NotTheProposer,
    /// Some seats are empty.
    #[error("consent is missing: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// Too many votes.
    #[error("there are too many votes on this proposal: make a new request")]
    TooManyVotes,
}

/// What a proposal begins with.
#[derive(Clone, Debug)]
pub struct NewProposal {
    /// Its id.
    pub id: ApprovalId,
    /// Who asks.
    pub proposer: Party,
    /// For what.
    pub request: Request,
    /// Its digest, in hexadecimal.
    pub digest: String,
    /// Why, if they said.
    pub reason: Label,
    /// What the rules ask for.
    pub requirement: Requirement,
    /// Owners of the resource.
    pub owners: Owners,
    /// What approvers are shown besides.
    pub shown: Vec<Shown>,
}

/// A request that waits for consent, or has waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    id: ApprovalId,
    proposer: Party,
    request: Request,
    digest: String,
    #[serde(default, skip_serializing_if = "Label::is_empty")]
    reason: Label,
    rules: BTreeSet<Name>,
    seats: Vec<Seat>,
    owners: Owners,
    shown: Vec<Shown>,
    votes: Vec<Vote>,
    created: UnixMillis,
    expires: UnixMillis,
    /// When the last seat was filled, and until when that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved: Option<Term>,
    valid_seconds: u64,
    mfa_seconds: u64,
    end: End,
}

/// From when until when consent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// When the last seat was filled.
    pub at: UnixMillis,
    /// It holds before this instant.
    pub until: UnixMillis,
}

impl Proposal {
    /// A request begins to wait.
    #[must_use]
    pub fn new(new: NewProposal, now: UnixMillis) -> Self {
        let needed = new.requirement;
        Self {
            id: new.id,
            proposer: new.proposer,
            request: new.request,
            digest: new.digest,
            reason: new.reason,
            rules: needed.rules,
            seats: needed.seats,
            owners: new.owners,
            shown: new.shown,
            votes: Vec::new(),
            created: now,
            expires: now.plus(needed.expires),
            approved: None,
            valid_seconds: needed.valid.as_secs(),
            mfa_seconds: needed.mfa.as_secs(),
            end: End::Open,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> ProposalState {
        match (&self.end, self.approved) {
            (End::Executed { .. }, _) => ProposalState::Executed,
            (End::Withdrawn { .. }, _) => ProposalState::Withdrawn,
            (End::Rejected { .. }, _) => ProposalState::Rejected,
            (End::Expired { .. }, _) => ProposalState::Expired,
            (End::Open, Some(term)) if now < term.until => ProposalState::Approved,
            (End::Open, None) if now < self.expires => ProposalState::Waiting,
            (End::Open, _) => ProposalState::Expired,
        }
    }

    /// The proposal after an event. The only way to alter one.
    ///
    /// # Errors
    /// [`Refusal`]; the proposal is as it was.
    pub fn step(&self, event: &Event<'_>, now: UnixMillis) -> Result<Self, Refusal> {
        match self.state(now) {
            ProposalState::Waiting | ProposalState::Approved => {}
            over => return Err(Refusal::Over(over)),
        }
        let mut next = self.clone();
        match event {
            Event::Vote { by, decision, reason, digest, proof, record } => {
                self.may_vote(by, digest, proof, now)?;
                let vote = Vote {
                    by: (*by).clone(),
                    decision: *decision,
                    reason: (*reason).clone(),
                    proof: proof.clone(),
                    at: now,
                    record: *record,
                    superseded: false,
                };
                next.take(vote);
            }
            Event::Withdraw { by } => {
                if **by != self.proposer.name {
                    return Err(Refusal::NotTheProposer);
                }
                next.end = End::Withdrawn { at: now };
            }
            Event::Execute { by, digest, parties, requirement, owners, record } => {
                if by.name != self.proposer.name {
                    return Err(Refusal::NotTheProposer);
                }
                if *digest != self.digest {
                    return Err(Refusal::OtherRequest);
                }
                self.consents(by, parties, requirement, owners)?;
                next.end = End::Executed { at: now, record: *record };
            }
        }
        Ok(next)
    }

    /// The proposal as it is kept once its time is over; none while it is not, and where it ended before.
    #[must_use]
    pub fn expired(&self, now: UnixMillis) -> Option<Self> {
        let over = self.end == End::Open && self.state(now) == ProposalState::Expired;
        over.then(|| Self { end: End::Expired { at: now }, ..self.clone() })
    }

    fn may_vote(&self, by: &Party, digest: &str, proof: &VoteProof, now: UnixMillis) -> Result<(), Refusal> {
        if digest != self.digest {
            return Err(Refusal::OtherRequest);
        }
        if by.is_same_person(&self.proposer) {
            return Err(Refusal::OwnRequest);
        }
        if !self.seats.iter().any(|seat| by.fits(seat, &self.proposer, &self.owners)) {
            return Err(Refusal::NoSeat(texts(&self.seats).join(", ")));
        }
        let fresh = proof.mfa.age_seconds(now).is_some_and(|age| age <= self.mfa_seconds);
        if !fresh || proof.mfa.kind == MfaKind::Recovery {
            return Err(Refusal::StaleProof(self.mfa_seconds.div_ceil(60)));
        }
        if self.votes.len() >= VOTES_MAX {
            return Err(Refusal::TooManyVotes);
        }
        Ok(())
    }

    fn take(&mut self, vote: Vote) {
        for earlier in &mut self.votes {
            earlier.superseded |= earlier.by.is_same_person(&vote.by);
        }
        let (at, by, decision) = (vote.at, vote.by.name.clone(), vote.decision);
        self.votes.push(vote);
        match decision {
            Decision::Reject => self.end = End::Rejected { at, by },
            Decision::Approve => {
                if self.approved.is_none() && self.filling().is_complete() {
                    self.approved = Some(Term { at, until: at.plus(Duration::from_secs(self.valid_seconds)) });
                }
            }
        }
    }

    /// Who consented, as they were when they voted; the latest vote of each.
    fn voters(&self) -> impl Iterator<Item = &Vote> {
        self.votes.iter().filter(|vote| !vote.superseded && vote.decision == Decision::Approve)
    }

    /// Who has which of the seats that were asked for when it was proposed.
    #[must_use]
    pub fn filling(&self) -> Filling {
        let voters: Vec<Party> = self.voters().map(|vote| vote.by.clone()).collect();
        fill(&self.seats, &self.proposer, &voters, &self.owners)
    }

    /// The people who consent, as they are now: let in, not the proposer under any name, with a proof of themselves
    /// that was fresh when they voted. Whoever voted by two names counts once.
    #[must_use]
    pub fn consenting(&self, proposer: &Party, parties: &[Party], requirement: &Requirement) -> Vec<Party> {
        let known: BTreeMap<&Name, &Party> = parties.iter().map(|party| (&party.name, party)).collect();
        let fresh =
            |vote: &Vote| vote.proof.mfa.age_seconds(vote.at).is_some_and(|age| age <= requirement.mfa.as_secs());
        let votes: Vec<&Vote> = self.voters().filter(|vote| fresh(vote)).collect();
        let mut people: Vec<Party> = Vec::new();
        // The latest name that somebody voted by is the one that counts, as where seats are filled.
        for party in votes.iter().rev().filter_map(|vote| known.get(&vote.by.name).copied()) {
            // Whoever was the proposer's other self then, or is now, has no seat.
            let proposes = party.is_same_person(&self.proposer) || party.is_same_person(proposer);
            if !proposes && !people.iter().any(|other| other.is_same_person(party)) {
                people.push(party.clone());
            }
        }
        people.retain(|party| party.counts);
        people.reverse();
        people
    }

    /// Whether there is consent for what is asked for now, by people as they are now.
    fn consents(
        &self,
        proposer: &Party,
        parties: &[Party],
        requirement: &Requirement,
        owners: &Owners,
    ) -> Result<(), Refusal> {
        let voters = self.consenting(proposer, parties, requirement);
        // Nobody makes himself an owner on the way. When the owners were exchanged nobody is left, and no seat of
        // theirs is filled; it is asked anew.
        let owners = match (self.owners.is_empty(), owners.is_empty()) {
            (true, true) => Owners::new(),
            (false, false) if !self.owners.is_disjoint(owners) => self.owners.intersection(owners).cloned().collect(),
            // No name has a control character, so this names nobody.
            _ => Owners::from(["\0".to_owned()]),
        };
        // A vote was given for the seats that were shown: whoever agreed as one thing did not as another.
        let mut shown = self.seats.clone();
        let mut missing: Vec<String> = Vec::new();
        for seat in &requirement.seats {
            match shown.iter().position(|known| known == seat) {
                Some(nth) => drop(shown.swap_remove(nth)),
                None => missing.push(seat.to_string()),
            }
        }
        let filling = fill(&requirement.seats, proposer, &voters, &owners);
        for seat in filling.missing(&requirement.seats) {
            let text = seat.to_string();
            if !missing.contains(&text) {
                missing.push(text);
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Refusal::Missing(missing)) }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ApprovalId {
        self.id
    }

    /// Who asked, as they were then.
    #[must_use]
    pub const fn proposer(&self) -> &Party {
        &self.proposer
    }

    /// For what.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The digest of it, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Label {
        &self.reason
    }

    /// The rules that asked for consent.
    #[must_use]
    pub const fn rules(&self) -> &BTreeSet<Name> {
        &self.rules
    }

    /// The seats that were to be filled.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Whom the resource named as owners.
    #[must_use]
    pub const fn owners(&self) -> &Owners {
        &self.owners
    }

    /// The same without what approvers were shown besides.
    #[must_use]
    pub fn without_facts(self) -> Self {
        Self { shown: Vec::new(), ..self }
    }

    /// What approvers were shown besides.
    #[must_use]
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// The votes, oldest first.
    #[must_use]
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> UnixMillis {
        self.created
    }

    /// The instant from which it is over, unless something happens before.
    #[must_use]
    pub fn expires(&self) -> UnixMillis {
        self.approved.map_or(self.expires, |term| term.until)
    }

    /// Since when and until when there is consent.
    #[must_use]
    pub const fn approved(&self) -> Option<Term> {
        self.approved
    }

    /// How it ended.
    #[must_use]
    pub const fn end(&self) -> &End {
        &self.end
    }

    /// How old a second factor may be at a vote.
    #[must_use]
    pub const fn mfa(&self) -> Duration {
        Duration::from_secs(self.mfa_seconds)
    }

    /// The seats that are empty, for people.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.filling().missing(&self.seats).into_iter().map(ToString::to_string).collect()
    }
}

fn texts(seats: &[Seat]) -> Vec<String> {
    seats.iter().map(ToString::to_string).collect()
}

/// What rows of open proposals belong to, for listing them without those that are over.
pub const OPEN: &str = "open";
/// What rows of proposals that were ended belong to.
pub const CLOSED: &str = "closed";

impl FiledRecord for Proposal {
    const TABLE: Table = Table::Approvals;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        if self.end == End::Open { OPEN.to_owned() } else { CLOSED.to_owned() }
    }

    fn due(&self) -> Option<UnixMillis> {
        (self.end == End::Open).then(|| self.expires())
    }
}

/// Which open proposal a request has: one for each, so that asking again leads to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The request's digest, in hexadecimal; it covers the proposer.
    pub digest: String,
    /// The proposal.
    pub approval: ApprovalId,
    /// When the proposal is over at the latest; nobody asks for this row afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMillis>,
}

impl OpenRequest {
    /// The row of a proposal that begins to wait.
    #[must_use]
    pub fn of(proposal: &Proposal) -> Self {
        let valid = Duration::from_secs(proposal.valid_seconds);
        let until = Some(proposal.expires.plus(valid));
        Self { digest: proposal.digest.clone(), approval: proposal.id, until }
    }

    /// The row of a digest.
    #[must_use]
    pub fn row(digest: [u8; 32]) -> RowId {
        RowId::from(digest)
    }
}

impl FiledRecord for OpenRequest {
    const TABLE: Table = Table::OpenRequests;

    fn row_id(&self) -> RowId {
        let mut digest = [0; 32];
        // A digest that is none has a row of its own, which the row it was found in does not equal.
        if hex::decode_to_slice(&self.digest, &mut digest).is_err() {
            digest = [0; 32];
        }
        RowId::from(digest)
    }

    fn parent(&self) -> String {
        String::new()
    }

    fn forget(&self) -> Option<UnixMillis> {
        self.until
    }
}

pub mod feasible;

#[cfg(test)]
mod tests;
