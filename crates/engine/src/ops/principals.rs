//! Principals: people and programs that may be allowed to do things.

use keyreeve_crypto::digest::sha256;
use keyreeve_model::access::CertificateRule;
use keyreeve_model::change::NamedRow;
use keyreeve_model::limits;
use keyreeve_model::login::{KnownSubject, ServiceCredential};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{RecordSealer, Revision, Table, seal};
use keyreeve_model::{Change, Name, PrincipalKind, PrincipalRecord, UnixMillis};
use keyreeve_policy::{Network, PrincipalAttrs, ResourceDetails, Revision as AttrsRevision, shipped};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::forms::{EmptyForm, PatchForm, PutForm, written};
use super::patch::Differences;
use super::{LabelPatch, Listing, PAGE_MAX, SetPatch};
use crate::access::{AccessSnapshot, HeldPrincipal, Stale, attrs_revision, principal_attrs, wanted_attrs};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Also, Approved, Operation, Outcome, Permit, Remember, Target};
use crate::sealing::{Effect, Guard};

/// Names that mean something else than a stored principal.
pub(super) const RESERVED: [&str; 3] = ["anonymous", "system", "unknown"];

/// A principal's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrincipalReply {
    /// What is known of it.
    pub record: PrincipalRecord,
    /// What is probably not meant, in words; only where it was just written.
    pub warnings: Vec<String>,
}

impl From<PrincipalRecord> for PrincipalReply {
    fn from(record: PrincipalRecord) -> Self {
        Self { record, warnings: Vec::new() }
    }
}

impl Remember for PrincipalReply {
    fn remember(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn recall(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok()
    }
}

pub(crate) fn principal_row(keys: &dyn RecordSealer, record: &PrincipalRecord, revision: Revision) -> NamedRow {
    let row = record.name.as_str().as_bytes();
    NamedRow { name: record.name.clone(), record: seal(keys, Table::Principals, row, revision, record) }
}

/// Makes a principal, or replaces what is known of it.
#[derive(Debug)]
pub struct Put {
    /// Its name.
    pub name: Name,
    spec: PutSpec,
    attrs: PrincipalAttrs,
}

/// What [`Put`] needs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSpec {
    /// Its name.
    pub name: Name,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Roles that policies refer to.
    pub roles: BTreeSet<Name>,
    /// Labels for policies.
    pub labels: BTreeMap<Name, Label>,
    /// Networks it may come from (CIDR); empty means any.
    pub networks: BTreeSet<String>,
    /// Certificates that prove it.
    pub certificates: BTreeSet<CertificateRule>,
    /// True when it may do nothing for now.
    pub disabled: bool,
    /// The human being behind it, where several principals are one.
    pub person: Option<Label>,
}

impl Put {
    /// The operation, with what policies may know of the principal as it shall be.
    #[must_use]
    pub fn new(spec: PutSpec) -> Self {
        let attrs = wanted_attrs(&record_of(&spec, UnixMillis(0)));
        Self { name: spec.name.clone(), spec, attrs }
    }

    fn record(&self, created: UnixMillis) -> PrincipalRecord {
        record_of(&self.spec, created)
    }
}

fn record_of(spec: &PutSpec, created: UnixMillis) -> PrincipalRecord {
    PrincipalRecord {
        name: spec.name.clone(),
        kind: spec.kind,
        roles: spec.roles.clone(),
        labels: spec.labels.clone(),
        networks: spec.networks.clone(),
        certificates: spec.certificates.clone(),
        disabled: spec.disabled,
        created,
        person: spec.person.clone(),
    }
}

/// Alterations of a principal; what is not given stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalPatch {
    /// Alters the roles.
    pub roles: SetPatch<Name>,
    /// Alters the labels.
    pub labels: LabelPatch,
    /// Alters the networks it may come from.
    pub networks: SetPatch<String>,
    /// Alters the certificates that prove it.
    pub certificates: SetPatch<CertificateRule>,
    /// True when it may do nothing from now on, false when it may again.
    pub disabled: Option<bool>,
    /// Says which human being is behind it; an empty text takes that away.
    pub person: Option<Label>,
}

