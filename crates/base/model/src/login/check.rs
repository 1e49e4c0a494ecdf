//! What a login method must be like before it is stored.

use super::{
    Binding, CertificateMethod, InvalidMethod, JwsAlgorithm, JwtKeys, JwtMethod, LdapGroups, LdapMethod, LoginMethod,
    MethodKind, OidcMethod, PrincipalRule, SubjectRule,
};
use std::collections::BTreeSet;

/// The longest life of a token, and of its renewals together (seconds).
pub const TTL_MAX_S: u32 = 43_200;
/// The shortest life of a token (seconds).
pub const TTL_MIN_S: u32 = 60;
/// The widest clock skew (seconds).
pub const SKEW_MAX_S: u32 = 60;
/// Bindings of one method (count).
pub const BINDINGS_MAX: usize = 64;
/// Entries of one list or map in a method (count).
pub const ENTRIES_MAX: usize = 64;
/// Bytes of one address, pattern, filter or value.
pub const VALUE_MAX: usize = 1024;
/// Bytes of certificates or of a key set.
pub const DOCUMENT_MAX: usize = 64 * 1024;

fn no<T>(text: impl Into<String>) -> Result<T, InvalidMethod> {
    Err(InvalidMethod(text.into()))
}

fn texts<'a>(what: &str, values: impl IntoIterator<Item = &'a String>) -> Result<(), InvalidMethod> {
    let mut count = 0;
    for value in values {
        count += 1;
        if value.is_empty() || value.len() > VALUE_MAX || value.chars().any(char::is_control) {
            return no(format!("{what}: each entry has 1 to {VALUE_MAX} bytes and no control characters"));
        }
    }
    if count > ENTRIES_MAX { no(format!("{what}: at most {ENTRIES_MAX} entries")) } else { Ok(()) }
}

fn document(what: &str, text: Option<&String>) -> Result<(), InvalidMethod> {
    match text {
        Some(text) if text.is_empty() || text.len() > DOCUMENT_MAX => {
            no(format!("{what}: at most {DOCUMENT_MAX} bytes, and not empty"))
        }
        _ => Ok(()),
    }
}

/// An address outside: `https`, or `http` on this machine where `loopback` admits it (development).
fn address(what: &str, url: &str, loopback: bool) -> Result<(), InvalidMethod> {
    texts(what, [&url.to_owned()])?;
    let plain = url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or_default());
    let local = plain.is_some_and(|authority| loopback && is_loopback(authority));
    let secure = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let clean = !url.contains(['#', '?', ' ', '@', '\\']);
    if (secure || local) && clean {
        Ok(())
    } else {
        no(format!("{what}: an https address without query, fragment and user name"))
    }
}

/// Whether an authority (`host:port`) is a loopback address as a literal; names can be made to lead elsewhere.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    matches!(host, "127.0.0.1" | "[::1]") && !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit())
}

fn algorithms(set: &BTreeSet<JwsAlgorithm>) -> Result<(), InvalidMethod> {
    if set.is_empty() { no("algorithms: name at least one signature algorithm, for example ES256") } else { Ok(()) }
}

fn skew(skew_s: u32) -> Result<(), InvalidMethod> {
    if skew_s > SKEW_MAX_S { no(format!("skew: at most {SKEW_MAX_S} seconds")) } else { Ok(()) }
}

impl LoginMethod {
    /// Checks what the types do not. `loopback` admits unprotected connections to this very machine, for development.
    ///
    /// # Errors
    /// [`InvalidMethod`] says what to change.
    pub fn check(&self, loopback: bool) -> Result<(), InvalidMethod> {
        if !(TTL_MIN_S..=TTL_MAX_S).contains(&self.ttl_s) || self.renew_s > TTL_MAX_S {
            return no(format!(
                "a token lasts {TTL_MIN_S} to {TTL_MAX_S} seconds and is renewed for at most {TTL_MAX_S}"
            ));
        }
        texts("networks", &self.networks)?;
        match &self.kind {
            MethodKind::Oidc(oidc) => oidc.check(loopback)?,
            MethodKind::Jwt(jwt) => jwt.check(loopback)?,
            MethodKind::Ldap(ldap) => ldap.check(loopback)?,
            MethodKind::Certificate(certificate) => certificate.check()?,
        }
        if self.bindings.is_empty() || self.bindings.len() > BINDINGS_MAX {
            return no(format!("bindings: 1 to {BINDINGS_MAX}"));
        }
        let names: BTreeSet<_> = self.bindings.iter().map(|binding| &binding.name).collect();
        if names.len() != self.bindings.len() {
            return no("bindings: each has a name of its own");
        }
        self.bindings.iter().try_for_each(|binding| {
            binding
                .check(&self.kind)
                .map_err(|InvalidMethod(text)| InvalidMethod(format!("binding {}: {text}", binding.name)))
        })
    }
}

impl OidcMethod {
    fn check(&self, loopback: bool) -> Result<(), InvalidMethod> {
        address("issuer", &self.issuer, loopback)?;
        texts("client_id", [&self.client_id])?;
        texts("redirect_uris", &self.redirect_uris)?;
        for uri in &self.redirect_uris {
            address("redirect_uris", uri, true)?;
        }
        texts("scopes", &self.scopes)?;
        if self.scopes.iter().any(|scope| scope.contains([' ', '"', '\\'])) {
            return no("scopes: without spaces, quotes and backslashes");
        }
        texts("mfa_values", &self.mfa_values)?;
        document("ca_pem", self.ca_pem.as_ref())?;
        algorithms(&self.algorithms)?;
        skew(self.skew_s)
    }
}

