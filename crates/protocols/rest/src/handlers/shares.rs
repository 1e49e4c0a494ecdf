//! Shares of roots of trust and who holds them.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::shares::{
    Abandon, Challenge, Commit, Give, HandedText, HolderSpec, Holders, NameHolder as Naming, Reshare, SharesReply,
    Show, VerifyShare,
};
use keyreeve_http::Problem;
use keyreeve_model::holders::{Exchange, Holder, Person, RecipientRecord, ShareHolders};
use keyreeve_model::{Name, UnixMillis};
use keyreeve_wire::shares::{
    AbandonReshare, BeginReshare, CommitReshare, GiveShare, HandInProof, HandedShare, HandedShares, NameHolder,
    NewHolder, ProofTaken, ReshareProgress, RootShares, ShareExchange, ShareHolder, ShareRecipient, ShareSet,
};

use crate::answer;
use crate::call::{Json, Named, Plain};
use crate::convert::{self, field, named, timestamp};
use crate::routes::{Route, route};

const BEGIN: &str = r#"{"threshold":2,"reason":"carol left","holders":[
    {"name":"alice","contact":"+43 1 5550100",
     "key":"age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a",
     "fingerprint":"age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a"},
    {"name":"dave",
     "key":"age1x95ngflr2mmxrq97ccj95xx829wvlfd4d5rqvn9kr2hdhux669dscev8xe",
     "fingerprint":"age1x95ngflr2mmxrq97ccj95xx829wvlfd4d5rqvn9kr2hdhux669dscev8xe"}]}"#;
