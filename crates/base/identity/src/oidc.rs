//! OpenID Connect: discovery, the address where a person logs in, the provider's answer. Authorization code flow with
//! PKCE (OpenID Connect Core 1.0, Discovery 1.0, RFC 6749, RFC 7636, RFC 8252, RFC 9207).

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::digest::sha256;
use keyreeve_secret::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write;

use crate::error::IdentityError;
use crate::json;
use crate::jws::TOKEN_MAX;

/// The longest discovery document in bytes.
pub const DISCOVERY_MAX: usize = 256 * 1024;
/// The longest answer of a token endpoint in bytes.
pub const ANSWER_MAX: usize = 64 * 1024;
/// The longest address in bytes.
const URL_MAX: usize = 2048;
const DOCUMENT: &str = "discovery document";

/// Where a provider is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The issuer, as in its tokens.
    pub issuer: String,
    /// Where people log in.
    pub authorization: Option<String>,
    /// Where a code is exchanged.
    pub token: Option<String>,
    /// Where the keys are.
    pub keys: String,
    /// Whether the provider names itself when it sends people back (RFC 9207), so that its silence is suspicious.
    pub names_itself: bool,
}

/// Where the discovery document of an issuer is.
#[must_use]
pub fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// Reads a discovery document. It must be of `issuer` itself, so that nobody can speak for somebody else; its addresses
/// must be `https`, or plain on this machine where the issuer is so too.
///
/// # Errors
/// [`IdentityError::TooLarge`], [`IdentityError::Malformed`], [`IdentityError::Duplicate`], [`IdentityError::Issuer`].
pub fn parse_discovery(bytes: &[u8], issuer: &str) -> Result<Endpoints, IdentityError> {
    let document = json::object(DOCUMENT, bytes, DISCOVERY_MAX)?;
    let malformed = IdentityError::Malformed { what: DOCUMENT };
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(IdentityError::Issuer);
    }
    // A provider that says what it does and does not say S256 would ignore the challenge.
    let without_pkce = match document.get("code_challenge_methods_supported") {
        None => false,
        Some(methods) => !methods.as_array().is_some_and(|list| list.iter().any(|one| one.as_str() == Some("S256"))),
    };
    if without_pkce {
        return Err(malformed);
    }
    Ok(Endpoints {
        issuer: issuer.to_owned(),
        authorization: address(&document, "authorization_endpoint", issuer)?,
        token: address(&document, "token_endpoint", issuer)?,
        keys: address(&document, "jwks_uri", issuer)?.ok_or(malformed)?,
        names_itself: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
    })
}

fn address(document: &Map<String, Value>, name: &str, issuer: &str) -> Result<Option<String>, IdentityError> {
    let malformed = IdentityError::Malformed { what: DOCUMENT };
    let Some(value) = document.get(name) else { return Ok(None) };
    let url = value.as_str().ok_or(malformed.clone())?;
    let plain = url.starts_with("http://") && issuer.starts_with("http://") && is_loopback(url) && is_loopback(issuer);
    let printable = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['#', '\\', '"', '<', '>']);
    if url.len() <= URL_MAX && printable && (url.starts_with("https://") || plain) {
        Ok(Some(url.to_owned()))
    } else {
        Err(malformed)
    }
}

