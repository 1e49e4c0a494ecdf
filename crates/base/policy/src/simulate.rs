//! What would have been decided: requests of the past, put to two sets of policies.

use crate::cache::DecisionCache;
use crate::decide::Decision;
use crate::request::Request;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups that are told one by one; what is beyond is counted only.
pub const MAX_GROUPS: usize = 1000;

/// A request of the past.
#[derive(Debug, Clone, Copy)]
pub struct Replayed<'a> {
    /// The request, rebuilt from its record, with the attributes that principal and resource have now.
    pub request: Request<'a>,
    /// The name people know the resource by.
    pub resource: &'a str,
    /// The id of its audit record.
    pub record: &'a str,
    /// Whether policy allowed it then; `None` where the record does not tell, as for a request that failed before
    /// policy was asked.
    pub allowed_then: Option<bool>,
    /// A grant allowed it: then it is allowed wherever nothing forbids it.
    pub granted: bool,
}

/// A side of a decision that would be another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that permit it, where it is allowed; otherwise those that forbid it or cannot be evaluated. Empty
    /// where nothing permits it.
    pub policies: Vec<String>,
}

impl Side {
    fn of(decision: &Decision, granted: bool) -> Self {
        let mut policies: Vec<String> = if decision.allowed {
            decision.reasons.iter().map(ToString::to_string).collect()
        } else {
            let failed = decision.errors.iter().filter_map(|failure| failure.policy.as_ref());
            decision.denied_by.iter().chain(failed).map(ToString::to_string).collect()
        };
        policies.sort_unstable();
        policies.dedup();
        Self { allowed: allows(decision, granted), policies }
    }
}

fn allows(decision: &Decision, granted: bool) -> bool {
    decision.allowed || granted && decision.denied_by.is_empty() && decision.errors.is_empty()
}

/// Requests that are alike and would be decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedDecision {
    /// Who asked.
    pub principal: String,
    /// For what.
    pub action: String,
    /// The kind of the resource, as in the schema.
    pub kind: &'static str,
    /// The name people know it by.
    pub resource: String,
    /// What the present policies say.
    pub was: Side,
    /// What the draft says.
    pub would: Side,
    /// How many such requests there were.
    pub count: u64,
    /// The id of the first one's audit record.
    pub first: String,
    /// The id of the last one's audit record.
    pub last: String,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Requests that were put to both.
    pub decided: u64,
    /// Of these, how many the draft would decide otherwise.
    pub changed: u64,
    /// Of these, how many the present policies decide otherwise than it was decided then: policies, roles or attributes
    /// have changed since.
    pub differ_from_record: u64,
    /// The changed ones, in groups: by who, for what, on what.
    pub groups: Vec<ChangedDecision>,
    /// Changed decisions that are in none of these groups, because there would be more than [`MAX_GROUPS`].
    pub ungrouped: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    principal: String,
    action: String,
    kind: &'static str,
    resource: String,
    was: Side,
    would: Side,
}

struct Counted {
    count: u64,
    first: String,
    last: String,
}

/// Puts requests to the present policies and to a draft, and keeps account. Hand them over in the order of the log.
pub struct Replay<'a> {
    present: &'a DecisionCache,
    draft: &'a DecisionCache,
    sums: Simulation,
    groups: BTreeMap<Alike, Counted>,
}

impl<'a> Replay<'a> {
    /// Nothing was asked yet.
    pub fn new(present: &'a DecisionCache, draft: &'a DecisionCache) -> Self {
        Self { present, draft, sums: Simulation::default(), groups: BTreeMap::new() }
    }

    /// Puts one request to both.
    pub fn ask(&mut self, asked: &Replayed<'_>) {
        let was: Arc<Decision> = self.present.decide(&asked.request);
        let would = self.draft.decide(&asked.request);
        self.sums.decided += 1;
        let (is_allowed, would_be) = (allows(&was, asked.granted), allows(&would, asked.granted));
        if asked.allowed_then.is_some_and(|then| then != is_allowed) {
            self.sums.differ_from_record += 1;
        }
        if is_allowed == would_be {
            return;
        }
        self.sums.changed += 1;
        let alike = Alike {
            principal: asked.request.principal.name.clone(),
            action: asked.request.action.to_owned(),
            kind: asked.request.resource.details.kind().name(),
            resource: asked.resource.to_owned(),
            was: Side::of(&was, asked.granted),
            would: Side::of(&would, asked.granted),
        };
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&alike) {
            self.sums.ungrouped += 1;
            return;
        }
        let record = asked.record;
        let group = self.groups.entry(alike).or_insert_with(|| Counted {
            count: 0,
            first: record.to_owned(),
            last: String::new(),
        });
        group.count += 1;
        record.clone_into(&mut group.last);
    }

    /// The account.
    pub fn finish(self) -> Simulation {
        let groups = self.groups.into_iter().map(|(alike, counted)| ChangedDecision {
            principal: alike.principal,
            action: alike.action,
            kind: alike.kind,
            resource: alike.resource,
            was: alike.was,
            would: alike.would,
            count: counted.count,
            first: counted.first,
            last: counted.last,
        });
        Simulation { groups: groups.collect(), ..self.sums }
    }
}
