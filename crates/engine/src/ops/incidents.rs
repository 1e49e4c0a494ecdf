//! Incidents: opened by people, and by the server when one person revokes a key in an emergency (requirement A6 and
//! decision 2 of the requirements: what was done on one person's authority is confirmed by a second one afterwards).

use keyreeve_model::ids::IncidentId;
use keyreeve_model::incident::{Incident, IncidentKind, IncidentRefusal, NewIncident, Owing};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::rules::Confirm as MustConfirm;
use keyreeve_model::{Actor, Change, Facts, KeyId, Name, NoticeKind, PrincipalKind, RecordId, UnixMillis, filed};
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::mfa::need_fresh;
use super::{Listing, PAGE_MAX};
use crate::access::Stale;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::keys::KeyRef;
use crate::pipeline::{Approved, CaseKind, CaseRef, Operation, Outcome, Principal, Target};
use crate::sealing::{Effect, Opened};

impl From<IncidentRefusal> for Error {
    fn from(refusal: IncidentRefusal) -> Self {
        let code = match refusal {
            IncidentRefusal::NoText => Code::InvalidRequest,
            IncidentRefusal::SamePerson | IncidentRefusal::Role { .. } => Code::OtherPersonNeeded,
            IncidentRefusal::Closed { .. }
            | IncidentRefusal::Owes { .. }
            | IncidentRefusal::NotOwed { .. }
            | IncidentRefusal::Full { .. } => Code::WrongState,
        };
        Self::new(code, refusal.to_string())
    }
}

/// An incident as it stands at an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentReply {
    /// The record.
    pub incident: Incident,
    /// The instant.
    pub at: UnixMillis,
}

super::replies::remember_as_json!(IncidentReply);

/// Opens an incident.
#[derive(Debug)]
pub struct Open {
    /// What it is about.
    pub kind: IncidentKind,
    /// The keys it touches.
    pub keys: Vec<KeyRef>,
    /// The ticket in the organisation's own system.
    pub ticket: Option<Label>,
    /// What happened.
    pub reason: Label,
}

/// Shows an incident.
#[derive(Debug)]
pub struct Describe {
    /// The incident.
    pub incident: IncidentId,
}

/// Writes something down in an incident.
#[derive(Debug)]
pub struct Note {
    /// The incident.
    pub incident: IncidentId,
    /// The text.
    pub text: Label,
}

/// Confirms what somebody else did.
#[derive(Debug)]
pub struct Confirm {
    /// The incident.
    pub incident: IncidentId,
    /// The number of the confirmation.
    pub number: u32,
}

/// Closes an incident.
#[derive(Debug)]
pub struct Close {
    /// The incident.
    pub incident: IncidentId,
    /// What came of it.
    pub text: Label,
}

