//! What a verified token says (JSON Web Token, RFC 7519; ID token, OpenID Connect Core 1.0 section 3.1.3.7).

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::digest::{Sha256, sha256, sha384, sha512};
use keyreeve_model::UnixMillis;
use keyreeve_model::login::JwsAlgorithm;
use keyreeve_secret::SecretBytes;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

use crate::binding::Facts;
use crate::error::IdentityError;
use crate::json;
use crate::jwks::KeySet;
use crate::jws::{Compact, Header, TOKEN_MAX};

/// The widest clock skew that is ever admitted.
pub const SKEW_MAX: Duration = Duration::from_secs(60);
const WHAT: &str = "token's claims";
/// The last second of the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// What a token must be to count.
#[derive(Clone, Debug)]
pub struct Expect<'a> {
    /// Its issuer, exactly.
    pub issuer: &'a str,
    /// It must be for one of these.
    pub audiences: &'a [&'a str],
    /// It must be signed with one of these.
    pub algorithms: &'a [JwsAlgorithm],
    /// How far the issuer's clock may be off; more than [`SKEW_MAX`] counts as that.
    pub skew: Duration,
    /// The longest time it may have been issued for.
    pub max_life: Option<Duration>,
    /// The longest time since the person logged in at the provider.
    pub max_auth_age: Option<Duration>,
    /// For an ID token what must be different for other tokens.
    pub id_token: Option<ExpectId<'a>>,
}

/// What an ID token must be besides.
#[derive(Clone, Debug)]
pub struct ExpectId<'a> {
    /// The client that it was given to.
    pub client_id: &'a str,
    /// The nonce of this login.
    pub nonce: &'a str,
    /// The access token that came with it.
    pub access_token: Option<&'a str>,
}

/// Verifies a token: form, signature, issuer, audience, times, and for an ID token the login it belongs to.
///
/// # Errors
/// What is wrong; [`IdentityError::UnknownKey`] when the keys should be fetched anew.
pub fn verify_jwt(token: &str, keys: &KeySet, expect: &Expect<'_>, now: UnixMillis) -> Result<Claims, IdentityError> {
    let compact = Compact::parse(token)?;
    check_type(&compact.header, expect.id_token.is_some())?;
    let payload = compact.verify(keys, expect.algorithms)?;
    let claims = Claims::parse(payload, compact.signed)?;
    claims.check(expect, now)?;
    if let Some(id) = &expect.id_token {
        claims.check_id(id, compact.header.algorithm)?;
    }
    Ok(claims)
}

/// Tokens for other uses say so (RFC 8725 section 3.11): a logout token is no login. An access token (RFC 9068) may
/// prove a workload, never a person's login.
fn check_type(header: &Header, id_token: bool) -> Result<(), IdentityError> {
    match header.typ.as_deref() {
        None | Some("jwt" | "jose") => Ok(()),
        Some("at+jwt") if !id_token => Ok(()),
        Some(_) => Err(IdentityError::Type),
    }
}

/// The claims of a token that was verified.
#[derive(Clone, Debug)]
pub struct Claims {
    members: Map<String, Value>,
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    expires: UnixMillis,
    replay: [u8; 32],
}

impl Claims {
    /// Reads claims without believing them; `signed` is what the signature covers.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`], [`IdentityError::Duplicate`], [`IdentityError::Missing`] for `iss`, `sub`, `exp`.
    pub fn parse(payload: &[u8], signed: &str) -> Result<Self, IdentityError> {
        let members = json::object(WHAT, payload, TOKEN_MAX)?;
        let issuer = text(&members, "iss")?.ok_or(IdentityError::Missing("iss"))?.to_owned();
        let subject = text(&members, "sub")?.filter(|sub| !sub.is_empty()).ok_or(IdentityError::Missing("sub"))?;
        let subject = subject.to_owned();
        let audiences = audiences(members.get("aud"))?;
        let expires = instant(&members, "exp")?.ok_or(IdentityError::Missing("exp"))?;
        let replay = replay_key(&issuer, text(&members, "jti")?, signed);
        Ok(Self { members, issuer, subject, audiences, expires, replay })
    }

    fn check(&self, expect: &Expect<'_>, now: UnixMillis) -> Result<(), IdentityError> {
        let skew = expect.skew.min(SKEW_MAX);
        if self.issuer != expect.issuer {
            return Err(IdentityError::Issuer);
        }
        if !self.audiences.iter().any(|audience| expect.audiences.contains(&audience.as_str())) {
            return Err(IdentityError::Audience);
        }
        if now >= self.expires.plus(skew) {
            return Err(IdentityError::Expired);
        }
        let issued = instant(&self.members, "iat")?;
        for begin in [issued, instant(&self.members, "nbf")?].into_iter().flatten() {
            if begin > now.plus(skew) {
                return Err(IdentityError::NotYetValid);
            }
        }
        if let Some(longest) = expect.max_life {
            let issued = issued.ok_or(IdentityError::Missing("iat"))?;
            if self.expires > issued.plus(longest) {
                return Err(IdentityError::TooLongLived);
            }
        }
        if let Some(longest) = expect.max_auth_age {
            let at = self.auth_time()?.ok_or(IdentityError::Missing("auth_time"))?;
            if at > now.plus(skew) {
                return Err(IdentityError::NotYetValid);
            }
            if now > at.plus(longest).plus(skew) {
                return Err(IdentityError::AuthenticationTooOld);
            }
        }
        Ok(())
    }

