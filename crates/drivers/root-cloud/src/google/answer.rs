//! What Cloud KMS answers.

use keyreeve_secret::SecretBytes;
use serde::{Deserialize, Deserializer};

use crate::RemoteError;
use crate::http::Answer;

/// The answer of `encrypt`.
#[derive(Debug)]
pub(super) struct Encrypted {
    /// The name of the version that was used.
    pub(super) version: String,
    /// The same without the version.
    pub(super) key: String,
    /// What is to be stored.
    pub(super) ciphertext: Vec<u8>,
}

/// The answer of `decrypt`.
#[derive(Debug)]
pub(super) struct Decrypted {
    /// What was wrapped.
    pub(super) plaintext: SecretBytes,
}

/// `EncryptResponse`. What is false or empty may be left out (proto3).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncryptResponse {
    name: String,
    #[serde(default)]
    ciphertext: String,
    #[serde(default, deserialize_with = "int64")]
    ciphertext_crc32c: Option<i64>,
    #[serde(default)]
    verified_plaintext_crc32c: bool,
    #[serde(default)]
    verified_additional_authenticated_data_crc32c: bool,
}

/// `DecryptResponse`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecryptResponse {
    #[serde(default)]
    plaintext: String,
    #[serde(default, deserialize_with = "int64")]
    plaintext_crc32c: Option<i64>,
}

