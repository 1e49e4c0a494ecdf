//! Logging in, login methods, service credentials.

use keyreeve_wire::Page;
use keyreeve_wire::access::Token;
use keyreeve_wire::login::{
    Credential, FinishOidc, IssueCredential, IssuedCredential, LoggedIn, LoginCredential, LoginJwt, LoginLdap,
    LoginMethod, OfferedMethod, PutLoginMethod, SetLoginSecret, StartOidc, StartedOidc, UnwrapCredential,
    UnwrappedCredential,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client, Repeat};

impl Client {
    /// Evidence is sent once: most of it counts once.
    async fn show<B: Serialize, T: DeserializeOwned>(
        &self,
        segments: &[&str],
        evidence: &B,
    ) -> Result<Answer<T>, ClientError> {
        self.send(self.call(Method::POST, segments)?.json(evidence)?.repeat(Repeat::Never)).await
    }

    /// The ways to log in.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn offered_methods(&self) -> Result<Answer<Page<OfferedMethod>>, ClientError> {
        self.get(&["login", "methods"], &[]).await
    }

    /// Begins a login at an OpenID provider. [`Client::begin_browser_login`] does it with a browser on this machine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_oidc(&self, method: &str, start: &StartOidc) -> Result<Answer<StartedOidc>, ClientError> {
        self.show(&["login", "oidc", method, "start"], start).await
    }

    /// Finishes a login at an OpenID provider.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn finish_oidc(&self, method: &str, finish: &FinishOidc) -> Result<Answer<LoggedIn>, ClientError> {
        self.show(&["login", "oidc", method, "finish"], finish).await
    }

    /// Logs a workload in with a token of its platform.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login_jwt(&self, method: &str, login: &LoginJwt) -> Result<Answer<LoggedIn>, ClientError> {
        self.show(&["login", "jwt", method], login).await
    }

    /// Logs somebody in with the password of a directory.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login_ldap(&self, method: &str, login: &LoginLdap) -> Result<Answer<LoggedIn>, ClientError> {
        self.show(&["login", "ldap", method], login).await
    }

    /// Logs a program in with its service credential.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login_credential(&self, login: &LoginCredential) -> Result<Answer<LoggedIn>, ClientError> {
        self.show(&["login", "credential"], login).await
    }

    /// Logs in with the client certificate of this connection.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login_certificate(&self, method: &str) -> Result<Answer<LoggedIn>, ClientError> {
        self.send(self.call(Method::POST, &["login", "certificate", method])?.repeat(Repeat::Never)).await
    }

    /// Renews the session of the caller's own token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew_token(&self) -> Result<Answer<Token>, ClientError> {
        self.send(self.call(Method::POST, &["tokens", "self", "renew"])?).await
    }

    /// Revokes the caller's own token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_own_token(&self) -> Result<Answer<Token>, ClientError> {
        self.send(self.call(Method::DELETE, &["tokens", "self"])?).await
    }

    /// Makes or replaces a login method.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_login_method(&self, name: &str, put: &PutLoginMethod) -> Result<Answer<LoginMethod>, ClientError> {
        self.change(Method::PUT, &["login-methods", name], put).await
    }

    /// Sets the secret that a login method shows to a provider or directory, or takes it away.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_login_secret(&self, name: &str, set: &SetLoginSecret) -> Result<Answer<LoginMethod>, ClientError> {
        self.change(Method::PUT, &["login-methods", name, "secret"], set).await
    }

    /// The login methods.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login_methods(&self) -> Result<Answer<Page<LoginMethod>>, ClientError> {
        self.get(&["login-methods"], &[]).await
    }

    /// Shows a login method.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login_method(&self, name: &str) -> Result<Answer<LoginMethod>, ClientError> {
        self.get(&["login-methods", name], &[]).await
    }

    /// Removes a login method.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_login_method(&self, name: &str) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::DELETE, &["login-methods", name])?).await
    }

    /// Issues a service credential.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn issue_credential(
        &self,
        principal: &str,
        issue: &IssueCredential,
    ) -> Result<Answer<IssuedCredential>, ClientError> {
        self.change(Method::POST, &["principals", principal, "credentials"], issue).await
    }

    /// A page of the service credentials of a principal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn credentials(
        &self,
        principal: &str,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Credential>>, ClientError> {
        self.get(&["principals", principal, "credentials"], &page(after, limit)).await
    }

    /// Revokes a service credential of a principal, by its id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_credential(
        &self,
        principal: &str,
        credential: &str,
    ) -> Result<Answer<Credential>, ClientError> {
        self.send(self.call(Method::DELETE, &["principals", principal, "credentials", credential])?).await
    }

    /// Takes a wrapped secret out, once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unwrap_credential(
        &self,
        unwrap: &UnwrapCredential,
    ) -> Result<Answer<UnwrappedCredential>, ClientError> {
        self.show(&["credentials", "unwrap"], unwrap).await
    }
}
