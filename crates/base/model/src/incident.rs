//! Incidents: the record of what went wrong, which keys it touches, what was done, and what is still owed.
//!
//! Emergency revocation needs one person, and opens an incident in the same transaction. The replacement made under the
//! same authority is confirmed afterwards by a second person, within a stated time: that is a confirmation owed, and an
//! incident that owes one cannot be closed. The methods here are the only way in which an incident changes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;

use crate::actor::Actor;
use crate::filed::{FiledRecord, RowId};
use crate::ids::{IncidentId, KeyId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::{DAY_MS, UnixMillis};

/// Keys of one incident, at most.
pub const KEYS_MAX: usize = 256;
/// Entries in the history of one incident, at most. Reminders are not entries, so time alone never fills it.
pub const EVENTS_MAX: usize = 1000;

/// What an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// A key is or may be known to others.
    Compromise,
    /// A key was halted in a hurry.
    Suspension,
    /// Something that people describe themselves.
    Other,
}

impl IncidentKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Compromise, Self::Suspension, Self::Other];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compromise => "compromise",
            Self::Suspension => "suspension",
            Self::Other => "other",
        }
    }

    /// The kind of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One entry of an incident's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentEvent {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub by: Name,
    /// What.
    pub what: Happened,
}

/// What an entry of an incident's history says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Happened {
    /// An operation was done on a key.
    Done {
        /// Its name in the catalogue.
        operation: String,
        /// The key.
        key: KeyId,
    },
    /// Somebody wrote something down.
    Noted {
        /// The text.
        text: Label,
    },
    /// A second person confirmed what was done in a hurry.
    Confirmed {
        /// Which confirmation.
        number: u32,
    },
}

/// Something done on one person's authority that a second one must confirm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Its number within the incident, from 1.
    pub number: u32,
    /// The operation that was done.
    pub operation: String,
    /// On which key.
    pub key: KeyId,
    /// By whom.
    pub by: Actor,
    /// Somebody with one of these roles confirms.
    pub any_of: BTreeSet<Name>,
    /// When it is overdue.
    pub due: UnixMillis,
    /// When somebody is reminded next.
    remind: UnixMillis,
    /// When it was confirmed, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Confirmed>,
}

/// That a second person looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub by: Actor,
}

impl Confirmation {
    /// True while it is owed.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.done.is_none()
    }

    /// True when it is owed and late.
    #[must_use]
    pub fn is_overdue(&self, now: UnixMillis) -> bool {
        self.is_owed() && self.due <= now
    }
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// When.
    pub at: UnixMillis,
    /// By whom.
    pub by: Actor,
    /// What came of it.
    pub text: Label,
}

/// Why an incident does not change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IncidentRefusal {
    /// It is closed.
    #[error("the incident was closed on {at}: open another")]
    Closed {
        /// When.
        at: UnixMillis,
    },
    /// Something is owed.
    #[error("the incident owes {count} confirmations: a second person confirms them first")]
    Owes {
        /// How many.
        count: usize,
    },
    /// No confirmation of that number is owed.
    #[error("the incident owes no confirmation {number}")]
    NotOwed {
        /// What was asked.
        number: u32,
    },
    /// The same person cannot confirm their own doing.
    #[error("a second person confirms: not the one who did it")]
    SamePerson,
    /// The role is missing.
    #[error("this is confirmed by somebody with the role {}", in_words(.any_of))]
    Role {
        /// Any of these would do.
        any_of: BTreeSet<Name>,
    },
    /// No reason or text was given.
    #[error("say why: the text is empty")]
    NoText,
    /// Too much.
    #[error("the incident has as many {what} as it may have ({max}): open another")]
    Full {
        /// Of what.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
}

fn in_words(any_of: &BTreeSet<Name>) -> String {
    any_of.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(" or ")
}

/// What an incident is opened with.
#[derive(Clone, Debug)]
pub struct NewIncident {
    /// Its id.
    pub id: IncidentId,
    /// What it is about.
    pub kind: IncidentKind,
    /// The keys it touches.
    pub keys: BTreeSet<KeyId>,
    /// The ticket in the organisation's own system.
    pub ticket: Option<Label>,
    /// What happened.
    pub reason: Label,
    /// Who opens it.
    pub by: Actor,
}

/// Something done in a hurry, to be confirmed.
#[derive(Clone, Debug)]
pub struct Owing<'a> {
    /// The operation in the catalogue.
    pub operation: &'a str,
    /// On which key.
    pub key: KeyId,
    /// By whom.
    pub by: &'a Actor,
    /// Somebody with one of these roles confirms.
    pub any_of: &'a BTreeSet<Name>,
    /// Within which time.
    pub within: Duration,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    id: IncidentId,
    kind: IncidentKind,
    keys: BTreeSet<KeyId>,
    opened: UnixMillis,
    opened_by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<Label>,
    reason: Label,
    events: Vec<IncidentEvent>,
    owed: Vec<Confirmation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed: Option<Closed>,
}

