//! Who may come as a principal that the evidence names itself.
//!
//! A claim such as an address or a nickname can be altered, by its owner or by the provider, and then names somebody
//! else's principal. Only `sub` is promised to be nobody else's, ever (OpenID Connect Core 1.0, sections 2 and 5.7),
//! and of an entry in a directory what the directory itself made up for it (RFC 4530). So whoever comes first as a
//! principal is remembered, and another subject is refused. A binding that names one principal for whoever has a name
//! is no different: the name may be given to somebody else.

use keyreeve_identity::Outcome as Bound;
use keyreeve_model::Change;
use keyreeve_model::filed::file;
use keyreeve_model::login::{Binding, Digest, KnownSubject, LoginMethod, MethodKind, PrincipalRule, SubjectRule};
use keyreeve_model::record::Revision;

use super::{Attempt, Stop, subject_digest};

/// Refuses whoever is not the one who came first; gives what remembers the first one.
pub(super) async fn recognise(
    attempt: &Attempt<'_>,
    method: &LoginMethod,
    bound: &Bound,
    subject: &(String, String),
) -> Result<Option<Change>, Stop> {
    let named = |binding: &Binding| match &binding.principal {
        PrincipalRule::Fixed(_) => names_a_person(&method.kind, binding),
        PrincipalRule::FromClaim { claim, .. } => !is_for_good(&method.kind, claim),
    };
    if !method.bindings.iter().any(|binding| binding.name == bound.binding && named(binding)) {
        return Ok(None);
    }
    let row = KnownSubject::row(&method.name, &bound.principal);
    let known = attempt.core.filed::<KnownSubject>(attempt.opened, row).await?;
    let subject = Digest(subject_digest(subject));
    // Another principal or another method of the same name begins anew.
    let holder = attempt.opened.access().principal(&bound.principal);
    let made = holder.map(|holder| holder.record.created.max(method.created));
    let revision = match known {
        Some((known, _)) if made.is_some_and(|made| known.since >= made) => {
            return if known.subject == subject { Ok(None) } else { Err("other-subject".into()) };
        }
        Some((_, at)) => at.next(),
        None => Revision::FIRST,
    };
    let (method, principal) = (method.name.clone(), bound.principal.clone());
    let first = KnownSubject { method, principal, subject, since: attempt.now };
    // Of two who come first at once one conflicts, and finds the other.
    Ok(Some(file(&*attempt.opened.keys, revision, &first)))
}

/// Whether whoever a binding is for is named by what may name somebody else later. A group is nobody's name, and what
/// platforms call their workloads is often several subjects for one principal.
fn names_a_person(kind: &MethodKind, binding: &Binding) -> bool {
    let subject = match kind {
        MethodKind::Oidc(_) => "sub",
        MethodKind::Ldap(ldap) => &ldap.user_attribute,
        MethodKind::Jwt(_) | MethodKind::Certificate(_) => return false,
    };
    let exact = matches!(binding.subject, SubjectRule::Exact(_));
    let claims = || binding.claims.keys().filter(|claim| **claim != binding.group_claim);
    let for_good = (exact && is_for_good(kind, subject)) || claims().any(|claim| is_for_good(kind, claim));
    (exact || claims().next().is_some()) && !for_good
}

/// Whether a claim is itself what is promised to be nobody else's.
fn is_for_good(kind: &MethodKind, claim: &str) -> bool {
    match kind {
        MethodKind::Oidc(_) | MethodKind::Jwt(_) => claim == "sub",
        MethodKind::Ldap(_) => claim.eq_ignore_ascii_case("entryUUID"),
        // Its authority vouches for the names in a certificate, and for nothing besides.
        MethodKind::Certificate(_) => true,
    }
}
