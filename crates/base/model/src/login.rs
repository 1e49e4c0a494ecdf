//! How people and programs log in: methods, what they bind to, logins under way, service credentials.
//!
//! A login turns somebody else's evidence (a provider's token, a directory's yes, a certificate, a secret) into a
//! token of ours. The method says whom to believe, its bindings say whom that makes.

use keyreeve_crypto::digest::sha256;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

use crate::field::SealedField;
use crate::filed::{FiledRecord, RowId};
use crate::ids::{CredentialId, LoginId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// Signature algorithms that a token may be signed with (RFC 7518 section 3.1, RFC 8037 section 3.1). `none` and the
/// HMAC algorithms are not among them and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum JwsAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// A name that is no signature algorithm of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a signature algorithm: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")]
pub struct UnknownJwsAlgorithm;

impl JwsAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for JwsAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JwsAlgorithm {
    type Err = UnknownJwsAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownJwsAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(UnknownJwsAlgorithm)
    }
}

impl TryFrom<String> for JwsAlgorithm {
    type Error = UnknownJwsAlgorithm;

    fn try_from(text: String) -> Result<Self, UnknownJwsAlgorithm> {
        text.parse()
    }
}

impl From<JwsAlgorithm> for String {
    fn from(algorithm: JwsAlgorithm) -> Self {
        algorithm.name().to_owned()
    }
}

/// A way to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginMethod {
    /// Unique in the deployment.
    pub name: Name,
    /// Whom it believes, and how.
    pub kind: MethodKind,
    /// Who is who; the first that fits counts.
    pub bindings: Vec<Binding>,
    /// What happens to somebody whom a binding names and the deployment does not know.
    pub provision: Provision,
    /// How long a token of this method lasts, in seconds: 60 to 43,200.
    pub ttl_s: u32,
    /// How long after the login it can be renewed, in seconds; at most 43,200, and 0 means never.
    pub renew_s: u32,
    /// Networks one may log in from and use the tokens from (CIDR); empty means any.
    pub networks: BTreeSet<String>,
    /// True when nobody can log in with it, and no token of it counts.
    pub disabled: bool,
    /// How often it began to believe others than before, or the same as somebody else: sessions of an earlier edition
    /// do not count, for they have a principal, roles or networks that nobody says any more.
    #[serde(default)]
    pub edition: u32,
    /// When it was made. What came before, under a method of the same name that was removed, does not count.
    pub created: UnixMillis,
    /// When it was last written.
    pub updated: UnixMillis,
    /// By whom.
    pub updated_by: Name,
}

/// What a login method checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodKind {
    /// People, at an OpenID Connect provider.
    Oidc(OidcMethod),
    /// Workloads, with a signed token of their platform.
    Jwt(JwtMethod),
    /// People, with the password of a directory.
    Ldap(LdapMethod),
    /// Whoever holds a client certificate that the listener trusts.
    Certificate(CertificateMethod),
}

impl MethodKind {
    /// The names of every kind, in the order of the variants.
    pub const NAMES: [&str; 4] = ["oidc", "jwt", "ldap", "certificate"];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Oidc(_) => Self::NAMES[0],
            Self::Jwt(_) => Self::NAMES[1],
            Self::Ldap(_) => Self::NAMES[2],
            Self::Certificate(_) => Self::NAMES[3],
        }
    }
}

