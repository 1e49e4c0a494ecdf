//! What is out of the ordinary right now: holds in force, open incidents, emergencies. Decisions about a key look at
//! them.

use keyreeve_model::emergency::{Emergency, EmergencyState};
use keyreeve_model::hold::{Hold, HoldScope};
use keyreeve_model::ids::{EmergencyId, HoldId, IncidentId};
use keyreeve_model::incident::Incident;
use keyreeve_model::quarantine::Place;
use keyreeve_model::record::Table;
use keyreeve_model::{Actor, KeyId, KeyringId, Name, RowId, UnixMillis};
use std::collections::{HashMap, HashSet};

use crate::core::Core;
use crate::error::Error;
use crate::integrity::{Source, refusal};
use crate::keys::HeldKey;

/// What of the cases at one moment is true of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// A hold covers it.
    pub(crate) hold: bool,
    /// An open incident is about it.
    pub(crate) incident: bool,
}

impl Marks {
    /// A number for each combination, below 4.
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.hold) << 1 | u64::from(self.incident)
    }
}

/// The cases at one moment.
#[derive(Default)]
pub(crate) struct Cases {
    held_keys: HashMap<KeyId, Vec<HoldId>>,
    held_rings: HashMap<KeyringId, Vec<HoldId>>,
    incidents: HashMap<KeyId, Vec<IncidentId>>,
    numbers: HashSet<IncidentId>,
    /// Those in which nothing more can be written down.
    full: HashSet<IncidentId>,
    /// Those that are not closed.
    emergencies: Vec<Emergency>,
    in_doubt: InDoubt,
}

/// Cases whose rows are damaged: nobody knows what they are about.
#[derive(Default)]
struct InDoubt {
    /// They hold everything.
    holds: Vec<HoldId>,
    /// They are about every key.
    incidents: bool,
    /// They bar everybody.
    emergencies: Vec<RowId>,
}

impl Cases {
    /// Reads and checks all that count.
    /// What is damaged stands in the way of what it could stand in the way of, and allows nothing.
    pub(super) async fn load(source: Source<'_>) -> Result<Self, Error> {
        let mut cases = Self::default();
        cases.load_holds(source).await?;
        cases.load_incidents(source).await?;
        let mut damaged: Vec<RowId> = source.quarantined.of_table(Table::Emergencies).cloned().collect();
        for state in [EmergencyState::Active, EmergencyState::UnderReview] {
            let keep = |emergency| {
                cases.emergencies.push(emergency);
                Ok(())
            };
            damaged.extend(source.each_filed(Some(state.name()), keep).await?);
        }
        cases.in_doubt.emergencies = damaged;
        Ok(cases)
    }

    async fn load_holds(&mut self, source: Source<'_>) -> Result<(), Error> {
        let keep = |hold: Hold| {
            match hold.scope() {
                _ if !hold.is_in_force() => {}
                HoldScope::Key(key) => self.held_keys.entry(key).or_default().push(hold.id()),
                HoldScope::Keyring(ring) => self.held_rings.entry(ring).or_default().push(hold.id()),
            }
            Ok(())
        };
        let damaged = source.each_filed(None, keep).await?;
        // What a row of another length would be called matters to nobody: it holds everything.
        let id = |row: &RowId| HoldId::from_bytes(row.as_bytes().try_into().unwrap_or_default());
        self.in_doubt.holds = damaged.iter().map(id).collect();
        Ok(())
    }

    async fn load_incidents(&mut self, source: Source<'_>) -> Result<(), Error> {
        let keep = |incident: Incident| {
            for key in incident.keys() {
                self.incidents.entry(*key).or_default().push(incident.id());
            }
            self.numbers.insert(incident.id());
            if incident.is_full() {
                self.full.insert(incident.id());
            }
            Ok(())
        };
        let damaged = source.each_filed(Some(Incident::OPEN), keep).await?;
        // One that is under another parent than its own is found by scans.
        let known = source.quarantined.of_table(Table::Incidents).next().is_some();
        self.in_doubt.incidents = known || !damaged.is_empty();
        Ok(())
    }

    /// What is true of a key.
    pub(crate) fn marks(&self, key: KeyId, keyring: KeyringId) -> Marks {
        let incident = self.in_doubt.incidents || self.incidents.contains_key(&key);
        Marks { hold: self.holds_on(key, keyring).next().is_some(), incident }
    }

    /// The holds in force that cover a key.
    pub(crate) fn holds_on(&self, key: KeyId, keyring: KeyringId) -> impl Iterator<Item = HoldId> {
        let (own, of_ring) = (self.held_keys.get(&key), self.held_rings.get(&keyring));
        own.into_iter().chain(of_ring).flatten().chain(&self.in_doubt.holds).copied()
    }

    /// The oldest open incident about a key in which something more can be written down.
    pub(crate) fn incident_about(&self, key: KeyId) -> Option<IncidentId> {
        let all = self.incidents.get(&key).into_iter().flatten();
        all.filter(|id| !self.full.contains(id)).min().copied()
    }

    /// The emergency by which somebody may do something with a key now. One of before the server was opened gives
    /// nothing: sealing ended it.
    pub(crate) fn covering(
        &self,
        (who, operation): (&Name, &str),
        (key, keyring): (KeyId, KeyringId),
        (since, now): (UnixMillis, UnixMillis),
    ) -> Option<EmergencyId> {
        let mut fresh = self.emergencies.iter().filter(|emergency| emergency.activated() >= Some(since));
        fresh.find(|emergency| emergency.permits(who, operation, key, keyring, now)).map(Emergency::id)
    }

    /// Refuses what must not be done without knowing every emergency, where one is damaged.
    pub(crate) fn refuse_in_doubt(&self) -> Result<(), Error> {
        match self.in_doubt.emergencies.first() {
            Some(row) => Err(refusal(&Place::row(Table::Emergencies, row.as_bytes()))),
            None => Ok(()),
        }
    }

    /// The emergency that somebody was part of and whose review is overdue.
    pub(crate) fn barring(&self, who: &Actor, now: UnixMillis) -> Option<EmergencyId> {
        self.emergencies.iter().find(|emergency| emergency.bars(who, now)).map(Emergency::id)
    }

    /// An emergency that belongs to an incident and is not closed.
    pub(crate) fn emergency_under(&self, incident: IncidentId) -> Option<EmergencyId> {
        self.emergencies.iter().find(|emergency| emergency.terms().incident == incident).map(Emergency::id)
    }

    /// Whether an incident is open.
    pub(crate) fn is_open(&self, incident: IncidentId) -> bool {
        self.numbers.contains(&incident)
    }
}

impl Core {
    /// What of the cases is true of a key now.
    pub(crate) fn marks(&self, key: &HeldKey) -> Result<Marks, Error> {
        let access = self.need_open()?.access();
        Ok(access.cases().marks(key.record.id(), key.keyring.record.id))
    }
}