impl PrincipalPatch {
    pub(crate) fn apply(&self, record: &mut PrincipalRecord) -> Result<(), Error> {
        self.roles.apply("roles of the principal", &mut record.roles)?;
        self.labels.apply("labels of the principal", &mut record.labels)?;
        self.networks.apply("networks of the principal", &mut record.networks)?;
        self.certificates.apply("certificates of the principal", &mut record.certificates)?;
        record.disabled = self.disabled.unwrap_or(record.disabled);
        if let Some(person) = &self.person {
            record.person = Some(person.clone()).filter(|person| !person.as_str().is_empty());
        }
        Ok(())
    }
}

/// Alters a principal.
#[derive(Debug)]
pub struct Update {
    /// Its name.
    pub name: Name,
    /// What changes.
    pub patch: PrincipalPatch,
}

/// Refuses lists of networks that are too long or hold something else.
pub(super) fn check_networks(networks: &BTreeSet<String>) -> Result<(), Error> {
    if networks.len() > limits::LIST_MAX {
        return Err(Error::invalid(format!("too many networks: at most {}", limits::LIST_MAX)));
    }
    match networks.iter().find(|network| network.parse::<Network>().is_err()) {
        Some(bad) => {
            Err(Error::invalid(format!("`{bad}` is not a network: write it like 10.0.0.0/8 or 2001:db8::/32")))
        }
        None => Ok(()),
    }
}

/// Refuses what cannot be a principal.
fn check(record: &PrincipalRecord) -> Result<(), Error> {
    if RESERVED.contains(&record.name.as_str()) {
        return Err(Error::invalid(format!("`{}` is not a name for a principal: choose another", record.name)));
    }
    let counts =
        [("roles", record.roles.len()), ("labels", record.labels.len()), ("certificates", record.certificates.len())];
    if let Some((what, _)) = counts.into_iter().find(|(_, count)| *count > limits::LIST_MAX) {
        return Err(Error::invalid(format!("too many {what}: at most {}", limits::LIST_MAX)));
    }
    check_networks(&record.networks)?;
    let agrees = record.roles.iter().find(|role| shipped::GOVERNANCE_ROLES.contains(&role.as_str()));
    if let Some(role) = agrees.filter(|_| record.kind == PrincipalKind::Service) {
        let text = format!("`{role}` is a role of people, who agree in person: a program has it not");
        return Err(Error::invalid(text));
    }
    match record.certificates.iter().find(|rule| !is_well_formed(rule)) {
        Some(_) => Err(Error::invalid(
            "a certificate is named by the SHA-256 of its DER in 64 hexadecimal digits, a DNS name or a URI",
        )),
        None => Ok(()),
    }
}

/// The last administrator who takes away the right to administer leaves a server that nobody can ever administer.
fn refuse_to_lock_oneself_out(known: &PrincipalRecord, record: &PrincipalRecord) -> Result<(), Error> {
    let narrower = record.networks != known.networks && !record.networks.is_empty();
    if record.disabled || narrower || !known.roles.is_subset(&record.roles) {
        let text = "nobody takes away their own roles or access: ask another administrator";
        return Err(Error::new(Code::WrongState, text));
    }
    if record.kind != known.kind {
        let text = "nobody makes a program of themselves, which shows no second factor: ask another administrator";
        return Err(Error::new(Code::WrongState, text));
    }
    Ok(())
}

/// What of a principal is probably not meant.
fn warnings(access: &AccessSnapshot, record: &PrincipalRecord) -> Result<Vec<String>, Error> {
    let known = access.policies().cache.policies().roles();
    // The roles that policies do speak of are not told: whoever may write principals need not be who reads policies.
    let unknown = record.roles.iter().filter(|role| !known.contains(role.as_str()));
    let unknown = unknown.map(|role| format!("no policy speaks of the role `{role}`: it gives nothing until one does"));
    let attrs = principal_attrs(record, Revision::FIRST)?;
    Ok(unknown.chain(shipped::lacking(&attrs)).chain(shipped::unguarded(&attrs)).collect())
}

