//! Where a ceremony stands, and what may happen next: a function of its script and of what happened so far.
//!
//! Nothing is skipped silently: a task is done as the script asks, or the deviation is written down and accepted, or
//! the ceremony ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{DeviationKind, Ending, Enrolled, Event, Opened, Outcome};
use crate::lint::{check_value, is_sha256, lint};
use crate::script::{Act, Asks, Field, Script, ScriptError, Task};
use crate::word::{Initials, Line, Word};

/// Why something may not happen now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The script cannot be read.
    #[error("the script: {0}")]
    Script(#[from] ScriptError),
    /// The script says something that it cannot mean.
    #[error("the script cannot be followed: {place}: {what}")]
    Lint {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// The hash of the script is not that of the script.
    #[error("the script is not the one whose hash is written down")]
    ScriptHash,
    /// It is not what comes next.
    #[error("{0}")]
    Order(String),
    /// Roles are not kept apart, or somebody takes part twice.
    #[error("{0}")]
    Separation(String),
    /// What came of a task is not what the script asks for.
    #[error("{0}")]
    Outcome(String),
}

fn order(text: impl Into<String>) -> Refusal {
    Refusal::Order(text.into())
}

fn separation(text: impl Into<String>) -> Refusal {
    Refusal::Separation(text.into())
}

/// What became of a task so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Open,
    /// Its command was begun, and what came of it is not written down.
    Begun {
        /// The command.
        command: Line,
    },
    /// It is done.
    Done(Outcome),
    /// It was skipped; the reason is among the deviations.
    Skipped,
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub enrolled: Enrolled,
    /// False once they left.
    pub present: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// People are enrolled, at the beginning and when somebody left; the roles that lack some, with how many.
    Enrol(Vec<(Word, u8)>),
    /// Everybody is there: they say so.
    Assemble,
    /// The task of this number, counted from 0.
    Task(usize),
    /// All is done: it is closed.
    Close,
    /// It is over.
    Over,
}

/// A ceremony and where it stands.
#[derive(Clone, Debug)]
pub struct Ceremony {
    script: Script,
    opened: Opened,
    ids: Vec<String>,
    standing: Vec<Standing>,
    people: Vec<Person>,
    assembled: bool,
    values: BTreeMap<Word, Line>,
    profile: Option<String>,
    deviations: usize,
    ending: Option<Ending>,
}

impl Ceremony {
    /// The beginning.
    ///
    /// # Errors
    /// [`Refusal`] if the script cannot be followed.
    pub fn open(opened: &Opened) -> Result<Self, Refusal> {
        let script = Script::parse(&opened.script)?;
        let hash = keyreeve_crypto::digest::sha256(opened.script.as_bytes());
        if opened.script_sha256 != Line::hexadecimal(&hash) {
            return Err(Refusal::ScriptHash);
        }
        if let Some(found) = lint(&script).into_iter().find(|found| found.wrong) {
            return Err(Refusal::Lint { place: found.place, what: found.what });
        }
        if !is_sha256(opened.program.sha256.as_str()) {
            return Err(order("the program's hash is none"));
        }
        let ids: Vec<String> = script.tasks().into_iter().map(|task| task.id).collect();
        let standing = ids.iter().map(|_| Standing::Open).collect();
        Ok(Self {
            script,
            opened: opened.clone(),
            ids,
            standing,
            people: Vec::new(),
            assembled: false,
            values: BTreeMap::new(),
            profile: None,
            deviations: 0,
            ending: None,
        })
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// How it began.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Everybody who takes or took part, in the order in which they were enrolled.
    #[must_use]
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// Who signs with these initials.
    #[must_use]
    pub fn person(&self, initials: &Initials) -> Option<&Person> {
        self.people.iter().find(|person| person.enrolled.initials == *initials)
    }

    /// What became of the tasks, in their order.
    #[must_use]
    pub fn standing(&self) -> &[Standing] {
        &self.standing
    }

    /// Whether everybody has said that they are there.
    #[must_use]
    pub fn is_assembled(&self) -> bool {
        self.assembled
    }

    /// The values written down so far.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<Word, Line> {
        &self.values
    }

