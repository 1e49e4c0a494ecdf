//! What becomes of the rules when somebody's rights are taken away: that is refused where nobody would be left who
//! could change them, and whoever does it is told of rules that nobody could satisfy any more.

use keyreeve_model::approval::feasible::Unsatisfiable;
use keyreeve_model::rules::Rules;
use keyreeve_model::{Name, PrincipalRecord};

use super::people::{People, Voters};
use super::{aftermath_of, rules_of, texts};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::ops::usable::compute;
use crate::pipeline::Outcome;
use crate::sealing::Opened;

/// Rules that nobody could satisfy any more.
#[derive(Default)]
pub(crate) struct Lost(Vec<Unsatisfiable>);

impl Lost {
    /// What people are told of it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let told = |text: String| format!("nobody could satisfy this any more: {text}");
        texts(&self.0).into_iter().map(told).collect()
    }

    /// The outcome with the rules in its audit record.
    pub(crate) fn told_in<R>(&self, outcome: Outcome<R>) -> Outcome<R> {
        if self.0.is_empty() { outcome } else { outcome.detail("unsatisfiable", rules_of(&self.0)) }
    }
}

/// Whether somebody has less afterwards of what counts for rules: being let in, roles, being who they are.
fn narrows(known: &PrincipalRecord, next: Option<&PrincipalRecord>) -> bool {
    let Some(next) = next else { return !known.disabled };
    !known.disabled
        && (next.disabled
            || !known.roles.is_subset(&next.roles)
            || known.kind != next.kind
            || known.identity() != next.identity()
            || known.labels != next.labels)
}

impl Core {
    /// What the rules in force lose when a principal becomes what this record says, or goes.
    ///
    /// # Errors
    /// [`Code::Unsatisfiable`] where nobody could change the rules any more, who could before.
    pub(crate) async fn rules_without(
        &self,
        opened: &Opened,
        name: &Name,
        next: Option<&PrincipalRecord>,
    ) -> Result<Lost, Error> {
        let access = opened.access();
        let (held, known) = (access.rules(), access.principal(name));
        if !held.are_in_force() || !known.is_some_and(|known| narrows(&known.record, next)) {
            return Ok(Lost::default());
        }
        let before = People::now(self, opened).await?;
        let after = before.with(name, next)?;
        let rules = held.book.rules.clone();
        compute(true, move || lost(&rules, &before, &after)).await?
    }
}

/// Refuses what leaves nobody who could change the rules, where there was somebody.
///
/// # Errors
/// [`Code::Unsatisfiable`].
pub(crate) fn refuse_lock_out(rules: &Rules, before: &People, after: &People) -> Result<(), Error> {
    for voters in [Voters::WithFactor, Voters::All] {
        let Some(locked) = after.locked(rules, voters) else { continue };
        if before.locked(rules, voters).is_some() {
            continue;
        }
        let text = format!(
            "this would lock people out: nobody could change the rules of approval any more ({locked}): see first that \
             somebody else can, who has a second factor; nothing was changed"
        );
        return Err(Error::new(Code::Unsatisfiable, text).leading_to(aftermath_of(&[locked])));
    }
    Ok(())
}

fn lost(rules: &Rules, before: &People, after: &People) -> Result<Lost, Error> {
    refuse_lock_out(rules, before, after)?;
    let mut lost = after.unsatisfiable(rules, Voters::WithFactor);
    if !lost.is_empty() {
        let known = before.unsatisfiable(rules, Voters::WithFactor);
        lost.retain(|found| !known.iter().any(|other| other.rules == found.rules));
    }
    Ok(Lost(lost))
}
