//! The rules of approval: showing, checking and replacing them, and bringing them into force.

use keyreeve_crypto::digest::sha256;
use keyreeve_model::approval::Shown;
use keyreeve_model::approval::feasible::Unsatisfiable;
use keyreeve_model::filed::file;
use keyreeve_model::record::Revision;
use keyreeve_model::rules::{Enacted, RuleBook, Rules};
use keyreeve_model::{Facts, NoticeKind};
use keyreeve_policy::misleading;
use std::collections::{BTreeMap, BTreeSet};

mod guard;
mod lints;
pub(super) mod people;

pub(crate) use guard::refuse_lock_out;
pub use lints::Lint;
pub(crate) use people::{People, Voters};

use super::forms::{TextForm, can_wait, written};
use super::policies::shown_difference;
use super::usable::compute;
use crate::access::{HeldRules, Stale};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Aftermath, Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// The rule book as it stands.
#[derive(Clone, Debug)]
pub struct RulesReply {
    /// The book.
    pub book: RuleBook,
    /// Rules that nobody could satisfy, in words; where they were just enacted, what else should be seen to.
    pub problems: Vec<String>,
}

impl Remember for RulesReply {}

/// Shows the rules.
#[derive(Debug)]
pub struct Describe;

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::RULES_DESCRIBE;
    type Reply = RulesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<RulesReply>, Error> {
        let opened = core.need_open()?;
        let book = opened.access().rules().book.clone();
        let problems = core.unsatisfiable(&opened, &book.rules).await?;
        Ok(Outcome::reply(RulesReply { book, problems: texts(&problems) }))
    }
}

/// What would be the matter with a rule book.
#[derive(Clone, Debug)]
pub struct CheckReply {
    /// Rules that nobody could satisfy now, in words; a text that is no rule book is refused instead.
    pub problems: Vec<String>,
    /// What is probably not meant: ways around the rules.
    pub lints: Vec<Lint>,
}

impl Remember for CheckReply {}

/// Looks whether rules could be put.
#[derive(Debug)]
pub struct Check {
    /// The rules, in TOML.
    pub text: String,
}

impl Operation for Check {
    const DESCRIPTOR: &'static Descriptor = &catalogue::RULES_CHECK;
    type Reply = CheckReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<CheckReply>, Error> {
        let rules = core.read_rules(&self.text)?;
        let (set, people) = (core.compiler.rules(&rules)?, People::now(core, &*core.need_open()?).await?);
        let look = move || CheckReply {
            problems: texts(&people.unsatisfiable(&rules, Voters::WithFactor)),
            lints: lints::lints(&rules, &set, &people),
        };
        let reply = compute(true, look).await?;
        let (problems, remarks) = (reply.problems.len(), reply.lints.len());
        Ok(Outcome::reply(reply).detail("problems", problems).detail("remarks", remarks))
    }
}

/// Replaces the rules.
#[derive(Debug)]
pub struct Put {
    /// The rules, in TOML.
    pub text: String,
}

impl Operation for Put {
    const DESCRIPTOR: &'static Descriptor = &catalogue::RULES_PUT;
    type Reply = RulesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&TextForm { text: self.text.clone() })
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let book = |text: String| BTreeMap::from([("rules".to_owned(), text)]);
        let standing = core.need_open()?.access().rules().book.rules.to_toml();
        Ok(shown_difference(&book(standing), &book(core.read_rules(&self.text)?.to_toml())))
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        Ok(Some(core.need_open()?.access().rules().revision.map_or(0, |revision| revision.0)))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<RulesReply>, Error> {
        let opened = core.need_open()?;
        let rules = core.read_rules(&self.text)?;
        let held = opened.access().rules();
        let problems = core.unsatisfiable(&opened, &rules).await?;
        if held.are_in_force() && !problems.is_empty() {
            return Err(nobody_could(&problems, "nobody could satisfy these rules"));
        }
        let book = RuleBook {
            version: held.book.version + 1,
            rules,
            updated: approved.now(),
            updated_by: approved.principal().name.clone(),
            approval: approved.approval(),
            ..held.book.clone()
        };
        let outcome = replacing(&opened, &held, &book);
        let digest = hex::encode(sha256(self.text.as_bytes()));
        let outcome = outcome.detail("version", book.version).detail("sha256", digest);
        Ok(outcome.with_reply(RulesReply { book, problems: texts(&problems) }))
    }
}

/// Brings the rules into force.
#[derive(Debug)]
pub struct Enact;

