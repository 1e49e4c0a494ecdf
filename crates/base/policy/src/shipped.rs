//! The policies Keyreeve ships with: one file per role, in `policies/`. They are plain documents like any other, so
//! that an organisation can read them, replace them and write its own beside them.

use crate::name::PolicyName;
use crate::request::{PrincipalAttrs, PrincipalKind};

/// The roles the shipped policies know, as in `principal in Keyreeve::Role::"..."`.
pub const ROLES: [&str; 15] = [
    "operator",
    "key-admin",
    "escrow-administrator",
    "key-user-encrypt",
    "key-user-decrypt",
    "key-auditor",
    "pipeline",
    "application",
    "security-lead",
    "ciso",
    "legal",
    "system-owner",
    "incident-commander",
    "engineering-lead",
    "dpo",
];

/// Those of [`ROLES`] that agree to what others ask for (requirement A9).
pub const GOVERNANCE_ROLES: [&str; 7] =
    ["security-lead", "ciso", "legal", "system-owner", "incident-commander", "engineering-lead", "dpo"];

/// Roles that no person may have together, under whatever names they come: the server refuses to give the second to
/// whoever has the first, and whoever gets both all the same, by logging in for instance, can do neither.
pub const APART: [[&str; 2]; 1] = [["key-admin", "escrow-administrator"]];

/// The role of [`development`].
pub const DEVELOPER_ROLE: &str = "developer";

const DOCUMENTS: [(&str, &str); 13] = [
    ("application", include_str!("../policies/application.cedar")),
    ("bootstrap", include_str!("../policies/bootstrap.cedar")),
    ("escrow-administrator", include_str!("../policies/escrow-administrator.cedar")),
    ("governance", include_str!("../policies/governance.cedar")),
    ("key-admin", include_str!("../policies/key-admin.cedar")),
    ("key-auditor", include_str!("../policies/key-auditor.cedar")),
    ("key-user-decrypt", include_str!("../policies/key-user-decrypt.cedar")),
    ("key-user-encrypt", include_str!("../policies/key-user-encrypt.cedar")),
    ("login", include_str!("../policies/login.cedar")),
    ("operator", include_str!("../policies/operator.cedar")),
    ("pipeline", include_str!("../policies/pipeline.cedar")),
    ("self", include_str!("../policies/self.cedar")),
    ("system-jobs", include_str!("../policies/system-jobs.cedar")),
];

/// What a principal lacks for roles it has: without it the shipped policies give it nothing by that role. One sentence
/// for a person each.
pub fn lacking(principal: &PrincipalAttrs) -> Vec<String> {
    let has = |role: &str| principal.roles.iter().any(|one| one == role);
    let services = ["application", "pipeline"].into_iter().filter(|role| has(role));
    let mut lacking: Vec<String> = services
        .filter(|_| principal.kind != PrincipalKind::Service)
        .map(|role| format!("the role `{role}` gives rights to services only, and `{}` is none", principal.name))
        .collect();
    if principal.kind != PrincipalKind::Person {
        let agreeing = GOVERNANCE_ROLES.into_iter().filter(|role| has(role));
        lacking
            .extend(agreeing.map(|role| {
                format!("the role `{role}` gives rights to people only, and `{}` is none", principal.name)
            }));
    }
    if has("application") && principal.networks.is_empty() {
        lacking.push(format!(
            "the role `application` gives nothing without a network, and `{}` has none: name the networks it calls \
             from, or 0.0.0.0/0 and ::/0 for anywhere",
            principal.name
        ));
    }
    lacking
}

/// Roles of people that a service has, where nothing stands in for the second factor that people show. One sentence, if
/// there are some.
pub fn unguarded(principal: &PrincipalAttrs) -> Option<String> {
    let of_people = |role: &&String| {
        ROLES.contains(&role.as_str())
            && !GOVERNANCE_ROLES.contains(&role.as_str())
            && !["application", "pipeline"].contains(&role.as_str())
    };
    let roles: Vec<String> = principal.roles.iter().filter(of_people).map(|role| format!("`{role}`")).collect();
    (principal.kind == PrincipalKind::Service && principal.networks.is_empty() && !roles.is_empty()).then(|| {
        format!(
            "people show a second factor for {}, and the service `{}` shows none: name the networks it calls from, or \
             0.0.0.0/0 and ::/0 for anywhere",
            roles.join(", "),
            principal.name
        )
    })
}

fn named(name: &str) -> PolicyName {
    #[expect(clippy::expect_used, reason = "the names are constants of this file, and a test loads them all")]
    PolicyName::new(name).expect("a shipped name is valid")
}

/// What applies from the start, in every mode: the roles, and what needs no role.
pub fn documents() -> Vec<(PolicyName, &'static str)> {
    DOCUMENTS.into_iter().map(|(name, text)| (named(name), text)).collect()
}

/// Requires a second factor, shown within the last 12 hours, of every person, whatever gives them a right. Applies
/// besides [`documents`] from the start, except in development mode.
pub fn require_mfa() -> (PolicyName, &'static str) {
    (named("require-mfa"), include_str!("../policies/require-mfa.cedar"))
}

/// One role that may do everything, for trying things out on one's own machine. Not part of [`documents`]; never load
/// it outside of development mode.
pub fn development() -> (PolicyName, &'static str) {
    (named("development"), include_str!("../policies/optional/development.cedar"))
}
