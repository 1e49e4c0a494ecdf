//! A request on its way in: its id, its source, and what it shows to prove who is asking.

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use keyreeve_crypto::digest::Sha256;
use keyreeve_engine::{Arrival, Evidence, Idempotency, PeerCertificate, Proof};
use keyreeve_secret::SecretString;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

use crate::limits::Limits;
use crate::problem::{HttpCode, Problem};
use crate::tls::Standing;
use crate::{IDEMPOTENCY_KEY, REQUEST_ID};

/// Longest request id taken over from a caller, in bytes.
const REQUEST_ID_MAX: usize = 64;
/// Request ids under which the server does work of its own, and the beginning of others: the audit log has them on
/// record, so no caller goes by them.
const OWN_WORK: (&str, &str) = ("scheduled-destruction", "destruction-of-");
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;
/// Headers that say what a body means. Those of requests with binary bodies are written out once more: this floor does
/// not use `keyreeve-wire`, whose `CONTEXT_HEADER` and `SIGNATURE_HEADER` they are.
pub const MEANING: [HeaderName; 3] =
    [CONTENT_TYPE, HeaderName::from_static("keyreeve-context"), HeaderName::from_static("keyreeve-signature")];

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, when TLS has verified one.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Room for bodies, shared with other connections of its source.
    pub(crate) room: Arc<Semaphore>,
    /// How its certificate is looked at again; none where it has none.
    pub(crate) standing: Option<Standing>,
}

impl Peer {
    /// A peer whose bodies are limited only together with those of all others.
    #[must_use]
    pub fn new(address: SocketAddr, certificate: Option<Arc<PeerCertificate>>) -> Self {
        Self { address, certificate, room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), standing: None }
    }

    /// Whether its certificate counts still: a connection that is being ended may bring requests yet.
    fn stands(&self) -> bool {
        self.standing.as_ref().is_none_or(Standing::holds)
    }
}

/// What all requests of a frame share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    /// Room for large bodies, in units of [`crate::body::UNIT`].
    pub(crate) room: Arc<Semaphore>,
}

/// What is known of one request.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: String,
    /// Whether the engine accepted the evidence.
    pub(crate) proof: Proof,
}

/// Put into every request by the [`Frame`](crate::Frame). Handlers rather take a [`JsonCall`](crate::JsonCall), an
/// [`OctetCall`](crate::OctetCall) or a [`PlainCall`](crate::PlainCall).
#[derive(Clone, Debug)]
pub struct Inbound {
    pub(crate) facts: Arc<Facts>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) shared: Arc<Shared>,
}

impl Inbound {
    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.facts.id
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The limits of the listener.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// What the pipeline wants to know, with a digest of the request if a retry shall be told from another request.
    ///
    /// # Errors
    /// [`Problem`] when credentials or idempotency key are malformed or ambiguous.
    pub fn arrival(&self, parts: &Parts, body: &[u8]) -> Result<Arrival, Problem> {
        let evidence = evidence(&Credential::of(&parts.headers), &self.peer)?;
        let key = idempotency_key(&parts.headers)?;
        Ok(Arrival {
            evidence,
            source: Some(self.peer.address.ip().to_canonical()),
            request: self.facts.id.clone(),
            idempotency: key.map(|key| Idempotency { key, request: digest(parts, body) }),
            proof: self.facts.proof.clone(),
        })
    }

    /// Takes it out of a request.
    pub(crate) fn take(parts: &mut Parts) -> Result<Self, Problem> {
        let missing = || Problem::new(HttpCode::Internal, "the request did not come through the frame");
        parts.extensions.remove::<Self>().ok_or_else(missing)
    }
}

impl<S: Sync> FromRequestParts<S> for Inbound {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let inbound = Self::take(parts)?;
        parts.extensions.insert(inbound.clone());
        Ok(inbound)
    }
}

/// The caller's own id for a request, where it is fit for logs and cannot be taken for the server's own work.
pub(crate) fn given_request_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let own = text == OWN_WORK.0 || text.starts_with(OWN_WORK.1);
    (!own && (1..=REQUEST_ID_MAX).contains(&text.len()) && text.bytes().all(fit)).then_some(text)
}

/// The credential in the head of a request.
#[derive(Default)]
pub(crate) struct Credential {
    value: Option<HeaderValue>,
    twice: bool,
}

impl Credential {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        Self { value: values.next().cloned(), twice: values.next().is_some() }
    }
}

pub(crate) fn evidence(shown: &Credential, peer: &Peer) -> Result<Evidence, Problem> {
    let certificate = peer.certificate.as_ref();
    match (&shown.value, shown.twice, certificate) {
        (None, _, None) => Ok(Evidence::None),
        (None, _, Some(certificate)) if peer.stands() => Ok(Evidence::Certificate(Arc::clone(certificate))),
        (None, _, Some(_)) => {
            Err(Problem::new(HttpCode::Unauthenticated, "the client certificate does not count any more"))
        }
        (Some(value), false, None) => bearer(value.as_bytes()),
        (Some(_), true, _) => Err(Problem::invalid("there are two `Authorization` headers: send one")),
        (Some(_), false, Some(_)) => {
            Err(Problem::invalid("the request carries a token and a client certificate: show only one of them"))
        }
    }
}