/// Lists incidents, oldest first.
#[derive(Debug)]
pub struct List {
    /// Only those that are open, or only those that are closed.
    pub open: Option<bool>,
    /// Only those after this one.
    pub after: Option<IncidentId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Core {
    /// A principal and the person behind it.
    pub(crate) fn actor_of(&self, principal: &Principal) -> Result<Actor, Error> {
        let held = self.need_open()?.access().principal(&principal.name);
        Ok(Actor::new(principal.name.clone(), held.and_then(|held| held.record.person.clone())))
    }

    /// The roles that the deployment itself gives a principal: what a login adds does not count where people answer for
    /// one another.
    pub(crate) fn own_roles(&self, name: &Name) -> Result<BTreeSet<Name>, Error> {
        let held = self.need_open()?.access().principal(name);
        Ok(held.map(|held| held.record.roles.clone()).unwrap_or_default())
    }

    /// Whether a principal was there at an instant, and is not another one that was given the name later.
    pub(crate) fn was_there(&self, name: &Name, at: UnixMillis) -> Result<bool, Error> {
        let held = self.need_open()?.access().principal(name);
        Ok(held.is_some_and(|held| held.record.created <= at))
    }

    /// Refuses programs where people answer for something with their name.
    pub(crate) fn refuse_program(&self, principal: &Principal) -> Result<(), Error> {
        let held = self.need_open()?.access().principal(&principal.name);
        if held.is_some_and(|held| held.record.kind == PrincipalKind::Person) {
            return Ok(());
        }
        Err(Error::new(Code::OtherPersonNeeded, "people sign this with their name, and no programs: a person does it"))
    }

    /// Who signs something, as a vote is signed: a person, by what policies give to the roles of their own record.
    /// Those that a login or a grant for a time adds do not count.
    ///
    /// # Errors
    /// [`Code::OtherPersonNeeded`] for programs, [`Code::Denied`] for others.
    pub(crate) fn signer<O: Operation>(&self, approved: &Approved<O>) -> Result<Actor, Error> {
        self.refuse_program(approved.principal())?;
        self.refuse_borrowed(approved)?;
        self.actor_of(approved.principal())
    }

    pub(crate) async fn incident(&self, opened: &Opened, id: IncidentId) -> Result<(Incident, Revision), Error> {
        self.filed::<Incident>(opened, id).await?.ok_or_else(|| Error::not_found("incident"))
    }

    /// The keys that a caller names, by their ids.
    pub(crate) async fn key_ids(&self, wanted: &[KeyRef]) -> Result<BTreeSet<KeyId>, Error> {
        let mut ids = BTreeSet::new();
        for key in wanted {
            let held = self.find_key(key).await?;
            let held = held.ok_or_else(|| Error::new(Code::NotFound, format!("there is no key `{key}`")))?;
            ids.insert(held.record.id());
        }
        Ok(ids)
    }

    /// The next state of an incident, as an operation leads to it.
    async fn altered<O: Operation<Reply = IncidentReply>>(
        &self,
        approved: &Approved<O>,
        id: IncidentId,
        alter: impl FnOnce(&Incident, Actor) -> Result<Incident, Error> + Send,
    ) -> Result<Outcome<IncidentReply>, Error> {
        let (opened, at) = (self.need_open()?, approved.now());
        let (incident, revision) = self.incident(&opened, id).await?;
        let incident = alter(&incident, self.actor_of(approved.principal())?)?;
        let change = filed::file(&opened.keys, revision.next(), &incident);
        let outcome = Outcome::reply(IncidentReply { incident, at }).changing(change);
        Ok(outcome.then(Effect::Reload(Stale::cases())).detail("incident", id))
    }
}

impl Operation for Open {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INCIDENT_OPEN;
    type Reply = IncidentReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::New(CaseKind::Incident))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<IncidentReply>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        if self.reason.is_empty() {
            return Err(IncidentRefusal::NoText.into());
        }
        let new = NewIncident {
            id: IncidentId::new(at, core.id_random()?),
            kind: self.kind,
            keys: core.key_ids(&self.keys).await?,
            ticket: self.ticket.clone(),
            reason: self.reason.clone(),
            by: core.actor_of(approved.principal())?,
        };
        let incident = Incident::open(new, at)?;
        let telling = opened_telling(&incident, None);
        let mut outcome = Outcome::reply(IncidentReply { incident: incident.clone(), at })
            .changing(filed::file(&opened.keys, Revision::FIRST, &incident))
            .then(Effect::Reload(Stale::cases()))
            .on_case(incident.id())
            .detail("incident", incident.id())
            .detail("kind", self.kind.name())
            .detail("keys", incident.keys().len())
            .detail("reason", &self.reason);
        outcome.notices.push(telling);
        Ok(match &self.ticket {
            Some(ticket) => outcome.detail("ticket", ticket),
            None => outcome,
        })
    }
}

fn opened_telling(incident: &Incident, operation: Option<&str>) -> Telling {
    let keys: Vec<String> = incident.keys().iter().map(ToString::to_string).collect();
    let mut facts = Facts::default()
        .with("incident", incident.id())
        .with("kind", incident.kind().name())
        .with("keys", keys.join(" "))
        .with("by", &incident.opened_by().name)
        .with("reason", incident.reason());
    if let Some(ticket) = incident.ticket() {
        facts = facts.with("ticket", ticket);
    }
    if let Some(operation) = operation {
        facts = facts.with("operation", operation);
    }
    let subject = format!("an incident was opened: {}", incident.kind().name());
    Telling::new(NoticeKind::IncidentOpened, subject, facts)
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INCIDENT_DESCRIBE;
    type Reply = IncidentReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Incident(self.incident))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<IncidentReply>, Error> {
        let opened = core.need_open()?;
        let (incident, _) = core.incident(&opened, self.incident).await?;
        Ok(Outcome::reply(IncidentReply { incident, at: approved.now() }))
    }
}

impl Operation for Note {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INCIDENT_NOTE;
    type Reply = IncidentReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Incident(self.incident))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<IncidentReply>, Error> {
        let now = approved.now();
        let note = |incident: &Incident, by: Actor| Ok(incident.note(self.text.clone(), &by.name, now)?);
        core.altered(approved, self.incident, note).await
    }
}

impl Operation for Confirm {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INCIDENT_CONFIRM;
    type Reply = IncidentReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Incident(self.incident))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<IncidentReply>, Error> {
        let (now, roles) = (approved.now(), core.own_roles(&approved.principal().name)?);
        core.refuse_program(approved.principal())?;
        let confirm = |incident: &Incident, by: Actor| {
            let next = incident.confirm(self.number, &by, &roles, now)?;
            // A signature, as a vote is: whoever finds the session of somebody who went for coffee gives none.
            need_fresh(approved.principal(), now)?;
            Ok(next)
        };
        Ok(core.altered(approved, self.incident, confirm).await?.detail("confirmation", self.number))
    }
}

