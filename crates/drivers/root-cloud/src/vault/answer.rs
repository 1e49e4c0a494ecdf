//! What Vault answers.

use std::time::Duration;

use keyreeve_secret::{SecretBytes, SecretString};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::is_ciphertext;
use crate::RemoteError;
use crate::http::Answer;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    ReadKey,
    Encrypt,
    Decrypt,
    Login,
    Renew,
    Unwrap,
}

/// The members that matter; the others are left alone, as versions add to them.
#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

/// `GET /transit/keys/NAME`.
#[derive(Deserialize)]
pub(super) struct Key {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    derived: bool,
    #[serde(default)]
    exportable: bool,
    #[serde(default)]
    allow_plaintext_backup: bool,
    #[serde(default)]
    deletion_allowed: bool,
}

impl Key {
    pub(super) fn read(answer: &Answer) -> Result<Self, RemoteError> {
        success(answer, Operation::ReadKey)
    }

    /// Whether it can be a root at all.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        let refused = |what: &str| Err(RemoteError::Refused(what.to_owned()));
        match self.kind.as_str() {
            "aes256-gcm96" | "chacha20-poly1305" if self.derived => {
                refused("the key derives others (derived=true), which a root does not use: make one without")
            }
            "aes256-gcm96" | "chacha20-poly1305" => Ok(()),
            _ => refused("the key is of another type than aes256-gcm96 or chacha20-poly1305"),
        }
    }

    /// Whether it stays in Vault and cannot be lost by one command.
    pub(super) fn check_protection(&self) -> Result<(), RemoteError> {
        let refused = |what: &str| Err(RemoteError::Refused(what.to_owned()));
        if self.exportable || self.allow_plaintext_backup {
            refused("the key can be taken out of Vault (exportable or allow_plaintext_backup), for ever: make another")
        } else if self.deletion_allowed {
            refused("the key can be deleted (deletion_allowed): set that to false before anything depends on it")
        } else {
            Ok(())
        }
    }
}

/// The answer of `encrypt`.
pub(super) struct Ciphertext(pub(super) String);

impl Ciphertext {
    pub(super) fn read(answer: &Answer) -> Result<Self, RemoteError> {
        #[derive(Deserialize)]
        struct Said {
            ciphertext: String,
        }
        let said: Said = success(answer, Operation::Encrypt)?;
        if is_ciphertext(&said.ciphertext) {
            Ok(Self(said.ciphertext))
        } else {
            Err(RemoteError::Malformed("what it encrypted does not begin with `vault:v`".to_owned()))
        }
    }
}

/// The answer of `decrypt`.
pub(super) struct Plaintext(pub(super) SecretBytes);

impl Plaintext {
    pub(super) fn read(answer: &Answer) -> Result<Self, RemoteError> {
        #[derive(Deserialize)]
        struct Said {
            plaintext: String,
        }
        let said: Said = success(answer, Operation::Decrypt)?;
        let text = SecretString::from(said.plaintext);
        let plain = base64_simd::STANDARD.decode_to_vec(text.expose().as_bytes());
        let wrong = |_| RemoteError::Malformed("what it decrypted is not base64".to_owned());
        Ok(Self(SecretBytes::from_vec(plain.map_err(wrong)?)))
    }
}

/// A token, and how long it holds.
#[derive(Debug)]
pub(super) struct Granted {
    /// The token; none when it is the one that was asked with.
    pub(super) token: Option<SecretString>,
    /// None for one that does not end.
    pub(super) lifetime: Option<Duration>,
    pub(super) renewable: bool,
}

#[derive(Deserialize)]
struct Auth {
    auth: Said,
}

#[derive(Deserialize)]
struct Said {
    client_token: String,
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// `lookup-self`.
#[derive(Deserialize)]
struct Own {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Granted {
    /// The answer of a login, and of a renewal.
    pub(super) fn read(answer: &Answer, operation: Operation) -> Result<Self, RemoteError> {
        if !answer.status.is_success() {
            return Err(refusal(answer, operation));
        }
        let Auth { auth } = answer.json()?;
        let token = Some(SecretString::from(auth.client_token)).filter(|token| !token.is_empty());
        Ok(Self { token, lifetime: lifetime(auth.lease_duration), renewable: auth.renewable })
    }

