//! The rules of approval in memory: the book that is in force, compiled.

use keyreeve_model::record::{Revision, Table};
use keyreeve_model::rules::{RuleBook, Rules};
use keyreeve_model::{Name, UnixMillis};
use keyreeve_policy::rules::{RuleSet, RuleText, SHIPPED};
use std::sync::Arc;

use super::Compiler;
use crate::error::Error;
use crate::integrity::Source;

/// The rule book as it was read, with its conditions compiled.
pub(crate) struct HeldRules {
    pub(crate) book: RuleBook,
    /// Of its row; none while the shipped book stands and nothing is stored.
    pub(crate) revision: Option<Revision>,
    pub(crate) set: RuleSet,
    /// The stored book is damaged, so nobody knows what it asks for: until it is released nothing is done that any rule
    /// could be about. The shipped rules are in force for its release.
    pub(crate) in_doubt: bool,
}

impl HeldRules {
    /// Reads the book, or takes the shipped one where none was put. A stored book that does not compile refuses
    /// everything, as a policy does: rules that cannot be read are no reason to ask nobody.
    pub(super) async fn load(source: Source<'_>, compiler: &Compiler) -> Result<Arc<Self>, Error> {
        let stored = source.store.filed(Table::Rules, &RuleBook::current_row()).await?;
        let there = stored.as_ref().map(|row| row.record.revision);
        let sound = stored.map(|row| source.sound_filed::<RuleBook>(&row)).transpose()?;
        let in_doubt = matches!(sound, Some(None));
        let book = match sound.flatten() {
            Some((book, _)) => book,
            None => shipped()?,
        };
        let set = compiler.rules(&book.rules)?;
        Ok(Arc::new(Self { book, revision: there, set, in_doubt }))
    }

    /// Whether the rules are in force. Until somebody enacts them nothing waits for consent.
    pub(crate) fn are_in_force(&self) -> bool {
        self.in_doubt || self.book.enacted.is_some()
    }
}

/// The rules that this version ships.
pub(crate) fn shipped_rules() -> Result<Rules, Error> {
    Rules::parse(SHIPPED).map_err(Error::internal)
}

/// The book that stands until another is put.
fn shipped() -> Result<RuleBook, Error> {
    let nobody: Name = "system".parse().map_err(Error::internal)?;
    let rules = shipped_rules()?;
    Ok(RuleBook {
        version: 0,
        current: true,
        rules,
        enacted: None,
        updated: UnixMillis(0),
        updated_by: nobody,
        approval: None,
    })
}

impl Compiler {
    /// Compiles the conditions of rules against the catalogue.
    pub(crate) fn rules(&self, rules: &Rules) -> Result<RuleSet, Error> {
        let operations: Vec<Vec<&str>> =
            rules.iter().map(|rule| rule.operations.iter().map(Name::as_str).collect()).collect();
        let texts = rules.iter().zip(&operations).map(|(rule, operations)| RuleText {
            name: rule.name.as_str(),
            operations,
            when: rule.when.as_deref(),
        });
        RuleSet::compile(self.schema(), texts).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::invalid(lines.join("\n"))
        })
    }
}
