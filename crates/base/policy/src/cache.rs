//! Remembered decisions.
//!
//! A decision may be remembered only as long as everything it was made from is the same. So the key holds all of it:
//! principal and its revision, action, kind and id of the resource and its revision, and the context attributes that
//! the policies about this action mention (found when they are compiled; see `analysis`), numbers as exactly as the
//! policies tell them apart (see `thresholds`). A revision that grew makes
//! another key, so the very next request is decided afresh; there is nothing to invalidate and so nothing to forget.
//! The cache belongs to one compiled policy set: other policies, another cache. Keys are compared in full, never by
//! their hash alone.

use crate::action::ResourceKind;
use crate::analysis::{ContextMask, Mentions};
use crate::decide::Decision;
use crate::request::{ContextAttrs, Method, MfaKind, PrincipalAttrs, Request, ResourceAttrs, Revision, Subject};
use crate::set::PolicySet;
use quick_cache::{Equivalent, sync::Cache};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Requests with a longer encryption context (bytes of names and values) are decided without the cache where policies
/// look at it, so that memory stays bounded by the number of entries.
const MAX_CONTEXT_BYTES: usize = 1024;

/// Generic in how text is held, so that looking up borrows and only storing allocates. Both forms hash alike because
/// borrowed and owned text do.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key<S, M> {
    principal: S,
    resource: S,
    principal_revision: Revision,
    resource_revision: Revision,
    action: usize,
    kind: ResourceKind,
    context: Fingerprint<S, M>,
}

/// The mentioned context attributes; the others are `None` whatever their value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fingerprint<S, M> {
    source_ip: Option<Option<IpAddr>>,
    time: Option<(i64, i64)>,
    method: Option<Method>,
    mfa_age: Option<Option<i64>>,
    mfa_kind: Option<Option<MfaKind>>,
    login: Option<Option<S>>,
    emergency: Option<bool>,
    items: Option<i64>,
    encryption_context: Option<M>,
}

type Owned = Key<Box<str>, BTreeMap<String, String>>;
type Borrowed<'a> = Key<&'a str, &'a BTreeMap<String, String>>;

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

impl Equivalent<Owned> for Borrowed<'_> {
    fn equivalent(&self, owned: &Owned) -> bool {
        let (a, b) = (&self.context, &owned.context);
        self.principal == &*owned.principal
            && self.resource == &*owned.resource
            && self.principal_revision == owned.principal_revision
            && self.resource_revision == owned.resource_revision
            && self.action == owned.action
            && self.kind == owned.kind
            && a.source_ip == b.source_ip
            && a.time == b.time
            && a.method == b.method
            && a.mfa_age == b.mfa_age
            && a.mfa_kind == b.mfa_kind
            && a.login == b.login.as_ref().map(Option::as_deref)
            && a.emergency == b.emergency
            && a.items == b.items
            && a.encryption_context == b.encryption_context.as_ref()
    }
}

impl Borrowed<'_> {
    fn to_owned(&self) -> Owned {
        let c = &self.context;
        Key {
            principal: self.principal.into(),
            resource: self.resource.into(),
            principal_revision: self.principal_revision,
            resource_revision: self.resource_revision,
            action: self.action,
            kind: self.kind,
            context: Fingerprint {
                source_ip: c.source_ip,
                time: c.time,
                method: c.method,
                mfa_age: c.mfa_age,
                mfa_kind: c.mfa_kind,
                login: c.login.map(|login| login.map(Into::into)),
                emergency: c.emergency,
                items: c.items,
                encryption_context: c.encryption_context.cloned(),
            },
        }
    }
}

