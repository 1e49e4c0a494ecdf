//! The port's suite over a real directory, over both kinds of TLS, and over none.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use keyreeve_identity_port::conformance::{DirectoryFixture, directory_suite};
use keyreeve_identity_port::{Directory, DirectoryPlace, Groups, OutsideError, Trust};
use keyreeve_login_ldap::LdapDirectory;
use keyreeve_secret::SecretString;
use keyreeve_tests::Slapd;

struct Fixture<'a> {
    slapd: &'a Slapd,
    starttls: bool,
}

impl DirectoryFixture for Fixture<'_> {
    fn place(&self) -> DirectoryPlace {
        let base = self.slapd.base();
        DirectoryPlace {
            url: if self.starttls { self.slapd.ldap() } else { self.slapd.ldaps() },
            starttls: self.starttls,
            trust: Trust::only(self.slapd.ca_pem()),
            bind_dn: Some(self.slapd.service().0.to_owned()),
            base: format!("ou=people,{base}"),
            filter: "(&(objectClass=inetOrgPerson)(uid={user}))".to_owned(),
            user_attr: "uid".to_owned(),
            groups: Groups::Search {
                base: format!("ou=groups,{base}"),
                filter: "(&(objectClass=groupOfNames)(member={dn}))".to_owned(),
                attribute: "cn".to_owned(),
            },
        }
    }

    fn service(&self) -> SecretString {
        SecretString::copy_from(self.slapd.service().1)
    }

    fn somebody(&self) -> (String, SecretString, Vec<String>) {
        ("alice".to_owned(), password_of("alice"), vec!["keys".to_owned(), "staff".to_owned()])
    }

    fn odd_names(&self) -> Vec<(String, SecretString)> {
        self.slapd.odd_names().into_iter().map(|name| (name.to_owned(), password_of(name))).collect()
    }
}

fn password_of(name: &str) -> SecretString {
    format!("{name} knows this").into()
}

mod slapd {
    use super::*;

    #[tokio::test]
    async fn a_real_directory_passes_the_suite() {
        let Some(slapd) = Slapd::start() else { return };
        directory_suite(&LdapDirectory::new(), &Fixture { slapd: &slapd, starttls: false }).await;
    }

    #[tokio::test]
    async fn a_real_directory_passes_the_suite_with_starttls() {
        let Some(slapd) = Slapd::start() else { return };
        directory_suite(&LdapDirectory::new(), &Fixture { slapd: &slapd, starttls: true }).await;
    }

    #[tokio::test]
    async fn nothing_is_said_where_starttls_is_refused() {
        let Some(slapd) = Slapd::start_without_tls() else { return };
        let fixture = Fixture { slapd: &slapd, starttls: true };
        let tap = Tap::before(slapd.plain_port());
        let place = DirectoryPlace { url: format!("ldap://localhost:{}", tap.port), ..fixture.place() };
        let found = LdapDirectory::new().bind(&place, Some(&fixture.service()), "alice", &password_of("alice")).await;
        assert!(matches!(&found, Err(OutsideError::Untrusted(why)) if why.contains("StartTLS")), "{found:?}");
        let heard = tap.heard();
        // The object identifier of StartTLS (RFC 4511, section 4.14.1) was asked for, and nothing else was said.
        assert!(contains(&heard, b"1.3.6.1.4.1.1466.20037"));
        for secret in ["alice", "knows this", "service", "keyreeve"] {
            assert!(!contains(&heard, secret.as_bytes()), "{secret}: {heard:?}");
        }
    }

    #[tokio::test]
    async fn nothing_readable_passes_over_starttls() {
        let Some(slapd) = Slapd::start() else { return };
        let fixture = Fixture { slapd: &slapd, starttls: true };
        let tap = Tap::before(slapd.plain_port());
        let place = DirectoryPlace { url: format!("ldap://localhost:{}", tap.port), ..fixture.place() };
        let found = LdapDirectory::new().bind(&place, Some(&fixture.service()), "alice", &password_of("alice")).await;
        assert_eq!(found.unwrap().person().unwrap().user, "alice");
        let heard = tap.heard();
        assert!(contains(&heard, b"1.3.6.1.4.1.1466.20037"));
        for secret in ["alice", "knows this", "service", "keyreeve"] {
            assert!(!contains(&heard, secret.as_bytes()), "{secret}");
        }
    }

