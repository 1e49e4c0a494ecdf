//! Escrow: which keys are deposited, under what, and how one comes back.

use axum::extract::State;
use axum::response::Response;
use keyreeve_crypto::TransportPublic;
use keyreeve_engine::ops::escrow::{
    AbandonRecovery as Abandon, AcceptKey, CampaignReply, Deposit, Deposits, Describe, EscrowKeyReply, Give,
    HandInRehearsal as HandIn, MakeKey, OpenCampaign, Recover, RecoverSpec, RecoveryReply, SetPolicy, ShowRecovery,
    VerifyShare,
};
use keyreeve_engine::{Engine, KeyRef};
use keyreeve_http::Problem;
use keyreeve_model::escrow::{Deposit as DepositRecord, EscrowPolicy as PolicyRecord, EscrowRule as Rule, RecoverTo};
use keyreeve_model::ids::RecoveryId;
use keyreeve_model::{KeyId, UnixMillis};
use keyreeve_wire::Base64;
use keyreeve_wire::escrow::{
    AbandonRecovery, AcceptEscrowKey, Deposited, EscrowCampaign, EscrowDeposit, EscrowDone, EscrowKey, EscrowPolicy,
    EscrowRecovery, EscrowRule, EscrowStatus, GiveEscrowShare, HandInRehearsal, MadeEscrowKey, MakeEscrowKey,
    RecoverKey, RecoveryProgress, SetEscrowPolicy,
};
use keyreeve_wire::page::Page;
use keyreeve_wire::shares::{HandInProof, ProofTaken};
use std::collections::BTreeMap;

use super::keyrings::{AFTER, LIMIT};
use super::shares::{PROOF, handed, set, spec};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{field, named, timestamp};
use crate::routes::{Param, Route, route};

const MAKE: &str = r#"{"threshold":2,"reason":"the law asks for it","agents":[
    {"name":"alice","organisation":"Notary Ltd",
     "key":"age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a",
     "fingerprint":"age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a"},
    {"name":"dave",
     "key":"age1x95ngflr2mmxrq97ccj95xx829wvlfd4d5rqvn9kr2hdhux669dscev8xe",
     "fingerprint":"age1x95ngflr2mmxrq97ccj95xx829wvlfd4d5rqvn9kr2hdhux669dscev8xe"}]}"#;
const POLICY: &str = r#"{"rules":[{"labels":{"type":"dek"},"at_least":"confidential"}],"reason":"continuity"}"#;
const REHEARSAL: &str = r#"{"number":3,"answer":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}"#;

/// What a listing of deposits is narrowed by.
struct OfKey;

