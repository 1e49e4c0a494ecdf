//! The suites every driver of these ports passes, run from the driver's own tests over a real server.

use std::net::TcpListener;

use async_trait::async_trait;
use keyreeve_secret::SecretString;
use serde_json::Value;

use crate::{Bind, ClientProof, Directory, DirectoryPlace, Exchange, OidcProvider, OutsideError, Trust};

/// A real OpenID provider with one confidential client and somebody who logs in there.
#[async_trait]
pub trait ProviderFixture: Sync {
    /// Its issuer, an `https` address on this machine.
    fn issuer(&self) -> String;
    /// The authority of its certificate.
    fn trust(&self) -> Trust;
    /// Name and secret of the client.
    fn client(&self) -> (String, SecretString);
    /// Where the provider sends browsers back to.
    fn redirect_uri(&self) -> String;
    /// Logs somebody in with a browser: a fresh code, and the PKCE verifier it was asked for with.
    async fn login(&self) -> (SecretString, SecretString);
}

/// Runs the suite of OpenID providers. Panics where the contract is broken.
pub async fn oidc_suite(driver: &dyn OidcProvider, real: &dyn ProviderFixture) {
    documents_are_fetched(driver, real).await;
    a_code_becomes_tokens_once(driver, real).await;
    a_wrong_secret_is_refused(driver, real).await;
    a_wrong_verifier_is_refused(driver, real).await;
    an_unknown_authority_is_not_trusted(driver, real).await;
    plain_addresses_are_not_trusted(driver).await;
    nobody_there_is_unreachable(driver).await;
}

