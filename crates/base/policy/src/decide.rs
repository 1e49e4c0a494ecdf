//! One decision: small entities are built for the request, Cedar is asked, its answer is made safe.

use crate::action::ResourceKind;
use crate::analysis::{ContextMask, Mentions};
use crate::name::PolicyName;
use crate::request::{
    ContextAttrs, KeyAttrs, KeyringAttrs, PrincipalAttrs, Request, ResourceAttrs, ResourceDetails, Revision,
};
use crate::schema::NAMESPACE;
use crate::set::{ActionEntry, PolicySet, full_message, number_of};
use crate::thresholds::clamped;
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    RestrictedExpression as Value,
};
use std::collections::BTreeMap;
use std::fmt;

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Whether the action may go on.
    pub allowed: bool,
    /// The policies that permitted it; empty unless `allowed`. Sorted.
    pub reasons: Vec<PolicyName>,
    /// The policies that forbade it. Sorted.
    pub denied_by: Vec<PolicyName>,
    /// What could not be evaluated; any entry here means refused.
    pub errors: Vec<EvaluationFailure>,
}

/// A policy, or the request itself, that could not be evaluated. For operators and the audit log, not for the caller:
/// it speaks about policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationFailure {
    /// The policy; `None` when the request could not be put at all.
    pub policy: Option<PolicyName>,
    /// What happened.
    pub message: String,
}

impl fmt::Display for EvaluationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "policy `{policy}` could not be evaluated: {}", self.message),
            None => write!(f, "the request could not be decided: {}", self.message),
        }
    }
}

impl Decision {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        let failure = EvaluationFailure { policy: None, message: message.into() };
        Self { errors: vec![failure], ..Self::default() }
    }

    /// Allowed is what both allow.
    fn and(self, other: Self) -> Self {
        let both = |mut one: Vec<PolicyName>, other: Vec<PolicyName>| {
            one.extend(other);
            one.sort_unstable();
            one.dedup();
            one
        };
        let allowed = self.allowed && other.allowed;
        let mut errors = self.errors;
        errors.extend(other.errors.into_iter().filter(|error| !errors.contains(error)).collect::<Vec<_>>());
        let reasons = if allowed { both(self.reasons, other.reasons) } else { Vec::new() };
        Self { allowed, reasons, denied_by: both(self.denied_by, other.denied_by), errors }
    }
}

/// The schema's type names, parsed once.
#[derive(Debug)]
pub(crate) struct Types {
    action: EntityTypeName,
    role: EntityTypeName,
    encryption_context: EntityTypeName,
    kinds: BTreeMap<ResourceKind, EntityTypeName>,
}

impl Types {
    pub(crate) fn new() -> Self {
        Self {
            action: type_name("Action"),
            role: type_name("Role"),
            encryption_context: type_name("EncryptionContext"),
            kinds: ResourceKind::ALL.into_iter().map(|kind| (kind, type_name(kind.name()))).collect(),
        }
    }

    pub(crate) fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }

    fn of(&self, kind: ResourceKind, id: &str) -> EntityUid {
        uid(&self.kinds[&kind], id)
    }
}

fn type_name(name: &str) -> EntityTypeName {
    #[expect(clippy::expect_used, reason = "the names are constants of this crate, and plain identifiers")]
    format!("{NAMESPACE}::{name}").parse().expect("a plain identifier is a type name")
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// How the resource of a request is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// As what it is. Whoever manages themselves is seen as they are now.
    Usual,
    /// A principal, even the one who asks, as another than everybody who asks, with the attributes it shall have.
    Apart,
}

/// Makes an id that no principal has: there is no space in names.
const APART: &str = " as it shall be";

impl View {
    /// The ways in which a request is looked at: whoever alters themselves must be allowed to do that to who they are
    /// and to whom they would become.
    pub(crate) fn of(request: &Request<'_>) -> (Self, &'static [Self]) {
        let others: &[Self] = if Self::becomes_another(request) { &[Self::Apart] } else { &[] };
        (Self::Usual, others)
    }

    /// As what a principal is looked at, where it is compared with what it was.
    pub(crate) fn to_compare(principal: &PrincipalAttrs, resource: &ResourceAttrs) -> Self {
        match &resource.details {
            ResourceDetails::Principal(managed) if managed.id == principal.id => Self::Apart,
            _ => Self::Usual,
        }
    }