impl Incident {
    /// What the rows of open incidents are found by.
    pub const OPEN: &'static str = "open";
    /// What the rows of closed incidents are found by.
    pub const CLOSED: &'static str = "closed";

    /// An open incident. A reason is demanded by the operation that people open one with; an emergency revocation
    /// without one must not fail for that.
    ///
    /// # Errors
    /// [`IncidentRefusal::Full`] with more than [`KEYS_MAX`] keys.
    pub fn open(new: NewIncident, now: UnixMillis) -> Result<Self, IncidentRefusal> {
        if new.keys.len() > KEYS_MAX {
            return Err(IncidentRefusal::Full { what: "keys", max: KEYS_MAX });
        }
        Ok(Self {
            id: new.id,
            kind: new.kind,
            keys: new.keys,
            opened: now,
            opened_by: new.by,
            ticket: new.ticket,
            reason: new.reason,
            events: Vec::new(),
            owed: Vec::new(),
            closed: None,
        })
    }

    /// With an operation that was done on a key because of it. The key becomes one of the incident's.
    ///
    /// # Errors
    /// [`IncidentRefusal::Closed`], [`IncidentRefusal::Full`].
    pub fn done(&self, operation: &str, key: KeyId, by: &Name, now: UnixMillis) -> Result<Self, IncidentRefusal> {
        let mut next = self.with(by, now, Happened::Done { operation: operation.to_owned(), key })?;
        next.keys.insert(key);
        if next.keys.len() > KEYS_MAX {
            return Err(IncidentRefusal::Full { what: "keys", max: KEYS_MAX });
        }
        Ok(next)
    }

    /// With a note.
    ///
    /// # Errors
    /// [`IncidentRefusal::Closed`], [`IncidentRefusal::NoText`], [`IncidentRefusal::Full`].
    pub fn note(&self, text: Label, by: &Name, now: UnixMillis) -> Result<Self, IncidentRefusal> {
        if text.is_empty() {
            return Err(IncidentRefusal::NoText);
        }
        self.with(by, now, Happened::Noted { text })
    }

    /// With an operation that was done in a hurry and is to be confirmed by somebody else.
    ///
    /// # Errors
    /// Those of [`Incident::done`].
    pub fn owe(&self, owing: &Owing<'_>, now: UnixMillis) -> Result<Self, IncidentRefusal> {
        let mut next = self.done(owing.operation, owing.key, &owing.by.name, now)?;
        let due = now.plus(owing.within);
        next.owed.push(Confirmation {
            number: u32::try_from(next.owed.len()).unwrap_or(u32::MAX).saturating_add(1),
            operation: owing.operation.to_owned(),
            key: owing.key,
            by: owing.by.clone(),
            any_of: owing.any_of.clone(),
            due,
            remind: now.plus(owing.within / 2),
            done: None,
        });
        Ok(next)
    }

    /// With a confirmation by a second person, late or in time.
    ///
    /// # Errors
    /// [`IncidentRefusal::NotOwed`], [`IncidentRefusal::SamePerson`], [`IncidentRefusal::Role`],
    /// [`IncidentRefusal::Closed`].
    pub fn confirm(
        &self,
        number: u32,
        by: &Actor,
        roles: &BTreeSet<Name>,
        now: UnixMillis,
    ) -> Result<Self, IncidentRefusal> {
        self.check_open()?;
        let mut next = self.clone();
        // Not bounded: there are no more confirmations than entries that owe them, and a full incident must be
        // closable.
        next.events.push(IncidentEvent { at: now, by: by.name.clone(), what: Happened::Confirmed { number } });
        let owed = next.owed.iter_mut().find(|owed| owed.number == number && owed.is_owed());
        let owed = owed.ok_or(IncidentRefusal::NotOwed { number })?;
        if by.is_same_person(&owed.by) {
            return Err(IncidentRefusal::SamePerson);
        }
        if roles.is_disjoint(&owed.any_of) {
            return Err(IncidentRefusal::Role { any_of: owed.any_of.clone() });
        }
        owed.done = Some(Confirmed { at: now, by: by.clone() });
        Ok(next)
    }