impl JwtMethod {
    fn check(&self, loopback: bool) -> Result<(), InvalidMethod> {
        match &self.keys {
            JwtKeys::Discovery => address("issuer", &self.issuer, loopback)?,
            JwtKeys::Url(url) => address("keys", url, loopback)?,
            JwtKeys::Static(text) => document("keys", Some(text))?,
        }
        texts("issuer", [&self.issuer])?;
        document("ca_pem", self.ca_pem.as_ref())?;
        if self.max_life_s == 0 || self.max_life_s > 366 * 86_400 {
            return no("max_life: 1 second to 366 days");
        }
        algorithms(&self.algorithms)?;
        skew(self.skew_s)
    }
}

impl LdapMethod {
    fn check(&self, loopback: bool) -> Result<(), InvalidMethod> {
        let secure = self.url.strip_prefix("ldaps://").filter(|_| !self.starttls);
        let upgraded = self.url.strip_prefix("ldap://").filter(|host| self.starttls || (loopback && is_loopback(host)));
        let host = secure.or(upgraded).unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '@', ' ']) {
            return no("url: ldaps://host:port, or ldap://host:port with starttls");
        }
        let fixed = [&self.url, &self.base, &self.filter, &self.user_attribute];
        texts("LDAP settings", fixed.into_iter().chain(&self.bind_dn))?;
        document("ca_pem", self.ca_pem.as_ref())?;
        if !self.filter.contains("{user}") {
            return no("filter: write {user} where the name that was typed belongs");
        }
        if self.bind_dn.is_none() && self.bind_password.is_some() {
            return no("bind_password: without bind_dn it is nobody's");
        }
        self.groups.check()
    }
}

impl LdapGroups {
    fn check(&self) -> Result<(), InvalidMethod> {
        match self {
            Self::None => Ok(()),
            Self::Attribute(attribute) => texts("groups", [attribute]),
            Self::Search { base, filter, attribute } => {
                texts("groups", [base, filter, attribute])?;
                if !filter.contains("{dn}") && !filter.contains("{user}") {
                    return no("groups: write {dn} or {user} where the person belongs");
                }
                Ok(())
            }
        }
    }
}

impl CertificateMethod {
    fn check(&self) -> Result<(), InvalidMethod> {
        texts("uri_prefixes", &self.uri_prefixes)?;
        texts("dns_suffixes", &self.dns_suffixes)?;
        if self.uri_prefixes.is_empty() && self.dns_suffixes.is_empty() {
            return no("name at least one URI prefix or DNS suffix");
        }
        // `spiffe://prod` would also admit `spiffe://prod.evil.example`.
        if self.uri_prefixes.iter().any(|prefix| !prefix.ends_with('/') || !prefix.contains("://")) {
            return no("uri_prefixes: each has a scheme and ends in `/`");
        }
        if self.dns_suffixes.iter().any(|suffix| !suffix.starts_with('.') || suffix.len() < 2) {
            return no("dns_suffixes: each begins with a dot");
        }
        if self.authorities.len() > ENTRIES_MAX {
            return no(format!("authorities: at most {ENTRIES_MAX} entries"));
        }
        Ok(())
    }
}

impl Binding {
    fn check(&self, kind: &MethodKind) -> Result<(), InvalidMethod> {
        texts("claims", self.claims.keys())?;
        for (path, values) in &self.claims {
            texts("claims", values)?;
            if values.is_empty() {
                return no(format!("claims: {path} has no value that would fit"));
            }
        }
        texts("audiences", &self.audiences)?;
        texts("networks", &self.networks)?;
        texts("group_claim", [&self.group_claim])?;
        texts("role_from_group", self.role_from_group.keys())?;
        if self.roles.len() > ENTRIES_MAX {
            return no(format!("roles: at most {ENTRIES_MAX}"));
        }
        match (kind, self.audiences.is_empty()) {
            (MethodKind::Jwt(_), true) => return no("audiences: name at least one, or tokens for others would count"),
            (MethodKind::Oidc(_) | MethodKind::Ldap(_) | MethodKind::Certificate(_), false) => {
                return no("audiences: only for tokens of workloads");
            }
            _ => {}
        }
        self.subject.check()?;
        let open = matches!(self.subject, SubjectRule::Any) && self.claims.is_empty();
        if open && matches!(kind, MethodKind::Jwt(_)) {
            return no("subject: a workload is named by its subject or by claims");
        }
        self.principal.check()
    }
}

impl SubjectRule {
    fn check(&self) -> Result<(), InvalidMethod> {
        match self {
            Self::Any => Ok(()),
            Self::Exact(text) => texts("subject", [text]),
            Self::Glob(text) => {
                texts("subject", [text])?;
                let parts: Vec<&str> = text.split([':', '/']).collect();
                let misplaced = |(n, part): (usize, &&str)| match *part {
                    "*" => false,
                    "**" => n + 1 != parts.len(),
                    other => other.contains('*'),
                };
                if parts.iter().enumerate().any(misplaced) {
                    return no("subject: `*` stands for a whole part between `:` or `/`, `**` for the rest at the end");
                }
                Ok(())
            }
        }
    }
}

impl PrincipalRule {
    fn check(&self) -> Result<(), InvalidMethod> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::FromClaim { claim, strip, prefix } => {
                texts("principal", [claim])?;
                texts("principal", [strip, prefix].into_iter().filter(|text| !text.is_empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
