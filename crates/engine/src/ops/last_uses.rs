//! Last uses that the store does not know, out of the audit log: those of before uses were noted, those that a crash
//! lost before they were written, and what is not noted at all, as looking at a key and moving it through its states.

use keyreeve_audit::{Outcome, Record};
use keyreeve_journal::{Filter, Scan};
use keyreeve_model::UnixMillis;
use keyreeve_model::time::DAY_MS;
use keyreeve_model::usage::day_of;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::PAGE_MAX;
use super::access_report::{AccessRow, Finding, FindingKind, UNUSED_DAYS};
use crate::catalogue;
use crate::core::Core;
use crate::error::Error;

/// Who, on which key, and the group of actions.
type Way = (String, String, &'static str);

/// What is looked for.
#[derive(Default)]
struct Sought {
    ways: HashSet<Way>,
    grants: HashSet<String>,
}

/// When it was last done, by the day.
#[derive(Default)]
struct Seen {
    ways: HashMap<Way, i64>,
    grants: HashMap<String, i64>,
}

/// The way that a record is of.
fn way(record: &Record) -> Option<Way> {
    let key = record.resource.as_ref().filter(|resource| resource.kind == "key")?;
    let group = catalogue::find(&record.operation)?.groups.first()?;
    Some((record.actor.principal.clone(), key.id.clone(), group))
}

/// The grants by which a record's operation was allowed.
fn grants(record: &Record) -> impl Iterator<Item = &str> {
    let details = ["granted_by", "elevation"].into_iter().filter_map(|name| record.details.get(name));
    details.flat_map(|grants| grants.split_whitespace())
}

impl Sought {
    fn of(rows: &[AccessRow], findings: &[Finding]) -> Self {
        let unknown = rows.iter().flat_map(|row| {
            let rights = row.rights.iter().filter(|right| right.last_used.is_none());
            rights.map(|right| (row.principal.to_string(), row.key.to_string(), right.group))
        });
        let unused = findings.iter().filter(|finding| finding.kind == FindingKind::GrantUnused);
        Self { ways: unknown.collect(), grants: unused.map(|finding| finding.about.clone()).collect() }
    }

    fn is_empty(&self) -> bool {
        self.ways.is_empty() && self.grants.is_empty()
    }

    fn fits(&self, record: &Record) -> bool {
        record.outcome == Outcome::Ok
            && (way(record).is_some_and(|way| self.ways.contains(&way))
                || grants(record).any(|grant| self.grants.contains(grant)))
    }
}

impl Seen {
    /// Notes a record; the first one of each is the last use.
    fn note(&mut self, sought: &mut Sought, record: &Record) {
        let day = day_of(record.time);
        if let Some(way) = way(record).and_then(|way| sought.ways.take(&way)) {
            self.ways.insert(way, day);
        }
        for grant in grants(record) {
            if let Some(grant) = sought.grants.take(grant) {
                self.grants.insert(grant, day);
            }
        }
    }
}

impl Core {
    /// Goes through the log, newest first, until all was found or there is no more.
    async fn seen_in_the_log(&self, sought: Sought) -> Result<Seen, Error> {
        let (mut seen, sought) = (Seen::default(), Arc::new(Mutex::new(sought)));
        let left = Arc::clone(&sought);
        let fits = move |bytes: &[u8]| Record::decode(bytes).is_ok_and(|record| left.lock().fits(&record));
        let filter: Filter = Arc::new(fits);
        let mut before = None;
        loop {
            let scan = Scan { before, filter: Some(Arc::clone(&filter)), ..Scan::newest(PAGE_MAX as usize) };
            let page = self.ports.journal.scan(scan).await?;
            for (_, bytes) in page.entries {
                let record = Record::decode(&bytes).map_err(Error::internal)?;
                seen.note(&mut sought.lock(), &record);
            }
            before = page.next;
            if before.is_none() || sought.lock().is_empty() {
                return Ok(seen);
            }
        }
    }

    /// Fills in the last uses that the store does not know, and leaves out findings that the log knows better.
    pub(super) async fn last_uses_from_audit(
        &self,
        rows: &mut [AccessRow],
        findings: &mut Vec<Finding>,
        now: UnixMillis,
    ) -> Result<(), Error> {
        let sought = Sought::of(rows, findings);
        if sought.is_empty() {
            return Ok(());
        }
        let seen = self.seen_in_the_log(sought).await?;
        for row in rows {
            let (principal, key) = (row.principal.to_string(), row.key.to_string());
            for right in row.rights.iter_mut().filter(|right| right.last_used.is_none()) {
                let day = seen.ways.get(&(principal.clone(), key.clone(), right.group));
                right.last_used = day.map(|day| UnixMillis(day * DAY_MS));
            }
        }
        let used =
            |finding: &Finding| seen.grants.get(&finding.about).is_some_and(|day| day_of(now) - day < UNUSED_DAYS);
        findings.retain(|finding| finding.kind != FindingKind::GrantUnused || !used(finding));
        Ok(())
    }
}
