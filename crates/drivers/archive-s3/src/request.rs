//! Requests: made, signed, sent, and made again where that may help.

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use keyreeve_backup::ObjectName;
use keyreeve_crypto::digest::sha256;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use std::error::Error;
use std::time::Duration;

use crate::{ANSWER_MAX, Settings, WallClock, answer, credentials};

/// Time to connect, and within which something must come.
const CONNECT: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(60);
/// The slowest line that is waited for (bytes in a second).
const SLOWEST: u64 = 16 * 1024;
/// How often a request is made, and the pauses between: the first, which doubles, and the longest.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(20);

/// Why there is no good answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Asking again later may help.
    Passing(String),
    /// It knows what is asked and does not do it.
    Refused(Said),
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: StatusCode,
    /// The service's own code.
    pub(crate) code: Option<String>,
}

impl Said {
    pub(crate) fn words(&self) -> String {
        let code = self.code.as_deref().unwrap_or("no code");
        format!("the service answered {} ({code})", self.status.as_u16())
    }
}

/// What is asked for.
pub(crate) struct Asked {
    method: Method,
    object: Option<String>,
    query: Vec<(&'static str, String)>,
    body: Vec<u8>,
    never_replacing: bool,
}

impl Asked {
    pub(crate) fn bucket(method: Method) -> Self {
        Self { method, object: None, query: Vec::new(), body: Vec::new(), never_replacing: false }
    }

    pub(crate) fn object(method: Method, name: &ObjectName) -> Self {
        Self { object: Some(name.to_string()), ..Self::bucket(method) }
    }

    pub(crate) fn query(mut self, name: &'static str, value: &str) -> Self {
        self.query.push((name, value.to_owned()));
        self
    }

    pub(crate) fn body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn never_replacing(self) -> Self {
        Self { never_replacing: true, ..self }
    }
}

/// The address of the service: HTTPS, or plain with a literal address of this machine.
pub(crate) fn address(settings: &Settings) -> Result<Url, &'static str> {
    let amazon = || format!("https://s3.{}.amazonaws.com", settings.region);
    let url: Url = settings.endpoint.clone().unwrap_or_else(amazon).parse().map_err(|_| "the endpoint is no URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the endpoint holds a user name or a password");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("the endpoint is an address alone, such as https://s3.example.com");
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let here = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        _ => Err("the endpoint is neither https nor http with an address of this machine"),
    }
}

/// The service.
pub(crate) struct Service {
    settings: Settings,
    address: Url,
    client: Client,
    clock: WallClock,
}

