//! Break-glass: what several people together let some do with keys for a time, and what is owed afterwards
//! (requirement A7). The rules are those of `keyreeve_model::emergency`.

use keyreeve_model::approval::{Decision, Proposal, Shown};
use keyreeve_model::emergency::{
    Cause, Emergency, EmergencyRefusal, EmergencyState, Entrance, Item, Owed, Review as Signed, Terms,
};
use keyreeve_model::ids::{EmergencyId, IncidentId};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Actor, Facts, KeyId, KeyringId, Name, NoticeKind, PrincipalKind, UnixMillis, filed};
use keyreeve_policy::{Method, ResourceKind, groups};
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::mfa::need_fresh;
use super::permissions::spelled_out;
use super::{Listing, PAGE_MAX};
use crate::access::Stale;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::keys::{KeyRef, KeyringRef};
use crate::pipeline::{Approved, CaseKind, CaseRef, Operation, Outcome, Target};
use crate::sealing::{Effect, Opened};

impl From<EmergencyRefusal> for Error {
    fn from(refusal: EmergencyRefusal) -> Self {
        let code = match refusal {
            EmergencyRefusal::Names { .. }
            | EmergencyRefusal::TooMany { .. }
            | EmergencyRefusal::Minutes { .. }
            | EmergencyRefusal::Unsaid => Code::InvalidRequest,
            EmergencyRefusal::Voters { .. } | EmergencyRefusal::Involved => Code::OtherPersonNeeded,
            EmergencyRefusal::State { .. }
            | EmergencyRefusal::Lasts { .. }
            | EmergencyRefusal::NotOwed
            | EmergencyRefusal::Owes { .. } => Code::WrongState,
            EmergencyRefusal::NotCovered => Code::Denied,
        };
        Self::new(code, refusal.to_string())
    }
}

/// An emergency as it stands at an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EmergencyReply {
    /// The record.
    pub emergency: Emergency,
    /// The instant.
    pub at: UnixMillis,
}

super::replies::remember_as_json!(EmergencyReply);

/// Declares an emergency. Keys and keyrings are named by their ids: what people consent to must not lead elsewhere
/// later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declare {
    /// The open incident it belongs to.
    pub incident: IncidentId,
    /// The keys.
    pub keys: BTreeSet<KeyId>,
    /// Keyrings, all of whose keys are meant.
    pub keyrings: BTreeSet<KeyringId>,
    /// Operations of the catalogue, on keys, or groups of them such as `decrypt`.
    pub operations: BTreeSet<String>,
    /// Who may do them.
    pub participants: BTreeSet<Name>,
    /// For how long: 1 to 240.
    pub minutes: u16,
    /// Why nothing less will do.
    pub why: Label,
}

/// Whether an emergency may allow an operation: what uses keys, and what moves them through their states; never what
/// destroys them.
fn can_be_allowed(row: &Descriptor) -> bool {
    const USES: [&str; 6] = [
        groups::ENCRYPT_SIDE,
        groups::DECRYPT_SIDE,
        groups::SIGN_SIDE,
        groups::VERIFY_SIDE,
        groups::DERIVE_SIDE,
        groups::LIFECYCLE,
    ];
    let never = [&catalogue::KEY_CREATE, &catalogue::KEY_DESTROY, &catalogue::KEY_SCHEDULE_DESTRUCTION];
    row.resource == ResourceKind::Key
        && row.groups.iter().any(|group| USES.contains(group))
        && !never.contains(&row)
        // One key at a time: what is used is written down by key.
        && row.also.is_none()
}

impl Declare {
    /// What it allows, one by one.
    fn operations(&self) -> BTreeSet<String> {
        spelled_out(&self.operations, can_be_allowed)
    }

    /// Refuses what is not there, or cannot be part of an emergency; the participants with the people behind them.
    async fn terms(&self, core: &Core, opened: &Opened) -> Result<Terms, Error> {
        if !opened.access().cases().is_open(self.incident) {
            return Err(Error::new(Code::WrongState, "an emergency belongs to an open incident: open one first"));
        }
        let operations = self.operations();
        for operation in &operations {
            if !catalogue::find(operation).is_some_and(can_be_allowed) {
                let text = format!(
                    "`{operation}` is no operation that an emergency can allow: name operations on keys, such \
                     as `key.decrypt`, or a group of them, such as `decrypt`"
                );
                return Err(Error::invalid(text));
            }
        }
        for key in &self.keys {
            let found = core.find_key(&KeyRef::Id(*key)).await?;
            found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no key {key}")))?;
        }
        for keyring in &self.keyrings {
            let found = core.find_keyring(&KeyringRef::Id(*keyring)).await?;
            found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no keyring {keyring}")))?;
        }
        let mut participants = BTreeSet::new();
        for name in &self.participants {
            let held = opened.access().principal(name);
            let person = held.filter(|held| held.record.kind == PrincipalKind::Person && !held.record.disabled);
            let person = person.ok_or_else(|| Error::invalid(format!("`{name}` is nobody who could take part")))?;
            participants.insert(Actor::new(name.clone(), person.record.person.clone()));
        }
        Ok(Terms {
            incident: self.incident,
            keys: self.keys.clone(),
            keyrings: self.keyrings.clone(),
            operations,
            participants,
            minutes: self.minutes,
            why: self.why.clone(),
        })
    }
}

