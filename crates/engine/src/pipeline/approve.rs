//! The stage *approve*: does the operation need the consent of others?
//!
//! Approval rules come with their own requirements (A6); until then every permitted operation is approved. `Approved`
//! stands and keeps operations from running without this stage. docs/decisions/0014 says how rules enter it.

use keyreeve_model::key::Cause;
use keyreeve_model::metadata::Label;
use keyreeve_model::{Change, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::arrival::Waiting;
use super::authenticate::Principal;
use super::authorize::{Permit, Resource};
use super::operation::Operation;
use crate::core::Core;
use crate::error::Error;
use crate::keys::HeldKey;
use crate::sealing::{Effect, Opened};

/// The right to execute one operation once, on what it was approved for. Only this stage makes it.
pub struct Approved<O: Operation> {
    permit: Permit<O>,
    /// What the consent itself changes: it becomes durable together with what the operation does, or not at all.
    pub(super) consent: Consequences,
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
}

/// What the stage says to a permitted operation.
#[allow(clippy::large_enum_variant, reason = "the large one is the usual one, and on the way of every call")]
pub(super) enum Consent<O: Operation> {
    /// It may run now.
    Approved(Approved<O>),
    /// Others have to agree first: it is stored and recorded as waiting, and does not run.
    #[allow(dead_code, reason = "no rule makes anything wait yet")]
    Waiting(Box<Waiting>, Consequences),
}

/// Asks whether others have to agree.
#[allow(clippy::unused_async, reason = "rules read what is stored")]
pub(super) async fn approve<O: Operation>(
    _core: &Core,
    _opened: Option<&Opened>,
    permit: Permit<O>,
    _operation: &O,
) -> Result<Consent<O>, Error> {
    Ok(Consent::Approved(Approved { permit, consent: Consequences::default() }))
}

impl<O: Operation> Approved<O> {
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
