//! What Microsoft's services answer. The members that matter; the others are left alone, as versions add to them.

use std::time::Duration;

use keyreeve_secret::{SecretBytes, SecretString};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::access::LONGEST;
use crate::RemoteError;
use crate::http::{Answer, code};
use crate::token::Token;

/// Least size of the key, in bits: as strong as what it wraps is kept for.
const BITS: usize = 3072;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Wrap,
    Unwrap,
}

impl Operation {
    /// As the address says it.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Read => "",
            Self::Wrap => "/wrapkey",
            Self::Unwrap => "/unwrapkey",
        }
    }
}

/// A key and its attributes (`KeyBundle`).
#[derive(Deserialize)]
pub(super) struct Key {
    key: Jwk,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    key_ops: Vec<String>,
    #[serde(default)]
    n: String,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    exportable: bool,
}

impl Key {
    pub(super) fn read(body: &[u8]) -> Result<Self, RemoteError> {
        parse(body)
    }

    /// Its address, with version.
    pub(super) fn id(&self) -> &str {
        &self.key.kid
    }

    /// Whether it can be a root.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        let refused = |what: &str| Err(RemoteError::Refused(what.to_owned()));
        if !matches!(self.key.kty.as_str(), "RSA" | "RSA-HSM") {
            return refused("the key is not an RSA key: make one of the type RSA or RSA-HSM");
        }
        let bits = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(self.key.n.as_bytes()).map_or(0, |n| n.len() * 8);
        if bits < BITS {
            return refused("the key is too short: make one of 3072 or 4096 bits");
        }
        if !["wrapKey", "unwrapKey"].iter().all(|needed| self.key.key_ops.iter().any(|has| has == needed)) {
            return refused("the key is not for wrapping: allow it the operations wrapKey and unwrapKey");
        }
        if self.attributes.exportable {
            return refused("the key can be taken out of the vault (exportable): make another");
        }
        if !self.attributes.enabled {
            return refused("the key is disabled");
        }
        Ok(())
    }
}

/// The value that `wrapkey` or `unwrapkey` gives (`KeyOperationResult`), if it is of the key that was asked.
pub(super) fn wrapped_value(body: &[u8], recorded: &str) -> Result<SecretBytes, RemoteError> {
    #[derive(Deserialize)]
    struct Result {
        kid: String,
        value: String,
    }
    let said: Result = parse(body)?;
    let text = SecretString::from(said.value);
    if !said.kid.eq_ignore_ascii_case(recorded) {
        return Err(RemoteError::Malformed("it used another key than it was asked to".to_owned()));
    }
    let value = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text.expose().as_bytes());
    value.map(SecretBytes::from_vec).map_err(|_| RemoteError::Malformed("its value is not base64url".to_owned()))
}

/// A token. Its life is a number from Entra ID and a text from the metadata service.
pub(super) fn token(body: &[u8]) -> Result<Token, RemoteError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    struct Said {
        token_type: String,
        access_token: String,
        expires_in: Seconds,
    }
    let said: Said = parse(body)?;
    let text = SecretString::from(said.access_token);
    let wrong = |what: &str| RemoteError::Malformed(format!("what answered for a token gave {what}"));
    if !said.token_type.eq_ignore_ascii_case("bearer") {
        return Err(wrong("one of another type than Bearer"));
    }
    let seconds = match said.expires_in {
        Seconds::Number(seconds) => seconds,
        Seconds::Text(text) => text.parse().map_err(|_| wrong("no time of its end"))?,
    };
    Ok(Token { text, lifetime: Duration::from_secs(seconds).min(LONGEST) })
}

/// What a vault's error means.
pub(super) fn refusal(answer: &Answer, operation: Operation) -> RemoteError {
    let said = vault_codes(answer.body.expose());
    let (outer, inner) = (said.0.as_deref(), said.1.as_deref());
    // What does not unwrap is a wrong parameter; so is little else once the request has its form.
    if operation == Operation::Unwrap && answer.status == StatusCode::BAD_REQUEST && outer == Some("BadParameter") {
        return RemoteError::Unwrap;
    }
    answer.refusal(match (outer, inner) {
        (Some(outer), Some(inner)) => Some(format!("{outer} ({inner})")),
        (said, _) => said.map(str::to_owned),
    })
}

/// `{"error": {"code": …, "innererror": {"code": …}}}`: the codes.
fn vault_codes(body: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(Deserialize)]
    struct Said {
        error: Outer,
    }
    #[derive(Deserialize)]
    struct Outer {
        code: String,
        #[serde(default)]
        innererror: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(default)]
        code: String,
    }
    match parse::<Said>(body) {
        Ok(said) => (code(&said.error.code), said.error.innererror.and_then(|inner| code(&inner.code))),
        Err(_) => (None, None),
    }
}

