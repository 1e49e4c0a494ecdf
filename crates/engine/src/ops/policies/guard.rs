//! What keeps people from locking themselves out: policies under which nobody could change policies any more, or the
//! rules of approval.

use keyreeve_model::{PrincipalKind, UnixMillis};
use keyreeve_policy::{ContextAttrs, PolicySet, PrincipalAttrs, Request, ResourceAttrs, ResourceDetails, Revision};
use std::sync::Arc;

use super::super::rules::people::{roles_by_login, with_role};
use super::super::rules::{People, refuse_lock_out};
use super::super::usable::compute;
use super::versions::Texts;
use crate::access::HeldPrincipal;
use crate::catalogue;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// Whoever is needed to change policies afterwards: one, and another when the one is ill.
const PEOPLE_NEEDED: usize = 2;

/// Compiles the wanted policies together with those that are always there, and refuses those under which fewer people
/// than [`PEOPLE_NEEDED`] could change them again, unless there are no more now. Where nobody can by what is on record
/// those count who could with a role that some way of logging in gives. Once rules of approval are in force
/// those under which nobody could change the rules are refused as well: consent to whatever it is would be lacking.
pub(super) async fn admit(
    core: &Core,
    opened: &Opened,
    wanted: &Texts,
    now: UnixMillis,
) -> Result<Arc<PolicySet>, Error> {
    let compiler = Arc::clone(&core.compiler);
    let texts: Vec<(String, String)> = wanted.iter().map(|(name, text)| (name.to_string(), text.clone())).collect();
    let access = Arc::clone(&opened.access());
    let rules = access.rules();
    let voters = if rules.are_in_force() { Some(People::now(core, opened).await?) } else { None };
    let work = move || {
        let draft = Arc::new(compiler.compile(texts)?);
        let mut people: Vec<Arc<HeldPrincipal>> = access.principals().filter(|held| is_able(held)).cloned().collect();
        // Those with roles first: among them are the two, and then nobody else need be asked about.
        people.sort_by_key(|held| std::cmp::Reverse(held.record.roles.len()));
        let able = |set: &PolicySet| {
            people.iter().filter(|held| may_change(set, &held.attrs, now)).take(PEOPLE_NEEDED).count()
        };
        let by_login = |set: &PolicySet| {
            let could = |held: &&Arc<HeldPrincipal>| {
                let roles = roles_by_login(access.logins(), &held.record.name);
                roles.iter().any(|role| may_change(set, &with_role(&held.attrs, role), now))
            };
            people.iter().filter(could).take(PEOPLE_NEEDED).count()
        };
        let present = access.policies().cache.policies();
        let (mut after, mut before) = (able(&draft), able(present));
        if before == 0 {
            (after, before) = (after.max(by_login(&draft)), by_login(present));
        }
        if after < PEOPLE_NEEDED && after < before {
            let text = format!(
                "this would lock people out: afterwards {} could change policies, and there must stay \
                 {PEOPLE_NEEDED} people who can; nothing was changed",
                if after == 0 { "nobody".to_owned() } else { format!("only {after}") }
            );
            return Err(Error::new(Code::InvalidPolicy, text));
        }
        if let Some(voters) = voters {
            refuse_lock_out(&rules.book.rules, &voters, &voters.under(Arc::clone(&draft)))?;
        }
        Ok(draft)
    };
    compute(true, work).await?
}

fn is_able(held: &HeldPrincipal) -> bool {
    held.record.kind == PrincipalKind::Person && !held.record.disabled
}

/// Whether a person who has just shown a second factor, from one of its networks, could both apply a set of policies
/// and put a single one.
fn may_change(set: &PolicySet, attrs: &PrincipalAttrs, now: UnixMillis) -> bool {
    let source = attrs.networks.first().map(|network| network.address());
    let context = ContextAttrs::assumed(source, now.0);
    let policy = ResourceAttrs { id: "any".to_owned(), revision: Revision::Unstored, details: ResourceDetails::Policy };
    let asked = [(&catalogue::POLICY_APPLY, &ResourceAttrs::system()), (&catalogue::POLICY_PUT, &policy)];
    asked.into_iter().all(|(action, resource)| {
        let request = Request { principal: attrs, action: action.name, resource, context: &context };
        set.decide(&request).allowed
    })
}