/// Whether an `http` address is a literal loopback address, with any port (RFC 8252 section 7.3), and has neither query
/// nor fragment nor user name.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.strip_prefix("127.0.0.1").or_else(|| authority.strip_prefix("[::1]"));
    let good_port = |port: &str| match port.strip_prefix(':') {
        Some(digits) => (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    port.is_some_and(good_port) && !url.contains(['?', '#', '@', '\\', ' '])
}

/// Whether a provider may send people back to `uri`: one of the method's own, exactly, or a program on the person's
/// own machine, at a path that ends with the name of the `method`. So whoever comes back says with which method, and a
/// provider is not shown the code that another one gave (RFC 9700 section 4.4.2.2).
#[must_use]
pub fn may_return_to(uri: &str, listed: &BTreeSet<String>, method: &str) -> bool {
    let origin = || uri.strip_suffix(method)?.strip_suffix("/callback/");
    let of_method = || origin().is_some_and(|origin| is_loopback(origin) && origin.matches('/').count() == 2);
    uri.len() <= URL_MAX && (listed.contains(uri) || of_method())
}

/// What a person is sent to the provider with.
#[derive(Clone, Debug)]
pub struct AuthRequest<'a> {
    /// This server, as the provider knows it.
    pub client_id: &'a str,
    /// Where to come back to.
    pub redirect_uri: &'a str,
    /// What is asked for besides `openid`.
    pub scopes: &'a BTreeSet<String>,
    /// Comes back with the person.
    pub state: &'a str,
    /// Comes back in the ID token.
    pub nonce: &'a str,
    /// The PKCE challenge.
    pub challenge: &'a str,
    /// How long ago the person may have logged in, in seconds.
    pub max_auth_age_s: Option<u32>,
}

/// The address that a person opens to log in.
///
/// # Errors
/// [`IdentityError::Malformed`] when the provider did not say where.
pub fn authorization_url(endpoints: &Endpoints, request: &AuthRequest<'_>) -> Result<String, IdentityError> {
    let base = endpoints.authorization.as_deref().ok_or(IdentityError::Malformed { what: DOCUMENT })?;
    let mut scope = "openid".to_owned();
    for more in request.scopes.iter().filter(|more| more.as_str() != "openid") {
        scope.push(' ');
        scope.push_str(more);
    }
    let max_age = request.max_auth_age_s.map(|seconds| seconds.to_string());
    let mut url = base.to_owned();
    let pairs = [
        ("response_type", Some("code")),
        ("client_id", Some(request.client_id)),
        ("redirect_uri", Some(request.redirect_uri)),
        ("scope", Some(scope.as_str())),
        ("state", Some(request.state)),
        ("nonce", Some(request.nonce)),
        ("code_challenge", Some(request.challenge)),
        ("code_challenge_method", Some("S256")),
        ("max_age", max_age.as_deref()),
    ];
    let mut separator = if base.contains('?') { '&' } else { '?' };
    for (name, value) in pairs.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
        url.push(separator);
        url.push_str(name);
        url.push('=');
        escape(&mut url, value);
        separator = '&';
    }
    Ok(url)
}

/// Percent-encoding of everything that is not unreserved (RFC 3986 section 2.3).
fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The PKCE challenge of a verifier, method S256 (RFC 7636 section 4.2).
#[must_use]
pub fn pkce_challenge(verifier: &SecretString) -> String {
    BASE64URL_NOPAD.encode(&sha256(verifier.expose().as_bytes()))
}

/// What a provider answers for a code.
#[derive(Debug)]
pub struct TokenAnswer {
    /// Who the person is.
    pub id_token: SecretString,
    /// A token for the provider's own interfaces; only compared with the ID token, never used.
    pub access_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct RawAnswer {
    id_token: Option<String>,
    access_token: Option<String>,
    token_type: Option<String>,
}

/// Reads the answer of a token endpoint (OpenID Connect Core section 3.1.3.3).
///
/// # Errors
/// [`IdentityError::TooLarge`], [`IdentityError::Malformed`]; [`IdentityError::Missing`] without an ID token;
/// [`IdentityError::Type`] when the access token is none that its bearer may use.
pub fn parse_token_answer(bytes: &[u8]) -> Result<TokenAnswer, IdentityError> {
    const WHAT: &str = "token answer";
    if bytes.len() > ANSWER_MAX {
        return Err(IdentityError::TooLarge { what: WHAT, max: ANSWER_MAX });
    }
    let raw: RawAnswer = serde_json::from_slice(bytes).map_err(|_| IdentityError::Malformed { what: WHAT })?;
    let (id_token, access_token) = (raw.id_token.map(SecretString::from), raw.access_token.map(SecretString::from));
    if raw.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(IdentityError::Type);
    }
    let id_token = id_token.ok_or(IdentityError::Missing("id_token"))?;
    if id_token.len() > TOKEN_MAX {
        return Err(IdentityError::TooLarge { what: "token", max: TOKEN_MAX });
    }
    Ok(TokenAnswer { id_token, access_token })
}