/// An OpenID Connect provider, for the authorization code flow with PKCE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcMethod {
    /// The issuer, exactly as in its tokens; discovery is at `/.well-known/openid-configuration` below it.
    pub issuer: String,
    /// What the provider knows this server as.
    pub client_id: String,
    /// The client's secret, for a confidential client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SealedField>,
    /// How the secret is shown to the provider.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Where the provider may send people back to, besides `http://127.0.0.1:PORT/callback/NAME` with any port (RFC
    /// 8252 section 7.3).
    pub redirect_uris: BTreeSet<String>,
    /// What is asked for besides `openid`.
    pub scopes: BTreeSet<String>,
    /// Which signatures count.
    pub algorithms: BTreeSet<JwsAlgorithm>,
    /// How far the provider's clock may be off, in seconds; at most 60.
    pub skew_s: u32,
    /// How long ago the person may have logged in at the provider, in seconds; none means any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_auth_age_s: Option<u32>,
    /// Values of the claims `amr` and `acr` that show a second factor. Empty: the provider's word is not taken.
    pub mfa_values: BTreeSet<String>,
    /// Certificates to trust instead of the usual roots, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// How a confidential client shows its secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// In the header `Authorization` (`client_secret_basic`, RFC 6749 section 2.3.1).
    #[default]
    Basic,
    /// In the body (`client_secret_post`), for providers that offer nothing else.
    Post,
}

/// Tokens of a platform: Kubernetes service accounts, CI systems, SPIFFE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtMethod {
    /// The issuer, exactly as in its tokens.
    pub issuer: String,
    /// Where its keys are.
    pub keys: JwtKeys,
    /// Which signatures count.
    pub algorithms: BTreeSet<JwsAlgorithm>,
    /// How far the issuer's clock may be off, in seconds; at most 60.
    pub skew_s: u32,
    /// The longest life a token may have been issued for (`exp` minus `iat`), in seconds.
    pub max_life_s: u32,
    /// Whether one token may log in more than once.
    pub reuse: Reuse,
    /// Whether a session may outlast the token that it came from, which says until when its issuer stands by it.
    #[serde(default)]
    pub outlast: bool,
    /// Certificates to trust instead of the usual roots, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JwtKeys {
    /// Named by the discovery document below the issuer.
    Discovery,
    /// A key set (RFC 7517) at this address.
    Url(String),
    /// This key set, in JSON.
    Static(String),
}

/// Whether one token may log in more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// Once only; a copy that somebody else has proves nothing.
    #[default]
    Refused,
    /// Until it ends: for platforms that give a workload one token for a longer time.
    Allowed,
}

/// A directory (LDAP, RFC 4511) that checks passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapMethod {
    /// `ldaps://host:port`, or `ldap://host:port` together with `starttls`.
    pub url: String,
    /// Whether to change to TLS before anything else is said.
    pub starttls: bool,
    /// Certificates to trust instead of the usual roots, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Whom to search as; none means without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_password: Option<SealedField>,
    /// Below which entry people are.
    pub base: String,
    /// How a person is found; `{user}` stands for what was typed, escaped (RFC 4515).
    pub filter: String,
    /// The attribute that names the person for bindings.
    pub user_attribute: String,
    /// How somebody's groups are found.
    #[serde(default)]
    pub groups: LdapGroups,
}

/// How the groups of somebody are found in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LdapGroups {
    /// None are asked for.
    #[default]
    None,
    /// They stand in an attribute of the person's own entry, such as `memberOf`.
    Attribute(String),
    /// By a search of their own.
    Search {
        /// Below which entry groups are.
        base: String,
        /// Which groups somebody is in; `{dn}` stands for the person's entry and `{user}` for the person's name.
        filter: String,
        /// The attribute that names a group, such as `cn`.
        attribute: String,
    },
}

/// Client certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateMethod {
    /// Prefixes of URI names that count, each ending in `/`, such as `spiffe://prod.example/`.
    pub uri_prefixes: BTreeSet<String>,
    /// Suffixes of DNS names that count, each beginning with `.`, such as `.payments.example`.
    pub dns_suffixes: BTreeSet<String>,
    /// Authorities, by SHA-256 of their public keys (SubjectPublicKeyInfo in DER, RFC 5280 section 4.1.2.7): one of
    /// them must stand between the certificate and what the listener trusts, or be it. Empty means any authority that
    /// the listener trusts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authorities: BTreeSet<Digest>,
}

