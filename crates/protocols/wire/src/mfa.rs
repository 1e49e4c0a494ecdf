//! Second factors: enrolling them, showing them, and what administrators do when they are lost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{MfaKind, TotpHash, VoteDecision};
use crate::{Base64, SecretText, Timestamp};

/// A second factor; nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Factor {
    /// Its name: `mfa_…`.
    pub id: String,
    /// What it is.
    pub kind: MfaKind,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it proves anything: it is confirmed, and codes are left.
    pub usable: bool,
    /// When it last proved something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Recovery codes that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes_left: Option<u32>,
    /// Whether an authenticator's credential is copied elsewhere (a synchronised passkey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<bool>,
}

/// The caller's second factors, and what its token proves now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MfaStatus {
    /// The factors.
    pub factors: Vec<Factor>,
    /// How the last proof was given that the token carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<MfaKind>,
    /// How many seconds ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_seconds_ago: Option<u64>,
    /// Whether authenticators can be registered with this server.
    pub authenticators: bool,
}

/// Asks for the seed of one-time codes (RFC 6238).
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTotp {
    /// What to call the factor: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The hash function; SHA-1 unless said, which every application can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<TotpHash>,
    /// The invitation, which a first factor needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<SecretText>,
}

/// A seed of one-time codes, shown this once: six digits every 30 seconds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StartedTotp {
    /// The factor, which proves nothing until it is confirmed.
    pub id: String,
    /// The seed in base32.
    pub seed: SecretText,
    /// The same as an `otpauth:` address for applications.
    pub address: SecretText,
    /// Until when it can be confirmed.
    pub expires: Timestamp,
}

/// Confirms one-time codes with one of them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishTotp {
    /// The factor.
    pub id: String,
    /// A code.
    pub code: SecretText,
}

/// Asks for a challenge to register an authenticator (W3C WebAuthn).
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartWebAuthn {
    /// The invitation, which a first factor needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<SecretText>,
}

/// What `navigator.credentials.create` needs, in the words of the standard; user verification is `required`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StartedWebAuthn {
    /// The challenge's name, for the answer.
    pub id: String,
    /// The challenge.
    pub challenge: Base64,
    /// The relying party's id.
    pub rp_id: String,
    /// The person's id for the authenticator.
    pub user_id: Base64,
    /// The person's name.
    pub user: String,
    /// Credentials that the person has already.
    pub exclude: Vec<Base64>,
    /// COSE numbers of the algorithms, the preferred first.
    pub algorithms: Vec<i64>,
    /// Until when it can be answered.
    pub expires: Timestamp,
}

/// What an authenticator answered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishWebAuthn {
    /// The challenge that is answered.
    pub id: String,
    /// What to call the factor: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// `clientDataJSON`.
    pub client_data: Base64,
    /// `attestationObject`.
    pub attestation: Base64,
    /// `getTransports()`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<String>,
}

/// Asks for a challenge for an authenticator that is registered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewChallenge {
    /// The vote that it is for; without it, it is for showing the factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<ChallengeOfVote>,
}

/// What a vote is about.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeOfVote {
    /// The request that waits: `apr_…`.
    pub approval: String,
    /// Its digest as it was shown, 64 hexadecimal digits.
    pub digest: String,
    /// What is decided.
    pub decision: VoteDecision,
}

/// What `navigator.credentials.get` needs; user verification is `required`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Challenge {
    /// Its name, for the answer.
    pub id: String,
    /// What is to be signed.
    pub challenge: Base64,
    /// The relying party's id.
    pub rp_id: String,
    /// The credentials that may sign.
    pub credentials: Vec<Base64>,
    /// Until when it can be answered.
    pub expires: Timestamp,
}

/// A second factor as it is shown: exactly one of a code, a recovery code and an assertion.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MfaAnswer {
    /// A one-time code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<SecretText>,
    /// The factor that the code is of, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// A recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_code: Option<SecretText>,
    /// What an authenticator answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<MfaAssertion>,
}

/// What `navigator.credentials.get` answered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MfaAssertion {
    /// The challenge that is answered.
    pub challenge: String,
    /// `rawId`.
    pub credential_id: Base64,
    /// `clientDataJSON`.
    pub client_data: Base64,
    /// `authenticatorData`.
    pub auth_data: Base64,
    /// `signature`.
    pub signature: Base64,
}

/// A proof that the caller's token carries now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MfaShown {
    /// How.
    pub kind: MfaKind,
    /// With which factor.
    pub credential: String,
    /// When.
    pub at: Timestamp,
}

/// Recovery codes, shown this once; each is good once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodes {
    /// The name of the set.
    pub id: String,
    /// The codes.
    pub codes: Vec<SecretText>,
}

/// Invites a person to enrol a first factor.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// How long the invitation is good, in seconds: 300 to 604,800 (7 days); one day unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// An invitation, shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// The code, to be handed over on another way than the person's token.
    pub code: SecretText,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// All factors of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Factors {
    /// The factors.
    pub factors: Vec<Factor>,
}
