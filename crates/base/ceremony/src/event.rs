//! What happens in a ceremony, as it is written into the transcript.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::participant::PublicKeyText;
use crate::word::{Initials, Line, Text, Word};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// It begins. The only entry that nobody signs: nobody is known yet, and every later entry covers it.
    Opened(Box<Opened>),
    /// Somebody takes part. Signed by whom it is about; after [`Event::Assembled`] by everybody else present as well.
    Enrolled(Box<Enrolled>),
    /// Everybody is there, and everybody saw that the others are who they say. Signed by all.
    Assembled {},
    /// A command is about to be run: those who sign want it. What came of it is the next entry about the task, or is
    /// not known, if the machine failed in between.
    Begun {
        /// The task.
        task: Line,
        /// The command as it is run.
        command: Line,
    },
    /// The command failed.
    Failed {
        /// The task.
        task: Line,
        /// What it said.
        why: Text,
    },
    /// A task is done.
    Done {
        /// The task.
        task: Line,
        /// What came of it.
        outcome: Outcome,
    },
    /// Something was not as the script says. Signed by those who accept it; that a task is skipped also by those who
    /// sign the task, that somebody left by everybody who stays.
    Deviation(Deviation),
    /// The program was started again in the middle. Signed by everybody present.
    Resumed {
        /// The program that goes on.
        program: Program,
    },
    /// It is over. Signed by everybody present.
    Closed(Ending),
}

/// How a ceremony begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// The SHA-256 of the script, in hexadecimal.
    pub script_sha256: Line,
    /// The script itself, so that the transcript can be read without it.
    pub script: String,
    /// Whether it is a rehearsal, with keys and data that are thrown away.
    pub dry_run: bool,
    /// Where it takes place.
    pub place: Line,
    /// The program that leads through it.
    pub program: Program,
    /// The server that takes part, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSeen>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its version.
    pub version: Line,
    /// The SHA-256 of its file, in hexadecimal.
    pub sha256: Line,
}

/// A server, as it was seen when the ceremony began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSeen {
    /// Its address.
    pub address: Line,
    /// The kind of its root of trust.
    pub root_kind: Line,
    /// Whether it was open.
    pub open: bool,
    /// The public keys of its audit log, where it had any yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_vkeys: Vec<Line>,
    /// The signed checkpoint of its audit log, where it could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// What they sign with.
    pub initials: Initials,
    /// Their name.
    pub name: Line,
    /// The organisation they are from.
    pub organisation: Line,
    /// Their roles.
    pub roles: Vec<Word>,
    /// How their identity was checked.
    pub identity: Line,
    /// Their key.
    pub key: PublicKeyText,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It was confirmed.
    Confirmed {},
    /// Values were written down.
    Recorded {
        /// By name.
        values: BTreeMap<Word, Line>,
    },
    /// A command was carried out.
    Ran {
        /// What it answered, by name.
        facts: BTreeMap<Line, Text>,
        /// Whether this was found out afterwards: the program was interrupted before it could write it down.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        found: bool,
    },
    /// A file was attached.
    Attached {
        /// Its name.
        file: Line,
        /// Its length (bytes).
        bytes: u64,
        /// Its SHA-256, in hexadecimal.
        sha256: Line,
    },
    /// A value was compared, and is the same.
    Verified {
        /// What was seen.
        seen: Line,
    },
    /// A decision was made.
    Decided {
        /// Which.
        choice: Line,
    },
}

/// Something that was not as the script says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// What.
    pub what: DeviationKind,
    /// Why.
    pub reason: Text,
}

/// What was not as the script says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviationKind {
    /// It is written down and nothing else.
    Noted {
        /// The task at which it was seen.
        task: Line,
    },
    /// A task is not done.
    Skipped {
        /// The task.
        task: Line,
    },
    /// Somebody goes. Nothing is done until somebody else is enrolled in their place.
    Left {
        /// Who.
        who: Initials,
    },
}

/// How a ceremony ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ending {
    /// Every task was done, or skipped for a reason that was accepted.
    Completed {},
    /// It was broken off.
    Aborted {
        /// Why.
        reason: Text,
    },
}
