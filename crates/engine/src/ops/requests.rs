//! Requests that never became another operation: what cannot be read, is too large, has no route. They are refused, and
//! that goes on record, whoever asked.

use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::pipeline::{Approved, Operation, Outcome, Target};

/// What a protocol saw of a request, in words of its own: nothing the caller wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The method's name; empty where the request could not be read so far.
    pub method: &'static str,
    /// The route as the protocol's table has it, with `{parameters}`; none where there is no such route.
    pub route: Option<String>,
}

/// Puts refusals on record that a protocol decided before there was an operation. Anybody may be refused.
#[derive(Debug)]
pub struct Refuse {
    code: &'static str,
    seen: Option<Seen>,
    count: u32,
}

impl Refuse {
    /// One refusal with the stable code of its answer.
    #[must_use]
    pub fn one(code: &'static str, seen: Seen) -> Self {
        Self { code, seen: Some(seen), count: 1 }
    }

    /// Several refusals with the same code that were counted before.
    #[must_use]
    pub fn several(code: &'static str, count: u32) -> Self {
        Self { code, seen: None, count }
    }
}

impl Operation for Refuse {
    const DESCRIPTOR: &'static Descriptor = &catalogue::REQUEST_REFUSE;
    const OF_STRANGERS: bool = true;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn items(&self) -> usize {
        self.count as usize
    }

    async fn execute(&self, _approved: &Approved<Self>, _core: &Core) -> Result<Outcome<()>, Error> {
        let outcome = Outcome::reply(()).refusing(self.code);
        Ok(match &self.seen {
            None => outcome.detail("summary", "true"),
            Some(seen) => {
                let outcome = outcome.detail("route", seen.route.as_deref().unwrap_or("none"));
                if seen.method.is_empty() { outcome } else { outcome.detail("method", seen.method) }
            }
        })
    }
}
