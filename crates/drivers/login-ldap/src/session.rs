//! One connection to a directory: over TLS before anything is said on it.

use std::collections::BTreeSet;

use keyreeve_identity_port::{CONNECT, DirectoryPlace, GROUPS_MAX, Groups, OutsideError, Trust};
use keyreeve_secret::SecretString;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, ResultEntry, Scope, SearchEntry, SearchOptions};

use crate::address::{Address, tls};
use crate::entry::{Found, Sought, attributes_of, of_groups, of_person};

/// Result codes of RFC 4511, appendix A.1, as far as they decide something.
mod code {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const SIZE_LIMIT_EXCEEDED: u32 = 4;
    pub(super) const REFERRAL: u32 = 10;
    pub(super) const CONSTRAINT_VIOLATION: u32 = 19;
    pub(super) const NO_SUCH_OBJECT: u32 = 32;
    pub(super) const INVALID_DN_SYNTAX: u32 = 34;
    pub(super) const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub(super) const INVALID_CREDENTIALS: u32 = 49;
    pub(super) const BUSY: u32 = 51;
    pub(super) const UNAVAILABLE: u32 = 52;
    pub(super) const UNWILLING_TO_PERFORM: u32 = 53;
}

/// How many entries a search for one person asks for: the second one says that the filter is not exact.
const PEOPLE: i32 = 2;

pub(crate) struct Session {
    ldap: Ldap,
    /// Ends with the session, whatever the other side does.
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(crate) async fn open(address: &Address, trust: &Trust) -> Result<Self, OutsideError> {
        let mut settings = LdapConnSettings::new().set_conn_timeout(CONNECT).set_starttls(address.starttls);
        if let Some(config) = tls(trust)? {
            settings = settings.set_config(config);
        }
        let opened = LdapConnAsync::with_settings(settings, &address.url).await;
        let (connection, ldap) = opened.map_err(|error| not_opened(&error, address.starttls))?;
        let driver = tokio::spawn(async move {
            // How it ended is seen by whoever waits for an answer on it.
            let _ = connection.drive().await;
        });
        Ok(Self { ldap, driver })
    }

    /// Whether this password is that of the account that searches.
    pub(crate) async fn bind(&mut self, dn: &str, password: &SecretString) -> Result<bool, OutsideError> {
        match self.bound(dn, password).await? {
            code::SUCCESS => Ok(true),
            code::INVALID_CREDENTIALS
            | code::NO_SUCH_OBJECT
            | code::INVALID_DN_SYNTAX
            | code::INAPPROPRIATE_AUTHENTICATION
            | code::CONSTRAINT_VIOLATION
            | code::UNWILLING_TO_PERFORM => Ok(false),
            other => Err(refused("the bind", other)),
        }
    }

    /// Whether this password is that person's. Whatever a directory has against one entry is a no like any other: only
    /// that it has no time, which it has for nobody, is told.
    pub(crate) async fn is_password(&mut self, dn: &str, password: &SecretString) -> Result<bool, OutsideError> {
        match self.bound(dn, password).await? {
            code::SUCCESS => Ok(true),
            rc @ (code::BUSY | code::UNAVAILABLE) => Err(refused("the bind", rc)),
            _ => Ok(false),
        }
    }

    async fn bound(&mut self, dn: &str, password: &SecretString) -> Result<u32, OutsideError> {
        // The library copies both into the message it sends, which is not wiped.
        let result = self.ldap.simple_bind(dn, password.expose()).await.map_err(|error| broken(&error))?;
        Ok(result.rc)
    }

