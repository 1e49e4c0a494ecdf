//! The audit log.

use axum::extract::State;
use axum::response::Response;
use keyreeve_audit::record::{Method, Outcome, Record};
use keyreeve_audit::tile::LogPath;
use keyreeve_engine::ops::audit::{AuditQuery, LogFile, Prove, Read, Search};
use keyreeve_engine::{Arrival, Engine, Error};
use keyreeve_http::Problem;
use keyreeve_model::RecordId;
use keyreeve_wire::audit::{AuditPage, AuditProof, AuditRecord, AuditResource};
use keyreeve_wire::{Pairs, names};

use super::keyrings::LIMIT;
use super::policies::class_name;
use crate::answer;
use crate::call::{Asking, Known, Named, OCTETS, Plain};
use crate::convert::{defect, instant, timestamp};
use crate::query::Query;
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/audit", Admin, AUDIT_SEARCH, search)
        .query(Wanted::PARAMS)
        .gives::<AuditPage>()
        .note("Newest first. Give `next` as `before` for older ones. An alias is that of the key which has it now."),
    route!(Get "/audit/records/{id}/proof", Both, AUDIT_PROVE, prove)
        .gives::<AuditProof>()
        .note("The id is that of the header `Keyreeve-Audit-Record`."),
    route!(Get "/audit/checkpoint", Admin, AUDIT_READ, checkpoint)
        .or_gives(&["text/plain"])
        .note("A fresh signed checkpoint (C2SP tlog-checkpoint) that covers everything done so far."),
    route!(Get "/audit/log/{*path}", Admin, AUDIT_READ, file)
        .or_gives(&["text/plain", OCTETS])
        .note("A file of the log in the layout C2SP tlog-tiles: `checkpoint`, `tile/<L>/<N>`, `tile/entries/<N>`."),
];

struct Wanted;

impl Known for Wanted {
    const PARAMS: &'static [Param] = &[
        Param::text("principal", "Records of this principal."),
        Param::text("operation", "Records of this operation; a trailing `*` stands for any ending: `key.*`."),
        Param::text("resource", "Records about this resource: its id or name, an alias of the key, or its keyring."),
        Param::one_of::<names::Outcome>("outcome", "How they ended."),
        Param::text("code", "Records with this error code."),
        Param::text("request", "Records of this request id."),
        Param::instant("from", "Records of this instant (RFC 3339) and later."),
        Param::instant("until", "Records before this instant (RFC 3339)."),
        Param::integer("before", "Records below this index: `next` of the former page."),
        LIMIT,
    ];
}

fn search_from(query: &Query) -> Result<Search, Problem> {
    let at = |name| query.text(name).map(|text| instant(name, &text)).transpose();
    Ok(Search {
        query: AuditQuery {
            principal: query.text("principal"),
            operation: query.text("operation"),
            resource: query.text("resource"),
            outcome: query.get::<names::Outcome>("outcome")?.map(|outcome| outcome.name().to_owned()),
            code: query.text("code"),
            request: query.text("request"),
        },
        from: at("from")?,
        until: at("until")?,
        before: query.get("before")?,
        limit: query.limit()?,
    })
}

async fn search(State(engine): State<Engine>, call: Asking<Wanted>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, search_from(&call.query)?).await?;
    let next = done.reply.next.map(|index| index.to_string());
    let items = done.reply.records.into_iter().map(|(index, record)| row(index, record)).collect();
    answer::json(done.record, &AuditPage { items, next, also_called: done.reply.also_called })
}

fn row(index: u64, record: Record) -> AuditRecord {
    AuditRecord {
        index,
        id: record.id.to_string(),
        time: timestamp(record.time),
        request: record.request,
        principal: record.actor.principal,
        method: match record.actor.method {
            Method::Token => names::Method::Token,
            Method::Mtls => names::Method::Mtls,
            Method::Share => names::Method::Share,
            Method::System => names::Method::System,
            Method::Anonymous => names::Method::Anonymous,
        },
        source: record.source,
        operation: record.operation,
        class: class_name(record.class),
        resource: record.resource.map(|found| AuditResource {
            kind: found.kind,
            id: found.id,
            version: found.version,
            keyring: found.keyring,
        }),
        code: record.outcome.code().map(ToOwned::to_owned),
        outcome: match record.outcome {
            Outcome::Ok => names::Outcome::Ok,
            Outcome::Refused { .. } => names::Outcome::Refused,
            Outcome::Failed { .. } => names::Outcome::Failed,
        },
        count: record.count,
        context: record.context.map(Pairs),
        details: Pairs(record.details),
    }
}

async fn prove(
    State(engine): State<Engine>,
    Named(record): Named<RecordId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Prove { record }).await?;
    let reply = AuditProof {
        index: done.reply.index,
        record: String::from_utf8(done.reply.record).map_err(|_| defect())?,
        proof: done.reply.proof,
        vkeys: done.reply.vkeys,
    };
    answer::json(done.record, &reply)
}

async fn checkpoint(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    read(&engine, arrival, LogFile::Checkpoint).await
}

async fn file(
    State(engine): State<Engine>,
    Named(path): Named<String>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let file = match LogPath::parse(&path) {
        Some(LogPath::Checkpoint) => LogFile::Checkpoint,
        Some(path) => LogFile::Path(path),
        None => return Err(Error::not_found("file in the log").into()),
    };
    read(&engine, arrival, file).await
}

async fn read(engine: &Engine, arrival: Arrival, file: LogFile) -> Result<Response, Problem> {
    let is_text = matches!(file, LogFile::Checkpoint);
    let done = engine.call(arrival, Read { file }).await?;
    Ok(if is_text { answer::text(done.record, done.reply.0) } else { answer::binary(done.record, done.reply.0) })
}
