//! Requests that wait for the consent of others: looking at them, voting, taking them back, running them.

use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::approval::{
    Decision, End, Event, OPEN, OpenRequest, Proposal, ProposalState, Refusal, Shown, TargetRef, VoteProof,
};
use keyreeve_model::filed::{RowId, file, unfile};
use keyreeve_model::ids::{ApprovalId, DeploymentId};
use keyreeve_model::metadata::Label;
use keyreeve_model::{Change, Name, RecordId, Revision, UnixMillis};
use keyreeve_store::Page;

use super::forms::{refuse_changed, run_again};
use super::mfa::{Answer, Answered, Purpose, prove_mfa, vote_digest};
use super::{Listing, PAGE_MAX};
use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::error::Error;
use crate::pipeline::{
    Approved, Arrival, Done, Operation, Outcome, Refused, Remember, Target, closed, overtaken, party,
};
use crate::sealing::Opened;

/// Rows looked at for one page of a filtered listing (count); the caller goes on from where the page ends.
const SCANNED_MAX: usize = 10_000;

pub use crate::pipeline::Candidates;

/// A proposal at an instant.
#[derive(Clone, Debug)]
pub struct ProposalReply {
    /// What is stored of it.
    pub proposal: Proposal,
    /// The instant its state is of.
    pub at: UnixMillis,
    /// The deployment, which its digest covers.
    pub deployment: DeploymentId,
    /// Who could take the empty seats; only where it is shown by itself.
    pub candidates: Vec<Candidates>,
    /// What is no more as it was shown to those who are asked; only where it is shown by itself.
    pub overtaken: Vec<Shown>,
}

impl Remember for ProposalReply {}

impl ProposalReply {
    fn of(proposal: Proposal, at: UnixMillis, deployment: DeploymentId) -> Self {
        Self { proposal, at, deployment, candidates: Vec::new(), overtaken: Vec::new() }
    }

    /// As somebody sees it who may see `all` of what waits, or only what they ask for themselves. Whoever asks for a
    /// right to something has none to it yet, and is told nothing of it but what they named.
    fn seen(self, all: bool) -> Self {
        if all || self.proposal.request().operation.as_str() != catalogue::GRANT_REQUEST.name {
            return self;
        }
        Self { proposal: self.proposal.without_facts(), overtaken: Vec::new(), ..self }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> ProposalState {
        self.proposal.state(self.at)
    }
}

/// Lists proposals, by id.
#[derive(Debug)]
pub struct List {
    /// Only those in this state.
    pub state: Option<ProposalState>,
    /// Only after this one.
    pub after: Option<ApprovalId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::APPROVAL_LIST;
    type Reply = Listing<ProposalReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<ProposalReply>>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let deployment = opened.deployment.id;
        let limit = self.limit.clamp(1, PAGE_MAX) as usize;
        let all = core.may_on_server(approved, &catalogue::RULES_DESCRIBE)?;
        let name = &approved.principal().name;
        let fits = |proposal: &Proposal| {
            (all || proposal.proposer().name == *name) && self.state.is_none_or(|state| proposal.state(at) == state)
        };
        // Those that were not ended are apart from the many that were. Expired ones are here and there.
        let open = matches!(self.state, Some(ProposalState::Waiting | ProposalState::Approved));
        let parent = open.then_some(OPEN);
        let (mut items, mut scanned, mut after) = (Vec::new(), 0, self.after.map(RowId::from));
        let mut last = None;
        loop {
            let page = Page { after, limit: PAGE_MAX };
            let (found, next) = core.filed_page::<Proposal>(&opened, parent, page).await?;
            scanned += found.len();
            for (proposal, _) in found {
                let id = proposal.id();
                if fits(&proposal) {
                    if items.len() == limit {
                        return Ok(page_of(items, last));
                    }
                    items.push(ProposalReply::of(proposal, at, deployment).seen(all));
                }
                last = Some(id);
            }
            after = next;
            if after.is_none() || scanned >= SCANNED_MAX {
                return Ok(page_of(items, last.filter(|_| after.is_some())));
            }
        }
    }
}

/// A page, and after which proposal the next one begins: the last that was looked at, which need not have fitted.
fn page_of(items: Vec<ProposalReply>, next: Option<ApprovalId>) -> Outcome<Listing<ProposalReply>> {
    let count = items.len();
    Outcome::reply(Listing { items, next: next.map(|id| id.to_string()) }).detail("listed", count)
}

