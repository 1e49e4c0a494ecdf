//! The port of directories over LDAP (RFC 4511), with TLS from the first byte or StartTLS before anything else.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod entry;
mod session;

use async_trait::async_trait;
use keyreeve_identity::ldap::{LdapEntry, is_password, is_user_name};
use keyreeve_identity_port::{Bind, Directory, DirectoryPlace, OutsideError, TOTAL};
use keyreeve_secret::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

use address::Address;
use entry::Found;
use session::Session;

/// Questions under way at a time: each holds connections for up to [`TOTAL`], and whoever types names must not be able
/// to take all that there are, here or at the directory.
const AT_ONCE: usize = 32;

/// Asks directories.
#[derive(Debug)]
pub struct LdapDirectory {
    places: Arc<Semaphore>,
}

impl Default for LdapDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl LdapDirectory {
    /// Nothing is kept from question to question; at most 32 are under way.
    #[must_use]
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
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
    ) -> Result<Bind, OutsideError> {
        let address = Address::of(place)?;
        if !is_user_name(user) || !is_password(password.expose()) {
            return Ok(Bind::Nobody);
        }
        let question = Question {
            address,
            place: place.clone(),
            service: service.map(SecretString::duplicate),
            user: user.to_owned(),
            password: password.duplicate(),
        };
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| OutsideError::Unreachable("too many questions are under way".to_owned()))?;
        // The library panics over answers that are no LDAP. In a task of its own that is one answer not understood. The
        // task keeps the place: it goes on when nobody waits for it any more.
        let asked = tokio::spawn(async move {
            let _place = place;
            tokio::time::timeout(TOTAL, question.ask()).await
        });
        let asked = asked.await;
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
    async fn ask(self) -> Result<Bind, OutsideError> {
        let mut searching = Session::open(&self.address, &self.place.trust).await?;
        if let Some(dn) = &self.place.bind_dn {
            let Some(service) = self.service.as_ref().filter(|password| !password.is_empty()) else {
                return Err(OutsideError::Refused("the service account has no password".to_owned()));
            };
            if !searching.bind(dn, service).await? {
                return Err(OutsideError::Refused("the service account's name or password is wrong".to_owned()));
            }
        }
        let sought = searching.person(&self.place, &self.user).await?;
        // For a name that is not there, and an entry that cannot be used, the same is asked, of an entry that does not
        // exist. Groups come before the password is tried, so that what they answer, and how long it takes, says
        // nothing about it.
        let nobody = self.nobody();
        let found = sought.as_ref().and_then(|sought| sought.read.as_ref().ok());
        let groups = searching.groups(&self.place.groups, found.unwrap_or(&nobody)).await?;
        // A bind without a name is an anonymous one.
        let dn = sought.as_ref().map(|sought| sought.dn.as_str()).filter(|dn| !dn.is_empty()).unwrap_or(&nobody.dn);
        let right = Session::open(&self.address, &self.place.trust).await?.is_password(dn, &self.password).await?;
        let Some(sought) = sought.filter(|sought| right && !sought.dn.is_empty()) else { return Ok(Bind::Nobody) };
        Ok(match sought.read.and_then(|found| Ok((found, groups?))) {
            Ok((Found { dn, user, attributes, unique }, groups)) => {
                Bind::Person(LdapEntry { dn, user, attributes, groups, unique })
            }
            Err(reason) => Bind::Unfit(reason),
        })
    }

    fn nobody(&self) -> Found {
        let dn = format!("cn=keyreeve-asks-for-nobody,{}", self.place.base);
        Found { dn, user: self.user.clone(), attributes: BTreeMap::new(), unique: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_identity_port::{Groups, Trust};

    #[tokio::test]
    async fn a_directory_that_is_silent_takes_a_bounded_number_of_connections() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = DirectoryPlace {
            url: format!("ldaps://127.0.0.1:{}", listener.local_addr().unwrap().port()),
            starttls: false,
            trust: Trust::default(),
            bind_dn: None,
            base: "dc=example".to_owned(),
            filter: "(uid={user})".to_owned(),
            user_attr: "uid".to_owned(),
            groups: Groups::None,
        };
        let directory = Arc::new(LdapDirectory::new());
        let (mut asked, mut open) = (Vec::new(), Vec::new());
        for _ in 0..AT_ONCE {
            let (directory, place) = (Arc::clone(&directory), place.clone());
            asked.push(tokio::spawn(async move {
                directory.bind(&place, None, "alice", &SecretString::copy_from("x")).await
            }));
            open.push(listener.accept().await.unwrap());
        }
        let ask = || async { directory.bind(&place, None, "alice", &SecretString::copy_from("x")).await };
        let full = "too many questions are under way";
        let unreachable = |error| matches!(error, OutsideError::Unreachable(why) if why == full);
        assert!(unreachable(ask().await.unwrap_err()));
        // An answer that is none frees its place.
        drop(open);
        for one in asked {
            assert!(one.await.unwrap().is_err());
        }
        drop(listener);
        assert!(!unreachable(ask().await.unwrap_err()));
    }
}