/// What an error of Entra ID or of the metadata service means: `{"error": …, "error_codes": […]}`.
pub(super) fn token_refusal(answer: &Answer) -> RemoteError {
    #[derive(Deserialize)]
    struct Said {
        error: String,
        #[serde(default)]
        error_codes: Vec<u32>,
    }
    let said = parse::<Said>(answer.body.expose()).ok();
    let named = said.and_then(|said| {
        let what = code(&said.error)?;
        Some(said.error_codes.first().map_or(what.clone(), |number| format!("{what} (AADSTS{number})")))
    });
    match answer.refusal(named) {
        RemoteError::Refused(what) => RemoteError::Refused(format!("no token: {what}")),
        other => other,
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, RemoteError> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        RemoteError::Malformed(format!("its answer is not of the documented form (line {line}, column {column})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Reads bytes as every answer there is.
    fn look(body: &[u8]) {
        let _ = Key::read(body).and_then(|key| key.check());
        let _ = wrapped_value(body, "");
        let _ = token(body);
        for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
            let answer = Answer { status, retry_after: None, body: SecretBytes::copy_from(body) };
            let _ = (refusal(&answer, Operation::Unwrap), token_refusal(&answer));
        }
    }

    const KID: &str = "https://keyreeve.vault.azure.net/keys/root/78deebed173b48e48f55abf87ed4cf71";

    fn answer(status: u16, body: &Value) -> Answer {
        let body = SecretBytes::copy_from(body.to_string().as_bytes());
        Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body }
    }

    fn bundle() -> Value {
        let n = base64_simd::URL_SAFE_NO_PAD.encode_to_string([0xff; 384]);
        json!({
            "key": { "kid": KID, "kty": "RSA-HSM", "key_ops": ["wrapKey", "unwrapKey"], "n": n, "e": "AQAB" },
            "attributes": { "enabled": true, "created": 1_493_942_451, "recoveryLevel": "Recoverable+Purgeable" },
        })
    }

    fn checked(altered: impl Fn(&mut Value)) -> Result<(), RemoteError> {
        let mut bundle = bundle();
        altered(&mut bundle);
        Key::read(bundle.to_string().as_bytes()).unwrap().check()
    }

    #[test]
    fn a_key_that_is_no_root_is_refused() {
        assert_eq!(checked(|_| ()), Ok(()));
        assert!(checked(|key| key["key"]["kty"] = json!("EC")).is_err());
        assert!(checked(|key| key["key"]["n"] = json!("AQAB")).is_err());
        assert!(checked(|key| key["key"]["key_ops"] = json!(["sign", "unwrapKey"])).is_err());
        assert!(checked(|key| key["attributes"]["enabled"] = json!(false)).is_err());
        assert!(checked(|key| key["attributes"]["exportable"] = json!(true)).is_err());
    }

    #[test]
    fn a_value_is_of_the_key_that_was_asked() {
        let read = |body: Value| wrapped_value(body.to_string().as_bytes(), KID);
        assert_eq!(read(json!({ "kid": KID, "value": "-_8B" })).unwrap().expose(), [0xfb, 0xff, 1]);
        for not in [
            json!({ "kid": "https://other.vault.azure.net/keys/root/1", "value": "AQ" }),
            json!({ "kid": KID, "value": "+/8B" }),
            json!({ "kid": KID }),
            json!([]),
        ] {
            assert!(matches!(read(not), Err(RemoteError::Malformed(_))));
        }
    }

    #[test]
    fn errors_are_sorted_by_what_is_to_be_done() {
        let disabled = json!({ "error": {
            "code": "Forbidden",
            "message": "Operation unwrapKey is not allowed on a disabled key.",
            "innererror": { "code": "KeyDisabled" },
        } });
        let sorted = refusal(&answer(403, &disabled), Operation::Unwrap);
        assert_eq!(sorted, RemoteError::Refused("it answered 403 Forbidden (KeyDisabled)".to_owned()));
        let bad = json!({ "error": { "code": "BadParameter", "message": "…" } });
        assert_eq!(refusal(&answer(400, &bad), Operation::Unwrap), RemoteError::Unwrap);
        assert!(matches!(refusal(&answer(400, &bad), Operation::Wrap), RemoteError::Refused(_)));
        let throttled = refusal(&answer(429, &json!({ "error": { "code": "Throttled" } })), Operation::Wrap);
        assert!(matches!(throttled, RemoteError::Throttled { .. }));
        assert!(matches!(refusal(&answer(503, &json!("down")), Operation::Wrap), RemoteError::Unreachable(_)));
        let wrong =
            json!({ "error": "invalid_client", "error_description": "AADSTS7000215: …", "error_codes": [7_000_215] });
        let sorted = token_refusal(&answer(401, &wrong));
        assert_eq!(sorted.to_string(), "no token: it answered 401 invalid_client (AADSTS7000215)");
    }

    #[test]
    fn the_life_of_a_token_is_a_number_or_a_text() {
        for life in [json!(3599), json!("3599")] {
            let body = json!({ "token_type": "Bearer", "expires_in": life, "access_token": "eyJ0" });
            let read = token(body.to_string().as_bytes()).unwrap();
            assert_eq!((read.lifetime.as_secs(), read.text.expose()), (3599, "eyJ0"));
        }
        for not in [json!("soon"), json!(-1), json!(null)] {
            let body = json!({ "token_type": "Bearer", "expires_in": not, "access_token": "eyJ0" });
            assert!(token(body.to_string().as_bytes()).is_err());
        }
        let body = json!({ "token_type": "pop", "expires_in": 1, "access_token": "eyJ0" });
        assert!(token(body.to_string().as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body: Vec<u8>) {
            look(&body);
        }
    }
}