/// A 64-bit number: a text in proto3's JSON, and a number is to be accepted.
fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Option::<Either>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Either::Number(number)) => Ok(Some(number)),
        Some(Either::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

impl Encrypted {
    pub(super) fn read(answer: &Answer) -> Result<Self, RemoteError> {
        let said: EncryptResponse = answer.json()?;
        if !said.verified_plaintext_crc32c || !said.verified_additional_authenticated_data_crc32c {
            return Err(damaged("it did not verify the checksums of the request"));
        }
        let ciphertext = decode(&said.ciphertext)?;
        check(&ciphertext, said.ciphertext_crc32c)?;
        let key = said.name.split("/cryptoKeyVersions/").next().unwrap_or_default().to_owned();
        Ok(Self { version: said.name, key, ciphertext })
    }
}

impl Decrypted {
    pub(super) fn read(answer: &Answer) -> Result<Self, RemoteError> {
        let said: DecryptResponse = answer.json()?;
        // Taken over first, so that it is wiped whatever follows.
        let text = SecretBytes::from_vec(said.plaintext.into_bytes());
        let plaintext = std::str::from_utf8(text.expose()).map_err(|_| malformed()).and_then(decode)?;
        let plaintext = SecretBytes::from_vec(plaintext);
        check(plaintext.expose(), said.plaintext_crc32c)?;
        Ok(Self { plaintext })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, RemoteError> {
    base64_simd::STANDARD.decode_to_vec(text).map_err(|_| malformed())
}

fn malformed() -> RemoteError {
    RemoteError::Malformed("its answer is not of the documented form".to_owned())
}

/// Something was damaged between here and there. Asking again may help, so it is no refusal.
fn damaged(what: &str) -> RemoteError {
    RemoteError::Unreachable(format!("damaged on the way: {what}"))
}

fn check(bytes: &[u8], sum: Option<i64>) -> Result<(), RemoteError> {
    if sum == Some(i64::from(crc32c::crc32c(bytes))) {
        Ok(())
    } else {
        Err(damaged("the checksum of its answer does not fit"))
    }
}

/// `google.rpc.Code`, as far as it says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
}

#[derive(Deserialize)]
struct Failure {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    status: Code,
    #[serde(default)]
    message: String,
}

/// Sorts what is no success. `unwrapping` says which of the two operations it answers.
pub(super) fn refusal(answer: &Answer, unwrapping: bool) -> RemoteError {
    let Ok(Failure { error }) = answer.json::<Failure>() else { return answer.refusal(None) };
    let refused = |what: &str| RemoteError::Refused(what.to_owned());
    match error.status {
        Code::Unavailable
        | Code::Internal
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::Unknown => RemoteError::Unreachable(format!("it answered {:?}", error.status)),
        Code::ResourceExhausted => {
            RemoteError::Throttled { said: "RESOURCE_EXHAUSTED".to_owned(), after: answer.retry_after }
        }
        // The one code for what was altered, for a key that does not fit, and for checksums that do not.
        Code::InvalidArgument if tells_of_checksums(&error.message) => {
            damaged("it received other bytes than were sent")
        }
        Code::InvalidArgument if unwrapping => RemoteError::Unwrap,
        Code::InvalidArgument => refused("INVALID_ARGUMENT: the key is not one for encrypting and decrypting"),
        Code::PermissionDenied => refused(
            "PERMISSION_DENIED: the service account needs cloudkms.cryptoKeyVersions.useToEncrypt and useToDecrypt on \
             the key, or the key does not exist",
        ),
        Code::NotFound => refused("NOT_FOUND: there is no such key"),
        Code::FailedPrecondition => refused("FAILED_PRECONDITION: the version of the key is disabled or destroyed"),
        Code::Unauthenticated => refused("UNAUTHENTICATED: it does not accept the credentials"),
        Code::AlreadyExists | Code::OutOfRange | Code::Unimplemented => answer.refusal(None),
    }
}

/// The code is the same as for a ciphertext that does not open; only the words differ. Wrongly taken for damage it is
/// asked again and fails again, so nothing is lost by listening.
fn tells_of_checksums(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("crc32c") || message.contains("checksum")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::StatusCode;
    use serde_json::{Value, json};

    const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

    fn answer(status: u16, body: &Value) -> Answer {
        let body = SecretBytes::from_vec(body.to_string().into_bytes());
        Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body }
    }

    fn encrypted() -> Value {
        json!({
            "name": format!("{KEY}/cryptoKeyVersions/3"),
            "ciphertext": "MTIzNDU2Nzg5",
            "ciphertextCrc32c": 0xe306_9283_u32.to_string(),
            "verifiedPlaintextCrc32c": true,
            "verifiedAdditionalAuthenticatedDataCrc32c": true,
            "protectionLevel": "HSM",
        })
    }

    #[test]
    fn an_answer_with_fitting_checksums_is_read() {
        let read = Encrypted::read(&answer(200, &encrypted())).unwrap();
        assert_eq!((read.key.as_str(), read.ciphertext.as_slice()), (KEY, &b"123456789"[..]));
        let body = json!({ "plaintext": "MTIzNDU2Nzg5", "plaintextCrc32c": 0xe306_9283_u32, "usedPrimary": true });
        assert!(Decrypted::read(&answer(200, &body)).unwrap().plaintext.ct_eq(b"123456789"));
    }

    #[test]
    fn what_was_damaged_on_the_way_is_asked_for_again() {
        let wrong = [
            ("ciphertext", json!("MTIzNDU2Nzg4")),
            ("ciphertextCrc32c", json!("1")),
            ("ciphertextCrc32c", Value::Null),
            ("verifiedPlaintextCrc32c", json!(false)),
            ("verifiedAdditionalAuthenticatedDataCrc32c", Value::Null),
        ];
        for (name, value) in wrong {
            let mut body = encrypted();
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
                value => body[name] = value,
            }
            let refused = Encrypted::read(&answer(200, &body)).unwrap_err();
            assert!(matches!(&refused, RemoteError::Unreachable(why) if why.contains("damaged")), "{name}: {refused}");
        }
        for body in [json!({ "plaintext": "MTIz", "plaintextCrc32c": "7" }), json!({ "plaintext": "MTIz" })] {
            assert!(matches!(Decrypted::read(&answer(200, &body)), Err(RemoteError::Unreachable(_))));
        }
    }

    #[test]
    fn codes_are_sorted_by_what_is_to_be_done() {
        let sorted = |status: u16, code: &str, message: &str, unwrapping| {
            let body = json!({ "error": { "code": status, "message": message, "status": code } });
            refusal(&answer(status, &body), unwrapping)
        };
        let invalid = "Decryption failed: the ciphertext is invalid.";
        assert_eq!(sorted(400, "INVALID_ARGUMENT", invalid, true), RemoteError::Unwrap);
        assert!(matches!(sorted(400, "INVALID_ARGUMENT", invalid, false), RemoteError::Refused(_)));
        let sums = "The checksum in field ciphertext_crc32c did not match the data in field ciphertext.";
        assert!(matches!(sorted(400, "INVALID_ARGUMENT", sums, true), RemoteError::Unreachable(_)));
        for code in ["UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED"] {
            assert!(sorted(503, code, "", true).is_passing(), "{code}");
        }
        assert!(matches!(sorted(429, "RESOURCE_EXHAUSTED", "", true), RemoteError::Throttled { .. }));
        for (status, code) in
            [(403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (400, "FAILED_PRECONDITION"), (401, "UNAUTHENTICATED")]
        {
            assert!(matches!(sorted(status, code, "", true), RemoteError::Refused(_)), "{code}");
        }
        assert!(matches!(sorted(403, "NEVER_HEARD_OF", "", true), RemoteError::Refused(_)));
        assert!(sorted(500, "NEVER_HEARD_OF", "", true).is_passing());
        assert!(refusal(&answer(502, &json!("<html>")), true).is_passing());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in 200_u16..600) {
            let body = SecretBytes::from_vec(bytes);
            let answer = Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body };
            prop_assert!(Encrypted::read(&answer).is_err());
            prop_assert!(Decrypted::read(&answer).is_err());
            let _ = refusal(&answer, true);
        }

        #[test]
        fn no_text_in_an_answer_makes_it_panic(name in ".*", text in ".*", sum in any::<i64>()) {
            let body = json!({
                "name": name, "ciphertext": text, "ciphertextCrc32c": sum, "plaintext": text, "plaintextCrc32c": sum,
                "verifiedPlaintextCrc32c": true, "verifiedAdditionalAuthenticatedDataCrc32c": true,
                "error": { "status": text, "message": name },
            });
            let answer = answer(200, &body);
            let _ = (Encrypted::read(&answer), Decrypted::read(&answer), refusal(&answer, false));
        }
    }
}
