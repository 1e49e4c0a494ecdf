//! The stage *authenticate*: from evidence to a principal.

use keyreeve_audit::{Actor, Method as AuditMethod};
use keyreeve_crypto::digest::sha256;
use keyreeve_model::access::{MfaProof, Session};
use keyreeve_model::ids::GrantId;
use keyreeve_model::record::Table;
use keyreeve_model::{Name, TokenId, UnixMillis};
use keyreeve_policy::{Method, PrincipalAttrs, Revision};
use keyreeve_secret::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::arrival::{Arrival, Evidence, PeerCertificate};
use crate::access::{AccessSnapshot, HeldPrincipal};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// The text before a bearer token's id.
const TOKEN_PREFIX: &str = "krt_";
/// Characters of a token's secret: 32 bytes in hexadecimal.
const SECRET_LEN: usize = 64;

/// Somebody the server knows, or knows that it does not know.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The name; `anonymous` and `system` are not names of stored principals.
    pub name: Name,
    /// What policies see.
    pub(crate) attrs: Arc<PrincipalAttrs>,
    /// How it proved itself.
    pub method: Method,
    /// The token it came with.
    pub token: Option<TokenId>,
    /// The login that the token came from.
    pub(crate) session: Option<Arc<Session>>,
    /// The grants of roles that are in force for it.
    pub(crate) elevations: Vec<GrantId>,
}

impl Principal {
    fn internal(attrs: PrincipalAttrs, method: Method) -> Self {
        // Unwrap safety: `anonymous` and `system` are well-formed names.
        #[allow(clippy::expect_used)]
        let name = attrs.name.parse().expect("a well-formed name");
        Self { name, attrs: Arc::new(attrs), method, token: None, session: None, elevations: Vec::new() }
    }

    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::internal(PrincipalAttrs::anonymous(), Method::Anonymous)
    }

    /// The server itself, at scheduled work.
    pub(crate) fn system() -> Self {
        Self::internal(PrincipalAttrs::system(), Method::System)
    }

    /// The last proof of a second factor in its session.
    pub(crate) fn mfa(&self) -> Option<&MfaProof> {
        self.session.as_ref()?.mfa.as_ref()
    }

    /// As the audit log names it.
    pub(crate) fn actor(&self) -> Actor {
        let method = match self.method {
            Method::Token => AuditMethod::Token,
            Method::MutualTls => AuditMethod::Mtls,
            Method::System => AuditMethod::System,
            Method::Anonymous => AuditMethod::Anonymous,
        };
        Actor { principal: self.name.to_string(), method }
    }
}

fn refused() -> Error {
    // One text for every reason: a caller learns nothing about which tokens or principals exist.
    Error::new(
        Code::Unauthenticated,
        "no valid credential: send `Authorization: Bearer <token>` or a client certificate",
    )
}

/// Why a credential proved nothing. Only the audit record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    MalformedToken,
    UnknownToken,
    WrongSecret,
    NotYetValid,
    Expired,
    Revoked,
    PrincipalMissing,
    /// The token is of an earlier principal by that name, which was removed.
    EarlierPrincipal,
    PrincipalDisabled,
    OtherNetwork,
    /// The token is bound to networks, and this is none of them.
    TokenElsewhere,
    UnknownCertificate,
    /// The login method that the token came from was removed or switched off.
    LoginMethodGone,
    /// The login method that the token came from believes others now: its bindings, what it checks or its networks are
    /// not those of the login.
    LoginMethodChanged,
}

impl Reason {
    /// The code in audit records; never renamed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MalformedToken => "malformed-token",
            Self::UnknownToken => "unknown-token",
            Self::WrongSecret => "wrong-secret",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::PrincipalMissing => "principal-missing",
            Self::EarlierPrincipal => "earlier-principal",
            Self::PrincipalDisabled => "principal-disabled",
            Self::OtherNetwork => "other-network",
            Self::TokenElsewhere => "token-elsewhere",
            Self::UnknownCertificate => "unknown-certificate",
            Self::LoginMethodGone => "login-method-gone",
            Self::LoginMethodChanged => "login-method-changed",
        }
    }
}

/// Why nobody was recognised.
enum Stop {
    /// The credential is not good.
    Doubt(Reason),
    /// It could not be looked at.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Doubt(reason)
    }
}

