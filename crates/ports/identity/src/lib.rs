//! The identity port: whom the server asks outside who somebody is.
//!
//! Two ports, for two kinds of others: an OpenID provider, from which documents and tokens are fetched, and a
//! directory, which is asked whether a password is somebody's. What the answers prove is decided above, over bytes and
//! facts; what is here only fetches them, from the server that was meant and from no other.
//!
//! Every call leaves the machine. A driver gives up after [`TOTAL`] at the latest, reads no more than [`ANSWER_MAX`],
//! follows nothing that an answer points at, and speaks TLS with a server whose certificate it has checked.
#![forbid(unsafe_code)]
#![cfg_attr(any(test, feature = "conformance"), allow(clippy::unwrap_used))]

use std::time::Duration;

use async_trait::async_trait;
use keyreeve_identity::ldap::LdapEntry;
use keyreeve_secret::{SecretBytes, SecretString};
use thiserror::Error;

#[cfg(feature = "conformance")]
pub mod conformance;

/// Longest answer that is read, in bytes. Discovery documents, key sets and token answers have a few kilobytes.
pub const ANSWER_MAX: usize = 256 * 1024;
/// How long a connection may take to come about, TLS included.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How long one call may take altogether.
pub const TOTAL: Duration = Duration::from_secs(10);

/// Why nothing was learnt from outside, sorted by what is to be done. The texts are for the server's log and its
/// administrators; they hold no secret and nothing of what an answer says but short codes.
#[derive(Debug, Error)]
pub enum OutsideError {
    /// It does not answer, not in time, or says that it cannot now. The same call may succeed later.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It answers no: to this code, this client, this service account. Repeating it changes nothing.
    #[error("it refuses: {0}")]
    Refused(String),
    /// It answers something else than was asked for: a redirection, too much, what cannot be read.
    #[error("its answer is not understood: {0}")]
    Malformed(String),
    /// It is not known to be the one that was meant: its certificate is not trusted, or TLS is not to be had.
    #[error("it is not trusted: {0}")]
    Untrusted(String),
}

/// By which authorities a server's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Only these certificates, in PEM form; `None` is what the machine trusts.
    pub ca_pem: Option<String>,
}

impl Trust {
    /// Only these certificates, in PEM form.
    #[must_use]
    pub fn only(ca_pem: &str) -> Self {
        Self { ca_pem: Some(ca_pem.to_owned()) }
    }
}

/// How the client shows the token endpoint who it is.
#[derive(Debug)]
pub enum ClientProof<'a> {
    /// Not at all: a public client, which has only the code verifier.
    Public,
    /// With its secret in the `Authorization` header (`client_secret_basic`, RFC 6749 section 2.3.1).
    Basic(&'a SecretString),
    /// With its secret in the body (`client_secret_post`), for providers that offer nothing else.
    Post(&'a SecretString),
}

/// An authorization code that is to become tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The provider's token endpoint, from its discovery document.
    pub token_endpoint: &'a str,
    /// The client's name with the provider.
    pub client_id: &'a str,
    /// How it shows that it is this client.
    pub proof: ClientProof<'a>,
    /// The code that the browser brought back.
    pub code: &'a SecretString,
    /// The PKCE verifier whose challenge was in the authorization request.
    pub verifier: &'a SecretString,
    /// The redirect URI of the authorization request, as it was there.
    pub redirect_uri: &'a str,
}

/// An OpenID provider, or whoever else publishes the keys of its tokens.
///
/// # Contract
/// - Addresses are `https`; anything else is [`OutsideError::Untrusted`] before a byte is sent, unless the driver was
///   told that it may speak plainly to this machine itself, for development.
/// - Redirections are not followed, proxies are not used, no cookie is kept: what is asked is asked of the server whose
///   address is given, and secrets go nowhere else.
/// - An answer longer than [`ANSWER_MAX`] is [`OutsideError::Malformed`] and is not read to its end.
/// - Answers come as they are. Whether they are what they should be is decided by the caller.
/// - Any number of callers at once. Nothing is remembered from call to call but connections.
/// - Nothing is repeated: a code that was sent is used up, whatever became of the answer.
#[async_trait]
pub trait OidcProvider: Send + Sync {
    /// The discovery document of an issuer (OpenID Connect Discovery 1.0, section 4), JSON.
    async fn discover(&self, issuer: &str, trust: &Trust) -> Result<Vec<u8>, OutsideError>;

