//! What a script says and cannot mean, and what it should say: found before anybody travels to a ceremony.

use std::collections::BTreeSet;

use crate::script::{Act, Asks, Field, HOLDERS_MAX, Script, TaskKind};
use crate::word::Word;

/// Something found in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the script cannot be followed as it is; else it is advice.
    pub wrong: bool,
    /// Where: a step, a role.
    pub place: String,
    /// What.
    pub what: String,
}

/// Looks at a script as a whole.
#[must_use]
pub fn lint(script: &Script) -> Vec<Finding> {
    let mut look = Look { findings: Vec::new() };
    look.roles(script);
    look.separation(script);
    look.tasks(script);
    look.values(script);
    look.advice(script);
    look.findings
}

struct Look {
    findings: Vec<Finding>,
}

impl Look {
    fn wrong(&mut self, place: impl ToString, what: impl Into<String>) {
        self.findings.push(Finding { wrong: true, place: place.to_string(), what: what.into() });
    }

    fn advise(&mut self, place: impl ToString, what: impl Into<String>) {
        self.findings.push(Finding { wrong: false, place: place.to_string(), what: what.into() });
    }

    fn roles(&mut self, script: &Script) {
        let mut seen = BTreeSet::new();
        if script.roles.is_empty() {
            self.wrong("roles", "nobody takes part");
        }
        for role in &script.roles {
            if !seen.insert(&role.name) {
                self.wrong(&role.name, "this role is there twice");
            }
            if role.count == 0 || role.count > HOLDERS_MAX {
                self.wrong(&role.name, format!("a role has 1 to {HOLDERS_MAX} holders"));
            }
            for other in &role.may_not_be_same_person_as {
                if *other == role.name {
                    self.wrong(&role.name, "it excludes itself; its holders are different people anyway");
                } else if script.role(other).is_none() {
                    self.wrong(&role.name, format!("there is no role `{other}` that it could exclude"));
                }
            }
        }
        for role in &script.deviations_accepted_by {
            if script.role(role).is_none() {
                self.wrong("deviations_accepted_by", format!("there is no role `{role}`"));
            }
        }
    }

    fn separation(&mut self, script: &Script) {
        let people: u32 = script.roles.iter().map(|role| u32::from(role.count)).sum();
        if u32::from(script.organisations_at_least) > people {
            self.wrong("organisations_at_least", format!("{people} people cannot be from so many organisations"));
        }
        if script.organisations_at_least == 0 {
            self.wrong("organisations_at_least", "it is at least 1");
        }
    }

    fn tasks(&mut self, script: &Script) {
        let (mut seen, tasks) = (BTreeSet::new(), script.tasks());
        if script.steps.is_empty() {
            self.wrong("steps", "there is nothing to do");
        }
        for task in &tasks {
            if !seen.insert(task.id.clone()) {
                self.wrong(&task.id, "this name is there twice");
            }
            if task.by.is_empty() {
                self.wrong(&task.id, "nobody does it: name roles in `by`");
            }
            for role in task.roles().filter(|role| script.role(role).is_none()) {
                self.wrong(&task.id, format!("there is no role `{role}`"));
            }
            if let Asks::Values([]) = task.asks {
                self.wrong(&task.id, "there is nothing to write down: name `fields`");
            }
            if let Asks::Act(Act::Decide { choices, .. }) = task.asks {
                let different: BTreeSet<_> = choices.iter().collect();
                if choices.len() < 2 || different.len() != choices.len() {
                    self.wrong(&task.id, "a decision is between two or more different choices");
                }
            }
            if task.action().is_some_and(|action| action.needs_server()) && !script.server {
                self.wrong(&task.id, "its command needs a server: write `server = true`");
            }
        }
    }

    /// Every name is given before it is used, and once.
    fn values(&mut self, script: &Script) {
        let mut known: BTreeSet<&Word> = BTreeSet::new();
        let tasks = script.tasks();
        for task in &tasks {
            if let Asks::Act(Act::Verify { equals, .. }) = task.asks
                && !known.contains(equals)
            {
                self.wrong(&task.id, format!("the value `{equals}` is not written down before"));
            }
            for argument in task.action().map(|action| action.arguments()).unwrap_or_default() {
                match argument.names() {
                    Err(error) => self.wrong(&task.id, error.to_string()),
                    Ok(names) => {
                        for name in names.iter().filter(|name| !known.contains(name)) {
                            self.wrong(&task.id, format!("the value `{name}` is not written down before"));
                        }
                    }
                }
            }
            for name in task.leaves() {
                if !known.insert(name) {
                    self.wrong(&task.id, format!("the value `{name}` is written down twice"));
                }
            }
        }
    }

    fn advice(&mut self, script: &Script) {
        let people: u32 = script.roles.iter().map(|role| u32::from(role.count)).sum();
        if people < 2 {
            self.advise("roles", "nobody watches: let at least two people take part");
        }
        if script.roles.len() < 2 && script.organisations_at_least < 2 {
            self.advise("roles", "participants should be from different roles or organisations");
        }
        if script.before.is_empty() {
            self.advise("before", "there is no checklist for what is seen to before the ceremony");
        }
        if script.abort_if.is_empty() {
            self.advise("abort_if", "it does not say when the ceremony is broken off");
        }
        for task in script.tasks().iter().filter(|task| task.kind == TaskKind::Step) {
            let single = |role: &&Word| script.role(role).map_or(0, |role| role.count);
            let signers: u32 = task.roles().collect::<BTreeSet<_>>().iter().map(|role| u32::from(single(role))).sum();
            if signers < 2 {
                self.advise(&task.id, "one person alone does it: name `witnesses`");
            }
        }
        let recording = script.steps.iter().any(|step| matches!(step.act, Act::Attach { .. }));
        if !recording {
            self.advise("steps", "nothing is attached: a recording is attached by its hash");
        }
    }
}

/// Whether a value has the form that a field asks for.
///
/// # Errors
/// What it should look like.
pub fn check_value(field: &Field, value: &str) -> Result<(), String> {
    use crate::script::ValueForm;
    match field.form {
        ValueForm::Text | ValueForm::SerialNumber | ValueForm::SealNumber => Ok(()),
        ValueForm::Time => match keyreeve_model::UnixMillis::parse_rfc3339(value) {
            Some(_) => Ok(()),
            None => Err("an instant is written as 2026-11-22T09:00:00Z".to_owned()),
        },
        ValueForm::Sha256 if is_sha256(value) => Ok(()),
        ValueForm::Sha256 => Err("a SHA-256 has 64 digits from 0 to 9 and a to f".to_owned()),
    }
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
