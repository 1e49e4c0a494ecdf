//! A floor under the rules of approval: what needs the consent of so many people whatever the rules say.

use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation};

/// Refuses unless enough people besides whoever asks consented: what no rule asks them about is what nobody thought of.
/// `what` says what needs it, `see` where it is told.
pub(super) fn refuse_without<O: Operation>(
    approved: &Approved<O>,
    count: usize,
    what: &str,
    see: &str,
) -> Result<(), Error> {
    if approved.consents() >= count {
        return Ok(());
    }
    let text = format!(
        "{what} only with the consent of {count} people besides who asks, and no rule of approval in force asks for \
         it: see `keyreeve rules show` and docs/operations.md ({see})"
    );
    Err(Error::new(Code::OtherPersonNeeded, text))
}
