//! Break-glass: what several people together may do with keys while an emergency lasts, and what is owed afterwards.
//!
//! Declared → Active → UnderReview → Closed, and no other way. Active takes the consent of at least [`VOTERS_MIN`]
//! people who did not declare it. It ends by itself. Then every key that was used is rotated, every participant's
//! credentials are renewed, and somebody who neither declared, voted nor took part signs the review; until that is done
//! the emergency stays open, and once that is overdue those who were part of it can be part of no other.
//!
//! The methods here are the only way in which an emergency changes; each gives the next one and leaves this one alone.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

use crate::actor::{Actor, is_among};
use crate::filed::{FiledRecord, RowId};
use crate::ids::{ApprovalId, EmergencyId, IncidentId, KeyId, KeyringId, RecordId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::{DAY_MS, UnixMillis};

/// People who must consent besides the one who declares it.
pub const VOTERS_MIN: usize = 2;
/// Keys named by one emergency, at most; also the different keys that may be used in one over whole keyrings.
pub const KEYS_MAX: usize = 64;
/// Keyrings named by one emergency, at most.
pub const KEYRINGS_MAX: usize = 8;
/// Operations of one emergency, at most.
pub const OPERATIONS_MAX: usize = 16;
/// Participants of one emergency, at most.
pub const PARTICIPANTS_MAX: usize = 8;
/// The longest time an emergency lasts, in minutes.
pub const MINUTES_MAX: u16 = 240;
/// Time for the review, in days.
pub const REVIEW_DAYS: u32 = 3;
/// Ways in that an emergency's record names as ended with it, at most: more than all participants have certificates.
/// What is not named ended as well.
pub const REVOKED_MAX: usize = 1024;
/// Oldest second factor with which a participant may act, in seconds.
pub const MFA_MAX_SECONDS: u64 = 15 * 60;

/// Where an emergency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmergencyState {
    /// Asked for; nobody may do anything by it.
    Declared,
    /// In force until its end.
    Active,
    /// Over; something is owed, the review at least.
    UnderReview,
    /// Signed off.
    Closed,
}

impl EmergencyState {
    /// All states, in order.
    pub const ALL: [Self; 4] = [Self::Declared, Self::Active, Self::UnderReview, Self::Closed];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Active => "active",
            Self::UnderReview => "under-review",
            Self::Closed => "closed",
        }
    }

    /// The state of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What is asked for: who may do what with which keys, for how long, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// The keys.
    pub keys: BTreeSet<KeyId>,
    /// Keyrings, all of whose keys are meant.
    pub keyrings: BTreeSet<KeyringId>,
    /// Operations of the catalogue.
    pub operations: BTreeSet<String>,
    /// Who may do them.
    pub participants: BTreeSet<Actor>,
    /// For how long, from the moment it is active.
    pub minutes: u16,
    /// Why nothing less will do.
    pub why: Label,
}

/// Why an emergency does not change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmergencyRefusal {
    /// It names no key, nobody, nothing to do or no reason.
    #[error("an emergency names {what}")]
    Names {
        /// What is missing.
        what: &'static str,
    },
    /// It names too much.
    #[error("an emergency has at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
    /// It would last too long, or not at all.
    #[error("an emergency lasts 1 to {MINUTES_MAX} minutes, not {minutes}")]
    Minutes {
        /// What was asked.
        minutes: u16,
    },
    /// Too few people consented.
    #[error("an emergency takes the consent of {VOTERS_MIN} people besides the one who declares it, not {count}")]
    Voters {
        /// How many did.
        count: usize,
    },
    /// It is not in the state for that.
    #[error("the emergency is {}", .state.name())]
    State {
        /// Where it stands.
        state: EmergencyState,
    },
    /// It gives nobody this right now.
    #[error("the emergency does not cover this")]
    NotCovered,
    /// It is not over yet.
    #[error("the emergency lasts until {until}")]
    Lasts {
        /// When it ends.
        until: UnixMillis,
    },
    /// Something of that kind is not owed.
    #[error("the emergency does not owe that")]
    NotOwed,
    /// Something is owed.
    #[error("before the review {count} keys and credentials that were used are to be renewed")]
    Owes {
        /// How many.
        count: usize,
    },
    /// The reviewer was part of it.
    #[error("the review is signed by somebody who neither declared the emergency, consented to it, nor took part")]
    Involved,
    /// The review says nothing, or not enough.
    #[error("the review says in words what was found, and for each key that was used what becomes of it")]
    Unsaid,
}

