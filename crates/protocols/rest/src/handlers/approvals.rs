//! Requests that wait for consent, and the rules that make them wait.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::approvals::{Candidates, Describe, List, ProposalReply, Vote, Withdraw};
use keyreeve_engine::ops::rules::{self, RulesReply};
use keyreeve_http::Problem;
use keyreeve_model::Label;
use keyreeve_model::approval::{self, Decision, End, ProposalState};
use keyreeve_model::ids::ApprovalId;
use keyreeve_wire::approvals::{self as wire, CastVote, PutRules};
use keyreeve_wire::names::{ApprovalState, VoteDecision};

use super::keyrings::{AFTER, LIMIT};
use super::mfa::{right, shown as factor_shown};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, field, named, timestamp};
use crate::routes::{Param, Route, route};

/// A rule book that is right.
const RULES: &str =
    r#"{"text":"[[rule]]\nname = \"rules\"\noperations = [\"rules.put\"]\nseats = [{ role = \"ciso\" }]\n"}"#;

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/approvals", Admin, APPROVAL_LIST, list).query(Wished::PARAMS).lists::<wire::Approval>(),
    route!(Get "/approvals/{id}", Admin, APPROVAL_DESCRIBE, describe).gives::<wire::Approval>(),
    route!(Post "/approvals/{id}/votes", Admin, APPROVAL_VOTE, vote)
        .takes::<CastVote>(concat!(
            r#"{"decision":"approve","#,
            r#""digest":"5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef","#,
            r#""proof":{"code":"492039"}}"#
        ))
        .gives::<wire::Approval>()
        .note("Whose consent is asked for is in the rules. Nobody votes on their own request, under whatever name."),
    route!(Delete "/approvals/{id}", Admin, APPROVAL_WITHDRAW, withdraw).gives::<wire::Approval>(),
    route!(Post "/approvals/{id}/execute", Admin, APPROVAL_EXECUTE, execute)
        .gives::<wire::Executed>()
        .note("Runs what others consented to, once, for whoever asked for it; asking again does the same."),
    route!(Get "/rules", Admin, RULES_DESCRIBE, show_rules).gives::<wire::RuleBook>(),
    route!(Post "/rules/check", Admin, RULES_CHECK, check_rules)
        .takes::<PutRules>(RULES)
        .gives::<wire::RulesProblems>(),
    route!(Put "/rules", Admin, RULES_PUT, put_rules).takes::<PutRules>(RULES).gives::<wire::RuleBook>(),
    route!(Post "/governance/enact", Admin, GOVERNANCE_ENACT, enact)
        .gives::<wire::RuleBook>()
        .note("For good: from then on requests wait for the consent that the rules ask for."),
];

/// Which requests to list.
struct Wished;

impl Known for Wished {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<ApprovalState>("state", "Only those in this state."), AFTER, LIMIT];
}

fn target(target: &approval::TargetRef) -> wire::TargetRef {
    wire::TargetRef { kind: target.kind.clone(), id: target.id.clone() }
}

fn vote_shown(vote: &approval::Vote) -> Result<wire::Vote, Problem> {
    Ok(wire::Vote {
        by: vote.by.name.to_string(),
        decision: named(vote.decision.name())?,
        reason: vote.reason.to_string(),
        at: timestamp(vote.at),
        proof: named(vote.proof.mfa.kind.name())?,
        evidence: vote.proof.evidence.clone(),
        record: vote.record.to_string(),
        superseded: vote.superseded,
    })
}

fn candidates(seat: &Candidates) -> wire::Candidates {
    wire::Candidates { seat: seat.seat.clone(), people: seat.people.iter().map(ToString::to_string).collect() }
}