/// Why a token endpoint refused, out of the codes of RFC 6749 section 5.2; anything else it says is not repeated.
#[must_use]
pub fn parse_token_error(bytes: &[u8]) -> &'static str {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let answer = json::object("token answer", bytes, ANSWER_MAX).unwrap_or_default();
    let said = answer.get("error").and_then(Value::as_str);
    KNOWN.into_iter().find(|known| Some(*known) == said).unwrap_or("refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISSUER: &str = "https://id.example/realm";

    fn document(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
        let mut map = Map::new();
        for (name, value) in [
            ("issuer", ISSUER),
            ("authorization_endpoint", "https://id.example/realm/auth"),
            ("token_endpoint", "https://id.example/realm/token"),
            ("jwks_uri", "https://id.example/realm/keys"),
        ] {
            map.insert(name.to_owned(), value.into());
        }
        change(&mut map);
        serde_json::to_vec(&map).unwrap()
    }

    #[test]
    fn a_document_speaks_for_its_own_issuer_only() {
        let endpoints = parse_discovery(&document(|_| ()), ISSUER).unwrap();
        assert_eq!(endpoints.keys, "https://id.example/realm/keys");
        assert!(!endpoints.names_itself);
        for other in ["https://id.example/realm/", "https://id.example", "https://evil.example/realm"] {
            assert_eq!(parse_discovery(&document(|_| ()), other), Err(IdentityError::Issuer));
        }
        assert_eq!(discovery_url("https://a.example/"), "https://a.example/.well-known/openid-configuration");
        assert_eq!(discovery_url(ISSUER), "https://id.example/realm/.well-known/openid-configuration");
    }

    #[test]
    fn addresses_in_it_are_protected() {
        for bad in ["http://id.example/k", "http://127.0.0.1/k", "ftp://x", "", "https://x/\n", "https://x/#y"] {
            let document = document(|map| drop(map.insert("jwks_uri".into(), bad.into())));
            assert!(parse_discovery(&document, ISSUER).is_err(), "{bad:?}");
        }
        let without = document(|map| drop(map.remove("jwks_uri")));
        assert!(parse_discovery(&without, ISSUER).is_err());
        let no_pkce = document(|map| drop(map.insert("code_challenge_methods_supported".into(), vec!["plain"].into())));
        assert!(parse_discovery(&no_pkce, ISSUER).is_err());
        let pkce = document(|map| drop(map.insert("code_challenge_methods_supported".into(), vec!["S256"].into())));
        assert!(parse_discovery(&pkce, ISSUER).is_ok());
        let local = br#"{"issuer":"http://127.0.0.1:9","jwks_uri":"http://127.0.0.1:9/k"}"#;
        assert!(parse_discovery(local, "http://127.0.0.1:9").is_ok());
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = SecretString::copy_from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(pkce_challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn people_come_back_to_known_places_or_to_their_own_machine() {
        let listed = BTreeSet::from(["https://keys.example/callback".to_owned()]);
        for good in [
            "https://keys.example/callback",
            "http://127.0.0.1:49152/callback/corp/eu:1",
            "http://[::1]:80/callback/corp/eu:1",
            "http://127.0.0.1/callback/corp/eu:1",
        ] {
            assert!(may_return_to(good, &listed, "corp/eu:1"), "{good}");
        }
        for bad in [
            "https://keys.example/callback/",
            "https://keys.example/callback?x",
            "http://localhost:1/callback/corp/eu:1",
            "http://127.0.0.1.evil.example/callback/corp/eu:1",
            "http://127.0.0.1@evil.example/callback/corp/eu:1",
            "http://127.0.0.1:80@evil.example/callback/corp/eu:1",
            "http://127.0.0.1:123456/callback/corp/eu:1",
            "http://127.0.0.1:/callback/corp/eu:1",
            "https://127.0.0.1/callback/corp/eu:1",
            // Another method comes back there, or any.
            "http://127.0.0.1:80/",
            "http://127.0.0.1:80/callback",
            "http://127.0.0.1:80/callback/other",
            "http://127.0.0.1:80/callback/other/corp/eu:1",
            "http://127.0.0.1:80/callback/callback/corp/eu:1",
            "http://127.0.0.1:80/callback/other?/callback/corp/eu:1",
            "javascript:alert(1)",
            "",
        ] {
            assert!(!may_return_to(bad, &listed, "corp/eu:1"), "{bad}");
        }
    }

    #[test]
    fn the_address_has_everything_escaped() {
        let endpoints = parse_discovery(&document(|_| ()), ISSUER).unwrap();
        let scopes = BTreeSet::from(["groups".to_owned(), "openid".to_owned()]);
        let request = AuthRequest {
            client_id: "a&b",
            redirect_uri: "http://127.0.0.1:1/",
            scopes: &scopes,
            state: "s=1",
            nonce: "n",
            challenge: "c",
            max_auth_age_s: Some(60),
        };
        assert_eq!(
            authorization_url(&endpoints, &request).unwrap(),
            "https://id.example/realm/auth?response_type=code&client_id=a%26b&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2F\
             &scope=openid%20groups&state=s%3D1&nonce=n&code_challenge=c&code_challenge_method=S256&max_age=60"
        );
        let with_query = Endpoints { authorization: Some("https://x/a?b=c".into()), ..endpoints };
        assert!(authorization_url(&with_query, &request).unwrap().starts_with("https://x/a?b=c&response_type=code&"));
    }

    #[test]
    fn answers_are_read_strictly_and_errors_by_known_names() {
        let answer =
            parse_token_answer(br#"{"id_token":"a.b.c","access_token":"t","token_type":"Bearer","x":1}"#).unwrap();
        assert_eq!(answer.id_token.expose(), "a.b.c");
        assert!(answer.access_token.unwrap().ct_eq("t"));
        let refused = |text: &str| parse_token_answer(text.as_bytes()).unwrap_err();
        assert_eq!(refused(r#"{"access_token":"t"}"#), IdentityError::Missing("id_token"));
        assert_eq!(refused(r#"{"id_token":"t","token_type":"mac"}"#), IdentityError::Type);
        assert!(matches!(refused(r#"{"id_token":"t","id_token":"u"}"#), IdentityError::Malformed { .. }));
        assert!(matches!(
            refused(&format!(r#"{{"id_token":"{}"}}"#, "x".repeat(TOKEN_MAX + 1))),
            IdentityError::TooLarge { .. }
        ));
        assert_eq!(parse_token_error(br#"{"error":"invalid_grant","error_description":"<b>"}"#), "invalid_grant");
        assert_eq!(parse_token_error(br#"{"error":"<script>"}"#), "refused");
    }

    proptest! {
        #[test]
        fn documents_of_others_never_stop_us(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_discovery(&bytes, ISSUER);
            let _ = parse_token_answer(&bytes);
            let _ = parse_token_error(&bytes);
        }

        #[test]
        fn a_value_in_the_address_stays_one_value(state in "\\PC{0,30}") {
            let mut out = String::new();
            escape(&mut out, &state);
            prop_assert!(!out.contains(['&', '=', '#', ' ', '+', '?', '/']));
        }
    }
}