/// What happens to somebody whom a binding names and the deployment does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provision {
    /// Refused.
    #[default]
    Existing,
    /// A principal without roles of its own is made.
    Create,
}

/// From evidence to a principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Unique in the method; the audit log names it.
    pub name: Name,
    /// Whose evidence.
    pub subject: SubjectRule,
    /// What the evidence must say besides: for each path, one of these values.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// For which audiences; one of them must be in the token. Workloads' tokens only.
    pub audiences: BTreeSet<String>,
    /// Whom that makes.
    pub principal: PrincipalRule,
    /// Roles of the session, besides the principal's own.
    pub roles: BTreeSet<Name>,
    /// Where the evidence has groups: the path of a claim, for LDAP and certificates `groups`.
    pub group_claim: String,
    /// Roles of the session that groups give.
    pub role_from_group: BTreeMap<String, Name>,
    /// Networks (CIDR) on top of the method's; empty means any.
    pub networks: BTreeSet<String>,
}

/// Whose evidence a binding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectRule {
    /// Anybody whom the rest of the binding fits.
    Any,
    /// This subject.
    Exact(String),
    /// Subjects of this form. Parts are separated by `:` and `/`; a part `*` stands for one part, and a last part `**`
    /// for one or more parts without `:`. A star beside other characters is refused.
    Glob(String),
}

/// Which principal a binding makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrincipalRule {
    /// This one.
    Fixed(Name),
    /// The one named by the evidence.
    FromClaim {
        /// The path of the claim; it must have exactly one value.
        claim: String,
        /// A text at its beginning that is taken away, and without which it does not fit.
        strip: String,
        /// A text that is put in front.
        prefix: String,
    },
}

/// A digest of SHA-256; in storage hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex::encode(digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "a digest is 64 hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

/// A login that has begun and waits for its second half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginAttempt {
    /// Its id.
    pub id: LoginId,
    /// With which method.
    pub method: Name,
    /// SHA-256 of the state that comes back through the browser.
    pub state: Digest,
    /// SHA-256 of the secret that only who began it has.
    pub starter: Digest,
    /// What the provider must put into its token.
    pub nonce: String,
    /// The PKCE verifier (RFC 7636).
    pub pkce_verifier: SealedField,
    /// Where the provider sends the browser.
    pub redirect_uri: String,
    /// When it began.
    pub created: UnixMillis,
}

/// How long a login may take.
pub const LOGIN_TIME: Duration = Duration::from_secs(600);

impl LoginAttempt {
    /// True while it can still be finished.
    #[must_use]
    pub fn is_open(&self, now: UnixMillis) -> bool {
        self.created <= now && now < self.created.plus(LOGIN_TIME)
    }
}

/// Evidence that was used and does not count again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Which evidence, as a digest.
    pub evidence: Digest,
    /// With which method.
    pub method: Name,
    /// Until when it would have counted; it is forgotten then.
    pub until: UnixMillis,
}

/// Who first came as a principal that is named by a claim: nobody else comes as it, whatever the claim says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownSubject {
    /// With which method.
    pub method: Name,
    /// As whom.
    pub principal: Name,
    /// SHA-256 of issuer and subject as the other side names them.
    pub subject: Digest,
    /// When.
    pub since: UnixMillis,
}

impl KnownSubject {
    /// The row of those who come as this principal with this method.
    #[must_use]
    pub fn row(method: &Name, principal: &Name) -> RowId {
        // Names have no line feed, so that the two cannot be shifted.
        sha256(format!("keyreeve/subject/1\n{method}\n{principal}").as_bytes()).into()
    }
}

impl FiledRecord for KnownSubject {
    const TABLE: Table = Table::Subjects;

    fn row_id(&self) -> RowId {
        Self::row(&self.method, &self.principal)
    }

    fn parent(&self) -> String {
        self.principal.to_string()
    }
}