fn shown(reply: &ProposalReply) -> Result<wire::Approval, Problem> {
    let (proposal, request) = (&reply.proposal, reply.proposal.request());
    let (ended, rejected_by, executed_as) = match proposal.end() {
        End::Open => (None, None, None),
        End::Executed { at, record } => (Some(*at), None, Some(record.to_string())),
        End::Withdrawn { at } | End::Expired { at } => (Some(*at), None, None),
        End::Rejected { at, by } => (Some(*at), Some(by.to_string()), None),
    };
    let fact = |fact: &approval::Shown| wire::ShownFact { name: fact.name.clone(), value: fact.value.clone() };
    Ok(wire::Approval {
        id: proposal.id().to_string(),
        deployment: reply.deployment.to_string(),
        state: named(reply.state().name())?,
        proposer: proposal.proposer().name.to_string(),
        operation: request.operation.to_string(),
        target: target(&request.target),
        second: request.second.as_ref().map(target),
        base_revision: request.base_revision,
        form: request.form.clone(),
        reason: proposal.reason().to_string(),
        digest: proposal.digest().to_owned(),
        rules: proposal.rules().iter().map(ToString::to_string).collect(),
        seats: proposal.seats().iter().map(ToString::to_string).collect(),
        missing: proposal.missing(),
        candidates: reply.candidates.iter().map(candidates).collect(),
        shown: proposal.shown().iter().map(fact).collect(),
        overtaken: reply.overtaken.iter().map(fact).collect(),
        votes: proposal.votes().iter().map(vote_shown).collect::<Result<_, _>>()?,
        created: timestamp(proposal.created()),
        expires: timestamp(proposal.expires()),
        approved: proposal.approved().map(|term| timestamp(term.at)),
        ended: ended.map(timestamp),
        rejected_by,
        executed_as,
        mfa_seconds: proposal.mfa().as_secs(),
    })
}

async fn list(State(engine): State<Engine>, call: Asking<Wished>) -> Result<Response, Problem> {
    let state = call.query.get::<ApprovalState>("state")?;
    let fits = |wanted: ApprovalState| ProposalState::ALL.into_iter().find(|state| state.name() == wanted.name());
    let operation = List { state: state.and_then(fits), after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| shown(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(approval): Named<ApprovalId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { approval }).await?;
    answer::json(done.record, &shown(&done.reply)?)
}

async fn vote(
    State(engine): State<Engine>,
    Named(approval): Named<ApprovalId>,
    call: Json<CastVote>,
) -> Result<Response, Problem> {
    let operation = Vote {
        approval,
        decision: match call.body.decision {
            VoteDecision::Approve => Decision::Approve,
            VoteDecision::Reject => Decision::Reject,
        },
        digest: call.body.digest,
        reason: field::<Label>("reason", &call.body.reason)?,
        answer: factor_shown(call.body.proof)?,
    };
    let done = right(engine.call(call.arrival, operation).await?)?;
    answer::json(done.record, &shown(&done.reply)?)
}

async fn withdraw(
    State(engine): State<Engine>,
    Named(approval): Named<ApprovalId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Withdraw { approval }).await?;
    answer::json(done.record, &shown(&done.reply)?)
}

async fn execute(
    State(engine): State<Engine>,
    Named(approval): Named<ApprovalId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.execute_approved(arrival, approval).await?;
    let executed = wire::Executed {
        approval: done.reply.approval.to_string(),
        operation: done.reply.operation.to_string(),
        target: target(&done.reply.target),
        record: done.reply.record.map(|id| id.to_string()),
    };
    answer::json(done.record, &executed)
}

fn book(reply: &RulesReply) -> wire::RuleBook {
    let book = &reply.book;
    let put = book.version > 0;
    wire::RuleBook {
        version: book.version,
        text: book.rules.to_toml(),
        enacted: book.enacted.as_ref().map(|enacted| timestamp(enacted.at)),
        enacted_by: book.enacted.as_ref().map(|enacted| enacted.by.to_string()),
        updated: put.then(|| timestamp(book.updated)),
        updated_by: put.then(|| book.updated_by.to_string()),
        approval: book.approval.map(|id| id.to_string()),
        problems: reply.problems.clone(),
    }
}

async fn show_rules(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, rules::Describe).await?;
    answer::json(done.record, &book(&done.reply))
}

async fn check_rules(State(engine): State<Engine>, call: Json<PutRules>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, rules::Check { text: call.body.text }).await?;
    let remark = |lint: rules::Lint| wire::RulesRemark {
        name: lint.name.to_owned(),
        rules: lint.rules.iter().map(ToString::to_string).collect(),
        text: lint.text,
    };
    let remarks = done.reply.lints.into_iter().map(remark).collect();
    answer::json(done.record, &wire::RulesProblems { problems: done.reply.problems, remarks })
}

async fn put_rules(State(engine): State<Engine>, call: Json<PutRules>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, rules::Put { text: call.body.text }).await?;
    answer::json(done.record, &book(&done.reply))
}

async fn enact(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, rules::Enact).await?;
    answer::json(done.record, &book(&done.reply))
}
