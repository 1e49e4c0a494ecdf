//! Logging in: methods, logins with them, service credentials.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::access::Token;
use crate::names::{ClientAuth, LoginKind, Provision, Reuse};
use crate::{SecretText, Timestamp};

/// A way to log in, as far as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferedMethod {
    /// Its name.
    pub name: String,
    /// What it checks.
    pub kind: LoginKind,
}

/// Begins a login at an OpenID provider.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartOidc {
    /// Where the provider sends the browser back to: one of the method's, or `http://127.0.0.1:PORT/callback/METHOD`
    /// with any port. What comes back elsewhere is not for this login.
    pub redirect_uri: String,
}

/// A login that has begun.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StartedOidc {
    /// Its id, `lgn_…`, with which it is finished.
    pub attempt: String,
    /// Where the browser goes.
    pub authorization_url: String,
    /// What only the one who began it has, and shows to finish it.
    pub starter: SecretText,
    /// When it is too late.
    pub expires: Timestamp,
}

/// Finishes a login with what the browser brought back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishOidc {
    /// The login.
    pub attempt: String,
    /// What [`StartedOidc`] gave.
    pub starter: SecretText,
    /// `state` of the redirection.
    pub state: SecretText,
    /// `code` of the redirection.
    pub code: SecretText,
    /// `iss` of the redirection (RFC 9207), where the provider sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
}

/// Logs a workload in with a token of its platform.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginJwt {
    /// A JWT in the compact form, at most 16 KiB.
    pub jwt: SecretText,
}

/// Logs somebody in with the password of a directory.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginLdap {
    /// The name in the directory, at most 256 bytes.
    pub user: String,
    /// The password.
    pub password: SecretText,
}

/// Logs a program in with its service credential.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginCredential {
    /// The principal.
    pub role_id: String,
    /// The secret, `krs_…`.
    pub secret_id: SecretText,
}

/// Somebody who logged in: the only time the token is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// The whole token, for the header `Authorization: Bearer`.
    pub token: SecretText,
    /// What is kept of it.
    #[serde(flatten)]
    pub info: Token,
    /// Roles that the login gives besides those of the principal.
    pub roles: Vec<String>,
    /// Until when the token can be renewed; not at all where this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_until: Option<Timestamp>,
    /// Whether the provider showed a second factor.
    pub mfa: bool,
}

/// Issues a service credential.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueCredential {
    /// What it is for: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How long it lasts, in seconds: 60 to 31,622,400 (366 days); 30 days unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// How often it may be used; as often as wanted unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// Networks it may be used from (CIDR), to which its tokens are bound too; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// How long each of its tokens lasts, in seconds: 60 to 43,200; one hour unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_seconds: Option<u32>,
    /// Wraps the secret: the answer then has a token with which the secret can be had once, within so many seconds (10
    /// to 86,400).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap_seconds: Option<u64>,
}

/// A service credential as it was issued: the only time its secret is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IssuedCredential {
    /// The secret, `krs_…`, unless it is wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<SecretText>,
    /// The token with which the secret can be had once, `krw_…`, if it is wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_token: Option<SecretText>,
    /// Until when the wrapped secret can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped_until: Option<Timestamp>,
    /// What is kept of it.
    #[serde(flatten)]
    pub info: Credential,
}

/// What is known of a service credential; never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// Its public id: `crd_…`.
    pub id: String,
    /// Whom it proves.
    pub principal: String,
    /// What it is for.
    pub description: String,
    /// How often it can still be used; as often as wanted if that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// Networks it may be used from.
    pub networks: Vec<String>,
    /// How long each of its tokens lasts, in seconds.
    pub token_seconds: u32,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// Whether it proves anything now.
    pub valid: bool,
}

/// Asks for a wrapped secret, once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnwrapCredential {
    /// The token, `krw_…`.
    pub wrapping_token: SecretText,
}

/// The secret that was wrapped.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UnwrappedCredential {
    /// The secret, `krs_…`.
    pub secret_id: SecretText,
    /// The id of the credential: `crd_…`.
    pub credential: String,
    /// Whom it proves.
    pub principal: String,
}

