//! Who may come in: principals, the tokens and certificates that prove them, and the policies about them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::ids::TokenId;
use crate::metadata::{Label, Name};
use crate::time::UnixMillis;

mod session;

pub use session::{ISSUED, MfaKind, MfaProof, SESSION_MAX, Session};

/// What kind of actor a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A program.
    Service,
}

impl PrincipalKind {
    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
        }
    }
}

/// How a client certificate maps to a principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CertificateRule {
    /// This very certificate: SHA-256 of its DER, in hexadecimal.
    Fingerprint(String),
    /// Any certificate of the trusted issuers with this DNS subject alternative name.
    DnsName(String),
    /// Any certificate of the trusted issuers with this URI subject alternative name.
    Uri(String),
}

impl fmt::Display for CertificateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(hex) => write!(f, "fingerprint {hex}"),
            Self::DnsName(name) => write!(f, "DNS name {name}"),
            Self::Uri(uri) => write!(f, "URI {uri}"),
        }
    }
}

/// Someone or something that may be allowed to do things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRecord {
    /// Unique in the deployment.
    pub name: Name,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Roles that policies refer to.
    pub roles: BTreeSet<Name>,
    /// Free labels for policies.
    pub labels: BTreeMap<Name, Label>,
    /// Networks it may come from (CIDR); empty means any.
    pub networks: BTreeSet<String>,
    /// Certificates that prove it.
    pub certificates: BTreeSet<CertificateRule>,
    /// True when it may do nothing for now.
    pub disabled: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// The human being behind it, where several principals are one: such a person counts once where people decide
    /// together. None means that the principal's name says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Label>,
}

impl PrincipalRecord {
    /// The human being or program behind the principal: whoever has the same counts once.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.person.as_ref().map_or_else(|| self.name.as_str(), Label::as_str)
    }
}

/// A bearer token; its secret is known to the bearer only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Its public name.
    pub id: TokenId,
    /// SHA-256 of the secret, in hexadecimal. The secret has 256 random bits, so a plain hash cannot be searched.
    pub secret_sha256: String,
    /// Whom it proves.
    pub principal: Name,
    /// What it is for.
    pub description: Label,
    /// When it was made.
    pub created: UnixMillis,
    /// By whom.
    pub created_by: Name,
    /// When it ends.
    pub expires: UnixMillis,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<UnixMillis>,
    /// Networks it is good from (CIDR), besides those of the principal; empty means any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<String>,
    /// The login it came from; none for one that somebody issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

impl TokenRecord {
    /// True while the token proves anything.
    #[must_use]
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && self.created <= now && now < self.expires
    }
}

/// A policy of the deployment's own, besides the shipped ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRecord {
    /// Unique in the deployment.
    pub name: Name,
    /// Cedar.
    pub text: String,
    /// When it was last written.
    pub updated: UnixMillis,
    /// By whom.
    pub updated_by: Name,
}
