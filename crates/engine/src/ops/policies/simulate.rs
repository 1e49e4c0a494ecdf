//! What a draft would have decided: requests of the past days, from the audit log, put to it and to the present
//! policies.

use keyreeve_audit::record::{Method as AuditMethod, Outcome as AuditOutcome, Record};
use keyreeve_crypto::digest::sha256;
use keyreeve_journal::Scan;
use keyreeve_model::{KeyId, Name, UnixMillis};
use keyreeve_policy::simulate::{Replay, Replayed, Simulation};
use keyreeve_policy::{
    ContextAttrs, DecisionCache, Method, MfaKind, PrincipalAttrs, Request, ResourceAttrs, ResourceKind, Revision,
};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::usable::compute;
use super::versions::{Standing, Texts, check_text};
use crate::access::AccessSnapshot;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Resource, Target, resolve_named};

/// Days looked back at most.
const DAYS_MAX: u32 = 90;
/// Records looked at in one call at most.
const RECORDS_MAX: u32 = 50_000;
/// Decisions kept of each side during one call.
const KEPT: usize = 64 * 1024;

/// Puts requests of the past to a draft of the policies.
#[derive(Debug)]
pub struct Simulate {
    /// The draft: Cedar, by name.
    pub policies: Texts,
    /// Whether the draft has no other policies than these; otherwise they join or replace the present ones.
    pub delete_others: bool,
    /// How many days back, 1 to 90.
    pub days: u32,
    /// Records of the log below this index: where the former page ended.
    pub before: Option<u64>,
    /// Records looked at, 1 to 50,000.
    pub limit: u32,
}

/// What a page of the log gave.
#[derive(Debug)]
pub struct Simulated {
    /// Records that were looked at.
    pub records: u64,
    /// How old the oldest of them is.
    pub oldest: Option<UnixMillis>,
    /// What was decided.
    pub simulation: Simulation,
    /// Records that could not be put to policies, by the reason.
    pub not_rebuilt: BTreeMap<&'static str, u64>,
    /// Where the next page begins; none when the days are done.
    pub next: Option<u64>,
}

impl Remember for Simulated {}

impl Operation for Simulate {
    const DESCRIPTOR: &'static Descriptor = &catalogue::POLICY_SIMULATE;
    type Reply = Simulated;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Simulated>, Error> {
        if !(1..=DAYS_MAX).contains(&self.days) {
            return Err(Error::invalid(format!("`days` is 1 to {DAYS_MAX}")));
        }
        for (name, text) in &self.policies {
            check_text(core, name, text)?;
        }
        let opened = core.need_open()?;
        let mut draft = if self.delete_others { Texts::new() } else { Standing::read(core, &opened).await?.texts() };
        draft.extend(self.policies.iter().map(|(name, text)| (name.clone(), text.clone())));
        let now = approved.now();
        let scan = Scan {
            from: UnixMillis(now.0.saturating_sub(i64::from(self.days) * 86_400_000)),
            until: UnixMillis(now.0.saturating_add(1)),
            before: self.before,
            limit: self.limit.clamp(1, RECORDS_MAX) as usize,
            filter: None,
        };
        let page = core.ports.journal.scan(scan).await?;
        let decode = |(_, bytes): &(u64, Vec<u8>)| Record::decode(bytes);
        // The log comes newest first; what happened is told in its order.
        let records: Vec<Record> =
            page.entries.iter().rev().map(decode).collect::<Result<_, _>>().map_err(Error::internal)?;
        let resources = resources(core, &records, now).await?;
        let (compiler, access) = (Arc::clone(&core.compiler), Arc::clone(&opened.access()));
        let work = move || {
            let texts = draft.into_iter().map(|(name, text)| (name.to_string(), text));
            let draft = DecisionCache::new(Arc::new(compiler.compile(texts)?), KEPT);
            Ok::<_, Error>(replayed(&access, &draft, &records, &resources))
        };
        let (simulation, not_rebuilt, oldest) = compute(true, work).await??;
        let count = page.entries.len() as u64;
        let changed = simulation.changed;
        let reply = Simulated { records: count, oldest, simulation, not_rebuilt, next: page.next };
        Ok(Outcome::reply(reply).detail("days", self.days).detail("records", count).detail("changed", changed))
    }
}

/// Kind and id, as records name resources.
type Named = (String, String);
/// What was found of them; nothing where there is no telling.
type Resources = HashMap<Named, Option<Arc<ResourceAttrs>>>;

/// What a record is about. A case that is to be made, or all of them, are told apart by the operation alone.
fn named(record: &Record) -> Option<Named> {
    let resource = record.resource.as_ref()?;
    let in_general = resource.kind == "case" && ["new", "all"].contains(&resource.id.as_str());
    let of_cases = || record.operation.split('.').next().unwrap_or_default().to_owned();
    Some((resource.kind.clone(), if in_general { of_cases() } else { resource.id.clone() }))
}

/// What the records are about, as it is now.
async fn resources(core: &Core, records: &[Record], now: UnixMillis) -> Result<Resources, Error> {
    let mut found = Resources::new();
    for named in records.iter().filter_map(named) {
        if let Entry::Vacant(vacant) = found.entry(named) {
            let attrs = resource_of(core, vacant.key(), now).await?.map(|resource| resource.attrs());
            vacant.insert(attrs);
        }
    }
    Ok(found)
}