    #[tokio::test]
    async fn groups_may_stand_in_the_entry() {
        let Some(slapd) = Slapd::start() else { return };
        let fixture = Fixture { slapd: &slapd, starttls: false };
        let of = |groups| DirectoryPlace { groups, ..fixture.place() };
        let (driver, service) = (LdapDirectory::new(), fixture.service());
        let place = of(Groups::Attribute("uid".to_owned()));
        let found =
            driver.bind(&place, Some(&service), "alice", &password_of("alice")).await.unwrap().person().unwrap();
        assert_eq!(found.groups, ["alice"]);
        let found = driver.bind(&of(Groups::None), Some(&service), "bob", &password_of("bob")).await.unwrap();
        let found = found.person().unwrap();
        assert!(found.groups.is_empty());
        let (attribute, value) = found.unique.unwrap();
        assert_eq!((attribute, value.len()), ("entryUUID", 36), "{value}");
    }

    #[tokio::test]
    async fn settings_that_cannot_be_meant_are_told() {
        let Some(slapd) = Slapd::start() else { return };
        let fixture = Fixture { slapd: &slapd, starttls: false };
        let (driver, service, password) = (LdapDirectory::new(), fixture.service(), password_of("alice"));
        let wrong = [
            DirectoryPlace { filter: "(uid=alice)".to_owned(), ..fixture.place() },
            DirectoryPlace { filter: "(uid={user}".to_owned(), ..fixture.place() },
            DirectoryPlace { base: "ou=nowhere,dc=example,dc=com".to_owned(), ..fixture.place() },
        ];
        for place in wrong {
            let found = driver.bind(&place, Some(&service), "alice", &password).await;
            assert!(matches!(found, Err(OutsideError::Refused(_))), "{place:?}: {found:?}");
        }
        // Said whoever asks, with whatever password: it is about the settings and not about anybody.
        let groups = Groups::Search {
            base: "ou=nowhere,dc=example,dc=com".to_owned(),
            filter: "(member={dn})".to_owned(),
            attribute: "cn".to_owned(),
        };
        let place = DirectoryPlace { groups, ..fixture.place() };
        for (user, password) in [("alice", &password), ("alice", &service), ("nobody", &service)] {
            let found = driver.bind(&place, Some(&service), user, password).await;
            assert!(matches!(found, Err(OutsideError::Refused(_))), "{found:?}");
        }
    }
}

/// What answers is no LDAP: the library's panic stays in its task.
#[tokio::test]
async fn a_server_that_speaks_something_else_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"\x30\x03\x02\x01\x01HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for (scheme, starttls) in [("ldaps", false), ("ldap", true)] {
        let place = DirectoryPlace {
            url: format!("{scheme}://127.0.0.1:{port}"),
            starttls,
            trust: Trust::default(),
            bind_dn: None,
            base: "dc=example".to_owned(),
            filter: "(uid={user})".to_owned(),
            user_attr: "uid".to_owned(),
            groups: Groups::None,
        };
        let found = LdapDirectory::new().bind(&place, None, "alice", &password_of("alice")).await;
        assert!(matches!(found, Err(OutsideError::Untrusted(_) | OutsideError::Malformed(_))), "{scheme}: {found:?}");
    }
}

fn contains(heard: &[u8], what: &[u8]) -> bool {
    heard.windows(what.len()).any(|window| window == what)
}

/// Stands before a port and hears what callers say to it.
struct Tap {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tap = Self { port: listener.local_addr().unwrap().port(), heard: Arc::default() };
        let heard = Arc::clone(&tap.heard);
        std::thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (back, to) = (server.try_clone().unwrap(), caller.try_clone().unwrap());
                std::thread::spawn(move || carry(back, to, None));
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || carry(caller, server, Some(&heard)));
            }
        });
        tap
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, heard: Option<&Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(heard) = heard {
            heard.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
