//! What rules of approval demand afterwards of something that one person may do at once: an incident in the same
//! transaction, and that a second person confirms it (decision 2 of the requirements).

use keyreeve_model::rules::Requirement;

use super::approve::Approved;
use super::operation::Operation;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::ops::incidents::Hurried;
use crate::sealing::Opened;

/// Adds to an approved operation what its rules demand afterwards.
pub(super) async fn aftermath<O: Operation>(
    core: &Core,
    opened: &Opened,
    requirement: &Requirement,
    approved: &mut Approved<O>,
    operation: &O,
) -> Result<(), Error> {
    if !requirement.opens_incident && requirement.confirm.is_empty() {
        return Ok(());
    }
    let Some(key) = approved.resource().key().map(|key| key.record.id()) else {
        let text = "a rule of approval wants an incident about a key, and this operation is about none: mend the rule";
        return Err(Error::new(Code::WrongState, text));
    };
    let hurried = Hurried {
        operation: O::DESCRIPTOR,
        key,
        by: core.actor_of(approved.principal())?,
        reason: operation.reason().cloned().unwrap_or_default(),
        confirm: &requirement.confirm,
    };
    let mut incident = core.hurried(opened, &hurried, approved.record(), approved.now()).await?;
    approved.consent.changes.append(&mut incident.changes);
    approved.consent.details.append(&mut incident.details);
    approved.consent.effects.append(&mut incident.effects);
    Ok(())
}
