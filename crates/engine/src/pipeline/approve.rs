//! The stage *approve*: does the operation need the consent of others?
//!
//! Rules of approval say so (docs/decisions/0014). An operation that no rule is about costs one look into a list. One
//! that needs consent and has it runs, and its proposal is marked as executed in the operation's own transaction: two
//! who run it conflict on that row, so it runs once. One that has no consent yet is stored and waits.

use keyreeve_model::ids::{ApprovalId, EmergencyId};
use keyreeve_model::key::Cause;
use keyreeve_model::metadata::Label;
use keyreeve_model::quarantine::Place;
use keyreeve_model::record::Table;
use keyreeve_model::rules::RuleBook;
use keyreeve_model::{Change, RecordId, UnixMillis};
use keyreeve_policy::Method;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::aftermath::aftermath;
use super::arrival::Waiting;
use super::authenticate::Principal;
use super::authorize::Permit;
use super::operation::Operation;
use super::parked::consent;
use super::requirement::{needed, stands_for};
use super::resource::Resource;
use crate::catalogue;
use crate::core::Core;
use crate::error::Error;
use crate::integrity::refusal;
use crate::keys::HeldKey;
use crate::ops::forms::can_wait;
use crate::sealing::{Effect, Opened};

/// The right to execute one operation once, on what it was approved for. Only this stage makes it.
pub struct Approved<O: Operation> {
    permit: Permit<O>,
    /// The audit record that the operation will have.
    record: RecordId,
    /// What others consented to, where they were asked.
    approval: Option<ApprovalId>,
    /// What the consent itself changes: it becomes durable together with what the operation does, or not at all.
    pub(super) consent: Consequences,
    /// How many people consent now, besides whoever asks.
    consents: usize,
    /// Nobody was asked, for it would change nothing: then it must not.
    idle: bool,
}

/// What the stage itself leads to, besides the operation.
#[derive(Default)]
pub(super) struct Consequences {
    /// Stored in the operation's transaction.
    pub(super) changes: Vec<Change>,
    /// Facts for the audit record.
    pub(super) details: BTreeMap<String, String>,
    /// Once the changes are durable.
    pub(super) effects: Vec<Effect>,
    /// How many people consent now, besides whoever asks.
    pub(super) consents: usize,
}

/// What the stage says to a permitted operation.
#[allow(clippy::large_enum_variant, reason = "the large one is the usual one, and on the way of every call")]
pub(super) enum Consent<O: Operation> {
    /// It may run now.
    Approved(Approved<O>),
    /// Others have to agree first: it is stored and recorded as waiting, and does not run.
    Waiting(Box<Waiting>, Consequences),
}

/// Asks whether others have to agree.
pub(super) async fn approve<O: Operation>(
    core: &Core,
    opened: Option<&Opened>,
    permit: Permit<O>,
    operation: &O,
    record: RecordId,
) -> Result<Consent<O>, Error> {
    let pass = |permit, details| {
        let consent = Consequences { details, ..Consequences::default() };
        Ok(Consent::Approved(Approved::new(permit, record, None, consent)))
    };
    // What runs while the server is sealed cannot be named by a rule: there is nothing to read one from. What the
    // server does when it falls due, people consented to when they asked for it.
    let Some(opened) = opened.filter(|_| permit.principal.method != Method::System) else {
        return pass(permit, BTreeMap::new());
    };
    if let Some(emergency) = permit.emergency {
        // Several people consented to the emergency: what it covers needs no more consent.
        return in_emergency(core, opened, (permit, emergency), record).await;
    }
    let rules = opened.access().rules();
    if rules.in_doubt && can_wait(O::DESCRIPTOR.name) && O::DESCRIPTOR != &catalogue::INTEGRITY_RELEASE {
        return Err(refusal(&Place::row(Table::Rules, RuleBook::current_row().as_bytes())));
    }
    // An alteration can take something out of the reach of rules that are about other operations.
    let alters = O::DESCRIPTOR.also == Some(O::DESCRIPTOR.name);
    let concerned = rules.set.concerns(O::DESCRIPTOR.name)
        || (alters && rules.set.concerns_kind(O::DESCRIPTOR.resource))
        || stands_for::<O>().is_some_and(|other| rules.set.concerns(other));
    if !concerned || operation.is_trial() {
        return pass(permit, BTreeMap::new());
    }
    if !rules.are_in_force() {
        return pass(permit, BTreeMap::from([("governance".to_owned(), "founding".to_owned())]));
    }
    let Some(needed) = needed(core, &opened.access(), &rules, &permit, operation)? else {
        return pass(permit, BTreeMap::new());
    };
    let requirement = needed.requirement.clone();
    let mut consent = if requirement.seats.is_empty() {
        let names: Vec<&str> = requirement.rules.iter().map(|rule| rule.as_str()).collect();
        let details = BTreeMap::from([("rules".to_owned(), names.join(" "))]);
        let consent = Consequences { details, ..Consequences::default() };
        Consent::Approved(Approved::new(permit, record, None, consent))
    } else {
        consent(core, opened, needed, (permit, operation, record)).await?
    };
    if let Consent::Approved(approved) = &mut consent
        && !approved.is_idle()
    {
        aftermath(core, opened, &requirement, approved, operation).await?;
    }
    Ok(consent)
}