impl Terms {
    /// Checks that there is something to decide about, and that it is bounded.
    ///
    /// # Errors
    /// [`EmergencyRefusal::Names`], [`EmergencyRefusal::TooMany`], [`EmergencyRefusal::Minutes`].
    pub fn check(&self) -> Result<(), EmergencyRefusal> {
        let missing = [
            ("a key or a keyring", self.keys.is_empty() && self.keyrings.is_empty()),
            ("at least one operation", self.operations.is_empty()),
            ("at least one participant", self.participants.is_empty()),
            ("its reason", self.why.is_empty()),
        ];
        if let Some((what, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            return Err(EmergencyRefusal::Names { what });
        }
        let counts = [
            ("keys", self.keys.len(), KEYS_MAX),
            ("keyrings", self.keyrings.len(), KEYRINGS_MAX),
            ("operations", self.operations.len(), OPERATIONS_MAX),
            ("participants", self.participants.len(), PARTICIPANTS_MAX),
        ];
        if let Some((what, _, max)) = counts.into_iter().find(|(_, count, max)| count > max) {
            return Err(EmergencyRefusal::TooMany { what, max });
        }
        if !(1..=MINUTES_MAX).contains(&self.minutes) {
            return Err(EmergencyRefusal::Minutes { minutes: self.minutes });
        }
        Ok(())
    }
}

/// The first use of an operation on a key by a participant. Each use besides is in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The key.
    pub key: KeyId,
    /// The operation of the catalogue.
    pub operation: String,
    /// The participant.
    pub by: Name,
    /// When.
    pub at: UnixMillis,
    /// The audit record of it.
    pub record: RecordId,
}

/// How an emergency came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cause {
    /// Its time was over.
    Time,
    /// Somebody ended it.
    Person {
        /// Who.
        by: Name,
    },
    /// The server was sealed, by somebody or by stopping.
    Seal,
}

impl Cause {
    /// The name in audit records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Person { .. } => "person",
            Self::Seal => "seal",
        }
    }
}

/// A way in which somebody can come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entrance {
    /// A client certificate, by what the principal's record says of it.
    Certificate,
    /// A service credential, by its id.
    Credential,
    /// A token that somebody issued, by its id.
    Token,
    /// The token of a login, by its id.
    Session,
}

impl Entrance {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Certificate, Self::Credential, Self::Token, Self::Session];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Credential => "credential",
            Self::Token => "token",
            Self::Session => "session",
        }
    }
}

/// A way in that a participant had, and that ended with the emergency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// What.
    pub what: Entrance,
    /// Which.
    pub id: String,
    /// Whose.
    pub of: Name,
}

/// The end of an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// When it was over: never later than its time.
    pub at: UnixMillis,
    /// How.
    pub cause: Cause,
    /// What the participants could come in with until then, and cannot any more: certificates and credentials first,
    /// at most [`REVOKED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
}

/// Something to be renewed after an emergency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Item {
    /// A key that was used: rotated, named as compromised, or on its way to destruction.
    Key(KeyId),
    /// The credentials of a participant.
    Credentials(Name),
}

impl Item {
    /// Which key it is about.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::Key(key) => Some(*key),
            Self::Credentials(_) => None,
        }
    }

    /// Whose credentials it is about.
    #[must_use]
    pub fn whose(&self) -> Option<&Name> {
        match self {
            Self::Credentials(name) => Some(name),
            Self::Key(_) => None,
        }
    }
}

/// Something owed after an emergency, or settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owed {
    /// What.
    pub item: Item,
    /// When it was found done, and how it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Settled>,
}

/// How something owed was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// When that was found.
    pub at: UnixMillis,
    /// How, in a few words.
    pub how: Label,
}

/// The review after an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// When it was signed.
    pub at: UnixMillis,
    /// By whom.
    pub by: Actor,
    /// What was found.
    pub text: Label,
    /// For each key that was used, what becomes of it.
    pub dispositions: BTreeMap<KeyId, Label>,
}

/// The consent an emergency became active by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    at: UnixMillis,
    until: UnixMillis,
    approval: ApprovalId,
    voters: BTreeSet<Actor>,
}