/// Makes or replaces a login method. Its secret is set apart; a method that is replaced keeps its secret as long as it
/// is shown to the same other side.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutLoginMethod {
    /// Whom it believes, and how.
    pub kind: LoginMethodKind,
    /// Who is who; the first that fits counts.
    #[serde(default)]
    pub bindings: Vec<LoginBinding>,
    /// What happens to somebody whom a binding names and this deployment does not know: refused unless said.
    #[serde(default = "existing")]
    pub provision: Provision,
    /// How long a token of this method lasts, in seconds: 60 to 43,200; one hour unless said.
    #[serde(default = "hour")]
    pub ttl_s: u32,
    /// How long after the login it can be renewed, in seconds: at most 43,200; 12 hours unless said.
    #[serde(default = "half_a_day")]
    pub renew_s: u32,
    /// Networks one may log in from (CIDR), to which the tokens are bound too; empty means any.
    #[serde(default)]
    pub networks: Vec<String>,
    /// True when nobody can log in with it, and no token of it counts.
    #[serde(default)]
    pub disabled: bool,
}

const fn existing() -> Provision {
    Provision::Existing
}

const fn basic() -> ClientAuth {
    ClientAuth::Basic
}

const fn refused() -> Reuse {
    Reuse::Refused
}

const fn hour() -> u32 {
    3600
}

const fn half_a_day() -> u32 {
    43_200
}

const fn minute() -> u32 {
    60
}

/// Sets the secret that a login method shows to the other side.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLoginSecret {
    /// The client's secret with an OpenID provider, or the password of the account that searches a directory: at most
    /// 4,096 bytes. Without it the method has none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
}

/// A login method, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoginMethod {
    /// Its name, unique.
    pub name: String,
    /// Whom it believes, and how.
    pub kind: LoginMethodKind,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// Who is who.
    pub bindings: Vec<LoginBinding>,
    /// What happens to somebody whom a binding names and this deployment does not know.
    pub provision: Provision,
    /// How long a token of this method lasts, in seconds.
    pub ttl_s: u32,
    /// How long after the login it can be renewed, in seconds.
    pub renew_s: u32,
    /// Networks one may log in from.
    pub networks: Vec<String>,
    /// True when nobody can log in with it.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// What a login method checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LoginMethodKind {
    /// People, at an OpenID Connect provider.
    Oidc(OidcProvider),
    /// Workloads, with a signed token of their platform.
    Jwt(JwtIssuer),
    /// People, with the password of a directory.
    Ldap(LdapDirectory),
    /// Whoever holds a client certificate that the listener trusts.
    Certificate(CertificateNames),
}

/// An OpenID Connect provider, for the authorization code flow with PKCE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcProvider {
    /// The issuer, exactly as in its tokens.
    pub issuer: String,
    /// What the provider knows this server as.
    pub client_id: String,
    /// How the secret is shown to the provider.
    #[serde(default = "basic")]
    pub client_auth: ClientAuth,
    /// Where the provider may send people back to, besides `http://127.0.0.1:PORT/callback/METHOD` with any port. Not
    /// those of a method of another provider.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// What is asked for besides `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Which signatures count; RS256 unless said.
    #[serde(default = "rs256")]
    pub algorithms: Vec<String>,
    /// How far the provider's clock may be off, in seconds: at most 60.
    #[serde(default = "minute")]
    pub skew_s: u32,
    /// How long ago the person may have logged in at the provider, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_auth_age_s: Option<u32>,
    /// Values of the claims `amr` and `acr` that show a second factor; empty: the provider's word is not taken.
    #[serde(default)]
    pub mfa_values: Vec<String>,
    /// Certificates to trust instead of the usual authorities, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

fn rs256() -> Vec<String> {
    vec!["RS256".to_owned()]
}

/// Tokens of a platform: Kubernetes service accounts, CI systems, SPIFFE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtIssuer {
    /// The issuer, exactly as in its tokens.
    pub issuer: String,
    /// Where its keys are.
    #[serde(default)]
    pub keys: JwtKeys,
    /// Which signatures count; RS256 unless said.
    #[serde(default = "rs256")]
    pub algorithms: Vec<String>,
    /// How far the issuer's clock may be off, in seconds: at most 60.
    #[serde(default = "minute")]
    pub skew_s: u32,
    /// The longest life a token may have been issued for, in seconds; one hour unless said.
    #[serde(default = "hour")]
    pub max_life_s: u32,
    /// Whether one token may log in more than once.
    #[serde(default = "refused")]
    pub reuse: Reuse,
    /// Whether a session may outlast the token that it came from.
    #[serde(default)]
    pub outlast: bool,
    /// Certificates to trust instead of the usual authorities, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum JwtKeys {
    /// Named by the discovery document below the issuer.
    #[default]
    Discovery,
    /// A key set (RFC 7517) at this address.
    Url(String),
    /// This key set, JSON as a text.
    Static(String),
}

