//! What handlers take: the request on its way to the engine, with its body in the form the route takes.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyreeve_engine::Arrival;
use keyreeve_http::{JsonCall, OctetCall, PlainCall, Problem};
use keyreeve_model::EncryptionContext;
use keyreeve_wire::{Base64, CONTEXT_HEADER, Pairs, SIGNATURE_HEADER, names};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

use crate::convert;
use crate::query::Query;
use crate::routes::Param;

/// The header that carries the encryption context of binary bodies.
const CONTEXT: HeaderName = HeaderName::from_static(CONTEXT_HEADER);
/// The header that carries the signature or tag of binary bodies.
const SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);
/// The media type of binary bodies.
pub(crate) const OCTETS: &str = "application/octet-stream";

/// The last parameter of the path, percent-decoded.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: FromStr<Err: Display>, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unread = |_| Problem::invalid("the path cannot be read: percent-encode it as UTF-8");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(unread)?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::invalid(format!("in the path: {error}")))
    }
}

/// Two parameters of the path: something, and what belongs to it.
pub(crate) struct Within<A, B>(pub(crate) A, pub(crate) B);

impl<A: FromStr<Err: Display>, B: FromStr<Err: Display>, S: Send + Sync> FromRequestParts<S> for Within<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unread = |_| Problem::invalid("the path cannot be read: percent-encode it as UTF-8");
        let Path((whole, part)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(unread)?;
        let whole = whole.parse().map_err(|error: A::Err| Problem::invalid(format!("in the path: {error}")))?;
        let part = part.parse().map_err(|error: B::Err| Problem::invalid(format!("in the path: {error}")))?;
        Ok(Self(whole, part))
    }
}

/// A request with a JSON body.
pub(crate) struct Json<T> {
    pub(crate) arrival: Arrival,
    pub(crate) body: T,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Query::of(request.uri(), &[])?;
        let JsonCall { arrival, body } = JsonCall::from_request(request, state).await?;
        Ok(Self { arrival, body })
    }
}

/// A request without body.
pub(crate) struct Plain(pub(crate) Arrival);

impl<S: Send + Sync> FromRequest<S> for Plain {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Query::of(request.uri(), &[])?;
        Ok(Self(PlainCall::from_request(request, state).await?.arrival))
    }
}

/// The parameters a handler knows.
pub(crate) trait Known {
    /// All of them.
    const PARAMS: &'static [Param];
}

/// A request without body, with query parameters.
pub(crate) struct Asking<K> {
    pub(crate) arrival: Arrival,
    pub(crate) query: Query,
    _known: std::marker::PhantomData<K>,
}

impl<K: Known, S: Send + Sync> FromRequest<S> for Asking<K> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let query = Query::of(request.uri(), K::PARAMS)?;
        let arrival = PlainCall::from_request(request, state).await?.arrival;
        Ok(Self { arrival, query, _known: std::marker::PhantomData })
    }
}

/// What may stand beside a binary body.
pub(crate) trait Besides {
    /// The header with the encryption context.
    const CONTEXT: bool = false;
    /// The header with the signature or tag, which is then required.
    const PROOF: bool = false;
    /// The query parameters.
    const PARAMS: &'static [Param] = &[];
}

const SCHEME: Param = Param::one_of::<names::Scheme>("scheme", "With a binary body: the signature scheme.");
const PREHASHED: Param = Param::one_of::<bool>("prehashed", "With a binary body: `true` when it is a digest.");
const VERSION: Param = Param::version("version", "With a binary body: the key version; the newest ones unless said.");

/// Nothing.
pub(crate) struct Bare;
/// The encryption context.
pub(crate) struct WithContext;
/// How to sign.
pub(crate) struct ToSign;
/// A signature, and how it was made.
pub(crate) struct ToVerify;
/// A tag.
pub(crate) struct ToCheck;

impl Besides for Bare {}

impl Besides for WithContext {
    const CONTEXT: bool = true;
}

impl Besides for ToSign {
    const PARAMS: &'static [Param] = &[SCHEME, PREHASHED];
}

impl Besides for ToVerify {
    const PROOF: bool = true;
    const PARAMS: &'static [Param] = &[SCHEME, PREHASHED, VERSION];
}

impl Besides for ToCheck {
    const PROOF: bool = true;
    const PARAMS: &'static [Param] = &[VERSION];
}

/// What stands beside a binary body.
pub(crate) struct Beside {
    /// The encryption context.
    pub(crate) context: EncryptionContext,
    /// The signature or tag; empty where none is expected.
    pub(crate) proof: Vec<u8>,
    /// The query parameters.
    pub(crate) query: Query,
}

