//! Grants: rights for a time (requirement A5).

use keyreeve_model::filed::file;
use keyreeve_model::grant::{Constraints, GRANTS_MAX, GrantRecord, GrantState, Granted, Told};
use keyreeve_model::ids::GrantId;
use keyreeve_model::record::Revision;
use keyreeve_model::{Actor, Change, Facts, Label, Name, NoticeKind, PrincipalRecord, RowId, UnixMillis};
use keyreeve_policy::{Network, groups, shipped};
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

use super::permissions::spelled_out;
use super::{Listing, PAGE_MAX};
use crate::access::Stale;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::keys::{KeyRef, KeyringRef};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// Operations of these groups can be granted: what uses a key or shows it. What alters keys comes with a role.
const GRANTABLE: [&str; 6] = [
    groups::READ,
    groups::ENCRYPT_SIDE,
    groups::DECRYPT_SIDE,
    groups::SIGN_SIDE,
    groups::VERIFY_SIDE,
    groups::DERIVE_SIDE,
];

/// Whether an operation on a key can be granted.
pub(crate) fn is_grantable(row: &Descriptor) -> bool {
    row.resource == keyreeve_policy::ResourceKind::Key && row.groups.iter().any(|group| GRANTABLE.contains(group))
}

/// What a grant shall give, as the caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Operations on a key.
    Key {
        /// By id or alias.
        key: KeyRef,
        /// By their names in the catalogue, or those of groups such as `decrypt`.
        operations: BTreeSet<Name>,
    },
    /// Operations on every key of a keyring.
    Keyring {
        /// By id or name.
        keyring: KeyringRef,
        /// By their names in the catalogue, or those of groups.
        operations: BTreeSet<Name>,
    },
    /// A role.
    Role {
        /// Its name.
        role: Name,
    },
}

/// A grant as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantReply {
    /// The record.
    pub record: GrantRecord,
    /// The instant that its state is of.
    pub at: UnixMillis,
    /// Whether its principal is disabled, removed, or another than it was given to: it gives nothing then.
    #[serde(default)]
    pub idle: bool,
}

impl GrantReply {
    fn of(opened: &Opened, record: GrantRecord, at: UnixMillis) -> Self {
        let held = opened.access().principal(&record.principal);
        let gives = held.is_some_and(|held| !held.record.disabled && held.record.created <= record.created);
        Self { record, at, idle: !gives }
    }

    /// Where it stands at the instant of the reply.
    #[must_use]
    pub fn state(&self) -> GrantState {
        match self.record.state(self.at) {
            GrantState::Pending | GrantState::Active if self.idle => GrantState::Inactive,
            state => state,
        }
    }
}

impl Remember for GrantReply {
    fn remember(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn recall(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok()
    }
}

/// Gives a principal a right for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Whose it will be.
    pub principal: Name,
    /// What it gives.
    pub what: Wanted,
    /// Under which circumstances.
    pub constraints: Constraints,
    /// From when on; at once unless said.
    pub not_before: Option<UnixMillis>,
    /// How long it lasts from then on.
    pub seconds: u64,
    /// What it is for.
    pub reason: Label,
}

impl Create {
    /// The record, with the id of what the target was found to be.
    async fn record<O: Operation>(&self, approved: &Approved<O>, core: &Core) -> Result<GrantRecord, Error> {
        let now = approved.now();
        let from = self.not_before.unwrap_or(now);
        let record = GrantRecord {
            id: GrantId::new(now, core.id_random()?),
            principal: self.principal.clone(),
            what: found(&self.what, core).await?,
            constraints: self.constraints.clone(),
            not_before: from,
            expires: from.max(now).plus(Duration::from_secs(self.seconds)),
            reason: self.reason.clone(),
            created: now,
            created_by: approved.principal().name.clone(),
            approval: approved.approval(),
            emergency: None,
            revoked: None,
            told: Told::Nothing,
        };
        record.check(now).map_err(|invalid| Error::invalid(invalid.to_string()))?;
        Ok(record)
    }
}

/// What is wanted, with ids instead of names.
async fn found(wanted: &Wanted, core: &Core) -> Result<Granted, Error> {
    Ok(match wanted {
        Wanted::Key { key, operations } => {
            let key = core.find_key(key).await?.ok_or_else(|| Error::not_found("key"))?;
            Granted::Key { key: key.record.id(), operations: spelled_out(operations, is_grantable) }
        }
        Wanted::Keyring { keyring, operations } => {
            let keyring = core.find_keyring(keyring).await?.ok_or_else(|| Error::not_found("keyring"))?;
            Granted::Keyring { keyring: keyring.record.id, operations: spelled_out(operations, is_grantable) }
        }
        Wanted::Role { role } => Granted::Role { role: role.clone() },
    })
}