/// What became of a principal, for the audit record; of a new one everything came.
fn differences(known: Option<&PrincipalRecord>, record: &PrincipalRecord) -> Result<Differences, Error> {
    let nothing = PrincipalRecord {
        roles: BTreeSet::new(),
        labels: BTreeMap::new(),
        networks: BTreeSet::new(),
        certificates: BTreeSet::new(),
        ..record.clone()
    };
    let old = known.unwrap_or(&nothing);
    Differences::default()
        .value("kind", &old.kind.name(), &record.kind.name())
        .value("person", &old.identity(), &record.identity())
        .list("roles", &old.roles, &record.roles)?
        .labels(&old.labels, &record.labels)?
        .list("networks", &old.networks, &record.networks)?
        .list("certificates", &old.certificates, &record.certificates)
}

/// Whether a principal gets more than it had: a role, a certificate, a wider network, or that it may come in again.
/// Another person behind it counts as well, for one person's consent must not become that of two.
fn widens(known: &PrincipalRecord, next: &PrincipalRecord) -> bool {
    let networks = match (known.networks.is_empty(), next.networks.is_empty()) {
        (true, _) => false,
        (false, true) => true,
        (false, false) => !next.networks.is_subset(&known.networks),
    };
    networks
        || !next.roles.is_subset(&known.roles)
        || !next.certificates.is_subset(&known.certificates)
        || next.labels != known.labels
        || next.kind != known.kind
        || next.identity() != known.identity()
        || (known.disabled && !next.disabled)
}

impl Core {
    /// Whether an alteration gives a principal more than it had; one that is not there yet has nothing.
    fn principal_widens(
        &self,
        name: &Name,
        next: impl FnOnce(&PrincipalRecord) -> Result<PrincipalRecord, Error>,
    ) -> Result<bool, Error> {
        match self.need_open()?.access().principal(name) {
            Some(held) => Ok(widens(&held.record, &next(&held.record)?)),
            None => Ok(true),
        }
    }

    async fn principal_revision(&self, name: &Name) -> Result<Option<i64>, Error> {
        Ok(Some(self.ports.store.principal(name).await?.map_or(0, |row| row.record.revision.0)))
    }

    /// A number that stands for who a principal is at present, to whom something is given or from whom it is taken:
    /// consent to that is none for what becomes of the principal later, or for another one of the same name. It fits
    /// into the 53 bits of a number in canonical JSON.
    pub(in crate::ops) async fn principal_as_it_is(&self, name: &Name) -> Result<Option<i64>, Error> {
        let revision = self.principal_revision(name).await?;
        let opened = self.need_open()?;
        let Some(held) = opened.access().principal(name) else { return Ok(Some(0)) };
        let digest = sha256(format!("{:?} {revision:?}", held.record.created).as_bytes());
        Ok(Some(digest.iter().take(6).fold(0, |number, byte| number << 8 | i64::from(*byte))))
    }
}

/// A principal as the decision about an operation saw it.
struct Standing {
    held: Option<Arc<HeldPrincipal>>,
    /// The stored row's revision; none where there is no row.
    stored: Option<Revision>,
}

impl Core {
    /// The principal that an operation acts on, as it was decided upon: when it was altered since, the operation is
    /// computed and decided anew.
    async fn standing<O: Operation>(&self, approved: &Approved<O>, name: &Name) -> Result<Standing, Error> {
        let attrs = approved.resource().attrs();
        let decided = match &attrs.details {
            ResourceDetails::Principal(attrs) => Some(attrs.revision),
            _ => None,
        };
        let held = self.need_open()?.access().principal(name);
        let stored = self.ports.store.principal(name).await?.map(|row| row.record.revision);
        let is_at = |revision: AttrsRevision| revision == attrs_revision(stored.unwrap_or(Revision(0)));
        let seen = held.as_ref().map_or(AttrsRevision::At(0), |held| held.attrs.revision);
        if !is_at(seen) || !decided.is_some_and(is_at) {
            self.access_is_old();
            return Err(keyreeve_store::StoreError::Conflict { transaction: O::DESCRIPTOR.name }.into());
        }
        Ok(Standing { held, stored })
    }

