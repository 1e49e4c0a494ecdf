//! What the operation catalogue tells this crate about each action.

/// One operation as policies see it. The engine's catalogue is the only place where these are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionSpec {
    /// The name policies use, such as `key.encrypt`.
    pub name: &'static str,
    /// The one kind of resource the action is decided on.
    pub resource: ResourceKind,
    /// The groups of [`groups`] it belongs to.
    pub groups: &'static [&'static str],
}

/// The kinds of things a decision can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The server itself.
    System,
    /// A keyring.
    Keyring,
    /// A key.
    Key,
    /// An access token.
    Token,
    /// A policy.
    Policy,
    /// A principal, when it is managed rather than acting.
    Principal,
    /// The audit log.
    Audit,
    /// A right for a time, given to one principal.
    Grant,
    /// A request that waits for the agreement of others.
    Approval,
    /// A way to log in.
    Login,
    /// Something that is followed until it is closed: an incident, a hold, an emergency, a review.
    Case,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::System,
        Self::Keyring,
        Self::Key,
        Self::Token,
        Self::Policy,
        Self::Principal,
        Self::Audit,
        Self::Grant,
        Self::Approval,
        Self::Login,
        Self::Case,
    ];

    /// The name in the schema, without the namespace.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Keyring => "Keyring",
            Self::Key => "Key",
            Self::Token => "Token",
            Self::Policy => "Policy",
            Self::Principal => "Principal",
            Self::Audit => "Audit",
            Self::Grant => "Grant",
            Self::Approval => "Approval",
            Self::Login => "Login",
            Self::Case => "Case",
        }
    }

    /// The word people read in an explanation.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::System => "the server",
            Self::Keyring => "keyring",
            Self::Key => "key",
            Self::Token => "token",
            Self::Policy => "policy",
            Self::Principal => "principal",
            Self::Audit => "the audit log",
            Self::Grant => "grant",
            Self::Approval => "approval",
            Self::Login => "login method",
            Self::Case => "case",
        }
    }
}

/// The names of the action groups; the crate's documentation says what belongs in each.
pub mod groups {
    /// Metadata only.
    pub const READ: &str = "read";
    /// Protecting data, without getting any back.
    pub const ENCRYPT_SIDE: &str = "encrypt-side";
    /// Getting protected data back.
    pub const DECRYPT_SIDE: &str = "decrypt-side";
    /// Signatures and authentication codes, made.
    pub const SIGN_SIDE: &str = "sign-side";
    /// Signatures and authentication codes, checked.
    pub const VERIFY_SIDE: &str = "verify-side";
    /// Derivation and key agreement.
    pub const DERIVE_SIDE: &str = "derive-side";
    /// From creation to destruction.
    pub const LIFECYCLE: &str = "lifecycle";
    /// Handing out key material.
    pub const EXPORT: &str = "export";
    /// Tokens, principals, policies.
    pub const ACCESS: &str = "access";
    /// The audit log.
    pub const AUDIT: &str = "audit";
    /// Running the server.
    pub const SYSTEM: &str = "system";
    /// Initialising and unsealing.
    pub const BOOTSTRAP: &str = "bootstrap";
    /// Open to every authenticated principal.
    pub const SELF: &str = "self";
    /// What the server does by itself.
    pub const SCHEDULED: &str = "scheduled";

    /// Proving who one is, in exchange for a token.
    pub const LOGIN: &str = "login";
    /// Agreeing to what others asked for, or refusing it.
    pub const APPROVE: &str = "approve";
    /// The rules about who must agree to what.
    pub const GOVERN: &str = "govern";
    /// Rights for a time.
    pub const GRANT: &str = "grant";
    /// Incidents, and what several people may do together in one.
    pub const EMERGENCY: &str = "emergency";
    /// Going through who has which right.
    pub const REVIEW: &str = "review";
    /// Keeping keys from being destroyed, for legal reasons.
    pub const HOLD: &str = "hold";

    /// Taking a key out of use at once, on one person's authority.
    pub const REVOKE: &str = "revoke";
    /// Making the replacement of a key that an incident is about, on the same authority.
    pub const REPLACE: &str = "replace";

    /// Which keys are deposited with people who do not manage them, and taking one back.
    pub const ESCROW: &str = "escrow";

    /// Every group; each exists in every schema.
    pub const ALL: [&str; 24] = [
        READ,
        ENCRYPT_SIDE,
        DECRYPT_SIDE,
        SIGN_SIDE,
        VERIFY_SIDE,
        DERIVE_SIDE,
        LIFECYCLE,
        EXPORT,
        ACCESS,
        AUDIT,
        SYSTEM,
        BOOTSTRAP,
        SELF,
        SCHEDULED,
        LOGIN,
        APPROVE,
        GOVERN,
        GRANT,
        EMERGENCY,
        REVIEW,
        HOLD,
        REVOKE,
        REPLACE,
        ESCROW,
    ];
}