    fn becomes_another(request: &Request<'_>) -> bool {
        let ResourceDetails::Principal(next) = &request.resource.details else { return false };
        let now = request.principal;
        let same = || now.kind == next.kind && now.networks == next.networks;
        now.id == next.id
            && request.resource.revision == Revision::Unstored
            && !(now.roles == next.roles && now.labels == next.labels && same())
    }
}

/// A request in Cedar's terms.
pub(crate) struct Question {
    pub(crate) request: cedar_policy::Request,
    pub(crate) entities: Entities,
}

impl PolicySet {
    /// Decides. Pure: the same request and the same policies always give the same answer.
    ///
    /// Refused are: what no policy permits, what a policy forbids, an action that is not in the catalogue, a resource
    /// of another kind than the action's, and anything a policy fails on.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        match self.entry(request) {
            Ok(entry) => self.decide_entry(entry, request),
            Err(message) => Decision::refused(message),
        }
    }

    /// What is known about the request's action, if the request fits it.
    pub(crate) fn entry(&self, request: &Request<'_>) -> Result<&ActionEntry, String> {
        let entry = self.action(request.action).ok_or_else(|| format!("there is no action `{}`", request.action))?;
        let (wanted, given) = (entry.spec.resource, request.resource.details.kind());
        if wanted != given {
            return Err(format!(
                "`{}` is decided on a {}, and was asked about a {}",
                request.action,
                wanted.name(),
                given.name()
            ));
        }
        Ok(entry)
    }

    fn decide_entry(&self, entry: &ActionEntry, request: &Request<'_>) -> Decision {
        let decide = |view: &View| self.decide_view(entry, request, *view);
        let (first, others) = View::of(request);
        others.iter().map(decide).fold(decide(&first), Decision::and)
    }

    /// Decides, looking at the resource in one way.
    pub(crate) fn decide_view(&self, entry: &ActionEntry, request: &Request<'_>, view: View) -> Decision {
        let question = match self.question(entry, request, view) {
            Ok(question) => question,
            Err(message) => return Decision::refused(message),
        };
        let response = Authorizer::new().is_authorized(&question.request, &entry.cedar, &question.entities);
        let diagnostics = response.diagnostics();
        let mut errors: Vec<EvaluationFailure> = diagnostics.errors().map(|e| self.failure(e)).collect();
        errors.sort_by(|a, b| (&a.policy, &a.message).cmp(&(&b.policy, &b.message)));
        let mut decisive: Vec<PolicyName> = diagnostics.reason().filter_map(|id| self.policy_of(id)).collect();
        decisive.sort_unstable();
        decisive.dedup();
        match response.decision() {
            // Cedar left the failing policy out; had it been a `forbid`, this would be wrong. So it is a refusal.
            cedar_policy::Decision::Allow if !errors.is_empty() => Decision { errors, ..Decision::default() },
            cedar_policy::Decision::Allow => Decision { allowed: true, reasons: decisive, ..Decision::default() },
            cedar_policy::Decision::Deny => Decision { denied_by: decisive, errors, ..Decision::default() },
        }
    }

    fn policy_of(&self, id: &PolicyId) -> Option<PolicyName> {
        self.statements.get(number_of(id)?).map(|s| s.policy.clone())
    }

    fn failure(&self, error: &AuthorizationError) -> EvaluationFailure {
        let AuthorizationError::PolicyEvaluationError(e) = error;
        EvaluationFailure { policy: self.policy_of(e.policy_id()), message: full_message(e.inner()) }
    }

    /// Puts the request in Cedar's terms, with the attributes some policy about this action mentions.
    pub(crate) fn question(&self, entry: &ActionEntry, request: &Request<'_>, view: View) -> Result<Question, String> {
        let builder = Builder { types: &self.types, mentions: &entry.mentions };
        let context = builder.context(request.principal, request.context)?;
        let principal = builder.principal(request.principal)?;
        let resource = builder.resource(request.resource, view)?;
        let (principal_uid, resource_uid) = (principal.uid(), resource.uid());
        let mut entities = vec![entry.entity.clone(), principal];
        // Somebody may be managing themselves. Cedar knows each entity once, and it must not be the managed one: a
        // decision would be made with the roles that somebody wants to have. See `View` for how that one is looked at.
        if resource_uid != principal_uid {
            entities.push(resource);
        }
        entities.extend(builder.encryption_context(request.context)?);
        let entities = Entities::from_entities(entities, None).map_err(|e| full_message(&e))?;
        let request = cedar_policy::Request::new(principal_uid, entry.uid.clone(), resource_uid, context, None)
            .map_err(|e| full_message(&e))?;
        Ok(Question { request, entities })
    }
}