    /// What Vault knows of a token.
    pub(super) fn own(answer: &Answer) -> Result<Self, RemoteError> {
        let own: Own = success(answer, Operation::Login)?;
        Ok(Self { token: None, lifetime: lifetime(own.ttl), renewable: own.renewable })
    }
}

/// Nothing stands for ever.
fn lifetime(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The token that a wrapped secret id is in: how it was made.
pub(super) fn creation_path(answer: &Answer) -> Result<String, RemoteError> {
    #[derive(Deserialize)]
    struct Said {
        creation_path: String,
    }
    success(answer, Operation::Unwrap).map(|said: Said| said.creation_path)
}

/// The secret id out of its wrapping.
pub(super) fn secret_id(answer: &Answer) -> Result<SecretString, RemoteError> {
    #[derive(Deserialize)]
    struct Said {
        secret_id: String,
    }
    success(answer, Operation::Unwrap).map(|said: Said| SecretString::from(said.secret_id))
}

fn success<T: DeserializeOwned>(answer: &Answer, operation: Operation) -> Result<T, RemoteError> {
    if answer.status == StatusCode::OK { Ok(answer.json::<Data<T>>()?.data) } else { Err(refusal(answer, operation)) }
}

/// What Vault says of an error, as far as it changes what is to be done. There are no codes, only texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    Sealed,
    NoKey,
    TooOld,
    Altered,
    WrongWrapping,
}

impl Hint {
    const ALL: [(&'static str, Self); 8] = [
        ("is sealed", Self::Sealed),
        ("encryption key not found", Self::NoKey),
        ("disallowed by policy (too old)", Self::TooOld),
        ("invalid ciphertext", Self::Altered),
        ("message authentication failed", Self::Altered),
        ("unable to decrypt", Self::Altered),
        ("wrapping token is not valid", Self::WrongWrapping),
        ("token does not exist", Self::WrongWrapping),
    ];

    fn of(answer: &Answer) -> Option<Self> {
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            errors: Vec<String>,
        }
        let said: Said = answer.json().ok()?;
        let says = |part: &str| said.errors.iter().any(|error| error.contains(part));
        Self::ALL.into_iter().find(|(part, _)| says(part)).map(|(_, hint)| hint)
    }
}

/// Sorts what is no success.
pub(super) fn refusal(answer: &Answer, operation: Operation) -> RemoteError {
    let refused = |what: &str| RemoteError::Refused(what.to_owned());
    let passing = |what: &str| RemoteError::Unreachable(what.to_owned());
    match (answer.status.as_u16(), Hint::of(answer), operation) {
        (503, Some(Hint::Sealed), _) => passing("it is sealed (503): have it unsealed"),
        (307 | 472 | 473, ..) => passing("it is a standby that does not serve: give the address of the active one"),
        (412, ..) => passing("it does not know yet what another node was told (412)"),
        (400, Some(Hint::Altered), Operation::Decrypt) => RemoteError::Unwrap,
        (400, Some(Hint::TooOld), _) => refused("the key's min_decryption_version is above what this was wrapped with"),
        (400 | 404, Some(Hint::NoKey), _) | (404, _, Operation::ReadKey) => refused("there is no such key"),
        (400, Some(Hint::WrongWrapping), _) | (400 | 403 | 404, _, Operation::Unwrap) => refused(
            "the wrapping token was used already or has run out: unless it was you, take the secret id for stolen, and \
             have a new one made",
        ),
        (404, ..) => refused("there is no such mount (404)"),
        (403, _, Operation::ReadKey) => refused("its policy does not permit to read the key (403)"),
        (403, _, Operation::Encrypt | Operation::Decrypt) => {
            refused("its policy does not permit `update` on encrypt and decrypt of the key (403), or the key is gone")
        }
        (400 | 403, _, Operation::Login) => refused("it does not accept the credentials"),
        (400 | 403, _, Operation::Renew) => refused("it does not renew the token"),
        _ => answer.refusal(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn answer(status: u16, body: &Value) -> Answer {
        let body = SecretBytes::from_vec(body.to_string().into_bytes());
        Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body }
    }

    fn sorted(status: u16, error: &str, operation: Operation) -> RemoteError {
        refusal(&answer(status, &json!({ "errors": [error] })), operation)
    }

    #[test]
    fn answers_are_sorted_by_what_is_to_be_done() {
        let decrypt = Operation::Decrypt;
        for (status, error) in [(503, "Vault is sealed"), (473, ""), (472, ""), (307, ""), (412, ""), (500, "")] {
            assert!(sorted(status, error, decrypt).is_passing(), "{status}");
        }
        assert!(matches!(
            sorted(429, "request path: rate limit quota exceeded", decrypt),
            RemoteError::Throttled { .. }
        ));
        for altered in ["invalid ciphertext: no prefix", "cipher: message authentication failed"] {
            assert_eq!(sorted(400, altered, decrypt), RemoteError::Unwrap);
            assert!(matches!(sorted(400, altered, Operation::Encrypt), RemoteError::Refused(_)));
        }
        let old = "ciphertext or signature version is disallowed by policy (too old)";
        for (status, error) in [(403, "permission denied"), (400, "encryption key not found"), (400, old), (404, "")] {
            assert!(matches!(sorted(status, error, decrypt), RemoteError::Refused(_)), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_no_root_is_refused() {
        let key = |change: Value| {
            let mut data = json!({ "type": "aes256-gcm96", "derived": false, "exportable": false });
            data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let read = Key::read(&answer(200, &json!({ "data": data }))).unwrap();
            read.check().and_then(|()| read.check_protection())
        };
        key(json!({})).unwrap();
        key(json!({ "type": "chacha20-poly1305", "unheard": 1 })).unwrap();
        for bad in [
            json!({ "type": "aes128-gcm96" }),
            json!({ "type": "rsa-4096" }),
            json!({ "derived": true }),
            json!({ "exportable": true }),
            json!({ "allow_plaintext_backup": true }),
            json!({ "deletion_allowed": true }),
        ] {
            assert!(matches!(key(bad.clone()), Err(RemoteError::Refused(_))), "{bad}");
        }
    }

    #[test]
    fn tokens_without_end_have_none() {
        let body = json!({ "auth": { "client_token": "s.x", "lease_duration": 0, "renewable": false } });
        let granted = Granted::read(&answer(200, &body), Operation::Login).unwrap();
        assert_eq!((granted.lifetime, granted.renewable), (None, false));
        let body = json!({ "data": { "ttl": 60, "renewable": true, "id": "s.x" } });
        assert_eq!(Granted::own(&answer(200, &body)).unwrap().lifetime, Some(Duration::from_secs(60)));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in 200_u16..600) {
            let body = SecretBytes::from_vec(bytes);
            let answer = Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body };
            prop_assert!(Key::read(&answer).is_err());
            prop_assert!(Ciphertext::read(&answer).is_err());
            prop_assert!(Plaintext::read(&answer).is_err());
            prop_assert!(Granted::own(&answer).is_err());
            prop_assert!(Granted::read(&answer, Operation::Renew).is_err());
            let _ = refusal(&answer, Operation::Unwrap);
        }

        #[test]
        fn no_text_in_an_answer_makes_it_panic(text in ".*", number in any::<u64>()) {
            let data = json!({ "ciphertext": text, "plaintext": text, "type": text, "ttl": number, "secret_id": text });
            let auth = json!({ "client_token": text, "lease_duration": number });
            let answer = answer(200, &json!({ "data": data, "auth": auth, "errors": [text] }));
            let _ = (Key::read(&answer), Ciphertext::read(&answer), Plaintext::read(&answer), secret_id(&answer));
            let _ = (Granted::own(&answer), Granted::read(&answer, Operation::Login), creation_path(&answer));
        }
    }
}