/// A request in either form.
pub(crate) enum Form<T, B> {
    /// With a JSON body.
    Json(Arrival, T),
    /// With a binary body.
    Octets(Arrival, Bytes, Box<Beside>, std::marker::PhantomData<B>),
}

impl<T: DeserializeOwned, B: Besides, S: Send + Sync> FromRequest<S> for Form<T, B> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers();
        if is_type(headers, OCTETS) {
            let beside = Box::new(beside::<B>(&request)?);
            let OctetCall { arrival, bytes } = OctetCall::from_request(request, state).await?;
            return Ok(Self::Octets(arrival, bytes, beside, std::marker::PhantomData));
        }
        if headers.contains_key(CONTEXT) || headers.contains_key(SIGNATURE) {
            let text = "context and signature stand in the body of JSON requests: the headers are for binary bodies";
            return Err(Problem::invalid(text));
        }
        let Json { arrival, body } = Json::from_request(request, state).await?;
        Ok(Self::Json(arrival, body))
    }
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = given.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

fn beside<B: Besides>(request: &Request) -> Result<Beside, Problem> {
    let headers = request.headers();
    let context = match one(headers, &CONTEXT, B::CONTEXT)? {
        Some(value) => parse_context_header(value.as_bytes())?,
        None => EncryptionContext::default(),
    };
    let proof = match one(headers, &SIGNATURE, B::PROOF)? {
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Base64>().ok())
            .ok_or_else(|| Problem::invalid(format!("the header `{SIGNATURE}` is standard base64")))?,
        None if B::PROOF => return Err(Problem::invalid(format!("the header `{SIGNATURE}` is missing"))),
        None => Base64::default(),
    };
    Ok(Beside { context, proof: proof.0, query: Query::of(request.uri(), B::PARAMS)? })
}

/// A header that may be there once, or not at all.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName, allowed: bool) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(_), _) if !allowed => Err(Problem::invalid(format!("this route takes no header `{name}`"))),
        (_, Some(_)) => Err(Problem::invalid(format!("the header `{name}` is given twice"))),
        (value, None) => Ok(value),
    }
}

/// Reads the header `Keyreeve-Context`: standard base64 of a JSON object of texts.
///
/// # Errors
/// [`Problem`] says what is wrong.
pub fn parse_context_header(value: &[u8]) -> Result<EncryptionContext, Problem> {
    let wrong = || Problem::invalid(format!("the header `{CONTEXT}` is standard base64 of a JSON object of texts"));
    let json = base64_simd::STANDARD.decode_to_vec(value).map_err(|_| wrong())?;
    let pairs: Pairs = serde_json::from_slice(&json).map_err(|_| wrong())?;
    convert::context(pairs)
}

/// A policy's text: as JSON, or bare.
pub(crate) enum Text<T> {
    Json(Arrival, T),
    Bare(Arrival, String),
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Text<T> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        Query::of(request.uri(), &[])?;
        if !is_type(request.headers(), "text/plain") {
            let Json { arrival, body } = Json::from_request(request, state).await?;
            return Ok(Self::Json(arrival, body));
        }
        // Read like any other binary body.
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
        let OctetCall { arrival, bytes } = OctetCall::from_request(request, state).await?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| Problem::invalid("the text is not UTF-8"))?;
        Ok(Self::Bare(arrival, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64_simd::STANDARD;

    #[test]
    fn context_headers_are_strict() {
        let read = |json: &str| parse_context_header(STANDARD.encode_to_string(json).as_bytes());
        assert_eq!(read(r#"{"tenant":"acme"}"#).unwrap().pairs()["tenant"], "acme");
        for bad in [r#"{"a":"1","a":"2"}"#, r#"{"a":1}"#, "[]", "", "{}x", "{\"\":\"\"}"] {
            assert_eq!(read(bad).unwrap_err().code(), "invalid-request", "{bad}");
        }
        assert!(parse_context_header(b"{}").is_err());
        assert!(parse_context_header(&[0xff, 0xfe]).is_err());
    }

    /// Otherwise a retry with another context would be taken for the same request.
    #[test]
    fn headers_that_belong_to_a_body_tell_requests_apart() {
        for name in [CONTENT_TYPE, CONTEXT, SIGNATURE] {
            assert!(keyreeve_http::MEANING.contains(&name), "{name}");
        }
    }

    #[test]
    fn media_types_may_have_parameters() {
        let typed = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            is_type(&headers, OCTETS)
        };
        assert!(typed("application/octet-stream") && typed("Application/Octet-Stream; x=y"));
        assert!(!typed("application/json") && !typed("application/octet-streams") && !typed(""));
    }
}