fn bearer(value: &[u8]) -> Result<Evidence, Problem> {
    let wrong = || Problem::new(HttpCode::Unauthenticated, "the header `Authorization` must read `Bearer <token>`");
    Ok(Evidence::Bearer(SecretString::copy_from(token(value).ok_or_else(wrong)?)))
}

/// The token in the header `Authorization`.
fn token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let token = token.trim();
    let fit = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (fit && scheme.eq_ignore_ascii_case("bearer")).then_some(token)
}

/// What tells this credential from others however its scheme is spelt: the token, or the whole value if it has none.
pub(crate) fn distinctive(value: &[u8]) -> &[u8] {
    token(value).map_or(value, str::as_bytes)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let fit = (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fit || values.next().is_some() {
        return Err(Problem::invalid("`Idempotency-Key` must be given once, as 1 to 128 visible ASCII characters"));
    }
    Ok(Some(text.to_owned()))
}

/// SHA-256 of method, target, the headers of [`MEANING`] and body, each with its length before it, and before the
/// values of a header their number.
fn digest(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(parts.method.as_str().as_bytes());
    add(target.as_bytes());
    for name in &MEANING {
        let values = parts.headers.get_all(name);
        add(&(values.iter().count() as u64).to_be_bytes());
        values.iter().for_each(|value| add(value.as_bytes()));
    }
    add(body);
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use keyreeve_model::UnixMillis;

    fn peer(certificate: bool) -> Peer {
        let valid = (UnixMillis(0), UnixMillis(1));
        let found = PeerCertificate {
            fingerprint: [1; 32],
            dns_names: Vec::new(),
            uris: Vec::new(),
            authorities: Vec::new(),
            valid,
        };
        Peer::new(([127, 0, 0, 1], 9).into(), certificate.then(|| Arc::new(found)))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn credential(pairs: &[(&'static str, &str)]) -> Credential {
        Credential::of(&headers(pairs))
    }

    #[test]
    fn one_credential_is_taken_and_two_are_refused() {
        let token = ("authorization", "bearer krt_1_2");
        assert!(matches!(evidence(&credential(&[]), &peer(false)), Ok(Evidence::None)));
        assert!(matches!(evidence(&credential(&[]), &peer(true)), Ok(Evidence::Certificate(_))));
        match evidence(&credential(&[token]), &peer(false)) {
            Ok(Evidence::Bearer(text)) => assert_eq!(text.expose(), "krt_1_2"),
            other => panic!("{other:?}"),
        }
        assert_eq!(evidence(&credential(&[token]), &peer(true)).unwrap_err().code(), "invalid-request");
        let mut twice = headers(&[token]);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer other"));
        assert_eq!(evidence(&Credential::of(&twice), &peer(false)).unwrap_err().code(), "invalid-request");
    }

    #[test]
    fn other_schemes_are_refused_rather_than_ignored() {
        for value in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "Bearer a b", "krt_1_2"] {
            let problem = evidence(&credential(&[("authorization", value)]), &peer(false)).unwrap_err();
            assert_eq!(problem.code(), "unauthenticated", "{value}");
        }
    }

    #[test]
    fn request_ids_are_taken_over_only_if_fit_for_logs() {
        let long = "x".repeat(REQUEST_ID_MAX + 1);
        let cases = [
            ("a-1_B.c:2", true),
            ("my-scheduled-destruction", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            (&long, false),
            ("scheduled-destruction", false),
            ("destruction-of-key_1", false),
        ];
        for (text, fit) in cases {
            assert_eq!(given_request_id(&headers(&[("x-request-id", text)])).is_some(), fit, "{text}");
        }
    }

    #[test]
    fn idempotency_keys_are_checked() {
        let long = "k".repeat(IDEMPOTENCY_KEY_MAX + 1);
        for (text, good) in [("k1", true), ("", false), ("a b", false), (&long, false)] {
            assert_eq!(idempotency_key(&headers(&[("idempotency-key", text)])).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn the_digest_tells_requests_apart() {
        let parts =
            |method: &str, target: &str| Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0;
        let one = digest(&parts("POST", "/v1/keys?a=1"), b"{}");
        assert_eq!(one, digest(&parts("POST", "/v1/keys?a=1"), b"{}"));
        assert_ne!(one, digest(&parts("PUT", "/v1/keys?a=1"), b"{}"));
        assert_ne!(one, digest(&parts("POST", "/v1/keys?a=2"), b"{}"));
        assert_ne!(one, digest(&parts("POST", "/v1/keys?a=1"), b"{ }"));
        let mut seen = vec![one];
        for name in MEANING {
            for values in [&["x"][..], &["y"], &["x", "x"], &["xx"]] {
                let mut other = parts("POST", "/v1/keys?a=1");
                for value in values {
                    other.headers.append(&name, HeaderValue::from_static(value));
                }
                let digest = digest(&other, b"{}");
                assert!(!seen.contains(&digest), "{name} {values:?}");
                seen.push(digest);
            }
        }
    }
}
