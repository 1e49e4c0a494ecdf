//! The one form in which anything that goes wrong leaves over HTTP: problem details (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use keyreeve_engine::pipeline::Waiting;
use keyreeve_engine::{Error, Fault, Refused};
use keyreeve_model::RecordId;
use serde::Serialize;
use std::borrow::Cow;

use crate::{APPROVAL, AUDIT_RECORD};

/// The media type of problem details (RFC 9457 §3).
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Longest foreign error text that is passed on, in bytes.
const FOREIGN_TEXT: usize = 1024;

/// Stable codes of what can go wrong before an operation is known; they stand beside [`keyreeve_engine::Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpCode {
    /// The request is malformed: same name as the engine's code.
    InvalidRequest,
    /// No such route.
    UnknownRoute,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The request took too long to arrive.
    RequestTimeout,
    /// The request is too large: same name as the engine's code.
    TooLarge,
    /// The request's target is too long.
    UriTooLong,
    /// The request's head is too large.
    HeadTooLarge,
    /// Another media type is expected.
    UnsupportedMediaType,
    /// No valid evidence of identity: same name as the engine's code.
    Unauthenticated,
    /// Not allowed from there: same name as the engine's code.
    Denied,
    /// Too many requests.
    RateLimited,
    /// The server has no room for this request now.
    Overloaded,
    /// The answer took too long.
    Timeout,
    /// A defect: same name as the engine's code.
    Internal,
}

impl HttpCode {
    /// All codes.
    pub const ALL: &'static [Self] = &[
        Self::InvalidRequest,
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TooLarge,
        Self::UriTooLong,
        Self::HeadTooLarge,
        Self::UnsupportedMediaType,
        Self::Unauthenticated,
        Self::Denied,
        Self::RateLimited,
        Self::Overloaded,
        Self::Timeout,
        Self::Internal,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::UnknownRoute => "unknown-route",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::TooLarge => "too-large",
            Self::UriTooLong => "uri-too-long",
            Self::HeadTooLarge => "head-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::RateLimited => "rate-limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// Its status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::UnknownRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The status of a fault of the engine; what HTTP itself refuses has [`HttpCode::status`].
#[must_use]
pub const fn status_of(fault: Fault) -> StatusCode {
    match fault {
        Fault::Caller => StatusCode::BAD_REQUEST,
        Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Fault::Unauthenticated => StatusCode::UNAUTHORIZED,
        Fault::Denied => StatusCode::FORBIDDEN,
        Fault::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Fault::Waiting => StatusCode::ACCEPTED,
        Fault::Absent => StatusCode::NOT_FOUND,
        Fault::State => StatusCode::CONFLICT,
        Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Something that went wrong. As a response it has no body yet: the [`Frame`](crate::Frame) writes it, because it
/// knows the request's id.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    record: Option<RecordId>,
    retry_after: Option<u64>,
    /// Boxed: it is rare, and every handler may return this.
    allow: Option<Box<HeaderValue>>,
    /// It comes from the pipeline, which keeps its own record.
    by_engine: bool,
    /// What the request waits for.
    waiting: Option<Box<Waiting>>,
}

impl Problem {
    /// A problem of HTTP itself, with a text that says what to do.
    pub fn new(code: HttpCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::with(code.status(), code.name(), detail.into())
    }

    /// A request that cannot be understood.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(HttpCode::InvalidRequest, detail)
    }

    fn with(status: StatusCode, code: &'static str, detail: Cow<'static, str>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, code, detail, record: None, retry_after, allow: None, by_engine: false, waiting: None }
    }

    /// The same, worth another try after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// Whether nobody has thought of a record yet. Too many requests are turned away without one.
    pub(crate) fn wants_record(&self) -> bool {
        let refused = self.status.is_client_error() || self.code == HttpCode::Overloaded.name();
        refused && self.status != StatusCode::TOO_MANY_REQUESTS && !self.by_engine
    }

    pub(crate) fn recorded(mut self, record: Option<RecordId>) -> Self {
        self.record = record;
        self
    }