    /// The reminders that fell due, and the incident once they were sent: half of the time before a confirmation is
    /// overdue, when it is, and once a day from then on.
    #[must_use]
    pub fn remind(&self, now: UnixMillis) -> Option<(Self, Vec<Confirmation>)> {
        let mut next = self.clone();
        let mut due = Vec::new();
        for owed in next.owed.iter_mut().filter(|owed| owed.is_owed() && owed.remind <= now) {
            due.push(owed.clone());
            owed.remind = if now < owed.due { owed.due } else { UnixMillis(now.0.saturating_add(DAY_MS)) };
        }
        (!due.is_empty()).then_some((next, due))
    }

    /// Closed.
    ///
    /// # Errors
    /// [`IncidentRefusal::Owes`] while a confirmation is owed, [`IncidentRefusal::NoText`],
    /// [`IncidentRefusal::Closed`].
    pub fn close(&self, text: Label, by: Actor, now: UnixMillis) -> Result<Self, IncidentRefusal> {
        self.check_open()?;
        let count = self.owed().count();
        if count > 0 {
            return Err(IncidentRefusal::Owes { count });
        }
        if text.is_empty() {
            return Err(IncidentRefusal::NoText);
        }
        Ok(Self { closed: Some(Closed { at: now, by, text }), ..self.clone() })
    }

    fn check_open(&self) -> Result<(), IncidentRefusal> {
        match &self.closed {
            Some(closed) => Err(IncidentRefusal::Closed { at: closed.at }),
            None => Ok(()),
        }
    }

