//! The stage *authorize*: whether policy allows what is asked for.

use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::ids::{EmergencyId, GrantId};
use keyreeve_model::{EncryptionContext, Name, UnixMillis};
use keyreeve_policy::{ContextAttrs, Decision, Method, MfaKind as AttrsMfaKind, Request};
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use super::authenticate::Principal;
use super::operation::Operation;
use super::record::Draft;
use super::resource::Resource;
use super::shadow::Shadow;
use crate::access::{AccessSnapshot, Asked, Granting};
use crate::catalogue::Descriptor;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// The right to execute one operation, given by policy. Only this stage makes it.
pub struct Permit<O: Operation> {
    pub(super) principal: Principal,
    pub(super) resource: Resource,
    pub(super) second: Option<Resource>,
    pub(super) now: UnixMillis,
    pub(super) source: Option<IpAddr>,
    /// The emergency that it is given by, where policy alone does not give it.
    pub(super) emergency: Option<EmergencyId>,
    /// The grants that allowed it, where policies were silent.
    pub(super) grants: Vec<GrantId>,
    operation: PhantomData<fn() -> O>,
}

impl<O: Operation> Permit<O> {
    /// Who asks.
    pub(crate) fn asker(&self) -> &Name {
        &self.principal.name
    }

    /// What it acts on.
    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }
}

/// One question for policy.
pub(super) struct Question<'a> {
    pub(super) principal: &'a Principal,
    pub(super) action: &'static Descriptor,
    pub(super) resource: &'a Resource,
    pub(super) context: ContextAttrs<'a>,
}

impl Question<'_> {
    /// As policies are asked, under these circumstances.
    pub(super) fn request<'r>(&'r self, context: &'r ContextAttrs<'r>) -> Request<'r> {
        Request { principal: &self.principal.attrs, action: self.action.name, resource: &self.resource.attrs, context }
    }
}

/// The circumstances of a request, and the only place that says what of a call's circumstances policies see. What is
/// asked without a call is asked under [`ContextAttrs::assumed`], or, for calls of the past, as their records tell
/// (`ops/policies/simulate.rs`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// From which address.
    pub(crate) source: Option<IpAddr>,
    /// At which instant.
    pub(crate) now: UnixMillis,
    /// How the principal proved itself.
    pub(crate) method: Method,
    /// The last proof of a second factor.
    pub(crate) mfa: Option<&'a MfaProof>,
    /// The login method that the session came from.
    pub(crate) login: Option<&'a Name>,
}

impl<'a> Circumstances<'a> {
    /// Those of a call.
    pub(crate) fn of(principal: &'a Principal, source: Option<IpAddr>, now: UnixMillis) -> Self {
        // A token that somebody issued has a session only for its proofs: it came from no login.
        let session = principal.session.as_ref().filter(|session| !session.is_issued());
        let login = session.map(|session| &session.login);
        Self { source, now, method: principal.method, mfa: principal.mfa(), login }
    }

    /// How old the second factor's proof is, in seconds.
    pub(crate) fn mfa_age_seconds(&self) -> Option<u64> {
        self.mfa.and_then(|mfa| mfa.age_seconds(self.now))
    }