/// An emergency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    id: EmergencyId,
    state: EmergencyState,
    terms: Terms,
    declared: UnixMillis,
    declared_by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation: Option<Activation>,
    uses: Vec<Use>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    owed: Vec<Owed>,
    /// When somebody is reminded of the review next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remind: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    review: Option<Review>,
}

impl Emergency {
    /// An emergency that somebody declares.
    ///
    /// # Errors
    /// Those of [`Terms::check`].
    pub fn declare(id: EmergencyId, terms: Terms, by: Actor, now: UnixMillis) -> Result<Self, EmergencyRefusal> {
        terms.check()?;
        Ok(Self {
            id,
            state: EmergencyState::Declared,
            terms,
            declared: now,
            declared_by: by,
            activation: None,
            uses: Vec::new(),
            ended: None,
            owed: Vec::new(),
            remind: None,
            review: None,
        })
    }

    /// In force from now, by the consent of these people. The one who declared it does not count, nobody counts twice.
    ///
    /// # Errors
    /// [`EmergencyRefusal::Voters`], [`EmergencyRefusal::State`].
    pub fn activate(&self, voters: &[Actor], approval: ApprovalId, now: UnixMillis) -> Result<Self, EmergencyRefusal> {
        self.check_state(EmergencyState::Declared)?;
        let mut counted: BTreeSet<Actor> = BTreeSet::new();
        for voter in voters {
            if !voter.is_same_person(&self.declared_by) && !is_among(voter, counted.iter()) {
                counted.insert(voter.clone());
            }
        }
        if counted.len() < VOTERS_MIN {
            return Err(EmergencyRefusal::Voters { count: counted.len() });
        }
        let until = UnixMillis(now.0.saturating_add(i64::from(self.terms.minutes) * 60_000));
        let activation = Some(Activation { at: now, until, approval, voters: voters.iter().cloned().collect() });
        Ok(Self { state: EmergencyState::Active, activation, ..self.clone() })
    }

    /// True when the emergency lets a participant do an operation on a key now. Nothing else gives the right: not the
    /// stored state alone, since an emergency is over at its time even before that is written down.
    #[must_use]
    pub fn permits(&self, who: &Name, operation: &str, key: KeyId, keyring: KeyringId, now: UnixMillis) -> bool {
        let terms = &self.terms;
        self.is_in_force(now)
            && terms.participants.iter().any(|participant| participant.name == *who)
            && terms.operations.contains(operation)
            && (terms.keys.contains(&key) || terms.keyrings.contains(&keyring))
            && (self.used_keys().contains(&key) || self.used_keys().len() < KEYS_MAX)
    }