fn fingerprint<'a>(
    mentions: &Mentions,
    context: &ContextAttrs<'a>,
) -> Fingerprint<&'a str, &'a BTreeMap<String, String>> {
    let (mask, thresholds) = (mentions.context, &mentions.thresholds);
    // Whether the address is in the principal's networks follows from the address and the principal's revision.
    let address = mask.has(ContextMask::SOURCE_IP) || mask.has(ContextMask::IN_NETWORKS);
    Fingerprint {
        source_ip: address.then(|| context.source_ip.map(|ip| ip.to_canonical())),
        time: mask.has(ContextMask::TIME).then(|| thresholds.time(context.seconds())),
        method: mask.has(ContextMask::METHOD).then_some(context.method),
        mfa_age: mask.has(ContextMask::MFA_AGE).then(|| context.mfa_age_seconds.map(|age| thresholds.mfa_age(age))),
        mfa_kind: mask.has(ContextMask::MFA_KIND).then_some(context.mfa_kind),
        login: mask.has(ContextMask::LOGIN).then_some(context.login),
        emergency: mask.has(ContextMask::EMERGENCY).then_some(context.emergency),
        items: mask.has(ContextMask::ITEMS).then(|| thresholds.items(context.items)),
        encryption_context: mask
            .has(ContextMask::ENCRYPTION_CONTEXT)
            .then(|| context.encryption_context.unwrap_or(&EMPTY)),
    }
}

/// A policy set that remembers its decisions. Share it with an `Arc`; replace it, cache and all, when policies change.
#[derive(Debug)]
pub struct DecisionCache {
    policies: Arc<PolicySet>,
    decisions: Cache<Owned, Arc<Decision>>,
}

impl DecisionCache {
    /// An empty cache for at most `capacity` decisions (roughly 500 bytes each).
    pub fn new(policies: Arc<PolicySet>, capacity: usize) -> Self {
        Self { policies, decisions: Cache::new(capacity) }
    }

    /// The policies it decides by.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The same, to be shared with another cache over them.
    pub fn shared_policies(&self) -> Arc<PolicySet> {
        Arc::clone(&self.policies)
    }

    /// How many decisions are remembered now.
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// The same as [`PolicySet::decide`], faster the second time.
    pub fn decide(&self, request: &Request<'_>) -> Arc<Decision> {
        let Ok(entry) = self.policies.entry(request) else {
            return Arc::new(self.policies.decide(request));
        };
        let (principal, resource) = (request.principal.subject(), request.resource.subject());
        let kind = entry.spec.resource;
        let key = key(principal, entry.index, kind, resource, &entry.mentions, request.context);
        self.lookup(key, || self.policies.decide(request))
    }

    /// As [`DecisionCache::decide`] for callers that would have to build the attributes first: `attributes` is called
    /// only when the decision is not remembered, and must give attributes of exactly these ids and revisions.
    pub fn decide_with(
        &self,
        principal: Subject<'_>,
        action: &str,
        kind: ResourceKind,
        resource: Subject<'_>,
        context: &ContextAttrs<'_>,
        attributes: impl FnOnce() -> (PrincipalAttrs, ResourceAttrs),
    ) -> Arc<Decision> {
        let decide = || {
            let (p, r) = attributes();
            if p.subject() != principal || r.subject() != resource || r.details.kind() != kind {
                return Decision::refused("the attributes are not those of the principal and resource asked about");
            }
            self.policies.decide(&Request { principal: &p, action, resource: &r, context })
        };
        match self.policies.action(action) {
            Some(entry) if entry.spec.resource == kind => {
                self.lookup(key(principal, entry.index, kind, resource, &entry.mentions, context), decide)
            }
            Some(_) | None => Arc::new(decide()),
        }
    }

    fn lookup(&self, key: Option<Borrowed<'_>>, decide: impl FnOnce() -> Decision) -> Arc<Decision> {
        let Some(key) = key else { return Arc::new(decide()) };
        if let Some(known) = self.decisions.get(&key) {
            return known;
        }
        let decision = Arc::new(decide());
        self.decisions.insert(key.to_owned(), Arc::clone(&decision));
        decision
    }
}

/// The key, unless the decision must not be remembered.
fn key<'a>(
    principal: Subject<'a>,
    action: usize,
    kind: ResourceKind,
    resource: Subject<'a>,
    mentions: &Mentions,
    context: &ContextAttrs<'a>,
) -> Option<Borrowed<'a>> {
    let (principal_revision, resource_revision) = (principal.revision, resource.revision);
    if principal_revision == Revision::Unstored || resource_revision == Revision::Unstored {
        return None;
    }
    let context = fingerprint(mentions, context);
    let size: usize = context.encryption_context.iter().flat_map(|m| m.iter()).map(|(k, v)| k.len() + v.len()).sum();
    (size <= MAX_CONTEXT_BYTES).then_some(Key {
        principal: principal.id,
        resource: resource.id,
        principal_revision,
        resource_revision,
        action,
        kind,
        context,
    })
}
