//! The session of a browser: a cookie that holds a token, good for the console's own pages and nothing else.
//!
//! Requests that a page sends are refused everywhere. The one exception is here: requests under [`CONSOLE_API`] that a
//! browser says come from a page of the same origin (W3C Fetch Metadata). For those, and for no others, the cookie
//! stands in the place of the header `Authorization`, and what the console needs of the interface is reached under
//! `/console/api/v1`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri};

/// The cookie. The prefix makes browsers insist on `Secure`, on the path `/` and on this very host (RFC 6265bis,
/// 4.1.3).
pub const SESSION_COOKIE: &str = "__Host-keyreeve";
/// Under which the cookie counts.
pub const CONSOLE_API: &str = "/console/api/";
/// What of the interface is reached with it: showing who one is, second factors, approvals.
const REACHED: [&str; 5] = ["/v1/tokens/self", "/v1/mfa", "/v1/approvals", "/v1/login/", "/v1/system/status"];
/// Where a browser says which site a request comes from.
pub(crate) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request of the console's own pages in: with its cookie as its credential, and no longer as that of a page.
/// Any other request stays as it is.
pub(crate) fn enter<B>(request: &mut Request<B>) {
    if !request.uri().path().starts_with(CONSOLE_API) || !is_same_origin(request) {
        return;
    }
    let bearer = token(request.headers()).and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    if let Some(reached) = reached(request.uri()) {
        *request.uri_mut() = reached;
    }
    let headers = request.headers_mut();
    headers.remove(header::ORIGIN);
    headers.remove(header::COOKIE);
    headers.remove(header::AUTHORIZATION);
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
}

/// Whether a browser says so, once, and its word about the origin fits the host that was asked.
fn is_same_origin<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    if one(&FETCH_SITE) != Some("same-origin") {
        return false;
    }
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let asked = asked_origin(request.uri(), headers);
    asked.is_some() && asked.as_deref() == one(&header::ORIGIN)
}

/// The origin that a request was sent to, as browsers write it (RFC 6454). None where it names no host, or two.
#[must_use]
pub fn asked_origin(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(http::uri::Authority::as_str).or(host)?;
    Some(format!("https://{host}"))
}

/// The value of the cookie of this name. Two of a name are none.
#[must_use]
pub fn cookie_in<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
    ours.next().filter(|_| ours.next().is_none())
}

/// The token in the session's cookie.
fn token(headers: &HeaderMap) -> Option<&str> {
    let token = cookie_in(headers, SESSION_COOKIE)?;
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!token.is_empty() && token.bytes().all(fit)).then_some(token)
}

/// The address within the interface, where the console may reach it.
fn reached(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_prefix(CONSOLE_API.strip_suffix('/')?)?;
    let allowed = |start: &&str| {
        path.strip_prefix(*start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || start.ends_with('/'))
    };
    if !REACHED.iter().any(allowed) {
        return None;
    }
    let target = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// What sets the cookie, and with no token what removes it. Scripts do not see it, other sites do not send it.
#[must_use]
pub fn session_cookie(token: Option<&str>) -> Option<HeaderValue> {
    let (value, end) = token.map_or(("", "; Max-Age=0"), |token| (token, ""));
    let text = format!("{SESSION_COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{end}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: &str = "a=b; __Host-keyreeve=krt_0_1; c=d";

    fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let builder = Request::builder().method("POST").uri(path).header("host", "localhost:7433");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
    }

    fn entered(path: &str, headers: &[(&str, &str)]) -> (String, Option<String>, bool) {
        let mut request = request(path, headers);
        enter(&mut request);
        let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        (request.uri().to_string(), shown, request.headers().contains_key(header::ORIGIN))
    }

    #[test]
    fn the_cookie_counts_for_the_consoles_own_pages() {
        let headers = [("cookie", COOKIE), ("sec-fetch-site", "same-origin"), ("origin", "https://localhost:7433")];
        let bearer = Some("Bearer krt_0_1".to_owned());
        let (path, shown, origin) = entered("/console/api/v1/mfa/verify?x=1", &headers);
        assert_eq!((path.as_str(), &shown, origin), ("/v1/mfa/verify?x=1", &bearer, false));
        // A GET has no origin.
        assert_eq!(entered("/console/api/v1/mfa", &headers[..2]), ("/v1/mfa".to_owned(), bearer, false));
    }

    #[test]
    fn it_counts_for_nothing_else() {
        let site = |site| [("cookie", COOKIE), ("sec-fetch-site", site), ("origin", "https://localhost:7433")];
        for other in ["cross-site", "same-site", "none", ""] {
            let path = "/console/api/v1/mfa";
            assert_eq!(entered(path, &site(other)), (path.to_owned(), None, true), "{other}");
        }
        for origin in ["https://localhost", "http://localhost:7433", "https://localhost:7433.example", "null"] {
            let headers = [("cookie", COOKIE), ("sec-fetch-site", "same-origin"), ("origin", origin)];
            assert_eq!(entered("/console/api/v1/mfa", &headers).1, None, "{origin}");
        }
        let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin"), ("cookie", COOKIE)];
        assert_eq!(entered("/console/api/v1/mfa", &twice).1, None);
        for path in ["/v1/mfa", "/console", "/console/apiv1/mfa", "/v1/keys"] {
            assert_eq!(entered(path, &site("same-origin")), (path.to_owned(), None, true), "{path}");
        }
        for path in ["/console/api/v1/keys", "/console/api/v1/mfax", "/console/api/v1/tokens/selfish"] {
            assert_eq!(entered(path, &site("same-origin")).0, path, "not reached");
        }
        let two = [("cookie", "__Host-keyreeve=a; __Host-keyreeve=b"), ("sec-fetch-site", "same-origin")];
        assert_eq!(entered("/console/api/v1/mfa", &two).1, None);
        // A credential of the request's own does not count either: there it is the cookie or nothing.
        let own = [("authorization", "Bearer krt_2_3"), ("sec-fetch-site", "same-origin")];
        assert_eq!(entered("/console/api/v1/mfa", &own).1, None);
    }

    #[test]
    fn the_cookie_is_out_of_reach_for_scripts_and_other_sites() {
        let set = session_cookie(Some("krt_0_1")).unwrap();
        let text = set.to_str().unwrap();
        assert_eq!(text, "__Host-keyreeve=krt_0_1; Path=/; Secure; HttpOnly; SameSite=Strict");
        assert!(session_cookie(None).unwrap().to_str().unwrap().ends_with("Max-Age=0"));
        assert!(session_cookie(Some("a\nb")).is_none());
    }
}