/// What the audit record tells of a credential that was refused: which one it was and why. Never any of its secret:
/// of a text that is not in a token's form nothing at all, for it may be a secret in the wrong place.
fn note(details: &mut BTreeMap<String, String>, evidence: &Evidence, reason: Reason) {
    details.insert("credential_refused".to_owned(), reason.name().to_owned());
    match evidence {
        Evidence::None => {}
        Evidence::Bearer(text) => {
            if let Some((id, _)) = split_token(text.expose()) {
                details.insert("token".to_owned(), id.to_string());
            }
        }
        Evidence::Certificate(peer) => {
            details.insert("certificate_sha256".to_owned(), hex::encode(peer.fingerprint));
        }
    }
}

/// Proves who is asking. While the server is sealed nobody can be known, so only operations for anybody will be
/// permitted. Why a credential was refused goes to `details`, not to the caller.
pub(super) async fn authenticate(
    core: &Core,
    opened: Option<&Opened>,
    arrival: &Arrival,
    now: UnixMillis,
    details: &mut BTreeMap<String, String>,
) -> Result<Principal, Error> {
    let Some(opened) = opened else { return Ok(Principal::anonymous()) };
    let recognised = match &arrival.evidence {
        Evidence::None => return Ok(Principal::anonymous()),
        Evidence::Bearer(text) => bearer(core, opened, text, arrival.source, now).await,
        Evidence::Certificate(peer) => by_certificate(opened, peer, arrival.source, now).map_err(Stop::Doubt),
    };
    recognised.map_err(|stop| match stop {
        Stop::Error(error) => error,
        Stop::Doubt(reason) => {
            note(details, &arrival.evidence, reason);
            refused()
        }
    })
}

async fn bearer(
    core: &Core,
    opened: &Opened,
    text: &SecretString,
    source: Option<IpAddr>,
    now: UnixMillis,
) -> Result<Principal, Stop> {
    let (id, secret) = split_token(text.expose()).ok_or(Reason::MalformedToken)?;
    let token = core.token(opened, id).await?.ok_or(Reason::UnknownToken)?;
    // Before anything is said about the token: who does not know its secret has nothing to do with it.
    if !keyreeve_secret::ct_eq(&sha256(secret.as_bytes()), &token.secret_sha256) {
        return Err(Reason::WrongSecret.into());
    }
    let record = &token.record;
    if !record.is_valid(now) {
        let reason = match record.revoked {
            Some(_) => Reason::Revoked,
            None if now < record.created => Reason::NotYetValid,
            None => Reason::Expired,
        };
        return Err(reason.into());
    }
    let access = opened.access();
    let Some(holder) = access.principal(&record.principal) else {
        access.quarantined().refuse(Table::Principals, record.principal.as_str().as_bytes())?;
        return Err(Reason::PrincipalMissing.into());
    };
    if record.created < holder.record.created {
        return Err(Reason::EarlierPrincipal.into());
    }
    if !token.is_good_from(source) {
        return Err(Reason::TokenElsewhere.into());
    }
    if let Some(reason) = token.session.as_ref().and_then(|session| opened.access().logins().refuse(session)) {
        return Err(reason.into());
    }
    let mut principal = admit(&holder, source, Method::Token, Some(id))?;
    principal.session = token.session.clone();
    Ok(raised(opened, &holder, principal, source, now))
}

/// The principal with the roles that its login and the grants in force add to those of its record.
fn raised(
    opened: &Opened,
    holder: &HeldPrincipal,
    mut principal: Principal,
    source: Option<IpAddr>,
    now: UnixMillis,
) -> Principal {
    let age = principal.mfa().and_then(|mfa| mfa.age_seconds(now));
    let session = principal.session.clone();
    let roles = session.iter().flat_map(|session| &session.roles).collect();
    (principal.elevations, principal.attrs) = elevated(&opened.access(), holder, roles, (source, age, now));
    principal
}

/// The grants of roles that are in force for somebody who comes in so, and what policies then see.
pub(crate) fn elevated<'a>(
    access: &'a AccessSnapshot,
    holder: &'a HeldPrincipal,
    mut roles: BTreeSet<&'a Name>,
    how: (Option<IpAddr>, Option<u64>, UnixMillis),
) -> (Vec<GrantId>, Arc<PrincipalAttrs>) {
    let who = (holder.record.kind, holder.record.created);
    let mut elevations = Vec::new();
    for (grant, role) in access.grants().elevations(&holder.record.name, who, how) {
        elevations.push(grant);
        roles.insert(role);
    }
    // On the way of every request, and mostly nothing is added.
    let attrs = if roles.is_empty() { Arc::clone(&holder.attrs) } else { with_roles(&holder.attrs, &roles) };
    (elevations, attrs)
}

