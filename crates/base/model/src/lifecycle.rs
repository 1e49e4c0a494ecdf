//! Key states and transitions of NIST SP 800-57 part 1, and what each state may do.
//!
//! Rev. 5 (2020, §7) is the default; Rev. 6 (draft of December 2025) drops the deactivated state, see [`Profile`].
//! This is the one place where "may this key be used for that now?" is answered.

use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// A key state of SP 800-57 part 1 §7, as KMIP names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Generated, not yet authorised for use.
    PreActivation,
    /// In use.
    Active,
    /// Use halted for a time; can come back.
    Suspended,
    /// Protects nothing new, still processes what it protected.
    Deactivated,
    /// Integrity or secrecy is in doubt.
    Compromised,
    /// The material is gone; the record stays.
    Destroyed,
    /// Destroyed, and found compromised before or after.
    DestroyedCompromised,
}

impl State {
    /// All states, in the order of the standard.
    pub const ALL: [Self; 7] = [
        Self::PreActivation,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::Destroyed,
        Self::DestroyedCompromised,
    ];

    /// The name used on every wire and in every record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreActivation => "pre-activation",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
            Self::DestroyedCompromised => "destroyed-compromised",
        }
    }

    /// The state of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// What to do with a key that has no use for a new version.
    const fn instead_of_rotating(self) -> &'static str {
        match self {
            Self::PreActivation | Self::Suspended => "activate it first",
            Self::Active | Self::Deactivated | Self::Compromised | Self::Destroyed | Self::DestroyedCompromised => {
                "create a new key"
            }
        }
    }

    /// True once no material exists any more.
    #[must_use]
    pub const fn is_destroyed(self) -> bool {
        matches!(self, Self::Destroyed | Self::DestroyedCompromised)
    }

    /// What this state permits. `risk_accepted` is the recorded decision of a person to process data under a suspended
    /// or compromised key (SP 800-57 part 1 rev. 5 §7.3, §7.5).
    #[must_use]
    pub const fn permits(self, usage: Usage, risk_accepted: bool) -> bool {
        match (self, usage) {
            (Self::Active, _) => true,
            (Self::Deactivated, Usage::Process) => true,
            (Self::Suspended | Self::Compromised, Usage::Process) => risk_accepted,
            (
                Self::PreActivation
                | Self::Suspended
                | Self::Deactivated
                | Self::Compromised
                | Self::Destroyed
                | Self::DestroyedCompromised,
                _,
            ) => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The two halves of a cryptoperiod (SP 800-57 part 1 §5.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Apply protection: encrypt, sign, compute a MAC, wrap, derive, encapsulate.
    Apply,
    /// Process protected data: decrypt, verify, unwrap, decapsulate.
    Process,
}

impl Usage {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Apply => "protect new data",
            Self::Process => "process data",
        }
    }
}

/// Which revision of SP 800-57 part 1 rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Revision 5, May 2020.
    #[default]
    Rev5,
    /// Revision 6, initial public draft of December 2025: no deactivated state.
    Rev6,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Authorise a pre-activation key, or lift a suspension.
    Activate,
    /// Halt use for a time.
    Suspend,
    /// End protection, go on processing.
    Deactivate,
    /// Record that the key is or may be known to others.
    Compromise,
    /// Erase the material.
    Destroy,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 5] = [Self::Activate, Self::Suspend, Self::Deactivate, Self::Compromise, Self::Destroy];

    /// The verb in errors and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Suspend => "suspend",
            Self::Deactivate => "deactivate",
            Self::Compromise => "compromise",
            Self::Destroy => "destroy",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the lifecycle says no.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The transition is not in the standard's table.
    #[error("a key that is {from} cannot be moved by `{event}`")]
    Transition {
        /// Where the key is.
        from: State,
        /// What was asked.
        event: Event,
    },
    /// The state of the key forbids a new version.
    #[error("a key that is {from} cannot be rotated: {}", .from.instead_of_rotating())]
    Rotation {
        /// The state of the key.
        from: State,
    },
    /// The state forbids the use.
    #[error("the key is {state}: it may not {}{}", .usage.in_words(), way_out(*.state, *.usage))]
    Use {
        /// The effective state.
        state: State,
        /// What was asked.
        usage: Usage,
    },
    /// The version is in use and yet protects nothing new (revision 6, which has no deactivated state).
    #[error("version {version} protects no new data any more: it was rotated, or its period is over")]
    Retired {
        /// The version.
        version: u32,
    },
    /// The material was imported for a time, which is over.
    #[error("the imported material of version {version} ended on {at}: `keyreeve key reimport` puts the same back")]
    MaterialEnded {
        /// The version.
        version: u32,
        /// When.
        at: crate::UnixMillis,
    },
    /// The material was generated here: there is nothing to put back.
    #[error("version {version} was not imported: only imported material has an end and can be imported again")]
    NotImported {
        /// The version.
        version: u32,
    },
    /// Whether a key may leave is decided when it is made.
    #[error("the key was not made `exportable`: its material never leaves")]
    NotExportable,
    /// Material inside a device was never anywhere else.
    #[error("the key is inside a device and was never anywhere else: nobody can take it out")]
    InDevice,
    /// The key awaits destruction.
    #[error("the key is scheduled for destruction on {due}: cancel the destruction to use it again")]
    PendingDestruction {
        /// When the material will be erased.
        due: crate::UnixMillis,
    },
    /// The key does not await destruction.
    #[error("the key is not scheduled for destruction")]
    NotScheduled,
    /// The waiting period is not over.
    #[error("the waiting period ends on {due}: the key cannot be destroyed before")]
    TooEarly {
        /// When destruction becomes possible.
        due: crate::UnixMillis,
    },
    /// The waiting period is outside the allowed range.
    #[error("the waiting period must be 7 to 30 days, not {days}")]
    WaitingPeriod {
        /// What was asked, in days.
        days: u32,
    },
    /// There is no such version.
    #[error("the key has no version {version}")]
    NoVersion {
        /// What was asked.
        version: u32,
    },
    /// The key has as many versions as it may have.
    #[error("the key has {} versions, the most it may have: create a new key", crate::limits::VERSIONS_MAX)]
    TooManyVersions,
    /// The key's record is as long as it may be.
    #[error(
        "the key's record has {} bytes, the most it may have, by its versions and their history: create a new key",
        crate::limits::KEY_RECORD_MAX
    )]
    RecordFull,
}