impl Operation for Close {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INCIDENT_CLOSE;
    type Reply = IncidentReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Incident(self.incident))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<IncidentReply>, Error> {
        let now = approved.now();
        core.need_open()?.access().cases().refuse_in_doubt()?;
        if let Some(emergency) = core.need_open()?.access().cases().emergency_under(self.incident) {
            let text = format!("{emergency} belongs to the incident and is not closed: its review comes first");
            return Err(Error::new(Code::WrongState, text));
        }
        let close = |incident: &Incident, by: Actor| Ok(incident.close(self.text.clone(), by, now)?);
        Ok(core.altered(approved, self.incident, close).await?.detail("reason", &self.text))
    }
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INCIDENT_LIST;
    type Reply = Listing<IncidentReply>;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::All(CaseKind::Incident))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<IncidentReply>>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let parent = self.open.map(|open| if open { Incident::OPEN } else { Incident::CLOSED });
        let page = Page { after: self.after.map(Into::into), limit: self.limit.clamp(1, PAGE_MAX) };
        let (rows, next) = core.filed_page::<Incident>(&opened, parent, page).await?;
        let items: Vec<_> = rows.into_iter().map(|(incident, _)| IncidentReply { incident, at }).collect();
        let next = next.and(items.last().map(|last| last.incident.id().to_string()));
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

/// Something that one person did on a key in an emergency.
pub(crate) struct Hurried<'a> {
    /// The operation.
    pub(crate) operation: &'static Descriptor,
    /// The key.
    pub(crate) key: KeyId,
    /// Who did it.
    pub(crate) by: Actor,
    /// Why.
    pub(crate) reason: Label,
    /// Who confirms it afterwards, and within which time; nobody, unless said.
    pub(crate) confirm: &'a [MustConfirm],
}

impl Hurried<'_> {
    /// An incident with what was done, and with the confirmations that are owed for it.
    fn written_in(&self, incident: Incident, now: UnixMillis) -> Result<Incident, IncidentRefusal> {
        let operation = self.operation.name;
        if self.confirm.is_empty() {
            return incident.done(operation, self.key, &self.by.name, now);
        }
        self.confirm.iter().try_fold(incident, |incident, confirm| {
            let within = Duration::from_secs(u64::from(confirm.within_hours) * 3600);
            let (key, by, any_of) = (self.key, &self.by, &confirm.any_of);
            incident.owe(&Owing { operation, key, by, any_of, within }, now)
        })
    }
}

/// What an incident adds to the operation that it is about.
pub(crate) struct IncidentChanges {
    /// In the same transaction.
    pub(crate) changes: Vec<Change>,
    /// For the same audit record.
    pub(crate) details: BTreeMap<String, String>,
    /// Once both are durable.
    pub(crate) effects: Vec<Effect>,
}

impl Core {
    /// Writes down in the key's open incident what was done in a hurry, or opens one for it.
    pub(crate) async fn hurried(
        &self,
        opened: &Opened,
        hurried: &Hurried<'_>,
        record: RecordId,
        now: UnixMillis,
    ) -> Result<IncidentChanges, Error> {
        let known = opened.access().cases().incident_about(hurried.key);
        let known = match known {
            Some(id) => Some(self.incident(opened, id).await?).filter(|(incident, _)| incident.is_open()),
            None => None,
        };
        let known = known
            .map(|(incident, revision)| hurried.written_in(incident, now).map(|written| (written, revision.next())));
        let (incident, revision) = match known {
            // Whoever revokes a key is not kept from it by what others wrote down before: there is another incident.
            None | Some(Err(IncidentRefusal::Full { .. })) => {
                (hurried.written_in(self.opened_for(hurried, now)?, now)?, Revision::FIRST)
            }
            Some(written) => written?,
        };
        let (operation, fresh) = (hurried.operation.name, revision == Revision::FIRST);
        let mut changes = vec![filed::file(&opened.keys, revision, &incident)];
        if fresh {
            changes.extend(self.notice(opened, &opened_telling(&incident, Some(operation)), Some(record), now)?);
        }
        let details = BTreeMap::from([("incident".to_owned(), incident.id().to_string())]);
        Ok(IncidentChanges { changes, details, effects: vec![Effect::Reload(Stale::cases())] })
    }

    fn opened_for(&self, hurried: &Hurried<'_>, now: UnixMillis) -> Result<Incident, Error> {
        let kind = if hurried.operation == &catalogue::KEY_COMPROMISE {
            IncidentKind::Compromise
        } else if hurried.operation == &catalogue::KEY_SUSPEND {
            IncidentKind::Suspension
        } else {
            IncidentKind::Other
        };
        let new = NewIncident {
            id: IncidentId::new(now, self.id_random()?),
            kind,
            keys: BTreeSet::from([hurried.key]),
            ticket: None,
            reason: hurried.reason.clone(),
            by: hurried.by.clone(),
        };
        Ok(Incident::open(new, now)?)
    }
}
