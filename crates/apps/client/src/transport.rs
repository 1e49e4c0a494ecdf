//! One request to the server: how it is sent, when it is sent again, how its answer is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keyreeve_crypto::Random;
use keyreeve_secret::{SecretBuffer, SecretBytes, SecretString};
use keyreeve_wire::{AUDIT_RECORD_HEADER, IDEMPOTENCY_KEY_HEADER, Problem};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::options::Options;
use crate::side::Side;
use crate::trust::Trust;

/// The longest answer that is read, in bytes: a batch of the largest size stays below.
const ANSWER_MAX: usize = 96 * 1024 * 1024;
/// The wait before the second attempt; it doubles from attempt to attempt.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between attempts, also when the server asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";

/// Codes of a server that may well do it a moment later.
const PASSING: [&str; 7] = [
    "overloaded",
    "timeout",
    "rate-limited",
    "store-unavailable",
    "outcome-unknown",
    "audit-unavailable",
    "root-unavailable",
];

/// An answer and the place in the audit log where the operation stands.
#[derive(Debug)]
pub struct Answer<T> {
    /// What was answered.
    pub value: T,
    /// The id of the operation's audit record; none for operations that are only counted.
    pub audit_record: Option<String>,
}

impl<T> Answer<T> {
    /// The same answer, seen otherwise.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: with(self.value), audit_record: self.audit_record }
    }
}

/// What may happen when nobody knows whether a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It may be sent again: it changes nothing.
    Freely,
    /// It may be sent again under the same idempotency key.
    Keyed,
    /// It is not sent again: its answer is a secret that is given once.
    Never,
}

/// A request in the making.
pub(crate) struct Call {
    method: Method,
    side: Side,
    url: Url,
    body: Option<(HeaderValue, Bytes)>,
    repeat: Repeat,
    accept: &'static str,
}

/// The bytes of a request, wiped when the last attempt is over.
struct Body(SecretBytes);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

impl Call {
    /// A query, which may be long or short. Options that are not given are left out.
    pub(crate) fn query(mut self, pairs: &[(&str, Option<String>)]) -> Self {
        for (name, value) in pairs {
            if let Some(value) = value {
                self.url.query_pairs_mut().append_pair(name, value);
            }
        }
        self
    }

    pub(crate) fn json<T: Serialize>(mut self, body: &T) -> Result<Self, ClientError> {
        let mut bytes = SecretBuffer::with_capacity(1024);
        serde_json::to_writer(&mut bytes, body).map_err(|e| ClientError::Setup(e.to_string()))?;
        self.body = Some((HeaderValue::from_static(JSON), Bytes::from_owner(Body(bytes.finish()))));
        Ok(self)
    }

    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    pub(crate) fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = media_type;
        self
    }
}

/// One listener of the server, and the connections to it.
#[derive(Clone)]
struct Place {
    http: reqwest::Client,
    base: Url,
    trust: Trust,
}

impl Place {
    fn new(options: &Options, base: Url, trust: Trust) -> Result<Self, ClientError> {
        Ok(Self { http: options.http(&base, &trust)?, base, trust })
    }

    fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The cause where TLS has one that HTTP did not get to see.
    async fn explained(&self, error: ClientError) -> ClientError {
        let ClientError::Unreachable { address, reason } = error else { return error };
        match self.trust.look(&self.base).await {
            Some((trouble, reason)) => ClientError::Untrusted { address, trouble, reason },
            None => ClientError::Unreachable { address, reason },
        }
    }
}

/// A connection pool to one server, in one caller's name.
#[derive(Clone)]
pub struct Client {
    data: Place,
    admin: Option<Place>,
    authorization: Option<HeaderValue>,
    attempts: u32,
    random: Arc<Random>,
}