    /// The set of keys at this address (RFC 7517, section 5), JSON. `bearer` is shown where keys are given out to
    /// known callers only.
    async fn keys(&self, url: &str, trust: &Trust, bearer: Option<&SecretString>) -> Result<Vec<u8>, OutsideError>;

    /// Exchanges a code for tokens: the body of the token answer (RFC 6749, section 5.1), JSON. A code that the
    /// provider does not take is [`OutsideError::Refused`] with its error code (section 5.2).
    async fn exchange(&self, exchange: &Exchange<'_>, trust: &Trust) -> Result<SecretBytes, OutsideError>;
}

/// Where a directory is and how somebody is found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPlace {
    /// `ldaps://host:port`, or `ldap://host:port` together with `starttls`.
    pub url: String,
    /// Whether TLS begins inside of the connection (RFC 4511 section 4.14).
    pub starttls: bool,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// As whom the directory is searched; `None` searches anonymously.
    pub bind_dn: Option<String>,
    /// Below which entry people are searched.
    pub base: String,
    /// How somebody is found, a filter (RFC 4515) in which `{user}` stands for the name that was typed, such as
    /// `(&(objectClass=person)(uid={user}))`.
    pub filter: String,
    /// The attribute that names somebody, as the directory writes it: `uid`, `sAMAccountName`.
    pub user_attr: String,
    /// How groups are found.
    pub groups: Groups,
}

/// How the groups of somebody are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Groups {
    /// None are asked for.
    #[default]
    None,
    /// They stand in an attribute of the person's own entry, such as `memberOf`.
    Attribute(String),
    /// By a search of their own.
    Search {
        /// Below which entry groups are searched.
        base: String,
        /// Which groups somebody is in, a filter in which `{dn}` stands for the person's entry and `{user}` for the
        /// name in `user_attr`, such as `(member={dn})`.
        filter: String,
        /// The attribute that names a group, such as `cn`.
        attribute: String,
    },
}

/// Most groups of one person that are taken; whoever has more is [`Bind::Unfit`].
pub const GROUPS_MAX: usize = 1024;

/// What a directory says of a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// They are this person's.
    Person(LdapEntry),
    /// They are nobody's: a wrong password, or a name that is not there, or not once.
    Nobody,
    /// The password is right, and the entry cannot be used: why, in a short code for the audit log. Whoever asks is
    /// answered as for a wrong password, or would learn that it was right.
    Unfit(&'static str),
}

impl Bind {
    /// The person, if they are somebody's.
    #[must_use]
    pub fn person(self) -> Option<LdapEntry> {
        match self {
            Self::Person(entry) => Some(entry),
            Self::Nobody | Self::Unfit(_) => None,
        }
    }
}

/// A directory that knows passwords: LDAP (RFC 4511) with a simple bind.
///
/// # Contract
/// - No password and no name is sent before TLS with a trusted server stands. Where StartTLS is not to be had the call
///   fails with [`OutsideError::Untrusted`].
/// - An empty password is nobody's and never reaches the wire: directories take it for an anonymous bind and say yes
///   (RFC 4513 section 5.1.2).
/// - What was typed is only ever a value in a filter, never part of one.
/// - Exactly one entry must be found; its password is tried on a connection of its own, so that a right password leaves
///   nothing behind.
/// - [`Bind::Nobody`] does not say whether the name or the password is wrong. The same steps are made for every name
///   and every password, groups included: for a name that is not there they are asked of an entry that does not exist.
///   How long the directory itself takes for either is its own.
/// - What is wrong with one entry is never an error, which would tell apart who is there: errors are about the
///   directory and its settings, and come whoever asks.
/// - Referrals are not followed.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Whose name and password these are; what the entry says, its groups sorted. `service` is the password of
    /// `bind_dn`. Names and passwords that cannot be any (`keyreeve_identity::ldap`) are nobody's.
    async fn bind(
        &self,
        place: &DirectoryPlace,
        service: Option<&SecretString>,
        user: &str,
        password: &SecretString,
    ) -> Result<Bind, OutsideError>;
}