/// A directory (LDAP) that checks passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LdapDirectory {
    /// `ldaps://host:port`, or `ldap://host:port` together with `starttls`.
    pub url: String,
    /// Whether to change to TLS before anything else is said.
    #[serde(default)]
    pub starttls: bool,
    /// Certificates to trust instead of the usual authorities, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Whom to search as; without a name unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// Below which entry people are.
    pub base: String,
    /// How a person is found; `{user}` stands for what was typed.
    pub filter: String,
    /// The attribute that names the person for bindings.
    pub user_attribute: String,
    /// How somebody's groups are found.
    #[serde(default)]
    pub groups: LdapGroups,
}

/// How the groups of somebody are found in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// Which client certificates count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateNames {
    /// Prefixes of URI names, each ending in `/`, such as `spiffe://prod.example/`.
    #[serde(default)]
    pub uri_prefixes: Vec<String>,
    /// Suffixes of DNS names, each beginning with `.`, such as `.payments.example`.
    #[serde(default)]
    pub dns_suffixes: Vec<String>,
    /// Authorities that may vouch for them, by the SHA-256 of their public keys (SubjectPublicKeyInfo) in hexadecimal;
    /// any that the listener trusts unless said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
}

/// From evidence to a principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBinding {
    /// Unique in the method; the audit log names it.
    pub name: String,
    /// Whose evidence; anybody's unless said.
    #[serde(default)]
    pub subject: SubjectRule,
    /// What the evidence must say besides: for each path, one of these values.
    #[serde(default)]
    pub claims: BTreeMap<String, Vec<String>>,
    /// For which audiences; one of them must be in the token. Tokens of workloads only, and necessary there.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Whom that makes.
    pub principal: PrincipalRule,
    /// Roles of the session, besides the principal's own.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Where the evidence has groups; `groups` unless said.
    #[serde(default = "groups")]
    pub group_claim: String,
    /// Roles of the session that groups give.
    #[serde(default)]
    pub role_from_group: BTreeMap<String, String>,
    /// Networks (CIDR) on top of the method's; empty means any.
    #[serde(default)]
    pub networks: Vec<String>,
}

fn groups() -> String {
    "groups".to_owned()
}

/// Whose evidence a binding is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SubjectRule {
    /// Anybody whom the rest of the binding fits.
    #[default]
    Any,
    /// This subject.
    Exact(String),
    /// Subjects of this form, whose parts are separated by `:` and `/`: a part `*` stands for one part, a last part
    /// `**` for one or more parts without `:`.
    Glob(String),
}

/// Which principal a binding makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PrincipalRule {
    /// This one.
    Fixed(String),
    /// The one named by the evidence.
    FromClaim {
        /// The path of the claim; it must have exactly one value.
        claim: String,
        /// A text at its beginning that is taken away, and without which it does not fit.
        #[serde(default)]
        strip: String,
        /// A text that is put in front.
        #[serde(default)]
        prefix: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_method_is_enough() {
        let text = r#"{"kind":{"oidc":{"issuer":"https://login.example.com","client_id":"keyreeve"}},
            "bindings":[{"name":"staff","principal":{"from-claim":{"claim":"sub"}}}]}"#;
        let put: PutLoginMethod = serde_json::from_str(text).unwrap();
        assert_eq!((put.ttl_s, put.renew_s), (3600, 43_200));
        assert_eq!(put.bindings[0].group_claim, "groups");
        assert_eq!(put.bindings[0].subject, SubjectRule::Any);
    }

    #[test]
    fn unknown_words_are_refused() {
        for text in [
            r#"{"kind":{"saml":{}}}"#,
            r#"{"kind":{"oidc":{"issuer":"i","client_id":"c","client_secret":"in the clear"}}}"#,
            r#"{"kind":{"certificate":{}},"bindings":[{"name":"a","principal":{"fixed":"b","extra":1}}]}"#,
        ] {
            assert!(serde_json::from_str::<PutLoginMethod>(text).is_err(), "{text}");
        }
    }
}