impl Client {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Setup`] when the address is not an `https` URL, or a certificate, key or token cannot be read.
    pub fn new(options: &Options) -> Result<Self, ClientError> {
        let trust = options.trust()?;
        let admin = options.admin_url()?.map(|base| Place::new(options, base, trust.clone())).transpose()?;
        let data = Place::new(options, options.url()?, trust)?;
        let authorization = options.token().map(bearer).transpose()?;
        let random = Arc::new(Random::from_module()?);
        Ok(Self { data, admin, authorization, attempts: options.attempts().max(1), random })
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.data.address()
    }

    /// Where its listener for administration is, where that is another one.
    #[must_use]
    pub fn admin_address(&self) -> Option<&str> {
        self.admin.as_ref().map(Place::address)
    }

    fn place(&self, side: Side) -> &Place {
        match (side, &self.admin) {
            (Side::Admin, Some(admin)) => admin,
            (Side::Admin, None) | (Side::Data, _) => &self.data,
        }
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    /// A request for a path below `/v1`, whose segments are escaped here.
    pub(crate) fn call(&self, method: Method, segments: &[&str]) -> Result<Call, ClientError> {
        // URL parsers fold dot segments away: such a name would address another resource.
        if let Some(bad) = segments.iter().find(|s| matches!(**s, "" | "." | "..")) {
            return Err(ClientError::Name((*bad).to_owned()));
        }
        let side = Side::of(&method, segments);
        let mut url = self.place(side).base.clone();
        let cannot = || ClientError::Setup(format!("`{}` is not an https address", self.place(side).base));
        url.path_segments_mut().map_err(|()| cannot())?.pop_if_empty().push("v1").extend(segments);
        let repeat = if method == Method::GET { Repeat::Freely } else { Repeat::Keyed };
        Ok(Call { method, side, url, body: None, repeat, accept: JSON })
    }

    /// Sends a request and reads the JSON of its answer.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<Answer<T>, ClientError> {
        let answer = self.send_for_bytes(call).await?;
        // Errors of serde_json name line and column, and at most a field; never a value of ours, which are not enums.
        let value = serde_json::from_slice(answer.value.expose())
            .map_err(|e| ClientError::Answer(format!("line {} column {}: {}", e.line(), e.column(), kind(&e))))?;
        Ok(Answer { value, audit_record: answer.audit_record })
    }

    /// Asks for something that is only looked at.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, Option<String>)],
    ) -> Result<Answer<T>, ClientError> {
        self.send(self.call(Method::GET, segments)?.query(query)).await
    }

    /// Changes something, once however often it is sent.
    pub(crate) async fn change<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: &B,
    ) -> Result<Answer<T>, ClientError> {
        self.send(self.call(method, segments)?.json(body)?).await
    }

    /// Uses a key, which changes nothing that sending it again could change twice.
    pub(crate) async fn apply<B: Serialize, T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &B,
    ) -> Result<Answer<T>, ClientError> {
        self.send(self.call(Method::POST, segments)?.json(body)?.repeat(Repeat::Freely)).await
    }

    /// Sends a request of whose answer only success matters.
    pub(crate) async fn send_for_nothing(&self, call: Call) -> Result<Answer<()>, ClientError> {
        Ok(self.send_for_bytes(call).await?.map(drop))
    }

    /// Sends a request and reads its answer as it is.
    pub(crate) async fn send_for_bytes(&self, call: Call) -> Result<Answer<SecretBytes>, ClientError> {
        let response = self.deliver(&call).await?;
        let audit_record = header(response.headers(), AUDIT_RECORD_HEADER);
        Ok(Answer { value: read(self.place(call.side).address(), response).await?, audit_record })
    }

    /// Sends until there is an answer that stands, or no attempt is left.
    async fn deliver(&self, call: &Call) -> Result<Response, ClientError> {
        let key = match call.repeat {
            Repeat::Keyed => Some(hex::encode(self.random.nonce_array::<16>()?)),
            Repeat::Freely | Repeat::Never => None,
        };
        let mut attempt = 1;
        loop {
            let (error, wait) = match self.attempt(call, key.as_deref()).await {
                // 202 is a problem too: it was not done, for others have to agree first.
                Ok(response) if response.status().is_success() && response.status() != StatusCode::ACCEPTED => {
                    return Ok(response);
                }
                Ok(response) => {
                    let asked = header(response.headers(), RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
                    (refusal(self.place(call.side).address(), response).await, asked.map(Duration::from_secs))
                }
                Err(error) => (error, None),
            };
            if attempt >= self.attempts || !worth_repeating(&error, call.repeat) {
                return Err(self.place(call.side).explained(error).await);
            }
            tokio::time::sleep(self.wait(attempt, wait)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call, key: Option<&str>) -> Result<Response, ClientError> {
        let place = self.place(call.side);
        let mut request = place.http.request(call.method.clone(), call.url.clone()).header("accept", call.accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY_HEADER, key);
        }
        if let Some((media_type, body)) = &call.body {
            request = request.header(CONTENT_TYPE, media_type.clone()).body(body.clone());
        }
        request.send().await.map_err(|error| ClientError::transport(place.address(), &error))
    }

    /// Between half of the time and all of it, so that clients that failed together do not come back together.
    fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << attempt.min(16).saturating_sub(1));
        let longest = asked.unwrap_or(doubled).max(doubled).min(LONGEST_WAIT);
        let spread = self.random.nonce_array::<1>().map_or(u8::MAX, |[byte]| byte);
        longest / 2 + longest.mul_f64(f64::from(spread) / 512.0)
    }
}

async fn refusal(address: &str, response: Response) -> ClientError {
    let status = response.status();
    let Ok(body) = read(address, response).await else {
        return ClientError::Answer(format!("status {status} with a broken body"));
    };
    match serde_json::from_slice::<Problem>(body.expose()) {
        Ok(problem) if status == StatusCode::ACCEPTED => ClientError::Waiting(Box::new(problem)),
        Ok(problem) => ClientError::Refused(Box::new(problem)),
        Err(_) if status == StatusCode::SERVICE_UNAVAILABLE => ClientError::Unreachable {
            address: address.to_owned(),
            reason: "something in front of it says that it is not available (503)".to_owned(),
        },
        Err(_) => ClientError::Answer(format!("status {status} without problem details")),
    }
}

async fn read(address: &str, mut response: Response) -> Result<SecretBytes, ClientError> {
    let announced = response.content_length().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    let mut body = SecretBuffer::with_capacity(announced.min(ANSWER_MAX));
    let broken = |error| ClientError::transport(address, &error);
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > ANSWER_MAX {
            return Err(ClientError::Answer(format!("it has more than {ANSWER_MAX} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.finish())
}

fn worth_repeating(error: &ClientError, repeat: Repeat) -> bool {
    if repeat == Repeat::Never {
        return false;
    }
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(problem) => PASSING.contains(&problem.code.as_str()),
        ClientError::Waiting(_)
        | ClientError::Setup(_)
        | ClientError::Untrusted { .. }
        | ClientError::Answer(_)
        | ClientError::Name(_)
        | ClientError::Stream(_)
        | ClientError::Random(_) => false,
    }
}

fn bearer(token: &SecretString) -> Result<HeaderValue, ClientError> {
    let mut text = SecretBuffer::with_capacity(token.len() + 7);
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(token.expose().as_bytes());
    let mut value = HeaderValue::from_bytes(text.expose())
        .map_err(|_| ClientError::Setup("the token file does not hold a token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// What is wrong with a JSON text, without its values: an answer may hold secrets.
fn kind(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Io | serde_json::error::Category::Eof => "it ends early",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data => {
            "a field is missing or of another type; is the server newer than this program?"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new(&Options::new("https://localhost:1")).unwrap()
    }

    #[test]
    fn names_are_escaped_and_dot_segments_refused() {
        let client = client();
        let call = client.call(Method::GET, &["keys", "db/orders?x#y é"]).unwrap();
        assert_eq!(call.url.as_str(), "https://localhost:1/v1/keys/db%2Forders%3Fx%23y%20%C3%A9");
        for bad in ["", ".", ".."] {
            assert!(matches!(client.call(Method::GET, &["keys", bad]), Err(ClientError::Name(_))), "{bad}");
        }
        let call = call.query(&[("limit", Some("7".into())), ("text", None), ("owner", Some("a&b".into()))]);
        assert_eq!(call.url.query(), Some("limit=7&owner=a%26b"));
    }

    #[test]
    fn only_passing_failures_of_repeatable_requests_are_repeated() {
        let refused = |code: &str| {
            let text = r#"{"type":"urn:keyreeve:error:x","title":"X","status":503,"detail":"it is so","code":"CODE"}"#;
            ClientError::Refused(Box::new(serde_json::from_str(&text.replace("CODE", code)).unwrap()))
        };
        let gone = ClientError::Unreachable { address: String::new(), reason: String::new() };
        assert!(worth_repeating(&gone, Repeat::Freely) && worth_repeating(&gone, Repeat::Keyed));
        assert!(!worth_repeating(&gone, Repeat::Never));
        assert!(worth_repeating(&refused("rate-limited"), Repeat::Keyed));
        for code in ["sealed", "denied", "tampered", "wrong-state", "internal"] {
            assert!(!worth_repeating(&refused(code), Repeat::Keyed), "{code}");
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let client = client();
        let first = client.wait(1, None);
        assert!(first >= FIRST_WAIT / 2 && first <= FIRST_WAIT);
        let asked = client.wait(1, Some(Duration::from_secs(1)));
        assert!(asked >= Duration::from_millis(500) && asked <= Duration::from_secs(1));
        assert!(client.wait(40, Some(Duration::from_secs(3600))) <= LONGEST_WAIT);
    }

    #[test]
    fn the_token_does_not_show() {
        let value = bearer(&SecretString::copy_from("krt_secret")).unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
        assert!(bearer(&SecretString::copy_from("two\nlines")).is_err());
    }

    #[test]
    fn each_request_goes_to_the_listener_that_serves_it() {
        let options = Options::new("https://kms:1/behind").with_admin_address("https://kms:2");
        let client = Client::new(&options).unwrap();
        let url = |method, segments: &[&str]| client.call(method, segments).unwrap().url.to_string();
        assert_eq!(url(Method::POST, &["keys", "a", "encrypt"]), "https://kms:1/behind/v1/keys/a/encrypt");
        assert_eq!(url(Method::POST, &["keys", "a", "rotate"]), "https://kms:2/v1/keys/a/rotate");
        assert_eq!((client.address(), client.admin_address()), ("https://kms:1/behind", Some("https://kms:2")));
        let one = Client::new(&Options::new("https://kms:1")).unwrap();
        let rotate = one.call(Method::POST, &["keys", "a", "rotate"]).unwrap();
        assert_eq!((rotate.url.as_str(), one.admin_address()), ("https://kms:1/v1/keys/a/rotate", None));
    }

    #[test]
    fn requests_that_change_are_keyed() {
        let client = client();
        assert_eq!(client.call(Method::GET, &["keys"]).unwrap().repeat, Repeat::Freely);
        assert_eq!(client.call(Method::DELETE, &["policies", "a"]).unwrap().repeat, Repeat::Keyed);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let options = Options::new("https://127.0.0.1:1").with_attempts(2);
        let client = Client::new(&options).unwrap();
        let call = client.call(Method::GET, &["keys"]).unwrap();
        let error = client.send::<serde_json::Value>(call).await.unwrap_err();
        assert!(error.to_string().starts_with("https://127.0.0.1:1 does not answer: "), "{error}");
    }
}