/// A secret by which a program logs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceCredential {
    /// Its public name.
    pub id: CredentialId,
    /// Whom it proves.
    pub principal: Name,
    /// What it is for.
    pub description: Label,
    /// SHA-256 of the secret, which has 256 random bits, so that a plain hash cannot be searched.
    pub secret: Digest,
    /// How often it can still be used; none means as often as wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// Networks it may be used from (CIDR); empty means any. Its tokens are bound to the same.
    pub networks: BTreeSet<String>,
    /// How long a token lasts that it gives, in seconds.
    pub token_ttl_s: u32,
    /// When it was made.
    pub created: UnixMillis,
    /// By whom.
    pub created_by: Name,
    /// When it ends.
    pub expires: UnixMillis,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<UnixMillis>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<UnixMillis>,
}

impl ServiceCredential {
    /// True while it proves anything.
    #[must_use]
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && self.created <= now && now < self.expires && self.uses_left != Some(0)
    }

    /// What is stored after one use at `now`; nothing when it does not count any more.
    #[must_use]
    pub fn used(&self, now: UnixMillis) -> Option<Self> {
        let used =
            Self { uses_left: self.uses_left.map(|left| left.saturating_sub(1)), last_used: Some(now), ..self.clone() };
        self.is_valid(now).then_some(used)
    }
}

/// A secret on its way to whom it is for: whoever opens it has it, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapped {
    /// SHA-256 of the wrapping token.
    pub token: Digest,
    /// Which credential is inside.
    pub credential: CredentialId,
    /// The secret, sealed under a key that only the bearer of the wrapping token can derive; gone once it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedField>,
    /// When it ends.
    pub expires: UnixMillis,
    /// When it was opened, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<UnixMillis>,
}

/// How long a credential is listed after it ended or was revoked (days).
pub const CREDENTIAL_KEPT_DAYS: u32 = 7;

/// How long it is remembered that a wrapped secret was opened or ended, so that a second try is noticed (days).
pub const WRAPPED_KEPT_DAYS: u32 = 1;

impl FiledRecord for LoginMethod {
    const TABLE: Table = Table::LoginMethods;

    fn row_id(&self) -> RowId {
        (&self.name).into()
    }

    fn parent(&self) -> String {
        self.kind.name().to_owned()
    }
}

impl FiledRecord for LoginAttempt {
    const TABLE: Table = Table::Logins;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.method.to_string()
    }

    fn forget(&self) -> Option<UnixMillis> {
        Some(self.created.plus(LOGIN_TIME))
    }
}

impl FiledRecord for Seen {
    const TABLE: Table = Table::Seen;

    fn row_id(&self) -> RowId {
        self.evidence.0.into()
    }

    fn parent(&self) -> String {
        self.method.to_string()
    }

    fn forget(&self) -> Option<UnixMillis> {
        Some(self.until)
    }
}

impl FiledRecord for ServiceCredential {
    const TABLE: Table = Table::Credentials;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.principal.to_string()
    }

    fn forget(&self) -> Option<UnixMillis> {
        let end = self.revoked.map_or(self.expires, |revoked| revoked.min(self.expires));
        Some(end.plus_days(CREDENTIAL_KEPT_DAYS))
    }
}

impl FiledRecord for Wrapped {
    const TABLE: Table = Table::Wrapped;

    fn row_id(&self) -> RowId {
        self.token.0.into()
    }

    fn parent(&self) -> String {
        self.credential.to_string()
    }

    fn forget(&self) -> Option<UnixMillis> {
        Some(self.expires.plus_days(WRAPPED_KEPT_DAYS))
    }
}

/// Why a login method was refused. The text says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidMethod(pub String);

mod check;

pub use check::{BINDINGS_MAX, DOCUMENT_MAX, ENTRIES_MAX, SKEW_MAX_S, TTL_MAX_S, TTL_MIN_S, VALUE_MAX};