    /// True from its activation to its end.
    #[must_use]
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        let within = self.activation.as_ref().is_some_and(|active| active.at <= now && now < active.until);
        self.state == EmergencyState::Active && within
    }

    /// With the use of a key, which [`Emergency::permits`] allows. None where the same participant did the same on the
    /// same key before: that is written down once.
    ///
    /// # Errors
    /// [`EmergencyRefusal::NotCovered`].
    pub fn used(&self, one: Use, keyring: KeyringId) -> Result<Option<Self>, EmergencyRefusal> {
        if !self.permits(&one.by, &one.operation, one.key, keyring, one.at) {
            return Err(EmergencyRefusal::NotCovered);
        }
        let same = |use_: &Use| use_.key == one.key && use_.operation == one.operation && use_.by == one.by;
        if self.uses.iter().any(same) {
            return Ok(None);
        }
        let mut next = self.clone();
        next.uses.push(one);
        Ok(Some(next))
    }

    /// Over: every key that was used is to be rotated, the credentials of every participant are to be renewed, and
    /// somebody else signs the review.
    ///
    /// # Errors
    /// [`EmergencyRefusal::State`]; [`EmergencyRefusal::Lasts`] when its time is said to be over and is not.
    pub fn end(&self, cause: Cause, now: UnixMillis) -> Result<Self, EmergencyRefusal> {
        self.check_state(EmergencyState::Active)?;
        let until = self.until().unwrap_or(now);
        if cause == Cause::Time && now < until {
            return Err(EmergencyRefusal::Lasts { until });
        }
        let at = now.min(until);
        let keys = self.used_keys().into_iter().map(Item::Key);
        let people = self.terms.participants.iter().map(|participant| Item::Credentials(participant.name.clone()));
        Ok(Self {
            state: EmergencyState::UnderReview,
            ended: Some(Ended { at, cause, revoked: Vec::new() }),
            owed: keys.chain(people).map(|item| Owed { item, done: None }).collect(),
            remind: Some(at.plus_days(REVIEW_DAYS)),
            ..self.clone()
        })
    }

    /// With what of the participants ended with it.
    #[must_use]
    pub fn having_revoked(mut self, mut revoked: Vec<Revoked>) -> Self {
        revoked.sort();
        revoked.truncate(REVOKED_MAX);
        if let Some(ended) = &mut self.ended {
            ended.revoked = revoked;
        }
        self
    }

    /// With something owed found done.
    ///
    /// # Errors
    /// [`EmergencyRefusal::NotOwed`], [`EmergencyRefusal::State`].
    pub fn settle(&self, item: &Item, how: Label, now: UnixMillis) -> Result<Self, EmergencyRefusal> {
        self.check_state(EmergencyState::UnderReview)?;
        let mut next = self.clone();
        let owed = next.owed.iter_mut().find(|owed| owed.item == *item && owed.done.is_none());
        owed.ok_or(EmergencyRefusal::NotOwed)?.done = Some(Settled { at: now, how });
        Ok(next)
    }

    /// Signed off. There is no other way to close an emergency.
    ///
    /// # Errors
    /// [`EmergencyRefusal::Involved`], [`EmergencyRefusal::Owes`], [`EmergencyRefusal::Unsaid`],
    /// [`EmergencyRefusal::State`].
    pub fn review(&self, review: Review) -> Result<Self, EmergencyRefusal> {
        self.check_state(EmergencyState::UnderReview)?;
        if self.involves(&review.by) {
            return Err(EmergencyRefusal::Involved);
        }
        let count = self.owed().count();
        if count > 0 {
            return Err(EmergencyRefusal::Owes { count });
        }
        let said = review.dispositions.iter().filter(|(_, what)| !what.is_empty()).map(|(key, _)| *key);
        if review.text.is_empty() || said.collect::<BTreeSet<_>>() != self.used_keys() {
            return Err(EmergencyRefusal::Unsaid);
        }
        Ok(Self { state: EmergencyState::Closed, remind: None, review: Some(review), ..self.clone() })
    }

    /// The emergency once somebody was reminded of its review; none while no reminder is due.
    #[must_use]
    pub fn remind(&self, now: UnixMillis) -> Option<Self> {
        self.remind.filter(|at| *at <= now)?;
        Some(Self { remind: Some(UnixMillis(now.0.saturating_add(DAY_MS))), ..self.clone() })
    }

    fn check_state(&self, wanted: EmergencyState) -> Result<(), EmergencyRefusal> {
        if self.state == wanted { Ok(()) } else { Err(EmergencyRefusal::State { state: self.state }) }
    }

    /// True for whoever declared it, consented to it, or may take part.
    #[must_use]
    pub fn involves(&self, who: &Actor) -> bool {
        let voters = self.activation.iter().flat_map(|active| &active.voters);
        let all = std::iter::once(&self.declared_by).chain(voters).chain(&self.terms.participants);
        is_among(who, all)
    }

    /// True when the review is overdue.
    #[must_use]
    pub fn is_overdue(&self, now: UnixMillis) -> bool {
        self.state == EmergencyState::UnderReview && self.review_due().is_some_and(|due| due <= now)
    }

    /// True when this person may neither declare nor consent to another emergency, because the review of this one is
    /// overdue.
    #[must_use]
    pub fn bars(&self, who: &Actor, now: UnixMillis) -> bool {
        self.is_overdue(now) && self.involves(who)
    }

    /// When the review is to be signed; known once the emergency is over.
    #[must_use]
    pub fn review_due(&self) -> Option<UnixMillis> {
        self.ended.as_ref().map(|ended| ended.at.plus_days(REVIEW_DAYS))
    }

    /// When something must happen with it: its end, later a reminder.
    #[must_use]
    pub fn due(&self) -> Option<UnixMillis> {
        match self.state {
            EmergencyState::Declared | EmergencyState::Closed => None,
            EmergencyState::Active => self.until(),
            EmergencyState::UnderReview => self.remind,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EmergencyId {
        self.id
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> EmergencyState {
        self.state
    }

    /// What was asked for.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// When it was declared.
    #[must_use]
    pub fn declared(&self) -> UnixMillis {
        self.declared
    }

    /// By whom.
    #[must_use]
    pub fn declared_by(&self) -> &Actor {
        &self.declared_by
    }

    /// Since when it is or was in force.
    #[must_use]
    pub fn activated(&self) -> Option<UnixMillis> {
        self.activation.as_ref().map(|active| active.at)
    }

    /// When its time is over.
    #[must_use]
    pub fn until(&self) -> Option<UnixMillis> {
        self.activation.as_ref().map(|active| active.until)
    }

    /// The approval it became active by.
    #[must_use]
    pub fn approval(&self) -> Option<ApprovalId> {
        self.activation.as_ref().map(|active| active.approval)
    }

    /// Who consented.
    pub fn voters(&self) -> impl Iterator<Item = &Actor> {
        self.activation.iter().flat_map(|active| &active.voters)
    }

    /// What was done, the first time of each kind.
    #[must_use]
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// The keys that were used.
    #[must_use]
    pub fn used_keys(&self) -> BTreeSet<KeyId> {
        self.uses.iter().map(|one| one.key).collect()
    }

    /// How it came to its end, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Everything to be renewed, done or not.
    #[must_use]
    pub fn items(&self) -> &[Owed] {
        &self.owed
    }

    /// What is still to be renewed.
    pub fn owed(&self) -> impl Iterator<Item = &Item> {
        self.owed.iter().filter(|owed| owed.done.is_none()).map(|owed| &owed.item)
    }

    /// The signed review.
    #[must_use]
    pub fn reviewed(&self) -> Option<&Review> {
        self.review.as_ref()
    }
}

impl FiledRecord for Emergency {
    const TABLE: Table = Table::Emergencies;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.state.name().to_owned()
    }

    fn due(&self) -> Option<UnixMillis> {
        Self::due(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const MINUTE: i64 = 60_000;
    const RING: KeyringId = KeyringId::from_bytes([9; 16]);
    /// Nine principals; the last is a second name of the first.
    const PEOPLE: usize = 9;

    fn actor(n: usize) -> Actor {
        let person = if n == PEOPLE - 1 { 0 } else { n };
        Actor::new(format!("p{n}").parse().unwrap(), Some(format!("Person {person}").parse().unwrap()))
    }

    fn key(n: u8) -> KeyId {
        KeyId::from_bytes([n; 16])
    }

    fn terms(participants: &[usize]) -> Terms {
        Terms {
            incident: IncidentId::new(NOW, [1; 10]),
            keys: [key(1), key(2)].into(),
            keyrings: BTreeSet::new(),
            operations: ["key.decrypt".to_owned()].into(),
            participants: participants.iter().map(|n| actor(*n)).collect(),
            minutes: 30,
            why: "the vendor is gone".parse().unwrap(),
        }
    }

    fn declared(by: usize, participants: &[usize]) -> Emergency {
        Emergency::declare(EmergencyId::new(NOW, [1; 10]), terms(participants), actor(by), NOW).unwrap()
    }

    fn approval() -> ApprovalId {
        ApprovalId::new(NOW, [1; 10])
    }

    fn use_of(key: KeyId, by: usize, at: UnixMillis) -> Use {
        Use { key, operation: "key.decrypt".to_owned(), by: actor(by).name, at, record: RecordId::new(at, [1; 10]) }
    }

    fn text(text: &str) -> Label {
        text.parse().unwrap()
    }

    fn after(minutes: i64) -> UnixMillis {
        UnixMillis(NOW.0 + minutes * MINUTE)
    }

    /// Declared by 0, with the consent of 1 and 2; 3 takes part and has used key 1.
    fn ended() -> Emergency {
        let active = declared(0, &[3]).activate(&[actor(1), actor(2)], approval(), NOW).unwrap();
        let used = active.used(use_of(key(1), 3, after(1)), RING).unwrap().unwrap();
        used.end(Cause::Person { by: actor(1).name }, after(2)).unwrap()
    }

    fn review(by: usize, keys: &[u8]) -> Review {
        let dispositions = keys.iter().map(|n| (key(*n), text("rotated, old version off"))).collect();
        Review { at: after(60), by: actor(by), text: text("all in order"), dispositions }
    }

    fn settled() -> Emergency {
        let ended = ended();
        let items: Vec<Item> = ended.owed().cloned().collect();
        items.iter().fold(ended, |next, item| next.settle(item, text("done"), after(10)).unwrap())
    }

    #[test]
    fn terms_are_complete_and_bounded() {
        type Alter = fn(&mut Terms);
        let cases: [(Alter, &str); 8] = [
            (|t| t.keys.clear(), "names a key or a keyring"),
            (|t| t.operations.clear(), "names at least one operation"),
            (|t| t.participants.clear(), "names at least one participant"),
            (|t| t.why = Label::default(), "names its reason"),
            (|t| t.keys = (0..=64).map(key).collect(), "at most 64 keys"),
            (|t| t.minutes = 0, "1 to 240 minutes"),
            (|t| t.minutes = 241, "1 to 240 minutes"),
            (|t| t.participants = (0..9).map(actor).collect(), "at most 8 participants"),
        ];
        assert_eq!(terms(&[3]).check(), Ok(()));
        for (alter, wanted) in cases {
            let mut terms = terms(&[3]);
            alter(&mut terms);
            let refused = terms.check().unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
        let ring = Terms { keys: BTreeSet::new(), keyrings: [RING].into(), ..terms(&[3]) };
        assert_eq!(ring.check(), Ok(()));
    }

    #[test]
    fn too_few_people_do_nothing() {
        let emergency = declared(0, &[3]);
        // Nobody; one; one twice; the declarer and one; the declarer under another name and one.
        for voters in [&[][..], &[1], &[1, 1], &[0, 1], &[8, 1]] {
            let actors: Vec<Actor> = voters.iter().map(|n| actor(*n)).collect();
            let refused = emergency.activate(&actors, approval(), NOW);
            assert!(matches!(refused, Err(EmergencyRefusal::Voters { count }) if count < 2), "{voters:?}");
        }
        assert!(!emergency.permits(&actor(3).name, "key.decrypt", key(1), RING, NOW));
    }

    #[test]
    fn it_covers_exactly_what_it_names_while_it_lasts() {
        let active = declared(0, &[3]).activate(&[actor(1), actor(2)], approval(), NOW).unwrap();
        let may = |who: usize, operation: &str, key: KeyId, at: UnixMillis| {
            active.permits(&actor(who).name, operation, key, RING, at)
        };
        assert!(may(3, "key.decrypt", key(1), NOW) && may(3, "key.decrypt", key(2), UnixMillis(after(30).0 - 1)));
        assert!(!may(3, "key.decrypt", key(1), after(30)), "over at its time, written down or not");
        assert!(!may(3, "key.decrypt", key(1), UnixMillis(NOW.0 - 1)));
        assert!(!may(3, "key.sign", key(1), NOW) && !may(3, "key.decrypt", key(3), NOW));
        assert!(!may(1, "key.decrypt", key(1), NOW) && !may(0, "key.decrypt", key(1), NOW));
        let whole = Terms { keys: BTreeSet::new(), keyrings: [RING].into(), ..terms(&[3]) };
        let whole = Emergency::declare(EmergencyId::new(NOW, [1; 10]), whole, actor(0), NOW).unwrap();
        let whole = whole.activate(&[actor(1), actor(2)], approval(), NOW).unwrap();
        assert!(whole.permits(&actor(3).name, "key.decrypt", key(77), RING, NOW));
        assert!(!whole.permits(&actor(3).name, "key.decrypt", key(77), KeyringId::from_bytes([8; 16]), NOW));
        let all =
            (0..KEYS_MAX as u8).fold(whole, |next, n| next.used(use_of(key(n), 3, after(1)), RING).unwrap().unwrap());
        assert!(all.permits(&actor(3).name, "key.decrypt", key(1), RING, after(1)), "one that was used before");
        assert!(!all.permits(&actor(3).name, "key.decrypt", key(77), RING, after(1)), "one more than may be used");
    }

    #[test]
    fn the_first_use_of_each_kind_is_written_down() {
        let active = declared(0, &[3]).activate(&[actor(1), actor(2)], approval(), NOW).unwrap();
        let once = active.used(use_of(key(1), 3, NOW), RING).unwrap().unwrap();
        assert_eq!(once.used(use_of(key(1), 3, after(1)), RING), Ok(None));
        assert!(once.used(use_of(key(2), 3, after(1)), RING).unwrap().is_some());
        assert_eq!(once.used(use_of(key(1), 4, after(1)), RING), Err(EmergencyRefusal::NotCovered));
    }

    #[test]
    fn afterwards_every_key_used_and_every_participant_is_owed() {
        let ended = ended();
        let owed: Vec<Item> = ended.owed().cloned().collect();
        assert_eq!(owed, [Item::Key(key(1)), Item::Credentials(actor(3).name)], "key 2 was not used");
        assert_eq!(ended.review(review(5, &[1])), Err(EmergencyRefusal::Owes { count: 2 }));
        let one = ended.settle(&owed[0], text("version 2"), after(5)).unwrap();
        assert_eq!(one.settle(&owed[0], text("version 3"), after(5)), Err(EmergencyRefusal::NotOwed));
        assert_eq!(one.settle(&Item::Key(key(2)), text("x"), after(5)), Err(EmergencyRefusal::NotOwed));
        assert_eq!(one.review(review(5, &[1])), Err(EmergencyRefusal::Owes { count: 1 }));
    }

    #[test]
    fn the_review_is_signed_by_somebody_who_had_no_part_in_it() {
        let settled = settled();
        for part in [0, 1, 2, 3, 8] {
            assert_eq!(settled.review(review(part, &[1])), Err(EmergencyRefusal::Involved), "{part}");
        }
        assert_eq!(settled.review(review(5, &[])), Err(EmergencyRefusal::Unsaid));
        assert_eq!(settled.review(review(5, &[1, 2])), Err(EmergencyRefusal::Unsaid), "key 2 was not used");
        let mute = Review { text: Label::default(), ..review(5, &[1]) };
        assert_eq!(settled.review(mute), Err(EmergencyRefusal::Unsaid));
        let closed = settled.review(review(5, &[1])).unwrap();
        assert_eq!((closed.state(), closed.due()), (EmergencyState::Closed, None));
        let state = EmergencyState::Closed;
        assert_eq!(closed.review(review(5, &[1])), Err(EmergencyRefusal::State { state }));
    }

    #[test]
    fn an_overdue_review_reminds_every_day_and_bars_those_who_were_part() {
        let ended = ended();
        let due = ended.review_due().unwrap();
        assert_eq!((due, ended.due()), (after(2).plus_days(3), Some(due)));
        assert!(!ended.bars(&actor(3), UnixMillis(due.0 - 1)));
        assert!(ended.remind(UnixMillis(due.0 - 1)).is_none());
        for part in [0, 1, 2, 3, 8] {
            assert!(ended.bars(&actor(part), due), "{part}");
        }
        assert!(!ended.bars(&actor(5), due));
        assert_eq!(ended.remind(due).unwrap().due(), Some(due.plus_days(1)));
        assert!(!settled().review(review(5, &[1])).unwrap().bars(&actor(3), due.plus_days(9)));
    }

    #[test]
    fn time_ends_it_and_only_at_its_time() {
        let active = declared(0, &[3]).activate(&[actor(1), actor(2)], approval(), NOW).unwrap();
        assert_eq!(active.due(), Some(after(30)));
        assert_eq!(active.end(Cause::Time, after(29)), Err(EmergencyRefusal::Lasts { until: after(30) }));
        let late = active.end(Cause::Time, after(500)).unwrap();
        assert_eq!(late.ended().unwrap().at, after(30), "it gave no right after its time");
        let sealed = active.end(Cause::Seal, after(3)).unwrap();
        assert_eq!(sealed.ended().unwrap().at, after(3));
        assert!(!sealed.permits(&actor(3).name, "key.decrypt", key(1), RING, after(4)));
    }

    #[test]
    fn what_ended_with_it_is_kept_certificates_first() {
        let revoked = |what, n: usize| Revoked { what, id: format!("{n:05}"), of: actor(3).name };
        let tokens = (0..REVOKED_MAX).map(|n| revoked(Entrance::Token, n));
        let all = tokens.chain([revoked(Entrance::Certificate, 1)]).collect();
        let ended = ended().having_revoked(all);
        let kept = &ended.ended().unwrap().revoked;
        assert_eq!((kept.len(), kept[0].what, kept[1].what), (REVOKED_MAX, Entrance::Certificate, Entrance::Token));
        assert!(declared(0, &[3]).having_revoked(kept.clone()).ended().is_none());
        for what in Entrance::ALL {
            assert_eq!(serde_json::to_string(&what).unwrap(), format!("\"{}\"", what.name()));
        }
    }

    #[test]
    fn the_stored_form_round_trips_and_knows_no_other_fields() {
        let one = Revoked { what: Entrance::Credential, id: "crd_1".to_owned(), of: actor(3).name };
        let closed = settled().having_revoked(vec![one]).review(review(5, &[1])).unwrap();
        let text = serde_json::to_string(&closed).unwrap();
        assert_eq!(serde_json::from_str::<Emergency>(&text).unwrap(), closed);
        assert!(serde_json::from_str::<Emergency>(&text.replacen('{', "{\"more\":1,", 1)).is_err());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Activate(Vec<usize>),
        Use(u8, usize),
        End(bool),
        SettleKey(u8),
        SettlePerson(usize),
        Review(usize, Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => proptest::collection::vec(0..PEOPLE, 0..4).prop_map(Step::Activate),
            4 => (1u8..4, 0..PEOPLE).prop_map(|(key, by)| Step::Use(key, by)),
            1 => any::<bool>().prop_map(Step::End),
            3 => (1u8..4).prop_map(Step::SettleKey),
            3 => (0..PEOPLE).prop_map(Step::SettlePerson),
            3 => (0..PEOPLE, proptest::collection::vec(1u8..4, 0..3)).prop_map(|(by, keys)| Step::Review(by, keys)),
        ]
    }

    fn take(emergency: &Emergency, step: &Step, now: UnixMillis) -> Result<Emergency, EmergencyRefusal> {
        match step {
            Step::Activate(voters) => {
                let voters: Vec<Actor> = voters.iter().map(|n| actor(*n)).collect();
                emergency.activate(&voters, approval(), now)
            }
            Step::Use(n, by) => {
                let used = emergency.used(use_of(key(*n), *by, now), RING)?;
                Ok(used.unwrap_or_else(|| emergency.clone()))
            }
            Step::End(true) => emergency.end(Cause::Time, now),
            Step::End(false) => emergency.end(Cause::Seal, now),
            Step::SettleKey(n) => emergency.settle(&Item::Key(key(*n)), text("rotated"), now),
            Step::SettlePerson(n) => emergency.settle(&Item::Credentials(actor(*n).name), text("new token"), now),
            Step::Review(by, keys) => emergency.review(Review { at: now, ..review(*by, keys) }),
        }
    }

    /// The human being behind a principal of these tests.
    fn person(n: usize) -> usize {
        if n == PEOPLE - 1 { 0 } else { n }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever is tried in whatever order: what took effect is what an independent count says may.
        #[test]
        fn no_order_of_events_skips_consent_renewal_or_review(
            by in 0..PEOPLE,
            participants in proptest::collection::btree_set(0..PEOPLE, 1..3),
            steps in proptest::collection::vec((0i64..20, step()), 0..60),
        ) {
            let participants: Vec<usize> = participants.into_iter().collect();
            let mut emergency = declared(by, &participants);
            let (mut now, mut activated, mut voters) = (NOW, None, Vec::new());
            let (mut used, mut over) = (BTreeSet::new(), false);
            let (mut keys, mut people) = (BTreeSet::new(), BTreeSet::new());
            for (wait, step) in steps {
                now = UnixMillis(now.0 + wait * MINUTE);
                let Ok(next) = take(&emergency, &step, now) else { continue };
                let lasts = activated.is_some_and(|at: UnixMillis| now.0 < at.0 + 30 * MINUTE) && !over;
                match step {
                    Step::Activate(with) => {
                        let others: BTreeSet<usize> = with.iter().map(|n| person(*n)).collect();
                        prop_assert!(others.iter().filter(|n| **n != person(by)).count() >= 2);
                        prop_assert!(activated.is_none());
                        (activated, voters) = (Some(now), with);
                    }
                    Step::Use(n, by) => {
                        prop_assert!(lasts && n < 3 && participants.contains(&by));
                        used.insert(n);
                    }
                    Step::End(by_time) => {
                        prop_assert!(activated.is_some() && !over && !(by_time && lasts));
                        over = true;
                    }
                    Step::SettleKey(n) => prop_assert!(over && used.contains(&n) && keys.insert(n)),
                    Step::SettlePerson(n) => prop_assert!(over && participants.contains(&n) && people.insert(n)),
                    Step::Review(reviewer, _) => {
                        let part: BTreeSet<usize> =
                            participants.iter().chain(&voters).chain([&by]).map(|n| person(*n)).collect();
                        prop_assert!(over && !part.contains(&person(reviewer)));
                        prop_assert_eq!((keys.len(), people.len()), (used.len(), participants.len()));
                    }
                }
                emergency = next;
            }
        }
    }
}