    /// Turns an error answer that is not a problem yet into one: those of axum's router and extractors.
    pub(crate) async fn from_foreign(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let code = match parts.status {
            StatusCode::NOT_FOUND => HttpCode::UnknownRoute,
            StatusCode::METHOD_NOT_ALLOWED => HttpCode::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => HttpCode::RequestTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => HttpCode::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => HttpCode::UnsupportedMediaType,
            StatusCode::UNAUTHORIZED => HttpCode::Unauthenticated,
            StatusCode::TOO_MANY_REQUESTS => HttpCode::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => HttpCode::Overloaded,
            status if status.is_client_error() => HttpCode::InvalidRequest,
            _ => HttpCode::Internal,
        };
        let text = axum::body::to_bytes(body, FOREIGN_TEXT).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let detail: Cow<'static, str> = match code {
            HttpCode::UnknownRoute => "there is no such route: the OpenAPI document lists them".into(),
            HttpCode::MethodNotAllowed => "the route does not take this method: see the header `Allow`".into(),
            HttpCode::Internal => "an internal error occurred: the server's log tells more".into(),
            _ if text.is_empty() => "the request cannot be understood".into(),
            _ => text.into(),
        };
        let mut problem = Self::new(code, detail);
        problem.allow = parts.headers.get(header::ALLOW).cloned().map(Box::new);
        problem
    }

    /// The finished answer.
    pub(crate) fn render(self, request_id: &str) -> Response {
        let body = Body::from(self.json(request_id));
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(record) = self.record.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
            headers.insert(AUDIT_RECORD, record);
        }
        if let Some(waiting) = &self.waiting {
            let place = HeaderValue::try_from(format!("/v1/approvals/{}", waiting.approval));
            let name = HeaderValue::try_from(waiting.approval.to_string());
            headers.extend(place.ok().map(|place| (header::LOCATION, place)));
            headers.extend(name.ok().map(|name| (APPROVAL, name)));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, *allow);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"keyreeve\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn json(&self, request_id: &str) -> Vec<u8> {
        let document = Document {
            kind: format!("urn:keyreeve:error:{}", self.code),
            title: title(self.code),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            audit_record: self.record.map(|id| id.to_string()),
            approval: self.waiting.as_deref().map(Needed::of),
        };
        // Texts and numbers always serialise; an empty body is the answer that cannot happen.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Needed<'a>>,
}

/// What a request waits for.
#[derive(Serialize)]
struct Needed<'a> {
    id: String,
    digest: String,
    expires: String,
    missing: &'a [String],
}

impl<'a> Needed<'a> {
    fn of(waiting: &'a Waiting) -> Self {
        let digest = waiting.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let (id, expires) = (waiting.approval.to_string(), waiting.expires.to_string());
        Self { id, digest, expires, missing: &waiting.missing }
    }
}

/// `invalid-request` becomes `Invalid request`.
fn title(code: &str) -> String {
    let mut title = code.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.code();
        let problem = Self::with(status_of(code.fault()), code.name(), error.public().to_owned().into());
        match error.wait() {
            // Whole seconds, and not one too few.
            Some(wait) => problem.retry_after(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            None => problem,
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let mut problem = Self::from(refused.error);
        (problem.record, problem.by_engine, problem.waiting) = (refused.record, true, refused.waiting);
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_engine::Code;

    #[test]
    fn every_code_of_the_engine_has_a_status_and_a_title() {
        for code in Code::ALL {
            let problem = Problem::from(Error::new(*code, "text"));
            let waits = *code == Code::ApprovalNeeded && problem.status() == StatusCode::ACCEPTED;
            assert!(waits || problem.status().is_client_error() || problem.status().is_server_error(), "{code:?}");
            assert_eq!(problem.code(), code.name());
            assert!(title(code.name()).starts_with(char::is_uppercase));
        }
    }

    #[test]
    fn codes_that_stand_in_both_lists_mean_the_same() {
        for http in HttpCode::ALL {
            for code in Code::ALL.iter().filter(|code| code.name() == http.name()) {
                assert_eq!(http.status(), status_of(code.fault()), "{code:?}");
            }
        }
    }

    #[test]
    fn unavailable_and_unauthenticated_carry_their_headers() {
        let response = Problem::from(Error::new(Code::Sealed, "sealed")).render("r1");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let wait = std::time::Duration::from_millis(3001);
        let response = Problem::from(Error::new(Code::TooManyAttempts, "wait").after(wait)).render("r1");
        assert_eq!(response.headers()[header::RETRY_AFTER], "4");
        let response = Problem::from(Error::new(Code::Unauthenticated, "who")).render("r1");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"keyreeve\"");
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
    }

    #[test]
    fn the_document_has_the_members_of_rfc_9457_and_ours() {
        let json = Problem::from(Error::new(Code::NotFound, "there is no such key")).json("r-7");
        let expected = [
            r#"{"type":"urn:keyreeve:error:not-found","title":"Not found","status":404,"#,
            r#""detail":"there is no such key","code":"not-found","request_id":"r-7"}"#,
        ];
        assert_eq!(String::from_utf8(json).unwrap(), expected.concat());
    }

    #[test]
    fn a_request_that_waits_says_as_what_and_where() {
        let approval = keyreeve_model::ids::ApprovalId::from_bytes([7; 16]);
        let expires = keyreeve_model::UnixMillis(1_800_000_000_000);
        let waiting = Waiting { approval, digest: [1; 32], expires, missing: vec!["ciso".to_owned()], replaces: None };
        let error = Error::new(Code::ApprovalNeeded, "others have to agree first");
        let problem = Problem::from(Refused { error, record: None, waiting: Some(Box::new(waiting)) });
        assert!(!problem.wants_record());
        let text = String::from_utf8(problem.json("r1")).unwrap();
        assert!(text.contains(&"01".repeat(32)) && text.contains("\"missing\":[\"ciso\"]"), "{text}");
        let answer = problem.render("r1");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!(answer.headers()[header::LOCATION], format!("/v1/approvals/{approval}"));
        assert_eq!(answer.headers()[APPROVAL], approval.to_string());
    }
}