/// Shows a proposal.
#[derive(Debug)]
pub struct Describe {
    /// Which.
    pub approval: ApprovalId,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::APPROVAL_DESCRIBE;
    type Reply = ProposalReply;

    fn target(&self) -> Target<'_> {
        Target::Approval(self.approval)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ProposalReply>, Error> {
        let opened = core.need_open()?;
        let (proposal, _) = core.proposal(&opened, self.approval).await?;
        let own = proposal.proposer().name == approved.principal().name;
        let all = core.may_on_server(approved, &catalogue::RULES_DESCRIBE)?;
        if !own && !all {
            return Err(Error::not_found("approval"));
        }
        let at = approved.now();
        let (candidates, overtaken) = match proposal.state(at) {
            ProposalState::Waiting => {
                (Candidates::of(core, &opened, &proposal).await?, overtaken(core, &proposal, at).await?)
            }
            ProposalState::Approved => (Vec::new(), overtaken(core, &proposal, at).await?),
            _ => (Vec::new(), Vec::new()),
        };
        let reply = ProposalReply::of(proposal, at, opened.deployment.id);
        Ok(Outcome::reply(ProposalReply { candidates, overtaken, ..reply }.seen(all)))
    }
}

/// Consents, or refuses. The second factor is shown for this vote: over the request's digest and the decision.
#[derive(Debug)]
pub struct Vote {
    /// To what.
    pub approval: ApprovalId,
    /// Yes or no.
    pub decision: Decision,
    /// The digest of what the voter was shown, in hexadecimal.
    pub digest: String,
    /// Why.
    pub reason: Label,
    /// The second factor.
    pub answer: Answer,
}

impl Operation for Vote {
    const DESCRIPTOR: &'static Descriptor = &catalogue::APPROVAL_VOTE;
    type Reply = Answered<ProposalReply>;

    fn target(&self) -> Target<'_> {
        Target::Approval(self.approval)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Self::Reply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let voter = &approved.principal().name;
        let held = opened.access().principal(voter).ok_or_else(|| Error::not_found("principal"))?;
        let (proposal, revision) = core.proposal(&opened, self.approval).await?;
        let by = party(&held);
        let vote = |mfa, evidence| Event::Vote {
            by: &by,
            decision: self.decision,
            reason: &self.reason,
            digest: &self.digest,
            proof: VoteProof { mfa, evidence },
            record: approved.record(),
        };
        // Whoever could not vote anyway uses no code up.
        proposal.step(&vote(MfaProof { at: now, kind: MfaKind::Totp, credential: None }, String::new()), now)?;
        let over = vote_digest(&digest_of(&proposal)?, self.decision.name());
        let purpose = Purpose::Vote(self.approval, over);
        let proved = prove_mfa(core, &opened, voter, &self.answer, &purpose, now).await?;
        let (mfa, evidence) = match proved.outcome {
            Ok(proof) => proof,
            Err(error) => {
                let code = error.code().name();
                let mut outcome = Outcome::reply(Answered::Wrong(error)).refusing(code);
                outcome.changes.extend(proved.changes);
                return Ok(outcome.detail("approval", self.approval));
            }
        };
        let kind = mfa.kind.name();
        let next = proposal.step(&vote(mfa, evidence), now)?;
        let mut outcome = self.told(&next, kind, now).changing(file(&opened.keys, revision.next(), &next));
        outcome.changes.extend(proved.changes);
        outcome.changes.extend(core.closing(&opened, &next).await?);
        if *next.end() != End::Open {
            outcome.notices.push(closed(&next, now));
        }
        let deployment = opened.deployment.id;
        Ok(outcome.with_reply(Answered::Right(ProposalReply::of(next, now, deployment))))
    }
}

impl Vote {
    fn told(&self, next: &Proposal, proof: &str, now: UnixMillis) -> Outcome<()> {
        let outcome = Outcome::reply(())
            .detail("approval", next.id())
            .detail("digest", next.digest())
            .detail("decision", self.decision.name())
            .detail("proof", proof)
            .detail("requested_operation", &next.request().operation)
            .detail("requested_by", &next.proposer().name)
            .detail("state", next.state(now))
            .detail("missing", next.missing().join(", "));
        if self.reason.is_empty() { outcome } else { outcome.detail("reason", &self.reason) }
    }
}