    async fn search(
        &mut self,
        base: &str,
        filter: &str,
        attributes: Vec<&str>,
        most: i32,
    ) -> Result<(Vec<ResultEntry>, bool), OutsideError> {
        let options = SearchOptions::new().sizelimit(most);
        let searched = self.ldap.with_search_options(options).search(base, Scope::Subtree, filter, attributes).await;
        let searched = searched.map_err(|error| broken(&error))?;
        let entries: Vec<ResultEntry> =
            searched.0.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate()).collect();
        match searched.1.rc {
            code::SUCCESS => Ok((entries, false)),
            code::SIZE_LIMIT_EXCEEDED => Ok((entries, true)),
            other => Err(refused("the search", other)),
        }
    }

    /// The one entry of a name; nothing when there is none, or more than one.
    pub(crate) async fn person(&mut self, place: &DirectoryPlace, user: &str) -> Result<Option<Sought>, OutsideError> {
        let filter = of_person(&place.filter, user)?;
        let wanted = attributes_of(&place.user_attr, &place.groups);
        let (mut entries, more) = self.search(&place.base, &filter, wanted, PEOPLE).await?;
        match (entries.pop(), entries.is_empty() && !more) {
            (Some(only), true) => Ok(Some(Sought::read(only, &place.user_attr))),
            (Some(_), false) | (None, _) => Ok(None),
        }
    }

    /// The groups of somebody, or why they cannot be used.
    pub(crate) async fn groups(
        &mut self,
        how: &Groups,
        of: &Found,
    ) -> Result<Result<Vec<String>, &'static str>, OutsideError> {
        const TOO_MANY: &str = "too-many-groups";
        let names: BTreeSet<String> = match how {
            Groups::None => BTreeSet::new(),
            Groups::Attribute(name) => {
                of.attributes.get(&name.to_ascii_lowercase()).into_iter().flatten().cloned().collect()
            }
            Groups::Search { base, filter, attribute } => {
                let filter = of_groups(filter, of)?;
                let most = i32::try_from(GROUPS_MAX).unwrap_or(i32::MAX);
                let (entries, more) = self.search(base, &filter, vec![attribute], most).await?;
                if more {
                    return Ok(Err(TOO_MANY));
                }
                let values = entries.into_iter().map(SearchEntry::construct).flat_map(|entry| entry.attrs);
                let of_the_name = values.filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
                of_the_name.flat_map(|(_, values)| values).collect()
            }
        };
        Ok(if names.len() > GROUPS_MAX { Err(TOO_MANY) } else { Ok(names.into_iter().collect()) })
    }
}

/// Why there is no connection. Whatever is wrong once StartTLS was asked for means that there is no TLS.
fn not_opened(error: &LdapError, starttls: bool) -> OutsideError {
    match error {
        LdapError::Rustls { .. } | LdapError::DNSName { .. } => OutsideError::Untrusted(error.to_string()),
        LdapError::Io { source } if in_tls(source) => OutsideError::Untrusted(source.to_string()),
        LdapError::Io { source } => OutsideError::Unreachable(source.to_string()),
        LdapError::Timeout { .. } => OutsideError::Unreachable("no connection in time".to_owned()),
        LdapError::LdapResult { result } if starttls => {
            OutsideError::Untrusted(format!("it refuses StartTLS (code {})", result.rc))
        }
        other if starttls => OutsideError::Untrusted(format!("StartTLS failed: {other}")),
        other => OutsideError::Malformed(other.to_string()),
    }
}

fn in_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Why a connection that stood gave no answer.
fn broken(error: &LdapError) -> OutsideError {
    match error {
        LdapError::FilterParsing => OutsideError::Refused("the filter is none (RFC 4515)".to_owned()),
        LdapError::Timeout { .. } => OutsideError::Unreachable("no answer in time".to_owned()),
        other => OutsideError::Unreachable(format!("the connection ended: {other}")),
    }
}

fn refused(what: &str, rc: u32) -> OutsideError {
    match rc {
        code::BUSY | code::UNAVAILABLE => OutsideError::Unreachable(format!("it has no time for {what} (code {rc})")),
        code::REFERRAL => OutsideError::Refused(format!("{what} is referred to another server, which is not asked")),
        other => OutsideError::Refused(format!("{what}: code {other}")),
    }
}