impl Known for OfKey {
    const PARAMS: &'static [Param] = &[Param::reference("key", "Only deposits of this key, by id."), AFTER, LIMIT];
}

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/escrow", Admin, ESCROW_DESCRIBE, status).gives::<EscrowStatus>(),
    route!(Put "/escrow/policy", Admin, ESCROW_SET_POLICY, set_policy)
        .takes::<SetEscrowPolicy>(POLICY)
        .gives::<EscrowPolicy>(),
    route!(Post "/escrow/keys", Admin, ESCROW_MAKE_KEY, make_key)
        .takes::<MakeEscrowKey>(MAKE)
        .gives::<MadeEscrowKey>()
        .note("Keys are deposited under it once it is accepted; until then the one before it is used."),
    route!(Post "/escrow/keys/accept", Admin, ESCROW_ACCEPT_KEY, accept_key)
        .takes::<AcceptEscrowKey>(r#"{"confirmed":["dave"]}"#)
        .gives::<EscrowDone>(),
    route!(Post "/escrow/proofs", Admin, ESCROW_VERIFY_SHARE, verify_share)
        .takes::<HandInProof>(PROOF)
        .gives::<ProofTaken>(),
    route!(Post "/escrow/campaigns", Admin, ESCROW_OPEN_CAMPAIGN, open_campaign).gives::<EscrowCampaign>(),
    route!(Post "/escrow/rehearsals", Admin, ESCROW_HAND_IN_REHEARSAL, hand_in_rehearsal)
        .takes::<HandInRehearsal>(REHEARSAL)
        .gives::<EscrowCampaign>(),
    route!(Get "/escrow/deposits", Admin, ESCROW_DEPOSITS, deposits).query(OfKey::PARAMS).lists::<EscrowDeposit>(),
    route!(Post "/keys/{key}/escrow", Admin, ESCROW_DEPOSIT, deposit).gives::<Deposited>(),
    route!(Post "/keys/{key}/recover", Admin, ESCROW_RECOVER, recover)
        .takes::<RecoverKey>(r#"{"version":1,"reason":"the material was lost in an accident"}"#)
        .gives::<EscrowRecovery>(),
    route!(Get "/escrow/recoveries/{id}", Admin, ESCROW_RECOVERY, recovery).gives::<EscrowRecovery>(),
    route!(Post "/escrow/recoveries/{id}/shares", Admin, ESCROW_GIVE_SHARE, give)
        .takes::<GiveEscrowShare>(r#"{"share":"as its agent has it"}"#)
        .gives::<RecoveryProgress>(),
    route!(Post "/escrow/recoveries/{id}/abandon", Admin, ESCROW_ABANDON_RECOVERY, abandon)
        .takes::<AbandonRecovery>(r#"{"reason":"the material was found"}"#)
        .gives::<EscrowDone>(),
];

fn rule(rule: &EscrowRule) -> Result<Rule, Problem> {
    let label = |(name, value): (&String, &String)| Ok((field("labels", name)?, field("labels", value)?));
    Ok(Rule {
        keyring: rule.keyring.as_deref().map(|name| field("keyring", name)).transpose()?,
        labels: rule.labels.iter().map(label).collect::<Result<_, Problem>>()?,
        at_least: rule.at_least.map(|class| named(class.name())).transpose()?,
    })
}

fn rule_shown(rule: &Rule) -> Result<EscrowRule, Problem> {
    let labels: BTreeMap<String, String> =
        rule.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let at_least = rule.at_least.map(|class| named(class.name())).transpose()?;
    Ok(EscrowRule { keyring: rule.keyring.as_ref().map(ToString::to_string), labels, at_least })
}

fn policy(policy: &PolicyRecord) -> Result<EscrowPolicy, Problem> {
    Ok(EscrowPolicy {
        rules: policy.rules.iter().map(rule_shown).collect::<Result<_, _>>()?,
        reason: policy.reason.to_string(),
        at: timestamp(policy.at),
        by: policy.by.to_string(),
    })
}

fn key(reply: &EscrowKeyReply, now: UnixMillis) -> Result<EscrowKey, Problem> {
    let key = &reply.key;
    Ok(EscrowKey {
        version: key.version,
        state: key.state.name().to_owned(),
        method: named(key.method.name())?,
        public_key: key.public.clone(),
        fingerprint: key.fingerprint.clone(),
        private_sealed: Base64(key.private.0.clone()),
        made: timestamp(key.made),
        by: key.by.to_string(),
        reason: key.reason.to_string(),
        accepted: key.accepted.map(timestamp),
        agents: set(&reply.holders, reply.challenge.as_ref(), now)?,
    })
}

fn campaign(reply: &CampaignReply, now: UnixMillis) -> EscrowCampaign {
    let campaign = &reply.campaign;
    EscrowCampaign {
        number: campaign.number,
        escrow_key: campaign.escrow,
        opened: timestamp(campaign.opened),
        by: campaign.by.to_string(),
        due: timestamp(campaign.due),
        overdue: campaign.is_overdue(now),
        challenge: reply.challenge.clone(),
        rehearsal: Base64(campaign.challenge.0.clone()),
        rehearsed: campaign.rehearsed.as_ref().map(|rehearsed| timestamp(rehearsed.at)),
        closed: campaign.closed.map(timestamp),
        verified: campaign.verified,
        missing: reply.missing.clone(),
    }
}

async fn status(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe).await?;
    let reply = &done.reply;
    let shown = EscrowStatus {
        policy: reply.policy.as_ref().map(policy).transpose()?,
        keys: reply.keys.iter().map(|one| key(one, reply.at)).collect::<Result<_, _>>()?,
        campaign: reply.campaign.as_ref().map(|one| campaign(one, reply.at)),
        escrowed_keys: reply.health.keys,
        missing_keys: reply.health.missing,
        swept: reply.health.swept.map(timestamp),
    };
    answer::json(done.record, &shown)
}

async fn set_policy(State(engine): State<Engine>, call: Json<SetEscrowPolicy>) -> Result<Response, Problem> {
    let rules = call.body.rules.iter().map(rule).collect::<Result<_, _>>()?;
    let done = engine.call(call.arrival, SetPolicy { rules, reason: field("reason", &call.body.reason)? }).await?;
    answer::json(done.record, &policy(&done.reply.0)?)
}

async fn make_key(State(engine): State<Engine>, call: Json<MakeEscrowKey>) -> Result<Response, Problem> {
    let MakeEscrowKey { threshold, agents, reason } = call.body;
    let agents = agents.iter().map(spec).collect::<Result<_, _>>()?;
    let make = MakeKey { threshold, agents, reason: field("reason", &reason)? };
    let done = engine.call(call.arrival, make).await?;
    let shown = MadeEscrowKey {
        version: done.reply.version,
        fingerprint: done.reply.fingerprint.clone(),
        shares: done.reply.shares.iter().map(handed).collect::<Result<_, _>>()?,
        challenge: done.reply.challenge.clone(),
    };
    answer::json(done.record, &shown)
}

async fn accept_key(State(engine): State<Engine>, call: Json<AcceptEscrowKey>) -> Result<Response, Problem> {
    let confirmed = call.body.confirmed.iter().map(|name| field("confirmed", name)).collect::<Result<_, _>>()?;
    let done = engine.call(call.arrival, AcceptKey { confirmed }).await?;
    answer::json(done.record, &EscrowDone { done: true })
}

async fn verify_share(State(engine): State<Engine>, call: Json<HandInProof>) -> Result<Response, Problem> {
    let proof = field("proof", &call.body.proof)?;
    let done = engine.call(call.arrival, VerifyShare { proof }).await?;
    let holder = done.reply.agent.map(|name| name.to_string());
    answer::json(done.record, &ProofTaken { share: done.reply.share, holder, version: done.reply.version })
}

async fn open_campaign(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, OpenCampaign).await?;
    let now = done.reply.campaign.opened;
    answer::json(done.record, &campaign(&done.reply, now))
}

async fn hand_in_rehearsal(State(engine): State<Engine>, call: Json<HandInRehearsal>) -> Result<Response, Problem> {
    let mut answer = [0; 32];
    hex::decode_to_slice(call.body.answer.trim(), &mut answer)
        .map_err(|_| Problem::invalid("`answer` has 64 hexadecimal digits"))?;
    let done = engine.call(call.arrival, HandIn { number: call.body.number, answer }).await?;
    let now = done.reply.campaign.rehearsed.as_ref().map_or(UnixMillis(0), |rehearsed| rehearsed.at);
    answer::json(done.record, &campaign(&done.reply, now))
}

async fn deposit(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Deposit { key }).await?;
    let reply = done.reply;
    let shown = Deposited {
        key: reply.key.to_string(),
        escrow_key: reply.escrow,
        made: reply.made,
        kept: reply.kept,
        removed: reply.removed,
        failed: reply.failed,
    };
    answer::json(done.record, &shown)
}

