//! When rights were last used: noted in memory, written about once a minute, to the day (requirement A8).
//!
//! A crash loses what was noted since the last writing; the audit log has every use.

use keyreeve_model::filed::file;
use keyreeve_model::ids::GrantId;
use keyreeve_model::record::Revision;
use keyreeve_model::usage::{LastUse, Used, day_of};
use keyreeve_model::{Name, Transaction, UnixMillis};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::catalogue::Descriptor;
use crate::core::Core;
use crate::error::Error;
use crate::sealing::Opened;

/// Uses remembered as noted (count), above which all are forgotten and noted again.
const REMEMBERED: usize = 64 * 1024;
/// Rows written in one transaction.
const AT_ONCE: usize = 200;

/// What was used and is not written yet, and what was noted on which day.
#[derive(Default)]
pub(crate) struct Uses {
    hasher: RandomState,
    noted: Mutex<HashMap<u64, i64>>,
    fresh: Mutex<BTreeMap<(Name, Used), i64>>,
}

impl Uses {
    /// Notes a use. Costs a hash and a look-up, but for the first of a day.
    fn note(&self, place: (&str, &str, &str), now: UnixMillis, used: impl FnOnce() -> Option<(Name, Used)>) {
        let (hash, day) = (self.hasher.hash_one(place), day_of(now));
        {
            let mut noted = self.noted.lock();
            if noted.get(&hash).is_some_and(|known| *known >= day) {
                return;
            }
            if noted.len() >= REMEMBERED {
                noted.clear();
            }
            noted.insert(hash, day);
        }
        if let Some(what) = used() {
            self.fresh.lock().insert(what, day);
        }
    }

    /// Notes that a key was used by an operation.
    pub(crate) fn key(&self, row: &Descriptor, principal: &str, key: &str, now: UnixMillis) {
        let Some(group) = row.groups.first() else { return };
        self.note((principal, key, group), now, || {
            Some((principal.parse().ok()?, Used::Key { key: key.parse().ok()?, group: group.parse().ok()? }))
        });
    }

    /// Notes that a grant was used.
    pub(crate) fn grant(&self, principal: &str, grant: &GrantId, now: UnixMillis) {
        let id = grant.to_string();
        self.note((principal, &id, ""), now, || Some((principal.parse().ok()?, Used::Grant { grant: *grant })));
    }

    /// The last day on which something was used, as far as it is not written yet.
    pub(crate) fn unwritten(&self, principal: &Name, used: &Used) -> Option<i64> {
        self.fresh.lock().get(&(principal.clone(), used.clone())).copied()
    }
}

impl Core {
    /// Writes what was used since the last time. What cannot be written is tried again the next time.
    pub(crate) async fn write_uses(&self, opened: &Opened) -> Result<(), Error> {
        loop {
            let some: Vec<_> = {
                let fresh = self.uses.fresh.lock();
                fresh.iter().take(AT_ONCE).map(|(what, day)| (what.clone(), *day)).collect()
            };
            if some.is_empty() {
                return Ok(());
            }
            let mut changes = Vec::new();
            for ((principal, used), day) in &some {
                let known = self.filed::<LastUse>(opened, LastUse::row(principal, used)).await?;
                let revision = known.as_ref().map_or(Revision::FIRST, |(_, revision)| revision.next());
                if known.is_none_or(|(known, _)| known.day < *day) {
                    let record = LastUse { principal: principal.clone(), used: used.clone(), day: *day };
                    changes.push(file(&opened.keys, revision, &record));
                }
            }
            if !changes.is_empty() {
                self.store(Transaction { name: "uses", changes, ..Transaction::default() }).await?;
            }
            let mut fresh = self.uses.fresh.lock();
            for (what, day) in some {
                if fresh.get(&what) == Some(&day) {
                    fresh.remove(&what);
                }
            }
        }
    }

    /// The last day on which a principal used something.
    pub(crate) async fn last_use(&self, opened: &Opened, principal: &Name, used: &Used) -> Result<Option<i64>, Error> {
        let unwritten = self.uses.unwritten(principal, used);
        let written = self.filed::<LastUse>(opened, LastUse::row(principal, used)).await?;
        Ok(unwritten.max(written.map(|(last, _)| last.day)))
    }
}
