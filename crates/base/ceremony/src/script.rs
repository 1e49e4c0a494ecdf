//! The script of a ceremony: who takes part, what is got ready, which steps are done in which order, when it is broken
//! off (CA/Browser Forum Baseline Requirements 6.1.1.1 ask for a script that is prepared and followed).
//!
//! A script is TOML. It is read into closed types: what is not known is refused.

use serde::Deserialize;

use crate::action::Action;
use crate::word::{Line, Text, Word};

/// The form of scripts that this program reads.
pub const FORM: u32 = 1;
/// Longest script (bytes).
pub const SCRIPT_MAX: usize = 256 * 1024;
/// Most people (count) that one role may ask for.
pub const HOLDERS_MAX: u8 = 32;
/// Most roles, steps, pieces of equipment and so on (count) of each kind.
const MANY: usize = 500;

/// Why a script cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It is too long.
    #[error("a script has at most {SCRIPT_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It is no TOML, or says something that no script says.
    #[error("{0}")]
    Form(String),
    /// It is of another form.
    #[error("this program reads scripts with `keyreeve_ceremony = {FORM}`, this one says {0}")]
    OtherForm(u32),
    /// It has too many parts of one kind.
    #[error("a script has at most {MANY} {0}")]
    TooMany(&'static str),
}

/// A script as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The form, see [`FORM`].
    pub keyreeve_ceremony: u32,
    /// Its name.
    pub name: Word,
    /// What it is called on paper.
    pub title: Line,
    /// What it is for and what it is not for.
    pub purpose: Text,
    /// Its version: scripts change, and a transcript says which one was followed.
    pub version: Line,
    /// Whether a server takes part, into whose audit log the outcome is put.
    #[serde(default)]
    pub server: bool,
    /// From how many organisations (count) those present come at least.
    #[serde(default = "one")]
    pub organisations_at_least: u8,
    /// The roles whose holders accept deviations; everybody present where none is named.
    #[serde(default)]
    pub deviations_accepted_by: Vec<Word>,
    /// Who takes part.
    pub roles: Vec<Role>,
    /// What is seen to before it begins.
    #[serde(default)]
    pub before: Vec<Item>,
    /// What is used, with what is written down about it.
    #[serde(default)]
    pub equipment: Vec<Equipment>,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// What ends the ceremony without its goal.
    #[serde(default)]
    pub abort_if: Vec<Line>,
    /// What is seen to after the last step.
    #[serde(default)]
    pub after: Vec<Item>,
}

fn one() -> u8 {
    1
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name.
    pub name: Word,
    /// What it is called on paper.
    pub title: Line,
    /// How many people hold it (count), 1 to [`HOLDERS_MAX`].
    pub count: u8,
    /// Roles that none of its holders may have besides.
    #[serde(default)]
    pub may_not_be_same_person_as: Vec<Word>,
    /// Whether each of its holders is from another organisation.
    #[serde(default)]
    pub different_organisations: bool,
}

/// Something to see to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What.
    pub text: Line,
    /// The roles that see to it and sign.
    pub by: Vec<Word>,
}

/// A piece of equipment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equipment {
    /// Its name.
    pub name: Word,
    /// What it is.
    pub title: Line,
    /// What is written down about it: the serial number, the number of its seal.
    pub fields: Vec<Field>,
    /// The roles that look at it and sign.
    pub by: Vec<Word>,
}

/// A value that is written down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name: later steps and arguments of commands refer to it.
    pub name: Word,
    /// What it is.
    pub what: Line,
    /// What it looks like.
    #[serde(default)]
    pub form: ValueForm,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueForm {
    /// A line of text.
    #[default]
    Text,
    /// The serial number of a device.
    SerialNumber,
    /// The number of a seal or of a tamper-evident bag.
    SealNumber,
    /// An instant, RFC 3339.
    Time,
    /// A SHA-256 in 64 hexadecimal digits.
    Sha256,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name.
    pub id: Word,
    /// What it is called.
    pub title: Line,
    /// What is done, in words that are read aloud.
    pub text: Text,
    /// The roles that act.
    pub by: Vec<Word>,
    /// The roles that watch, and sign as well.
    #[serde(default)]
    pub witnesses: Vec<Word>,
    /// What the program does about it.
    #[serde(rename = "do")]
    pub act: Act,
}

