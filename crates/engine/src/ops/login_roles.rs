//! Roles that logins give: no record of a principal has them, and who gets them is decided elsewhere.

use keyreeve_model::Name;
use keyreeve_model::login::PrincipalRule;
use std::collections::BTreeSet;

use super::access_report::{Finding, FindingKind};
use crate::access::AccessSnapshot;

/// What a binding of a login method gives.
pub(super) struct Given {
    /// The method.
    pub(super) method: Name,
    binding: Name,
    /// To whom, where the binding says so.
    whom: Option<Name>,
    roles: BTreeSet<Name>,
}

/// Everything that logins give, by method.
fn given(access: &AccessSnapshot) -> Vec<Given> {
    let mut all = Vec::new();
    for held in access.logins().all() {
        let method = &held.record;
        for binding in method.bindings.iter().filter(|_| !method.disabled) {
            let roles: BTreeSet<Name> = binding.roles.iter().chain(binding.role_from_group.values()).cloned().collect();
            let whom = match &binding.principal {
                PrincipalRule::Fixed(name) => Some(name.clone()),
                PrincipalRule::FromClaim { .. } => None,
            };
            if !roles.is_empty() {
                all.push(Given { method: method.name.clone(), binding: binding.name.clone(), whom, roles });
            }
        }
    }
    all
}

/// The login methods by which somebody might get a role.
pub(super) fn methods_giving(access: &AccessSnapshot, who: &Name, role: &Name) -> BTreeSet<Name> {
    let gives = |given: &Given| given.roles.contains(role) && given.whom.as_ref().is_none_or(|whom| whom == who);
    given(access).into_iter().filter(gives).map(|given| given.method).collect()
}

/// What somebody should look at besides the rows of the report, which are about roles of records only.
pub(super) fn findings(access: &AccessSnapshot) -> Vec<Finding> {
    let finding = |given: Given| {
        let Given { method, binding, whom, roles } = given;
        let roles = roles.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let whom = whom.map_or_else(|| "whoever it lets in".to_owned(), |whom| format!("`{whom}`"));
        let text = format!(
            "the binding `{binding}` gives {whom} the roles {roles} for the time of a login, by group or at once: rows \
             of this report and reviews do not show them"
        );
        Finding { kind: FindingKind::LoginRoles, about: method.to_string(), text }
    };
    given(access).into_iter().map(finding).collect()
}
