//! The first stage: from evidence to a principal.

use keyreeve_audit::{Actor, Method as AuditMethod};
use keyreeve_crypto::digest::sha256;
use keyreeve_model::{Name, TokenId, UnixMillis};
use keyreeve_policy::{Method, PrincipalAttrs};
use keyreeve_secret::SecretString;
use std::net::IpAddr;
use std::sync::Arc;

use super::arrival::{Arrival, Evidence, PeerCertificate};
use crate::access::HeldPrincipal;
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
}

impl Principal {
    fn internal(attrs: PrincipalAttrs, method: Method) -> Self {
        // Unwrap safety: `anonymous` and `system` are well-formed names.
        #[allow(clippy::expect_used)]
        let name = attrs.name.parse().expect("a well-formed name");
        Self { name, attrs: Arc::new(attrs), method, token: None }
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

/// Proves who is asking. While the server is sealed nobody can be known, so only operations for anybody will be
/// permitted.
pub(super) async fn authenticate(
    core: &Core,
    opened: Option<&Opened>,
    arrival: &Arrival,
    now: UnixMillis,
) -> Result<Principal, Error> {
    let Some(opened) = opened else { return Ok(Principal::anonymous()) };
    match &arrival.evidence {
        Evidence::None => Ok(Principal::anonymous()),
        Evidence::Bearer(text) => bearer(core, opened, text, arrival.source, now).await,
        Evidence::Certificate(certificate) => by_certificate(opened, certificate, arrival.source),
    }
}

async fn bearer(
    core: &Core,
    opened: &Opened,
    text: &SecretString,
    source: Option<IpAddr>,
    now: UnixMillis,
) -> Result<Principal, Error> {
    let (id, secret) = split_token(text.expose()).ok_or_else(refused)?;
    let token = core.token(opened, id).await?.ok_or_else(refused)?;
    let given = sha256(secret.as_bytes());
    if !keyreeve_secret::ct_eq(&given, &token.secret_sha256) || !token.record.is_valid(now) {
        return Err(refused());
    }
    let holder = opened.access().principal(&token.record.principal).ok_or_else(refused)?;
    // A token from before its principal was made is of an earlier one by that name, which was removed.
    if token.record.created < holder.record.created {
        return Err(refused());
    }
    admit(&holder, source, Method::Token, Some(id))
}

fn by_certificate(opened: &Opened, peer: &PeerCertificate, source: Option<IpAddr>) -> Result<Principal, Error> {
    let holder = opened.access().certified(peer).ok_or_else(refused)?;
    admit(&holder, source, Method::MutualTls, None)
}

fn admit(
    holder: &HeldPrincipal,
    source: Option<IpAddr>,
    method: Method,
    token: Option<TokenId>,
) -> Result<Principal, Error> {
    let elsewhere = !holder.record.networks.is_empty() && !holder.attrs.may_call_from(source);
    if holder.record.disabled || elsewhere {
        return Err(refused());
    }
    Ok(Principal { name: holder.record.name.clone(), attrs: Arc::clone(&holder.attrs), method, token })
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