impl Declare {
    /// The emergency as it is declared; not by, with or for anybody whose last one was not reviewed in time.
    async fn declared(
        &self,
        core: &Core,
        opened: &Opened,
        (by, voters): (&Actor, &[Actor]),
        now: UnixMillis,
    ) -> Result<Emergency, Error> {
        let terms = self.terms(core, opened).await?;
        opened.access().cases().refuse_in_doubt()?;
        for who in voters.iter().chain([by]).chain(&terms.participants) {
            if let Some(barring) = opened.access().cases().barring(who, now) {
                let text = format!("`{}` was part of {barring}, whose review is overdue: that first", who.name);
                return Err(Error::new(Code::OtherPersonNeeded, text));
            }
        }
        Ok(Emergency::declare(EmergencyId::new(now, core.id_random()?), terms, by.clone(), now)?)
    }
}

impl Core {
    /// Who consented to what is being done.
    async fn consenting<O: Operation>(&self, opened: &Opened, approved: &Approved<O>) -> Result<Vec<Actor>, Error> {
        let Some(approval) = approved.approval() else {
            let text = "an emergency takes the consent of two people besides you: bring rules of approval into force \
                        first, with one for `emergency.declare`";
            return Err(Error::new(Code::OtherPersonNeeded, text));
        };
        let (proposal, _) =
            self.filed::<Proposal>(opened, approval).await?.ok_or_else(|| Error::not_found("approval"))?;
        let votes = proposal.votes().iter().filter(|vote| vote.decision == Decision::Approve && !vote.superseded);
        Ok(votes.map(|vote| Actor { name: vote.by.name.clone(), person: vote.by.person.clone() }).collect())
    }

    pub(crate) async fn emergency(&self, opened: &Opened, id: EmergencyId) -> Result<(Emergency, Revision), Error> {
        self.filed::<Emergency>(opened, id).await?.ok_or_else(|| Error::not_found("emergency"))
    }
}

pub(crate) fn facts(emergency: &Emergency) -> Facts {
    let list = |items: Vec<String>| items.join(" ");
    let terms = emergency.terms();
    Facts::default()
        .with("emergency", emergency.id())
        .with("incident", terms.incident)
        .with("by", &emergency.declared_by().name)
        .with("participants", list(terms.participants.iter().map(|one| one.name.to_string()).collect()))
        .with("operations", list(terms.operations.iter().cloned().collect()))
        .with("keys", list(terms.keys.iter().map(ToString::to_string).collect()))
        .with("keyrings", list(terms.keyrings.iter().map(ToString::to_string).collect()))
        .with("why", &terms.why)
}

