//! Going through who has which right.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::Engine;
use keyreeve_engine::ops::access_report::{self, Report, ReportReply};
use keyreeve_http::Problem;
use keyreeve_wire::reviews::{AccessReport, AccessRow, Finding, Right};

use super::keyrings::AFTER;
use crate::answer;
use crate::call::{Asking, Known};
use crate::convert::{named, timestamp};
use crate::routes::{Param, Route, route};

pub(crate) static ROUTES: &[Route] = &[route!(Get "/access/report", Admin, ACCESS_REPORT, report)
    .query(Wished::PARAMS)
    .gives::<AccessReport>()
    .note("Policies that look at the encryption context are asked with none; last uses are known to the day.")];

/// Whom and what the report is about.
struct Wished;

impl Known for Wished {
    const PARAMS: &'static [Param] = &[
        Param::text("principal", "Only this principal."),
        Param::reference("key", "Only this key."),
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
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &shown(done.reply)?)
}

#[cfg(test)]
mod tests {
    use keyreeve_engine::ops::access_report::FindingKind;
    use keyreeve_wire::names;

    #[test]
    fn the_kinds_of_findings_are_those_of_the_engine() {
        let known = FindingKind::ALL.map(FindingKind::name);
        assert_eq!(names::FindingKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>(), known);
    }
}
