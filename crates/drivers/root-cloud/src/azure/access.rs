//! Tokens of Microsoft Entra ID, in the three ways a server can have one.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{StatusCode, Url};

use super::AzureLogin;
use super::answer::{token, token_refusal};
use crate::http::{Form, Https, send};
use crate::token::{Token, TokenSource};
use crate::{RemoteError, read_secret};

/// Where tokens come from unless the configuration says otherwise.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// The instance metadata service, by its address: a name may be anybody's, and there is no TLS.
const METADATA: &str = "http://169.254.169.254";

/// How an assertion is told to be one (RFC 7523, section 2.2).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Where the tokens come from.
pub(super) struct Access {
    https: Https,
    login: AzureLogin,
    resource: String,
    endpoint: Url,
}

impl Access {
    pub(super) fn new(
        https: Https,
        login: AzureLogin,
        resource: String,
        authority: Option<String>,
        identity_endpoint: Option<String>,
    ) -> Result<Self, RemoteError> {
        let endpoint = match &login {
            AzureLogin::Secret { tenant, .. } | AzureLogin::Federated { tenant, .. } => {
                let mut url = https.address(authority.as_deref().unwrap_or(AUTHORITY))?;
                if tenant.is_empty() || !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
                    return Err(RemoteError::Malformed("the tenant is an id or a domain".to_owned()));
                }
                url.set_path(&format!("/{tenant}/oauth2/v2.0/token"));
                url
            }
            AzureLogin::Managed { .. } => {
                let mut url = match &identity_endpoint {
                    Some(other) => https.address(other)?,
                    None => METADATA.parse().map_err(|_| RemoteError::Malformed("no address".to_owned()))?,
                };
                url.set_path("/metadata/identity/oauth2/token");
                url
            }
        };
        Ok(Self { https, login, resource, endpoint })
    }

    /// The application's own token (client credentials; RFC 6749, section 4.4).
    async fn of_application(&self, client: &str, proof: Form) -> Result<Token, RemoteError> {
        let form = proof.pair("client_id", client).pair("scope", &format!("{}/.default", self.resource));
        let form = form.pair("grant_type", "client_credentials");
        let request = self.https.client().post(self.endpoint.clone());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.body());
        let answer = send(request).await?;
        match answer.status {
            StatusCode::OK => token(answer.body.expose()),
            _ => Err(token_refusal(&answer)),
        }
    }

    /// The machine's token (Azure Instance Metadata Service).
    async fn of_machine(&self, client: Option<&str>) -> Result<Token, RemoteError> {
        let mut url = self.endpoint.clone();
        url.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", &self.resource);
        if let Some(client) = client {
            url.query_pairs_mut().append_pair("client_id", client);
        }
        let answer = send(self.https.client().get(url).header(HeaderName::from_static("metadata"), "true")).await?;
        match answer.status {
            StatusCode::OK => token(answer.body.expose()),
            // It is starting, or being moved (documentation of the service, "Retry guidance").
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(RemoteError::Unreachable("the machine's identity is not there (yet)".to_owned()))
            }
            _ => Err(token_refusal(&answer)),
        }
    }
}

#[async_trait]
impl TokenSource for Access {
    async fn ask(&self) -> Result<Token, RemoteError> {
        match &self.login {
            AzureLogin::Secret { client, file, .. } => {
                let secret = read_secret(file)?;
                self.of_application(client, Form::default().pair("client_secret", secret.expose())).await
            }
            AzureLogin::Federated { client, file, .. } => {
                let assertion = read_secret(file)?;
                let proof = Form::default().pair("client_assertion_type", ASSERTION);
                self.of_application(client, proof.pair("client_assertion", assertion.expose())).await
            }
            AzureLogin::Managed { client } => self.of_machine(client.as_deref()).await,
        }
    }
}

/// Longest life of a token that is believed.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);