    /// Sees that no certificate proves another principal already. Where one is given, nobody else gives one until this
    /// is done and known: rows of two principals do not conflict with one another.
    async fn claim(&self, record: &PrincipalRecord) -> Result<Option<Guard>, Error> {
        if record.certificates.is_empty() {
            return Ok(None);
        }
        let alone = Arc::clone(&self.claiming).write_owned().await;
        if self.access.is_behind() {
            // Whoever was alone before may have given it away.
            return Err(keyreeve_store::StoreError::Conflict { transaction: catalogue::PRINCIPAL_PUT.name }.into());
        }
        let access = self.need_open()?.access();
        let taken = |rule: &CertificateRule| access.claimant(rule).is_some_and(|owner| *owner != record.name);
        if record.certificates.iter().any(taken) {
            return Err(Error::new(Code::AlreadyExists, "a certificate proves another principal already"));
        }
        Ok(Some(Guard::Exclusive(alone)))
    }

    /// What [`Put`] and [`Update`] lead to.
    async fn write_principal<O: Operation<Reply = PrincipalReply>>(
        &self,
        approved: &Approved<O>,
        standing: &Standing,
        record: PrincipalRecord,
    ) -> Result<Outcome<PrincipalReply>, Error> {
        check(&record)?;
        super::apart::refuse_principal(&self.need_open()?.access(), &record, approved.now())?;
        if let (Some(held), true) = (&standing.held, approved.principal().name == record.name) {
            refuse_to_lock_oneself_out(&held.record, &record)?;
        }
        let claim = self.claim(&record).await?;
        let opened = self.need_open()?;
        let revision = standing.stored.map_or(Revision::FIRST, Revision::next);
        let row = principal_row(&opened.keys, &record, revision);
        let roles = record.roles.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
        let (grantee, kind, disabled) = (record.name.clone(), record.kind.name(), record.disabled);
        let lost = self.rules_without(&opened, &record.name, Some(&record)).await?;
        let mut warnings = warnings(&opened.access(), &record)?;
        warnings.extend(lost.warnings());
        let differences = differences(standing.held.as_ref().map(|held| &held.record), &record)?;
        let outcome = Outcome::reply(PrincipalReply { record, warnings })
            .changing(Change::PutPrincipal(row))
            .then(Effect::Reload(Stale::principal(grantee.clone())))
            .detail("grantee", grantee)
            .detail("kind", kind)
            .detail("permissions", roles)
            .detail("disabled", disabled);
        let outcome = lost.told_in(differences.told_in(outcome));
        // After the reloading: whoever comes next sees these certificates.
        Ok(match claim {
            Some(guard) => outcome.then(Effect::Hold(guard)),
            None => outcome,
        })
    }
}

fn is_well_formed(rule: &CertificateRule) -> bool {
    let text = |text: &str| (1..=limits::TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    match rule {
        CertificateRule::Fingerprint(hex) => {
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }
        CertificateRule::DnsName(name) => text(name),
        CertificateRule::Uri(uri) => text(uri) && uri.contains(':'),
    }
}

impl Operation for Put {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_PUT;
    type Reply = PrincipalReply;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    fn also(&self) -> Option<Also<'_>> {
        // Allowed for the principal as it is and as it shall be: who may not touch operators may not make one either.
        Some(Also { action: &catalogue::PRINCIPAL_PUT, target: Target::NewPrincipal(&self.attrs), context: None })
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&PutForm { put: &self.spec })
    }

    fn widens(&self, _permit: &Permit<Self>, core: &Core) -> Result<bool, Error> {
        core.principal_widens(&self.name, |known| Ok(self.record(known.created)))
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        core.principal_revision(&self.name).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<PrincipalReply>, Error> {
        let standing = core.standing(approved, &self.name).await?;
        let created = standing.held.as_ref().map_or(approved.now(), |held| held.record.created);
        core.write_principal(approved, &standing, self.record(created)).await
    }
}

