//! What an operation acts on: as the caller names it, and found.

use keyreeve_audit::Resource as AuditResource;
use keyreeve_model::approval::Proposal;
use keyreeve_model::grant::GrantRecord;
use keyreeve_model::ids::{ApprovalId, EmergencyId, GrantId, HoldId, IncidentId, ReviewId};
use keyreeve_model::record::Revision as RecordRevision;
use keyreeve_model::{Name, TokenId, UnixMillis};
use keyreeve_policy::{KeyAttrs, KeyringAttrs, PrincipalAttrs, ResourceAttrs, ResourceDetails, Revision};
use std::sync::Arc;

use crate::access::{CREDENTIAL, principal_attrs};
use crate::core::Core;
use crate::error::Error;
use crate::keys::{HeldKey, HeldKeyring, KeyRef, KeyringRef, attrs_of};
use crate::ops::grants::Wanted;
use crate::ops::keys::MetadataPatch;
use crate::ops::principals::PrincipalPatch;

/// What an operation acts on, as the caller names it.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The server.
    System,
    /// The audit log.
    Audit,
    /// A keyring.
    Keyring(&'a KeyringRef),
    /// A keyring to be made.
    NewKeyring(&'a Name),
    /// A key.
    Key(&'a KeyRef),
    /// A key to be made, with what policies may know of it; its keyring's attributes are added.
    NewKey(&'a KeyringRef, &'a KeyAttrs),
    /// A key as it shall be after an alteration.
    AlteredKey(&'a KeyRef, &'a MetadataPatch),
    /// A token.
    Token(TokenId),
    /// A token to be made for this principal.
    NewToken(&'a Name),
    /// A principal as it is known.
    Principal(&'a Name),
    /// A principal as it shall be.
    NewPrincipal(&'a PrincipalAttrs),
    /// A principal as it shall be after an alteration.
    AlteredPrincipal(&'a Name, &'a PrincipalPatch),
    /// A policy.
    Policy(&'a Name),
    /// A login method; `credential` stands for service credentials.
    Login(&'a Name),
    /// A login method to be made, of a kind.
    NewLogin(&'a Name, &'static str),
    /// A grant.
    Grant(GrantId),
    /// A grant to be made: whose, and of what.
    NewGrant(&'a Name, &'a Wanted),
    /// A request that waits for consent.
    Approval(ApprovalId),
    /// An incident, a hold, an emergency.
    Case(CaseRef),
}

/// A case, by what kind of case it is.
#[derive(Clone, Copy, Debug)]
pub enum CaseRef {
    /// One that is to be made.
    New(CaseKind),
    /// All of them.
    All(CaseKind),
    /// An incident.
    Incident(IncidentId),
    /// A hold.
    Hold(HoldId),
    /// An emergency.
    Emergency(EmergencyId),
    /// A review campaign.
    Review(ReviewId),
}

/// The kinds of cases, as policies name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseKind {
    /// Incidents.
    Incident,
    /// Holds.
    Hold,
    /// Emergencies.
    Emergency,
    /// Review campaigns.
    Review,
}

impl CaseKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Incident, Self::Hold, Self::Emergency, Self::Review];

    /// The word in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Hold => "hold",
            Self::Emergency => "emergency",
            Self::Review => "review",
        }
    }
}

impl CaseRef {
    fn kind(self) -> CaseKind {
        match self {
            Self::New(kind) | Self::All(kind) => kind,
            Self::Incident(_) => CaseKind::Incident,
            Self::Hold(_) => CaseKind::Hold,
            Self::Emergency(_) => CaseKind::Emergency,
            Self::Review(_) => CaseKind::Review,
        }
    }

    fn resource(self) -> Resource {
        let id = match self {
            Self::New(_) => "new".to_owned(),
            Self::All(_) => "all".to_owned(),
            Self::Incident(id) => id.to_string(),
            Self::Hold(id) => id.to_string(),
            Self::Emergency(id) => id.to_string(),
            Self::Review(id) => id.to_string(),
        };
        plain("case", &id, ResourceDetails::Case { kind: self.kind().name().to_owned() })
    }
}

/// What an operation acts on, found.
#[derive(Debug)]
pub struct Resource {
    pub(super) attrs: Arc<ResourceAttrs>,
    audit: AuditResource,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Nothing,
    Missing(&'static str),
    Key(Arc<HeldKey>),
    Keyring(Arc<HeldKeyring>),
}

impl Resource {
    /// The server as a whole.
    pub(super) fn system() -> Self {
        let attrs = Arc::new(ResourceAttrs::system());
        Self { attrs, audit: audit_resource("system", "server"), held: Held::Nothing }
    }

    pub(crate) fn key(&self) -> Option<&Arc<HeldKey>> {
        match &self.held {
            Held::Key(key) => Some(key),
            Held::Nothing | Held::Missing(_) | Held::Keyring(_) => None,
        }
    }

    pub(crate) fn keyring(&self) -> Result<&Arc<HeldKeyring>, Error> {
        match &self.held {
            Held::Keyring(keyring) => Ok(keyring),
            Held::Nothing | Held::Missing(_) | Held::Key(_) => Err(Error::internal("the target has no keyring")),
        }
    }

    /// What kind of thing was asked for, where there is none by that name.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        match self.held {
            Held::Missing(what) => Some(what),
            Held::Nothing | Held::Key(_) | Held::Keyring(_) => None,
        }
    }

    pub(crate) fn attrs(&self) -> Arc<ResourceAttrs> {
        Arc::clone(&self.attrs)
    }

    pub(crate) fn audit(&self) -> &AuditResource {
        &self.audit
    }
}

fn audit_resource(kind: &str, id: impl ToString) -> AuditResource {
    AuditResource { kind: kind.to_owned(), id: id.to_string(), version: None, keyring: None }
}

fn plain(kind: &str, id: &str, details: ResourceDetails) -> Resource {
    let attrs = ResourceAttrs { id: id.to_owned(), revision: Revision::Unstored, details };
    Resource { attrs: Arc::new(attrs), audit: audit_resource(kind, id), held: Held::Nothing }
}

/// Finds what an operation acts on. What does not exist is decided upon like the rest, so that a caller without rights
/// cannot tell "not there" from "not allowed".
pub(crate) async fn resolve(core: &Core, target: Target<'_>, now: UnixMillis) -> Result<Resource, Error> {
    Ok(match target {
        Target::System => Resource::system(),
        Target::Audit => Resource {
            attrs: Arc::new(ResourceAttrs::audit()),
            audit: audit_resource("audit", "log"),
            held: Held::Nothing,
        },
        Target::Keyring(wanted) => resolve_keyring(core, wanted).await?,
        Target::NewKeyring(name) => {
            let details = KeyringAttrs { name: name.to_string(), ..KeyringAttrs::default() };
            plain("keyring", name.as_str(), ResourceDetails::Keyring(details))
        }
        Target::Key(wanted) => resolve_key(core, wanted, now).await?,
        Target::NewKey(keyring, attrs) => resolve_new_key(core, keyring, attrs).await?,
        Target::AlteredKey(wanted, patch) => resolve_altered_key(core, wanted, patch, now).await?,
        Target::Token(id) => resolve_token(core, id).await?,
        Target::NewToken(principal) => {
            plain("token", principal.as_str(), ResourceDetails::Token { principal: principal.to_string() })
        }
        Target::Principal(name) => resolve_principal(core, name)?,
        Target::NewPrincipal(attrs) => {
            plain("principal", &attrs.name, ResourceDetails::Principal(Box::new(attrs.clone())))
        }
        Target::AlteredPrincipal(name, patch) => resolve_altered(core, name, patch)?,
        Target::Policy(name) => plain("policy", name.as_str(), ResourceDetails::Policy),
        Target::Login(name) => resolve_login(core, name)?,
        Target::NewLogin(name, kind) => login_method(name, kind),
        Target::Approval(id) => resolve_approval(core, id).await?,
        Target::Case(case) => case.resource(),
        Target::Grant(id) => resolve_grant(core, id).await?,
        Target::NewGrant(principal, wanted) => resolve_new_grant(core, principal, wanted).await?,
    })
}

/// A grant, with whose it is and on what.
async fn resolve_grant(core: &Core, id: GrantId) -> Result<Resource, Error> {
    let found = core.filed::<GrantRecord>(&*core.need_open()?, id).await?;
    let details = |principal: String, key: String| ResourceDetails::Grant { principal, key };
    let Some((record, _)) = found else {
        // Of no key, and not of a role either: whoever may see grants on keys hears that there is none.
        let missing = plain("grant", &id.to_string(), details(String::new(), "missing".to_owned()));
        return Ok(Resource { held: Held::Missing("grant"), ..missing });
    };
    let key = record.what.on().unwrap_or_default();
    Ok(plain("grant", &id.to_string(), details(record.principal.to_string(), key)))
}

/// A grant to be made. Its id says whose it will be and on what, by the ids of what was found: so whoever agrees to it
/// agrees to that key, wherever an alias leads later.
async fn resolve_new_grant(core: &Core, principal: &Name, wanted: &Wanted) -> Result<Resource, Error> {
    let (on, held) = match wanted {
        Wanted::Key { key, .. } => match core.find_key(key).await? {
            Some(found) => (found.record.id().to_string(), Held::Key(found)),
            None => (key.to_string(), Held::Missing("key")),
        },
        Wanted::Keyring { keyring, .. } => match core.find_keyring(keyring).await? {
            Some(found) => (found.record.id.to_string(), Held::Keyring(found)),
            None => (keyring.to_string(), Held::Missing("keyring")),
        },
        Wanted::Role { .. } => (String::new(), Held::Nothing),
    };
    let id = match wanted {
        Wanted::Role { role } => format!("{principal}:{role}"),
        Wanted::Key { .. } | Wanted::Keyring { .. } => format!("{principal}:{on}"),
    };
    let new = plain("grant", &id, ResourceDetails::Grant { principal: principal.to_string(), key: on });
    Ok(Resource { held, ..new })
}

fn login_method(name: &Name, kind: &str) -> Resource {
    let details = ResourceDetails::Login { name: name.to_string(), kind: kind.to_owned() };
    plain("login", name.as_str(), details)
}

fn resolve_login(core: &Core, name: &Name) -> Result<Resource, Error> {
    if name.as_str() == CREDENTIAL {
        return Ok(login_method(name, CREDENTIAL));
    }
    Ok(match core.need_open()?.access().logins().get(name) {
        Some(held) => login_method(name, held.record.kind.name()),
        None => Resource { held: Held::Missing("login method"), ..login_method(name, "") },
    })
}

/// A token with the principal it proves, so that policies about whose token it is can be written.
async fn resolve_token(core: &Core, id: TokenId) -> Result<Resource, Error> {
    let held = core.token(&*core.need_open()?, id).await?;
    let principal = held.map(|held| held.record.principal.to_string()).unwrap_or_default();
    Ok(plain("token", &id.to_string(), ResourceDetails::Token { principal }))
}

/// A request that waits, with who asked for what.
async fn resolve_approval(core: &Core, id: ApprovalId) -> Result<Resource, Error> {
    let opened = core.need_open()?;
    let Some((proposal, _)) = core.filed::<Proposal>(&opened, id).await? else {
        let details = ResourceDetails::Approval { operation: String::new(), proposer: String::new() };
        return Ok(Resource { held: Held::Missing("approval"), ..plain("approval", &id.to_string(), details) });
    };
    let operation = proposal.request().operation.to_string();
    let details = ResourceDetails::Approval { operation, proposer: proposal.proposer().name.to_string() };
    Ok(plain("approval", &id.to_string(), details))
}

/// A principal as it is known, with its roles and labels.
fn resolve_principal(core: &Core, name: &Name) -> Result<Resource, Error> {
    let held = core.need_open()?.access().principal(name);
    let (attrs, revision) = match held {
        Some(held) => ((*held.attrs).clone(), held.attrs.revision),
        None => {
            let nobody = PrincipalAttrs { id: name.to_string(), name: name.to_string(), ..PrincipalAttrs::anonymous() };
            (nobody, Revision::Unstored)
        }
    };
    let details = ResourceDetails::Principal(Box::new(attrs));
    // As stored: by this policies tell somebody who looks at themselves from somebody who alters themselves.
    let attrs = ResourceAttrs { id: name.to_string(), revision, details };
    Ok(Resource { attrs: Arc::new(attrs), audit: audit_resource("principal", name.as_str()), held: Held::Nothing })
}

/// A principal as an alteration would leave it. One that cannot be applied is refused when it is carried out.
fn resolve_altered(core: &Core, name: &Name, patch: &PrincipalPatch) -> Result<Resource, Error> {
    let Some(held) = core.need_open()?.access().principal(name) else { return resolve_principal(core, name) };
    let mut record = held.record.clone();
    let altered = patch.apply(&mut record).and_then(|()| principal_attrs(&record, RecordRevision::FIRST));
    let attrs = altered.unwrap_or_else(|_| (*held.attrs).clone());
    Ok(plain("principal", name.as_str(), ResourceDetails::Principal(Box::new(attrs))))
}

async fn resolve_keyring(core: &Core, wanted: &KeyringRef) -> Result<Resource, Error> {
    let text = wanted.to_string();
    let Some(keyring) = core.find_keyring(wanted).await? else {
        let missing = plain("keyring", &text, ResourceDetails::Keyring(KeyringAttrs::default()));
        return Ok(Resource { held: Held::Missing("keyring"), ..missing });
    };
    let audit = audit_resource("keyring", keyring.record.id);
    Ok(Resource { attrs: keyring.attrs(), audit, held: Held::Keyring(keyring) })
}

async fn resolve_key(core: &Core, wanted: &KeyRef, now: UnixMillis) -> Result<Resource, Error> {
    let Some(key) = core.find_key(wanted).await? else {
        let missing = plain("key", &wanted.to_string(), ResourceDetails::Key(Box::default()));
        return Ok(Resource { held: Held::Missing("key"), ..missing });
    };
    let keyring = Some(key.keyring.record.name.to_string());
    let audit = AuditResource { keyring, ..audit_resource("key", key.record.id()) };
    let marks = core.marks(&key)?;
    Ok(Resource { attrs: key.attrs(now, marks), audit, held: Held::Key(key) })
}

/// A key as an alteration would leave it. One that cannot be applied is refused when it is carried out. The row may be
/// newer than the one the operation works on; then its change loses the race for the row, and all is decided anew.
async fn resolve_altered_key(
    core: &Core,
    wanted: &KeyRef,
    patch: &MetadataPatch,
    now: UnixMillis,
) -> Result<Resource, Error> {
    let resource = resolve_key(core, wanted, now).await?;
    let Held::Key(key) = &resource.held else { return Ok(resource) };
    let (record, ring) = (&key.record, &key.keyring.record);
    let mut metadata = record.metadata.clone();
    if patch.apply(&mut metadata).is_err() {
        return Ok(resource);
    }
    let marks = core.marks(key)?;
    let details = KeyAttrs {
        keyring_id: ring.id.to_string(),
        keyring: ring.name.to_string(),
        hold: marks.hold,
        incident: marks.incident,
        exportable: record.exportable(),
        ..attrs_of(record.algorithm(), record.purpose(), record.state(now), &metadata)
    };
    let details = ResourceDetails::Key(Box::new(details));
    let attrs = ResourceAttrs { id: record.id().to_string(), revision: Revision::Unstored, details };
    Ok(Resource { attrs: Arc::new(attrs), ..resource })
}

async fn resolve_new_key(core: &Core, keyring: &KeyringRef, attrs: &KeyAttrs) -> Result<Resource, Error> {
    let found = core.find_keyring(keyring).await?;
    let mut attrs = attrs.clone();
    let held = match found {
        Some(keyring) => {
            attrs.keyring_id = keyring.record.id.to_string();
            attrs.keyring = keyring.record.name.to_string();
            attrs.environment = keyring.record.environment.name().to_owned();
            Held::Keyring(keyring)
        }
        None => Held::Missing("keyring"),
    };
    let audit = AuditResource { keyring: Some(attrs.keyring.clone()), ..audit_resource("key", "new") };
    let details = ResourceDetails::Key(Box::new(attrs));
    let attrs = ResourceAttrs { id: "new".to_owned(), revision: Revision::Unstored, details };
    Ok(Resource { attrs: Arc::new(attrs), audit, held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_policy::CASE_KINDS;

    #[test]
    fn policies_know_every_kind_of_case() {
        assert_eq!(CaseKind::ALL.map(CaseKind::name), CASE_KINDS);
    }
}