    /// As policies see them, with what the request carries.
    pub(crate) fn context(self, context: Option<&'a EncryptionContext>, items: usize) -> ContextAttrs<'a> {
        let mfa_age_seconds = self.mfa_age_seconds();
        ContextAttrs {
            source_ip: self.source,
            time_ms: self.now.0,
            method: self.method,
            mfa_age_seconds,
            mfa_kind: self.mfa.filter(|_| mfa_age_seconds.is_some()).map(|mfa| attrs_kind(mfa.kind)),
            login: self.login.map(Name::as_str),
            emergency: false,
            encryption_context: context.map(EncryptionContext::pairs),
            items: items as u64,
        }
    }
}

fn attrs_kind(kind: MfaKind) -> AttrsMfaKind {
    match kind {
        MfaKind::Totp => AttrsMfaKind::Totp,
        MfaKind::Webauthn => AttrsMfaKind::WebAuthn,
        MfaKind::Recovery => AttrsMfaKind::Recovery,
        MfaKind::Provider => AttrsMfaKind::Provider,
    }
}

/// Asks policy; on yes the operation gets its permit. A draft on trial is asked as well, and what it would have decided
/// otherwise is noted in the record.
pub(super) fn authorize<O: Operation>(
    core: &Core,
    opened: Option<&Opened>,
    operation: &O,
    (principal, source, now): (Principal, Option<IpAddr>, UnixMillis),
    (resource, second): (Resource, Option<Resource>),
    draft: &mut Draft,
) -> Result<Permit<O>, Error> {
    let (circumstances, items) = (Circumstances::of(&principal, source, now), operation.items());
    let context = circumstances.context(operation.context(), items);
    let question = Question { principal: &principal, action: O::DESCRIPTOR, resource: &resource, context };
    let also = operation.also();
    debug_assert_eq!(
        also.as_ref().map(|also| also.action.name),
        O::DESCRIPTOR.also,
        "the catalogue tells which second action must be allowed"
    );
    let another = also.as_ref().zip(second.as_ref()).map(|(also, second)| {
        let context = circumstances.context(also.context, items);
        Question { principal: &principal, action: also.action, resource: second, context }
    });
    // One view for the policies and the draft: what is replaced in between makes no difference of theirs.
    let access = opened.map(Opened::access);
    let access = access.as_ref().map(|access| &***access);
    let decided = decide_all(core, opened.zip(access), &question, another.as_ref(), now);
    if let (Some(opened), Some(access)) = (opened, access)
        && let Some(trial) = access.draft()
    {
        let asked: SmallVec<[&Question<'_>; 2]> = std::iter::once(&question).chain(&another).collect();
        draft.shadowed(Shadow::of((core, opened, access), trial, decided.as_ref().map(|_| ()), &asked, now));
    }
    let (grants, emergency) = decided?;
    for found in std::iter::once(&resource).chain(&second) {
        if let Some(what) = found.missing() {
            return Err(Error::not_found(what));
        }
    }
    Ok(Permit { principal, resource, second, now, source, emergency, grants, operation: PhantomData })
}

/// All that a call is allowed by: grants, or an emergency where there is one question only.
fn decide_all(
    core: &Core,
    opened: Option<(&Opened, &AccessSnapshot)>,
    question: &Question<'_>,
    another: Option<&Question<'_>>,
    now: UnixMillis,
) -> Result<(Vec<GrantId>, Option<EmergencyId>), Error> {
    let (mut grants, access) = (Vec::new(), opened.map(|(_, access)| access));
    let emergency = match decide(core, access, question) {
        Err(refused) if another.is_none() => Some(in_emergency(core, opened, question, now)?.ok_or(refused)?),
        decided => {
            grants.extend(decided?);
            None
        }
    };
    if let Some(another) = another {
        grants.extend(decide(core, access, another)?);
    }
    Ok((grants, emergency))
}

/// The emergency by which somebody may do what policy does not allow by itself. What a policy forbids stays forbidden,
/// unless the policy itself makes an exception for emergencies.
fn in_emergency(
    core: &Core,
    opened: Option<(&Opened, &AccessSnapshot)>,
    question: &Question<'_>,
    now: UnixMillis,
) -> Result<Option<EmergencyId>, Error> {
    let (Some((opened, access)), Some(key)) = (opened, question.resource.key()) else { return Ok(None) };
    let Some(emergency) = core.covering(opened, question.principal, question.action, key, now)? else {
        return Ok(None);
    };
    let context = ContextAttrs { emergency: true, ..question.context };
    let decision = access.policies().cache.decide(&question.request(&context));
    Ok((decision.denied_by.is_empty() && decision.errors.is_empty()).then_some(emergency))
}

/// Asks policy, and grants where policy is silent: what a policy forbids, or fails on, no grant allows. Tells the grant
/// that it took.
fn decide(core: &Core, access: Option<&AccessSnapshot>, question: &Question<'_>) -> Result<Option<GrantId>, Error> {
    let request = question.request(&question.context);
    let decision = match access {
        Some(access) => access.policies().cache.decide(&request),
        None => core.shipped_policies().decide(&request),
    };
    if decision.allowed {
        return Ok(None);
    }
    if question.principal.method == Method::Anonymous {
        let text = "no credential was sent: send `Authorization: Bearer <token>` or a client certificate";
        return Err(Error::new(Code::Unauthenticated, text));
    }
    let granting = access.map_or(Granting::No, |access| granted(access, &decision, &question.principal.name, &request));
    if let Granting::Yes(grant) = granting {
        return Ok(Some(grant));
    }
    if granting == Granting::NeedsMfa || needs_only_mfa(access, question.principal, &request) {
        let text = "policy demands a second factor for this, shown not long ago";
        return Err(Error::new(Code::MfaNeeded, text));
    }
    let (who, action) = (&question.principal.name, question.action.name);
    // Whoever may not ask why is not told to ask.
    let why = if question.action == &crate::catalogue::POLICY_EXPLAIN {
        "an operator or auditor can ask why"
    } else {
        "`keyreeve policy explain` tells why"
    };
    let text = format!("policy does not allow `{who}` to do `{action}` here: {why}");
    Err(Error::new(Code::Denied, text))
}

/// What grants say where policies are silent.
pub(crate) fn granted(
    access: &AccessSnapshot,
    decision: &Decision,
    principal: &Name,
    request: &Request<'_>,
) -> Granting {
    let silent = !decision.allowed && decision.denied_by.is_empty() && decision.errors.is_empty();
    let Some(holder) = access.principal(principal).filter(|_| silent) else { return Granting::No };
    let asked = Asked {
        principal,
        kind: holder.record.kind,
        since: holder.record.created,
        action: request.action,
        resource: request.resource,
        context: request.context,
    };
    access.grants().ask(&asked, UnixMillis(request.context.time_ms))
}

/// Whether the answer would be yes to somebody who has just shown a second factor.
fn needs_only_mfa(access: Option<&AccessSnapshot>, principal: &Principal, request: &Request<'_>) -> bool {
    let Some(access) = access else { return false };
    let shown = ContextAttrs {
        mfa_age_seconds: Some(0),
        mfa_kind: Some(request.context.mfa_kind.unwrap_or(AttrsMfaKind::Totp)),
        ..*request.context
    };
    let shown = Request { context: &shown, ..*request };
    let decision = access.policies().cache.decide(&shown);
    decision.allowed || granted(access, &decision, &principal.name, &shown) != Granting::No
}

impl Core {
    /// The same, where a second factor may still be missing for it.
    pub(crate) fn may_but_for_mfa<O: Operation>(
        &self,
        approved: &super::approve::Approved<O>,
        action: &'static Descriptor,
    ) -> Result<bool, Error> {
        let opened = self.need_open()?;
        let principal = approved.principal();
        let context = Circumstances::of(principal, approved.source(), approved.now()).context(None, 1);
        let question = Question { principal, action, resource: approved.resource(), context };
        Ok(match decide(self, Some(&opened.access()), &question) {
            Ok(_) => true,
            Err(error) => error.code() == Code::MfaNeeded,
        })
    }

    /// Whether the same principal may also do something else to the same resource.
    pub(crate) fn may<O: Operation>(
        &self,
        approved: &super::approve::Approved<O>,
        action: &'static Descriptor,
    ) -> Result<bool, Error> {
        let opened = self.need_open()?;
        let principal = approved.principal();
        let (source, now) = (approved.source(), approved.now());
        let context = Circumstances::of(principal, source, now).context(None, 1);
        let question = Question { principal, action, resource: approved.resource(), context };
        Ok(decide(self, Some(&opened.access()), &question).is_ok())
    }

    /// Whether the same principal may also do something that is about the server as a whole.
    pub(crate) fn may_on_server<O: Operation>(
        &self,
        approved: &super::approve::Approved<O>,
        action: &'static Descriptor,
    ) -> Result<bool, Error> {
        let opened = self.need_open()?;
        let principal = approved.principal();
        let context = Circumstances::of(principal, approved.source(), approved.now()).context(None, 1);
        let resource = Resource::system();
        let question = Question { principal, action, resource: &resource, context };
        Ok(decide(self, Some(&opened.access()), &question).is_ok())
    }

    /// Refuses what somebody is allowed only by roles that are not those of their record: a login adds them, or a grant
    /// for a time.
    pub(crate) fn refuse_borrowed<O: Operation>(&self, approved: &super::approve::Approved<O>) -> Result<(), Error> {
        let opened = self.need_open()?;
        let (access, asker) = (opened.access(), approved.principal());
        let held = access.principal(&asker.name).ok_or_else(|| Error::internal("a principal that is not there"))?;
        let principal = Principal { attrs: Arc::clone(&held.attrs), elevations: Vec::new(), ..asker.clone() };
        let context = Circumstances::of(&principal, approved.source(), approved.now()).context(None, 1);
        let action = O::DESCRIPTOR;
        let question = Question { principal: &principal, action, resource: approved.resource(), context };
        if decide(self, Some(&access), &question).is_ok() {
            return Ok(());
        }
        let text = format!(
            "`{}` is for roles of one's own: those that a login gives, or a grant for a time, do not count for it",
            action.name
        );
        Err(Error::new(Code::Denied, text))
    }
}
