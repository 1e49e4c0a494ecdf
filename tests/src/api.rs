//! One caller of the HTTP interface, who sees what is on the wire.

use http::{HeaderMap, Method};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Where a server is, whom to trust, and who is asking.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https://localhost:7433`.
    pub url: String,
    /// The server's issuer, PEM.
    pub ca_pem: Vec<u8>,
    /// The bearer token, if one is shown.
    pub token: Option<String>,
    /// Client certificate and key, PEM, if they are shown.
    pub identity_pem: Option<Vec<u8>>,
}

impl Endpoint {
    /// The same for somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.trim().to_owned()), identity_pem: None, ..self.clone() }
    }

    /// The same for nobody in particular.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { token: None, identity_pem: None, ..self.clone() }
    }

    /// The same for whoever has this certificate.
    #[must_use]
    pub fn with_identity(&self, pem: Vec<u8>) -> Self {
        Self { token: None, identity_pem: Some(pem), ..self.clone() }
    }

    /// A caller.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self)
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("https://")
    }
}

/// No answer came: the connection failed or broke.
#[derive(Debug)]
pub struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The JSON of a success.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "refused: {self}");
        self.json()
    }

    /// A header field as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The id of the audit record.
    #[must_use]
    pub fn record(&self) -> Option<&str> {
        self.header("keyreeve-audit-record")
    }

    /// The stable code of a refusal, after a look at everything a refusal must have.
    ///
    /// # Panics
    /// When it is no well-formed problem.
    #[must_use]
    #[track_caller]
    pub fn problem(&self) -> String {
        assert!(self.status >= 400, "not refused: {self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        let problem = self.json();
        let text = |name: &str| problem[name].as_str().unwrap_or_else(|| panic!("no `{name}`: {self}")).to_owned();
        let code = text("code");
        assert_eq!(text("type"), format!("urn:keyreeve:error:{code}"), "{self}");
        assert_eq!(problem["status"], self.status, "{self}");
        assert!(!text("title").is_empty() && !text("detail").is_empty(), "{self}");
        assert_eq!(Some(text("request_id").as_str()), self.header("x-request-id"), "{self}");
        code
    }

    /// Checks that this is a refusal with this status and code.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.problem().as_str()), (status, code), "{self}");
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?}\n{}", self.status, self.headers, body.chars().take(2000).collect::<String>())
    }
}

/// One caller with connections of its own. Blocking: a test that wants several callers at once uses threads.
#[derive(Debug)]
pub struct Api {
    endpoint: Endpoint,
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
}

impl Api {
    fn new(endpoint: &Endpoint) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authorities = reqwest::Certificate::from_pem_bundle(&endpoint.ca_pem).unwrap();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only(authorities)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(Duration::from_secs(60));
        if let Some(pem) = &endpoint.identity_pem {
            builder = builder.identity(reqwest::Identity::from_pem(pem).unwrap());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { endpoint: endpoint.clone(), runtime, http: builder.build().unwrap() }
    }

    /// Where it calls.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request with these header fields and body; the answer, whatever it is.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self.http.request(method, format!("{}{path}", self.endpoint.url)).body(body);
        if let Some(token) = &self.endpoint.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let exchange = async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = response.bytes().await?.to_vec();
            Ok::<_, reqwest::Error>(Answer { status, headers, body })
        };
        self.runtime.block_on(exchange).map_err(|error| NoAnswer(format!("{error:?}")))
    }

    /// Sends JSON (nothing for `null`).
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn try_call(&self, method: Method, path: &str, body: &Value) -> Result<Answer, NoAnswer> {
        match body {
            Value::Null => self.send(method, path, &[], Vec::new()),
            body => self.send(method, path, &[("content-type", "application/json")], serde_json::to_vec(body).unwrap()),
        }
    }

    /// The same where an answer must come.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        match self.try_call(method.clone(), path, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Looks at something.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null)
    }

    /// Does something.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body)
    }

    /// Makes or replaces something.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, body)
    }

    /// Removes something.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &Value::Null)
    }

    /// Makes a key of this algorithm (and purpose, where the usual one is not meant); its id.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn make_key(&self, algorithm: &str, purpose: Option<&str>) -> String {
        let mut body = serde_json::json!({ "algorithm": algorithm });
        if let Some(purpose) = purpose {
            body["purpose"] = purpose.into();
        }
        self.post("/v1/keys", &body).ok()["id"].as_str().unwrap().to_owned()
    }
}