/// A principal with more roles than its record gives it. Decisions about it are remembered apart from those about the
/// record alone.
fn with_roles(attrs: &Arc<PrincipalAttrs>, added: &BTreeSet<&Name>) -> Arc<PrincipalAttrs> {
    let Revision::At(record) = attrs.revision else { return Arc::clone(attrs) };
    let known: BTreeSet<&str> = attrs.roles.iter().map(String::as_str).collect();
    let roles: BTreeSet<&str> = known.iter().copied().chain(added.iter().map(|role| role.as_str())).collect();
    if roles == known {
        return Arc::clone(attrs);
    }
    // No role holds a line break: other roles make other bytes.
    let joined = roles.iter().copied().collect::<Vec<_>>().join("\n");
    let mut extra = [0; 16];
    extra.copy_from_slice(&sha256(joined.as_bytes())[..16]);
    let roles = roles.into_iter().map(str::to_owned).collect();
    Arc::new(PrincipalAttrs { roles, revision: Revision::Composed { record, extra }, ..(**attrs).clone() })
}

fn by_certificate(
    opened: &Opened,
    peer: &PeerCertificate,
    source: Option<IpAddr>,
    now: UnixMillis,
) -> Result<Principal, Reason> {
    // A connection may outlive the certificate that it began with.
    let (from, until) = peer.valid;
    if now < from {
        return Err(Reason::NotYetValid);
    }
    if now > until {
        return Err(Reason::Expired);
    }
    let holder = opened.access().certified(peer).ok_or(Reason::UnknownCertificate)?;
    let principal = admit(&holder, source, Method::MutualTls, None)?;
    Ok(raised(opened, &holder, principal, source, now))
}

fn admit(
    holder: &HeldPrincipal,
    source: Option<IpAddr>,
    method: Method,
    token: Option<TokenId>,
) -> Result<Principal, Reason> {
    holder.admit(source)?;
    let (name, attrs) = (holder.record.name.clone(), Arc::clone(&holder.attrs));
    Ok(Principal { name, attrs, method, token, session: None, elevations: Vec::new() })
}

impl HeldPrincipal {
    /// Whether the principal may come in at all, from an address. An unknown address is in no network.
    pub(crate) fn admit(&self, source: Option<IpAddr>) -> Result<(), Reason> {
        if self.record.disabled {
            return Err(Reason::PrincipalDisabled);
        }
        if !self.record.networks.is_empty() && !self.attrs.may_call_from(source) {
            return Err(Reason::OtherNetwork);
        }
        Ok(())
    }
}

/// Splits `krt_<32 hex digits>_<64 hex digits>`.
fn split_token(text: &str) -> Option<(TokenId, &str)> {
    let (id, secret) = text.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    let well_formed = secret.len() == SECRET_LEN && id.len() == 32;
    let id = format!("{}{id}", TokenId::PREFIX).parse().ok()?;
    well_formed.then_some((id, secret))
}

/// Puts a token together; the counterpart of [`split_token`].
pub(crate) fn join_token(id: TokenId, secret_hex: &SecretString) -> SecretString {
    let digits = id.to_string();
    let digits = digits.trim_start_matches(TokenId::PREFIX);
    SecretString::from(format!("{TOKEN_PREFIX}{digits}_{}", secret_hex.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_roles_are_decided_about_apart() {
        let attrs = |roles: &[&str]| {
            let roles = roles.iter().map(|role| (*role).to_owned()).collect();
            Arc::new(PrincipalAttrs { roles, revision: Revision::At(3), ..PrincipalAttrs::anonymous() })
        };
        let names: Vec<Name> = ["a", "b", "c"].iter().map(|name| name.parse().unwrap()).collect();
        let with = |known: &[&str], added: &[usize]| {
            with_roles(&attrs(known), &added.iter().map(|index| &names[*index]).collect())
        };
        assert_eq!(with(&["a"], &[0]).revision, Revision::At(3), "nothing was added");
        assert_eq!(with(&["a"], &[1]).roles, ["a", "b"]);
        assert_eq!(with(&["a"], &[1]).revision, with(&["b"], &[0]).revision, "the same roles are the same");
        assert_ne!(with(&["a"], &[1]).revision, with(&["a"], &[2]).revision);
        assert_ne!(with(&["a"], &[1]).revision, with(&["a"], &[1, 2]).revision);
    }

    #[test]
    fn tokens_split_into_id_and_secret() {
        let id = TokenId::new(UnixMillis(5), [3; 10]);
        let secret = "ab".repeat(32);
        let text = join_token(id, &SecretString::from(secret.clone()));
        assert_eq!(split_token(text.expose()), Some((id, secret.as_str())));
        for bad in ["", "krt_", "krt_zz_00", "tok_1", &text.expose()[..100]] {
            assert_eq!(split_token(bad), None, "{bad}");
        }
    }
}
