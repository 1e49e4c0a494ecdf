//! The port's suite over a real provider, and answers that no provider gives.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use keyreeve_identity_port::conformance::{ProviderFixture, oidc_suite};
use keyreeve_identity_port::{ClientProof, Exchange, OidcProvider, OutsideError, Trust};
use keyreeve_login_oidc::HttpsProvider;
use keyreeve_secret::SecretString;
use keyreeve_tests::Idp;

struct Fixture<'a>(&'a Idp);

#[async_trait]
impl ProviderFixture for Fixture<'_> {
    fn issuer(&self) -> String {
        self.0.issuer().to_owned()
    }

    fn trust(&self) -> Trust {
        Trust::only(self.0.ca_pem())
    }

    fn client(&self) -> (String, SecretString) {
        let (id, secret) = self.0.client();
        (id.to_owned(), SecretString::copy_from(secret))
    }

    fn redirect_uri(&self) -> String {
        self.0.redirect_uri().to_owned()
    }

    async fn login(&self) -> (SecretString, SecretString) {
        let (code, verifier) = self.0.code();
        (code.into(), verifier.into())
    }
}

mod idp {
    use super::*;

    #[tokio::test]
    async fn a_real_provider_passes_the_suite() {
        let Some(idp) = Idp::start() else { return };
        oidc_suite(&HttpsProvider::new(), &Fixture(&idp)).await;
    }

    #[tokio::test]
    async fn redirections_are_not_followed() {
        let Some(idp) = Idp::start() else { return };
        let (driver, trust) = (HttpsProvider::new(), Trust::only(idp.ca_pem()));
        let elsewhere = format!("{}/hostile/elsewhere", idp.issuer());
        let found = driver.discover(&elsewhere, &trust).await;
        assert!(matches!(&found, Err(OutsideError::Malformed(why)) if why.contains("307")), "{found:?}");
        let found = driver.keys(&format!("{elsewhere}/jwks"), &trust, None).await;
        assert!(matches!(found, Err(OutsideError::Malformed(_))), "{found:?}");

        // A code that a redirection carried on would be used up; this one is not.
        let ((id, secret), (code, verifier)) = (Fixture(&idp).client(), Fixture(&idp).login().await);
        let (real, led_away) = (format!("{}/token", idp.issuer()), format!("{elsewhere}/token"));
        let mut exchange = Exchange {
            token_endpoint: &led_away,
            client_id: &id,
            proof: ClientProof::Basic(&secret),
            code: &code,
            verifier: &verifier,
            redirect_uri: idp.redirect_uri(),
        };
        let found = driver.exchange(&exchange, &trust).await;
        assert!(matches!(found, Err(OutsideError::Malformed(_))), "{found:?}");
        exchange.token_endpoint = &real;
        driver.exchange(&exchange, &trust).await.unwrap();
    }

    #[tokio::test]
    async fn too_much_is_not_read_to_its_end() {
        let Some(idp) = Idp::start() else { return };
        let (driver, trust) = (HttpsProvider::new(), Trust::only(idp.ca_pem()));
        for kind in ["huge", "promised"] {
            let found = driver.keys(&format!("{}/hostile/{kind}", idp.issuer()), &trust, None).await;
            assert!(matches!(&found, Err(OutsideError::Malformed(why)) if why.contains("262144")), "{kind}: {found:?}");
        }
    }

    #[tokio::test]
    async fn what_breaks_off_or_is_busy_may_be_asked_again() {
        let Some(idp) = Idp::start() else { return };
        let (driver, trust) = (HttpsProvider::new(), Trust::only(idp.ca_pem()));
        for kind in ["broken", "busy"] {
            let found = driver.keys(&format!("{}/hostile/{kind}", idp.issuer()), &trust, None).await;
            assert!(matches!(found, Err(OutsideError::Unreachable(_))), "{kind}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_secret_may_travel_in_the_body_where_the_provider_takes_it_there() {
        let Some(idp) = Idp::start() else { return };
        let (driver, trust) = (HttpsProvider::new(), Trust::only(idp.ca_pem()));
        let ((id, secret), (code, verifier)) = (Fixture(&idp).client(), Fixture(&idp).login().await);
        let endpoint = format!("{}/token", idp.issuer());
        let exchange = |proof| Exchange {
            token_endpoint: &endpoint,
            client_id: &id,
            proof,
            code: &code,
            verifier: &verifier,
            redirect_uri: idp.redirect_uri(),
        };
        // A client that has a secret must show it.
        let found = driver.exchange(&exchange(ClientProof::Public), &trust).await;
        assert!(matches!(&found, Err(OutsideError::Refused(why)) if why == "invalid_client (401)"), "{found:?}");
        driver.exchange(&exchange(ClientProof::Post(&secret)), &trust).await.unwrap();
    }

    /// A certificate for another name, of an authority that is trusted.
    #[tokio::test]
    async fn the_name_in_the_certificate_counts() {
        let Some(idp) = Idp::start() else { return };
        let by_another_name = idp.issuer().replace("localhost", "127.0.0.2");
        let found = HttpsProvider::new().discover(&by_another_name, &Trust::only(idp.ca_pem())).await;
        // Node listens at 127.0.0.1 only, so at most nobody is there; what must not happen is an answer.
        assert!(matches!(found, Err(OutsideError::Untrusted(_) | OutsideError::Unreachable(_))), "{found:?}");
    }
}