fn place(text: &str) -> Result<(KeyId, u32), Problem> {
    let place = text.split_once('/').and_then(|(key, version)| Some((key.parse().ok()?, version.parse().ok()?)));
    place.ok_or_else(|| Problem::invalid("`after` is `next` of the former page"))
}

async fn deposits(State(engine): State<Engine>, call: Asking<OfKey>) -> Result<Response, Problem> {
    let after = call.query.get::<String>("after")?.map(|text| place(&text)).transpose()?;
    let operation = Deposits { key: call.query.get("key")?, after, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    let shown = |deposit: &DepositRecord| EscrowDeposit {
        key: deposit.key.to_string(),
        version: deposit.version,
        escrow_key: deposit.escrow,
        at: timestamp(deposit.at),
        by: deposit.by.to_string(),
    };
    answer::json(done.record, &Page { items: done.reply.items.iter().map(shown).collect(), next: done.reply.next })
}

fn recovery_shown(reply: &RecoveryReply) -> EscrowRecovery {
    let recovery = &reply.recovery;
    let recipient = match &recovery.to {
        RecoverTo::Server => None,
        RecoverTo::Recipient { fingerprint, .. } => Some(fingerprint.clone()),
    };
    EscrowRecovery {
        id: recovery.id.to_string(),
        key: recovery.key.to_string(),
        keyring: reply.keyring.clone(),
        version: recovery.version,
        escrow_key: recovery.escrow,
        recipient,
        reason: recovery.reason.to_string(),
        by: recovery.by.to_string(),
        begun: timestamp(recovery.begun),
        expires: timestamp(recovery.expires),
        state: recovery.standing(reply.at).to_owned(),
        given: reply.given,
        needed: reply.needed,
        agents: recovery.agents.iter().cloned().collect(),
        wrapped: recovery.wrapped.as_ref().map(|sealed| Base64(sealed.0.clone())),
    }
}

async fn recover(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<RecoverKey>,
) -> Result<Response, Problem> {
    let body = &call.body;
    let recipient = match (&body.method, &body.recipient) {
        (None, None) => None,
        (Some(method), Some(text)) => {
            let wrong = |_| Problem::invalid("`recipient` is no public key of this method");
            Some(TransportPublic::from_pem(named(method.name())?, text).map_err(wrong)?)
        }
        _ => return Err(Problem::invalid("`method` and `recipient` belong together")),
    };
    let spec = RecoverSpec { key, version: body.version, recipient, reason: field("reason", &body.reason)? };
    let done = engine.call(call.arrival, Recover(spec)).await?;
    answer::json(done.record, &recovery_shown(&done.reply))
}

async fn recovery(
    State(engine): State<Engine>,
    Named(recovery): Named<RecoveryId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, ShowRecovery { recovery }).await?;
    answer::json(done.record, &recovery_shown(&done.reply))
}

async fn give(
    State(engine): State<Engine>,
    Named(recovery): Named<RecoveryId>,
    call: Json<GiveEscrowShare>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Give { recovery, share: call.body.share.0 }).await?;
    let (given, needed, done_) = (done.reply.given, done.reply.needed, done.reply.done);
    answer::json(done.record, &RecoveryProgress { given, needed, done: done_ })
}

async fn abandon(
    State(engine): State<Engine>,
    Named(recovery): Named<RecoveryId>,
    call: Json<AbandonRecovery>,
) -> Result<Response, Problem> {
    let reason = field("reason", &call.body.reason)?;
    let done = engine.call(call.arrival, Abandon { recovery, reason }).await?;
    answer::json(done.record, &EscrowDone { done: true })
}
