//! Going through who has which right.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::access_report::{self, Report, ReportReply};
use keyreeve_engine::ops::reviews::{Close, Decide, DecideReply, Describe, List, Open, ReviewReply};
use keyreeve_http::Problem;
use keyreeve_model::UnixMillis;
use keyreeve_model::grant::Granted;
use keyreeve_model::ids::ReviewId;
use keyreeve_model::review::{self as model, Scope, Source, Subject, Verdict};
use keyreeve_model::time::DAY_MS;
use keyreeve_wire::names::{ReviewSubject, ReviewVerdict};
use keyreeve_wire::reviews::{
    AccessReport, AccessRow, CloseReview, DecideReview, Finding, OpenReview, Review, ReviewDecided, ReviewItem,
    ReviewWithItems, Right,
};

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named};
use crate::convert::{self, defect, field, named, optional, set, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/access/report", Admin, ACCESS_REPORT, report)
        .query(Wished::PARAMS)
        .gives::<AccessReport>()
        .note("Policies that look at the encryption context are asked with none; last uses are known to the day."),
    route!(Post "/reviews", Admin, REVIEW_OPEN, open)
        .takes::<OpenReview>(r#"{"subjects":["roles","grants"],"days":30,"reason":"review of the second half-year"}"#)
        .gives::<Review>(),
    route!(Get "/reviews", Admin, REVIEW_LIST, list).query(Filter::PARAMS).lists::<Review>(),
    route!(Get "/reviews/{id}", Admin, REVIEW_DESCRIBE, describe).query(Items::PARAMS).gives::<ReviewWithItems>(),
    route!(Post "/reviews/{id}/decisions", Admin, REVIEW_DECIDE, decide)
        .takes::<DecideReview>(r#"{"item":1,"verdict":"revoke","reason":"changed to another team"}"#)
        .gives::<ReviewDecided>()
        .note("Nobody decides on their own rights, nor on what they made, under whatever name."),
    route!(Post "/reviews/{id}/close", Admin, REVIEW_CLOSE, close)
        .takes::<CloseReview>(r#"{"text":"three roles were revoked"}"#)
        .gives::<Review>(),
];

/// Whom and what the report is about.
struct Wished;

impl Known for Wished {
    const PARAMS: &'static [Param] = &[
        Param::text("principal", "Only this principal."),
        Param::reference("key", "Only this key."),
        Param::one_of::<bool>("from_audit", "`true`: look for last uses that are not known in the audit log; slow."),
        AFTER,
        Param::limit("limit", "How many pairs of principal and key to look at, 1 to 1,000; 100 unless said."),
    ];
}

fn row(row: access_report::AccessRow) -> Result<AccessRow, Problem> {
    let right = |right: access_report::Right| Right {
        group: right.group.to_owned(),
        through: right.through,
        last_used: right.last_used.map(timestamp),
    };
    Ok(AccessRow {
        principal: row.principal.to_string(),
        kind: named(row.kind.name())?,
        key: row.key.to_string(),
        alias: row.alias.map(|alias| alias.to_string()),
        keyring: row.keyring.to_string(),
        rights: row.rights.into_iter().map(right).collect(),
    })
}

fn shown(reply: ReportReply) -> Result<AccessReport, Problem> {
    let finding = |found: access_report::Finding| {
        Ok(Finding { kind: named(found.kind.name())?, about: found.about, text: found.text })
    };
    Ok(AccessReport {
        rows: reply.rows.into_iter().map(row).collect::<Result<_, Problem>>()?,
        next: reply.next,
        findings: reply.findings.into_iter().map(finding).collect::<Result<_, Problem>>()?,
    })
}

async fn report(State(engine): State<Engine>, call: Asking<Wished>) -> Result<Response, Problem> {
    let operation = Report {
        principal: call.query.get("principal")?,
        key: call.query.get("key")?,
        after: call.query.text("after"),
        limit: call.query.limit()?,
        from_audit: call.query.get("from_audit")?.unwrap_or(false),
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &shown(done.reply)?)
}

struct Filter;

impl Known for Filter {
    const PARAMS: &'static [Param] =
        &[Param::one_of::<bool>("open", "`true` for the open ones only, `false` for the closed ones."), AFTER, LIMIT];
}

struct Items;

impl Known for Items {
    const PARAMS: &'static [Param] = &[
        Param::one_of::<bool>("undecided", "`true`: only items that nobody has decided on yet."),
        Param::integer("after", "Only items after this number."),
        LIMIT,
    ];
}

fn subject(subject: ReviewSubject) -> Result<Subject, Problem> {
    Subject::from_name(subject.name()).ok_or_else(defect)
}

fn verdict(verdict: ReviewVerdict) -> Result<Verdict, Problem> {
    Verdict::from_name(verdict.name()).ok_or_else(defect)
}

fn review(reply: &ReviewReply) -> Result<Review, Problem> {
    let (campaign, closed) = (&reply.campaign, reply.campaign.closed());
    let scope = campaign.scope();
    Ok(Review {
        id: campaign.id().to_string(),
        reason: campaign.reason().to_string(),
        subjects: scope.subjects.iter().map(|subject| named(subject.name())).collect::<Result<_, _>>()?,
        principal: scope.principal.as_ref().map(ToString::to_string),
        reviewers: campaign.reviewers().iter().map(ToString::to_string).collect(),
        opened: timestamp(campaign.opened()),
        opened_by: campaign.opened_by().name.to_string(),
        due: timestamp(campaign.due()),
        overdue: campaign.is_overdue(reply.at),
        items: campaign.items(),
        decided: campaign.decided(),
        revoked: campaign.revoked(),
        closed: closed.map(|closed| timestamp(closed.at)),
        closed_by: closed.map(|closed| closed.by.name.to_string()),
        conclusion: closed.map(|closed| closed.text.to_string()),
    })
}

fn item(item: &model::ReviewItem) -> Result<ReviewItem, Problem> {
    let decision = item.decision.as_ref();
    let mut shown = ReviewItem {
        number: item.number,
        who: item.who.to_string(),
        subject: named(item.source.subject().name())?,
        role: None,
        grant: None,
        key: None,
        alias: None,
        keyring: None,
        operations: Vec::new(),
        expires: None,
        last_used: item.last_use.map(|day| timestamp(UnixMillis(day.saturating_mul(DAY_MS)))),
        made_by: item.made_by.as_ref().map(ToString::to_string),
        verdict: decision.map(|decision| named(decision.verdict.name())).transpose()?,
        decided_by: decision.map(|decision| decision.by.name.to_string()),
        decided: decision.map(|decision| timestamp(decision.at)),
        decided_because: decision.map(|decision| decision.reason.to_string()),
        taken: decision.is_some_and(|decision| decision.taken),
    };
    match &item.source {
        Source::Role { role } => shown.role = Some(role.to_string()),
        Source::Consumer { key, alias } => {
            shown.key = Some(key.to_string());
            shown.alias = alias.as_ref().map(ToString::to_string);
        }
        Source::Grant { grant, what, expires } => {
            shown.grant = Some(grant.to_string());
            shown.expires = Some(timestamp(*expires));
            shown.operations = what.operations().into_iter().flatten().map(ToString::to_string).collect();
            match what {
                Granted::Key { key, .. } => shown.key = Some(key.to_string()),
                Granted::Keyring { keyring, .. } => shown.keyring = Some(keyring.to_string()),
                Granted::Role { role } => shown.role = Some(role.to_string()),
            }
        }
    }
    Ok(shown)
}

async fn open(State(engine): State<Engine>, call: Json<OpenReview>) -> Result<Response, Problem> {
    let subjects = match call.body.subjects.as_slice() {
        [] => Subject::ALL.into(),
        some => some.iter().map(|one| subject(*one)).collect::<Result<_, _>>()?,
    };
    let operation = Open {
        scope: Scope { subjects, principal: optional("principal", call.body.principal.as_deref())? },
        reviewers: set("reviewers", &call.body.reviewers)?,
        days: call.body.days.unwrap_or(model::DUE_DAYS),
        reason: field("reason", &call.body.reason)?,
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &review(&done.reply)?)
}

async fn list(State(engine): State<Engine>, call: Asking<Filter>) -> Result<Response, Problem> {
    let operation = List { open: call.query.get("open")?, after: call.query.get("after")?, limit: call.query.limit()? };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::page(done.reply, |row| review(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(id): Named<ReviewId>,
    call: Asking<Items>,
) -> Result<Response, Problem> {
    let operation = Describe {
        review: id,
        undecided: call.query.get("undecided")?.unwrap_or(false),
        after: call.query.get("after")?,
        limit: call.query.limit()?,
    };
    let done = engine.call(call.arrival, operation).await?;
    let page = done.reply;
    let items = page.items.iter().map(item).collect::<Result<_, _>>()?;
    answer::json(done.record, &ReviewWithItems { review: review(&page.review)?, items, next: page.next })
}

async fn decide(
    State(engine): State<Engine>,
    Named(id): Named<ReviewId>,
    call: Json<DecideReview>,
) -> Result<Response, Problem> {
    let operation = Decide {
        review: id,
        item: call.body.item,
        verdict: verdict(call.body.verdict)?,
        reason: field("reason", &call.body.reason)?,
    };
    let done = engine.call(call.arrival, operation).await?;
    let DecideReply { item: decided, undecided, remark } = done.reply;
    answer::json(done.record, &ReviewDecided { item: item(&decided)?, undecided, remark })
}

async fn close(
    State(engine): State<Engine>,
    Named(id): Named<ReviewId>,
    call: Json<CloseReview>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Close { review: id, text: field("text", &call.body.text)? }).await?;
    answer::json(done.record, &review(&done.reply)?)
}

#[cfg(test)]
mod tests {
    use keyreeve_engine::ops::access_report::FindingKind;
    use keyreeve_model::review::{Subject, Verdict};
    use keyreeve_wire::names;

    #[test]
    fn the_names_are_those_of_the_engine() {
        let known = FindingKind::ALL.map(FindingKind::name);
        assert_eq!(names::FindingKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>(), known);
        let known = Subject::ALL.map(Subject::name);
        assert_eq!(names::ReviewSubject::ALL.iter().map(|subject| subject.name()).collect::<Vec<_>>(), known);
        let known = Verdict::ALL.map(Verdict::name);
        assert_eq!(names::ReviewVerdict::ALL.iter().map(|verdict| verdict.name()).collect::<Vec<_>>(), known);
    }
}