    fn check_id(&self, expect: &ExpectId<'_>, algorithm: JwsAlgorithm) -> Result<(), IdentityError> {
        instant(&self.members, "iat")?.ok_or(IdentityError::Missing("iat"))?;
        if !self.audiences.iter().any(|audience| audience == expect.client_id) {
            return Err(IdentityError::Audience);
        }
        match text(&self.members, "azp")? {
            Some(party) if party != expect.client_id => return Err(IdentityError::AuthorizedParty),
            None if self.audiences.len() > 1 => return Err(IdentityError::AuthorizedParty),
            _ => {}
        }
        let nonce = text(&self.members, "nonce")?.ok_or(IdentityError::Missing("nonce"))?;
        if !same(nonce, expect.nonce) {
            return Err(IdentityError::Nonce);
        }
        if let (Some(hash), Some(token)) = (text(&self.members, "at_hash")?, expect.access_token)
            && !same(hash, &access_token_hash(algorithm, token))
        {
            return Err(IdentityError::AccessTokenHash);
        }
        Ok(())
    }

    /// The issuer (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The subject (`sub`), which together with the issuer is the identity; an e-mail address never is.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// For whom it is (`aud`).
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// When it ends (`exp`), without the skew.
    #[must_use]
    pub const fn expires(&self) -> UnixMillis {
        self.expires
    }

    /// What names this one token among all, for refusing it a second time: of its issuer and its `jti`, or of what is
    /// signed where it has none. The signature is not part of it, for of one ECDSA signature anybody makes a second.
    #[must_use]
    pub const fn replay_key(&self) -> [u8; 32] {
        self.replay
    }

    /// When the person logged in at the provider (`auth_time`).
    ///
    /// # Errors
    /// [`IdentityError::Malformed`].
    pub fn auth_time(&self) -> Result<Option<UnixMillis>, IdentityError> {
        instant(&self.members, "auth_time")
    }

    /// How the person proved himself to the provider: the values of `amr` (RFC 8176) and `acr`.
    #[must_use]
    pub fn methods(&self) -> Vec<Cow<'_, str>> {
        let mut values = self.at("amr");
        values.extend(self.at("acr"));
        values
    }

    /// The values at a path: a member's name, or a JSON pointer (RFC 6901) such as `/kubernetes.io/namespace`. Texts,
    /// whole numbers and truth values as text, each member of a list; nothing for what is missing or something else.
    #[must_use]
    pub fn at(&self, path: &str) -> Vec<Cow<'_, str>> {
        let found = if path.starts_with('/') { pointer(&self.members, path) } else { self.members.get(path) };
        match found {
            Some(Value::Array(values)) => values.iter().filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

impl Facts for Claims {
    fn subject(&self) -> &str {
        &self.subject
    }

    fn values(&self, path: &str) -> Vec<Cow<'_, str>> {
        // Somebody may have typed any address into his profile.
        if matches!(path, "email" | "/email") && self.at("email_verified") != ["true"] {
            return Vec::new();
        }
        self.at(path)
    }

    fn audiences(&self) -> &[String] {
        &self.audiences
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Bool(flag) => Some(if *flag { "true" } else { "false" }.into()),
        Value::Number(number) => (number.is_i64() || number.is_u64()).then(|| number.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn pointer<'a>(members: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    let first = members.get(&parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_object()?.get(&part))
}

fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, IdentityError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(IdentityError::Malformed { what: WHAT }),
    }
}

/// A text or a list of texts.
fn audiences(value: Option<&Value>) -> Result<Vec<String>, IdentityError> {
    let malformed = IdentityError::Malformed { what: WHAT };
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(values)) => {
            values.iter().map(|value| value.as_str().map(str::to_owned).ok_or(malformed.clone())).collect()
        }
        Some(_) => Err(malformed),
    }
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, possibly with a fraction.
fn instant(members: &Map<String, Value>, name: &'static str) -> Result<Option<UnixMillis>, IdentityError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
    let seconds = seconds.ok_or(IdentityError::Malformed { what: WHAT })?;
    // In range, and below 2^53 in milliseconds: exact.
    #[allow(clippy::cast_possible_truncation)]
    let millis = (seconds * 1000.0).floor() as i64;
    Ok(Some(UnixMillis(millis)))
}

fn replay_key(issuer: &str, jti: Option<&str>, signed: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    let (kind, value) = jti.map_or(("token", signed), |jti| ("jti", jti));
    for part in ["keyreeve/seen/1", issuer, kind, value] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish()
}

/// The left half of the access token's digest (OpenID Connect Core section 3.1.3.6), by the hash function of the ID
/// token's algorithm; for Ed25519 that is SHA-512.
fn access_token_hash(algorithm: JwsAlgorithm, token: &str) -> String {
    use JwsAlgorithm as A;
    let token = token.as_bytes();
    let half = |digest: &[u8]| BASE64URL_NOPAD.encode(&digest[..digest.len() / 2]);
    match algorithm {
        A::Rs256 | A::Ps256 | A::Es256 => half(&sha256(token)),
        A::Rs384 | A::Ps384 | A::Es384 => half(&sha384(token)),
        A::Rs512 | A::Ps512 | A::EdDsa => half(&sha512(token)),
    }
}

fn same(one: &str, other: &str) -> bool {
    SecretBytes::copy_from(one.as_bytes()).ct_eq(other.as_bytes())
}