    /// The directory with the profile that a command of this ceremony made, if one did.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// How many deviations there were (count).
    #[must_use]
    pub fn deviations(&self) -> usize {
        self.deviations
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// What comes next.
    #[must_use]
    pub fn next(&self) -> Next {
        if self.ending.is_some() {
            return Next::Over;
        }
        let missing = self.missing();
        if !missing.is_empty() {
            return Next::Enrol(missing);
        }
        if !self.assembled {
            return Next::Assemble;
        }
        let open = |standing: &Standing| matches!(standing, Standing::Open | Standing::Begun { .. });
        self.standing.iter().position(open).map_or(Next::Close, Next::Task)
    }

    /// The roles that lack holders, with how many.
    fn missing(&self) -> Vec<(Word, u8)> {
        let lacking = self.script.roles.iter().map(|role| {
            let held = u8::try_from(self.holders(&role.name).count()).unwrap_or(u8::MAX);
            (role.name.clone(), role.count.saturating_sub(held))
        });
        lacking.filter(|(_, count)| *count > 0).collect()
    }

    /// Those present who hold a role.
    pub fn holders<'a>(&'a self, role: &'a Word) -> impl Iterator<Item = &'a Person> {
        self.people.iter().filter(move |person| person.present && person.enrolled.roles.contains(role))
    }

    /// The initials of everybody present.
    #[must_use]
    pub fn present(&self) -> BTreeSet<Initials> {
        let present = self.people.iter().filter(|person| person.present);
        present.map(|person| person.enrolled.initials.clone()).collect()
    }

    /// The same where somebody has to sign: before anybody is enrolled there is nothing to go on with or to end.
    fn everybody(&self) -> Result<BTreeSet<Initials>, Refusal> {
        let present = self.present();
        if present.is_empty() { Err(order("nobody is enrolled yet: begin anew")) } else { Ok(present) }
    }

    /// Those who sign a task: whoever acts and whoever watches.
    #[must_use]
    pub fn demanded(&self, task: &Task<'_>) -> BTreeSet<Initials> {
        let holders = task.roles().flat_map(|role| self.holders(role));
        holders.map(|person| person.enrolled.initials.clone()).collect()
    }

    /// Those who accept deviations.
    #[must_use]
    pub fn acceptors(&self) -> BTreeSet<Initials> {
        let named = self.script.deviations_accepted_by.iter().flat_map(|role| self.holders(role));
        let named: BTreeSet<Initials> = named.map(|person| person.enrolled.initials.clone()).collect();
        if named.is_empty() { self.present() } else { named }
    }

    /// Whether something may happen now, and who has to sign it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn signers(&self, event: &Event) -> Result<BTreeSet<Initials>, Refusal> {
        if self.ending.is_some() {
            return Err(order("the ceremony is over: nothing follows"));
        }
        match event {
            Event::Opened(_) => Err(order("a ceremony begins once")),
            Event::Enrolled(enrolled) => self.may_enrol(enrolled),
            Event::Assembled {} => self.may_assemble(),
            Event::Begun { task, command } => self.may_begin(task, command),
            Event::Failed { task, .. } => self.may_fail(task),
            Event::Done { task, outcome } => self.may_be_done(task, outcome),
            Event::Deviation(deviation) => self.may_deviate(&deviation.what),
            Event::Resumed { program } if is_sha256(program.sha256.as_str()) => self.everybody(),
            Event::Resumed { .. } => Err(order("the program's hash is none")),
            Event::Closed(ending) => self.may_close(ending),
        }
    }