impl Operation for Enact {
    const DESCRIPTOR: &'static Descriptor = &catalogue::GOVERNANCE_ENACT;
    type Reply = RulesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<RulesReply>, Error> {
        if core.settings.development {
            let text = "in development mode one person does everything: rules of approval are not brought into force";
            return Err(Error::new(Code::WrongState, text));
        }
        let opened = core.need_open()?;
        let held = opened.access().rules();
        if held.are_in_force() {
            return Err(Error::new(Code::AlreadyDone, "the rules of approval are in force already"));
        }
        let problems = core.unsatisfiable(&opened, &held.book.rules).await?;
        if !problems.is_empty() {
            return Err(nobody_could(&problems, "the rules cannot be satisfied by the people there are"));
        }
        let enacted = Enacted { at: approved.now(), by: approved.principal().name.clone() };
        let book = RuleBook { enacted: Some(enacted), ..held.book.clone() };
        let outcome = replacing(&opened, &held, &book).detail("version", book.version);
        let unread = lints::unread(&People::now(core, &opened).await?).map(|lint| lint.text);
        Ok(outcome.with_reply(RulesReply { book, problems: unread.into_iter().collect() }))
    }
}

/// Rules that nobody could satisfy, in words.
fn texts(problems: &[Unsatisfiable]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The refusal of what would leave rules that nobody could satisfy. The audit record names the rules.
fn nobody_could(problems: &[Unsatisfiable], what: &str) -> Error {
    let text = format!(
        "{what}: {}; for each rule there must be somebody who may ask, and others for the seats who have a second \
         factor and whom policies let vote; nothing was changed",
        texts(problems).join("; ")
    );
    Error::new(Code::Unsatisfiable, text).leading_to(aftermath_of(problems))
}

fn aftermath_of(problems: &[Unsatisfiable]) -> Aftermath {
    let details = BTreeMap::from([("unsatisfiable".to_owned(), rules_of(problems))]);
    Aftermath { details, changes: Vec::new() }
}

/// The rules by name, for audit records.
fn rules_of(problems: &[Unsatisfiable]) -> String {
    let rules: BTreeSet<&str> = problems.iter().flat_map(|problem| &problem.rules).map(|rule| rule.as_str()).collect();
    rules.into_iter().collect::<Vec<_>>().join(" ")
}

/// The changes that put a book in the place of another. A version that is replaced by another stays readable.
fn replacing(opened: &Opened, held: &HeldRules, book: &RuleBook) -> Outcome<()> {
    let revision = held.revision.map_or(Revision::FIRST, Revision::next);
    let facts = Facts::default().with("version", book.version).with("in_force", book.enacted.is_some());
    let subject = match (held.are_in_force(), book.enacted.is_some()) {
        (false, true) => "the rules of approval came into force",
        _ => "the rules of approval were replaced",
    };
    let outcome = Outcome::reply(())
        .changing(file(&opened.keys, revision, book))
        .telling(NoticeKind::GovernanceChanged, subject, facts)
        .then(Effect::Reload(Stale::rules()));
    if held.revision.is_none() || book.version == held.book.version {
        return outcome;
    }
    let former = RuleBook { current: false, ..held.book.clone() };
    outcome.changing(file(&opened.keys, Revision::FIRST, &former))
}

impl Core {
    /// Reads rules, and compiles them against the catalogue.
    fn read_rules(&self, text: &str) -> Result<Rules, Error> {
        if let Some(found) = misleading(text) {
            return Err(Error::invalid(format!("the rules: {found}")));
        }
        let rules = Rules::parse(text).map_err(|problem| Error::invalid(problem.to_string()))?;
        // TOML has other ways to write a character.
        for rule in rules.iter() {
            if let Some(found) = rule.when.as_deref().and_then(misleading) {
                return Err(Error::invalid(format!("rule `{}`: `when`: {found}", rule.name)));
            }
        }
        self.compiler.rules(&rules)?;
        for rule in rules.iter().filter(|rule| rule.ways.iter().any(|way| !way.seats.is_empty())) {
            if let Some(operation) = rule.operations.iter().find(|operation| !can_wait(operation.as_str())) {
                let text = format!("rule `{}`: `{operation}` cannot wait for consent: leave it out", rule.name);
                return Err(Error::invalid(text));
            }
        }
        Ok(rules)
    }

    /// The rules that nobody could satisfy: people who are let in, whom policies let ask, and whom they let vote with
    /// the second factor that they have.
    async fn unsatisfiable(&self, opened: &Opened, rules: &Rules) -> Result<Vec<Unsatisfiable>, Error> {
        let (people, rules) = (People::now(self, opened).await?, rules.clone());
        compute(true, move || people.unsatisfiable(&rules, Voters::WithFactor)).await
    }
}
