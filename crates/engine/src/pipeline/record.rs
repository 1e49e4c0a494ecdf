//! The audit record of one call, filled in as the call goes through the stages.

use keyreeve_audit::{Actor, Method, Outcome as AuditOutcome, Record, Resource as AuditResource};
use keyreeve_model::{RecordId, UnixMillis};
use std::collections::BTreeMap;

use super::arrival::Arrival;
use super::operation::Operation;
use crate::catalogue::AuditClass;
use crate::error::{Error, Fault};

/// What is known of a call so far.
pub(super) struct Draft {
    pub(super) id: RecordId,
    pub(super) actor: Actor,
    pub(super) resource: Option<AuditResource>,
    pub(super) details: BTreeMap<String, String>,
}

impl Draft {
    pub(super) fn new(id: RecordId) -> Self {
        let actor = Actor { principal: "unknown".to_owned(), method: Method::Anonymous };
        Self { id, actor, resource: None, details: BTreeMap::new() }
    }

    /// The finished record, or none for operations that are only counted.
    pub(super) fn finish<O: Operation>(
        &self,
        operation: &O,
        arrival: &Arrival,
        now: UnixMillis,
        outcome: AuditOutcome,
    ) -> Option<Record> {
        let AuditClass::Recorded(class) = O::DESCRIPTOR.audit else { return None };
        let context = operation.context().filter(|context| !context.is_empty());
        Some(Record {
            id: self.id,
            time: now,
            request: arrival.request.clone(),
            actor: self.actor.clone(),
            source: arrival.source.map(|source| source.to_string()),
            operation: O::DESCRIPTOR.name.to_owned(),
            class,
            resource: self.resource.clone(),
            outcome,
            count: u32::try_from(operation.items()).unwrap_or(u32::MAX),
            context: context.map(|context| context.pairs().clone()),
            details: self.details.clone(),
        })
    }
}

/// How a failure is recorded: refused when nothing was tried, failed when something broke.
pub(super) fn outcome_of(error: &Error) -> AuditOutcome {
    let code = error.code().name().to_owned();
    match error.code().fault() {
        Fault::Caller | Fault::TooLarge | Fault::Unauthenticated | Fault::Denied | Fault::Absent | Fault::State => {
            AuditOutcome::Refused { code }
        }
        Fault::Unavailable | Fault::Internal => AuditOutcome::Failed { code },
    }
}