/// Refuses operations and roles that no grant gives, and networks that are none.
fn check(what: &Granted, constraints: &Constraints) -> Result<(), Error> {
    if let Some(role) = what.role().filter(|role| shipped::GOVERNANCE_ROLES.contains(&role.as_str())) {
        let text = format!(
            "`{role}` is not granted for a time: whoever agrees to what others ask for has that role on record"
        );
        return Err(Error::invalid(text));
    }
    let no = |operation: &&Name| !catalogue::find(operation.as_str()).is_some_and(is_grantable);
    if let Some(operation) = what.operations().and_then(|all| all.iter().find(no)) {
        let text = format!(
            "`{operation}` cannot be granted: name operations that use or show a key, such as `key.decrypt`, or a \
             group of them, such as `decrypt`; for others grant a role"
        );
        return Err(Error::invalid(text));
    }
    match constraints.networks.iter().find(|network| network.parse::<Network>().is_err()) {
        Some(bad) => {
            Err(Error::invalid(format!("`{bad}` is not a network: write it like 10.0.0.0/8 or 2001:db8::/32")))
        }
        None => Ok(()),
    }
}

/// A role that no policy names gives nothing: it is another one that is meant.
fn refuse_unknown_role(opened: &Opened, what: &Granted) -> Result<(), Error> {
    let Some(role) = what.role() else { return Ok(()) };
    if opened.access().policies().cache.shared_policies().roles().contains(role.as_str()) {
        return Ok(());
    }
    Err(Error::invalid(format!("no policy names the role `{role}`, so it would give nothing: name another")))
}

/// Nobody gives a right to themselves, under whatever name.
fn refuse_to_oneself(opened: &Opened, grantor: &Name, grantee: &Name) -> Result<(), Error> {
    let access = opened.access();
    let receiver = access.principal(grantee).ok_or_else(|| Error::not_found("principal"))?;
    let giver = access.principal(grantor);
    let actor = |name: &Name, record: &PrincipalRecord| Actor::new(name.clone(), record.person.clone());
    let receiving = actor(grantee, &receiver.record);
    let same = giver.is_some_and(|giver| actor(grantor, &giver.record).is_same_person(&receiving));
    if same || grantor == grantee {
        return Err(Error::new(Code::WrongState, "nobody grants anything to themselves: ask somebody else"));
    }
    Ok(())
}

/// A principal has so many rights for a time that nobody sees through them any more.
fn refuse_too_many(opened: &Opened, grantee: &Name, now: UnixMillis) -> Result<(), Error> {
    let access = opened.access();
    access.principal(grantee).ok_or_else(|| Error::not_found("principal"))?;
    if access.grants().of(grantee).iter().filter(|held| !held.record.is_over(now)).count() >= GRANTS_MAX {
        let text = format!("`{grantee}` has {GRANTS_MAX} grants already: revoke some, or use a policy");
        return Err(Error::new(Code::WrongState, text));
    }
    Ok(())
}

/// What the audit log tells of a grant.
fn told<R>(outcome: Outcome<R>, record: &GrantRecord) -> Outcome<R> {
    let outcome = outcome.detail("grant", record.id).detail("grantee", &record.principal);
    let outcome = match &record.what {
        Granted::Key { key, .. } => outcome.detail("key", key),
        Granted::Keyring { keyring, .. } => outcome.detail("keyring", keyring),
        Granted::Role { role } => outcome.detail("role", role),
    };
    let Some(operations) = record.what.operations() else { return outcome };
    outcome.detail("permissions", operations.iter().map(Name::as_str).collect::<Vec<_>>().join(" "))
}

impl Operation for Create {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GRANT_CREATE;
    type Reply = GrantReply;

    fn target(&self) -> Target<'_> {
        Target::NewGrant(&self.principal, &self.what)
    }

    fn form(&self) -> Option<serde_json::Value> {
        super::forms::written(&GrantForm::from(self))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<GrantReply>, Error> {
        refuse_to_oneself(&*core.need_open()?, &approved.principal().name, &self.principal)?;
        self.give(approved, core).await
    }
}

impl Create {
    async fn give<O: Operation>(&self, approved: &Approved<O>, core: &Core) -> Result<Outcome<GrantReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let record = self.record(approved, core).await?;
        check(&record.what, &record.constraints)?;
        refuse_unknown_role(&opened, &record.what)?;
        if let Some(role) = record.what.role() {
            super::apart::refuse_role(&opened.access(), &self.principal, role, now)?;
        }
        refuse_too_many(&opened, &self.principal, now)?;
        let outcome = Outcome::reply(GrantReply::of(&opened, record.clone(), now))
            .changing(file(&opened.keys, Revision::FIRST, &record))
            .then(Effect::Reload(Stale::grants(record.principal.clone())))
            .detail("not_before", record.not_before)
            .detail("expires", record.expires)
            .detail("reason", &record.reason);
        Ok(told(outcome, &record))
    }
}

