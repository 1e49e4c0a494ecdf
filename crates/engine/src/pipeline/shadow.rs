//! What a draft on trial would have decided about a call. It is asked the questions that were put to the policies, with
//! the same grants and emergencies, and whatever it says changes nothing.
//!
//! What an operation asks while it runs, as to whether its caller may also see something, is not put to it.

use keyreeve_model::{RecordId, UnixMillis};
use keyreeve_policy::{ContextAttrs, Decision, DecisionCache, Method};
use std::sync::Arc;

use super::authorize::{Question, granted};
use crate::access::{AccessSnapshot, Compared, Granting, HeldDraft, Would};
use crate::catalogue::Descriptor;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// A call that was put to a draft, until it is known how it ended.
pub(super) struct Shadow {
    draft: Arc<HeldDraft>,
    allowed: bool,
    would: Would,
}

impl Shadow {
    /// Asks the draft, if it can be asked. Without a decision there is nothing to compare with.
    pub(super) fn of(
        (core, opened, access): (&Core, &Opened, &AccessSnapshot),
        draft: &Arc<HeldDraft>,
        decided: Result<(), &Error>,
        questions: &[&Question<'_>],
        now: UnixMillis,
    ) -> Option<Self> {
        let allowed = match decided.map_err(Error::code) {
            Ok(()) => true,
            Err(Code::Denied | Code::MfaNeeded | Code::Unauthenticated) => false,
            Err(_) => return None,
        };
        let trial = draft.trial()?;
        let emergencies = questions.len() == 1;
        let mut would = Would::Allow;
        for question in questions {
            would = match answer((core, opened, access), trial, question, emergencies, now) {
                Would::Error => Would::Error,
                Would::Deny if would == Would::Allow => Would::Deny,
                Would::Deny | Would::Allow => would,
            };
        }
        Some(Self { draft: Arc::clone(draft), allowed, would })
    }

    /// The word for the audit record, where the draft would have decided otherwise.
    pub(super) fn difference(&self) -> Option<&'static str> {
        self.would.differs_from(self.allowed).then(|| self.would.name())
    }

    /// Counts the call, which is over.
    pub(super) fn count(&self, action: &'static Descriptor, principal: &str, at: UnixMillis, record: Option<RecordId>) {
        let Self { allowed, would, .. } = *self;
        self.draft.count(&Compared { principal, action: action.name, allowed, would, at, record });
    }
}

fn answer(
    (core, opened, access): (&Core, &Opened, &AccessSnapshot),
    trial: &DecisionCache,
    question: &Question<'_>,
    emergencies: bool,
    now: UnixMillis,
) -> Would {
    let request = question.request(&question.context);
    let decision = trial.decide(&request);
    if let Some(plain) = plainly(&decision) {
        return plain;
    }
    if question.principal.method != Method::Anonymous
        && let Granting::Yes(_) = granted(access, &decision, &question.principal.name, &request)
    {
        return Would::Allow;
    }
    let Some(key) = question.resource.key().filter(|_| emergencies) else { return Would::Deny };
    let Ok(Some(_)) = core.covering(opened, question.principal, question.action, key, now) else {
        return Would::Deny;
    };
    let context = ContextAttrs { emergency: true, ..question.context };
    let decision = trial.decide(&question.request(&context));
    match plainly(&decision) {
        Some(plain) => plain,
        None if decision.denied_by.is_empty() => Would::Allow,
        None => Would::Deny,
    }
}

/// What a decision says by itself; a refusal may be overcome by other rights.
fn plainly(decision: &Decision) -> Option<Would> {
    if !decision.errors.is_empty() {
        return Some(Would::Error);
    }
    decision.allowed.then_some(Would::Allow)
}
