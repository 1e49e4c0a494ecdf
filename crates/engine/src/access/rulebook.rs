//! The rules of approval in memory: the book that is in force, compiled.

use keyreeve_model::filed::open_filed;
use keyreeve_model::record::{RecordSealer, Revision, Table};
use keyreeve_model::rules::{RuleBook, Rules};
use keyreeve_model::{Name, UnixMillis};
use keyreeve_policy::rules::{RuleSet, RuleText, SHIPPED};
use keyreeve_store::Store;
use std::sync::Arc;

use super::Compiler;
use crate::error::Error;

/// The rule book as it was read, with its conditions compiled.
pub(crate) struct HeldRules {
    pub(crate) book: RuleBook,
    /// Of its row; none while the shipped book stands and nothing is stored.
    pub(crate) revision: Option<Revision>,
    pub(crate) set: RuleSet,
}

impl HeldRules {
    /// Reads the book, or takes the shipped one where none was put. A stored book that does not compile refuses
    /// everything, as a policy does: rules that cannot be read are no reason to ask nobody.
    pub(super) async fn load(
        store: &dyn Store,
        sealer: &dyn RecordSealer,
        compiler: &Compiler,
    ) -> Result<Arc<Self>, Error> {
        let stored = store.filed(Table::Rules, &RuleBook::current_row()).await?;
        let (book, revision) = match stored.map(|row| open_filed::<RuleBook>(sealer, &row)).transpose()? {
            Some((book, revision)) => (book, Some(revision)),
            None => (shipped()?, None),
        };
        let set = compiler.rules(&book.rules)?;
        Ok(Arc::new(Self { book, revision, set }))
    }

    /// Whether the rules are in force. Until somebody enacts them nothing waits for consent.
    pub(crate) fn are_in_force(&self) -> bool {
        self.book.enacted.is_some()
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