/// Asks for a right for a time, for oneself. Others must agree, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for, and who asks.
    pub request: Create,
}

impl Request {
    fn refuse_for_others(&self, approved: &Approved<Self>) -> Result<(), Error> {
        if approved.principal().name == self.request.principal {
            return Ok(());
        }
        Err(Error::invalid("a right is asked for oneself: give your own name as the principal"))
    }
}

impl Operation for Request {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GRANT_REQUEST;
    type Reply = GrantReply;

    fn target(&self) -> Target<'_> {
        Target::NewGrant(&self.request.principal, &self.request.what)
    }

    fn form(&self) -> Option<serde_json::Value> {
        super::forms::written(&RequestForm { request: GrantForm::from(&self.request) })
    }

    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        self.refuse_for_others(approved)?;
        self.request.give(approved, core).await.map(|outcome| outcome.alters())
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<GrantReply>, Error> {
        self.refuse_for_others(approved)?;
        if approved.approval().is_none() {
            let text = "nobody can agree to this yet, for the rules of approval are not in force: ask an operator or \
                        key administrator for a grant";
            return Err(Error::new(Code::WrongState, text));
        }
        self.request.give(approved, core).await
    }
}

/// A grant in the form in which it waits for consent. What it is on stands beside it, by id.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantForm {
    principal: Name,
    gives: Gives,
    constraints: Constraints,
    not_before: Option<UnixMillis>,
    seconds: u64,
    reason: Label,
}

/// The form of [`Request`], which is another right than [`Create`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestForm {
    pub(crate) request: GrantForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Gives {
    Key { operations: BTreeSet<Name> },
    Keyring { operations: BTreeSet<Name> },
    Role { role: Name },
}

impl From<&Create> for GrantForm {
    fn from(create: &Create) -> Self {
        let gives = match &create.what {
            Wanted::Key { operations, .. } => Gives::Key { operations: spelled_out(operations, is_grantable) },
            Wanted::Keyring { operations, .. } => Gives::Keyring { operations: spelled_out(operations, is_grantable) },
            Wanted::Role { role } => Gives::Role { role: role.clone() },
        };
        Self {
            principal: create.principal.clone(),
            gives,
            constraints: create.constraints.clone(),
            not_before: create.not_before,
            seconds: create.seconds,
            reason: create.reason.clone(),
        }
    }
}

impl GrantForm {
    /// The operation, on what was found when it was asked for: the end of the id of a grant that is to be made.
    pub(crate) fn of_found(self, id: &str) -> Result<Create, Error> {
        let on = id.rsplit_once(':').map_or(id, |(_, on)| on);
        let what = match self.gives {
            Gives::Key { operations } => Wanted::Key { key: on.parse()?, operations },
            Gives::Keyring { operations } => Wanted::Keyring { keyring: on.parse()?, operations },
            Gives::Role { role } => Wanted::Role { role },
        };
        let (constraints, not_before) = (self.constraints, self.not_before);
        Ok(Create {
            principal: self.principal,
            what,
            constraints,
            not_before,
            seconds: self.seconds,
            reason: self.reason,
        })
    }
}

/// Takes a grant back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Which.
    pub grant: GrantId,
    /// Why.
    pub reason: Label,
}

impl Operation for Revoke {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GRANT_REVOKE;
    type Reply = GrantReply;

    fn target(&self) -> Target<'_> {
        Target::Grant(self.grant)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<GrantReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (record, revision) = grant(core, &opened, self.grant).await?;
        let over = || Error::new(Code::WrongState, "the grant is over or was taken back before: nothing was done");
        let revoked = record.revoke(&approved.principal().name, &self.reason, now).ok_or_else(over)?;
        let outcome = Outcome::reply(GrantReply::of(&opened, revoked.clone(), now))
            .changing(file(&opened.keys, revision.next(), &revoked))
            .then(Effect::Reload(Stale::grants(revoked.principal.clone())))
            .detail("reason", &self.reason);
        Ok(told(outcome, &revoked))
    }
}

async fn grant(core: &Core, opened: &Opened, id: GrantId) -> Result<(GrantRecord, Revision), Error> {
    core.filed::<GrantRecord>(opened, id).await?.ok_or_else(|| Error::not_found("grant"))
}

