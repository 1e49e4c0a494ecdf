//! Tokens, principals, policies.

use keyreeve_wire::Page;
use keyreeve_wire::access::{
    Action, CreateToken, ExplainRequest, Explanation, Identity, IssuedToken, Policy, Principal, PrincipalDeleted,
    PutPolicy, PutPrincipal, Token, UpdatePrincipal,
};
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Issues a token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(&self, new: &CreateToken) -> Result<Answer<IssuedToken>, ClientError> {
        self.change(Method::POST, &["tokens"], new).await
    }

    /// A page of the tokens.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self, after: Option<&str>, limit: Option<u32>) -> Result<Answer<Page<Token>>, ClientError> {
        self.get(&["tokens"], &page(after, limit)).await
    }

    /// Revokes a token, by its id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, token: &str) -> Result<Answer<Token>, ClientError> {
        self.send(self.call(Method::DELETE, &["tokens", token])?).await
    }

    /// Who is asking, as the server knows it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn whoami(&self) -> Result<Answer<Identity>, ClientError> {
        self.get(&["tokens", "self"], &[]).await
    }

    /// Makes a principal, or replaces all that is known of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_principal(&self, name: &str, put: &PutPrincipal) -> Result<Answer<Principal>, ClientError> {
        self.change(Method::PUT, &["principals", name], put).await
    }

    /// Alters a principal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_principal(
        &self,
        name: &str,
        update: &UpdatePrincipal,
    ) -> Result<Answer<Principal>, ClientError> {
        self.change(Method::PATCH, &["principals", name], update).await
    }

    /// A page of the principals.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn principals(
        &self,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Principal>>, ClientError> {
        self.get(&["principals"], &page(after, limit)).await
    }

    /// Shows a principal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn principal(&self, name: &str) -> Result<Answer<Principal>, ClientError> {
        self.get(&["principals", name], &[]).await
    }

    /// Removes a principal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_principal(&self, name: &str) -> Result<Answer<PrincipalDeleted>, ClientError> {
        self.send(self.call(Method::DELETE, &["principals", name])?).await
    }

    /// Makes or replaces a policy.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_policy(&self, name: &str, text: &str) -> Result<Answer<Policy>, ClientError> {
        self.change(Method::PUT, &["policies", name], &PutPolicy { text: text.to_owned() }).await
    }

    /// A page of the policies.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policies(&self, after: Option<&str>, limit: Option<u32>) -> Result<Answer<Page<Policy>>, ClientError> {
        self.get(&["policies"], &page(after, limit)).await
    }

    /// Shows a policy.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policy(&self, name: &str) -> Result<Answer<Policy>, ClientError> {
        self.get(&["policies", name], &[]).await
    }

    /// Removes a policy.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_policy(&self, name: &str, base: Option<u64>) -> Result<Answer<()>, ClientError> {
        let base = base.map(|base| base.to_string());
        self.send_for_nothing(self.call(Method::DELETE, &["policies", name])?.query(&[("base", base)])).await
    }

    /// Whether a principal may do something, and why.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn explain_policy(&self, request: &ExplainRequest) -> Result<Answer<Explanation>, ClientError> {
        self.apply(&["policies", "explain"], request).await
    }

    /// Everything the server can be asked to do: what policies call actions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn actions(&self) -> Result<Answer<Page<Action>>, ClientError> {
        self.get(&["actions"], &[]).await
    }
}