    /// Lets something happen that [`Ceremony::signers`] allowed.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn apply(&mut self, event: &Event) -> Result<(), Refusal> {
        self.signers(event)?;
        match event {
            Event::Opened(_) | Event::Resumed { .. } => {}
            Event::Enrolled(enrolled) => {
                self.people.push(Person { enrolled: (**enrolled).clone(), present: true });
            }
            Event::Assembled {} => self.assembled = true,
            Event::Begun { task, command } => self.set(task, Standing::Begun { command: command.clone() }),
            Event::Failed { task, .. } => self.set(task, Standing::Open),
            Event::Done { task, outcome } => self.done(task, outcome),
            Event::Deviation(deviation) => {
                self.deviations += 1;
                match &deviation.what {
                    DeviationKind::Noted { .. } => {}
                    DeviationKind::Skipped { task } => self.set(task, Standing::Skipped),
                    DeviationKind::Left { who } => {
                        let left = self.people.iter_mut().filter(|person| person.enrolled.initials == *who);
                        left.for_each(|person| person.present = false);
                    }
                }
            }
            Event::Closed(ending) => self.ending = Some(ending.clone()),
        }
        Ok(())
    }

    fn set(&mut self, task: &Line, standing: Standing) {
        if let Some(place) = self.ids.iter().position(|id| id == task.as_str()) {
            self.standing[place] = standing;
        }
    }

    fn done(&mut self, task: &Line, outcome: &Outcome) {
        let script = self.script.clone();
        let tasks = script.tasks();
        if let Some(found) = tasks.iter().find(|found| found.id == task.as_str()) {
            let names = found.leaves();
            match outcome {
                Outcome::Recorded { values } => self.values.extend(values.clone()),
                Outcome::Attached { sha256: value, .. } | Outcome::Decided { choice: value } => {
                    self.values.extend(names.into_iter().map(|name| (name.clone(), value.clone())));
                }
                Outcome::Ran { .. } => {
                    let made = found.action().and_then(|action| action.makes_profile(&self.values).ok().flatten());
                    self.profile = made.or(self.profile.take());
                }
                Outcome::Confirmed {} | Outcome::Verified { .. } => {}
            }
        }
        self.set(task, Standing::Done(outcome.clone()));
    }

    fn may_enrol(&self, new: &Enrolled) -> Result<BTreeSet<Initials>, Refusal> {
        let same = |one: &Line, other: &Line| one.as_str().to_lowercase() == other.as_str().to_lowercase();
        if !new.key.is_well_formed() {
            return Err(separation("the participant's key is none"));
        }
        for Person { enrolled: other, .. } in &self.people {
            if other.initials == new.initials {
                return Err(separation(format!("{} signs with the initials {} already", other.name, other.initials)));
            }
            if other.key == new.key || same(&other.name, &new.name) {
                return Err(separation(format!("{} takes part already", other.name)));
            }
        }
        self.may_hold(new)?;
        self.may_complete(new)?;
        let own = BTreeSet::from([new.initials.clone()]);
        Ok(if self.assembled { own.into_iter().chain(self.present()).collect() } else { own })
    }

    /// Whether somebody may have the roles they ask for.
    fn may_hold(&self, new: &Enrolled) -> Result<(), Refusal> {
        let different: BTreeSet<&Word> = new.roles.iter().collect();
        if new.roles.is_empty() || different.len() != new.roles.len() {
            return Err(separation("a participant has one role or more, each once"));
        }
        for name in &new.roles {
            let role = self.script.role(name).ok_or_else(|| separation(format!("there is no role `{name}`")))?;
            if self.holders(name).count() >= usize::from(role.count) {
                return Err(separation(format!("the role {} has all its holders", role.title)));
            }
            if let Some(other) = new.roles.iter().find(|other| self.script.exclude(name, other)) {
                return Err(separation(format!("nobody has both roles, `{name}` and `{other}`")));
            }
            let from = |person: &Person| {
                person.enrolled.organisation.as_str().to_lowercase() == new.organisation.as_str().to_lowercase()
            };
            if role.different_organisations && self.holders(name).any(from) {
                return Err(separation(format!(
                    "the holders of the role {} are from different organisations, and {} is there already",
                    role.title, new.organisation
                )));
            }
        }
        Ok(())
    }

    /// Whether those present are from enough organisations, where whoever comes is the last who was missing after
    /// somebody left.
    fn may_complete(&self, new: &Enrolled) -> Result<(), Refusal> {
        let missing = self.missing();
        let last = missing.iter().all(|(role, count)| *count == u8::from(new.roles.contains(role)));
        if !self.assembled || !last {
            return Ok(());
        }
        self.enough(self.organisations(Some(new)))
    }

    fn enough(&self, organisations: usize) -> Result<(), Refusal> {
        if organisations < usize::from(self.script.organisations_at_least) {
            return Err(separation(format!(
                "those present are from {organisations} organisations, and the script asks for {}",
                self.script.organisations_at_least
            )));
        }
        Ok(())
    }

    fn may_assemble(&self) -> Result<BTreeSet<Initials>, Refusal> {
        if self.assembled {
            return Err(order("everybody said already that they are there"));
        }
        if let Some((role, count)) = self.missing().first() {
            return Err(order(format!("the role `{role}` lacks {count}")));
        }
        self.enough(self.organisations(None))?;
        Ok(self.present())
    }

    /// From how many organisations those present are, with whoever comes.
    fn organisations(&self, new: Option<&Enrolled>) -> usize {
        let present = self.people.iter().filter(|person| person.present).map(|person| &person.enrolled);
        let names = present.chain(new).map(|enrolled| enrolled.organisation.as_str().to_lowercase());
        names.collect::<BTreeSet<_>>().len()
    }

    /// The task of this name, if it is the one that comes next, with what became of it.
    fn turn(&self, task: &Line) -> Result<(usize, &Standing), Refusal> {
        match self.next() {
            Next::Task(place) if self.ids[place] == task.as_str() => Ok((place, &self.standing[place])),
            Next::Task(place) => Err(order(format!("the next task is `{}`, not `{task}`", self.ids[place]))),
            Next::Enrol(_) | Next::Assemble => Err(order("not everybody is there yet")),
            Next::Close | Next::Over => Err(order("no task is left")),
        }
    }

    fn demanded_at(&self, place: usize) -> BTreeSet<Initials> {
        self.script.tasks().get(place).map(|task| self.demanded(task)).unwrap_or_default()
    }

    fn may_begin(&self, task: &Line, command: &Line) -> Result<BTreeSet<Initials>, Refusal> {
        let (place, _) = self.turn(task)?;
        let tasks = self.script.tasks();
        let action = tasks[place].action().ok_or_else(|| order("this task has no command"))?;
        let words = action.words(&self.values).map_err(|error| Refusal::Outcome(error.to_string()))?;
        if command_line(&words) != *command {
            return Err(Refusal::Outcome(format!("the script's command is `{}`", command_line(&words))));
        }
        Ok(self.demanded_at(place))
    }

    fn may_fail(&self, task: &Line) -> Result<BTreeSet<Initials>, Refusal> {
        let (place, standing) = self.turn(task)?;
        match standing {
            Standing::Begun { .. } => Ok(self.demanded_at(place)),
            Standing::Open | Standing::Done(_) | Standing::Skipped => Err(order("no command was begun")),
        }
    }

    fn may_be_done(&self, task: &Line, outcome: &Outcome) -> Result<BTreeSet<Initials>, Refusal> {
        let (place, standing) = self.turn(task)?;
        let tasks = self.script.tasks();
        let begun = matches!(standing, Standing::Begun { .. });
        check_outcome(&tasks[place], outcome, &self.values, begun).map_err(Refusal::Outcome)?;
        Ok(self.demanded(&tasks[place]))
    }

    fn may_deviate(&self, what: &DeviationKind) -> Result<BTreeSet<Initials>, Refusal> {
        match what {
            DeviationKind::Noted { task } => self.turn(task).map(|_| self.acceptors()),
            // Those who should have done it, too: nobody else says for them that it is not done.
            DeviationKind::Skipped { task } => {
                let (place, _) = self.turn(task)?;
                Ok(self.acceptors().into_iter().chain(self.demanded_at(place)).collect())
            }
            DeviationKind::Left { who } => {
                let person = self.person(who).filter(|person| person.present);
                let person = person.ok_or_else(|| order(format!("{who} is not present")))?;
                if !self.assembled {
                    return Err(order("before everybody is there nobody leaves: begin anew"));
                }
                let needed = person.enrolled.roles.iter().find(|role| self.holders(role).count() < 2);
                if let Some(role) = needed {
                    return Err(separation(format!("nobody else has the role `{role}`: break off")));
                }
                // Whoever goes may be unable to sign; that they went is seen by everybody who stays.
                Ok(self.present().into_iter().filter(|initials| initials != who).collect())
            }
        }
    }

    fn may_close(&self, ending: &Ending) -> Result<BTreeSet<Initials>, Refusal> {
        match (ending, self.next()) {
            (Ending::Completed {}, Next::Close) | (Ending::Aborted { .. }, _) => self.everybody(),
            (Ending::Completed {}, _) => Err(order("not every task is done")),
        }
    }
}

