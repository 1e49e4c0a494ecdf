//! Drills: rehearsals of what is done in trouble, and what came of each (requirements T8, T9).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// Steps of one drill that are kept (count).
pub const STEPS_MAX: usize = 64;

/// A text that is not the name of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no such drill; they are: {}", DrillKind::names().join(", "))]
pub struct UnknownDrill;

macro_rules! drill_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {
        /// What is rehearsed. Each has the name of the runbook that it rehearses; names are never changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum DrillKind {
            $($(#[$doc])* $kind,)*
        }

        impl DrillKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The name on wires, in records and of the runbook.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

drill_kinds! {
    /// A backup is brought back.
    Restore = "restore";
    /// A key was destroyed by mistake, or does not open any more.
    KeyLoss = "key-loss";
    /// The root of trust is gone.
    RootLoss = "root-loss";
    /// A holder lost his share, or left.
    ShareHolder = "share-holder";
    /// A hardware security module is gone.
    HsmLoss = "hsm-loss";
    /// The place where the server stands is gone.
    RegionLoss = "region-loss";
    /// Somebody else may have a key.
    KeyCompromise = "key-compromise";
    /// The store is older than it was.
    RollBack = "roll-back";
    /// What is stored was altered.
    Integrity = "integrity";
}

impl DrillKind {
    /// The names of all kinds.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|kind| kind.name()).collect()
    }
}

impl fmt::Display for DrillKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DrillKind {
    type Err = UnknownDrill;

    fn from_str(text: &str) -> Result<Self, UnknownDrill> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or(UnknownDrill)
    }
}

impl From<DrillKind> for &'static str {
    fn from(kind: DrillKind) -> Self {
        kind.name()
    }
}

impl TryFrom<String> for DrillKind {
    type Error = UnknownDrill;

    fn try_from(text: String) -> Result<Self, UnknownDrill> {
        text.parse()
    }
}

/// One step of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillStep {
    /// What was done or looked at.
    pub name: Label,
    /// Whether it went as it should.
    pub passed: bool,
    /// What was found.
    pub found: Label,
    /// How long it took (milliseconds).
    pub took_ms: u64,
}

/// A drill that was held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillRecord {
    /// Its number, from 1.
    pub number: u64,
    /// What was rehearsed.
    pub kind: DrillKind,
    /// When it was over.
    pub at: UnixMillis,
    /// Whether the server held it by itself, as scheduled or asked for; else people did.
    pub by_itself: bool,
    /// Who put it on record.
    pub by: Name,
    /// Whether everything went as it should.
    pub passed: bool,
    /// How long it took from the loss until keys worked again (milliseconds): what the recovery time objective is
    /// compared with.
    pub took_ms: u64,
    /// How much of what was acknowledged before the loss would be lost (milliseconds, by age of the backup): what the
    /// recovery point objective is compared with. Nothing where nothing is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_ms: Option<u64>,
    /// The backup that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<u64>,
    /// The destination that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Name>,
    /// What was done, step by step.
    pub steps: Vec<DrillStep>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Label>,
}

impl FiledRecord for DrillRecord {
    const TABLE: Table = Table::BackupDrills;

    fn row_id(&self) -> RowId {
        self.number.to_be_bytes().into()
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// When drills are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillPlan {
    /// How often the server restores its newest backup into a scratch instance; never by itself where there is nothing.
    pub restore_every: Option<Duration>,
    /// Within what time people rehearse each runbook; nobody is reminded where there is nothing.
    pub rehearse_within: Option<Duration>,
}

impl DrillPlan {
    /// Nothing by itself, and no reminder.
    pub const NONE: Self = Self { restore_every: None, rehearse_within: None };

    /// How old the last good drill of a kind may become.
    #[must_use]
    pub fn within(&self, kind: DrillKind) -> Option<Duration> {
        match (kind, self.restore_every) {
            // The server's own may fail once before it counts as missed.
            (DrillKind::Restore, Some(every)) => Some(every * 2),
            (_, _) => self.rehearse_within,
        }
    }

    /// Whether a kind is overdue whose last good drill was at `good`, on a server that has been there since `since`.
    #[must_use]
    pub fn is_overdue(&self, kind: DrillKind, good: Option<UnixMillis>, since: UnixMillis, now: UnixMillis) -> bool {
        self.within(kind).is_some_and(|within| good.unwrap_or(since).max(since).plus(within) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn every_name_is_read_back_and_others_are_refused() {
        for kind in DrillKind::ALL {
            assert_eq!(kind.name().parse::<DrillKind>(), Ok(*kind));
        }
        assert!("Restore".parse::<DrillKind>().is_err() && "".parse::<DrillKind>().is_err());
    }

    #[test]
    fn a_drill_is_overdue_when_the_last_good_one_is_too_old() {
        let (plan, start) =
            (DrillPlan { restore_every: Some(7 * DAY), rehearse_within: Some(365 * DAY) }, UnixMillis(0));
        let overdue = |kind, good, days| plan.is_overdue(kind, good, start, start.plus(DAY * days));
        assert!(!overdue(DrillKind::Restore, None, 13) && overdue(DrillKind::Restore, None, 14));
        let good = Some(start.plus(10 * DAY));
        assert!(!overdue(DrillKind::Restore, good, 23) && overdue(DrillKind::Restore, good, 24));
        assert!(!overdue(DrillKind::HsmLoss, good, 374) && overdue(DrillKind::HsmLoss, good, 375));
        assert!(!DrillPlan::NONE.is_overdue(DrillKind::HsmLoss, None, start, start.plus(DAY * 9999)));
        // A server that came out of a restore has the drills of before; one that is younger than all is not at fault.
        assert!(!plan.is_overdue(DrillKind::Restore, Some(start), start.plus(20 * DAY), start.plus(21 * DAY)));
    }
}
