//! What is out of the ordinary right now: holds in force, open incidents, emergencies. Decisions about a key look at
//! them.

use keyreeve_model::emergency::{Emergency, EmergencyState};
use keyreeve_model::hold::{Hold, HoldScope};
use keyreeve_model::ids::{EmergencyId, HoldId, IncidentId};
use keyreeve_model::incident::Incident;
use keyreeve_model::record::RecordSealer;
use keyreeve_model::{Actor, KeyId, KeyringId, Name, UnixMillis};
use keyreeve_store::Store;
use std::collections::{HashMap, HashSet};

use super::all_filed;
use crate::core::Core;
use crate::error::Error;
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
}

impl Cases {
    /// Reads and checks all that count.
    pub(super) async fn load(store: &dyn Store, sealer: &dyn RecordSealer) -> Result<Self, Error> {
        let mut cases = Self::default();
        for hold in all_filed::<Hold>(store, sealer, None).await?.into_iter().filter(Hold::is_in_force) {
            match hold.scope() {
                HoldScope::Key(key) => cases.held_keys.entry(key).or_default().push(hold.id()),
                HoldScope::Keyring(ring) => cases.held_rings.entry(ring).or_default().push(hold.id()),
            }
        }
        for incident in all_filed::<Incident>(store, sealer, Some(Incident::OPEN)).await? {
            for key in incident.keys() {
                cases.incidents.entry(*key).or_default().push(incident.id());
            }
            cases.numbers.insert(incident.id());
            if incident.is_full() {
                cases.full.insert(incident.id());
            }
        }
        for state in [EmergencyState::Active, EmergencyState::UnderReview] {
            cases.emergencies.extend(all_filed::<Emergency>(store, sealer, Some(state.name())).await?);
        }
        Ok(cases)
    }

    /// What is true of a key.
    pub(crate) fn marks(&self, key: KeyId, keyring: KeyringId) -> Marks {
        Marks { hold: self.holds_on(key, keyring).next().is_some(), incident: self.incidents.contains_key(&key) }
    }

    /// The holds in force that cover a key.
    pub(crate) fn holds_on(&self, key: KeyId, keyring: KeyringId) -> impl Iterator<Item = HoldId> {
        let (own, of_ring) = (self.held_keys.get(&key), self.held_rings.get(&keyring));
        own.into_iter().chain(of_ring).flatten().copied()
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