/// How data that a state keeps from being processed is processed all the same.
const fn way_out(state: State, usage: Usage) -> &'static str {
    match (state, usage) {
        (State::Compromised, Usage::Process) => {
            ", unless the risk of that is accepted: `keyreeve key compromise KEY --accept-risk`, and rotate it"
        }
        _ => "",
    }
}

/// The state after `event`, or why there is none: the transition table of SP 800-57 part 1 rev. 5 §7 (transitions 2 to
/// 15) or of rev. 6. A compromise found after destruction is recorded (rev. 5 §7.6).
pub const fn next(profile: Profile, from: State, event: Event) -> Result<State, Refusal> {
    let to = match (from, event) {
        (State::PreActivation | State::Suspended, Event::Activate) => Some(State::Active),
        (State::Active, Event::Suspend) => Some(State::Suspended),
        (State::Active | State::Suspended, Event::Deactivate) => match profile {
            Profile::Rev5 => Some(State::Deactivated),
            Profile::Rev6 => None,
        },
        (State::PreActivation | State::Active | State::Suspended | State::Deactivated, Event::Compromise) => {
            Some(State::Compromised)
        }
        (State::PreActivation | State::Active | State::Suspended | State::Deactivated, Event::Destroy) => {
            Some(State::Destroyed)
        }
        (State::Compromised, Event::Destroy) => Some(State::DestroyedCompromised),
        (State::Destroyed, Event::Compromise) => Some(State::DestroyedCompromised),
        (
            State::Active
            | State::Deactivated
            | State::Compromised
            | State::Destroyed
            | State::DestroyedCompromised
            | State::PreActivation
            | State::Suspended,
            _,
        ) => None,
    };
    match to {
        Some(to) => Ok(to),
        None => Err(Refusal::Transition { from, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::*;
    use State::*;

    /// Every arrow of SP 800-57 part 1 rev. 5 figure 3 with its number there (1 is generation, 16 is ours: the
    /// compromise recorded after destruction).
    const REV5: [(u8, State, Event, State); 15] = [
        (2, PreActivation, Destroy, Destroyed),
        (3, PreActivation, Compromise, Compromised),
        (4, PreActivation, Activate, Active),
        (5, Active, Destroy, Destroyed),
        (6, Active, Compromise, Compromised),
        (7, Active, Suspend, Suspended),
        (8, Active, Deactivate, Deactivated),
        (9, Suspended, Destroy, Destroyed),
        (10, Suspended, Compromise, Compromised),
        (11, Suspended, Activate, Active),
        (12, Suspended, Deactivate, Deactivated),
        (13, Deactivated, Destroy, Destroyed),
        (14, Deactivated, Compromise, Compromised),
        (15, Compromised, Destroy, DestroyedCompromised),
        (16, Destroyed, Compromise, DestroyedCompromised),
    ];

    #[test]
    fn every_state_and_event_behaves_as_the_standards_table_says() {
        let mut checked = 0;
        for from in State::ALL {
            for event in Event::ALL {
                let want = REV5.iter().find(|row| row.1 == from && row.2 == event).map(|row| row.3);
                assert_eq!(next(Profile::Rev5, from, event).ok(), want, "{from} {event}");
                checked += 1;
            }
        }
        assert_eq!(checked, 35);
    }

    #[test]
    fn revision_6_differs_only_in_deactivation() {
        for from in State::ALL {
            for event in Event::ALL {
                let (five, six) = (next(Profile::Rev5, from, event), next(Profile::Rev6, from, event));
                assert_eq!(five == six, event != Deactivate || five.is_err(), "{from} {event}");
                assert!(event != Deactivate || six.is_err());
            }
        }
    }

    #[test]
    fn use_follows_the_standards_table() {
        let rows = [
            (PreActivation, false, false, false),
            (Active, true, true, true),
            (Suspended, false, false, true),
            (Deactivated, false, true, true),
            (Compromised, false, false, true),
            (Destroyed, false, false, false),
            (DestroyedCompromised, false, false, false),
        ];
        for (state, apply, process, process_with_risk) in rows {
            assert_eq!(state.permits(Usage::Apply, false), apply, "{state}");
            assert_eq!(state.permits(Usage::Apply, true), apply, "{state}: accepting risk never allows protection");
            assert_eq!(state.permits(Usage::Process, false), process, "{state}");
            assert_eq!(state.permits(Usage::Process, true), process_with_risk, "{state}");
        }
    }

    #[test]
    fn names_round_trip() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
        assert_eq!(State::from_name("Active"), None);
    }
}