/// The same right as [`Put`]: what a policy says about making and altering principals holds for both.
impl Operation for Update {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_PUT;
    type Reply = PrincipalReply;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    fn also(&self) -> Option<Also<'_>> {
        let target = Target::AlteredPrincipal(&self.name, &self.patch);
        Some(Also { action: &catalogue::PRINCIPAL_PUT, target, context: None })
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&PatchForm { patch: &self.patch })
    }

    fn widens(&self, _permit: &Permit<Self>, core: &Core) -> Result<bool, Error> {
        core.principal_widens(&self.name, |known| {
            let mut next = known.clone();
            self.patch.apply(&mut next).map(|()| next)
        })
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        core.principal_revision(&self.name).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<PrincipalReply>, Error> {
        let standing = core.standing(approved, &self.name).await?;
        let held = standing.held.as_ref().ok_or_else(|| Error::not_found("principal"))?;
        let mut record = held.record.clone();
        self.patch.apply(&mut record)?;
        core.write_principal(approved, &standing, record).await
    }
}

/// Shows a principal.
#[derive(Debug)]
pub struct Describe {
    /// Its name.
    pub name: Name,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_DESCRIBE;
    type Reply = PrincipalReply;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<PrincipalReply>, Error> {
        let opened = core.need_open()?;
        let held = opened.access().principal(&self.name).ok_or_else(|| Error::not_found("principal"))?;
        Ok(Outcome::reply(held.record.clone().into()))
    }
}

/// What followed from removing a principal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Deleted {
    /// What is probably not meant, in words.
    pub warnings: Vec<String>,
}

impl Remember for Deleted {
    fn remember(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn recall(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok()
    }
}

/// Removes a principal; its tokens prove nothing from then on.
#[derive(Debug)]
pub struct Delete {
    /// Its name.
    pub name: Name,
}

impl Operation for Delete {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_DELETE;
    type Reply = Deleted;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.name)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&EmptyForm {})
    }

    /// Nobody gets anything by it.
    fn widens(&self, _permit: &Permit<Self>, _core: &Core) -> Result<bool, Error> {
        Ok(false)
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        core.principal_as_it_is(&self.name).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Deleted>, Error> {
        if approved.principal().name == self.name {
            return Err(Error::new(Code::WrongState, "nobody removes themselves: ask another administrator"));
        }
        let revision =
            core.standing(approved, &self.name).await?.stored.ok_or_else(|| Error::not_found("principal"))?;
        // What proves somebody of this name proves nobody who is called so later.
        let opened = core.need_open()?;
        let mut ends = super::mfa::forget_all(core, &opened, &self.name).await?;
        ends.extend(core.unfile_all::<ServiceCredential>(&opened, &self.name).await?);
        ends.extend(core.unfile_all::<KnownSubject>(&opened, &self.name).await?);
        let by = (&approved.principal().name, approved.now());
        let orphaned = core.orphaned(&opened, &self.name, by).await?;
        ends.extend(orphaned.changes);
        let lost = core.rules_without(&opened, &self.name, None).await?;
        let reply = Deleted { warnings: lost.warnings() };
        let mut outcome = ends.into_iter().fold(lost.told_in(Outcome::reply(reply)), Outcome::changing);
        outcome.notices.extend(orphaned.notices);
        if !orphaned.ids.is_empty() {
            outcome = outcome.detail("grants", orphaned.ids.join(" "));
        }
        Ok(outcome
            .changing(Change::DeletePrincipal { name: self.name.clone(), revision })
            .then(Effect::Reload(Stale::principal(self.name.clone())))
            .then(Effect::Reload(Stale::grants(self.name.clone())))
            .detail("grantee", &self.name))
    }
}

/// Lists principals, by name.
#[derive(Debug)]
pub struct List {
    /// Only principals after this one.
    pub after: Option<Name>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::PRINCIPAL_LIST;
    type Reply = Listing<PrincipalReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(
        &self,
        _approved: &Approved<Self>,
        core: &Core,
    ) -> Result<Outcome<Listing<PrincipalReply>>, Error> {
        let opened = core.need_open()?;
        let access = opened.access();
        let limit = self.limit.clamp(1, PAGE_MAX) as usize;
        let mut records: Vec<_> = access.principals().map(|held| &held.record).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        let later = records.into_iter().filter(|record| self.after.as_ref().is_none_or(|after| record.name > *after));
        let mut items: Vec<_> = later.take(limit + 1).cloned().map(PrincipalReply::from).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| last.record.name.to_string());
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}