/// Shows a grant.
#[derive(Debug)]
pub struct Describe {
    /// Which.
    pub grant: GrantId,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GRANT_DESCRIBE;
    type Reply = GrantReply;

    fn target(&self) -> Target<'_> {
        Target::Grant(self.grant)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<GrantReply>, Error> {
        let opened = core.need_open()?;
        let (record, _) = grant(core, &opened, self.grant).await?;
        Ok(Outcome::reply(GrantReply::of(&opened, record, approved.now())))
    }
}

/// Lists grants by id, which is by age; ended ones too.
#[derive(Debug)]
pub struct List {
    /// Only this principal's.
    pub principal: Option<Name>,
    /// Only on this key or its keyring.
    pub key: Option<KeyRef>,
    /// Only those that are in force or will be.
    pub standing: bool,
    /// Only those after this one.
    pub after: Option<GrantId>,
    /// 1 to 1,000 looked at; what does not fit is left out of the page.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GRANT_LIST;
    type Reply = Listing<GrantReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<GrantReply>>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let on = match &self.key {
            Some(key) => {
                let key = core.find_key(key).await?.ok_or_else(|| Error::not_found("key"))?;
                Some([key.record.id().to_string(), key.keyring.record.id.to_string()])
            }
            None => None,
        };
        let page = Page { after: self.after.map(RowId::from), limit: self.limit.clamp(1, PAGE_MAX) };
        let parent = self.principal.as_ref().map(Name::as_str);
        let (records, next) = core.filed_page::<GrantRecord>(&opened, parent, page).await?;
        let fits = |record: &GrantRecord| {
            let about = on.as_ref().is_none_or(|on| record.what.on().is_some_and(|id| on.contains(&id)));
            about && !(self.standing && record.is_over(at))
        };
        let stands = |reply: &GrantReply| !self.standing || !reply.idle;
        let next = next.and_then(|row| row.as_bytes().try_into().ok()).map(GrantId::from_bytes);
        let records = records.into_iter().map(|(record, _)| record).filter(fits);
        let items: Vec<_> = records.map(|record| GrantReply::of(&opened, record, at)).filter(stands).collect();
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next: next.map(|id| id.to_string()) }).detail("listed", count))
    }
}

/// Shows the caller's own grants that are in force or will be.
#[derive(Debug)]
pub struct Mine;

impl Operation for Mine {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GRANT_SELF;
    type Reply = Listing<GrantReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<GrantReply>>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let access = opened.access();
        let standing = access.grants().of(&approved.principal().name).iter().filter(|held| !held.record.is_over(at));
        let items: Vec<_> = standing.map(|held| GrantReply::of(&opened, held.record.clone(), at)).collect();
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next: None }).detail("listed", count))
    }
}

/// What there is to know of a grant that ends.
pub(crate) fn facts(record: &GrantRecord) -> Facts {
    let facts = Facts::default()
        .with("grant", record.id)
        .with("grantee", &record.principal)
        .with("expires", record.expires)
        .with("by", &record.created_by)
        .with("reason", &record.reason);
    let facts = match &record.what {
        Granted::Key { key, .. } => facts.with("key", key),
        Granted::Keyring { keyring, .. } => facts.with("keyring", keyring),
        Granted::Role { role } => facts.with("role", role),
    };
    let Some(operations) = record.what.operations() else { return facts };
    facts.with("permissions", operations.iter().map(Name::as_str).collect::<Vec<_>>().join(" "))
}

/// The grants that end with their principal.
pub(super) struct Orphaned {
    /// Their rows.
    pub(super) changes: Vec<Change>,
    /// What people are told.
    pub(super) notices: Vec<Telling>,
    /// Which.
    pub(super) ids: Vec<String>,
}

impl Core {
    /// Ends the grants of a principal that is removed.
    pub(super) async fn orphaned(
        &self,
        opened: &Opened,
        principal: &Name,
        (by, now): (&Name, UnixMillis),
    ) -> Result<Orphaned, Error> {
        let reason: Label = "the principal was removed".parse().map_err(Error::internal)?;
        let mut orphaned = Orphaned { changes: Vec::new(), notices: Vec::new(), ids: Vec::new() };
        for (record, revision) in self.filed_all::<GrantRecord>(opened, Some(principal.as_str())).await? {
            let Some(revoked) = record.revoke(by, &reason, now) else { continue };
            orphaned.changes.push(file(&opened.keys, revision.next(), &revoked));
            let subject = format!("a grant of {principal} ended, for the principal was removed");
            orphaned.notices.push(Telling::new(NoticeKind::GrantEnded, subject, facts(&revoked)));
            orphaned.ids.push(revoked.id.to_string());
        }
        Ok(orphaned)
    }
}
