//! Roles that no person has together: whoever administers escrow never administers keys (requirement T7).
//!
//! Policies forbid each what the other may do, so whoever comes by both roles, by logging in for instance, can do
//! neither. Here the second one is not given in the first place, to no principal of the same person.

use keyreeve_model::{Actor, Name, PrincipalRecord, UnixMillis};
use keyreeve_policy::shipped::APART;
use std::collections::BTreeSet;

use crate::access::AccessSnapshot;
use crate::error::{Code, Error};

fn actor(record: &PrincipalRecord) -> Actor {
    Actor::new(record.name.clone(), record.person.clone())
}

/// The roles that a person has by grants, and by records other than one.
fn other_roles(access: &AccessSnapshot, person: &Actor, except: Option<&Name>, now: UnixMillis) -> BTreeSet<Name> {
    let mut roles = BTreeSet::new();
    for held in access.principals().filter(|held| actor(&held.record).is_same_person(person)) {
        if except != Some(&held.record.name) {
            roles.extend(held.record.roles.iter().cloned());
        }
        let grants = access.grants().of(&held.record.name).iter().filter(|grant| !grant.record.is_over(now));
        roles.extend(grants.filter_map(|grant| grant.record.what.role().cloned()));
    }
    roles
}

fn refuse_both(has: impl Fn(&str) -> bool, who: &Name) -> Result<(), Error> {
    match APART.iter().find(|roles| roles.iter().all(|role| has(role))) {
        None => Ok(()),
        Some([one, other]) => {
            let text = format!(
                "`{one}` and `{other}` never go to one person, under whatever names they come: `{who}` would have both"
            );
            Err(Error::new(Code::WrongState, text))
        }
    }
}

/// Refuses a principal by which a person would have both.
pub(super) fn refuse_principal(
    access: &AccessSnapshot,
    record: &PrincipalRecord,
    now: UnixMillis,
) -> Result<(), Error> {
    let others = other_roles(access, &actor(record), Some(&record.name), now);
    refuse_both(|role| record.roles.iter().chain(&others).any(|had| had.as_str() == role), &record.name)
}

/// Refuses a role for a time that somebody must not have with what there is.
pub(super) fn refuse_role(access: &AccessSnapshot, who: &Name, role: &Name, now: UnixMillis) -> Result<(), Error> {
    let Some(held) = access.principal(who) else { return Ok(()) };
    let has = other_roles(access, &actor(&held.record), None, now);
    refuse_both(|wanted| wanted == role.as_str() || has.iter().any(|had| had.as_str() == wanted), who)
}