fn digest_of(proposal: &Proposal) -> Result<[u8; 32], Error> {
    let mut digest = [0; 32];
    hex::decode_to_slice(proposal.digest(), &mut digest).map_err(Error::internal)?;
    Ok(digest)
}

/// Takes a request back.
#[derive(Debug)]
pub struct Withdraw {
    /// Which.
    pub approval: ApprovalId,
}

impl Operation for Withdraw {
    const DESCRIPTOR: &'static Descriptor = &catalogue::APPROVAL_WITHDRAW;
    type Reply = ProposalReply;

    fn target(&self) -> Target<'_> {
        Target::Approval(self.approval)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ProposalReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (proposal, revision) = core.own_proposal(&opened, self.approval, &approved.principal().name).await?;
        let next = proposal.step(&Event::Withdraw { by: &approved.principal().name }, now)?;
        let deployment = opened.deployment.id;
        let all = core.may_on_server(approved, &catalogue::RULES_DESCRIBE)?;
        let mut outcome = Outcome::reply(ProposalReply::of(next.clone(), now, deployment).seen(all))
            .changing(file(&opened.keys, revision.next(), &next))
            .detail("approval", next.id())
            .detail("requested_operation", &next.request().operation);
        outcome.changes.extend(core.closing(&opened, &next).await?);
        outcome.notices.push(closed(&next, now));
        Ok(outcome)
    }
}

/// Looks up a request of one's own that is to run: the first half of [`Engine::execute_approved`].
#[derive(Debug)]
pub struct Execute {
    /// Which.
    pub approval: ApprovalId,
}

impl Operation for Execute {
    const DESCRIPTOR: &'static Descriptor = &catalogue::APPROVAL_EXECUTE;
    type Reply = ProposalReply;

    fn target(&self) -> Target<'_> {
        Target::Approval(self.approval)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ProposalReply>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let (proposal, _) = core.own_proposal(&opened, self.approval, &approved.principal().name).await?;
        match proposal.state(at) {
            ProposalState::Approved => {}
            ProposalState::Waiting => {
                return Err(Refusal::Missing(proposal.missing()).into());
            }
            over => return Err(Refusal::Over(over).into()),
        }
        refuse_changed(core, &proposal).await?;
        let digest = proposal.digest().to_owned();
        let deployment = opened.deployment.id;
        let reply = ProposalReply::of(proposal, at, deployment);
        Ok(Outcome::reply(reply).detail("approval", self.approval).detail("digest", digest))
    }
}

/// A request that waited and ran.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The proposal.
    pub approval: ApprovalId,
    /// The operation.
    pub operation: Name,
    /// What it acted on.
    pub target: TargetRef,
    /// Its audit record.
    pub record: Option<RecordId>,
}

impl Engine {
    /// Runs a request of the caller's own that others consented to. It is looked up as one operation and run as
    /// another: each is authenticated, decided and recorded by itself.
    ///
    /// # Errors
    /// [`Refused`], as [`Engine::call`].
    pub async fn execute_approved(&self, arrival: Arrival, approval: ApprovalId) -> Result<Done<Executed>, Refused> {
        let found = self.call(arrival.without_idempotency(), Execute { approval }).await?;
        let proposal = found.reply.proposal;
        let record = run_again(self, arrival, &proposal).await?;
        let request = proposal.request();
        let (operation, target) = (request.operation.clone(), request.target.clone());
        Ok(Done { reply: Executed { approval, operation, target, record }, record })
    }
}

impl Core {
    /// A proposal of somebody's own; of another's it does not tell that there is one.
    async fn own_proposal(&self, opened: &Opened, id: ApprovalId, name: &Name) -> Result<(Proposal, Revision), Error> {
        let (proposal, revision) = self.proposal(opened, id).await?;
        if proposal.proposer().name != *name {
            return Err(Error::not_found("approval of yours"));
        }
        Ok((proposal, revision))
    }

    /// What else changes when a proposal was ended: its request may be made anew.
    pub(crate) async fn closing(&self, opened: &Opened, ended: &Proposal) -> Result<Option<Change>, Error> {
        if *ended.end() == End::Open {
            return Ok(None);
        }
        let open = self.filed::<OpenRequest>(opened, OpenRequest::row(digest_of(ended)?)).await?;
        let open = open.filter(|(open, _)| open.approval == ended.id());
        Ok(open.map(|(open, revision)| unfile(revision, &open)))
    }
}