async fn resource_of(core: &Core, (kind, id): &Named, now: UnixMillis) -> Result<Option<Resource>, Error> {
    let Some(kind) = ResourceKind::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(kind)) else {
        return Ok(None);
    };
    // A key that was to be made stands there as `new`, which may be somebody's alias.
    if kind == ResourceKind::Key && id.parse::<KeyId>().is_err() {
        return Ok(None);
    }
    match resolve_named(core, kind, id, now).await {
        // What is gone has no attributes that it could be decided by.
        Ok(resource) => Ok(Some(resource).filter(|resource| resource.missing().is_none())),
        Err(error) if error.code() == Code::InvalidRequest => Ok(None),
        Err(error) => Err(error),
    }
}

/// A record as the question it was.
struct Rebuilt<'a> {
    principal: Arc<PrincipalAttrs>,
    action: &'static Descriptor,
    resource: &'a Arc<ResourceAttrs>,
    context: ContextAttrs<'a>,
}

fn replayed(
    access: &AccessSnapshot,
    draft: &DecisionCache,
    records: &[Record],
    resources: &Resources,
) -> (Simulation, BTreeMap<&'static str, u64>, Option<UnixMillis>) {
    let present = DecisionCache::new(access.policies().cache.shared_policies(), KEPT);
    let mut replay = Replay::new(&present, draft);
    let mut not_rebuilt = BTreeMap::new();
    for record in records {
        match rebuilt(access, record, resources) {
            Ok(question) => replay.ask(&Replayed {
                request: Request {
                    principal: &question.principal,
                    action: question.action.name,
                    resource: question.resource,
                    context: &question.context,
                },
                resource: record.resource.as_ref().map_or("", |resource| &resource.id),
                record: &record.id.to_string(),
                allowed_then: allowed_then(record),
                granted: record.details.contains_key("granted_by") || in_emergency(record),
            }),
            Err(reason) => *not_rebuilt.entry(reason).or_insert(0) += 1,
        }
    }
    (replay.finish(), not_rebuilt, records.first().map(|record| record.time))
}

/// Whether it was done by the right of an emergency; what is done about one names it as well.
fn in_emergency(record: &Record) -> bool {
    record.details.contains_key("emergency") && !record.operation.starts_with("emergency.")
}

/// What policy said then, where the record tells.
fn allowed_then(record: &Record) -> Option<bool> {
    match &record.outcome {
        AuditOutcome::Ok => Some(true),
        AuditOutcome::Refused { code } if code == "denied" || code == "mfa-needed" => Some(false),
        AuditOutcome::Refused { .. } | AuditOutcome::Failed { .. } => None,
    }
}

/// The question of a record, or the word for why it cannot be put.
fn rebuilt<'a>(
    access: &AccessSnapshot,
    record: &'a Record,
    resources: &'a Resources,
) -> Result<Rebuilt<'a>, &'static str> {
    let action = catalogue::find(&record.operation).ok_or("unknown-operation")?;
    let principal = principal(access, record)?;
    let named = named(record).ok_or("no-resource")?;
    let resource = resources.get(&named).and_then(Option::as_ref).ok_or("resource-unknown-now")?;
    if resource.details.kind() != action.resource {
        return Err("resource-of-another-kind");
    }
    let number = |name: &str| record.details.get(name).and_then(|text| text.parse().ok());
    let context = ContextAttrs {
        source_ip: record.source.as_deref().and_then(|source| source.parse().ok()),
        time_ms: record.time.0,
        method: method(record.actor.method),
        mfa_age_seconds: number("mfa_age"),
        mfa_kind: record.details.get("mfa").and_then(|text| MfaKind::ALL.into_iter().find(|kind| kind.name() == text)),
        login: record.details.get("login").map(String::as_str),
        emergency: in_emergency(record),
        encryption_context: record.context.as_ref(),
        items: record.count.into(),
    };
    Ok(Rebuilt { principal, action, resource, context })
}

const fn method(method: AuditMethod) -> Method {
    match method {
        AuditMethod::Token => Method::Token,
        AuditMethod::Mtls => Method::MutualTls,
        AuditMethod::System => Method::System,
        AuditMethod::Share | AuditMethod::Anonymous => Method::Anonymous,
    }
}

/// Who asked, with its attributes of now; the roles of then where a session or an elevation had given it others than
/// its record has.
fn principal(access: &AccessSnapshot, record: &Record) -> Result<Arc<PrincipalAttrs>, &'static str> {
    match record.actor.method {
        AuditMethod::System => return Ok(Arc::new(PrincipalAttrs::system())),
        AuditMethod::Share => return Ok(Arc::new(PrincipalAttrs::anonymous())),
        AuditMethod::Anonymous if record.actor.principal == "anonymous" => {
            return Ok(Arc::new(PrincipalAttrs::anonymous()));
        }
        AuditMethod::Anonymous => return Err("nobody-known"),
        AuditMethod::Token | AuditMethod::Mtls => {}
    }
    let name: Name = record.actor.principal.parse().map_err(|_| "principal-unknown-now")?;
    let held = access.principal(&name).ok_or("principal-unknown-now")?;
    let Some(roles) = record.details.get("roles") else { return Ok(Arc::clone(&held.attrs)) };
    let [extra @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(roles.as_bytes());
    let revision = match held.attrs.revision {
        Revision::At(record) | Revision::Composed { record, .. } => Revision::Composed { record, extra },
        Revision::Unstored => Revision::Unstored,
    };
    let roles = roles.split(' ').filter(|role| !role.is_empty()).map(str::to_owned).collect();
    Ok(Arc::new(PrincipalAttrs { roles, revision, ..(*held.attrs).clone() }))
}
