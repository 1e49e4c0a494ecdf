//! The question: who wants to do what to what, under which circumstances. Plain data, no Cedar.

use crate::action::ResourceKind;
use crate::network::Network;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One question. Borrowed, so that asking costs no allocation.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a PrincipalAttrs,
    /// The action's name in the catalogue, such as `key.encrypt`.
    pub action: &'a str,
    /// What it is about.
    pub resource: &'a ResourceAttrs,
    /// The circumstances.
    pub context: &'a ContextAttrs<'a>,
}

/// Which state of a record attributes were taken from.
///
/// Decisions are cached under it, so it must change whenever ANY attribute handed over with it changes. Where
/// attributes come from two records (a key's keyring name), the number must change with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revision {
    /// The stored record's revision.
    At(u64),
    /// The stored record's revision, and what else the attributes were made from: the roles that a login or an
    /// elevation adds to those of a principal's record.
    Composed {
        /// The stored record's revision.
        record: u64,
        /// Stands for everything that does not come from the record, such as the first 16 bytes of a hash of the sorted
        /// roles. Other roles must give another value.
        extra: [u8; 16],
    },
    /// Not taken from a stored record, such as a key about to be created: the decision is never cached.
    Unstored,
}

/// Just enough of a principal or resource to look a decision up: identity and revision, no attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Same as the attributes' id.
    pub id: &'a str,
    /// Same as the attributes' revision.
    pub revision: Revision,
}

/// What kind of principal this is; `principal.kind` in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A machine account.
    Service,
    /// The server itself, doing scheduled work.
    System,
    /// Nobody in particular: no credential was shown.
    Anonymous,
}

impl PrincipalKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Person, Self::Service, Self::System, Self::Anonymous];

    /// The word policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

/// How the principal proved itself; `context.method` in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// A bearer token.
    Token,
    /// A client certificate.
    MutualTls,
    /// Started by the server itself.
    System,
    /// Not at all.
    Anonymous,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Token, Self::MutualTls, Self::System, Self::Anonymous];

    /// The word policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::MutualTls => "mtls",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

/// With what a second factor was shown; `context.mfa_kind` in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MfaKind {
    /// A one-time password (RFC 6238).
    Totp,
    /// A security key or passkey.
    WebAuthn,
    /// A recovery code: the last resort of somebody who lost the factor.
    Recovery,
    /// The identity provider vouches for it.
    Provider,
}

impl MfaKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Totp, Self::WebAuthn, Self::Recovery, Self::Provider];

    /// The word policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::WebAuthn => "webauthn",
            Self::Recovery => "recovery",
            Self::Provider => "provider",
        }
    }
}

/// The kinds of login methods; `resource.kind` of a `Login` in policies.
pub const LOGIN_KINDS: [&str; 5] = ["oidc", "jwt", "ldap", "certificate", "credential"];

/// The kinds of cases; `resource.kind` of a `Case` in policies.
pub const CASE_KINDS: [&str; 4] = ["incident", "hold", "emergency", "review"];

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalAttrs {
    /// Identity, as in `Keyreeve::Principal::"<id>"`.
    pub id: String,
    /// See [`Revision`].
    pub revision: Revision,
    /// Name; keys list it among their consumers.
    pub name: String,
    /// Kind.
    pub kind: PrincipalKind,
    /// Roles, as in `principal in Keyreeve::Role::"<role>"`.
    pub roles: Vec<String>,
    /// Where it may call from; used through `context.in_principal_networks`.
    pub networks: Vec<Network>,
    /// Labels, read with `principal.hasTag("...")` and `principal.getTag("...")`.
    pub labels: BTreeMap<String, String>,
}

impl PrincipalAttrs {
    /// Nobody: no credential was shown. Has no role and no network.
    pub fn anonymous() -> Self {
        Self::internal("anonymous", PrincipalKind::Anonymous)
    }

    /// The server itself, for scheduled work.
    pub fn system() -> Self {
        Self::internal("system", PrincipalKind::System)
    }

    fn internal(name: &str, kind: PrincipalKind) -> Self {
        Self {
            id: name.to_owned(),
            revision: Revision::At(0),
            name: name.to_owned(),
            kind,
            roles: Vec::new(),
            networks: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Whether the address is in one of the principal's networks; an unknown address is in none.
    pub fn may_call_from(&self, source_ip: Option<IpAddr>) -> bool {
        source_ip.is_some_and(|ip| self.networks.iter().any(|n| n.contains(ip)))
    }

    /// Identity and revision.
    pub fn subject(&self) -> Subject<'_> {
        Subject { id: &self.id, revision: self.revision }
    }
}

/// What the question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceAttrs {
    /// Identity, as in `Keyreeve::Key::"<id>"`.
    pub id: String,
    /// See [`Revision`].
    pub revision: Revision,
    /// Kind and attributes.
    pub details: ResourceDetails,
}

impl ResourceAttrs {
    /// The server.
    pub fn system() -> Self {
        Self { id: "server".to_owned(), revision: Revision::At(0), details: ResourceDetails::System }
    }