impl Operation for Declare {
    const DESCRIPTOR: &'static Descriptor = &catalogue::EMERGENCY_DECLARE;
    type Reply = EmergencyReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::New(CaseKind::Emergency))
    }

    fn form(&self) -> Option<serde_json::Value> {
        // Whoever consents sees each operation, and no group that could mean others later.
        serde_json::to_value(Self { operations: self.operations(), ..self.clone() }).ok()
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.why)
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let mut shown = Vec::new();
        for key in &self.keys {
            let Some(held) = core.find_key(&KeyRef::Id(*key)).await? else { continue };
            let aliases: Vec<&str> = held.record.metadata.aliases.iter().map(Name::as_str).collect();
            shown.push(Shown { name: key.to_string(), value: aliases.join(" ") });
        }
        for keyring in &self.keyrings {
            let Some(held) = core.find_keyring(&KeyringRef::Id(*keyring)).await? else { continue };
            shown.push(Shown { name: keyring.to_string(), value: held.record.name.to_string() });
        }
        Ok(shown)
    }

    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        let by = core.actor_of(approved.principal())?;
        self.declared(core, &*core.need_open()?, (&by, &[]), approved.now()).await.map(|_| true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<EmergencyReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let voters = core.consenting(&opened, approved).await?;
        let by = core.actor_of(approved.principal())?;
        let emergency = self.declared(core, &opened, (&by, &voters), now).await?;
        let approval = approved.approval().ok_or_else(|| Error::internal("consent without approval"))?;
        let emergency = emergency.activate(&voters, approval, now)?;
        let (incident, revision) = core.incident(&opened, self.incident).await?;
        let noted = format!("{} is in force until {}", emergency.id(), emergency.until().unwrap_or(now));
        let incident = incident.note(noted.parse().map_err(Error::internal)?, &by.name, now)?;
        let people = |actors: &[Actor]| actors.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(" ");
        let told = facts(&emergency).with("until", emergency.until().unwrap_or(now)).with("voters", people(&voters));
        let participants: Vec<Actor> = emergency.terms().participants.iter().cloned().collect();
        Ok(Outcome::reply(EmergencyReply { emergency: emergency.clone(), at: now })
            .changing(filed::file(&opened.keys, Revision::FIRST, &emergency))
            .changing(filed::file(&opened.keys, revision.next(), &incident))
            .then(Effect::Reload(Stale::cases()))
            .then(Effect::DeliverNow)
            .telling(NoticeKind::EmergencyActive, "an emergency is in force", told)
            .on_case(emergency.id())
            .detail("emergency", emergency.id())
            .detail("incident", self.incident)
            .detail("keys", self.keys.len())
            .detail("keyrings", self.keyrings.len())
            .detail("permissions", emergency.terms().operations.iter().cloned().collect::<Vec<_>>().join(" "))
            .detail("participants", people(&participants))
            .detail("voters", people(&voters))
            .detail("until", emergency.until().unwrap_or(now))
            .detail("reason", &self.why))
    }
}

/// Ends an emergency before its time; the server itself does so at its time.
#[derive(Debug)]
pub struct End {
    /// The emergency.
    pub emergency: EmergencyId,
}

impl Operation for End {
    const DESCRIPTOR: &'static Descriptor = &catalogue::EMERGENCY_END;
    type Reply = EmergencyReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Emergency(self.emergency))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<EmergencyReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (emergency, revision) = core.emergency(&opened, self.emergency).await?;
        let cause = match approved.principal().method {
            // One of before the server was opened came to its end when it was sealed.
            Method::System if emergency.activated() < Some(core.opened_since()) => Cause::Seal,
            Method::System => Cause::Time,
            _ => Cause::Person { by: approved.principal().name.clone() },
        };
        let how = cause.name();
        let ended = emergency.end(cause, now)?;
        let names: BTreeSet<&Name> = ended.terms().participants.iter().map(|one| &one.name).collect();
        let taken = core.revoking(&opened, &names, now).await?;
        let ended = ended.having_revoked(taken.revoked.clone());
        let told = facts(&ended).with("cause", how).with("used_keys", ended.used_keys().len());
        let told = told.with("revoked", taken.revoked.len());
        let mut outcome = Outcome::reply(EmergencyReply { emergency: ended.clone(), at: now }).changing(filed::file(
            &opened.keys,
            revision.next(),
            &ended,
        ));
        outcome = Entrance::ALL
            .into_iter()
            .fold(outcome, |outcome, what| outcome.detail(&format!("revoked_{}s", what.name()), taken.count(what)));
        outcome.changes.extend(taken.changes);
        outcome.effects.extend(taken.effects);
        Ok(outcome
            .then(Effect::Reload(Stale::cases()))
            .then(Effect::DeliverNow)
            .telling(NoticeKind::EmergencyEnded, "an emergency is over: its review is due", told)
            .detail("emergency", self.emergency)
            .detail("cause", how)
            .detail("revoked", taken.revoked.len())
            .detail("owed", ended.owed().count()))
    }
}

/// Writes down what was renewed after an emergency, and reminds of its review. The server's own.
#[derive(Debug)]
pub(crate) struct LookAfter {
    /// The emergency.
    pub(crate) emergency: EmergencyId,
}