async fn document(driver: &dyn OidcProvider, real: &dyn ProviderFixture) -> Value {
    let bytes = driver.discover(&real.issuer(), &real.trust()).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn token_endpoint(driver: &dyn OidcProvider, real: &dyn ProviderFixture) -> String {
    document(driver, real).await["token_endpoint"].as_str().unwrap().to_owned()
}

async fn documents_are_fetched(driver: &dyn OidcProvider, real: &dyn ProviderFixture) {
    let document = document(driver, real).await;
    assert_eq!(document["issuer"], real.issuer());
    let url = document["jwks_uri"].as_str().unwrap();
    let keys: Value = serde_json::from_slice(&driver.keys(url, &real.trust(), None).await.unwrap()).unwrap();
    assert!(!keys["keys"].as_array().unwrap().is_empty());
    // A slash at the end of an issuer is not doubled.
    let slashed = format!("{}/", real.issuer());
    driver.discover(&slashed, &real.trust()).await.unwrap();
}

async fn a_code_becomes_tokens_once(driver: &dyn OidcProvider, real: &dyn ProviderFixture) {
    let endpoint = token_endpoint(driver, real).await;
    let ((id, secret), (code, verifier)) = (real.client(), real.login().await);
    let redirect = real.redirect_uri();
    let exchange = Exchange {
        token_endpoint: &endpoint,
        client_id: &id,
        proof: ClientProof::Basic(&secret),
        code: &code,
        verifier: &verifier,
        redirect_uri: &redirect,
    };
    let answer = driver.exchange(&exchange, &real.trust()).await.unwrap();
    let answer: Value = serde_json::from_slice(answer.expose()).unwrap();
    assert_eq!(answer["id_token"].as_str().unwrap().split('.').count(), 3, "an ID token in the compact form");
    let again = driver.exchange(&exchange, &real.trust()).await;
    assert!(matches!(&again, Err(OutsideError::Refused(why)) if why.contains("invalid_grant")), "{again:?}");
}

async fn a_wrong_secret_is_refused(driver: &dyn OidcProvider, real: &dyn ProviderFixture) {
    let endpoint = token_endpoint(driver, real).await;
    let ((id, _), (code, verifier)) = (real.client(), real.login().await);
    let (wrong, redirect) = (SecretString::copy_from("not the secret"), real.redirect_uri());
    let exchange = Exchange {
        token_endpoint: &endpoint,
        client_id: &id,
        proof: ClientProof::Basic(&wrong),
        code: &code,
        verifier: &verifier,
        redirect_uri: &redirect,
    };
    let refused = driver.exchange(&exchange, &real.trust()).await;
    assert!(matches!(&refused, Err(OutsideError::Refused(why)) if why.contains("invalid_client")), "{refused:?}");
}

async fn a_wrong_verifier_is_refused(driver: &dyn OidcProvider, real: &dyn ProviderFixture) {
    let endpoint = token_endpoint(driver, real).await;
    let ((id, secret), (code, _)) = (real.client(), real.login().await);
    let (_, another) = real.login().await;
    let redirect = real.redirect_uri();
    let exchange = Exchange {
        token_endpoint: &endpoint,
        client_id: &id,
        proof: ClientProof::Basic(&secret),
        code: &code,
        verifier: &another,
        redirect_uri: &redirect,
    };
    let refused = driver.exchange(&exchange, &real.trust()).await;
    assert!(matches!(&refused, Err(OutsideError::Refused(why)) if why.contains("invalid_grant")), "{refused:?}");
}

async fn an_unknown_authority_is_not_trusted(driver: &dyn OidcProvider, real: &dyn ProviderFixture) {
    let refused = driver.discover(&real.issuer(), &Trust::default()).await;
    assert!(matches!(refused, Err(OutsideError::Untrusted(_))), "{refused:?}");
    let refused = driver.discover(&real.issuer(), &Trust::only("no certificate")).await;
    assert!(matches!(refused, Err(OutsideError::Untrusted(_))), "{refused:?}");
}

async fn plain_addresses_are_not_trusted(driver: &dyn OidcProvider) {
    for address in ["http://idp.example.com", "http://localhost.example.com", "ftp://127.0.0.1", "127.0.0.1", ""] {
        let refused = driver.discover(address, &Trust::default()).await;
        assert!(matches!(refused, Err(OutsideError::Untrusted(_))), "{address}: {refused:?}");
    }
}

async fn nobody_there_is_unreachable(driver: &dyn OidcProvider) {
    let issuer = format!("https://localhost:{}", free_port());
    let refused = driver.discover(&issuer, &Trust::default()).await;
    assert!(matches!(refused, Err(OutsideError::Unreachable(_))), "{refused:?}");
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real directory with one person in two groups, and names that mean something in filters.
pub trait DirectoryFixture: Sync {
    /// Where it is; people are found by a filter, groups by a search.
    fn place(&self) -> DirectoryPlace;
    /// The password of the service account in `bind_dn`.
    fn service(&self) -> SecretString;
    /// Somebody: the name as the directory writes it, the password, the groups.
    fn somebody(&self) -> (String, SecretString, Vec<String>);
    /// Names of others, each with its password, in which characters stand that mean something in filters.
    fn odd_names(&self) -> Vec<(String, SecretString)>;
}

/// Runs the suite of directories. Panics where the contract is broken.
pub async fn directory_suite(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    the_right_password_finds_somebody(driver, real).await;
    names_are_as_the_directory_writes_them(driver, real).await;
    wrong_and_empty_passwords_are_nobodys(driver, real).await;
    what_is_typed_is_a_value(driver, real).await;
    odd_names_are_found(driver, real).await;
    two_entries_are_nobody(driver, real).await;
    an_entry_that_cannot_be_used_is_told_to_who_has_its_password_only(driver, real).await;
    a_wrong_service_account_is_refused(driver, real).await;
    an_unknown_authority_of_a_directory_is_not_trusted(driver, real).await;
    nothing_is_sent_in_the_clear(driver, real).await;
    no_directory_there_is_unreachable(driver, real).await;
}

async fn the_right_password_finds_somebody(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, groups) = real.somebody();
    let found = driver.bind(&real.place(), Some(&real.service()), &name, &password).await.unwrap().person().unwrap();
    assert_eq!(found.user, name);
    assert_eq!(found.groups, groups);
    assert!(found.dn.contains(&name), "{}", found.dn);
}

async fn names_are_as_the_directory_writes_them(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    let found = driver.bind(&real.place(), Some(&real.service()), &name.to_uppercase(), &password).await.unwrap();
    assert_eq!(found.person().unwrap().user, name, "the entry's own spelling, not what was typed");
}

async fn wrong_and_empty_passwords_are_nobodys(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    for (user, password) in [
        (name.as_str(), "wrong"),
        (name.as_str(), ""),
        ("nobody-of-this-name", password.expose()),
        ("nobody-of-this-name", ""),
        ("", password.expose()),
    ] {
        let password = SecretString::copy_from(password);
        let found = driver.bind(&real.place(), Some(&real.service()), user, &password).await.unwrap();
        assert_eq!(found, Bind::Nobody, "{user}");
    }
}

async fn what_is_typed_is_a_value(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    let stem = &name[..name.len() - 1];
    for typed in [
        "*".to_owned(),
        format!("{stem}*"),
        format!("{name})(objectClass=*"),
        format!("{name})(|(uid=*)"),
        format!("*)(uid={name}"),
        format!("{name}\0"),
        format!("\\{:02x}{}", name.as_bytes()[0], &name[1..]),
        format!("{name},ou=people"),
    ] {
        let found = driver.bind(&real.place(), Some(&real.service()), &typed, &password).await;
        assert!(matches!(found, Ok(Bind::Nobody)), "{typed:?}: {found:?}");
    }
}

async fn odd_names_are_found(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    for (name, password) in real.odd_names() {
        let found = driver.bind(&real.place(), Some(&real.service()), &name, &password).await.unwrap();
        assert_eq!(found.person().map(|found| found.user).as_ref(), Some(&name));
    }
}

async fn two_entries_are_nobody(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    // Everybody is found, whatever is typed; the password is the right one of one of them.
    let place = DirectoryPlace { filter: "(|(uid=*)(uid={user}))".to_owned(), ..real.place() };
    let found = driver.bind(&place, Some(&real.service()), &name, &password).await.unwrap();
    assert_eq!(found, Bind::Nobody);
}

async fn an_entry_that_cannot_be_used_is_told_to_who_has_its_password_only(
    driver: &dyn Directory,
    real: &dyn DirectoryFixture,
) {
    let (name, password, _) = real.somebody();
    let place = DirectoryPlace { user_attr: "telexNumber".to_owned(), ..real.place() };
    let found = driver.bind(&place, Some(&real.service()), &name, &password).await.unwrap();
    assert_eq!(found, Bind::Unfit("entry-without-name"));
    for name in [name.as_str(), "nobody-of-this-name"] {
        let wrong = SecretString::copy_from("wrong");
        assert_eq!(driver.bind(&place, Some(&real.service()), name, &wrong).await.unwrap(), Bind::Nobody, "{name}");
    }
}

async fn a_wrong_service_account_is_refused(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    let wrong = SecretString::copy_from("wrong");
    for service in [Some(&wrong), None] {
        let refused = driver.bind(&real.place(), service, &name, &password).await;
        assert!(matches!(refused, Err(OutsideError::Refused(_))), "{refused:?}");
    }
}

async fn an_unknown_authority_of_a_directory_is_not_trusted(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    for trust in [Trust::default(), Trust::only("no certificate")] {
        let place = DirectoryPlace { trust, ..real.place() };
        let refused = driver.bind(&place, Some(&real.service()), &name, &password).await;
        assert!(matches!(refused, Err(OutsideError::Untrusted(_))), "{refused:?}");
    }
}

/// A listener that only listens: nobody may even connect to it.
async fn nothing_is_sent_in_the_clear(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for url in [format!("ldap://127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"), "ldapi://socket".to_owned()] {
        let place = DirectoryPlace { url: url.clone(), starttls: false, ..real.place() };
        let refused = driver.bind(&place, Some(&real.service()), &name, &password).await;
        assert!(matches!(refused, Err(OutsideError::Untrusted(_))), "{url}: {refused:?}");
    }
    assert!(listener.accept().is_err(), "a connection without TLS was opened");
}

async fn no_directory_there_is_unreachable(driver: &dyn Directory, real: &dyn DirectoryFixture) {
    let (name, password, _) = real.somebody();
    let place = DirectoryPlace { url: format!("ldaps://localhost:{}", free_port()), ..real.place() };
    let place = DirectoryPlace { starttls: false, ..place };
    let refused = driver.bind(&place, Some(&real.service()), &name, &password).await;
    assert!(matches!(refused, Err(OutsideError::Unreachable(_))), "{refused:?}");
}