impl Service {
    pub(crate) fn new(settings: Settings, clock: WallClock) -> Result<Self, String> {
        settings.check()?;
        // The process may have one already: any of them will do, and there is only this one in our programs.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .read_timeout(QUIET)
            .user_agent(concat!("keyreeve/", env!("CARGO_PKG_VERSION")))
            .tls_version_min(reqwest::tls::Version::TLS_1_2);
        if let Some(pem) = &settings.authorities_pem {
            let none = "the file of authorities holds no certificate in PEM form";
            let authorities = Certificate::from_pem_bundle(pem).map_err(|_| none)?;
            if authorities.is_empty() {
                return Err(none.to_owned());
            }
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build().map_err(|error| format!("no authorities can be read: {}", words(&error)))?;
        Ok(Self { address: address(&settings)?, settings, client, clock })
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.settings.bucket
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    pub(crate) fn place(&self) -> String {
        format!("{}{}/{}", self.address, self.settings.bucket, self.settings.prefix)
    }

    /// Asks until there is an answer that says something. It has a good status.
    pub(crate) async fn ask(&self, asked: &Asked) -> Result<Response, Trouble> {
        let mut tried = 0;
        loop {
            let (trouble, wait) = match self.once(asked).await {
                Ok(answer) => return Ok(answer),
                Err((trouble @ Trouble::Refused(_), _)) => return Err(trouble),
                Err(passing) => passing,
            };
            tried += 1;
            if tried == TRIES {
                return Err(trouble);
            }
            let pause = (PAUSE * (1 << tried)).max(wait.unwrap_or_default()).min(PAUSE_LONGEST);
            tokio::time::sleep(pause).await;
        }
    }

    /// The same, with the answer read as text.
    pub(crate) async fn text(&self, asked: &Asked) -> Result<String, Trouble> {
        read(self.ask(asked).await?).await
    }

    /// A request with its signature.
    async fn signed(&self, asked: &Asked) -> Result<reqwest::Request, Trouble> {
        let mut url = self.address.clone();
        let prefix = asked.object.as_ref().map(|_| self.settings.prefix.as_str()).unwrap_or_default();
        let object = asked.object.as_ref().map(|object| format!("/{prefix}{object}")).unwrap_or_default();
        url.set_path(&format!("/{}{object}", self.settings.bucket));
        match &asked.query[..] {
            [] => {}
            // A subresource has no `=`.
            [(name, value)] if value.is_empty() => url.set_query(Some(name)),
            pairs => drop(url.query_pairs_mut().extend_pairs(pairs)),
        }
        let mut headers = HeaderMap::new();
        if asked.never_replacing {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let unable = |what: String| Trouble::Passing(what);
        let found = credentials::read(&self.settings.credentials_file).await.map_err(unable)?;
        let mut signing = SigningSettings::default();
        signing.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        signing.percent_encoding_mode = PercentEncodingMode::Single;
        signing.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = found.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.settings.region)
            .name("s3")
            .time((self.clock)())
            .settings(signing)
            .build()
            .map_err(|error| unable(error.to_string()))?
            .into();
        let hash = hex::encode(sha256(&asked.body));
        let given = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable =
            SignableRequest::new(asked.method.as_str(), url.as_str(), given, SignableBody::Precomputed(hash));
        let signable = signable.map_err(|error| unable(error.to_string()))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| unable(error.to_string()))?.into_parts();
        let (signatures, _) = instructions.into_parts();
        for signature in signatures {
            let mut value = HeaderValue::from_str(signature.value()).map_err(|error| unable(error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(signature.name()), value);
        }
        let limit = QUIET + Duration::from_secs(asked.body.len() as u64 / SLOWEST);
        let mut request = self.client.request(asked.method.clone(), url).headers(headers);
        // What comes back may take as long as bytes move; what is sent has its end.
        if asked.method != Method::GET {
            request = request.timeout(limit);
        }
        request.body(asked.body.clone()).build().map_err(|error| unable(words(&error)))
    }

    async fn once(&self, asked: &Asked) -> Result<Response, (Trouble, Option<Duration>)> {
        let request = self.signed(asked).await.map_err(|trouble| (trouble, None))?;
        let answer = self.client.execute(request).await.map_err(|error| (Trouble::Passing(words(&error)), None))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let code = read(answer).await.ok().and_then(|text| answer::code(&text));
        let said = Said { status, code };
        let passing = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            || matches!(
                said.code.as_deref(),
                Some("SlowDown" | "RequestTimeout" | "ConditionalRequestConflict" | "OperationAborted" | "Throttling")
            );
        let trouble = if passing { Trouble::Passing(said.words()) } else { Trouble::Refused(said) };
        Err((trouble, seconds.map(Duration::from_secs)))
    }
}

/// Reads an answer that is a text.
async fn read(mut answer: Response) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    while let Some(some) = answer.chunk().await.map_err(|error| Trouble::Passing(words(&error)))? {
        if bytes.len() + some.len() > ANSWER_MAX {
            return Err(Trouble::Passing(format!("its answer is longer than {ANSWER_MAX} bytes")));
        }
        bytes.extend_from_slice(&some);
    }
    String::from_utf8(bytes).map_err(|_| Trouble::Passing("its answer is no text".to_owned()))
}

/// How long an object is, as the headers of its answer say.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The innermost cause, which says most; the outer ones repeat the address.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