impl Operation for LookAfter {
    const DESCRIPTOR: &'static Descriptor = &catalogue::EMERGENCY_LOOK_AFTER;
    type Reply = EmergencyReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Emergency(self.emergency))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<EmergencyReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (known, revision) = core.emergency(&opened, self.emergency).await?;
        let settled = core.settled(&opened, &known, now).await?.unwrap_or_else(|| known.clone());
        let reminded = settled.remind(now);
        let (reminds, next) = (reminded.is_some(), reminded.unwrap_or(settled));
        let done = |owed: &&Owed| owed.done.is_some();
        let fresh = next.items().iter().filter(done).filter(|owed| !known.items().contains(owed));
        let fresh: Vec<String> = fresh.map(in_words).collect();
        let owed = next.owed().count();
        let mut outcome = Outcome::reply(EmergencyReply { emergency: next.clone(), at: now })
            .changing(filed::file(&opened.keys, revision.next(), &next))
            .then(Effect::Reload(Stale::cases()))
            .on_case(self.emergency)
            .detail("emergency", self.emergency)
            .detail("renewed", fresh.join("; "))
            .detail("reminded", reminds)
            .detail("owed", owed);
        if reminds {
            let told = facts(&next).with("owed", owed);
            let telling =
                Telling::new(NoticeKind::EmergencyReviewOverdue, "the review of an emergency is overdue", told);
            outcome.notices.push(telling);
        }
        Ok(outcome)
    }
}

/// What was renewed, and how.
fn in_words(owed: &Owed) -> String {
    let what = match &owed.item {
        Item::Key(key) => key.to_string(),
        Item::Credentials(name) => name.to_string(),
    };
    let how = owed.done.as_ref().map_or("", |done| done.how.as_str());
    format!("{what}: {how}")
}

/// Signs the review of an emergency: the only way to close one.
#[derive(Debug)]
pub struct Review {
    /// The emergency.
    pub emergency: EmergencyId,
    /// What was found.
    pub text: Label,
    /// For each key that was used, what becomes of it.
    pub dispositions: BTreeMap<KeyId, Label>,
}

impl Operation for Review {
    const DESCRIPTOR: &'static Descriptor = &catalogue::EMERGENCY_REVIEW;
    type Reply = EmergencyReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Emergency(self.emergency))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<EmergencyReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (emergency, revision) = core.emergency(&opened, self.emergency).await?;
        // What was renewed since the server last looked counts.
        let settled = core.settled(&opened, &emergency, now).await?.unwrap_or(emergency);
        let by = core.signer(approved)?;
        let signed = Signed { at: now, by, text: self.text.clone(), dispositions: self.dispositions.clone() };
        let left = core.unrotated(&opened, &settled, now).await?;
        let closed = match settled.review(signed) {
            Ok(_) | Err(EmergencyRefusal::Owes { .. }) if !left.is_empty() => {
                return Err(Error::new(Code::WrongState, format!("before the review: {}", left.join("; "))));
            }
            closed => closed?,
        };
        need_fresh(approved.principal(), now)?;
        Ok(Outcome::reply(EmergencyReply { emergency: closed.clone(), at: now })
            .changing(filed::file(&opened.keys, revision.next(), &closed))
            .then(Effect::Reload(Stale::cases()))
            .detail("emergency", self.emergency)
            .detail("revoked", closed.ended().map_or(0, |ended| ended.revoked.len()))
            .detail("reason", &self.text))
    }
}

/// Shows an emergency.
#[derive(Debug)]
pub struct Describe {
    /// The emergency.
    pub emergency: EmergencyId,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::EMERGENCY_DESCRIBE;
    type Reply = EmergencyReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Emergency(self.emergency))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<EmergencyReply>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let (emergency, _) = core.emergency(&opened, self.emergency).await?;
        // As it is, whether or not the server has written it down yet.
        let emergency = core.settled(&opened, &emergency, at).await?.unwrap_or(emergency);
        Ok(Outcome::reply(EmergencyReply { emergency, at }))
    }
}

/// Lists emergencies, oldest first.
#[derive(Debug)]
pub struct List {
    /// Only those in this state.
    pub state: Option<EmergencyState>,
    /// Only those after this one.
    pub after: Option<EmergencyId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::EMERGENCY_LIST;
    type Reply = Listing<EmergencyReply>;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::All(CaseKind::Emergency))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<EmergencyReply>>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let page = Page { after: self.after.map(Into::into), limit: self.limit.clamp(1, PAGE_MAX) };
        let parent = self.state.map(EmergencyState::name);
        let (rows, next) = core.filed_page::<Emergency>(&opened, parent, page).await?;
        let items: Vec<_> = rows.into_iter().map(|(emergency, _)| EmergencyReply { emergency, at }).collect();
        let next = next.and(items.last().map(|last| last.emergency.id().to_string()));
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

impl Core {
    /// Since when the server is open. What gave rights before does not any more.
    pub(crate) fn opened_since(&self) -> UnixMillis {
        UnixMillis(self.opened_since.load(Ordering::Acquire))
    }
}
