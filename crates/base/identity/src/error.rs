//! Why evidence proves nothing.

use thiserror::Error;

/// Why evidence proves nothing. For the server's log and the audit record: a caller is told the same for each.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not in the form that its standard prescribes.
    #[error("the {what} is malformed")]
    Malformed {
        /// Of what.
        what: &'static str,
    },
    /// Longer than anything honest.
    #[error("the {what} is longer than {max} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
    /// A JSON object names one member twice, so that two readers could read two things.
    #[error("the {what} names a member twice")]
    Duplicate {
        /// What.
        what: &'static str,
    },
    /// Signed in a way that the method does not admit, or not at all.
    #[error("signed with an algorithm that this login method does not admit")]
    Algorithm,
    /// The header demands something that this server does not know (RFC 7515 section 4.1.11).
    #[error("the header has `crit`: it demands an extension")]
    Critical,
    /// A token of another kind, such as an access token where an identity is wanted.
    #[error("a token of another type")]
    Type,
    /// The key that signed is not among those that the issuer publishes; they may have been replaced meanwhile.
    #[error("signed with a key that the issuer does not publish")]
    UnknownKey(
        /// What the header calls it.
        Option<String>,
    ),
    /// The key that the header names does not make such signatures.
    #[error("the named key is not for this signature algorithm")]
    KeyMisfit,
    /// A key set has the private half of a key.
    #[error("the key set holds a private key, which is thereby compromised: its owner must replace it")]
    PrivateKey,
    /// The signature is wrong.
    #[error("the signature is not right")]
    Signature,
    /// It has ended.
    #[error("it has expired")]
    Expired,
    /// It has not begun, or claims to be made in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It was issued for longer than the method admits.
    #[error("it is valid for longer than this login method admits")]
    TooLongLived,
    /// The person's login at the provider is too long ago.
    #[error("the login at the provider is too long ago")]
    AuthenticationTooOld,
    /// Of another issuer.
    #[error("of another issuer")]
    Issuer,
    /// For somebody else.
    #[error("for another audience")]
    Audience,
    /// Given to another client.
    #[error("given to another client")]
    AuthorizedParty,
    /// Of another login.
    #[error("of another login: the nonce differs")]
    Nonce,
    /// It does not belong to the access token that it came with.
    #[error("it does not belong to the access token that it came with")]
    AccessTokenHash,
    /// Something is missing.
    #[error("the claim `{0}` is missing")]
    Missing(
        /// Which claim.
        &'static str,
    ),
}

impl IdentityError {
    /// The code in audit records; never renamed.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too-large",
            Self::Duplicate { .. } => "duplicate-member",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical-extension",
            Self::Type => "other-type",
            Self::UnknownKey(_) => "unknown-key",
            Self::KeyMisfit => "key-misfit",
            Self::PrivateKey => "private-key",
            Self::Signature => "wrong-signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::TooLongLived => "too-long-lived",
            Self::AuthenticationTooOld => "authentication-too-old",
            Self::Issuer => "other-issuer",
            Self::Audience => "other-audience",
            Self::AuthorizedParty => "other-client",
            Self::Nonce => "other-nonce",
            Self::AccessTokenHash => "other-access-token",
            Self::Missing(_) => "claim-missing",
        }
    }
}