/// What somebody may do by an emergency is told at once.
async fn in_emergency<O: Operation>(
    core: &Core,
    opened: &Opened,
    (permit, emergency): (Permit<O>, EmergencyId),
    record: RecordId,
) -> Result<Consent<O>, Error> {
    let key = permit.resource.key().ok_or_else(|| Error::internal("an emergency is about keys"))?;
    let (who, now) = (&permit.principal.name, permit.now);
    let used = core.used_in_emergency(opened, emergency, (who, O::DESCRIPTOR, key), (record, now)).await?;
    let consent = Consequences { changes: used.changes, details: used.details, effects: used.effects, consents: 0 };
    Ok(Consent::Approved(Approved::new(permit, record, None, consent)))
}

impl<O: Operation> Approved<O> {
    pub(super) fn new(
        permit: Permit<O>,
        record: RecordId,
        approval: Option<ApprovalId>,
        consent: Consequences,
    ) -> Self {
        let consents = consent.consents;
        Self { permit, record, approval, consent, consents, idle: false }
    }

    /// What would change nothing: nobody has to agree to that.
    pub(super) fn idle(mut self) -> Self {
        self.idle = true;
        self
    }

    /// Whether it may run only if it changes nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// The permit again, of what was only rehearsed.
    pub(super) fn into_permit(self) -> Permit<O> {
        self.permit
    }

    /// Who asks.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.permit.principal
    }

    /// The instant the operation happens at.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.permit.now
    }

    /// The audit record that it will have when it is done.
    #[must_use]
    pub fn record(&self) -> RecordId {
        self.record
    }

    /// The proposal that others consented to, where they were asked.
    #[must_use]
    pub fn approval(&self) -> Option<ApprovalId> {
        self.approval
    }

    /// How many people consent to it now, besides whoever asks: each counts once, and only as they are now.
    #[must_use]
    pub fn consents(&self) -> usize {
        self.consents
    }

    /// From which address the request came.
    #[must_use]
    pub fn source(&self) -> Option<std::net::IpAddr> {
        self.permit.source
    }

    /// What it acts on.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.permit.resource
    }

    /// The key it acts on.
    pub(crate) fn key(&self) -> Result<&Arc<HeldKey>, Error> {
        self.permit.resource.key().ok_or_else(|| Error::internal("the operation's target is not a key"))
    }

    /// The second key it acts on.
    pub(crate) fn second_key(&self) -> Result<&Arc<HeldKey>, Error> {
        let second = self.permit.second.as_ref().and_then(Resource::key);
        second.ok_or_else(|| Error::internal("the operation has no second key"))
    }

    /// Who, when and why, for a key's history.
    pub(crate) fn cause(&self, reason: &Label) -> Cause {
        Cause { by: self.permit.principal.name.clone(), reason: reason.clone(), now: self.permit.now }
    }
}