/// What the program does about a step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// It is read aloud and confirmed.
    Say,
    /// Values are written down.
    Record {
        /// Which.
        fields: Vec<Field>,
    },
    /// The program does something itself; what comes of it is written down, secrets never.
    Command(Action),
    /// A file is attached by its SHA-256.
    Attach {
        /// The name of the hash, as a value.
        name: Word,
        /// What the file is.
        what: Line,
    },
    /// A value that is seen now is compared with one that was written down before.
    Verify {
        /// Where it is seen.
        what: Line,
        /// The name of the value it must be equal to.
        equals: Word,
    },
    /// Those who act decide.
    Decide {
        /// The name of the decision, as a value.
        name: Word,
        /// What they may choose from.
        choices: Vec<Line>,
    },
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`ScriptError`]. What a script says and cannot mean is found by [`lint`](crate::lint::lint).
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.len() > SCRIPT_MAX {
            return Err(ScriptError::TooLong(text.len()));
        }
        let script: Self = toml::from_str(text).map_err(|error| ScriptError::Form(error.to_string()))?;
        if script.keyreeve_ceremony != FORM {
            return Err(ScriptError::OtherForm(script.keyreeve_ceremony));
        }
        let counts = [
            (script.roles.len(), "roles"),
            (script.steps.len(), "steps"),
            (script.before.len() + script.after.len(), "points of checklists"),
            (script.equipment.len(), "pieces of equipment"),
            (script.abort_if.len(), "conditions to break off"),
        ];
        match counts.into_iter().find(|(count, _)| *count > MANY) {
            Some((_, what)) => Err(ScriptError::TooMany(what)),
            None => Ok(script),
        }
    }

    /// A role by its name.
    #[must_use]
    pub fn role(&self, name: &Word) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == *name)
    }

    /// Whether two roles may not be held by one person, whichever of them says so.
    #[must_use]
    pub fn exclude(&self, one: &Word, other: &Word) -> bool {
        let says =
            |of: &Word, about: &Word| self.role(of).is_some_and(|role| role.may_not_be_same_person_as.contains(about));
        says(one, other) || says(other, one)
    }

    /// Everything that is done one after the other: the checklist before, the equipment, the steps, the checklist
    /// after.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task<'_>> {
        let item = |prefix: &str, kind: TaskKind, number: usize, found| {
            Task::of_item(format!("{prefix}-{}", number + 1), kind, found)
        };
        let mut tasks = Vec::new();
        let before = self.before.iter().enumerate();
        tasks.extend(before.map(|(number, found)| item("before", TaskKind::Before, number, found)));
        tasks.extend(self.equipment.iter().map(Task::of_equipment));
        tasks.extend(self.steps.iter().map(Task::of_step));
        let after = self.after.iter().enumerate();
        tasks.extend(after.map(|(number, found)| item("after", TaskKind::After, number, found)));
        tasks
    }
}

/// From which part of a script a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// The checklist before.
    Before,
    /// The equipment.
    Equipment,
    /// The steps.
    Step,
    /// The checklist after.
    After,
}

/// What a task asks for.
#[derive(Clone, Copy, Debug)]
pub enum Asks<'a> {
    /// A confirmation.
    Confirmation,
    /// Values.
    Values(&'a [Field]),
    /// Whatever the step's act is, where it is neither of these.
    Act(&'a Act),
}

/// One thing that is done and signed.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Its name, no two alike: `before-1`, `equipment-laptop`, a step's own, `after-1`.
    pub id: String,
    /// From where it is.
    pub kind: TaskKind,
    /// What it is called.
    pub title: &'a str,
    /// What is done.
    pub text: &'a str,
    /// The roles that act.
    pub by: &'a [Word],
    /// The roles that watch.
    pub witnesses: &'a [Word],
    /// What it asks for.
    pub asks: Asks<'a>,
}

impl<'a> Task<'a> {
    fn of_item(id: String, kind: TaskKind, item: &'a Item) -> Self {
        let text = item.text.as_str();
        let title = if kind == TaskKind::Before { "Before the ceremony" } else { "After the ceremony" };
        Self { id, kind, title, text, by: &item.by, witnesses: &[], asks: Asks::Confirmation }
    }

    fn of_equipment(equipment: &'a Equipment) -> Self {
        Self {
            id: format!("equipment-{}", equipment.name),
            kind: TaskKind::Equipment,
            title: "Equipment",
            text: equipment.title.as_str(),
            by: &equipment.by,
            witnesses: &[],
            asks: Asks::Values(&equipment.fields),
        }
    }

    fn of_step(step: &'a Step) -> Self {
        let asks = match &step.act {
            Act::Say => Asks::Confirmation,
            Act::Record { fields } => Asks::Values(fields),
            act => Asks::Act(act),
        };
        Self {
            id: step.id.to_string(),
            kind: TaskKind::Step,
            title: step.title.as_str(),
            text: step.text.as_str(),
            by: &step.by,
            witnesses: &step.witnesses,
            asks,
        }
    }

    /// The roles whose holders sign it.
    pub fn roles(&self) -> impl Iterator<Item = &'a Word> {
        self.by.iter().chain(self.witnesses)
    }

    /// The command that belongs to it, if one does.
    #[must_use]
    pub fn action(&self) -> Option<&'a Action> {
        match self.asks {
            Asks::Act(Act::Command(action)) => Some(action),
            _ => None,
        }
    }

    /// Names of the values that it leaves.
    pub fn leaves(&self) -> Vec<&'a Word> {
        match self.asks {
            Asks::Confirmation => Vec::new(),
            Asks::Values(fields) => fields.iter().map(|field| &field.name).collect(),
            Asks::Act(Act::Attach { name, .. } | Act::Decide { name, .. }) => vec![name],
            Asks::Act(Act::Say | Act::Record { .. } | Act::Command(_) | Act::Verify { .. }) => Vec::new(),
        }
    }
}
