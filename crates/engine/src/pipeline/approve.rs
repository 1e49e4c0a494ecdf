//! The stage *approve*: does the operation need the consent of others?
//!
//! Approval rules come with their own requirements (A6); until then every permitted operation is approved. `Approved`
//! stands and keeps operations from running without this stage. The function is not yet what rules need: it does not
//! wait and sees nothing but the permit. docs/decisions/0014 says what it must become.

use keyreeve_model::UnixMillis;
use keyreeve_model::key::Cause;
use keyreeve_model::metadata::Label;
use std::sync::Arc;

use super::authenticate::Principal;
use super::authorize::{Permit, Resource};
use super::operation::Operation;
use crate::error::Error;
use crate::keys::HeldKey;

/// The right to execute one operation once, on what it was approved for. Only this stage makes it.
pub struct Approved<O: Operation> {
    permit: Permit<O>,
}

/// Consents to a permitted operation.
pub(super) fn approve<O: Operation>(permit: Permit<O>) -> Approved<O> {
    Approved { permit }
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