    fn with(&self, by: &Name, now: UnixMillis, what: Happened) -> Result<Self, IncidentRefusal> {
        self.check_open()?;
        if self.is_full() {
            return Err(IncidentRefusal::Full { what: "entries", max: EVENTS_MAX });
        }
        let mut next = self.clone();
        next.events.push(IncidentEvent { at: now, by: by.clone(), what });
        Ok(next)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> IncidentId {
        self.id
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> IncidentKind {
        self.kind
    }

    /// The keys it touches.
    #[must_use]
    pub fn keys(&self) -> &BTreeSet<KeyId> {
        &self.keys
    }

    /// When it was opened.
    #[must_use]
    pub fn opened(&self) -> UnixMillis {
        self.opened
    }

    /// By whom.
    #[must_use]
    pub fn opened_by(&self) -> &Actor {
        &self.opened_by
    }

    /// The ticket in the organisation's own system.
    #[must_use]
    pub fn ticket(&self) -> Option<&Label> {
        self.ticket.as_ref()
    }

    /// What happened.
    #[must_use]
    pub fn reason(&self) -> &Label {
        &self.reason
    }

    /// What was done since, oldest first.
    #[must_use]
    pub fn events(&self) -> &[IncidentEvent] {
        &self.events
    }

    /// Every confirmation, owed or given.
    #[must_use]
    pub fn confirmations(&self) -> &[Confirmation] {
        &self.owed
    }

    /// The confirmations that are owed.
    pub fn owed(&self) -> impl Iterator<Item = &Confirmation> {
        self.owed.iter().filter(|owed| owed.is_owed())
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// True until it is closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// True when nothing more can be written down in it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX
    }

    /// When somebody must be reminded next.
    #[must_use]
    pub fn next_reminder(&self) -> Option<UnixMillis> {
        self.owed().map(|owed| owed.remind).min()
    }
}

impl FiledRecord for Incident {
    const TABLE: Table = Table::Incidents;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        if self.is_open() { Self::OPEN } else { Self::CLOSED }.to_owned()
    }

    fn due(&self) -> Option<UnixMillis> {
        self.next_reminder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const HOUR: i64 = 3_600_000;

    fn actor(name: &str) -> Actor {
        Actor::new(name.parse().unwrap(), None)
    }

    fn roles(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn key(n: u8) -> KeyId {
        KeyId::from_bytes([n; 16])
    }

    fn later(hours: i64) -> UnixMillis {
        UnixMillis(NOW.0 + hours * HOUR)
    }

    fn incident() -> Incident {
        let new = NewIncident {
            id: IncidentId::new(NOW, [1; 10]),
            kind: IncidentKind::Compromise,
            keys: [key(1)].into(),
            ticket: Some("INC-7".parse().unwrap()),
            reason: "laptop lost".parse().unwrap(),
            by: actor("sam"),
        };
        Incident::open(new, NOW).unwrap()
    }

    fn owing(incident: &Incident) -> Incident {
        let (by, any_of) = (actor("sam"), roles(&["ciso"]));
        let within = Duration::from_secs(24 * 3600);
        let owing = Owing { operation: "key.rotate", key: key(1), by: &by, any_of: &any_of, within };
        incident.owe(&owing, NOW).unwrap()
    }

    #[test]
    fn a_confirmation_needs_another_person_with_the_role() {
        let incident = owing(&incident());
        let confirm = |who: &Actor, names: &[&str]| incident.confirm(1, who, &roles(names), later(1));
        assert_eq!(confirm(&actor("sam"), &["ciso"]), Err(IncidentRefusal::SamePerson));
        let other_name = Actor::new("sam-2".parse().unwrap(), Some("sam".parse().unwrap()));
        assert_eq!(confirm(&other_name, &["ciso"]), Err(IncidentRefusal::SamePerson));
        let any_of = roles(&["ciso"]);
        let refused = confirm(&actor("kim"), &["legal"]).unwrap_err();
        assert_eq!(refused, IncidentRefusal::Role { any_of });
        assert!(refused.to_string().ends_with("with the role `ciso`"), "{refused}");
        let confirmed = confirm(&actor("kim"), &["legal", "ciso"]).unwrap();
        assert_eq!(confirmed.owed().count(), 0);
        let again = confirmed.confirm(1, &actor("kim"), &roles(&["ciso"]), later(2));
        assert_eq!(again, Err(IncidentRefusal::NotOwed { number: 1 }));
        let other = incident.confirm(2, &actor("kim"), &roles(&["ciso"]), later(2));
        assert_eq!(other, Err(IncidentRefusal::NotOwed { number: 2 }));
    }

    #[test]
    fn what_is_owed_keeps_an_incident_open_and_can_still_be_given_late() {
        let incident = owing(&incident());
        let text = || "replaced everywhere".parse::<Label>().unwrap();
        let refused = incident.close(text(), actor("sam"), later(1));
        assert_eq!(refused, Err(IncidentRefusal::Owes { count: 1 }));
        assert!(!incident.confirmations()[0].is_overdue(later(23)));
        assert!(incident.confirmations()[0].is_overdue(later(24)));
        let confirmed = incident.confirm(1, &actor("kim"), &roles(&["ciso"]), later(90)).unwrap();
        assert_eq!(confirmed.close(Label::default(), actor("sam"), later(91)), Err(IncidentRefusal::NoText));
        let closed = confirmed.close(text(), actor("sam"), later(91)).unwrap();
        assert!(!closed.is_open());
        let at = later(91);
        assert_eq!(closed.note(text(), &actor("sam").name, later(92)), Err(IncidentRefusal::Closed { at }));
        assert_eq!(closed.close(text(), actor("sam"), later(92)), Err(IncidentRefusal::Closed { at }));
    }

    #[test]
    fn reminders_come_at_half_time_when_overdue_and_then_every_day() {
        let mut incident = owing(&incident());
        let mut sent = Vec::new();
        for hour in 0..80 {
            if let Some((next, due)) = incident.remind(later(hour)) {
                assert_eq!(due.len(), 1);
                sent.push(hour);
                incident = next;
            }
        }
        assert_eq!(sent, [12, 24, 48, 72]);
        assert_eq!(incident.next_reminder(), Some(later(96)));
        let confirmed = incident.confirm(1, &actor("kim"), &roles(&["ciso"]), later(80)).unwrap();
        assert_eq!((confirmed.next_reminder(), confirmed.remind(later(500))), (None, None));
    }

    #[test]
    fn a_key_that_something_was_done_to_belongs_to_the_incident() {
        let incident = incident().done("key.suspend", key(2), &actor("sam").name, later(1)).unwrap();
        assert_eq!(incident.keys().len(), 2);
        assert_eq!(incident.events().len(), 1);
    }

    #[test]
    fn an_incident_is_bounded() {
        let mut incident = owing(&incident());
        for _ in 1..EVENTS_MAX {
            incident = incident.note("more".parse().unwrap(), &actor("sam").name, NOW).unwrap();
        }
        let more = incident.note("more".parse().unwrap(), &actor("sam").name, NOW);
        assert_eq!(more, Err(IncidentRefusal::Full { what: "entries", max: EVENTS_MAX }));
        assert!(incident.is_full());
        let confirmed = incident.confirm(1, &actor("kim"), &roles(&["ciso"]), NOW).unwrap();
        assert!(confirmed.close("over".parse().unwrap(), actor("sam"), NOW).is_ok(), "it can still be ended");
    }

    #[test]
    fn the_stored_form_round_trips_and_knows_no_other_fields() {
        let incident = owing(&incident()).confirm(1, &actor("kim"), &roles(&["ciso"]), later(1)).unwrap();
        let incident = incident.close("over".parse().unwrap(), actor("sam"), later(2)).unwrap();
        let text = serde_json::to_string(&incident).unwrap();
        assert_eq!(serde_json::from_str::<Incident>(&text).unwrap(), incident);
        assert!(serde_json::from_str::<Incident>(&text.replacen('{', "{\"more\":1,", 1)).is_err());
    }
}