/// The id of the one entity whose tags are the encryption context.
const ENCRYPTION_CONTEXT_ID: &str = "request";

type Pairs = Vec<(String, Value)>;

/// Builds entities with the mentioned attributes only.
struct Builder<'a> {
    types: &'a Types,
    mentions: &'a Mentions,
}

impl Builder<'_> {
    fn context(&self, principal: &PrincipalAttrs, context: &ContextAttrs<'_>) -> Result<Context, String> {
        let wanted = |attribute| self.mentions.context.has(attribute);
        let mut pairs: Pairs = Vec::new();
        let mut add = |name: &str, value: Value| pairs.push((name.to_owned(), value));
        if let Some(ip) = context.source_ip.filter(|_| wanted(ContextMask::SOURCE_IP)) {
            add("source_ip", Value::new_ip(ip.to_canonical().to_string()));
        }
        if wanted(ContextMask::IN_NETWORKS) {
            add("in_principal_networks", Value::new_bool(principal.may_call_from(context.source_ip)));
        }
        if wanted(ContextMask::TIME) {
            add("time", Value::new_datetime(datetime(context.seconds())?));
        }
        if wanted(ContextMask::METHOD) {
            add("method", Value::new_string(context.method.name().to_owned()));
        }
        if let Some(age) = context.mfa_age_seconds.filter(|_| wanted(ContextMask::MFA_AGE)) {
            add("mfa_age_seconds", Value::new_long(clamped(age)));
        }
        if let Some(kind) = context.mfa_kind.filter(|_| wanted(ContextMask::MFA_KIND)) {
            add("mfa_kind", string(kind.name()));
        }
        if let Some(login) = context.login.filter(|_| wanted(ContextMask::LOGIN)) {
            add("login", string(login));
        }
        if wanted(ContextMask::EMERGENCY) {
            add("emergency", Value::new_bool(context.emergency));
        }
        if wanted(ContextMask::ENCRYPTION_CONTEXT) {
            let entity = uid(&self.types.encryption_context, ENCRYPTION_CONTEXT_ID);
            add("encryption_context", Value::new_entity_uid(entity));
        }
        if wanted(ContextMask::ITEMS) {
            add("items", Value::new_long(clamped(context.items)));
        }
        Context::from_pairs(pairs).map_err(|e| full_message(&e))
    }

    fn encryption_context(&self, context: &ContextAttrs<'_>) -> Result<Option<Entity>, String> {
        if !self.mentions.context.has(ContextMask::ENCRYPTION_CONTEXT) {
            return Ok(None);
        }
        let entity = uid(&self.types.encryption_context, ENCRYPTION_CONTEXT_ID);
        let tags = context.encryption_context.map(tags).unwrap_or_default();
        Entity::new_with_tags(entity, [], [], tags).map(Some).map_err(|e| full_message(&e))
    }

    fn principal(&self, principal: &PrincipalAttrs) -> Result<Entity, String> {
        let networks = || Value::new_set(principal.networks.iter().map(|n| Value::new_ip(n.to_string())));
        let attrs = self.mentioned([
            ("name", &|| string(&principal.name)),
            ("kind", &|| string(principal.kind.name())),
            ("networks", &networks),
        ]);
        let roles = principal.roles.iter().map(|role| uid(&self.types.role, role)).collect();
        self.entity(ResourceKind::Principal, &principal.id, attrs, roles, &principal.labels)
    }

    fn resource(&self, resource: &ResourceAttrs, view: View) -> Result<Entity, String> {
        let (kind, id) = (resource.details.kind(), &resource.id);
        let plain = |attrs: Pairs| self.entity(kind, id, attrs, Vec::new(), &BTreeMap::new());
        match &resource.details {
            ResourceDetails::System | ResourceDetails::Audit => plain(Vec::new()),
            ResourceDetails::Token { principal } => plain(self.mentioned([("principal", &|| string(principal))])),
            ResourceDetails::Policy => plain(self.mentioned([("name", &|| string(id))])),
            ResourceDetails::Grant { principal, key } => {
                plain(self.mentioned([("principal", &|| string(principal)), ("key", &|| string(key))]))
            }
            ResourceDetails::Approval { operation, proposer } => {
                plain(self.mentioned([("operation", &|| string(operation)), ("proposer", &|| string(proposer))]))
            }
            ResourceDetails::Login { name, kind } => {
                plain(self.mentioned([("name", &|| string(name)), ("kind", &|| string(kind))]))
            }
            ResourceDetails::Case { kind } => plain(self.mentioned([("kind", &|| string(kind))])),
            ResourceDetails::Keyring(keyring) => {
                self.entity(kind, id, self.keyring(keyring), Vec::new(), &keyring.labels)
            }
            ResourceDetails::Key(key) => {
                let parent = self.types.of(ResourceKind::Keyring, &key.keyring_id);
                self.entity(kind, id, self.key(key), vec![parent], &key.labels)
            }
            ResourceDetails::Principal(principal) if principal.id == *id => match view {
                View::Usual => self.principal(principal),
                View::Apart => {
                    let id = format!("{}{APART}", principal.id);
                    self.principal(&PrincipalAttrs { id, ..(**principal).clone() })
                }
            },
            ResourceDetails::Principal(_) => Err("the managed principal has two different ids".to_owned()),
        }
    }

    fn keyring(&self, keyring: &KeyringAttrs) -> Pairs {
        self.mentioned([
            ("name", &|| string(&keyring.name)),
            ("classification", &|| Value::new_long(keyring.classification.into())),
            ("environment", &|| string(&keyring.environment)),
            ("owner", &|| string(&keyring.owner)),
        ])
    }

    fn key(&self, key: &KeyAttrs) -> Pairs {
        self.mentioned([
            ("keyring", &|| string(&key.keyring)),
            ("aliases", &|| strings(&key.aliases)),
            ("algorithm", &|| string(&key.algorithm)),
            ("purpose", &|| string(&key.purpose)),
            ("state", &|| string(&key.state)),
            ("classification", &|| Value::new_long(key.classification.into())),
            ("environment", &|| string(&key.environment)),
            ("owner", &|| string(&key.owner)),
            ("custodians", &|| strings(&key.custodians)),
            ("consumers", &|| strings(&key.consumers)),
            ("hold", &|| Value::new_bool(key.hold)),
            ("incident", &|| Value::new_bool(key.incident)),
            ("exportable", &|| Value::new_bool(key.exportable)),
        ])
    }

    fn mentioned<const N: usize>(&self, attrs: [(&str, &dyn Fn() -> Value); N]) -> Pairs {
        let wanted = attrs.into_iter().filter(|(name, _)| self.mentions.attribute(name));
        wanted.map(|(name, value)| (name.to_owned(), value())).collect()
    }

    fn entity(
        &self,
        kind: ResourceKind,
        id: &str,
        attrs: Pairs,
        parents: Vec<EntityUid>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Entity, String> {
        let tags = if self.mentions.tags { tags(labels) } else { Vec::new() };
        Entity::new_with_tags(self.types.of(kind, id), attrs, parents, tags).map_err(|e| full_message(&e))
    }
}

fn tags(labels: &BTreeMap<String, String>) -> Pairs {
    labels.iter().map(|(name, value)| (name.clone(), string(value))).collect()
}

fn string(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn strings(texts: &[String]) -> Value {
    Value::new_set(texts.iter().map(|text| string(text)))
}

/// Seconds since 1970 in the form Cedar reads, years 0000 to 9999 (civil-from-days, H. Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms").
fn datetime(seconds: i64) -> Result<String, String> {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days.saturating_add(719_468);
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return Err("the time is outside the years 0000 to 9999".to_owned());
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetimes_are_civil() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(datetime(seconds).as_deref(), Ok(text));
        }
        for out in [253_402_300_800, -62_167_219_201, i64::MAX, i64::MIN] {
            assert!(datetime(out).is_err(), "{out}");
        }
    }
}