/// A command as it is written down and shown.
#[must_use]
pub fn command_line(words: &[String]) -> Line {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    Line::cleaned(&format!("keyreeve {}", quoted.collect::<Vec<_>>().join(" ")))
}

/// Whether what came of a task is what it asks for.
fn check_outcome(task: &Task<'_>, outcome: &Outcome, known: &BTreeMap<Word, Line>, begun: bool) -> Result<(), String> {
    match (task.asks, outcome) {
        (Asks::Confirmation, Outcome::Confirmed {}) => Ok(()),
        (Asks::Values(fields), Outcome::Recorded { values }) => check_values(fields, values),
        (Asks::Act(Act::Command(_)), Outcome::Ran { .. }) if begun => Ok(()),
        (Asks::Act(Act::Command(_)), Outcome::Ran { .. }) => Err("its command was not begun".to_owned()),
        (Asks::Act(Act::Attach { .. }), Outcome::Attached { sha256, .. }) if is_sha256(sha256.as_str()) => Ok(()),
        (Asks::Act(Act::Verify { equals, .. }), Outcome::Verified { seen }) => match known.get(equals) {
            Some(value) if value == seen => Ok(()),
            Some(_) => Err(format!("it is not the value `{equals}` that was written down")),
            // The step that should have left the value was skipped.
            None => Err(format!("there is no value `{equals}` to compare with: skip this step, with the reason")),
        },
        (Asks::Act(Act::Decide { choices, .. }), Outcome::Decided { choice }) if choices.contains(choice) => Ok(()),
        _ => Err("this is not what the script asks for".to_owned()),
    }
}

fn check_values(fields: &[Field], values: &BTreeMap<Word, Line>) -> Result<(), String> {
    if fields.len() != values.len() {
        return Err("not every value is there, or one too many".to_owned());
    }
    for field in fields {
        let value = values.get(&field.name).ok_or_else(|| format!("the value `{}` is missing", field.name))?;
        check_value(field, value.as_str()).map_err(|what| format!("{}: {what}", field.what))?;
    }
    Ok(())
}
