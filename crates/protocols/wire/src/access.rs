//! Tokens, principals, policies.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{Effect, Method, PrincipalKind, Reach};
use crate::{Pairs, SecretText, Timestamp};

/// Issues a bearer token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Whom it proves.
    pub principal: String,
    /// How long it lasts, in seconds: 60 to 31,622,400 (366 days); one hour unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What it is for: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Networks it is good from (CIDR), besides those of the principal: at most 64; any unless said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
}

/// A token as it was issued: the only time its secret is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// The whole token, for the header `Authorization: Bearer`.
    pub token: SecretText,
    /// What is kept of it.
    #[serde(flatten)]
    pub info: Token,
}

/// What is known of a token; never its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its public id: `tok_…`.
    pub id: String,
    /// Whom it proves.
    pub principal: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// Whether it proves anything now.
    pub valid: bool,
    /// Networks it is good from (CIDR); empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// The login method that it came from; none for one that somebody issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// The caller as the server knows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The principal.
    pub principal: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// How it proved itself.
    pub method: Method,
    /// The id of the token it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The login that the token came from; none for one that somebody issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// Makes a principal, or replaces all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPrincipal {
    /// Person or program.
    pub kind: PrincipalKind,
    /// Roles that policies refer to: at most 64.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Labels for policies: at most 64.
    #[serde(default)]
    pub labels: Pairs,
    /// Networks it may come from (CIDR); empty means any.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Client certificates that prove it.
    #[serde(default)]
    pub certificates: Vec<CertificateRule>,
    /// True when it may do nothing for now.
    #[serde(default)]
    pub disabled: bool,
    /// The human being behind it, where several principals are one: such a person counts once where people decide
    /// together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// Alters a principal; what is not given stays as it is. A list is either altered, by what is added and removed, or
/// replaced as a whole. Two who alter one list at the same time do not undo one another.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePrincipal {
    /// Replaces the roles as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// Adds to the roles; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_roles: Vec<String>,
    /// Removes from the roles; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_roles: Vec<String>,
    /// Replaces the labels as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Pairs>,
    /// Sets labels: new ones, or new values.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub set_labels: Pairs,
    /// Removes labels, by name; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
    /// Replaces the networks as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
    /// Adds to the networks; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_networks: Vec<String>,
    /// Removes from the networks; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_networks: Vec<String>,
    /// Replaces the certificates as a whole: not together with the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<CertificateRule>>,
    /// Adds to the certificates; what is there already stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_certificates: Vec<CertificateRule>,
    /// Removes from the certificates; refused when one is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_certificates: Vec<CertificateRule>,
    /// True when it may do nothing from now on, false when it may again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Says which human being is behind it; an empty text takes that away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// How a client certificate maps to a principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateRule {
    /// This very certificate: SHA-256 of its DER, in lower-case hexadecimal.
    Fingerprint(String),
    /// Any certificate of the trusted issuers with this DNS subject alternative name.
    DnsName(String),
    /// Any certificate of the trusted issuers with this URI subject alternative name.
    Uri(String),
}

/// Someone or something that may be allowed to do things.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Principal {
    /// Its name, unique.
    pub name: String,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Roles that policies refer to.
    pub roles: Vec<String>,
    /// Labels for policies.
    pub labels: Pairs,
    /// Networks it may come from (CIDR); empty means any.
    pub networks: Vec<String>,
    /// Client certificates that prove it.
    pub certificates: Vec<CertificateRule>,
    /// True when it may do nothing for now.
    pub disabled: bool,
    /// The human being behind it, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// What is probably not meant, in words: only in answers to writing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A principal was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrincipalDeleted {
    /// What is probably not meant, in words: rules of approval that nobody could satisfy any more.
    pub warnings: Vec<String>,
}

/// Makes or replaces a policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPolicy {
    /// Cedar, at most 64 KiB.
    pub text: String,
}

/// A policy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its name, unique.
    pub name: String,
    /// Cedar.
    pub text: String,
    /// Shipped with Keyreeve: cannot be replaced or removed.
    pub built_in: bool,
    /// When it was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

/// Asks whether a principal may do something, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Who would ask.
    pub principal: String,
    /// The operation, by its name in the list of actions: `key.encrypt`.
    pub action: String,
    /// On what: a key, keyring, token, principal or policy, as the operation needs. For a key to be made, its keyring;
    /// for a token to be made, its principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The key that re-encryption goes to; for `key.re-encrypt-from` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// From which IP address; unless said, one in the first of the principal's networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How the principal would prove itself: `token` or `mtls`; `token` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// At which time; now unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// How many seconds ago it would have shown a second factor; missing: it would have shown none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_age_seconds: Option<u64>,
    /// By which login method it would have come in; missing: by a token that was issued, or a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// With which encryption context.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context: Pairs,
}

/// The answer to [`ExplainRequest`].
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Whether it would be allowed: by every policy question that the operation needs, to an enabled principal, from
    /// that address.
    pub allowed: bool,
    /// One or a few sentences for a person.
    pub answer: String,
    /// Where refused: what would have to be there against the first refusal, nearest first.
    pub missing: Vec<String>,
    /// Every policy statement that covers the operation, those that apply first.
    pub statements: Vec<StatementTrace>,
}

/// What one policy statement says about a request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatementTrace {
    /// The action that was decided: an operation may need more than one.
    pub action: String,
    /// The policy.
    pub policy: String,
    /// The statement's `@id`, or its number in the policy.
    pub statement: String,
    /// Its `@description`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Permit or forbid.
    pub effect: Effect,
    /// How far it went.
    pub reach: Reach,
    /// What stopped it: the principals or resources it is about, the condition that does not hold, the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// One operation of the catalogue: what policies call an action.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// What it acts on: `Key`, `Keyring`, `Token`, `Principal`, `Policy`, `Audit` or `System`.
    pub resource: String,
    /// The groups of actions it belongs to.
    pub groups: Vec<String>,
    /// What it does.
    pub summary: String,
    /// The class of its audit records; missing when it is only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<crate::names::Class>,
    /// The routes that lead to it: `POST /v1/keys/{key}/encrypt`.
    pub routes: Vec<String>,
}
