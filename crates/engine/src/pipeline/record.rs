//! The audit record of one call, filled in as the call goes through the stages.

use keyreeve_audit::{Actor, Class, Method, Outcome as AuditOutcome, Record};
use keyreeve_journal::Entry;
use keyreeve_model::ids::GrantId;
use keyreeve_model::{RecordId, UnixMillis};
use keyreeve_policy::Revision;
use std::collections::BTreeMap;

use super::arrival::Arrival;
use super::authenticate::Principal;
use super::operation::Operation;
use super::shadow::Shadow;
use crate::catalogue::AuditClass;
use crate::error::{Error, Fault};

/// What is known of a call so far: its record, complete but for the outcome.
pub(super) struct Draft {
    pub(super) record: Record,
    recorded: bool,
    grants: Vec<GrantId>,
    shadow: Option<Shadow>,
}

impl Draft {
    pub(super) fn new<O: Operation>(id: RecordId, operation: &O, arrival: &Arrival, now: UnixMillis) -> Self {
        let (class, recorded) = match O::DESCRIPTOR.audit {
            AuditClass::Recorded(class) => (class, true),
            AuditClass::Counted => (Class::System, false),
        };
        let context = operation.context().filter(|context| !context.is_empty());
        let record = Record {
            id,
            time: now,
            request: arrival.request.clone(),
            actor: Actor { principal: "unknown".to_owned(), method: Method::Anonymous },
            source: arrival.source.map(|source| source.to_string()),
            operation: O::DESCRIPTOR.name.to_owned(),
            class,
            resource: None,
            outcome: AuditOutcome::Ok,
            count: u32::try_from(operation.items()).unwrap_or(u32::MAX),
            context: context.map(|context| context.pairs().clone()),
            details: BTreeMap::new(),
        };
        Self { record, recorded, grants: Vec::new(), shadow: None }
    }

    /// Notes the roles that the principal had, where they are not those of its record, the login that its session came
    /// from and how old its second factor is: what a decision could depend on and the rest of the record does not tell.
    pub(super) fn circumstances(&mut self, principal: &Principal, now: UnixMillis) {
        self.grants.clone_from(&principal.elevations);
        if !principal.elevations.is_empty() {
            self.record.details.insert("elevation".to_owned(), joined(&principal.elevations));
        }
        if let Revision::Composed { .. } = principal.attrs.revision {
            let mut roles = principal.attrs.roles.clone();
            roles.sort_unstable();
            self.record.details.insert("roles".to_owned(), roles.join(" "));
        }
        let Some(session) = &principal.session else { return };
        self.record.details.insert("login".to_owned(), session.login.to_string());
        if let Some((mfa, age)) = session.mfa.as_ref().and_then(|mfa| Some((mfa, mfa.age_seconds(now)?))) {
            self.record.details.insert("mfa".to_owned(), mfa.kind.name().to_owned());
            self.record.details.insert("mfa_age".to_owned(), age.to_string());
        }
    }

    /// Notes the grants without which policy would not have allowed the call.
    pub(super) fn granted(&mut self, grants: &[GrantId]) {
        self.grants.extend_from_slice(grants);
        if !grants.is_empty() {
            self.record.details.insert("granted_by".to_owned(), joined(grants));
        }
    }

    /// Notes what a draft on trial would have decided otherwise; of several attempts the last one counts.
    pub(super) fn shadowed(&mut self, shadow: Option<Shadow>) {
        match shadow.as_ref().and_then(Shadow::difference) {
            Some(word) => self.record.details.insert("shadow".to_owned(), word.to_owned()),
            None => self.record.details.remove("shadow"),
        };
        self.shadow = shadow;
    }

    /// What a draft on trial was asked, once.
    pub(super) fn take_shadow(&mut self) -> Option<Shadow> {
        self.shadow.take()
    }

    /// The grants that the call used: those of roles and those that allowed it.
    pub(super) fn grants(&self) -> &[GrantId] {
        &self.grants
    }

    /// The finished record as an entry of the log, or none for operations that are only counted.
    pub(super) fn finish(&mut self, outcome: AuditOutcome) -> Option<Entry> {
        self.record.outcome = outcome;
        self.recorded.then(|| Entry::of(&self.record))
    }
}

fn joined(grants: &[GrantId]) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// How a failure is recorded: refused when nothing was tried, failed when something broke.
pub(super) fn outcome_of(error: &Error) -> AuditOutcome {
    let code = error.code().name().to_owned();
    match error.code().fault() {
        Fault::Caller
        | Fault::TooLarge
        | Fault::Unauthenticated
        | Fault::Denied
        | Fault::Throttled
        | Fault::Waiting
        | Fault::Absent
        | Fault::State => AuditOutcome::Refused { code },
        Fault::Unavailable | Fault::Internal => AuditOutcome::Failed { code },
    }
}
