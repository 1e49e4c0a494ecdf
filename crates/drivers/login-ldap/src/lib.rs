//! The port of directories over LDAP (RFC 4511), with TLS from the first byte or StartTLS before anything else.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod entry;
mod session;

use async_trait::async_trait;
use keyreeve_identity::ldap::{LdapEntry, is_password, is_user_name};
use keyreeve_identity_port::{Directory, DirectoryPlace, OutsideError, TOTAL};
use keyreeve_secret::SecretString;

use address::Address;
use entry::Found;
use session::Session;

/// Asks directories.
#[derive(Debug, Default)]
pub struct LdapDirectory;

impl LdapDirectory {
    /// Nothing is kept from question to question.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Directory for LdapDirectory {
    async fn bind(
        &self,
        place: &DirectoryPlace,
        service: Option<&SecretString>,
        user: &str,
        password: &SecretString,
    ) -> Result<Option<LdapEntry>, OutsideError> {
        let address = Address::of(place)?;
        if !is_user_name(user) || !is_password(password.expose()) {
            return Ok(None);
        }
        let question = Question {
            address,
            place: place.clone(),
            service: service.map(SecretString::duplicate),
            user: user.to_owned(),
            password: password.duplicate(),
        };
        // The library panics over answers that are no LDAP. In a task of its own that is one answer not understood.
        let asked = tokio::spawn(tokio::time::timeout(TOTAL, question.ask())).await;
        match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(OutsideError::Unreachable("no answer in time".to_owned())),
            Err(_) => Err(OutsideError::Malformed("it is no LDAP".to_owned())),
        }
    }
}

struct Question {
    address: Address,
    place: DirectoryPlace,
    service: Option<SecretString>,
    user: String,
    password: SecretString,
}

impl Question {
    async fn ask(self) -> Result<Option<LdapEntry>, OutsideError> {
        let mut searching = Session::open(&self.address, &self.place.trust).await?;
        if let Some(dn) = &self.place.bind_dn {
            let Some(service) = self.service.as_ref().filter(|password| !password.is_empty()) else {
                return Err(OutsideError::Refused("the service account has no password".to_owned()));
            };
            if !searching.bind(dn, service).await? {
                return Err(OutsideError::Refused("the service account's name or password is wrong".to_owned()));
            }
        }
        let found = searching.person(&self.place, &self.user).await?;
        // For a name that is not there the same is asked, of an entry that does not exist.
        let nobody = format!("cn=keyreeve-asks-for-nobody,{}", self.place.base);
        let dn = found.as_ref().map_or(nobody.as_str(), |found| found.dn.as_str());
        let right = Session::open(&self.address, &self.place.trust).await?.bind(dn, &self.password).await?;
        match found {
            Some(found) if right => self.with_groups(&mut searching, found).await.map(Some),
            Some(_) | None => Ok(None),
        }
    }

    async fn with_groups(&self, searching: &mut Session, found: Found) -> Result<LdapEntry, OutsideError> {
        let groups = searching.groups(&self.place.groups, &found).await?;
        Ok(LdapEntry { dn: found.dn, user: found.user, groups, attributes: found.attributes })
    }
}