    /// The audit log.
    pub fn audit() -> Self {
        Self { id: "log".to_owned(), revision: Revision::At(0), details: ResourceDetails::Audit }
    }

    /// Identity and revision.
    pub fn subject(&self) -> Subject<'_> {
        Subject { id: &self.id, revision: self.revision }
    }
}

/// Attributes by kind of resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceDetails {
    /// The server itself.
    System,
    /// A keyring.
    Keyring(KeyringAttrs),
    /// A key.
    Key(Box<KeyAttrs>),
    /// A token.
    Token {
        /// The name of the principal it was issued to.
        principal: String,
    },
    /// A policy; `resource.name` is its id.
    Policy,
    /// A principal under management.
    Principal(Box<PrincipalAttrs>),
    /// The audit log.
    Audit,
    /// A right for a time.
    Grant {
        /// The name of the principal it is given to.
        principal: String,
        /// The id of the key or keyring it is about; empty where it gives a role.
        key: String,
    },
    /// A request that waits for others.
    Approval {
        /// The operation that was asked for, such as `key.rotate`.
        operation: String,
        /// The name of the principal that asked.
        proposer: String,
    },
    /// A way to log in.
    Login {
        /// Its name.
        name: String,
        /// One of [`LOGIN_KINDS`]; empty where there is no such method.
        kind: String,
    },
    /// An incident, hold, emergency or review.
    Case {
        /// One of [`CASE_KINDS`].
        kind: String,
    },
}

impl ResourceDetails {
    /// The kind.
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::System => ResourceKind::System,
            Self::Keyring(_) => ResourceKind::Keyring,
            Self::Key(_) => ResourceKind::Key,
            Self::Token { .. } => ResourceKind::Token,
            Self::Policy => ResourceKind::Policy,
            Self::Principal(_) => ResourceKind::Principal,
            Self::Audit => ResourceKind::Audit,
            Self::Grant { .. } => ResourceKind::Grant,
            Self::Approval { .. } => ResourceKind::Approval,
            Self::Login { .. } => ResourceKind::Login,
            Self::Case { .. } => ResourceKind::Case,
        }
    }
}

/// A keyring's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyringAttrs {
    /// Name.
    pub name: String,
    /// 1 public, 2 internal, 3 confidential, 4 restricted.
    pub classification: u8,
    /// Such as `production`.
    pub environment: String,
    /// Owner.
    pub owner: String,
    /// Labels, as tags.
    pub labels: BTreeMap<String, String>,
}

/// A key's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyAttrs {
    /// The keyring's id, as in `resource in Keyreeve::Keyring::"<id>"`.
    pub keyring_id: String,
    /// The keyring's name, `resource.keyring`.
    pub keyring: String,
    /// Aliases, `resource.aliases`.
    pub aliases: Vec<String>,
    /// Algorithm in the registry's spelling.
    pub algorithm: String,
    /// Purpose.
    pub purpose: String,
    /// State (SP 800-57 Part 1).
    pub state: String,
    /// 1 public, 2 internal, 3 confidential, 4 restricted.
    pub classification: u8,
    /// Such as `production`.
    pub environment: String,
    /// Owner.
    pub owner: String,
    /// Who looks after it.
    pub custodians: Vec<String>,
    /// Names of the principals that may use it.
    pub consumers: Vec<String>,
    /// Whether a hold keeps it from being destroyed.
    pub hold: bool,
    /// Whether it is part of an open incident.
    pub incident: bool,
    /// Whether its material may leave, wrapped.
    pub exportable: bool,
    /// Labels, as tags.
    pub labels: BTreeMap<String, String>,
}

/// The circumstances of a request.
#[derive(Debug, Clone, Copy)]
pub struct ContextAttrs<'a> {
    /// The caller's address, where there is one.
    pub source_ip: Option<IpAddr>,
    /// Milliseconds since 1970; policies see whole seconds, rounded down.
    pub time_ms: i64,
    /// How the principal proved itself.
    pub method: Method,
    /// Seconds since the last proof with a second factor, if there was one.
    pub mfa_age_seconds: Option<u64>,
    /// With what that second factor was shown.
    pub mfa_kind: Option<MfaKind>,
    /// The name of the login method the caller came in by, where it logged in.
    pub login: Option<&'a str>,
    /// Whether the caller takes part in a declared emergency which covers exactly this action on this resource.
    pub emergency: bool,
    /// The encryption context; `None` is the same as an empty one.
    pub encryption_context: Option<&'a BTreeMap<String, String>>,
    /// How many items the request carries: 1, or the size of a batch.
    pub items: u64,
}

impl ContextAttrs<'_> {
    /// The circumstances that are assumed where nobody makes a request: a token, a second factor just shown, one item,
    /// and nothing else.
    #[must_use]
    pub const fn assumed(source_ip: Option<IpAddr>, time_ms: i64) -> Self {
        Self {
            source_ip,
            time_ms,
            method: Method::Token,
            mfa_age_seconds: Some(0),
            mfa_kind: Some(MfaKind::Totp),
            login: None,
            emergency: false,
            encryption_context: None,
            items: 1,
        }
    }

    /// Seconds since 1970, rounded down also before 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.time_ms.div_euclid(1000)
    }
}
