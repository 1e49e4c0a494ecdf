//! The SDK's way to the network and to the time: over the HTTP client that all services use here.

use std::fmt;
use std::time::SystemTime;

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::{Method, Url};

use crate::http::{Https, send_whole};
use crate::{RemoteError, WallClock};

/// The time of day for signatures and the end of credentials.
#[derive(Clone)]
pub(super) struct Clock(pub(super) WallClock);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    https: Https,
}

impl Connector {
    pub(super) fn new(https: Https) -> Self {
        Self { https }
    }

    /// HTTPS, or the services that hand out credentials on the machine itself, which are reached by literal addresses.
    fn address(&self, text: &str) -> Result<Url, RemoteError> {
        let url: Url = text.parse().map_err(|_| RemoteError::Malformed("the address is no URL".to_owned()))?;
        if url.scheme() == "http" && is_agent(&url) { Ok(url) } else { self.https.address(text) }
    }

    async fn ask(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: RemoteError| ConnectorError::user(error.into());
        let url = self.address(request.uri()).map_err(user)?;
        let method =
            Method::from_bytes(request.method().as_bytes()).map_err(|error| ConnectorError::user(error.into()))?;
        let mut asked = self.https.client().request(method, url);
        for (name, value) in request.headers() {
            // The client counts the body itself.
            if !name.eq_ignore_ascii_case("content-length") {
                asked = asked.header(name, value);
            }
        }
        let body = request.body().bytes().map(<[u8]>::to_vec);
        let body = body.ok_or_else(|| ConnectorError::user("a streamed request".into()))?;
        let (answer, headers) = send_whole(asked.body(body)).await.map_err(|error| match error {
            RemoteError::Unreachable(_) => ConnectorError::io(error.into()),
            other => ConnectorError::user(other.into()),
        })?;
        let other = |what: &'static str| ConnectorError::other(what.into(), None);
        let status = answer.status.as_u16().try_into().map_err(|_| other("a status that is none"))?;
        // The SDK reads it from here on, and keeps it no longer than the request.
        let body = SdkBody::from(answer.body.declassify("the body of an answer, read by the SDK"));
        let mut response = HttpResponse::new(status, body);
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                response.headers_mut().try_append(name.as_str().to_owned(), value.to_owned()).ok();
            }
        }
        Ok(response)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().ask(request))
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        None
    }
}

/// Whether this is the address of an agent that hands out credentials: of an instance (169.254.169.254,
/// `fd00:ec2::254`), a container (169.254.170.2) or a pod (169.254.170.23, `fd00:ec2::23`).
fn is_agent(url: &Url) -> bool {
    const AGENTS: [&str; 5] =
        ["169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]", "[fd00:ec2::23]"];
    url.host_str().is_some_and(|host| AGENTS.contains(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_agents_on_the_machine() {
        let connector = Connector::new(Https::new(None).unwrap().with_plain_loopback());
        for fits in [
            "https://kms.eu-central-1.amazonaws.com/",
            "http://169.254.169.254/latest/api/token",
            "http://[fd00:ec2::254]/latest/meta-data",
            "http://169.254.170.2/v2/credentials/x",
            "http://127.0.0.1:4566/",
        ] {
            assert!(connector.address(fits).is_ok(), "{fits}");
        }
        for not in ["http://kms.eu-central-1.amazonaws.com/", "http://169.254.1.1/", "http://10.0.0.1/", "ftp://x/"] {
            assert!(connector.address(not).is_err(), "{not}");
        }
    }
}
