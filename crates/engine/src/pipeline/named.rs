//! What a kind of thing and a text name: for questions about requests that are not being made, such as why somebody
//! may do something, and what a draft of the policies would have said.

use keyreeve_model::ids::{ApprovalId, GrantId};
use keyreeve_model::{KeyId, KeyringId, Name, TokenId, UnixMillis};
use keyreeve_policy::ResourceKind;
use std::collections::BTreeSet;

use super::resource::{CaseKind, CaseRef, Resource, Target, resolve};
use crate::core::Core;
use crate::error::Error;
use crate::keys::{KeyRef, KeyringRef};
use crate::ops::grants::Wanted;

/// Finds what a text names, of a kind: an id, or a name where things of that kind have one. What is to be made is named
/// as audit records name it: a token by its principal, a grant by its principal and what it is on.
pub(crate) async fn resolve_named(
    core: &Core,
    kind: ResourceKind,
    text: &str,
    now: UnixMillis,
) -> Result<Resource, Error> {
    let name = || text.parse::<Name>().map_err(Error::from);
    match kind {
        ResourceKind::System => resolve(core, Target::System, now).await,
        ResourceKind::Audit => resolve(core, Target::Audit, now).await,
        ResourceKind::Key => resolve(core, Target::Key(&text.parse::<KeyRef>()?), now).await,
        ResourceKind::Keyring => resolve(core, Target::Keyring(&text.parse::<KeyringRef>()?), now).await,
        ResourceKind::Token => match text.parse::<TokenId>() {
            Ok(id) => resolve(core, Target::Token(id), now).await,
            Err(_) => resolve(core, Target::NewToken(&name()?), now).await,
        },
        ResourceKind::Policy => resolve(core, Target::Policy(&name()?), now).await,
        ResourceKind::Principal => resolve(core, Target::Principal(&name()?), now).await,
        ResourceKind::Login => resolve(core, Target::Login(&name()?), now).await,
        ResourceKind::Case => resolve(core, Target::Case(case(text)?), now).await,
        ResourceKind::Grant => match text.parse::<GrantId>() {
            Ok(id) => resolve(core, Target::Grant(id), now).await,
            Err(_) => {
                let (principal, wanted) = new_grant(text)?;
                resolve(core, Target::NewGrant(&principal, &wanted), now).await
            }
        },
        ResourceKind::Approval => {
            let id = text.parse::<ApprovalId>();
            let id = id.map_err(|_| Error::invalid("an approval is named by its id, as apr_…"))?;
            resolve(core, Target::Approval(id), now).await
        }
    }
}

/// A case by its id; by its kind those in general.
fn case(text: &str) -> Result<CaseRef, Error> {
    if let Ok(id) = text.parse() {
        return Ok(CaseRef::Incident(id));
    }
    if let Ok(id) = text.parse() {
        return Ok(CaseRef::Hold(id));
    }
    if let Ok(id) = text.parse() {
        return Ok(CaseRef::Emergency(id));
    }
    if let Ok(id) = text.parse() {
        return Ok(CaseRef::Review(id));
    }
    let kind = CaseKind::ALL.into_iter().find(|kind| kind.name() == text);
    let text = "a case is named by its id, as inc_…, or by its kind: incident, hold, emergency, review";
    kind.map(CaseRef::All).ok_or_else(|| Error::invalid(text))
}

/// A grant to be made, as its record names it: `PRINCIPAL:KEY`, `PRINCIPAL:KEYRING` by their ids, `PRINCIPAL:ROLE`.
fn new_grant(text: &str) -> Result<(Name, Wanted), Error> {
    let unclear = || Error::invalid("a grant is named by its id, as grt_…");
    let (principal, on) = text.rsplit_once(':').ok_or_else(unclear)?;
    let principal: Name = principal.parse()?;
    if let Ok(id) = on.parse::<KeyId>() {
        return Ok((principal, Wanted::Key { key: KeyRef::Id(id), operations: BTreeSet::new() }));
    }
    if let Ok(id) = on.parse::<KeyringId>() {
        return Ok((principal, Wanted::Keyring { keyring: KeyringRef::Id(id), operations: BTreeSet::new() }));
    }
    // Names may have colons: then there is no telling where the role begins.
    if principal.as_str().contains(':') {
        return Err(unclear());
    }
    Ok((principal, Wanted::Role { role: on.parse()? }))
}