/// Of nobody's share.
pub(super) const PROOF: &str = concat!(
    r#"{"proof":"krp1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-"#,
    r#"P0BBQkNERUZHSElKS0xNTk9Q"}"#
);

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/roots/{root}/holders", Admin, ROOT_HOLDERS, holders).gives::<RootShares>(),
    route!(Post "/roots/{root}/holders", Admin, ROOT_NAME_HOLDER, name_holder)
        .takes::<NameHolder>(r#"{"share":3,"name":"carol","organisation":"Example","contact":"+43 1 5550100"}"#)
        .gives::<RootShares>(),
    route!(Post "/roots/{root}/challenge", Admin, ROOT_CHALLENGE, challenge).gives::<RootShares>(),
    route!(Post "/roots/{root}/proofs", Admin, ROOT_VERIFY_SHARE, verify_share)
        .takes::<HandInProof>(PROOF)
        .gives::<ProofTaken>(),
    route!(Post "/roots/{root}/reshare", Admin, ROOT_RESHARE, reshare)
        .takes::<BeginReshare>(BEGIN)
        .gives::<RootShares>()
        .note("The present shares go on opening the root until the exchange is committed."),
    route!(Get "/roots/{root}/reshare", Admin, ROOT_RESHARE_SHOW, show).gives::<HandedShares>(),
    route!(Post "/roots/{root}/reshare/shares", Admin, ROOT_RESHARE_GIVE, give)
        .takes::<GiveShare>(r#"{"share":"as its holder has it"}"#)
        .gives::<ReshareProgress>(),
    route!(Post "/roots/{root}/reshare/commit", Admin, ROOT_RESHARE_COMMIT, commit)
        .takes::<CommitReshare>(r#"{"confirmed":["dave"]}"#)
        .gives::<RootShares>()
        .note(
            "From then on the former shares are refused here. Enough of them together still give the root key to \
             whoever computes by themselves: another root is what cuts them off.",
        ),
    route!(Post "/roots/{root}/reshare/abandon", Admin, ROOT_RESHARE_ABANDON, abandon)
        .takes::<AbandonReshare>(r#"{"reason":"dave lost his key"}"#)
        .gives::<RootShares>(),
];

fn person(name: &str, organisation: &str, contact: &str) -> Result<Person, Problem> {
    let (organisation, contact) = (field("organisation", organisation)?, field("contact", contact)?);
    Ok(Person { name: field("name", name)?, organisation, contact })
}

/// Who shall hold a share.
pub(crate) fn spec(holder: &NewHolder) -> Result<HolderSpec, Problem> {
    let person = person(&holder.name, &holder.organisation, &holder.contact)?;
    Ok(HolderSpec { person, key: holder.key.clone(), fingerprint: holder.fingerprint.clone() })
}

fn recipient(record: &RecipientRecord) -> Result<ShareRecipient, Problem> {
    let user = (!record.user.is_empty()).then(|| record.user.to_string());
    Ok(ShareRecipient { kind: named(record.kind.name())?, fingerprint: record.fingerprint.clone(), user })
}

/// A share that one holder can read.
pub(crate) fn handed(text: &HandedText) -> Result<HandedShare, Problem> {
    Ok(HandedShare {
        share: text.share,
        name: text.person.name.to_string(),
        organisation: text.person.organisation.to_string(),
        contact: text.person.contact.to_string(),
        recipient: recipient(&text.recipient)?,
        text: text.text.clone(),
    })
}

fn holder(set: &ShareHolders, holder: &Holder, now: UnixMillis) -> Result<ShareHolder, Problem> {
    let person = holder.person.as_ref();
    let due = set.proof_due(holder);
    Ok(ShareHolder {
        share: holder.share,
        name: person.map(|person| person.name.to_string()),
        organisation: person.map(|person| person.organisation.to_string()),
        contact: person.map(|person| person.contact.to_string()),
        recipient: holder.recipient.as_ref().map(recipient).transpose()?,
        proved: holder.proved.as_ref().map(|proved| timestamp(proved.at)),
        proof_due: due.map(timestamp),
        overdue: due.is_some_and(|due| due <= now),
        confirmed: holder.confirmed.as_ref().map(|confirmed| timestamp(confirmed.at)),
        confirmed_by: holder.confirmed.as_ref().map(|confirmed| confirmed.by.to_string()),
    })
}

pub(super) fn set(set: &ShareHolders, challenge: Option<&String>, now: UnixMillis) -> Result<ShareSet, Problem> {
    Ok(ShareSet {
        set: set.set.to_string(),
        version: set.version,
        threshold: set.threshold,
        made: timestamp(set.made),
        challenge: challenge.cloned(),
        holders: set.holders.iter().map(|one| holder(set, one, now)).collect::<Result<_, _>>()?,
    })
}

fn exchange(reply: &SharesReply, exchange: &Exchange) -> Result<ShareExchange, Problem> {
    let new = exchange.handed_out.as_ref();
    Ok(ShareExchange {
        begun: timestamp(exchange.begun),
        by: exchange.by.to_string(),
        reason: exchange.reason.to_string(),
        threshold: exchange.threshold,
        holders: exchange.planned.iter().map(|planned| planned.person.name.to_string()).collect(),
        given: reply.given,
        new: new.map(|new| set(&new.holders, reply.new_challenge.as_ref(), reply.at)).transpose()?,
    })
}

fn shares(reply: &SharesReply) -> Result<RootShares, Problem> {
    let record = &reply.record;
    Ok(RootShares {
        root: record.of.to_string(),
        current: set(&record.current, reply.challenge.as_ref(), reply.at)?,
        exchange: record.exchange.as_ref().map(|under_way| exchange(reply, under_way)).transpose()?,
    })
}

async fn holders(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Holders { root: Some(root) }).await?;
    answer::json(done.record, &shares(&done.reply)?)
}

async fn name_holder(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<NameHolder>,
) -> Result<Response, Problem> {
    let NameHolder { share, name, organisation, contact } = call.body;
    let person = person(&name, &organisation, &contact)?;
    let done = engine.call(call.arrival, Naming { root: Some(root), share, person }).await?;
    answer::json(done.record, &shares(&done.reply)?)
}

async fn challenge(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Challenge { root: Some(root) }).await?;
    answer::json(done.record, &shares(&done.reply)?)
}

async fn verify_share(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<HandInProof>,
) -> Result<Response, Problem> {
    let proof = field("proof", &call.body.proof)?;
    let done = engine.call(call.arrival, VerifyShare { root: Some(root), proof }).await?;
    let holder = done.reply.holder.map(|name| name.to_string());
    answer::json(done.record, &ProofTaken { share: done.reply.share, holder, version: done.reply.version })
}

async fn reshare(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<BeginReshare>,
) -> Result<Response, Problem> {
    let BeginReshare { threshold, holders, reason } = call.body;
    let holders = holders.iter().map(spec).collect::<Result<_, _>>()?;
    let reshare = Reshare { root: Some(root), threshold, holders, reason: field("reason", &reason)? };
    let done = engine.call(call.arrival, reshare).await?;
    answer::json(done.record, &shares(&done.reply)?)
}

async fn show(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Show { root: Some(root) }).await?;
    let shares = done.reply.shares.iter().map(handed).collect::<Result<_, _>>()?;
    answer::json(done.record, &HandedShares { shares, challenge: done.reply.challenge })
}

async fn give(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<GiveShare>,
) -> Result<Response, Problem> {
    let GiveShare { share, exchange } = call.body;
    let exchange = exchange.map(|at| convert::instant("exchange", &at.0)).transpose()?;
    let done = engine.call(call.arrival, Give { root: Some(root), share: share.0, exchange }).await?;
    let (given, needed, made) = (done.reply.given, done.reply.needed, done.reply.made);
    answer::json(done.record, &ReshareProgress { given, needed, made })
}

async fn commit(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<CommitReshare>,
) -> Result<Response, Problem> {
    let confirmed = call.body.confirmed.iter().map(|name| field("confirmed", name)).collect::<Result<_, _>>()?;
    let done = engine.call(call.arrival, Commit { root: Some(root), confirmed }).await?;
    answer::json(done.record, &shares(&done.reply)?)
}

async fn abandon(
    State(engine): State<Engine>,
    Named(root): Named<Name>,
    call: Json<AbandonReshare>,
) -> Result<Response, Problem> {
    let abandon = Abandon { root: Some(root), reason: field("reason", &call.body.reason)? };
    let done = engine.call(call.arrival, abandon).await?;
    answer::json(done.record, &shares(&done.reply)?)
}
